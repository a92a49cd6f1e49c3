"""What to type after a command."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from ..rundir.kept import Kept

EXPORT = "secateur export {target} --format onnx"
FINISHED = (("is it faster here?", "secateur evaluate {target}"), ("for other programs", EXPORT))
AFTER = {
    "run": (*FINISHED, ("a larger one, same bank", "secateur transfer {target} --flops 75%")),
    "learn": FINISHED,
    "inspect": (("prune it", "secateur run {target} --weights FILE --data imagefolder:DIR --flops 50%"),),
    "doctor": (
        ("try it", "secateur run"),
        ("a network of yours", "secateur inspect torchvision:resnet18 --flops 50%"),
    ),
}


def next_commands(command: str, target: Path | str = "") -> str:
    """The commands that usually follow one, a line each, behind what they are for.

    Args:
        command: the command that ended; ``learn`` for a run whose widths were learned, which has no front.
        target: the run directory, or for ``inspect`` the network.

    >>> print(next_commands("learn", "runs/r56"))
    next: is it faster here?  secateur evaluate runs/r56
          for other programs  secateur export runs/r56 --format onnx
    """
    return in_lines(*((what, typed.format(target=shlex.quote(str(target)))) for what, typed in AFTER[command]))


def after_search(options: str, folder: Path) -> str:
    """The same after a search, which ``run`` continues with the same options.

    >>> print(after_search("resnet56 --flops 40%", Path("runs/r56")))
    next: fine-tune the winner  secateur run resnet56 --flops 40% --out runs/r56
          a larger one          secateur transfer runs/r56 --flops 75%
          on one page           secateur report runs/r56
    """
    out = shlex.quote(str(folder))
    return in_lines(
        ("fine-tune the winner", f"secateur run {options} --out {out}"),
        ("a larger one", f"secateur transfer {out} --flops 75%"),
        ("on one page", f"secateur report {out}"),
    )


def after_transfer(folder: Path) -> str:
    """The same after a point was fine-tuned: beside the rest of its run, where it is one of a run.

    >>> print(after_transfer(Path("runs/r56/points/p1")))
    next: for other programs  secateur export runs/r56/points/p1 --format onnx
          on its run's page   secateur report runs/r56
    """
    export = ("for other programs", EXPORT.format(target=shlex.quote(str(folder))))
    if folder.parent.name != "points":
        return in_lines(export)
    return in_lines(export, ("on its run's page", f"secateur report {shlex.quote(str(folder.parent.parent))}"))


def after_reuse(folder: Path, *, fresh: bool) -> str:
    """The same after an architecture was built: one with ``fresh`` weights is to be trained.

    >>> print(after_reuse(Path("slim"), fresh=True))
    next: train it            secateur transfer slim --data imagefolder:DIR --epochs 100
          for other programs  secateur export slim --format onnx
    """
    out, purpose = shlex.quote(str(folder)), "train it" if fresh else "fine-tune it"
    train = f"secateur transfer {out} --data imagefolder:DIR --epochs {100 if fresh else 10}"
    return in_lines((purpose, train), ("for other programs", EXPORT.format(target=out)))


def after_report(runs: Sequence[Path]) -> str:
    """The same after runs were drawn; nothing, where the first of them has no slim network yet."""
    if not (runs[0] / "best").exists():
        return ""
    return in_lines(*((what, typed.format(target=shlex.quote(str(runs[0])))) for what, typed in FINISHED))


def after_export(place: Path) -> str:
    """The same after a network was written as a file; one that is of no run is tested on the user's data."""
    typed, data = shlex.quote(str(place)), "" if Kept.at(place).run else " --data imagefolder:DIR"
    return in_lines(("is it faster there?", f"secateur evaluate {typed}{data}"))


def after_evaluate(target: str) -> str:
    """The same after a network was measured: a slim one is of use, a dense one to be pruned.

    >>> print(after_evaluate("resnet56"))
    next: prune it  secateur run resnet56 --weights FILE --data imagefolder:DIR --flops 50%
    """
    kept = Kept.at(target)
    if kept.run is None:
        return next_commands("inspect", target)
    export = ("for other programs", EXPORT.format(target=shlex.quote(target)))
    return in_lines(export, ("on its run's page", f"secateur report {shlex.quote(str(kept.run))}"))


def in_lines(*commands: tuple[str, str]) -> str:
    """Pairs of purpose and command, below each other."""
    wide = max(len(what) for what, _ in commands)
    lines = (f"{what:{wide}}  {typed}" for what, typed in commands)
    return "next: " + "\n      ".join(lines)
