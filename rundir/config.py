"""What a run is asked, and its words on the command line."""

import re
import shlex
from dataclasses import KW_ONLY, dataclass, fields
from functools import cached_property
from typing import Any

from ..errors import SecateurError
from ..models.costs.spec import BudgetSpec
from ..models.precision import require_precision

JOINT_METHODS = ("pdd", "kddp", "blockwise")  # methods that learn the widths, where the others search them
SEARCH = "search"
LIMITS = ("flops", "params", "memory", "latency")
# Options that only some methods read.
OPTION_METHODS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("memory", "latency", "trials", "sampler", "start", "storage", "views"), (SEARCH,)),
    **dict.fromkeys(("flops", "params"), (SEARCH, "pdd")),
    **dict.fromkeys(("teacher", "teacher_weights"), JOINT_METHODS),
    **dict.fromkeys(("blocks", "block_strength", "constraint"), ("blockwise",)),
    "strength": ("kddp", "blockwise"),
    "neurons": ("kddp",),
}


@dataclass(frozen=True)
class RunConfig:
    """Everything that decides the result of a run; the same ask gives the same architecture.

    The command line has these as its options, with these words. Without any limit, ``flops`` is 50%.

    Parameters
    ----------
    model
        The dense network; with no argument ResNet-20 on scikit-learn's digits, the quickstart.
    data
        Training, holdout and test images.
    weights
        Its trained weights: .safetensors, or a checkpoint of plain tensors. Only digits needs none.
    flops
        How many MACs may stay: 50% or 62M. Default: 50%, where no other limit is given. Several limits all hold.
        A range, 25%..80%, is searched at once; what is fine-tuned is the best of its lower end.
    params
        How many trainable numbers may stay: 50% or 0.13M.
    memory
        How many bytes of activations may live at once, for one image: 50% or 100K.
    latency
        How long one image may take on this device, which is measured first: 50% or 5ms.
    method
        search, which is the usual, or how to fine-tune after it: ckt (gated teachers and InfoNCE from the bank), ckt-kl
        (gated teachers), kdft (the dense network's answers from the bank), kd, dkd, crd and ckt-queue (the dense
        network runs along), ce (labels). Or no search, but widths that are learnt in distillation: pdd (masks over
        channels), kddp (idle neurons go), blockwise (a price on batch-norm scales).
    teacher
        Of pdd, kddp, blockwise: the network that teaches. Without --weights the student then starts anew. Default:
        the dense network.
    teacher_weights
        Its trained weights. Only digits needs none.
    strength
        Of kddp and blockwise: how strongly channels are pressed. Default: 0.1 and 2.
    block_strength
        Of blockwise: what that is multiplied by in some groups, 'layer1.*=2'. Can be given several times.
    blocks
        Of blockwise: together, or in-turn, one after the other, with a loss on the block's features.
    constraint
        Of blockwise: flops or params, what a channel's price is made of.
    neurons
        Of kddp: hidden (of hidden linear layers), or all (feature maps, too).
    trials
        Subnetworks that the fine search evaluates.
    sampler
        How the fine search chooses: tpe, cmaes, gp, nsga2, random; or greedy, group by group from dense.
    start
        A finished run, an architecture.json or a folder of many, whose widths the fine search starts from, too; other
        weights, data and budgets are no obstacle.
    storage
        The database of the search, sqlite:///FILE or postgresql://USER@HOST/NAME: the same line in several processes,
        on several machines, shares the work. Default: study.db in the run directory, for processes on one machine.
    epochs
        Epochs of fine-tuning; pdd, kddp and blockwise learn widths in half of them.
    precision
        Of the search and all training: float32, bfloat16, or auto, which is bfloat16 where the device computes in it.
    views
        Of ckt, ckt-kl and kdft: fixed views of each training image that teachers speak of, and that fine-tuning shows
        in turn. With 0 each view is new, and teachers speak of the image as it is.
    seed
        The same seed gives the same result on the same machine.
    divisor
        Widths are multiples of this.
    freeze
        Channel groups that stay whole, with wildcards: conv1 or 'layer1.*'. Can be given several times.
    tie
        Two channel groups of one width that keep the same channels: A,B. Can be given several times.
    least
        What stays of every group at least (10%), or of some: 'layer1.*=50%', conv1=16 for channels. The first that
        fits a group counts. Default: 10%. Can be given several times.
    input
        Channels, height and width of the input, as 3x224x224. Default: the images' own.
    mean
        Mean of the input channels, in 0..1. Default: ImageNet's.
    std
        Standard deviation of the input channels. Default: ImageNet's.
    """

    model: str = "resnet20"
    _: KW_ONLY
    data: str = "digits"
    weights: str | None = None
    flops: str | None = None
    params: str | None = None
    memory: str | None = None
    latency: str | None = None
    method: str = "ckt"
    teacher: str | None = None
    teacher_weights: str | None = None
    strength: float | None = None
    block_strength: tuple[str, ...] = ()
    blocks: str = "together"
    constraint: str = "flops"
    neurons: str = "hidden"
    trials: int = 100
    sampler: str = "tpe"
    start: str | None = None
    storage: str | None = None
    epochs: int = 10
    precision: str = "auto"
    views: int = 3
    seed: int = 0
    divisor: int = 1
    freeze: tuple[str, ...] = ()
    tie: tuple[str, ...] = ()
    least: tuple[str, ...] = ()
    input: str | None = None
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None

    def __post_init__(self) -> None:
        if self.method == SEARCH:
            object.__setattr__(self, "method", RunConfig.method)
        self._reject_unused_options()
        if not self.limits and not self.learns_widths:
            object.__setattr__(self, "flops", "50%")
        _ = self.spec, self.ties, self.min_keep, self.strengths  # what is not well formed is refused here
        if self.strength is not None and self.strength < 0:
            raise SecateurError(f"strength={self.strength}; give 0 or more")
        for option, least in (("trials", 0), ("epochs", 1), ("views", 0), ("seed", 0), ("divisor", 1)):
            if getattr(self, option) < least:
                raise SecateurError(f"{option}={getattr(self, option)}; give {least} or more")
        require_precision(self.precision)
        if self.std and min(self.std) <= 0:
            raise SecateurError(f"std={self.std}; give the standard deviation of each channel, above 0")

    def _reject_unused_options(self) -> None:
        kind = self.method if self.learns_widths else SEARCH
        for option in fields(self):
            if kind not in OPTION_METHODS.get(option.name, (kind,)) and getattr(self, option.name) != option.default:
                name, methods = option.name.replace("_", "-"), " and ".join(OPTION_METHODS[option.name])
                raise SecateurError(f"--{name} is for {methods} and not for --method {self.method}; leave it out")

    @property
    def learns_widths(self) -> bool:
        """Whether widths are learnt in distillation, rather than searched."""
        return self.method in JOINT_METHODS

    @property
    def goal(self) -> str:
        """What the run is to come to, in words: its budget, and how it gets there without a search."""
        return f"{self.method} {self.budget}".strip() if self.learns_widths else self.budget

    @property
    def command_line(self) -> str:
        """The ask as words of a command line, without what is default anyway."""
        words, usual = [self.model], RunConfig()
        for option in fields(self)[1:]:
            value = getattr(self, option.name)
            if value not in (None, getattr(usual, option.name)):
                words += [f"--{option.name.replace('_', '-')} {given}" for given in _typed(value)]
        return " ".join(words)

    @property
    def limits(self) -> dict[str, str]:
        """The limits that were given, by option."""
        return {option: text for option in LIMITS if (text := getattr(self, option)) is not None}

    @cached_property
    def spec(self) -> BudgetSpec:
        """The limits, parsed."""
        return BudgetSpec.parse(**self.limits)

    @property
    def budget(self) -> str:
        """The limits in words: ``50%``, ``50% params 5ms latency``."""
        return str(self.spec)

    @property
    def ties(self) -> tuple[tuple[str, str], ...]:
        """``tie`` as pairs of group names."""
        return tuple(map(_pair, self.tie))

    @property
    def min_keep(self) -> dict[str, float]:
        """``least`` by pattern: a share (float) or a number of channels (int); what holds for all groups comes last."""
        found = dict(map(_least, self.least))
        return {pattern: found[pattern] for pattern in sorted(found, key="*".__eq__)}

    @property
    def strengths(self) -> dict[str, float]:
        """``block_strength`` by pattern."""
        return dict(map(_strength, self.block_strength))

    @property
    def shape(self) -> tuple[int, int, int] | None:
        """``input`` as (channels, height, width)."""
        if self.input is None:
            return None
        sizes = self.input.lower().split("x")
        if len(sizes) != 3 or not all(size.isdigit() and int(size) for size in sizes):
            raise SecateurError(f"input {self.input!r} is not channels x height x width; write 3x224x224")
        channels, height, width = map(int, sizes)
        return channels, height, width


