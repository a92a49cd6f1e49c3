"""The images that a run is configured with."""

from functools import partial

from ..data.augment import Augment, is_code, require_augmentation
from ..data.dataset import Data, open_data
from ..data.images import MEAN, STD
from ..errors import SecateurError, in_a_line
from ..models.tasks.task import Task
from ..models.zoo.registry import callable_at
from ..progress import Progress
from ..rundir.config import RunConfig


def open_run_data(config: RunConfig, progress: Progress, shape: tuple[int, int, int] | None = None) -> Data:
    """The images of a run, normalised and sized as configured (or of another ``shape``)."""
    images = config.images
    reading, task = partial(progress, "reading images"), task_called(images.task) if images.task else None
    how = shape or images.shape, images.mean or MEAN, images.std or STD
    augment = augment_called(images.augment) if images.augment else None
    return open_data(images.data, *how, task=task, augment=augment, workers=images.workers, progress=reading)


def augment_called(spec: str) -> str | Augment:
    """The name, or the transform that the function at this place returns. Raises SecateurError where it is neither."""
    if not is_code(spec):
        require_augmentation(spec)
        return spec
    function = callable_at(spec, ())
    try:
        found = function()
    except Exception as error:
        raise SecateurError(f"{spec} failed ({in_a_line(error)}); fix it or pass another augmentation") from error
    if not callable(found):
        fix = "return a transform, such as torchvision.transforms.v2.RandAugment()"
        raise SecateurError(f"{spec} returned {type(found).__name__}; {fix}")
    return found


def task_called(spec: str) -> Task:
    """The task that the function at this place returns. Raises SecateurError where it is none."""
    function = callable_at(spec, ())
    try:
        found = function()
    except Exception as error:
        raise SecateurError(f"{spec} failed ({in_a_line(error)}); fix it or pass another task") from error
    if not isinstance(found, Task):
        fix = "return a task, such as sc.Segmentation(21) or sc.Task(loss=, metric=)"
        raise SecateurError(f"{spec} returned {type(found).__name__}; {fix}")
    return found
