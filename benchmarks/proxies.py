"""Which score before fine-tuning predicts accuracy after it? ResNet-20 (CIFAR-10, JPEG copy), 50% of MACs.

24 subnetworks: scores (L1, Taylor, obs) x allocation rules, the rest with random widths in the order of the scores
in turn. Each is fine-tuned from weights compensated in sequence, cross-entropy, 2 epochs of 15,000 images (a third of
the train split: two cores), the best of them with a second seed, too. The truth is test accuracy, read here only: the
mean of both seeds where all have two, else of the first. Proxies: loss, error rate and ensemble-guided loss on 1,000
and 5,000 holdout images, with batch statistics and with recalibrated batch norm (4,000 train images), of the raw and of
the compensated subnetwork; KL to the dense network's outputs; the share of Taylor scores kept; the error on the
elimination curves; and sums of z-scores. Spearman's rank correlation with the truth, 95% intervals by bootstrap over
subnetworks, over all 24 and over the 12 that end best; beside them, as a ceiling, the second seed against the first.

    python benchmarks/proxies.py CIFAR_FOLDER [--second 24] [--samples 1000 5000] [--processes 2] [--ceiling]

``--ceiling`` adds to a table of the first seed what second seeds there are by now, and runs nothing.
"""

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from conditions import conditions
from scipy.stats import spearmanr
from torch import Tensor, nn
from tuned import Tuning, known, opened, supernet, tunings

import secateur as sc
from secateur.data.dataset import Data
from secateur.models.compensation.ridge import refit
from secateur.models.costs.widths import fit_to_budget
from secateur.models.evaluate import batch_statistics, outputs, recalibrate
from secateur.models.split import Split
from secateur.models.subnetwork import Subnetwork, top_channels
from secateur.models.surgery.slim import slim
from secateur.models.tracing.atoms import FloatArray
from secateur.models.tracing.modules import evaluating
from secateur.search.coarse import propose
from secateur.search.evidence import Evidence
from secateur.search.importance.magnitude import l1
from secateur.search.importance.scores import Scores
from secateur.search.importance.second_order import eliminations, fisher
from secateur.search.importance.taylor import taylor

RESULTS = Path(__file__).parent / "results"
NET = ("resnet20", "all")
COUNT, BEST, EPOCHS, IMAGES = 24, 12, 2, 15_000
CEILING = "ceiling: second seed against first, {} subnetworks"  # how the table calls it
SAMPLE = 1000
BOOTSTRAP = 2000
SUMS = {  # of z-scores, all on 1,000 images of the compensated subnetwork with batch statistics
    "loss + KL": ("loss", "kl"),
    "loss + error": ("loss", "error"),
    "KL + error": ("kl", "error"),
    "loss + KL + error": ("loss", "kl", "error"),
    "loss - importance": ("loss", "importance"),
}


def candidates(net: sc.Supernet, scores: dict[str, Scores], curves: dict[str, list[FloatArray]]) -> list[Subnetwork]:
    """The pool at 50% of MACs, as it comes, and random widths for the rest."""
    budget, random = net.budget("50%"), np.random.default_rng(0)
    found = list(dict.fromkeys(c.subnetwork for c in propose(net.space, [budget], Evidence(scores, curves))))[:COUNT]
    orders = list(scores.values())
    while len(found) < COUNT:
        widths = fit_to_budget(net.space, budget, net.space.dense * random.uniform(0.2, 1.0, len(net.groups)))
        found.append(top_channels(orders[len(found) % len(orders)], widths))
    return found


def logits_of(model: nn.Module, split: Split, images: int) -> tuple[Tensor, Tensor]:
    """Logits and labels in the fixed order. Shape: → (N, C), (N,)"""
    found = [(logits, labels) for logits, labels, _ in outputs(model, split, images)]
    return torch.cat([logits for logits, _ in found]), torch.cat([labels for _, labels in found])


