"""The command line: parse, run, print."""

from .signals import end_on_signals, say_stopped

end_on_signals()  # before the imports below, which take a moment

import json as json_format
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import App, CycloptsError, Group, Parameter

from . import __version__
from .allocator import keep_freed
from .errors import SecateurError
from .reports.next_commands import (
    after_evaluate,
    after_export,
    after_report,
    after_reuse,
    after_search,
    after_transfer,
    next_commands,
)
from .rundir.choices import CHOICE, shown_default
from .rundir.command_options import MeasureOptions, OutputOptions, PlaceOptions, PointOptions, ReuseOptions
from .rundir.config import RunConfig, ask
from .rundir.config_file import options_from_file, print_options
from .rundir.options import USUAL_FLOPS, BudgetOptions, ConstraintOptions, parse_shape
from .rundir.synonyms import in_words
from .rundir.titles import OUTPUT, SEARCH, under

FLAT = Parameter(name="*")
PRUNE = Group("Prune", sort_key=0)
USE = Group("Use what was found", sort_key=1)
LOOK = Group("Look first", sort_key=2)
ELSE = Group("Beside", sort_key=3)

app = App(
    name="secateur",
    help="""Give it a trained CNN and a FLOPs budget; it gives back a smaller CNN.

Try it with no data and no weights, in two to four minutes: `secateur run`. Then with your own:

`secateur run MODEL --weights FILE --data imagefolder:DIR --flops 50%`

MODEL: resnet20 resnet56 vgg16_bn mobilenetv2 ... (32 px), torchvision:NAME, timm:NAME (trained:
torchvision:NAME@DEFAULT, timm:NAME@pretrained), path/to/file.py:function or package.module:function.

DATA: digits, cifar10:ROOT, cifar100:ROOT, imagefolder:ROOT, path/to/file.py:function.

BUDGET: a share of the MACs to keep (50%), a number (62M) or a range (25%..80%); other limits: see run --help.""",
    default_parameter=Parameter(negative=(), show_default=shown_default),
    version=__version__,
    group_commands=ELSE,
    exit_on_error=False,  # main says it, in one line
    print_error=False,
    suppress_keyboard_interrupt=False,
)
app.register_install_completion_command(group=ELSE, help="Let this shell complete commands, options and their choices.")

Config = Annotated[RunConfig, FLAT]
Place = Annotated[PlaceOptions, under(OUTPUT)]
Output = Annotated[OutputOptions, under(OUTPUT)]


@app.command(group=PRUNE, sort_key=0)
def run(config: Config = RunConfig(), *, place: Place = PlaceOptions(), output: Output = OutputOptions()) -> None:  # noqa: B008  # frozen
    """Search, fill the memory bank, fine-tune, test; or learn the widths in distillation, see --method.

    The same command resumes where it ended.
    """
    from .reports.tables import show_result

    if place.print_config:
        return print_options(config, place, output)
    stages, folder = _completed(config, place, output, "speed")
    _print(output.json, {"out": str(folder), **_plain(stages)}, lambda: show_result(stages, folder))
    _then(output, next_commands("learn" if config.learns_widths else "run", folder))


@app.command(group=PRUNE, sort_key=1)
def search(
    config: Config = RunConfig(),  # noqa: B008  # frozen
    *,
    prefill: Annotated[bool, Parameter(group=SEARCH)] = False,
    place: Place = PlaceOptions(),  # noqa: B008  # frozen
    output: Output = OutputOptions(),  # noqa: B008  # frozen
) -> None:
    """Search, and show the front; `run` with the same options continues from there.

    Parameters
    ----------
    prefill
        Fill the memory bank now, which else fills itself in fine-tuning; for several processes that share it.
    """
    from .reports.tables import show_front
    from .rundir.results import Results

    if place.print_config:
        return print_options(config, place, output)
    stages, folder = _completed(config, place, output, "bank", prefill)
    front = Results.of(folder).front
    rows = [{**point.costs.kept.to_dict(), **point.score.to_dict()} for point in front.points]
    value = {"out": str(folder), **_plain(stages), "front": rows}
    _print(output.json, value, lambda: show_front(front, stages, folder))
    _then(output, after_search(config.command_line, folder))


def _completed(config: RunConfig, place: PlaceOptions, output: OutputOptions, until: str, prefill: bool = False) -> Any:
    """The outcomes of the stages, and the run directory."""
    from .rundir.folder import folder_for
    from .stages.joint_run import headline
    from .stages.run import complete

    folder = folder_for(config, place)
    how: dict[str, Any] = {"device": output.device, "anyway": place.anyway, "overwrite": place.overwrite}
    with _watched(output, folder, headline(config)) as progress:
        return complete(config, folder, until=until, prefill=prefill, progress=progress, **how), folder


