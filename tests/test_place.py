"""Where a network is kept."""

from pathlib import Path

import pytest

from secateur.models.files.place import home_of, is_kept


def test_a_name_of_the_library_is_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("resnet20", "mine"):
        Path(name).mkdir()
        Path(name, "architecture.json").touch()
    assert is_kept("mine")
    assert not is_kept("resnet20")
    assert is_kept("./resnet20")
    assert not is_kept("nowhere")


def test_its_own_architecture_comes_before_its_best(tmp_path: Path) -> None:
    (tmp_path / "best").mkdir()
    (tmp_path / "best" / "architecture.json").touch()
    assert home_of(tmp_path) == tmp_path / "best"
    (tmp_path / "architecture.json").touch()
    assert home_of(tmp_path) == tmp_path
