"""What does the memory bank give? ResNet-20 (CIFAR-10, JPEG copy) at 50% of MACs, the form for a CPU.

Every method fine-tunes the same searched subnetwork, with equal epochs, from weights compensated in sequence; beside it
uniform widths in L1's order, and inherited weights. SGD, Nesterov 0.9, batch 128, cosine to 0, weight decay 5e-4,
pad-4 crop and flip, the student in bfloat16 autocast, last epoch's weights, statistics recalibrated. Test images are
read once an arm.

    python benchmarks/transfer.py CIFAR_FOLDER --work FOLDER [--parts methods starts clipped singles ablation ...]

methods: 3 epochs, seeds 0-2; those of the bank on three fixed views, each once. starts: the same from inherited weights
as they are, and half way between; and, seed 0, a lower learning rate and other schedules. clipped: half way, and
cross-entropy from inherited weights, with the gradient clipped, as is usual now; the other parts are without. singles:
what is run at seed 0 only. ablation: 2 epochs on fixed views, one factor at a time. schedules: how many epochs to the
holdout accuracy of 10 epochs of cross-entropy on raw uniform widths; and 10 epochs on one fixed view, and of other
methods. steps: what one step costs, methods in turns. views: how many fixed ones 10 epochs need; asked for by name,
with --images 5000 and an --out of its own. The search and its banks are kept in --work, each arm as it ends in
transfer.jsonl, so it can be run piece by piece; --draw makes the table of what is there.
"""

import argparse
import json
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from statistics import fmean, median, stdev
from tempfile import TemporaryDirectory
from typing import Any

import torch
from conditions import conditions
from matplotlib.figure import Figure
from torch import nn
from trained import trained
from tuned import each_once, figures, finished, opened, part

import secateur as sc
from secateur.allocator import keep_freed
from secateur.data.dataset import Data
from secateur.models.compensation.gram import Gram, grams
from secateur.models.compensation.initial import initial_student
from secateur.models.compensation.sequential import refit_sequentially
from secateur.models.costs.widths import uniform_widths
from secateur.models.evaluate import evaluate, recalibrate_as_trained
from secateur.models.subnetwork import Subnetwork, top_channels
from secateur.models.surgery.slim import slim
from secateur.search.importance.magnitude import l1
from secateur.search.records import Interim, Records
from secateur.transfer.bank.bank import MemoryBank, open_bank
from secateur.transfer.bank.fill import BankConfig, fill_bank
from secateur.transfer.bank.manifest import MANIFEST, BankLocation, Teacher
from secateur.transfer.bank.teachers import choose_teachers
from secateur.transfer.methods import METHODS, MethodContext, embedding_width
from secateur.transfer.objectives.base import CrossEntropy, Objective
from secateur.transfer.objectives.contrastive import ContrastiveConfig, ContrastiveTransfer, random_bank_negatives
from secateur.transfer.training.recipe import Recipe
from secateur.transfer.training.train import Step, train

RESULTS = Path(__file__).parent / "results"
NET, BUDGET, SAMPLE, KEPT = "resnet20", "50%", 1000, 3
SECONDS = "seconds.json"
ROUNDS = 25  # of steps that are timed
STARTS = {"raw": "inherited", "sequence": "compensated", "half": "half compensated"}
SCHEDULES = (1, 2, 3, 5, 10)
PARTS = ("methods", "starts", "clipped", "singles", "ablation", "schedules", "steps", "views")
PLANS = {"searched": MANIFEST, "uniform": "uniform.json", "best": "best.json"}


@dataclass(frozen=True)
class Arm:
    """One fine-tuning. ``teachers``: how many of the bank, best first; ``choice``: even in loss, or the best.

    ``views``: fixed ones, in the bank and in training; ``kept``: classes in the bank, the rest as one, where not 0.
    """

    method: str
    epochs: int
    seed: int = 0
    student: str = "searched"
    start: str = "sequence"
    views: int = 0
    teachers: int = 5
    choice: str = "even"
    kept: int = 0
    learning_rate: float = 0.05
    bfloat16: bool = True
    clip: float | None = None  # as training was when most of these ran


REFERENCE = Arm("ce", 10, student="uniform", start="raw")  # whose holdout accuracy is to be reached sooner
BANKED = [name for name, method in METHODS.items() if method.bank_teachers]
PACED = [Arm(method, 3, views=3) for method in BANKED] + [Arm(m, 3) for m in ("ce", "kd", "dkd", "ce, two views")]


def twice(context: MethodContext) -> Objective:
    """Cross-entropy on two views: the control of what sees two."""
    return CrossEntropy(2)


def bent(context: MethodContext, **changes: Any) -> Objective:
    """CKT with some of its parts changed."""
    return ContrastiveTransfer(context.bank, context.labels, context.width, seed=context.seed, **changes)


