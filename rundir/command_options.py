"""Options of commands that are no part of a run's configuration: where results go, and what a point may change."""

from dataclasses import dataclass
from pathlib import Path


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

    device: str | None = None
    quiet: bool = False
    json: bool = False
    tensorboard: bool = False


@dataclass(frozen=True, kw_only=True)
class RunOutputOptions(OutputOptions):
    """The same of a run.

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
    device
        cpu or cuda. Default: cuda where there is one.
    quiet
        Print nothing but the result.
    json
        Print one JSON object instead.
    tensorboard
        Write the curves of all training into the folder tensorboard of the run; needs the extra of this name.
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
        For kd and dkd: a network that teaches in place of the dense one.
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
    """

    method: str | None = None
    epochs: int | None = None
    seed: int | None = None
    batch: int | None = None
    lr: float | None = None
    optimizer: str | None = None
    weight_decay: float | None = None
    teacher: str | None = None
    teacher_weights: str | None = None
    model: str | None = None
    data: str | None = None
    augment: str | None = None
    task: str | None = None
