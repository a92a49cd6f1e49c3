"""Do the tests notice a wrong line? Forty faults of one line, one at a time, in a copy of the checkout.

    python benchmarks/planted_faults.py [--out FILE]

Each fault names the tests that should fail. The fixed list is a sample, written by hand over all rooms: a rate of these
faults, not of all. About six minutes; JSON with the outcome of each goes to results/planted_faults.json.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LEFT_OUT = shutil.ignore_patterns(".git", ".venv", "build", "runs", "__pycache__", ".*_cache")

# file, line as it is, line as it is planted, tests
FAULTS = [
    ("rundir/config.py", "if kind not in methods and value", "if kind in methods and value", "config mistakes"),
    ("rundir/manifest.py", "before = book.fingerprints.get(name, fingerprint)", "before = fingerprint", "manifest"),
    ("rundir/outcomes.py", "if each is not None}", "}", "outcomes"),
    ("rundir/results.py", "[each for each in records if each.n <= dense.n]", "records", "results"),
    ("rundir/results.py", "read_json_lines(path)[skip:]", "read_json_lines(path)", "results plots"),
    ("rundir/options.py", 'sorted(found, key="*".__eq__)', "found", "config"),
    ("pipeline/found.py", "min(affordable, key=lambda point", "max(affordable, key=lambda point", "pipeline"),
    ("pipeline/session.py", "recalibrate(model, self.data.train)", "recalibrate(model, self.data.holdout)", "session"),
    (
        "pipeline/session.py",
        "return grams(self.net, self.data.train)",
        "return grams(self.net, self.data.holdout)",
        "session",
    ),
    ("pipeline/session.py", "recalibrate_as_trained(model, train)", "pass", "session"),
    ("stages/stage.py", "stage.restore()", "pass", "stage"),
    ("stages/search_run.py", "views if teachers else 0", "views", "points"),
    ("reports/tables.py", "<= 1.5 / (classes or inf)", "<= 0.5 / (classes or inf)", "tables"),
    ("reports/plots.py", "trial.macs <= run.front.budget.macs and ", "", "plots"),
    ("reports/pareto.py", "kept.macs / point.costs.dense.macs:", "point.costs.dense.macs / kept.macs:", "pareto"),
    ("deploy/measure.py", '1 - costs["slim"]["macs"] /', 'costs["slim"]["macs"] /', "measure"),
    ("deploy/divisors.py", "<= best * (1 + WORTH)", "<= best", "divisors"),
    ("models/costs/spec.py", "high = {name: each.high.limit", "high = {name: each.low.limit", "spec budget_range"),
    ("models/costs/budget_range.py", "low[name] <= limit <= high[name]", "low[name] <= limit", "budget_range"),
    ("models/costs/widths.py", "free = free[budget.holds(space.costs, wider[free])]", "free = free[:-1]", "widths"),
    ("models/patterns.py", "if any(fnmatch(name, pattern)", "if all(fnmatch(name, pattern)", "patterns"),
    ("models/timing/latency.py", " * np.median(ratios)", "", "latency"),
    ("models/compensation/ridge.py", "2)[:, :columns] += share", "2)[:] += share", "ridge"),
    ("models/surgery/slim.py", "rewrite_widths(net, subnetwork, kept, model)", "pass", "held_widths"),
    ("files.py", 'text[: text.rfind("\\n") + 1].splitlines()', "text.splitlines()", "files"),
    ("files.py", "file.truncate(_complete(file.tell(), path))", "file.truncate(file.tell())", "files"),
    ("signals.py", "self.status = 128 + number", "self.status = number", "signals"),
    ("data/dataset.py", "digest.update(images.labels.numpy().tobytes())", "pass", "dataset"),
    (
        "search/pareto.py",
        "if not best or each.loss < best[-1].loss",
        "if not best or each.loss <= best[-1].loss",
        "search_pareto",
    ),
    ("search/pareto.py", "before = min(before, point.loss)", "before = loss", "search_pareto"),
    ("search/greedy.py", "min(evaluated, key=", "max(evaluated, key=", "greedy"),
    ("search/early_stopping.py", "above.std(ddof=1) / len(above) ** 0.5", "above.std(ddof=1)", "early_stopping"),
    ("search/coarse_to_fine.py", "if span.includes(each.budget)", "", "coarse_to_fine"),
    ("search/allocation.py", "return space.round_down(kept)", "return kept.astype(np.int64)", "allocation"),
    ("transfer/bank/top_k.py", "others = logits.scatter(-1, classes, -torch.inf)", "others = logits", "top_k"),
    ("transfer/bank/top_k.py", "(student + stored[..., -1:] - rest)", "(student + stored[..., -1:])", "top_k"),
    ("transfer/training/recipe.py", "* (step + 1) / (warm + 1)", "* step / (warm + 1)", "recipe"),
    (
        "transfer/objectives/base.py",
        "self.label_weight * label_loss(batch) + teacher_loss",
        "label_loss(batch) + teacher_loss",
        "base",
    ),
    ("transfer/joint/pdd.py", "partial(kd_loss, temperature=TEMPERATURE)", "kd_loss", "pdd published_constants"),
    ("transfer/joint/pdd.py", "second_objective=CrossEntropy()", "second_objective=pdd_objective(teacher)", "pdd"),
]


def outcome(checkout: Path, fault: tuple[str, str, str, str]) -> str:
    """Whether the named tests fail with a fault in this checkout, which is mended again."""
    path, line, planted, tests = checkout / fault[0], *fault[1:]
    text = path.read_text(encoding="utf-8")
    if text.count(line) != 1:
        raise ValueError(f"{fault[0]} has {line!r} {text.count(line)} times; bring the list up to date")
    path.write_text(text.replace(line, planted), encoding="utf-8")
    words = [sys.executable, "-m", "pytest", "-q", "-x", "-n", "0", "-p", "no:cacheprovider"]
    words += [f"tests/test_{test}.py" for test in tests.split()]
    environment = {**os.environ, "PYTHONPATH": str(checkout.parent), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(words, cwd=checkout, env=environment, capture_output=True)
    path.write_text(text, encoding="utf-8")
    return {0: "survived", 1: "killed"}.get(done.returncode, f"pytest ended with {done.returncode}")


def main() -> None:
    """Plant every fault and write what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "planted_faults.json")
    out = parser.parse_args().out
    with tempfile.TemporaryDirectory() as folder:
        checkout = Path(shutil.copytree(ROOT, Path(folder) / "secateur", ignore=LEFT_OUT))
        rows = []
        for fault in FAULTS:
            rows.append({"file": fault[0], "line": fault[1], "planted": fault[2], "outcome": outcome(checkout, fault)})
            print(f"{rows[-1]['outcome']}: {fault[0]}: {fault[1]}", flush=True)
    counts = dict(Counter(row["outcome"] for row in rows))
    out.write_text(json.dumps({"outcomes": counts, "faults": rows}, indent=2) + "\n", encoding="utf-8")
    print(counts)


if __name__ == "__main__":
    main()