PUBLISHED = ContrastiveConfig(label_weight=1.0, teacher_weight=1.0, contrast_weight=0.5, power=1, views=2)
ARMS: dict[str, Callable[[MethodContext], Objective]] = {
    **{name: method.objective for name, method in METHODS.items()},
    "ce, two views": twice,
    "ckt, two views": partial(bent, config=ContrastiveConfig(views=2)),
    "ckt, random negatives": partial(bent, choose=random_bank_negatives),
    "ckt, weighed as published": partial(bent, config=PUBLISHED),
}


@lru_cache(maxsize=1)
def given(cifar: str, images: int) -> tuple[Data, sc.Supernet, dict[str, Gram]]:
    """The data, or so many images of each split; the dense network; its Grams. Once a process."""
    data = opened(cifar)
    if images:
        train, holdout, test = (part(each, images) for each in (data.train, data.holdout, data.test))
        data = replace(data, train=train, holdout=holdout, test=test)
    net = trained(NET, data)
    data = data.in_memory_format_of(net.model)
    return data, net, grams(net, data.train)


def prepare(cifar: str, images: int, folder: Path, trials: int, jobs: Sequence[Arm]) -> dict[str, Any]:
    """Search, uniform widths, and the banks that these arms need, in ``folder``; what is there is not done again.

    ``seconds``: of what was made now, and of what an earlier call made.
    """
    data, net, known = given(cifar, images)
    seconds = json.loads((folder / SECONDS).read_text()) if (folder / SECONDS).exists() else {}
    start = time.perf_counter()
    found = sc.find(net, data, BUDGET, trials=trials, storage=folder)
    if not (folder / "searched.json").exists():
        seconds["search, bank on three views"] = time.perf_counter() - start
    widths = uniform_widths(net.space, net.budget(BUDGET))
    uniform = top_channels(l1(net, data.holdout), widths)
    (folder / "searched.json").write_text(found.best().to_json())
    (folder / "uniform.json").write_text(uniform.to_json())
    records = Records(net, data.holdout, folder / "bank" / "records.jsonl", grams=known)
    sample = min(SAMPLE, len(data.holdout))
    records.evaluate(uniform, "uniform", sample)
    interims = [each for each in records.all if each.n == sample]
    searched = choose_teachers(interims, net.dense, found.best())
    chosen = {"searched": (searched, BankConfig(max(arm.views for arm in jobs), bfloat16=True))}
    if any(arm.student == "uniform" and arm.method != "ce" for arm in jobs):
        chosen["uniform"] = choose_teachers(interims, net.dense, uniform), chosen["searched"][1]
    if any(arm.choice == "best" for arm in jobs):
        chosen["best"] = lowest(interims, net.dense, found.best()), BankConfig(bfloat16=True)
    for name, (teachers, extent) in chosen.items():
        location = BankLocation(folder / "bank", data.fingerprint, PLANS[name])
        for done in fill_bank(net, teachers, data.train, location, grams=known, config=extent):
            print(f"bank of {name}: {done}", end="\r", flush=True)
    if any(arm.kept for arm in jobs):
        few = BankConfig(many=KEPT, top_classes=KEPT, bfloat16=True)
        made, start = (folder / "few").exists(), time.perf_counter()
        location = BankLocation(folder / "few", data.fingerprint)
        list(fill_bank(net, searched, data.train, location, grams=known, config=few))
        if not made:
            seconds["bank on no views"] = time.perf_counter() - start
    (folder / SECONDS).write_text(json.dumps(seconds))
    listed = {name: [{"macs": t.macs, "loss": t.loss} for t in each] for name, (each, _) in chosen.items()}
    return {"winner": found.winner.to_dict(), "teachers": listed, "seconds": seconds}


def lowest(interims: Sequence[Interim], dense: Subnetwork, winner: Subnetwork) -> list[Teacher]:
    """The dense network and the four other subnetworks of the lowest loss."""
    others = sorted((i for i in interims if i.subnetwork not in (dense, winner)), key=lambda i: i.loss)[:4]
    chosen = [*(i for i in interims if i.subnetwork == dense), *others]
    return [Teacher(each.subnetwork, each.loss, each.macs) for each in chosen]


def bank_of(arm: Arm, data: Data, folder: Path, own: Path) -> MemoryBank:
    """The bank that the arm may use, with an index of its own."""
    where = folder / ("few" if arm.kept else "bank")
    plan = PLANS["best" if arm.choice == "best" else "searched" if arm.kept or arm.method == "ce" else arm.student]
    bank = open_bank(BankLocation(where, data.fingerprint, plan), len(data.train))
    count = min(arm.teachers, len(bank.teachers))
    fixed = tuple(replace(each, logits=each.logits[:count]) for each in bank.fixed[: arm.views])
    return replace(bank, folder=own, teachers=bank.teachers[:count], logits=bank.logits[:count], fixed=fixed)


