"""Run directories of every kind, written as a run leaves them, without a run."""

import json
from collections.abc import Sequence
from math import nan
from pathlib import Path
from typing import Any

from secateur.models.score import Score
from secateur.rundir.config import ask
from secateur.rundir.manifest import Manifest
from secateur.rundir.outcomes import (
    BankStage,
    EvaluationStage,
    Figures,
    InterimRecord,
    NetworkStage,
    SearchStage,
    TeacherRecord,
    TransferStage,
)

DENSE = {"macs": 40_000_000, "parameters": 270_000}
GROUPS = {"conv1": 16, "layer1.0.conv1": 16, "layer2.0.conv1": 32}
FROZEN = {"linear": "is an output of the network"}
BUDGET = 20_000_000


def architecture(macs: int, loss: float, n: int = 100, source: str = "refine") -> dict[str, Any]:
    """A point of a front; its widths are of no matter."""
    groups = {name: {"width": w // 2, "dense": w, "kept": list(range(w // 2))} for name, w in GROUPS.items()}
    costs = {"dense": DENSE, "kept": {"macs": macs, "parameters": macs // 150}}
    figures = {"holdout": {"loss": loss, "accuracy": 1 - loss / 2, "n": n}}
    provenance = {"model": "resnet20", "data": "digits", "seed": 0, "source": source}
    about: dict[str, Any] = {"figures": figures, "provenance": provenance, "inputs": [[3, 32, 32]], "tie": []}
    head = {"format": "secateur/architecture/1", "model": "ResNet", "fingerprint": "0" * 16}
    return {**head, "groups": groups, "costs": costs, "frozen": FROZEN, **about}


def searched(folder: Path, losses: Sequence[float] = (0.3, 0.25, nan, 0.2), *, n: int = 100) -> Path:
    """A run that ended with its bank: these losses at the budget, after the dense network."""
    ledger = Manifest(folder, ask(trials=len(losses)))
    ledger.stage("dense", lambda: NetworkStage(weights="resnet20.pth"))
    head = {"format": "secateur/records/1", "of": "0" * 16}
    dense = {"source": "dense", "loss": 0.1, "accuracy": 0.95, "n": n, **DENSE, "subnetwork": []}
    costs = {"n": n, "macs": BUDGET, "parameters": 130_000, "subnetwork": []}
    trials = [{"source": "refine", "loss": loss, "accuracy": 0.8, **costs} for loss in losses]
    finite = [loss for loss in losses if loss == loss]
    (folder / "bank").mkdir()
    lines = map(json.dumps, (head, dense, *trials))
    (folder / "bank" / "records.jsonl").write_text("".join(f"{line}\n" for line in lines))
    winner = architecture(BUDGET, min(finite, default=nan), 2 * n)
    points = [architecture(BUDGET, min(finite)), architecture(30_000_000, 0.15)] if finite else []
    front = {
        "format": "secateur/front/1",
        "budget": {"macs": BUDGET, "mark": "budget"},
        "winner": winner,
        "points": points,
    }
    (folder / "front.json").write_text(json.dumps(front))
    best = InterimRecord(
        source="refine", loss=min(finite, default=nan), accuracy=0.8, n=n, macs=BUDGET, parameters=130_000
    )
    ledger.stage("search", lambda: SearchStage(winner=best, start=best, evaluations=1 + len(losses), stopped=0))
    teachers = (TeacherRecord(macs=DENSE["macs"], loss=0.1),)
    ledger.stage("bank", lambda: BankStage(teachers=teachers, missing=0))
    return folder


def tuned(folder: Path, **more: Any) -> Path:
    """A finished run: 97.12% after fine-tuning."""
    searched(folder, **more)
    ledger = Manifest(folder, ask(trials=len(more.get("losses", range(4)))))
    (folder / "transfer").mkdir()
    steps = [{"step": s, "steps": 100, "epoch": s // 51, "loss": 50 / s, "learning_rate": 0.1} for s in (50, 100)]
    (folder / "transfer" / "metrics.jsonl").write_text("".join(json.dumps(step) + "\n" for step in steps))
    training = TransferStage(method="ckt", epochs=2, seed=0, precision="float32")
    ledger.stage("transfer", lambda: training)
    kept = {"macs": BUDGET, "parameters": 130_000}
    arms = {"dense": (DENSE, 0.96), "pruned": (kept, 0.9), "tuned": (kept, 0.9712)}
    dense, pruned, tuned = (Figures(**_scores(share), **costs) for costs, share in arms.values())  # type: ignore[arg-type]
    ledger.stage("test", lambda: EvaluationStage(dense=dense, pruned=pruned, tuned=tuned))
    (folder / "best").mkdir()
    (folder / "best" / "weights.safetensors").write_bytes(bytes(612_000))
    return folder


def _scores(accuracy: float) -> dict[str, Any]:
    return {split: Score(0.1, accuracy, n) for split, n in (("holdout", 200), ("test", 359))}
