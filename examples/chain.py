"""What most examples share: trace a trained network, search at half its MACs, fine-tune the winner, test both."""

import argparse
import sys
from dataclasses import dataclass
from tempfile import TemporaryDirectory
from typing import Any

from torch import nn

import secateur as sc


@dataclass(frozen=True)
class Chain:
    """The slim network, and the task's metric on test data before and after."""

    student: nn.Module
    metric: str
    dense: float
    slim: float
    macs: float

    def __str__(self) -> str:
        return f"{self.metric} on test data: {self.dense:.4g} dense, {self.slim:.4g} with {self.macs:.1%} of the MACs"


def halved(model: nn.Module, data: sc.Data, *, epochs: int, quick: bool = False) -> Chain:
    """The network at half its MACs; ``quick``: with few candidates, ranked by L1 alone."""
    search: dict[str, Any] = {"trials": 1, "scores": {"l1": sc.SCORES["l1"]}} if quick else {"trials": 50}
    net = sc.Supernet.of(model, data.example)
    with TemporaryDirectory() as folder:
        found = sc.find(net, data, "50%", views=0, out=folder, progress=say, **search)
        student = sc.finetune(net, found.best(), found.bank, data, epochs=epochs, method="kd", progress=say)
    dense, slim = (sc.evaluate(each, data.test) for each in (model, student))
    return Chain(student, dense.name, dense.value, slim.value, net.macs(found.best()) / net.macs(net.dense))


def say(what: str, done: int, total: int) -> None:
    """One line that is written over and over."""
    print(f"\r{what}: {done}/{total}\033[K", end="\n" if done == total else "", file=sys.stderr)


def asked_for_quick(about: str | None) -> bool:
    """Whether the script was called with ``--quick``; ``about`` is its docstring, for ``--help``."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few images and steps, to see that it runs")
    return bool(parser.parse_args().quick)
