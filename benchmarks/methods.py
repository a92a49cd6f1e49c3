"""PDD, KDDP and block-wise learning against plain distillation and the search, at equal total epochs, one thread.

Digits: each network is trained first (12 epochs) and is the teacher and the start of every arm. ResNet-20 and
MobileNetV2 see 16 pixels, VGG-11 32. CIFAR-10 (JPEG copy): a ResNet-20 under a ResNet-56, from trained weights or anew.
``--epochs`` are all that an arm trains: the three methods spend half on the widths, the others all on fixed ones.
Search time is extra: it is in the seconds of `search`. Test images are read once, at the end of each arm.

    python benchmarks/methods.py [--cifar FOLDER] [--nets resnet20 vgg11_bn mobilenetv2] [--seeds 0 1 2] [--epochs N]

30 epochs on digits, of 8 steps each; 10 on CIFAR-10. Results are kept in a .jsonl file; none is made twice. ``--draw``
makes a table and a picture of them.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from statistics import mean, stdev
from tempfile import TemporaryDirectory
from typing import Any, TypeAlias

import numpy as np
import torch
from conditions import conditions
from torch import nn
from trained import WEIGHTS, trained
from tuned import finished, keep

import secateur as sc
from secateur.allocator import keep_freed
from secateur.data.dataset import Data
from secateur.models.compensation.gram import grams
from secateur.models.compensation.sequential import refit_sequentially
from secateur.models.costs.widths import uniform_widths
from secateur.models.evaluate import evaluate, recalibrate_as_trained
from secateur.models.files.architecture import architecture_of
from secateur.models.precision import in_bfloat16
from secateur.models.subnetwork import Subnetwork, top_channels
from secateur.models.surgery.slim import slim
from secateur.search.importance.magnitude import l1
from secateur.transfer.joint.pdd import pdd_objective
from secateur.transfer.losses import kd_loss
from secateur.transfer.objectives.base import CrossEntropy, Distillation, Objective, online_teacher
from secateur.transfer.training.recipe import Recipe
from secateur.transfer.training.train import train

RESULTS = Path(__file__).parent / "results"
SIZES = {"resnet20": 16, "vgg11_bn": 32, "mobilenetv2": 16}
TRIALS = 30
STYLES = {
    "kdft": "kD",
    "kd": "ks",
    "uniform": "k^",
    "size": "kv",
    "blocks": "k<",
    "labels": "k>",
    "after": "kP",
    "search": "C0*",
    "inherited": "C0^",
    "compensated": "C0s",
    "pdd": "C1o",
    "kddp": "C2o",
    "blockwise": "C3o",
}
PUBLISHED = [
    "PDD, ResNet-56 to ResNet-20, CIFAR-10: 39.53% of MACs and 32.77% of parameters saved at +0.17",
    "PDD, VGG-16 to VGG-11, CIFAR-10: 74.96% of MACs and 76.43% of parameters saved at -1.34",
    "block-wise, MobileNetV2: 2x MACs and 5.2x parameters saved at +1.05",
]


@dataclass(frozen=True)
class Job:
    """One arm. ``start``: "trained", or "anew" (the student's weights are drawn)."""

    data: str
    net: str
    arm: str
    epochs: int
    seed: int
    start: str


@dataclass(frozen=True, eq=False)
class Class:
    """What an arm works with; ``teacher`` is None where the dense network teaches."""

    net: sc.Supernet
    data: Data
    teacher: nn.Module | None
    job: Job

    @property
    def shared(self) -> dict[str, Any]:
        """What the methods' functions have in common."""
        return {"teacher": self.teacher, "epochs": self.job.epochs, "seed": self.job.seed}

    @property
    def found(self) -> sc.Found:
        """Half of the MACs, searched on digits, and the bank."""
        return searched(self.job.net, self.job.seed)[0]

    @property
    def uniform(self) -> Subnetwork:
        """Half of the MACs at uniform widths, by L1."""
        widths = uniform_widths(self.net.space, self.net.budget("50%"))
        return top_channels(l1(self.net, self.data.holdout), widths)


Arm: TypeAlias = Callable[[Class, Path], tuple[nn.Module, Subnetwork]]


def trained_by(room: Class, model: nn.Module, objective: Objective, epochs: int) -> nn.Module:
    """So many epochs, in place, and batch norm recalibrated."""
    recipe = Recipe(epochs, seed=room.job.seed, bfloat16=in_bfloat16("auto", room.net))
    list(train(model, room.data.train, objective, recipe))
    recalibrate_as_trained(model, room.data.train)
    return model.eval()


def distillation(room: Class) -> Objective:
    """Plain, under the teacher."""
    return Distillation(online_teacher(room.teacher or room.net.model), kd_loss)


def distilled(room: Class, subnetwork: Subnetwork) -> tuple[nn.Module, Subnetwork]:
    """All epochs of plain distillation at fixed widths, from inherited weights."""
    return trained_by(room, slim(room.net, subnetwork), distillation(room), room.job.epochs), subnetwork


def kd(room: Class, path: Path) -> tuple[nn.Module, Subnetwork]:
    """The same student, not pruned."""
    return distilled(room, room.net.dense)


def uniform(room: Class, path: Path) -> tuple[nn.Module, Subnetwork]:
    """Half of the MACs at uniform widths, by L1."""
    return distilled(room, room.uniform)


def of(room: Class, path: Path, arm: str, net: sc.Supernet | None = None) -> Subnetwork:
    """The widths that another arm came to; the filters are those that L1 says, of ``net``."""
    found = finished(path)[key(replace(room.job, arm=arm))]["widths"]
    return top_channels(l1(net or room.net, room.data.holdout), np.array(found))


def size(room: Class, path: Path) -> tuple[nn.Module, Subnetwork]:
    """KD at the widths that KDDP came to, from the start."""
    return distilled(room, of(room, path, "kddp"))


def blocks(room: Class, path: Path) -> tuple[nn.Module, Subnetwork]:
    """KD at the widths that block-wise learning came to, from the start."""
    return distilled(room, of(room, path, "blockwise"))


def labels(room: Class, path: Path) -> tuple[nn.Module, Subnetwork]:
    """The same without a teacher."""
    found = of(room, path, "blockwise")
    return trained_by(room, slim(room.net, found), CrossEntropy(), room.job.epochs), found


def after(room: Class, path: Path) -> tuple[nn.Module, Subnetwork]:
    """Pruning after distillation: PDD without its masks, its widths by L1 half way, and labels, as PDD ends."""
    half, student = room.job.epochs // 2, slim(room.net, room.net.dense)
    net = replace(room.net, model=trained_by(room, student, pdd_objective(room.teacher or room.net.model), half))
    found = of(room, path, "pdd", net)
    return trained_by(room, slim(net, found), CrossEntropy(), room.job.epochs - half), found


@lru_cache(maxsize=1)
def searched(net: str, seed: int) -> tuple[sc.Found, TemporaryDirectory[str]]:
    """Half of the MACs, searched on digits, with its bank; and the folder where that is."""
    folder = TemporaryDirectory()
    return sc.find(*digits(net, seed), "50%", trials=TRIALS, seed=seed, storage=folder.name), folder


def search(room: Class, path: Path) -> tuple[nn.Module, Subnetwork]:
    """Half of the MACs, searched, then the default way of fine-tuning."""
    return tuned(room, room.found.best())


def inherited(room: Class, path: Path) -> tuple[nn.Module, Subnetwork]:
    """The same from the weights that it inherits."""
    best = room.found.best()
    return tuned(room, best, start=slim(room.net, best))


def compensated(room: Class, path: Path) -> tuple[nn.Module, Subnetwork]:
    """The same from weights compensated in sequence."""
    best, train = room.found.best(), room.data.train
    return tuned(room, best, start=refit_sequentially(room.net, best, grams(room.net, train), train))


def kdft(room: Class, path: Path) -> tuple[nn.Module, Subnetwork]:
    """Half of the MACs at uniform widths, by L1, under the dense network's answers from the bank."""
    return tuned(room, room.uniform, method="kdft")


def tuned(room: Class, subnetwork: Subnetwork, **how: Any) -> tuple[nn.Module, Subnetwork]:
    """All epochs of fine-tuning from the bank of the search."""
    epochs, seed = room.job.epochs, room.job.seed
    return sc.finetune(room.net, subnetwork, room.found.bank, room.data, epochs=epochs, seed=seed, **how), subnetwork


def pdd(room: Class, path: Path) -> tuple[nn.Module, Subnetwork]:
    """Masks."""
    return kept(room, sc.pdd(room.net, room.data, **room.shared))


def kddp(room: Class, path: Path, strength: float | None = None) -> tuple[nn.Module, Subnetwork]:
    """Idle neurons."""
    return kept(room, sc.kddp(room.net, room.data, strength=strength, **room.shared))


def blockwise(room: Class, path: Path, strength: float | None = None) -> tuple[nn.Module, Subnetwork]:
    """Priced scales."""
    return kept(room, sc.blockwise(room.net, room.data, strength=strength, **room.shared))


def kept(room: Class, model: nn.Module) -> tuple[nn.Module, Subnetwork]:
    """A network with its subnetwork."""
    return model, Subnetwork(tuple(tuple(group["kept"]) for group in architecture_of(model)["groups"].values()))


ARMS: dict[str, Arm] = {
    "kd": kd,
    "pdd": pdd,
    "kddp": kddp,
    "blockwise": blockwise,
    "search": search,
    "inherited": inherited,
    "compensated": compensated,
    "uniform": uniform,
    "size": size,
    "kdft": kdft,
    "blocks": blocks,
    "labels": labels,
    "after": after,
}
CIFAR = {"trained": ("kd", "pdd", "kddp", "blockwise", "size"), "anew": ("kd", "pdd", "after")}
STRENGTHS = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
SWEEP: dict[str, Arm] = {
    f"{arm.__name__} {s:g}": partial(arm, strength=s) for arm in (kddp, blockwise) for s in STRENGTHS
}


@lru_cache(maxsize=1)
def digits(net: str, seed: int) -> tuple[sc.Supernet, Data]:
    """The network, trained on digits for this seed."""
    data = sc.open_data("digits", (3, SIZES[net], SIZES[net]))
    torch.manual_seed(seed)
    model = sc.constructor(net, 10)()
    for _ in train(model, data.train, CrossEntropy(), Recipe(epochs=12, batch=64, warmup=1, seed=seed)):
        pass
    return sc.Supernet.of(model.eval(), data.example), data.in_memory_format_of(model)


@lru_cache(maxsize=1)
def cifar(folder: str, net: str, start: str, seed: int) -> tuple[sc.Supernet, Data, nn.Module]:
    """The student, trained or anew, and a trained ResNet-56."""
    data = sc.open_data(f"imagefolder:{folder}")
    teacher = trained("resnet56", data, WEIGHTS).model
    data = data.in_memory_format_of(teacher)
    if start == "trained":
        return trained(net, data, WEIGHTS), data, teacher
    torch.manual_seed(seed)
    return sc.Supernet.of(sc.constructor(net, 10)().eval(), data.example), data, teacher


def taught(job: Job, folder: str, path: Path) -> dict[str, Any]:
    """Train one arm, and score it."""
    if job.data == "digits":
        room = Class(*digits(job.net, job.seed), None, job)
    else:
        room = Class(*cifar(folder, job.net, job.start, job.seed), job)
    start = time.perf_counter()
    model, subnetwork = {**ARMS, **SWEEP}[job.arm](room, path)
    seconds, net = time.perf_counter() - start, room.net
    costs = {"macs": net.macs(subnetwork), "parameters": net.parameters(subnetwork)}
    dense = {"macs": net.macs(net.dense), "parameters": net.parameters(net.dense)}
    scores = {
        name: asdict(evaluate(model, split))
        for name, split in [("holdout", room.data.holdout), ("test", room.data.test)]
    }
    before = {"dense_test": asdict(evaluate(net.model, room.data.test))} if job.arm == "kd" else {}
    shares = {name: costs[name] / dense[name] for name in costs}
    return {
        **costs,
        "shares": shares,
        **scores,
        **before,
        "widths": subnetwork.widths.tolist(),
        "seconds": round(seconds, 1),
    }


def key(job: Job) -> str:
    """A job as one string."""
    return json.dumps(asdict(job))


def jobs(asked: argparse.Namespace) -> Iterable[Job]:
    """All arms in the order in which they tell most."""
    if asked.cifar:
        for start in asked.starts:
            for arm in (each for each in CIFAR[start] if each in asked.arms):
                yield Job("cifar10-jpeg", "resnet20", arm, asked.epochs, asked.seeds[0], start)
        return
    for seed in asked.seeds:
        for net in asked.nets:
            for arm in asked.arms:
                yield Job("digits", net, arm, asked.epochs, seed, "trained")


def table(found: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Mean and spread over the seeds of each arm."""
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for name, result in found.items():
        job = json.loads(name)
        groups.setdefault((job["data"], job["net"], job["start"], job["arm"]), []).append(result)
    rows = []
    for (data, net, start, arm), results in groups.items():
        test = [result["test"]["accuracy"] for result in results]
        row = {
            "data": data,
            "net": net,
            "start": start,
            "arm": arm,
            "seeds": len(results),
            "n": results[0]["test"]["n"],
        }
        row |= {name: round(mean(r["shares"][name] for r in results), 4) for name in ("macs", "parameters")}
        row |= {"test": round(mean(test), 4), "spread": round(stdev(test), 4) if len(test) > 1 else None}
        rows.append(row | {"seconds": round(mean(result["seconds"] for result in results), 1)})
    return rows


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Test accuracy over the share of MACs that is left, a panel for each network."""
    from matplotlib.figure import Figure

    panels = sorted({(row["data"], row["net"], row["start"]) for row in rows})
    figure = Figure(figsize=(5.5 * len(panels), 4.5), layout="constrained")
    for axes, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        for row in rows:
            if (row["data"], row["net"], row["start"]) == panel and row["arm"] in STYLES:
                style, error = STYLES[row["arm"]], 100 * (row["spread"] or 0)
                axes.errorbar(100 * row["macs"], 100 * row["test"], error, fmt=style, ms=9, capsize=3, label=row["arm"])
        axes.set(xlabel="MACs left, %", ylabel="test accuracy, %", title=" ".join(panel))
        axes.grid(alpha=0.25)
        axes.legend(frameon=False)
    figure.savefig(path, dpi=150)


def main() -> None:
    """Run what is missing, then write the table and the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cifar", help="the image folder that unpack.py laid out; else digits")
    parser.add_argument("--nets", nargs="+", default=list(SIZES))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument(
        "--arms", nargs="+", default=list(ARMS), choices=[*ARMS, *SWEEP], help="in order: some take what others came to"
    )
    parser.add_argument("--starts", nargs="+", default=list(CIFAR), choices=CIFAR, help="of the student on CIFAR-10")
    parser.add_argument("--epochs", type=int, help="in all; 30 on digits, 10 on CIFAR-10")
    parser.add_argument("--draw", action="store_true", help="train nothing")
    asked = parser.parse_args()
    asked.epochs = asked.epochs or (10 if asked.cifar else 30)
    torch.set_num_threads(1)
    keep_freed()
    name = "methods_cifar" if asked.cifar else "methods"
    path = RESULTS / f"{name}.jsonl"
    for job in () if asked.draw else jobs(asked):
        if key(job) not in finished(path):
            result = taught(job, asked.cifar, path)
            keep(path, key(job), result)
            print(
                job.net, job.seed, job.arm, result["shares"], result["test"]["accuracy"], result["seconds"], flush=True
            )
    rows = table({job: result for job, result in finished(path).items() if json.loads(job)["epochs"] == asked.epochs})
    result = {
        **conditions(),
        "epochs": asked.epochs,
        "trials": TRIALS,
        "published": PUBLISHED,
        "rows": rows,
    }
    (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n")
    draw(rows, RESULTS / f"{name}.png")
    for row in rows:
        print(row)


if __name__ == "__main__":
    main()
