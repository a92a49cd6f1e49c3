"""The epochs of trainings as curves in TensorBoard."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from ..errors import SecateurError, in_a_line
from ..progress import Epoch, Observer


@contextmanager
def on_tensorboard(observer: Observer, folder: Path | None) -> Iterator[Observer]:
    """The observer, which also writes the curves of every training into ``folder``, if there is one.

    Raises SecateurError where TensorBoard is not installed.
    """
    if folder is None:
        yield observer
        return
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        fact = f"--tensorboard needs tensorboard, which is not here ({in_a_line(error)})"
        raise SecateurError(f'{fact}; pip install "secateur[tensorboard]"') from error
    writers: list[SummaryWriter] = []  # made when there is a first curve: the folder may not be there before the run is

    def write(epoch: Epoch) -> None:
        observer.on_epoch(epoch)
        if not writers:
            writers.append(SummaryWriter(str(folder)))
        for name, value in curves(epoch).items():
            writers[0].add_scalar(name, value, epoch.epoch)

    try:
        yield replace(observer, on_epoch=write)
    finally:
        for writer in writers:
            writer.close()


def curves(epoch: Epoch) -> dict[str, float]:
    """The values of an epoch by the names of their curves.

    >>> curves(Epoch(training="kd", epoch=1, epochs=2, step=3, steps=6, loss=0.5, learning_rate=0.1, seconds=1.0))
    {'kd/loss': 0.5, 'kd/learning rate': 0.1}
    """
    values = {
        "loss": epoch.loss,
        "learning rate": epoch.learning_rate,
        "holdout loss": epoch.holdout_loss,
        f"holdout {epoch.metric}": epoch.holdout,
    }
    return {f"{epoch.training}/{name}": value for name, value in values.items() if value is not None}
