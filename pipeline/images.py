"""The images that a run is configured with."""

from functools import partial

from ..data.augment import Augment, is_code, require_augmentation
from ..data.dataset import Data, Unread, unread_data
from ..data.form import ReadForm, shape_of
from ..errors import SecateurError, in_a_line
from ..models.files.networks import intake_of
from ..models.tasks.task import Task
from ..models.zoo.registry import callable_at
from ..progress import Progress
from ..rundir.config import RunConfig


def open_run_data(config: RunConfig, progress: Progress, shape: tuple[int, int, int] | None = None) -> Data:
    """The images of a run, normalised and sized as configured (or of another ``shape``)."""
    return unread_run_data(config, progress, shape).read()


def unread_run_data(config: RunConfig, progress: Progress, shape: tuple[int, int, int] | None = None) -> Unread:
    """The same, before any image is read."""
    images, intake = config.images, intake_of(config.model)
    form = ReadForm(
        shape_of(shape or images.shape or intake.shape),
        images.mean,
        images.std,
        intake.normalisation,
        intake.crop,
        augment=augment_called(images.augment) if images.augment else None,
        workers=images.workers,
        progress=partial(progress, "reading images"),
    )
    task = task_called(images.task) if images.task else None
    return unread_data(images.data, form, task=task, holdout=images.holdout)


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
