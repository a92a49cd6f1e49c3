"""The arms of benchmarks/methods.py: what each trains, for how many epochs, and the network that it ends in."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeAlias

import numpy as np
from torch import nn
from tuned import finished

import secateur as sc
from secateur.data.dataset import Data
from secateur.models.evaluate import recalibrate_as_trained
from secateur.models.files.architecture import architecture_of
from secateur.models.precision import in_bfloat16
from secateur.models.subnetwork import Subnetwork, top_channels
from secateur.models.surgery.slim import slim
from secateur.transfer.joint.student_start import draw_again, filter_norms
from secateur.transfer.objectives.base import Distillation, online_teacher
from secateur.transfer.training.recipe import Recipe
from secateur.transfer.training.train import train

TRIALS = 30  # of each search


@dataclass(frozen=True)
class Job:
    """One arm: on what, for how many epochs in all, from which seed."""

    data: str
    net: str
    arm: str
    epochs: int
    seed: int


@dataclass(frozen=True, eq=False)
class Setting:
    """What an arm works with: the trained dense network, images, the teacher, and the results so far."""

    net: sc.Supernet
    data: Data
    teacher: nn.Module
    job: Job
    results: Path

    @property
    def shared(self) -> dict[str, Any]:
        """The arguments that all methods have in common."""
        return {"teacher": self.teacher, "epochs": self.job.epochs, "seed": self.job.seed}

    def widths_of(self, arm: str) -> Subnetwork:
        """The widths that another arm came to; the channels with the largest filters have them."""
        result = finished(self.results)[key(replace(self.job, arm=arm))]
        norms = [norm.double().numpy() for norm in filter_norms(self.net)]
        return top_channels(norms, np.array(result["widths"]))


Trained: TypeAlias = tuple[nn.Module, Subnetwork]
Arm: TypeAlias = Callable[[Setting], Trained]


def key(job: Job) -> str:
    """A job as one string."""
    return json.dumps(asdict(job))


def distilled(setting: Setting, subnetwork: Subnetwork, *, fresh: bool) -> Trained:
    """All epochs of plain distillation at fixed widths, from inherited or from fresh weights."""
    model, seed = slim(setting.net, subnetwork), setting.job.seed
    if fresh:
        draw_again(model, seed)
    how: dict[str, Any] = {"seed": seed, "bfloat16": in_bfloat16("auto", setting.net)}
    recipe = replace(Recipe.fitted(len(setting.data.train)), epochs=setting.job.epochs, **how)
    for _ in train(model, setting.data.train, Distillation(online_teacher(setting.teacher)), recipe):
        pass
    recalibrate_as_trained(model, setting.data.train)
    return model.eval(), subnetwork


def kd(setting: Setting) -> Trained:
    """The trained network, distilled and not pruned."""
    return distilled(setting, setting.net.dense, fresh=False)


def fresh(setting: Setting) -> Trained:
    """A fresh student, distilled and not pruned: PDD's control."""
    return distilled(setting, setting.net.dense, fresh=True)


def pdd(setting: Setting) -> Trained:
    """PDD as published, from a fresh student."""
    return kept(sc.pdd(setting.net, setting.data, **setting.shared))


def pdd_trained(setting: Setting) -> Trained:
    """PDD from trained weights, masks ranked by importance."""
    return kept(sc.pdd(setting.net, setting.data, start="trained", **setting.shared))


def pdd_size(setting: Setting) -> Trained:
    """A fresh student of the widths that PDD came to, distilled."""
    return distilled(setting, setting.widths_of("pdd"), fresh=True)


def kddp(setting: Setting) -> Trained:
    """KDDP, its strength found."""
    return kept(sc.kddp(setting.net, setting.data, **setting.shared))


def kddp_size(setting: Setting) -> Trained:
    """The widths that KDDP came to, from inherited weights, distilled."""
    return distilled(setting, setting.widths_of("kddp"), fresh=False)


def macs_50(setting: Setting) -> Trained:
    """Block-wise learning under half of the MACs."""
    return kept(sc.blockwise(setting.net, setting.data, budget="50%", **setting.shared))


def params_20(setting: Setting) -> Trained:
    """Block-wise learning under a fifth of the parameters."""
    return kept(sc.blockwise(setting.net, setting.data, params="20%", **setting.shared))


def search_50(setting: Setting) -> Trained:
    """Half of the MACs, searched, then all epochs of the default fine-tuning."""
    return searched_and_tuned(setting, "50%")


def search_pdd(setting: Setting) -> Trained:
    """The same at the MACs that PDD came to."""
    macs = finished(setting.results)[key(replace(setting.job, arm="pdd"))]["macs"]
    return searched_and_tuned(setting, f"{macs / 1e6:.6f}M")


def searched_and_tuned(setting: Setting, budget: str) -> Trained:
    """A search under a budget of MACs, and all epochs of fine-tuning from its memory bank; search time is extra."""
    with TemporaryDirectory() as folder:
        epochs, seed = setting.job.epochs, setting.job.seed
        found = sc.find(setting.net, setting.data, budget, trials=TRIALS, seed=seed, storage=folder)
        best = found.best()
        return sc.finetune(setting.net, best, found.bank, setting.data, epochs=epochs, seed=seed), best


def kept(model: nn.Module) -> Trained:
    """A network with its subnetwork."""
    return model, Subnetwork(tuple(tuple(group["kept"]) for group in architecture_of(model)["groups"].values()))


ARMS: dict[str, Arm] = {
    "kd": kd,
    "fresh": fresh,
    "pdd": pdd,
    "pdd_trained": pdd_trained,
    "pdd_size": pdd_size,
    "kddp": kddp,
    "kddp_size": kddp_size,
    "macs_50": macs_50,
    "params_20": params_20,
    "search_50": search_50,
    "search_pdd": search_pdd,
}
NEEDS = {"pdd_size": "pdd", "search_pdd": "pdd", "kddp_size": "kddp"}  # what other arms came to
