"""The command line: parse, run, print."""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, CycloptsError, Parameter

from .ledger import Ask
from .models.errors import SecateurError

app = App(
    name="secateur",
    help="""Give it a trained CNN and a FLOPs budget; it gives back a smaller CNN.

Try it with no data and no weights, in one to two minutes: `secateur run`. Then with your own:
`secateur run resnet56 --weights w.safetensors --data imagefolder:DIR --flops 50% --out runs/r56`.
The same line again takes up a run that was interrupted.

MODEL: resnet20 resnet56 vgg16_bn mobilenetv2 ... (32 px), torchvision:NAME, timm:NAME,
path/to/file.py:function or package.module:function.
DATA: digits, cifar10:ROOT, cifar100:ROOT, imagefolder:ROOT, path/to/file.py:function.
BUDGET: a share of the MACs to keep (50%) or a number of them (62M).""",
    exit_on_error=False,  # main says it, in one line
    print_error=False,
    suppress_keyboard_interrupt=False,
)

Quiet = Annotated[bool, Parameter(negative=())]


@app.command
def run(
    model: str = Ask.model,
    /,
    *,
    weights: str | None = None,
    data: str = Ask.data,
    flops: str = Ask.flops,
    out: Path | None = None,
    method: str = Ask.method,
    trials: int = Ask.trials,
    epochs: int = Ask.epochs,
    seed: int = Ask.seed,
    divisor: int = Ask.divisor,
    input: str | None = None,
    mean: tuple[float, float, float] | None = None,
    std: tuple[float, float, float] | None = None,
    device: str | None = None,
    quiet: Quiet = False,
    json: Quiet = False,
) -> None:
    """Search, fill the memory bank, fine-tune, test. The same line again takes up where it ended.

    Parameters
    ----------
    model
        The dense network; with no argument ResNet-20 on scikit-learn's digits, the quickstart.
    weights
        Its trained weights: .safetensors, or a checkpoint of plain tensors. Only digits needs none.
    data
        Training, holdout and test images.
    flops
        How many MACs may stay: 50% or 62M.
    out
        The run directory. Default: runs/MODEL-DATA-BUDGET.
    method
        How to fine-tune: ckt (gated teachers and InfoNCE from the bank), ckt-kl (gated teachers), ce (labels).
    trials
        Subnetworks that the fine search evaluates.
    epochs
        Epochs of fine-tuning.
    seed
        The same seed gives the same result on the same machine.
    divisor
        Widths are multiples of this.
    input
        Channels, height and width of the input, as 3x224x224. Default: the images' own.
    mean
        Mean of the input channels, in 0..1. Default: ImageNet's.
    std
        Standard deviation of the input channels. Default: ImageNet's.
    device
        cpu or cuda. Default: cuda where there is one.
    quiet
        Print nothing but the result.
    json
        Print one JSON object instead.
    """
    from . import console, stages

    ask = Ask(model, data, weights, flops, method, trials, epochs, seed, divisor, input, mean, std)
    folder = out or Path("runs", "-".join(_plain(part) for part in (model, data, flops)))
    with console.bars(quiet or json) as progress:
        outcomes = stages.run(ask, folder, device=device, progress=progress)
    console.result(outcomes, folder, json)


@app.command
def inspect(
    model: str,
    /,
    *,
    flops: str = Ask.flops,
    classes: int = 10,
    input: str = "3x32x32",
    divisor: int = Ask.divisor,
    json: Quiet = False,
) -> None:
    """Show the channel groups, what is frozen and why, and whether a budget can be met.

    Parameters
    ----------
    model
        The network.
    flops
        The budget: 50% or 62M.
    classes
        Outputs of the network.
    input
        Channels, height and width of the input.
    divisor
        Widths are multiples of this.
    json
        Print one JSON object instead of a table.
    """
    import torch

    from .models.specs import constructor
    from .models.supernet import Supernet

    shape = replace(Ask(), input=input).shape or ()
    profile = Supernet.of(constructor(model, classes)(), torch.zeros(1, *shape), divisor=divisor).profile(flops)
    print(_dumped({**asdict(profile), "satisfiable": profile.satisfiable}) if json else profile)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line; a user's mistake is one line on stderr and exit status 2."""
    try:
        app(argv)
    except (SecateurError, CycloptsError) as error:
        print(f"secateur: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("secateur: stopped; the same line again goes on from here", file=sys.stderr)
        sys.exit(130)


def _plain(part: str) -> str:
    return "".join(c if c.isalnum() or c in "._%" else "-" for c in part).strip("-").replace("%", "pc")


def _dumped(value: Any) -> str:
    return json.dumps(value)


if __name__ == "__main__":
    main()
