"""The options of a run, by concern; each group checks its own values."""

import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, Any, Literal

from ..errors import SecateurError
from ..models.costs.spec import BudgetSpec
from ..models.zoo.normalisation import require_normalised
from .choices import CHOICE, Cost, Method, Neurons, Optimizer, Sampler, Weights, words

SEARCH = "search"
JOINT_METHODS = ("pdd", "kddp", "blockwise")  # widths are learned in distillation, not searched
TEACHER_METHODS = (*JOINT_METHODS, "kd", "dkd")  # those that another network than the dense one may teach
USUAL_FLOPS = "50%"  # kept, where nothing else is asked for
OPTIMIZERS = words(Optimizer)


def _read_by(*methods: str) -> dict[str, tuple[str, ...]]:
    """Metadata of an option that only these methods read."""
    return {"methods": methods}


SEARCHES = _read_by(SEARCH)


@dataclass(frozen=True, kw_only=True)
class DataOptions:
    """Images and how they are normalised.

    Parameters
    ----------
    data
        Training, holdout and test images.
    holdout
        Images that the search scores on, ideally ones that the network was not trained on: a share of the training
        images, 10%, or a folder of an imagefolder. Default: val, valid or validation beside train and test; else the
        last tenth of train.
    task
        What outputs are judged by, if not classification: path/to/file.py:function or package.module:function
        that returns a task, such as sc.Segmentation(21) or sc.Task(loss=, metric=). For data of path/to/file.py.
    input
        Channels, height and width of the input, as 3x224x224. Default: the images' own.
    mean
        Mean of the input channels, in 0..1. Default: timm's for its networks, else ImageNet's.
    std
        Standard deviation of the input channels. Default: as for mean.
    augment
        What training shows of an image: crop-flip (a crop out of a border of 4 pixels), imagenet (random resized crop),
        trivial (TrivialAugment), none, or path/to/file.py:function, which returns a transform of
        torchvision.transforms.v2. Default: crop-flip, from 96 pixels on imagenet. Data sets with their own
        transforms keep them.
    workers
        Maximum number of processes that read what does not fit in memory. Default: 4, or a loader's own number.
    """

    data: str = "digits"
    holdout: str | None = None
    task: str | None = None
    input: str | None = None
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    augment: str | None = None
    workers: int | None = None

    def __post_init__(self) -> None:
        if self.workers is not None:
            require_at_least(0, workers=self.workers)
        require_normalised(self.mean, self.std)

    @property
    def shape(self) -> tuple[int, int, int] | None:
        """``input`` as (channels, height, width)."""
        return None if self.input is None else parse_shape(self.input)


@dataclass(frozen=True, kw_only=True)
class BudgetOptions:
    """What the network may cost. Without any limit, ``flops`` is 50%; of the quickstart's network and images, 10%.

    Parameters
    ----------
    flops
        MACs to keep: 50% or 62M. Default, if no other limit is set: 50%; 10% for resnet20 on digits, the quickstart.
        Several limits hold together. For blockwise the default is 50% unless there is a --strength; pdd has none.
        A range, 25%..80%, is searched at once; the best network at its lower end is fine-tuned.
    params
        Parameters to keep: 50% or 0.13M.
    memory
        Bytes of activations that are alive at once, for one image: 50% or 100K.
    latency
        Time of one image on this device, which is measured first: 50% or 5ms.
    """

    flops: str | None = field(default=None, metadata=_read_by(SEARCH, "pdd", "blockwise"))
    params: str | None = field(default=None, metadata=_read_by(SEARCH, "pdd", "blockwise"))
    memory: str | None = field(default=None, metadata=SEARCHES)
    latency: str | None = field(default=None, metadata=SEARCHES)

    def __post_init__(self) -> None:
        _ = self.spec  # malformed limits are refused here

    @cached_property
    def spec(self) -> BudgetSpec:
        """The limits, parsed."""
        return BudgetSpec.parse(self.flops, params=self.params, memory=self.memory, latency=self.latency)


@dataclass(frozen=True, kw_only=True)
class ConstraintOptions:
    """Which widths are allowed.

    Parameters
    ----------
    divisor
        Widths are multiples of this. auto: of what is fastest in each group, by timing its layers for a few seconds;
        methods that learn widths use 1.
    runtime
        What the network will run in; it is timed there for --divisor auto and --latency. onnxruntime: on the CPU.
    freeze
        Channel groups that stay whole, with wildcards: conv1 or 'layer1.*'. Can be repeated.
    tie
        Two channel groups of one width that keep the same channels: A,B. Can be repeated.
    least
        The minimum to keep of every group (10%), or of some: 'layer1.*=50%', conv1=16 for channels. The first pattern
        that matches a group counts. Default: 10%. Can be repeated.
    """

    divisor: int | Literal["auto"] = "auto"
    runtime: Literal["torch", "onnxruntime"] = "torch"
    freeze: tuple[str, ...] = ()
    tie: tuple[str, ...] = ()
    least: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.divisor != "auto":
            require_at_least(1, divisor=self.divisor)
        _ = self.ties, self.min_keep  # malformed ones are refused here

    @property
    def fixed_divisor(self) -> int:
        """The divisor of all groups, as far as it is known before anything is timed."""
        return 1 if self.divisor == "auto" else self.divisor

    @property
    def ties(self) -> tuple[tuple[str, str], ...]:
        """``tie`` as pairs of group names."""
        return tuple(map(_pair, self.tie))

    @property
    def min_keep(self) -> dict[str, float]:
        """``least`` by pattern: a share (float) or a number of channels (int); the one for all groups comes last."""
        found = dict(map(_least, self.least))
        return {pattern: found[pattern] for pattern in sorted(found, key="*".__eq__)}


