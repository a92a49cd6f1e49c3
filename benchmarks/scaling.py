"""Time and memory over size, by simulation: channel groups, trials, stored trials, keys of the memory bank.

Every point is measured in a process of its own, on synthetic data without meaning: a chain of convolutions, trials
with random widths and losses, random unit vectors as keys. A power law through each curve says what a size costs that
was not measured.

    python benchmarks/scaling.py [--parts groups trials stored exact lists] [--out FOLDER]

What results/scaling.json holds is not measured again: delete it to begin anew.
"""

import argparse
import json
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import optuna
import torch
from conditions import conditions
from optuna.distributions import IntDistribution
from optuna.trial import create_trial
from torch import nn

import secateur as sc
from secateur.models.costs.widths import fit_to_budget
from secateur.search.refine.database import open_study
from secateur.search.refine.quiet import quiet
from secateur.search.samplers.samplers import tpe
from secateur.transfer.bank.fill import BankConfig
from secateur.transfer.bank.negatives import hard_negatives, write_index

Point = dict[str, float]
WIDTH, KEY, CLASSES, NEGATIVES = 32, 128, 100, 64
IMAGENET = 1_281_167


def chain(groups: int) -> nn.Module:
    """So many convolutions, one after the other."""
    layers: list[nn.Module] = []
    for n in range(groups):
        layers += [nn.Conv2d(WIDTH if n else 3, WIDTH, 3, padding=1), nn.BatchNorm2d(WIDTH), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(WIDTH, 10)).eval()


def groups(count: int) -> Point:
    """Tracing a network, and fitting one proposal to a budget."""
    model, start = chain(count), time.perf_counter()
    net = sc.Supernet.of(model, torch.zeros(1, 3, 8, 8), check=False)
    traced = time.perf_counter()
    fit_to_budget(net.space, net.budget("50%"), (net.space.dense * 0.9).astype(np.float64))
    return {"trace": traced - start, "fit": time.perf_counter() - traced}


def study_of(count: int, groups: int, study: optuna.Study) -> None:
    """Enter complete trials of random widths."""
    rng = np.random.default_rng(0)
    widths = {f"layer{n}": IntDistribution(1, WIDTH) for n in range(groups)}
    drawn, losses = rng.integers(1, WIDTH + 1, (count, groups)), rng.random(count)
    for row, loss in zip(drawn.tolist(), losses.tolist(), strict=True):
        params = dict(zip(widths, row, strict=True))
        study.add_trial(create_trial(params=params, distributions=dict(widths), value=loss))


def trials(count: int, groups: int) -> Point:
    """One proposal of TPE over all widths, after so many trials, held in memory."""
    with quiet():
        study = optuna.create_study(sampler=tpe(0))
        study_of(count, groups, study)
        start = time.perf_counter()
        study.ask({f"layer{n}": IntDistribution(1, WIDTH) for n in range(groups)})
    return {"propose": time.perf_counter() - start}


def stored(count: int, groups: int) -> Point:
    """What a worker reads when it joins a search of so many trials, and the size of study.db."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "study.db"
        with open_study(f"sqlite:///{path}", "name", ["loss"]) as study:
            start = time.perf_counter()
            study_of(count, groups, study)
            written = time.perf_counter()
        with open_study(f"sqlite:///{path}", "name", ["loss"]) as study:
            began = time.perf_counter()
            study.get_trials(deepcopy=False)
        size = path.stat().st_size
        return {"write": written - start, "read": time.perf_counter() - began, "bytes": size}


def exact(keys: int) -> Point:
    """The nearest keys of other classes for every key, all compared."""
    return _negatives(keys, keys)


def lists(keys: int) -> Point:
    """The same by the inverted file that is taken beyond a million keys."""
    return _negatives(keys, 0)


def _negatives(count: int, exact: int) -> Point:
    faiss.omp_set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    keys = nn.functional.normalize(torch.randn(count, KEY, generator=generator))
    with tempfile.TemporaryDirectory() as folder:
        path, start = Path(folder) / "index.faiss", time.perf_counter()
        write_index(keys, path, exact)
        written = time.perf_counter()
        hard_negatives(path, torch.arange(count) % CLASSES, NEGATIVES)
        return {"index": written - start, "search": time.perf_counter() - written, "bytes": path.stat().st_size}


PARTS: dict[str, tuple[Callable[..., Point], list[tuple[int, ...]]]] = {
    "groups": (groups, [(10,), (30,), (100,), (300,), (1000,)]),
    "trials": (trials, [(100, 10), (1000, 10), (10_000, 10), (100, 100), (1000, 100), (100, 1000), (1000, 1000)]),
    "stored": (stored, [(100, 10), (100, 100), (400, 100)]),
    "exact": (exact, [(2500,), (5000,), (10_000,)]),
    "lists": (lists, [(5000,), (10_000,), (20_000,)]),
}
ASKED = {
    "groups": (1000,),
    "trials": (10_000, 1000),
    "stored": (10_000, 1000),
    "exact": (IMAGENET,),
    "lists": (IMAGENET,),
}


def measured(work: Callable[..., Point], size: tuple[int, ...]) -> Point:
    """A point, with the memory that it took beyond what the process began with."""
    receive, send = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(target=_apart, args=(work, size, send))
    process.start()
    point: Point = receive.recv()
    process.join()
    return point


def _apart(work: Callable[..., Point], size: tuple[int, ...], send: Any) -> None:
    torch.set_num_threads(1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    point, cpu = work(*size), time.process_time()
    point["memory"] = 1024.0 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    send.send({**point, "processor": cpu})


def expected(points: dict[str, Point], size: tuple[int, ...]) -> Point:
    """Each curve continued to this size: the power law c·Π nᵢ^aᵢ that fits its points best."""
    sizes = np.array([[int(n) for n in name.split("x")] for name in points], float)
    design = np.column_stack([np.ones(len(sizes)), np.log(sizes)])
    at = np.array([1.0, *np.log(np.array(size, float))])
    found: Point = {}
    for name in next(iter(points.values())):
        values = np.array([max(point[name], 1e-4) for point in points.values()])
        found[name] = float(np.exp(at @ np.linalg.lstsq(design, np.log(values), rcond=None)[0]))
    return found


def bank() -> dict[str, float]:
    """Bytes of a bank for ImageNet by its closed form: five teachers, 2,048 numbers an embedding, and views."""
    sizes = {views: BankConfig(views).bytes(IMAGENET, 1000, 2048, 5) for views in (0, 2, 8)}
    return {f"{views} views": float(size) for views, size in sizes.items()}


def main() -> None:
    """Measure what is not measured yet, print, and write results/scaling.json after each point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", default=[*PARTS], choices=PARTS)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    asked = parser.parse_args()
    path = asked.out / "scaling.json"
    points: dict[str, dict[str, Point]] = json.loads(path.read_text())["points"] if path.exists() else {}
    for part in asked.parts:
        work, sizes = PARTS[part]
        for size in sizes:
            if (name := "x".join(map(str, size))) not in (done := points.setdefault(part, {})):
                done[name] = {key: float(f"{value:.4g}") for key, value in measured(work, size).items()}
                print(part, name, done[name], flush=True)
                scale = {each: expected(points[each], ASKED[each]) for each in points if len(points[each]) > 2}
                result = {**conditions(), "points": points, "at": ASKED, "expected": scale, "bank_bytes": bank()}
                path.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
