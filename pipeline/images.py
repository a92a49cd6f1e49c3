"""The images that a run is configured with."""

from functools import partial

from ..data.dataset import Data, open_data
from ..data.images import MEAN, STD
from ..progress import Progress
from ..rundir.config import RunConfig


def open_run_data(config: RunConfig, progress: Progress, shape: tuple[int, int, int] | None = None) -> Data:
    """The images of a run, normalised and sized as configured (or of another ``shape``)."""
    images = config.images
    reading = partial(progress, "reading images")
    return open_data(images.data, shape or images.shape, images.mean or MEAN, images.std or STD, progress=reading)
