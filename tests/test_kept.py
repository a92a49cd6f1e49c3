"""Which network, and which run, a place means."""

from pathlib import Path

import pytest

from secateur.rundir.kept import Kept


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run with its winner and a point, and a folder beside it."""
    monkeypatch.chdir(tmp_path)
    for place in ("run/best", "run/points/7-kd", "alone", "alone/best"):
        Path(place).mkdir(parents=True)
        Path(place, "architecture.json").touch()
    Path("run/run.json").touch()
    return Path("run")


@pytest.mark.parametrize("place", ["run", "run/", "run/best", "run/best/architecture.json"])
def test_a_run_and_its_best_are_the_winner(run: Path, place: str) -> None:
    assert Kept.at(place) == Kept(run / "best", run)
    assert not Kept.at(place).is_point


def test_a_point_is_of_its_run(run: Path) -> None:
    assert Kept.at("run/points/7-kd") == Kept(Path("run/points/7-kd"), run)
    assert Kept.at("run/points/7-kd").is_point


@pytest.mark.parametrize("inside", ["run", "run/best", "run/points", "run/points/7-kd"])
def test_it_is_found_from_inside_too(run: Path, inside: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Path.cwd() / run
    monkeypatch.chdir(run.parent / inside)
    for place in (whole, whole / "best", whole / "points" / "7-kd"):
        meant = Kept.at(Path("../" * inside.count("/") + "..") / place.relative_to(whole.parent))
        assert meant.run is not None
        assert meant.run.resolve() == whole
    if inside not in ("run", "run/points"):
        here = Kept.at(".")
        assert here.run is not None
        assert here.run.resolve() == whole


def test_what_lies_elsewhere_stands_alone(run: Path) -> None:
    assert Kept.at("alone") == Kept(Path("alone"), None)
    assert Kept.at("alone/best") == Kept(Path("alone/best"), None)
    assert Kept.at("nowhere") == Kept(Path("nowhere"), None)