@dataclass(frozen=True, kw_only=True)
class SearchOptions:
    """How the widths are searched.

    Parameters
    ----------
    trials
        Subnetworks that the fine search evaluates.
    sampler
        The fine search's sampler: tpe, cmaes, gp, nsga2, random; or greedy, group by group from dense.
    start
        A finished run, an architecture.json or a folder of many: their widths warm-start the fine search, whatever
        weights, data and budget they were found with.
    storage
        The database of the search, sqlite:///FILE or postgresql://USER@HOST/NAME: the same command in several
        processes, on several machines, shares the work. Default: study.db in the run directory.
    """

    trials: int = field(default=100, metadata=SEARCHES)
    sampler: Annotated[Sampler, CHOICE] = field(default="tpe", metadata=SEARCHES)
    start: str | None = field(default=None, metadata=SEARCHES)
    storage: str | None = field(default=None, metadata=SEARCHES)

    def __post_init__(self) -> None:
        require_at_least(0, trials=self.trials)


@dataclass(frozen=True, kw_only=True)
class TransferOptions:
    """How the slim network is fine-tuned.

    Parameters
    ----------
    method
        The fine-tuning method after a search: aligned (logits and feature maps of the dense network on the channels
        that stay, the logits from a bank that fills itself), kdft (the logits alone), ckt (gated teachers and InfoNCE
        from a bank that is filled first), ckt-kl (gated teachers), kd, dkd, crd and ckt-queue (the dense network runs
        in every step), ce (labels). Or, without a search, a method that learns the widths in distillation: pdd (masks
        over channels), kddp (idle neurons are removed), blockwise (a penalty on batch-norm scales). search: aligned.
    epochs
        Epochs of fine-tuning; kddp and blockwise learn the widths in half of them, pdd in a quarter.
    batch
        Images a step, over all processes; the last, incomplete batch of an epoch is left out unless it is the only one.
        Default: 128; below 1,000 training images, the power of two that makes an epoch 20 steps or more, 8 at least.
    lr
        Peak learning rate. Default: 0.05 for sgd, 0.001 for adamw at a batch of 128, in proportion to the batch.
    optimizer
        sgd (Nesterov momentum 0.9) or adamw.
    weight_decay
        Weight decay. Default: 0.0005 for sgd, 0.05 for adamw.
    views
        For aligned, kdft, ckt and ckt-kl: number of fixed augmentations per image whose teacher outputs the bank
        stores; training cycles through exactly these. With 0 each view is new; the bank then holds the outputs of
        the images as they are, and aligned has no bank.
    """

    method: Annotated[Method, CHOICE] = "aligned"
    epochs: int = 10
    batch: int | None = None
    lr: float | None = None
    optimizer: Annotated[Optimizer, CHOICE] = "sgd"
    weight_decay: float | None = None
    views: int = field(default=3, metadata=SEARCHES)

    def __post_init__(self) -> None:
        if self.method == SEARCH:
            object.__setattr__(self, "method", TransferOptions.method)
        require_at_least(1, epochs=self.epochs)
        require_at_least(0, views=self.views)
        _require_trainable(self)

    @property
    def recipe_options(self) -> dict[str, Any]:
        """What is set of the recipe, by the names of its fields."""
        named = {"batch": self.batch, "learning_rate": self.lr, "weight_decay": self.weight_decay}
        return {"optimizer": self.optimizer, **{name: value for name, value in named.items() if value is not None}}

    @property
    def learns_widths(self) -> bool:
        """Whether widths are learned in distillation, rather than searched."""
        return self.method in JOINT_METHODS