@contextmanager
def _watched(output: OutputOptions, folder: Path, heading: str = "") -> Iterator[Any]:
    """The observer of a run that is asked for."""
    from .reports.tensorboard import on_tensorboard
    from .reports.terminal import bars

    boards = folder / "tensorboard" if output.tensorboard else None
    with bars(output.quiet or output.json, heading) as shown, on_tensorboard(shown, boards) as observer:
        yield observer


@app.command(group=PRUNE, sort_key=2)
def transfer(
    run: Path,
    /,
    *,
    flops: str | None = None,
    point: Annotated[PointOptions, FLAT] = PointOptions(),  # noqa: B008  # frozen
    output: Output = OutputOptions(),  # noqa: B008  # frozen
) -> None:
    """Fine-tune any point of a finished run's front, from its memory bank. Under torchrun all processes train it.

    Parameters
    ----------
    run
        The run directory, or one of its points; or what `reuse` built, to be trained on the labels of --data.
    flops
        The budget: 40% or 50M of the MACs; the best subnetwork of the front that meets it is tuned. Default: the run's
        winner.
    """
    from .reports.tables import show_point
    from .stages.alone import tune_kept
    from .transfer.training.distributed import process_group, world

    with process_group(output.device) as device:
        first = world().first
        with _watched(output if first else OutputOptions(quiet=True), run) as progress:
            figures, folder = tune_kept(run, flops, device=device, progress=progress, **asdict(point))
    if first:
        _print(output.json, {"out": str(folder), **figures.to_dict()}, lambda: show_point(figures, folder))
        _then(output, after_transfer(folder))


@app.command(group=USE, sort_key=0)
def report(
    *runs: Path,
    out: Path | None = None,
    measure: Annotated[Literal["loss", "accuracy", "test"], CHOICE] = "loss",
    published: Path | None = None,
    json: bool = False,
) -> None:
    """Draw runs into one page that opens offline: report.html, and pareto.png, pareto.svg and front.csv beside it.

    Parameters
    ----------
    runs
        Run directories; several are overlaid.
    out
        The folder to write to. Default: the run directory, or for several the folder `report` beside the first.
    measure
        What the Pareto plot shows over MACs: loss or accuracy on the holdout before fine-tuning, or test (accuracy of
        what was fine-tuned).
    published
        A CSV of other people's points, to stand in the plot: name, macs (62M, or 50% of the first run's dense network)
        and the measure.
    json
        Print one JSON object.
    """
    from .reports.page import report

    if not runs:
        raise SecateurError("no run directory was passed; pass one or more")
    page = report(*runs, out=out, measure=measure, published=published)
    files = {name: str(page.with_name(name)) for name in ("report.html", "pareto.png", "pareto.svg", "front.csv")}
    _print(json, files, lambda: print(f"report: {page}"))
    _then(OutputOptions(json=json), after_report(runs))


@app.command(group=USE, sort_key=3)
def reuse(
    source: Path,
    model: str | None = None,
    /,
    *,
    out: Path,
    how: Annotated[ReuseOptions, FLAT] = ReuseOptions(),  # noqa: B008  # frozen
    json: bool = False,
) -> None:
    """Build an architecture that was found before, with inherited weights or fresh ones; `run --start` searches on.

    Parameters
    ----------
    source
        An architecture.json, a run (its winner, without --flops), or a folder of many: the most similar is taken.
    model
        The network to build it on; one of another depth takes the widths over its depth. Default: its own.
    out
        The folder for architecture.json and weights.safetensors.
    json
        Print one JSON object.
    """
    from .deploy.reuse import reuse
    from .reports.tables import show_reused

    shape = how.input and parse_shape(how.input)
    options: dict[str, Any] = {"weights": how.weights, "classes": how.classes, "shape": shape, "seed": how.seed}
    costs = reuse(source, model, out, budget=how.flops, **options).summary
    _print(json, {"out": str(out), **costs.to_dict()}, lambda: show_reused(costs, out))
    _then(OutputOptions(json=json), after_reuse(out, fresh=how.weights is None))


@app.command(group=USE, sort_key=2)
def export(
    run: Path,
    /,
    *,
    format: Annotated[Literal["onnx", "pt2"], CHOICE] = "onnx",
    out: Path | None = None,
    model: str | None = None,
    json: bool = False,
) -> None:
    """Write the slim network of a run for other programs, for any batch, checked against torch before it is kept.

    Parameters
    ----------
    run
        A finished run, one of its points, or what `reuse` built.
    format
        onnx (needs the extra `onnx`), or pt2 (a program of torch.export).
    out
        The file. Default: model.onnx or model.pt2 beside the weights.
    model
        The dense network, where it is a function of your own: a file alone runs no code.
    json
        Print one JSON object.
    """
    from .deploy.export import export

    exported = export(run, format, out, base=model)
    _print(json, {**asdict(exported), "path": str(exported.path)}, lambda: print(exported))
    _then(OutputOptions(json=json), after_export(run))


