"""Many short fine-tunings side by side, for benchmarks: each in one thread, kept as it ends, none done twice."""

import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from functools import lru_cache, partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from trained import FROZEN, trained

import secateur as sc
from secateur.allocator import keep_freed
from secateur.data.dataset import Data
from secateur.data.images import Images
from secateur.models.compensation.gram import Gram, grams
from secateur.models.compensation.sequential import refit_sequentially
from secateur.models.evaluate import evaluate, recalibrate_as_trained
from secateur.models.score import Score
from secateur.models.split import Split
from secateur.models.subnetwork import Subnetwork
from secateur.models.surgery.slim import slim
from secateur.transfer.objectives.base import CrossEntropy
from secateur.transfer.training.recipe import Recipe
from secateur.transfer.training.train import train


@dataclass(frozen=True)
class Tuning:
    """Cross-entropy on one subnetwork of a network trained on CIFAR-10 (JPEG copy).

    ``start``: "sequence" (compensated in sequence), or "raw" (inherited weights). ``images``: of the train split,
    the same ones for every job; an epoch sees each of them once.
    """

    net: str
    groups: str
    kept: str
    start: str
    learning_rate: float
    epochs: int
    seed: int
    images: int
    test: bool


@lru_cache(maxsize=1)
def opened(cifar: str) -> Data:
    """The data, once a process."""
    return sc.open_data(f"imagefolder:{cifar}")


def part(images: Split, count: int) -> Images:
    """``count`` of the images, any; the same ones always."""
    if not isinstance(images, Images):
        raise TypeError(f"{images!r} are no images")
    chosen = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))[:count]
    read = partial(_chosen, images, chosen)
    return replace(images, read=read, labels=images.labels[chosen])


@lru_cache(maxsize=1)
def supernet(name: str, groups: str, cifar: str) -> sc.Supernet:
    """The dense network of the weights beside this project, once a process."""
    return trained(name, opened(cifar), freeze=FROZEN[groups])


@lru_cache(maxsize=1)
def known(name: str, groups: str, cifar: str) -> dict[str, Gram]:
    """Its Grams, of train images, once a process."""
    return grams(supernet(name, groups, cifar), opened(cifar).train)


def figures(result: Score) -> dict[str, float]:
    """A score as plain values."""
    return {"loss": round(result.loss, 4), "accuracy": result.value, "n": result.n}


def tune(job: Tuning, cifar: str) -> dict[str, Any]:
    """Fine-tune, recalibrate, and score on all images of the holdout, or of the test split where that is asked."""
    torch.set_num_threads(1)
    data, net = opened(cifar), supernet(job.net, job.groups, cifar)
    subnetwork = Subnetwork.from_json(job.kept)
    if job.start == "raw":
        model = slim(net, subnetwork)
    else:
        model = refit_sequentially(net, subnetwork, known(job.net, job.groups, cifar), data.train)
    recipe = Recipe(epochs=job.epochs, learning_rate=job.learning_rate, seed=job.seed)
    *_, last = train(model, part(data.train, job.images), CrossEntropy(), recipe, head=net.head)
    recalibrate_as_trained(model, data.train)
    split = "test" if job.test else "holdout"
    return {split: figures(evaluate(model, getattr(data, split))), "seconds": round(last.seconds, 1)}


def tunings(jobs: Sequence[Tuning], cifar: str, path: Path, processes: int = 2) -> Iterator[dict[str, Any]]:
    """The results of all jobs, in their order; those in the JSON-lines file ``path`` are not run again."""
    return each_once(jobs, partial(tune, cifar=cifar), path, processes)


def finished(path: Path) -> dict[str, dict[str, Any]]:
    """The results that a JSON-lines file holds, by their jobs as JSON."""
    lines = path.read_text().splitlines() if path.exists() else []
    return {json.dumps(line["job"]): line["result"] for line in map(json.loads, lines)}


def keep(path: Path, job: str, result: dict[str, Any]) -> None:
    """Add a result to the file; the job as JSON."""
    with path.open("a") as file:
        file.write(json.dumps({"job": json.loads(job), "result": result}) + "\n")


def each_once(
    jobs: Sequence[Any], work: Callable[[Any], dict[str, Any]], path: Path, processes: int
) -> Iterator[dict[str, Any]]:
    """What ``work`` makes of each job, a dataclass, in their order; those in the file ``path`` are done."""
    done = finished(path)
    keys = [json.dumps(asdict(job)) for job in jobs]
    with ProcessPoolExecutor(processes, get_context("spawn"), keep_freed) as workers:
        missing = {workers.submit(work, job): key for job, key in zip(jobs, keys, strict=True) if key not in done}
        for ended in as_completed(missing):
            done[missing[ended]] = ended.result()
            keep(path, missing[ended], ended.result())
            print(f"{len(done)} done, {len(keys)} asked:", missing[ended], ended.result(), flush=True)
    yield from (done[key] for key in keys)


def _chosen(images: Images, chosen: Tensor, chunks: Sequence[Tensor]) -> Iterator[Tensor]:
    return images.read([chosen[chunk] for chunk in chunks])
