"""The configuration of a run, nested by concern; on the command line and in run.json every option is flat."""

import shlex
from collections.abc import Iterator
from dataclasses import KW_ONLY, Field, asdict, dataclass, field, fields, replace
from typing import Annotated, Any

from cyclopts import Parameter

from ..errors import SecateurError
from ..models.files.place import is_kept
from ..models.precision import require_precision
from ..models.zoo.names import is_pretrained
from ..signatures import require_values
from .choices import CHOICE, Precision
from .options import (
    SEARCH,
    USUAL_FLOPS,
    BudgetOptions,
    ConstraintOptions,
    DataOptions,
    JointOptions,
    SearchOptions,
    TransferOptions,
    require_at_least,
)
from .titles import ASKED, DATA, OTHERS, TRAINING, WIDTHS, under
from .titles import SEARCH as SEARCHING

QUICKSTART, QUICKSTART_FLOPS = ("resnet20", DataOptions.data), "10%"  # benchmarks/quickstart_budgets.py


@dataclass(frozen=True)
class RunConfig:
    """Everything that decides the result of a run; the same configuration gives the same architecture.

    Every option of the command line is a field of one of the groups; ``ask`` takes them flat.

    >>> config = ask("resnet56", flops="40%", epochs=20)
    >>> config.transfer.epochs, config.goal
    (20, '40%')

    Parameters
    ----------
    model
        The dense network; by default ResNet-20, for scikit-learn's digits: the quickstart.
    weights
        Its trained weights: .safetensors or a PyTorch checkpoint; FILE:KEY for a moving average (state_dict_ema) or
        another of several networks in it. digits needs none, nor torchvision:NAME@DEFAULT and timm:NAME@pretrained.
    precision
        Of the search and all training: float32, bfloat16, or auto, which is bfloat16 where the device computes in it.
    seed
        The same seed gives the same result on the same machine.
    """

    model: Annotated[str, Parameter(group=ASKED)] = QUICKSTART[0]
    _: KW_ONLY
    weights: Annotated[str | None, Parameter(group=ASKED)] = None
    budget: Annotated[BudgetOptions, under(ASKED)] = field(default_factory=BudgetOptions)
    images: Annotated[DataOptions, under(DATA)] = field(default_factory=DataOptions)
    search: Annotated[SearchOptions, under(SEARCHING)] = field(default_factory=SearchOptions)
    transfer: Annotated[TransferOptions, under(TRAINING)] = field(default_factory=TransferOptions)
    constraints: Annotated[ConstraintOptions, under(WIDTHS)] = field(default_factory=ConstraintOptions)
    joint: Annotated[JointOptions, under(OTHERS)] = field(default_factory=JointOptions)
    precision: Annotated[Precision, CHOICE, Parameter(group=TRAINING)] = "auto"
    seed: Annotated[int, Parameter(group=ASKED)] = 0

    def __post_init__(self) -> None:
        require_precision(self.precision)
        require_at_least(0, seed=self.seed)
        self._reject_unused_options()
        if self.weights and is_pretrained(self.model):
            raise SecateurError(f"{self.model} already has weights; leave out --weights {self.weights}, or the @")
        if not self.budget.spec.limits and not self.learns_widths:
            object.__setattr__(self, "budget", BudgetOptions(flops=self._usual_flops))

    @property
    def learns_widths(self) -> bool:
        """Whether widths are learned in distillation, rather than searched."""
        return self.transfer.learns_widths

    @property
    def _usual_flops(self) -> str:
        """The budget where none is asked for; at 50% of the quickstart's MACs a search has nothing to win."""
        return QUICKSTART_FLOPS if (self.model, self.images.data) == QUICKSTART else USUAL_FLOPS

    @property
    def trained(self) -> str | None:
        """Where the dense network's weights are from: a file, its library or its folder; None where nowhere."""
        return self.weights or (self.model if is_pretrained(self.model) or is_kept(self.model) else None)

    @property
    def teacher_trained(self) -> str | None:
        """The same of the teacher that is another network."""
        name = self.joint.teacher
        return self.joint.teacher_weights or (name if name and is_pretrained(name) else None)

    @property
    def name(self) -> str:
        """Model, data and budget, in letters that every file system takes.

        >>> ask("resnet56", flops="40%").name
        'resnet56-digits-40pc'
        """
        return "-".join(map(file_name, (self.model, self.images.data, self.goal)))

    @property
    def goal(self) -> str:
        """What the run aims at: its budget, after its method where that is no search. ``50%``, ``pdd 40%``."""
        return f"{self.transfer.method} {self.budget.spec}".strip() if self.learns_widths else str(self.budget.spec)

    @property
    def command_line(self) -> str:
        """The model, the budget and every option that is not at its default, as typed."""
        words, defaults = [self.model], {**ask().to_dict(), "flops": None}
        for option, value in self.to_dict().items():
            if option != "model" and value not in (None, defaults[option]):
                words += [f"--{flag(option)} {typed}" for typed in _typed(value)]
        return " ".join(words)

    def to_dict(self) -> dict[str, Any]:
        """Every option by its name, flat, as run.json and provenance have it."""
        flat: dict[str, Any] = {}
        for name, value in asdict(self).items():
            flat.update(value if isinstance(value, dict) else {name: value})
        return flat

    def with_options(self, **options: Any) -> "RunConfig":
        """The same configuration with some options changed, by their flat names."""
        return ask(**{**self.to_dict(), **options})

    def _reject_unused_options(self) -> None:
        kind = self.transfer.method if self.learns_widths else SEARCH
        for option, value in _options(self):
            methods = option.metadata.get("methods", (kind,))
            if not {kind, self.transfer.method} & {*methods} and value != option.default:
                name, readers = flag(option.name), " and ".join(methods)
                raise SecateurError(
                    f"--{name} is for {readers} and not for --method {self.transfer.method}; leave it out"
                )


