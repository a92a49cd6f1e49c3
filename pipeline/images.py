"""The images that a run is configured with."""

from functools import partial

from ..data.dataset import Data, open_data
from ..errors import SecateurError, in_a_line
from ..models.files.networks import intake_of
from ..models.tasks.task import Task
from ..models.zoo.registry import callable_at
from ..progress import Progress
from ..rundir.config import RunConfig


def open_run_data(config: RunConfig, progress: Progress, shape: tuple[int, int, int] | None = None) -> Data:
    """The images of a run, normalised and sized as configured (or of another ``shape``)."""
    images = config.images
    reading, task = partial(progress, "reading images"), task_called(images.task) if images.task else None
    intake = intake_of(config.model)
    mean, std = intake.normalisation
    how = shape or images.shape or intake.shape, images.mean or mean, images.std or std
    data = open_data(images.data, *how, task=task, holdout=images.holdout, progress=reading)
    if data.note:
        progress(f"reading images: {data.note}", (count := len(data)), count)
    return data


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
