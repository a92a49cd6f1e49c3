"""The command line: parse, run, print."""

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, CycloptsError, Parameter

from . import __version__
from .allocator import keep_freed
from .errors import SecateurError
from .rundir.config import RunConfig
from .rundir.manifest import Outcome

app = App(
    name="secateur",
    help="""Give it a trained CNN and a FLOPs budget; it gives back a smaller CNN.

Try it with no data and no weights, in two to four minutes: `secateur run`. Then with your own:
`secateur run resnet56 --weights w.safetensors --data imagefolder:DIR --flops 50% --out runs/r56`.
The same line again takes up a run that was interrupted.

MODEL: resnet20 resnet56 vgg16_bn mobilenetv2 ... (32 px), torchvision:NAME, timm:NAME,
path/to/file.py:function or package.module:function.
DATA: digits, cifar10:ROOT, cifar100:ROOT, imagefolder:ROOT, path/to/file.py:function.
BUDGET: a share of the MACs to keep (50%), a number (62M) or a range (25%..80%); other limits: see run --help.""",
    default_parameter=Parameter(negative=()),
    version=__version__,
    exit_on_error=False,  # main says it, in one line
    print_error=False,
    suppress_keyboard_interrupt=False,
)


@dataclass(frozen=True)
class OutputOptions:
    """What does not decide the result.

    Parameters
    ----------
    device
        cpu or cuda. Default: cuda where there is one.
    quiet
        Print nothing but the result.
    json
        Print one JSON object instead.
    """

    device: str | None = None
    quiet: bool = False
    json: bool = False


RunOptions = Annotated[RunConfig, Parameter(name="*")]
Rest = Annotated[OutputOptions, Parameter(name="*")]


@app.command
def run(ask: RunOptions = RunConfig(), *, out: Path | None = None, rest: Rest = OutputOptions()) -> None:  # noqa: B008  # frozen
    """Search, fill the memory bank, fine-tune, test; or learn widths in distillation, see --method.

    The same line again takes up where it ended.

    Parameters
    ----------
    out
        The run directory. Default: runs/MODEL-DATA-BUDGET.
    """
    from .reports import terminal as console

    console.print_result(*_done(ask, out, rest, "test"), rest.json)


@app.command
def search(ask: RunOptions = RunConfig(), *, out: Path | None = None, rest: Rest = OutputOptions()) -> None:  # noqa: B008  # frozen
    """Search and fill the memory bank, and show the front; `run` with the same options goes on from there.

    Parameters
    ----------
    out
        The run directory. Default: runs/MODEL-DATA-BUDGET.
    """
    from .reports import terminal as console

    console.print_front(*_done(ask, out, rest, "bank"), rest.json)


def _done(ask: RunConfig, out: Path | None, rest: OutputOptions, until: str) -> "tuple[dict[str, Outcome], Path]":
    """What the stages came to, and the run directory."""
    from .reports import terminal as console
    from .stages import run as stages

    folder = out or Path("runs", "-".join(_plain(part) for part in (ask.model, ask.data, ask.goal)))
    with console.bars(rest.quiet or rest.json) as progress:
        return stages.run(ask, folder, until=until, device=rest.device, progress=progress), folder


@app.command
def transfer(
    run: Path,
    /,
    *,
    flops: str | None = None,
    method: str | None = None,
    epochs: int | None = None,
    seed: int | None = None,
    rest: Rest = OutputOptions(),  # frozen
) -> None:
    """Fine-tune any point of a finished run's front, from its memory bank. Under torchrun all processes train it.

    Parameters
    ----------
    run
        The run directory.
    flops
        The best subnetwork of the front that costs no more: 40% or 50M of the MACs. Default: the run's winner.
    method
        As of run. Default, here and below: as the run was asked.
    epochs
        Epochs of fine-tuning.
    seed
        The same seed gives the same result on the same machine.
    """
    from .reports import terminal as console
    from .stages import points
    from .transfer.training.distributed import process_group, world

    with process_group(rest.device) as device:
        first = world().first
        with console.bars(rest.quiet or rest.json or not first) as progress:
            done = points.tune(run, flops, method=method, epochs=epochs, seed=seed, device=device, progress=progress)
    if first:
        console.print_tuned(*done, rest.json)


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
        Run directories; several lie over each other.
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
        raise SecateurError("no run is given; give one run directory or several")
    page = report(*runs, out=out, measure=measure, published=published)
    files = {name: str(page.with_name(name)) for name in ("report.html", "pareto.png", "pareto.svg", "front.csv")}
    print(_dumped(files) if json else f"report: {page}")


@app.command
def reuse(
    source: Path,
    model: str,
    /,
    *,
    out: Path,
    flops: str | None = None,
    weights: Path | None = None,
    classes: int = 10,
    input: str = "3x32x32",
    seed: int = 0,
    json: bool = False,
) -> None:
    """Build an architecture that was found before, with inherited weights or fresh ones; `run --start` searches on.

    Parameters
    ----------
    source
        An architecture.json, a run (its winner, without --flops), or a folder of many: the likest is taken.
    model
        The network to build it on; one of another depth takes the widths over its depth.
    out
        The folder for architecture.json and weights.safetensors.
    flops
        The budget: 50% or 62M of the MACs. Default: what the architecture keeps.
    weights
        Weights of the network, to be inherited. Default: fresh ones, for training from scratch on any data.
    classes
        Outputs of the network.
    input
        Channels, height and width of the input.
    seed
        Of fresh weights.
    json
        Print one JSON object.
    """
    from .deploy.reuse import reuse
    from .reports import terminal as console

    shape = RunConfig(model, input=input).shape or (3, 32, 32)
    found = reuse(source, model, out, budget=flops, weights=weights, classes=classes, shape=shape, seed=seed)
    console.print_reused(found.about, out, json)