def proxies(logits: Tensor, labels: Tensor, dense: Tensor, mean: Tensor) -> dict[str, float]:
    """Proxies that read outputs; the lower the better, accuracy negated. Shape: (N, C), (N,), (N, C), (N, C)"""
    loss = float(F.cross_entropy(logits, labels))
    log = logits.log_softmax(1)
    return {
        "loss": loss,
        "error rate": 1 - float((logits.argmax(1) == labels).double().mean()),
        "kl": float(F.kl_div(log, dense.log_softmax(1), reduction="batchmean", log_target=True)),
        "ensemble-guided loss": loss - float((mean.softmax(1) * log).sum(1).mean()),
    }


def both_norms(model: nn.Module, data: Data, images: int) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Logits and labels with batch statistics, then with recalibrated ones."""
    with batch_statistics(model):
        yield "batch", *logits_of(model, data.holdout, images)
    recalibrate(model, data.train)
    with evaluating(model):
        yield "recalibrated", *logits_of(model, data.holdout, images)


def measured(
    net: sc.Supernet, found: list[Subnetwork], cifar: str, free: dict[str, list[float]], samples: list[int]
) -> dict[str, FloatArray]:
    """Every proxy of every subnetwork, by "of what, batch norm, images, name". Shape: (24,) each"""
    rows, labels = dict[str, list[Tensor]](), torch.empty(0)
    for each in [net.dense, *found]:
        for form, model in (("raw", slim(net, each)), ("compensated", refit(net, each, known(*NET, cifar)))):
            for norm, logits, labels in both_norms(model, opened(cifar), max(samples)):  # noqa: B007  # the same of every model
                rows.setdefault(f"{form}, {norm}", []).append(logits)
    table = {f"no data pass, {name}": np.array(values) for name, values in free.items()}
    for way, (dense, *narrow) in rows.items():
        mean = torch.stack(narrow).mean(0)
        for n in samples:
            values = [proxies(logits[:n], labels[:n], dense[:n], mean[:n]) for logits in narrow]
            table |= {f"{way}, {n}, {name}": np.array([one[name] for one in values]) for name in values[0]}
    base = {name: table[f"compensated, batch, {SAMPLE}, {name}"] for name in ("loss", "kl")} | free
    sums = {name: sum(_z(np.array(base[part])) for part in parts) for name, parts in SUMS.items()}
    return table | {f"sum of z, {name}": np.asarray(values) for name, values in sums.items()}


def spearman(a: FloatArray, b: FloatArray) -> float:
    """Rank correlation. Shape: (N,), (N,) →"""
    if np.ptp(a) == 0 or np.ptp(b) == 0:  # a bootstrap draw of one subnetwork
        return 0.0
    return float(spearmanr(a, b).statistic)


@dataclass(frozen=True)
class Rank:
    """Spearman's rank correlation with its 95% interval."""

    spearman: float
    low: float
    high: float


def rank(a: FloatArray, b: FloatArray) -> Rank:
    """The interval: 2.5% and 97.5% quantiles over draws of subnetworks with replacement. Shape: (N,), (N,) →"""
    draws = np.random.default_rng(0).integers(0, len(a), (BOOTSTRAP, len(a)))
    low, high = np.quantile([spearman(a[draw], b[draw]) for draw in draws], (0.025, 0.975))
    return Rank(*(round(float(value), 3) for value in (spearman(a, b), low, high)))


def correlations(
    table: dict[str, FloatArray], first: FloatArray, second: FloatArray, both: list[int]
) -> dict[str, dict[str, Rank]]:
    """Each proxy against the truth, over all and over the best; highest first.

    Shape: first (24,) accuracies, second those of ``both`` with the other seed
    """
    truth = first.copy()
    if len(both) == len(first):
        truth[both] = (first[both] + second) / 2
    best = np.argsort(-truth)[:BEST]
    rows = {
        name: {"all": rank(-values, truth), "best": rank(-values[best], truth[best])} for name, values in table.items()
    }
    among = [n for n, place in enumerate(both) if place in best]
    ceiling = {"all": rank(second, first[both]), "best": rank(second[among], first[both][among])} if among else None
    return {
        **({CEILING.format(len(both)): ceiling} if ceiling else {}),
        **dict(sorted(rows.items(), key=lambda row: -row[1]["all"].spearman)),
    }


