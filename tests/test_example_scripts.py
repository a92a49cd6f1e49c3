"""The scripts in examples/ run as they are, in their small form."""

import importlib
from pathlib import Path
from typing import Any

import pytest
from server import server

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
CHAINS = ("segmentation", "regression", "multi_label", "detector", "one_dimension", "four_channels")


def run(name: str, folder: Path, patch: pytest.MonkeyPatch) -> Any:
    """What the script's ``main`` returns in its small form, with ``folder`` as the working directory."""
    patch.syspath_prepend(EXAMPLES)
    patch.chdir(folder)
    return importlib.import_module(name).main(quick=True)


@pytest.mark.parametrize("name", CHAINS)
def test_an_example_runs_from_a_trained_network_to_one_of_half_its_macs(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    chain = run(name, tmp_path, monkeypatch)
    assert 0.3 < chain.macs <= 0.5
    assert f"with {chain.macs:.1%} of the MACs" in capsys.readouterr().out


def test_the_first_search_ends_with_a_network_that_reloads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert 0.3 < run("first_search", tmp_path, monkeypatch) <= 0.4
    assert {each.name for each in (tmp_path / "slim").iterdir()} == {"architecture.json", "weights.safetensors"}


def test_one_search_answers_for_several_budgets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shares = run("several_budgets", tmp_path, monkeypatch)
    assert all(share <= limit for share, limit in zip(shares, (0.25, 0.4, 0.55), strict=True))
    assert shares == sorted(shares)


def test_found_widths_are_built_for_other_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("reuse_widths", tmp_path, monkeypatch) == 100
    assert (tmp_path / "deeper" / "architecture.json").exists()


def test_a_network_of_timm_is_pruned_on_a_folder_of_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert 0.3 < run("timm_folder", tmp_path, monkeypatch) <= 0.5
    assert "test accuracy: " in capsys.readouterr().out


def test_workers_on_one_database_end_with_the_same_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(EXAMPLES)
    monkeypatch.chdir(tmp_path)
    with server() as running:
        one, other = importlib.import_module("several_workers").main(running.url, quick=True)
    assert one == other
    assert len(one) == 12


def test_a_checkpoint_of_torchvisions_script_and_folders_of_images_go_to_onnx(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = run("torchvision_folder", tmp_path, monkeypatch)
    assert found["test"]["dense"]["holdout"]["n"] == found["test"]["dense"]["test"]["n"] == 60  # val/ and test/
    assert found["test"]["tuned"]["macs"] <= 0.5 * found["test"]["dense"]["macs"]
    said = capsys.readouterr().out
    assert "can be met" in said
    assert "slim/best/model.onnx: ONNX" in said
    assert (tmp_path / "slim" / "report.html").exists()


def test_every_example_is_run_here() -> None:
    helpers = {"chain", "fit", "scenes"}
    chosen = {"reuse_widths", "timm_folder", "torchvision_folder", "several_workers"}
    tested = {*CHAINS, "first_search", "several_budgets", *chosen}
    assert {path.stem for path in EXAMPLES.glob("*.py")} == helpers | tested