def training(arm: Arm, cifar: str, images: int, folder: Path, own: Path) -> tuple[nn.Module, Objective, Iterator[Step]]:
    """The student, its objective, and the steps that train it."""
    data, net, known = given(cifar, images)
    subnetwork = Subnetwork.from_json((folder / f"{arm.student}.json").read_text())
    if arm.start == "raw":
        model = slim(net, subnetwork)
    else:
        start = initial_student if arm.start == "half" else refit_sequentially
        model = start(net, subnetwork, known, data.train)
    width = embedding_width(model, net.head, len(data.classes))
    objective = ARMS[arm.method](
        MethodContext(net, bank_of(arm, data, folder, own), data.train.labels, len(data.classes), width, arm.seed)
    )
    recipe = Recipe(
        arm.epochs,
        learning_rate=arm.learning_rate,
        seed=arm.seed,
        clip=arm.clip,
        fixed_views=arm.views,
        bfloat16=arm.bfloat16,
    )
    return model, objective, train(model, data.train, objective, recipe, head=net.head)


def learn(arm: Arm, cifar: str, images: int, folder: Path) -> dict[str, Any]:
    """Fine-tune, recalibrate, score; ``making``: seconds to mine negatives, where the method does."""
    torch.set_num_threads(1)
    data, _, _ = given(cifar, images)
    with TemporaryDirectory() as own:
        start = time.perf_counter()
        model, objective, steps = training(arm, cifar, images, folder, Path(own))
        making = time.perf_counter() - start
        *_, last = steps
    recalibrate_as_trained(model, data.train)
    scores = {split: figures(evaluate(model, getattr(data, split))) for split in ("holdout", "test")}
    times = {"seconds": round(last.seconds, 1), "making": round(making, 1), "steps": last.steps}
    return {**scores, **times, "views": objective.views, "gates": objective.metrics().get("gates_open", [])}


def paced(cifar: str, images: int, folder: Path) -> dict[str, float]:
    """Seconds of one thread that a step takes: the median over rounds in which the methods take turns."""
    torch.set_num_threads(1)
    seconds: dict[str, list[float]] = {arm.method: [] for arm in PACED}
    with ExitStack() as stack:
        folders = [Path(stack.enter_context(TemporaryDirectory())) for _ in PACED]
        running = [training(arm, cifar, images, folder, own)[2] for arm, own in zip(PACED, folders, strict=True)]
        for each in running:
            next(each)
        for _ in range(ROUNDS):
            for arm, each in zip(PACED, running, strict=True):
                start = time.process_time()
                next(each)
                seconds[arm.method].append(time.process_time() - start)
    return {method: round(median(each), 4) for method, each in seconds.items()}


def arms(parts: Sequence[str], seeds: Sequence[int], best: str) -> list[Arm]:
    """The fine-tunings of these parts; ``best``: the method that stands for the bank."""
    base = Arm(best, 2, views=3)
    changes: list[dict[str, Any]] = [{}, {"views": 0}, {"views": 1}, {"kept": KEPT, "views": 0}]
    changes += [{"choice": "best", "views": 0}, {"teachers": 1}, {"teachers": 3}]
    changes += [{"method": m} for m in ("ckt", "ckt-kl", "kdft", "ckt, random negatives", "ckt, two views")]
    changes += [{"method": m, "views": 0} for m in ("ce", "ce, two views")]
    every = {
        "methods": [
            *(Arm(method, 3, seed) for method in ("ce", "ce, two views", "kd", "dkd") for seed in seeds),
            *(Arm(method, 3, seed, views=3) for method in ("kdft", "ckt-kl", "ckt") for seed in seeds),
        ],
        "starts": [
            *(
                Arm(m, 3, seed, start="raw", views=3 * (m in BANKED))
                for seed in seeds
                for m in ("ce", "kd", "kdft", "ckt")
            ),
            *(Arm(best, 3, start=start, views=3, learning_rate=0.02) for start in ("raw", "sequence")),
            *(Arm(best, epochs, start="raw", views=3) for epochs in (1, 2, 10)),
            *(Arm(best, 3, seed, start="half", views=3) for seed in seeds),
            Arm(best, 2, start="half", views=3),
        ],
        "clipped": [
            *(Arm(best, 3, seed, start="half", views=3, clip=Recipe.clip) for seed in seeds),
            *(Arm("ce", 3, seed, start="raw", clip=Recipe.clip) for seed in seeds),
        ],
        "singles": [
            *(Arm(method, 3) for method in ("crd", "ckt, weighed as published")),
            *(Arm("ce", 3, student="uniform"), Arm(best, 3, student="uniform", views=3)),
            Arm("ce", 3, bfloat16=False),
        ],
        "ablation": [replace(base, **change) for change in changes],
        "steps": [],
        "views": [*(Arm(best, 10, views=views) for views in (0, 1, 4, 8)), Arm("kd", 10), Arm("ce", 10)],
        "schedules": [
            REFERENCE,
            *(Arm(best, epochs, views=3) for epochs in SCHEDULES),
            *(Arm(best, 10, views=1), Arm("kd", 10), Arm("ce", 10)),
        ],
    }
    return list(dict.fromkeys(arm for name in parts for arm in every[name]))


