"""The slim network of a run, shipped."""

import json
from pathlib import Path

import onnx
import pytest
import torch

import secateur as sc
from secateur.deploy.export import export, slim_of
from secateur.digests import unsealed
from secateur.models.files.architecture import build, save
from secateur.models.zoo.registry import NETS

CLASSES = ["cat", "dog", "emu"]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """What a finished run keeps in best/."""
    net = sc.Supernet.of(NETS["resnet20"](3).eval(), torch.zeros(1, 3, 32, 32), check=False)
    kept = sc.Subnetwork(tuple(tuple(range(group.width // 2)) for group in net.groups))
    about = {"provenance": {"model": "resnet20"}, "classes": CLASSES, "normalisation": {"mean": [0.5], "std": [1.0]}}
    save(build(net, kept, **about), tmp_path / "run" / "best")
    return tmp_path / "run"


def test_a_runs_network_is_written_beside_its_weights_with_what_its_user_needs(run: Path) -> None:
    done = export(run)
    assert done.path == run / "best" / "model.onnx"
    said = {each.key: json.loads(each.value) for each in onnx.load(done.path).metadata_props}
    assert said["classes"] == CLASSES
    assert said["normalisation"] == {"mean": [0.5], "std": [1.0]}
    assert said["costs"]["kept"]["macs"] < said["costs"]["dense"]["macs"] / 2


def test_a_folder_with_an_architecture_and_another_file_are_taken_too(run: Path, tmp_path: Path) -> None:
    done = export(run / "best", "pt2", tmp_path / "mine.pt2")
    images = torch.randn(3, 3, 32, 32)
    torch.testing.assert_close(torch.export.load(done.path).module()(images), slim_of(run)(images))


def test_a_file_of_another_kind_is_refused_and_its_folder_made(run: Path, tmp_path: Path) -> None:
    with pytest.raises(sc.SecateurError, match=r"mine\.pt2 does not end in \.onnx; pass --format pt2"):
        export(run, "onnx", tmp_path / "mine.pt2")
    assert export(run, "pt2", tmp_path / "new" / "mine.pt2").path.exists()


def test_a_folder_without_a_slim_network_is_refused(tmp_path: Path) -> None:
    with pytest.raises(sc.SecateurError, match="holds no slim network; pass a finished run"):
        export(tmp_path)


def test_an_architecture_that_does_not_say_its_network_is_refused(run: Path) -> None:
    path = run / "best" / "architecture.json"
    record = unsealed(json.loads(path.read_text()))
    path.write_text(json.dumps({key: value for key, value in record.items() if key != "classes"}))
    with pytest.raises(sc.SecateurError, match="does not say which network it is of"):
        export(run)
