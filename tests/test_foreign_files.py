"""Run directories from elsewhere, whose files name code: no command imports or calls it."""

import json
import pickle
import sys
from pathlib import Path
from typing import Any

import optuna
import pytest
from commands import Capture, status
from left import architecture, tuned

import secateur as sc
from secateur.digests import unsealed
from secateur.search.samplers.cmaes_sampler import CmaEsSampler

TRAP = """from pathlib import Path

Path(__file__).with_name("sprung").touch()


def make(*_: object) -> None:
    raise SystemExit("called")
"""
CODES = ["trap:make", "trap.py:make", "os:abort"]
EXPORT, EVALUATE, TRANSFER = ["export", "run"], ["evaluate", "run"], ["transfer", "run"]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory: a run, and beside it a module that leaves a mark where it is imported."""
    monkeypatch.setattr(sys, "path", sys.path[:])
    monkeypatch.chdir(tmp_path)
    (tmp_path / "trap.py").write_text(TRAP)
    best = tuned(tmp_path / "run") / "best"
    record = {**architecture(20_000_000, 0.2), "classes": ["cat", "dog"]}
    (best / "architecture.json").write_text(json.dumps(record))
    return tmp_path


def rewrite(path: Path, part: str, **values: object) -> None:
    """Change values of the dictionary under this key of a JSON file."""
    whole = unsealed(json.loads(path.read_text()))
    path.write_text(json.dumps({**whole, part: {**whole[part], **values}}))


def everywhere(place: Path, code: str) -> None:
    """Write the name of a function wherever a file of the run names a network, a teacher or data."""
    asked = {"model": code, "data": code, "teacher": code}
    rewrite(place / "run" / "best" / "architecture.json", "provenance", **asked)
    rewrite(place / "run" / "run.json", "asked", model=code, data=code, task=code)
    front = unsealed(json.loads((place / "run" / "front.json").read_text()))
    for point in [front["winner"], *front["points"]]:
        point["provenance"] |= asked
    (place / "run" / "front.json").write_text(json.dumps(front))


def require_untouched(place: Path) -> None:
    assert "trap" not in sys.modules
    assert not (place / "sprung").exists()


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("line", [EXPORT, ["export", "run/best"], EVALUATE, TRANSFER], ids=" ".join)
def test_code_that_a_file_names_is_not_run_and_the_error_says_what_to_type(
    place: Path, line: list[str], code: str, capsys: Capture
) -> None:
    everywhere(place, code)
    assert status(line) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert f"names the code {code}" in said
    assert f"if you trust it, type it: --model {code}" in said
    require_untouched(place)


@pytest.mark.parametrize("code", CODES)
def test_data_that_a_file_names_is_not_run_either(place: Path, code: str, capsys: Capture) -> None:
    rewrite(place / "run" / "run.json", "asked", data=code, weights="w.safetensors")
    assert status(TRANSFER) == 2
    assert f"type it: --data {code}" in capsys.readouterr().err
    require_untouched(place)


@pytest.mark.parametrize("code", CODES)
def test_a_teacher_that_a_file_names_is_not_run(place: Path, code: str, capsys: Capture) -> None:
    rewrite(place / "run" / "run.json", "asked", teacher=code, teacher_weights="w.pt", method="kddp", views=None)
    for line in (TRANSFER, EVALUATE, EXPORT, ["report", "run"]):
        assert status(line) in (0, 2)
    require_untouched(place)


@pytest.mark.parametrize("code", CODES)
def test_a_report_shows_the_name_and_runs_nothing(place: Path, code: str, capsys: Capture) -> None:
    everywhere(place, code)
    assert status(["report", "run"]) == 0
    assert code in (place / "run" / "report.html").read_text()
    require_untouched(place)


@pytest.mark.parametrize("code", CODES)
def test_a_foreign_front_is_reused_and_started_from_without_its_code(place: Path, code: str, capsys: Capture) -> None:
    everywhere(place, code)
    status(["reuse", "run", "resnet20", "--out", "again", "--flops", "50%"])
    status(["inspect", "resnet20", "--flops", "50%", "--json"])
    with pytest.raises(sc.SecateurError):
        sc.load(place / "run" / "best", base=sc.constructor("resnet20", 2))
    require_untouched(place)


@pytest.mark.parametrize("code", CODES)
def test_another_line_in_a_foreign_run_is_refused_without_its_code(place: Path, code: str, capsys: Capture) -> None:
    everywhere(place, code)
    assert status(["run", "resnet20", "--out", "run"]) == 2
    assert "holds another run" in capsys.readouterr().err
    require_untouched(place)


class Touch:
    def __reduce__(self) -> Any:
        return Path.touch, (Path("sprung"),)


def test_a_pickle_among_a_studys_attributes_is_not_read(place: Path) -> None:
    study = optuna.create_study(storage=f"sqlite:///{place / 'study.db'}", sampler=CmaEsSampler(0))
    study.add_trial(
        optuna.create_trial(
            params={"a": 1, "b": 2},
            distributions={name: optuna.distributions.IntDistribution(1, 8) for name in "ab"},
            value=1.0,
            system_attrs={"cma:optimizer": pickle.dumps(Touch()).hex(), "cma:generation": 0},
        )
    )
    study.optimize(lambda trial: float(trial.suggest_int("a", 1, 8) + trial.suggest_int("b", 1, 8)), n_trials=3)
    require_untouched(place)


@pytest.mark.parametrize("url", ["postgresql://me@example.org/studies", "sqlite:///elsewhere.db"])
def test_a_database_that_a_file_names_is_not_connected_to(place: Path, url: str, capsys: Capture) -> None:
    rewrite(place / "run" / "run.json", "asked", storage=url, weights="w.safetensors")
    for more in ([], ["--storage", "sqlite:///another.db"]):
        assert status([*TRANSFER, *more]) == 2
        (said,) = capsys.readouterr().err.splitlines()
        assert f"names {url}, which is not connected to; if you trust it, type it: --storage {url}" in said
    assert list(place.glob("*.db")) == []
