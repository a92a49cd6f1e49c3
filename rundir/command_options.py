"""Options of commands that are no part of a run's configuration: where results go, and what a point may change."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from .choices import CHOICE, Device, Method, Optimizer


@dataclass(frozen=True, kw_only=True)
class OutputOptions:
    """Options that do not affect the result.

    Parameters
    ----------
    device
        cpu or cuda. Default: cuda where there is one.
    quiet
        Print nothing but the result.
    json
        Print one JSON object instead.
    tensorboard
        Write the curves of all training into the folder tensorboard of the run; needs the extra of this name.
    """

    device: Annotated[Device | None, CHOICE] = None
    quiet: bool = False
    json: bool = False
    tensorboard: bool = False


@dataclass(frozen=True, kw_only=True)
class PlaceOptions:
    """The directory of a run, and what may be in it.

    Parameters
    ----------
    out
        The run directory. Default: runs/MODEL-DATA-BUDGET, or the first of -2, -3, ... that holds no other run.
    overwrite
        Remove another run that is in the directory, once nothing is wrong with this one.
    config
        A file of options by their names, .yaml, .toml or .json; those on the command line come first.
    print_config
        Print what a run with these options would use, as YAML that --config reads, and end.
    anyway
        Go on where the dense network does no better than chance on the holdout.
    """

    out: Path | None = None
    overwrite: bool = False
    config: Path | None = None
    print_config: bool = False
    anyway: bool = False


@dataclass(frozen=True, kw_only=True)
class PointOptions:
    """What may be another for a point of the front than for its run.

    Parameters
    ----------
    method
        Fine-tuning method, as for `run`. Default, here and below: the value the run was started with.
    epochs
        Epochs of fine-tuning.
    seed
        The same seed gives the same result on the same machine.
    batch
        Images a step, over all processes.
    lr
        Peak of the learning rate.
    optimizer
        sgd or adamw.
    weight_decay
        Weight decay.
    teacher
        For kd and dkd: a network that teaches instead of the dense one.
    teacher_weights
        The teacher's trained weights.
    model
        The network, where it is a function of your own, as the run was started with: a file alone runs no code.
    data
        The data, where they are a function of your own.
    augment
        The augmentation, where it is a function of your own.
    task
        The task, where the run has one.
    storage
        The database, where several workers shared the search: none that a file names is connected to.
    """

    method: Annotated[Method | None, CHOICE] = None
    epochs: int | None = None
    seed: int | None = None
    batch: int | None = None
    lr: float | None = None
    optimizer: Annotated[Optimizer | None, CHOICE] = None
    weight_decay: float | None = None
    teacher: str | None = None
    teacher_weights: str | None = None
    model: str | None = None
    data: str | None = None
    augment: str | None = None
    task: str | None = None
    storage: str | None = None


@dataclass(frozen=True, kw_only=True)
class ReuseOptions:
    """What an architecture is built on.

    Parameters
    ----------
    flops
        The budget: 50% or 62M of the MACs. Default: what the architecture keeps.
    weights
        Weights of the network, to be inherited. Default: fresh ones, for training from scratch on any data.
    classes
        Outputs of the network. Default, here and below: the source's.
    input
        Channels, height and width of the input.
    seed
        For fresh weights.
    """

    flops: str | None = None
    weights: Path | None = None
    classes: int | None = None
    input: str | None = None
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class MeasureOptions:
    """What a network is tested on, and how it is timed.

    Parameters
    ----------
    data
        Test images. Default for a run: the figures that it ended with, no image is read.
    model
        The dense network of a run, where it is a function of your own: a file alone runs no code.
    task
        As for run; of a run, where --data is passed and it has a task.
    weights
        Of a network.
    batch
        Batch size, beside single images.
    threads
        CPU threads. Default: PyTorch's setting.
    input
        As for run, for a network.
    """

    data: str | None = None
    model: str | None = None
    task: str | None = None
    weights: str | None = None
    batch: int = 32
    threads: int | None = None
    input: str | None = None
