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
from typing import Annotated, Any

from cyclopts import App, CycloptsError, Parameter

from . import __version__
from .allocator import keep_freed
from .errors import SecateurError
from .reports.next_commands import after_search, after_transfer, next_commands
from .rundir.command_options import OutputOptions, PointOptions, RunOutputOptions
from .rundir.config import RunConfig, ask
from .rundir.config_file import options_from_file, print_options
from .rundir.options import BudgetOptions, ConstraintOptions, parse_shape
from .rundir.synonyms import in_words

app = App(
    name="secateur",
    help="""Give it a trained CNN and a FLOPs budget; it gives back a smaller CNN.

Try it with no data and no weights, in two to four minutes: `secateur run`. Then with your own:
`secateur run resnet56 --weights w.safetensors --data imagefolder:DIR --flops 50% --out runs/r56`.
The same command resumes a run that was interrupted.

MODEL: resnet20 resnet56 vgg16_bn mobilenetv2 ... (32 px), torchvision:NAME, timm:NAME (trained:
torchvision:NAME@DEFAULT, timm:NAME@pretrained), path/to/file.py:function or package.module:function.
DATA: digits, cifar10:ROOT, cifar100:ROOT, imagefolder:ROOT, path/to/file.py:function.
BUDGET: a share of the MACs to keep (50%), a number (62M) or a range (25%..80%); other limits: see run --help.""",
    default_parameter=Parameter(negative=()),
    version=__version__,
    exit_on_error=False,  # main says it, in one line
    print_error=False,
    suppress_keyboard_interrupt=False,
)


FLAT = Parameter(name="*")
Config = Annotated[RunConfig, FLAT]
Output = Annotated[OutputOptions, FLAT]
RunOutput = Annotated[RunOutputOptions, FLAT]


@app.command
def run(config: Config = RunConfig(), *, output: RunOutput = RunOutputOptions()) -> None:  # noqa: B008  # frozen
    """Search, fill the memory bank, fine-tune, test; or learn the widths in distillation, see --method.

    The same command resumes where it ended.
    """
    from .reports.tables import show_result

    if output.print_config:
        return print_options(config, output)
    stages, folder = _completed(config, output, "test")
    _print(output.json, {"out": str(folder), **_plain(stages)}, lambda: show_result(stages, folder))
    _then(output, next_commands("learn" if config.learns_widths else "run", folder))


@app.command
def search(
    config: Config = RunConfig(),  # noqa: B008  # frozen
    *,
    prefill: bool = False,
    output: RunOutput = RunOutputOptions(),  # noqa: B008  # frozen
) -> None:
    """Search, and show the front; `run` with the same options continues from there.

    Parameters
    ----------
    prefill
        Fill the memory bank now, which else fills itself in fine-tuning; for several processes that share it.
    """
    from .reports.tables import show_front
    from .rundir.results import Results

    if output.print_config:
        return print_options(config, output)
    stages, folder = _completed(config, output, "bank", prefill=prefill)
    front = Results.of(folder).front
    rows = [{**point.costs.kept.to_dict(), **point.score.to_dict()} for point in front.points]
    value = {"out": str(folder), **_plain(stages), "front": rows}
    _print(output.json, value, lambda: show_front(front, stages, folder))
    _then(output, after_search(config.command_line, folder))


def _completed(config: RunConfig, output: RunOutputOptions, until: str, *, prefill: bool = False) -> Any:
    """The outcomes of the stages, and the run directory."""
    from .rundir.folder import folder_for
    from .stages.joint_run import headline
    from .stages.run import complete

    folder = folder_for(config, output)
    how: dict[str, Any] = {"device": output.device, "anyway": output.anyway, "overwrite": output.overwrite}
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


@app.command
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


@app.command
def report(
    *runs: Path,
    out: Path | None = None,
    measure: str = "loss",
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
        raise SecateurError("no run is given; pass one run directory or several")
    page = report(*runs, out=out, measure=measure, published=published)
    files = {name: str(page.with_name(name)) for name in ("report.html", "pareto.png", "pareto.svg", "front.csv")}
    _print(json, files, lambda: print(f"report: {page}"))


@app.command
def reuse(
    source: Path,
    model: str | None = None,
    /,
    *,
    out: Path,
    flops: str | None = None,
    weights: Path | None = None,
    classes: int | None = None,
    input: str | None = None,
    seed: int = 0,
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
    json
        Print one JSON object.
    """
    from .deploy.reuse import reuse
    from .reports.tables import show_reused

    options: dict[str, Any] = {
        "weights": weights,
        "classes": classes,
        "shape": input and parse_shape(input),
        "seed": seed,
    }
    costs = reuse(source, model, out, budget=flops, **options).summary
    _print(json, {"out": str(out), **costs.to_dict()}, lambda: show_reused(costs, out))


@app.command
def export(
    run: Path, /, *, format: str = "onnx", out: Path | None = None, model: str | None = None, json: bool = False
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


@app.command
def evaluate(
    target: str,
    /,
    *,
    data: str | None = None,
    model: str | None = None,
    task: str | None = None,
    weights: str | None = None,
    batch: int = 32,
    threads: int | None = None,
    input: str | None = None,
    quiet: bool = False,
    json: bool = False,
) -> None:
    """Test accuracy, costs and measured time: of a run's slim network beside the dense one, or of a dense network.

    Parameters
    ----------
    target
        A finished run or one of its points; or a network as for run, or what `reuse` built.
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
    quiet
        Print nothing but the result.
    json
        Print one JSON object instead.
    """
    from .deploy.measure import measure
    from .reports.tables import show_measured
    from .reports.terminal import bars

    with bars(quiet or json) as progress:
        options: dict[str, Any] = {"model": model, "task": task, "weights": weights, "input": input}
        measured = measure(target, data, batch=batch, threads=threads, progress=progress, **options)
    _print(json, measured.to_dict(), lambda: show_measured(measured))


@app.command
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

    config = ask(model, input=input, **asdict(budget), **asdict(constraints))
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


@app.command
def doctor(*, json: bool = False) -> None:
    """Show versions, device, threads, number formats, free disk and optional libraries; --json prints one object."""
    from .deploy.doctor import examination, to_dict

    found = examination(__version__)
    _print(json, to_dict(found), lambda: print(*found, sep="\n"))


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
    if not (output.json or output.quiet):
        print(commands)


def _plain(stages: Any) -> dict[str, Any]:
    return {name: outcome.to_dict() for name, outcome in stages.done().items()}


if __name__ == "__main__":
    main()