def ceiling(folder: Path) -> None:
    """Enter the second seed against the first, over the subnetworks of proxies.jsonl that have both.

    The rows of the table stay as they are: their truth is the first seed while not all have a second.
    """
    lines = map(json.loads, (folder / "proxies.jsonl").read_text().splitlines())
    found = {(line["job"]["seed"], line["job"]["kept"]): line["result"]["test"]["accuracy"] for line in lines}
    both = [kept for seed, kept in found if seed == 1]
    first, second = (np.array([found[seed, kept] for kept in both]) for seed in (0, 1))
    best = sorted((kept for seed, kept in found if seed == 0), key=lambda kept: -found[0, kept])[:BEST]
    of = "best" if set(both) <= set(best) else "all"
    path = folder / "proxies.json"
    result = json.loads(path.read_text())
    name, row = CEILING.format(len(both)), {of: asdict(rank(second, first))}
    result["spearman"] = {name: row, **result["spearman"]}
    result["test_accuracy"]["second"] = second.tolist()
    print(name, row, f"mean difference {np.abs(second - first).mean():.4f}")
    path.write_text(json.dumps(result, indent=1) + "\n")


def accuracies(subnetworks: list[Subnetwork], seed: int, asked: argparse.Namespace) -> FloatArray:
    """Test accuracy of each after fine-tuning. Shape: → (N,)"""
    kept = [each.to_json() for each in subnetworks]
    jobs = [Tuning(*NET, each, "sequence", asked.learning_rate, EPOCHS, seed, IMAGES, test=True) for each in kept]
    results = tunings(jobs, asked.cifar, asked.out / "proxies.jsonl", asked.processes)
    return np.array([each["test"]["accuracy"] for each in results])


def main() -> None:
    """Run, print the table, and write benchmarks/results/proxies.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cifar", help="the image folder that unpack.py laid out")
    parser.add_argument("--learning-rate", type=float, default=0.05)
    parser.add_argument("--second", type=int, default=COUNT, help="of the best that get a second seed")
    parser.add_argument("--samples", type=int, nargs="+", default=[SAMPLE, 5000], help="of holdout images")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--ceiling", action="store_true", help="only add it to the table")
    asked = parser.parse_args()
    if asked.ceiling:
        ceiling(asked.out)
        return
    net, data = supernet(*NET, asked.cifar), opened(asked.cifar)
    gone = eliminations(net, known(*NET, asked.cifar), fisher(net, data.holdout))
    gates = taylor(net, data.holdout)
    scores = {"obs": [each.scores for each in gone], "taylor": gates, "l1": l1(net, data.holdout)}
    curves = {"obs": [each.curve for each in gone]}
    found = candidates(net, scores, curves)
    first = accuracies(found, 0, asked)
    both = np.argsort(-first, kind="stable")[: asked.second]
    truth = {"first": first, "second": accuracies([found[n] for n in both], 1, asked)}
    free = {
        "importance": [-_kept_share(gates, each) for each in found],
        "error": [sum(e.curve[w] for e, w in zip(gone, each.widths, strict=True)) for each in found],
    }
    table = measured(net, found, asked.cifar, free, asked.samples)
    rows = correlations(table, truth["first"], truth["second"], both.tolist())
    for name, row in rows.items():
        print(f"{name:60}", *(f"{r.spearman:6.3f} [{r.low:6.3f}, {r.high:6.3f}]" for r in row.values()))
    result = {
        **conditions(),
        "learning_rate": asked.learning_rate,
        "epochs": EPOCHS,
        "train_images": IMAGES,
        "widths": [each.widths.tolist() for each in found],
        "test_accuracy": {name: values.tolist() for name, values in truth.items()},
        "second_seed": both.tolist(),
        "spearman": {name: {of: asdict(each) for of, each in row.items()} for name, row in rows.items()},
    }
    (asked.out / "proxies.json").write_text(json.dumps(result, indent=1) + "\n")


def _kept_share(scores: Scores, subnetwork: Subnetwork) -> float:
    """The share of the summed scores that the kept channels hold."""
    kept = sum(score[list(channels)].sum() for score, channels in zip(scores, subnetwork.kept, strict=True))
    return float(kept / sum(score.sum() for score in scores))


def _z(values: FloatArray) -> FloatArray:
    z: FloatArray = (values - values.mean()) / values.std()
    return z


if __name__ == "__main__":
    main()