def _typed(value: Any) -> list[str]:
    """What is typed behind an option: three numbers after one, or words after one each."""
    words = [shlex.quote(str(each)) for each in (value if isinstance(value, tuple) else (value,))]
    return words if isinstance(value, tuple) and isinstance(value[0], str) else [" ".join(words)]


def _pair(text: str) -> tuple[str, str]:
    """``A,B`` as two names."""
    one, _, other = (part.strip() for part in text.partition(","))
    if not one or not other or one == other or set(text) & set("*?[") or "," in other:
        raise SecateurError(f"tie {text!r} is not two channel groups; write --tie layer1.0.conv1,layer1.1.conv1")
    return one, other


def _least(text: str) -> tuple[str, float]:
    """``conv1=50%`` as a pattern and a share, ``conv1=16`` and a number of channels, ``50%`` for all groups."""
    pattern, _, amount = text.rpartition("=")
    found = re.fullmatch(r"(\d+(?:\.\d+)?)%|(\d+)", amount.strip())
    if not found or (found[1] and float(found[1]) > 100):
        raise SecateurError(
            f"least {text!r} is no share up to 100% and no number of channels; write 10%, conv1=16 or 'layer1.*=50%'"
        )
    return pattern.strip() or "*", float(found[1]) / 100 if found[1] else int(found[2])


def _strength(text: str) -> tuple[str, float]:
    """``layer1.*=2`` as a pattern and a factor."""
    pattern, _, factor = text.rpartition("=")
    if not pattern.strip() or not re.fullmatch(r"\s*\d+(\.\d+)?\s*", factor):
        raise SecateurError(f"block-strength {text!r} is no pattern and no factor; write 'layer1.*=2'")
    return pattern.strip(), float(factor)