@dataclass(frozen=True, kw_only=True)
class JointOptions:
    """How pdd, kddp and blockwise learn the widths; and their teacher, which kd and dkd may have, too.

    Parameters
    ----------
    teacher
        The teacher network, for pdd, kddp, blockwise, kd and dkd. Where widths are learned and --weights are left out,
        the student starts from scratch. Default: the dense network.
    teacher_weights
        The teacher's trained weights. Only digits needs none.
    from_
        For pdd: fresh, a student with new weights, half of whose channels are closed at random; or trained, the dense
        network's weights, with the least important half of the channels closed.
    spread
        For pdd: standard deviation of the masks at the start; the wider, the fewer channels training opens again.
        Default: 0.001 from fresh weights, 1 from trained ones.
    strength
        Pruning strength for kddp and blockwise. Default: found automatically, within a tolerance or a budget.
    tolerance
        For kddp: how much the holdout loss under the teacher may rise while the strength is found.
    block_strength
        For blockwise: factors of the strength for some groups, 'layer1.*=2'. Can be repeated.
    blocks
        For blockwise: together, or in-turn, one after the other, with a loss on the block's features.
    constraint
        For blockwise by strength: flops or params, the cost that a channel's penalty is proportional to.
    neurons
        For kddp: all, or hidden: only those of hidden linear layers, as published.
    """

    teacher: str | None = field(default=None, metadata=_read_by(*TEACHER_METHODS))
    teacher_weights: str | None = field(default=None, metadata=_read_by(*TEACHER_METHODS))
    from_: Annotated[Weights, CHOICE] = field(default="fresh", metadata=_read_by("pdd"))
    spread: float | None = field(default=None, metadata=_read_by("pdd"))
    strength: float | None = field(default=None, metadata=_read_by("kddp", "blockwise"))
    tolerance: str = field(default="1%", metadata=_read_by("kddp"))
    block_strength: tuple[str, ...] = field(default=(), metadata=_read_by("blockwise"))
    blocks: Annotated[Literal["together", "in-turn"], CHOICE] = field(
        default="together", metadata=_read_by("blockwise")
    )
    constraint: Annotated[Cost, CHOICE] = field(default="flops", metadata=_read_by("blockwise"))
    neurons: Annotated[Neurons, CHOICE] = field(default="all", metadata=_read_by("kddp"))

    def __post_init__(self) -> None:
        _ = self.strengths, self.tolerated  # malformed ones are refused here
        for name in ("strength", "spread"):
            value = getattr(self, name)
            if value is not None and value < 0:
                raise SecateurError(f"{name}={value}; pass 0 or more")

    @property
    def strengths(self) -> dict[str, float]:
        """``block_strength`` by pattern."""
        return dict(map(_strength, self.block_strength))

    @property
    def tolerated(self) -> float:
        """``tolerance`` as a share.

        >>> JointOptions(tolerance="2.5%").tolerated
        0.025
        """
        found = re.fullmatch(r"(\d{1,4}(?:\.\d+)?)%", self.tolerance.strip(), re.ASCII)
        if not found:
            raise SecateurError(f"tolerance {self.tolerance!r} is no percentage; write 1%")
        return float(found[1]) / 100


def _require_trainable(options: TransferOptions) -> None:
    if options.optimizer not in OPTIMIZERS:
        raise SecateurError(f"optimizer={options.optimizer!r} is not known; pass {' or '.join(OPTIMIZERS)}")
    if options.batch is not None:
        require_at_least(2, batch=options.batch)
    if options.lr is not None and not options.lr > 0:
        raise SecateurError(f"lr={options.lr}; pass a positive learning rate")
    if options.weight_decay is not None and not options.weight_decay >= 0:
        raise SecateurError(f"weight-decay={options.weight_decay}; pass 0 or more")


def require_at_least(minimum: int, **values: int) -> None:
    """Raise SecateurError for a value below the minimum."""
    for name, value in values.items():
        if value < minimum:
            raise SecateurError(f"{name}={value}; pass {minimum} or more")


def parse_shape(text: str) -> tuple[int, int, int]:
    """``3x224x224`` as (channels, height, width)."""
    sizes = text.lower().split("x")
    if len(sizes) != 3 or not all(re.fullmatch(r"0*[1-9]\d{0,8}", size, re.ASCII) for size in sizes):
        raise SecateurError(f"input {text[:50]!r} is not channels x height x width; write 3x224x224")
    channels, height, width = map(int, sizes)
    return channels, height, width


def _pair(text: str) -> tuple[str, str]:
    """``A,B`` as two names."""
    one, _, other = (part.strip() for part in text.partition(","))
    if not one or not other or one == other or set(text) & set("*?[") or "," in other:
        raise SecateurError(f"tie {text!r} is not two channel groups; write --tie layer1.0.conv1,layer1.1.conv1")
    return one, other


def _least(text: str) -> tuple[str, float]:
    """``conv1=50%`` as a pattern and a share, ``conv1=16`` and a number of channels, ``50%`` for all groups."""
    pattern, _, amount = text.rpartition("=")
    found = re.fullmatch(r"(\d+(?:\.\d+)?)%|(\d{1,9})", amount.strip(), re.ASCII)
    if not found or (found[1] and float(found[1]) > 100):
        raise SecateurError(
            f"least {text!r} is no share up to 100% and no number of channels; write 10%, conv1=16 or 'layer1.*=50%'"
        )
    return pattern.strip() or "*", float(found[1]) / 100 if found[1] else int(found[2])


def _strength(text: str) -> tuple[str, float]:
    """``layer1.*=2`` as a pattern and a factor."""
    pattern, _, factor = text.rpartition("=")
    if not pattern.strip() or not re.fullmatch(r"\s*\d{1,9}(\.\d+)?\s*", factor, re.ASCII):
        raise SecateurError(f"block-strength {text!r} is no pattern and no factor; write 'layer1.*=2'")
    return pattern.strip(), float(factor)