def table(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each arm over its seeds: mean and spread of accuracy, and seconds of training."""
    groups = defaultdict(list)
    for row in rows:
        groups[json.dumps({k: v for k, v in row["arm"].items() if k != "seed"})].append(row)
    lines = []
    for key, runs in groups.items():
        line: dict[str, Any] = {**json.loads(key), "seeds": [r["arm"]["seed"] for r in runs]}
        for split in ("holdout", "test"):
            found = [r[split]["accuracy"] for r in runs]
            line[split] = {"mean": fmean(found), "std": stdev(found) if len(found) > 1 else None}
        lines.append({**line, "seconds": fmean(r["seconds"] for r in runs)})
    return lines


def draw(rows: Sequence[dict[str, Any]], best: str, path: Path) -> None:
    """Seconds of training against holdout accuracy of whole schedules, beside the accuracy that is to be reached."""
    (goal,) = (row for row in rows if row["arm"] == asdict(REFERENCE))
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    for (start, name), style in zip(STARTS.items(), "osD", strict=True):
        arms = [asdict(Arm(best, epochs, start=start, views=3)) for epochs in SCHEDULES]
        ends = [row for row in rows if row["arm"] in arms]
        seconds, reached = [row["seconds"] for row in ends], [row["holdout"]["accuracy"] for row in ends]
        axes.plot(seconds, reached, style, label=f"{best} from {name} weights")
    axes.plot(
        goal["seconds"], goal["holdout"]["accuracy"], "*", ms=12, color="#D55E00", label="cross-entropy, 10 epochs"
    )
    axes.axhline(goal["holdout"]["accuracy"], color="#555555", ls="--", lw=1)
    axes.axvline(0.21 * goal["seconds"], color="#555555", ls=":", lw=1, label="21% of its seconds")
    axes.set(xlabel="seconds of a whole schedule, without the bank", ylabel="holdout accuracy", xlim=(0, None))
    axes.grid(alpha=0.25)
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    figure.savefig(path)


def main() -> None:
    """Run, and write transfer.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cifar", help="the image folder that unpack.py laid out")
    parser.add_argument("--work", type=Path, required=True, help="a folder for the search and its banks")
    parser.add_argument("--parts", nargs="+", default=PARTS[:-1], choices=PARTS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--best", default="ckt", help="the method that stands for the bank")
    parser.add_argument("--only", nargs="+", help="of the parts, the arms of these methods")
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--images", type=int, default=0, help="of each split; 0: all")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--draw", action="store_true", help="train nothing more")
    parser.add_argument("--out", type=Path, default=RESULTS)
    asked = parser.parse_args()
    keep_freed()
    asked.out.mkdir(parents=True, exist_ok=True)
    jobs = [arm for arm in arms(asked.parts, asked.seeds, asked.best) if not asked.only or arm.method in asked.only]
    if asked.draw:
        done = finished(asked.out / "transfer.jsonl")
        jobs = [job for job in jobs if json.dumps(asdict(job)) in done]
    needed = [*jobs, *(PACED if "steps" in asked.parts else ())]
    about = prepare(asked.cifar, asked.images, asked.work, asked.trials, needed)
    work = partial(learn, cifar=asked.cifar, images=asked.images, folder=asked.work)
    results = each_once(jobs, work, asked.out / "transfer.jsonl", asked.processes)
    rows = [{"arm": asdict(job), **result} for job, result in zip(jobs, results, strict=True)]
    lines = table(rows)
    for line in lines:
        print(line)
    if "steps" in asked.parts:
        about["seconds_a_step"] = paced(asked.cifar, asked.images, asked.work)
    result = {**conditions(), "images": asked.images or "all", "trials": asked.trials, **about}
    (asked.out / "transfer.json").write_text(json.dumps({**result, "arms": lines, "rows": rows}, indent=1) + "\n")
    if "schedules" in asked.parts:
        draw(rows, asked.best, asked.out / "transfer.svg")


if __name__ == "__main__":
    main()