@app.command
def export(run: Path, /, *, format: str = "onnx", out: Path | None = None, json: bool = False) -> None:
    """Write the slim network of a run for other programs, for any batch, checked against torch before it is kept.

    Parameters
    ----------
    run
        A finished run, or the folder of one of its points.
    format
        onnx (needs the extra `onnx`), or pt2 (a program of torch.export).
    out
        The file. Default: model.onnx or model.pt2 beside the weights.
    json
        Print one JSON object.
    """
    from .deploy.export import export
    from .reports import terminal as console

    console.print_exported(asdict(export(run, format, out)), json)


@app.command
def evaluate(
    target: str,
    /,
    *,
    data: str | None = None,
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
        A finished run, or a network as of run.
    data
        Test images. Default for a run: the figures that it ended with, no image is read.
    weights
        Of a network.
    batch
        Images at once, beside one.
    threads
        Of the CPU. Default: as many as torch likes.
    input
        As of run, for a network.
    quiet
        Print nothing but the result.
    json
        Print one JSON object instead.
    """
    from .deploy import measure as evaluation
    from .reports import terminal as console

    with console.bars(quiet or json) as progress:
        options: dict[str, Any] = {"batch": batch, "threads": threads, "progress": progress}
        if Path(target, "run.json").exists():
            if weights or input:
                raise SecateurError(f"{target} is a run, with weights and an input of its own; leave yours out")
            outcome = evaluation.measure_run(Path(target), data, **options)
        else:
            outcome = evaluation.measure_model(
                RunConfig(target, data=data or RunConfig.data, weights=weights, input=input), **options
            )
    console.print_evaluated(outcome, json)


@app.command
def inspect(
    model: str,
    /,
    *,
    flops: str | None = None,
    params: str | None = None,
    memory: str | None = None,
    latency: str | None = None,
    classes: int | None = None,
    input: str | None = None,
    divisor: int = RunConfig.divisor,
    freeze: tuple[str, ...] = (),
    tie: tuple[str, ...] = (),
    least: tuple[str, ...] = (),
    picture: Path | None = None,
    json: bool = False,
) -> None:
    """Show the channel groups, what is frozen and why, and whether a budget can be met.

    Parameters
    ----------
    model
        The network.
    flops
        The budget: 50% or 62M of the MACs. Default: 50%, where no other limit is given. Several limits all hold.
    params
        The same for trainable numbers: 50% or 0.13M.
    memory
        The same for bytes of activations that live at once, for one image: 50% or 100K.
    latency
        The same for the time that one image takes on this machine's CPU, which is measured: 50% or 5ms.
    classes
        Outputs of the network. Default: 1000 for torchvision and timm, else 10.
    input
        Channels, height and width of the input. Default: 3x224x224 for torchvision and timm, else 3x32x32.
    divisor
        Widths are multiples of this.
    freeze
        Channel groups that stay whole, with wildcards: conv1 or 'layer1.*'. Can be given several times.
    tie
        Two channel groups of one width that keep the same channels: A,B. Can be given several times.
    least
        What stays of every group at least (10%), or of some: 'layer1.*=50%', conv1=16 for channels. The first that
        fits a group counts. Default: 10%. Can be given several times.
    picture
        Draw the groups over the depth of the network, as .svg or .png.
    json
        Print one JSON object instead of a table.
    """
    from rich.console import Console

    from .reports.group_picture import over_depth, require_place
    from .reports.inspection import inspection

    limits = replace(RunConfig(model), flops=flops, params=params, memory=memory, latency=latency)
    ask = replace(limits, input=input, divisor=divisor, freeze=freeze, tie=tie, least=least)
    if picture:
        require_place(picture)
    with Console(stderr=True).status(f"finding the channel groups of {model}"):
        shape, profile = inspection(ask, classes)
    if picture:
        over_depth(profile, model).savefig(picture, dpi=150)
    if json:
        drawn = {"picture": str(picture)} if picture else {}
        print(_dumped({"model": model, "input": shape, **profile.to_dict(), **drawn}))
        return
    print(f"{model} on an input of {'x'.join(map(str, shape))}\n\n{profile}")
    if picture:
        print(f"picture: {picture}")


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line; a user's mistake is one line on stderr and exit status 2."""
    keep_freed()
    try:
        app(argv)
    except (SecateurError, CycloptsError) as error:
        print(f"secateur: {error}", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:  # whoever read has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except KeyboardInterrupt:
        print("secateur: stopped; the same line again goes on from here", file=sys.stderr)
        sys.exit(130)


def _plain(part: str) -> str:
    return "".join(c if c.isalnum() or c in "._%" else "-" for c in part).strip("-").replace("%", "pc")


def _dumped(value: Any) -> str:
    return json.dumps(value)


if __name__ == "__main__":
    main()