GROUPS = tuple(each.default_factory for each in fields(RunConfig) if isinstance(each.default_factory, type))


def ask(model: str = RunConfig.model, **options: Any) -> RunConfig:
    """The configuration of a run from flat options, named as on the command line with underscores.

    Args:
        model: the dense network.
        **options: any option of ``secateur run``; those that are left out keep their defaults.

    Returns:
        A ``RunConfig``. Raises SecateurError for an option that does not exist or a value that is not allowed.

    >>> config = ask("resnet56", flops="40%", trials=20)
    >>> config.command_line
    'resnet56 --flops 40% --trials 20'
    """
    groups: dict[str, Any] = {}
    for group in fields(RunConfig):
        if isinstance(group.default_factory, type):
            mine = {each.name for each in fields(group.default_factory)} & options.keys()
            values = {name: options.pop(name) for name in mine}
            require_values(group.default_factory, values)
            groups[group.name] = group.default_factory(**values)
        elif group.name in options:
            groups[group.name] = options.pop(group.name)
    if options:
        raise SecateurError(f"there is no option {next(iter(options))!r}; see secateur run --help")
    own = {"model": model, **groups}
    require_values(RunConfig, own)
    return replace(RunConfig(), **own)


def _options(config: RunConfig) -> Iterator[tuple[Field[Any], Any]]:
    """Every option of the groups, with its value."""
    for group in fields(config):
        if isinstance(group.default_factory, type):
            values = getattr(config, group.name)
            yield from ((each, getattr(values, each.name)) for each in fields(values))


def flag(option: str) -> str:
    """An option as it is typed; ``from_`` has the name of a Python keyword."""
    return option.strip("_").replace("_", "-")


def _typed(value: Any) -> list[str]:
    """What is typed after an option: three numbers after one, or each word after an option of its own."""
    words = [shlex.quote(str(each)) for each in (value if isinstance(value, tuple) else (value,))]
    return words if isinstance(value, tuple) and isinstance(value[0], str) else [" ".join(words)]


def file_name(part: str) -> str:
    """The text in letters that every file system takes."""
    return "".join(c if c.isalnum() or c in "._%=" else "-" for c in part).strip("-").replace("%", "pc")