@app.command(group=USE, sort_key=1)
def evaluate(
    target: str,
    /,
    *,
    how: Annotated[MeasureOptions, FLAT] = MeasureOptions(),  # noqa: B008  # frozen
    quiet: bool = False,
    json: bool = False,
) -> None:
    """Test accuracy, costs and measured time: of a run's slim network beside the dense one, or of a dense network.

    Parameters
    ----------
    target
        A finished run or one of its points; or a network as for run, or what `reuse` built.
    quiet
        Print nothing but the result.
    json
        Print one JSON object instead.
    """
    from .deploy.measure import measure
    from .reports.tables import show_measured
    from .reports.terminal import bars

    with bars(quiet or json) as progress:
        measured = measure(target, progress=progress, **asdict(how))
    _print(json, measured.to_dict(), lambda: show_measured(measured))
    _then(OutputOptions(json=json, quiet=quiet), after_evaluate(target))


@app.command(group=LOOK, sort_key=0)
def inspect(
    model: str,
    /,
    *,
    budget: Annotated[BudgetOptions, FLAT] = BudgetOptions(),  # noqa: B008  # frozen
    constraints: Annotated[ConstraintOptions, FLAT] = ConstraintOptions(),  # noqa: B008  # frozen
    classes: int | None = None,
    input: str | None = None,
    picture: Path | None = None,
    json: bool = False,
) -> None:
    """Show the channel groups, what is frozen and why, and whether a budget can be met; exit status 1 where it can't.

    Parameters
    ----------
    model
        The network.
    classes
        Outputs of the network. Default: 1000 for torchvision and timm, else 10.
    input
        Channels, height and width of the input. Default: 3x224x224 for torchvision and timm, else 3x32x32.
    picture
        Draw the groups over the depth of the network, as .svg or .png.
    json
        Print one JSON object instead of a table.
    """
    from rich.console import Console

    from .reports.group_picture import over_depth, require_place
    from .reports.inspection import inspection

    asked = budget if budget.spec.limits else BudgetOptions(flops=USUAL_FLOPS)
    config = ask(model, input=input, **asdict(asked), **asdict(constraints))
    if picture:
        require_place(picture)
    with Console(stderr=True).status(f"finding the channel groups of {model}"):
        shape, profile = inspection(config, classes)
    if picture:
        over_depth(profile, model).savefig(picture, dpi=150)
    drawn, facts = {"picture": str(picture)} if picture else {}, profile.to_dict()
    text = f"{model} on an input of {'x'.join(map(str, shape))}\n\n{profile}"
    lines = [text, *(f"{name}: {path}" for name, path in drawn.items())]
    _print(json, {"model": model, "input": shape, **facts, **drawn}, lambda: print("\n".join(lines)))
    if budget.spec.limits and not profile.satisfiable:
        sys.exit(1)
    _then(OutputOptions(json=json), next_commands("inspect", model))


@app.command(group=LOOK, sort_key=1)
def doctor(*, json: bool = False) -> None:
    """Show versions, device, threads, number formats, free disk and optional libraries; --json prints one object."""
    from .deploy.doctor import examination, to_dict

    found = examination(__version__)
    _print(json, to_dict(found), lambda: print(*found, sep="\n"))
    _then(OutputOptions(json=json), next_commands("doctor"))


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line; a user's mistake is one line on stderr and exit status 2."""
    keep_freed()
    try:
        app.config = options_from_file(sys.argv[1:] if argv is None else argv)
        app(argv)
    except (SecateurError, CycloptsError) as error:
        print(f"secateur: {' '.join(in_words(error).split())}", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:  # whoever read has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:  # a full or read-only disk, where nothing else names it
        print(f"secateur: {error.filename or 'a file'}: {error.strerror or error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt as stopped:
        say_stopped()
        sys.exit(getattr(stopped, "status", 130))


def _print(as_json: bool, value: object, show: Callable[[], None]) -> None:
    """One JSON object on stdout and nothing else, or what a person reads."""
    if as_json:
        print(json_format.dumps(value))
    else:
        show()


def _then(output: OutputOptions, commands: str) -> None:
    """What to type next, for a person who reads."""
    if commands and not (output.json or output.quiet):
        print(commands)


def _plain(stages: Any) -> dict[str, Any]:
    return {name: outcome.to_dict() for name, outcome in stages.done().items()}


if __name__ == "__main__":
    main()
