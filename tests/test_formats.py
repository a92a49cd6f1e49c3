"""Networks as files: every one answers as torch does, whatever the batch; a wrong one is not kept."""

from collections.abc import Callable, Mapping
from pathlib import Path

import onnx
import pytest
import torch
from torch import Tensor, nn
from torchvision.models import get_model

import secateur as sc
from secateur.deploy import formats
from secateur.deploy.formats import TOLERANCE, export_as
from secateur.models.costs.widths import fit_to_budget
from secateur.models.subnetwork import Subnetwork
from secateur.models.surgery.slim import slim
from secateur.models.timing import onnx_file
from secateur.models.timing.onnx_file import OPSET, onnx_session
from secateur.models.zoo.registry import NETS

LIBRARY = {"resnet18": 64, "mobilenet_v2": 64, "mobilenet_v3_small": 64, "shufflenet_v2_x0_5": 64}
LIBRARY |= {"squeezenet1_1": 64, "efficientnet_b0": 64}


def halved(model: nn.Module, side: int) -> nn.Module:
    """Uniform widths at half the MACs."""
    net = sc.Supernet.of(model.eval(), torch.zeros(1, 3, side, side), check=False)
    widths = fit_to_budget(net.space, net.budget("50%"), net.space.dense.astype(float))
    return slim(net, Subnetwork.first(widths))


def small() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))


@pytest.mark.parametrize("name", [*NETS, *LIBRARY])
def test_a_slimmed_network_of_every_family_is_exported(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = NETS[name](10) if name in NETS else get_model(name, weights=None, num_classes=10)
    side = LIBRARY.get(name, 32)
    done = export_as(halved(model, side), (3, side, side), tmp_path / "model.onnx", {})
    assert (done.format, done.opset, done.inputs) == ("onnx", OPSET, ("batch", "3", str(side), str(side)))
    assert done.difference <= TOLERANCE


@pytest.mark.parametrize("name", ["resnet20", "squeezenet1_1"])
def test_as_a_program_of_torch_too(name: str, tmp_path: Path) -> None:
    model = NETS[name](10) if name in NETS else get_model(name, weights=None, num_classes=10)
    done = export_as(halved(model, 64), (3, 64, 64), tmp_path / "model.pt2", {})
    assert (done.format, done.opset) == ("pt2", None)
    assert torch.export.load(done.path).module()(torch.zeros(5, 3, 64, 64)).shape == (5, 10)


def test_the_onnx_file_says_its_opset_batch_slim_shapes_and_what_it_is_about(tmp_path: Path) -> None:
    model = halved(sc.constructor("resnet20", 10)(), 32)
    done = export_as(model, (3, 32, 32), tmp_path / "model.onnx", {"classes": ["cat", "dog"]})
    proto = onnx.load(done.path)
    onnx.checker.check_model(proto)
    assert [(each.domain, each.version) for each in proto.opset_import] == [("", OPSET)]
    (images,) = proto.graph.input
    assert [d.dim_param or d.dim_value for d in images.type.tensor_type.shape.dim] == ["batch", 3, 32, 32]
    shapes = {each.name: tuple(each.dims) for each in proto.graph.initializer}
    own = {name: tuple(tensor.shape) for name, tensor in model.named_parameters()}
    assert shapes["layer1.0.conv1.weight"] == own["layer1.0.conv1.weight"] != (16, 16, 3, 3)
    assert {each.key: each.value for each in proto.metadata_props}["classes"] == '["cat", "dog"]'
    assert onnx_session(done.path)(torch.zeros(7, 3, 32, 32)).shape == (7, 10)


@pytest.mark.parametrize("form", ["onnx", "pt2"])
def test_what_answers_otherwise_is_refused_and_not_kept(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"model.{form}"
    read = formats.READERS[path.suffix]

    def off(path: Path) -> Callable[[Tensor], Tensor]:
        return lambda images: read(path)(images) * (1 + 2 * TOLERANCE)

    monkeypatch.setitem(formats.READERS, path.suffix, off)
    with pytest.raises(sc.SecateurError, match=r"differs from torch by 0\.00"):
        export_as(small(), (3, 8, 8), path, {})
    assert not path.exists()


def test_outputs_that_are_tiny_must_be_met_as_nearly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = nn.Sequential(small(), nn.Linear(2, 2))
    with torch.no_grad():
        for parameter in model[1].parameters():
            parameter.mul_(1e-6)
    monkeypatch.setitem(formats.READERS, ".pt2", lambda path: lambda images: 1.01 * model(images))
    with pytest.raises(sc.SecateurError, match=r"differs from torch by 0\.01"):
        export_as(model, (3, 8, 8), tmp_path / "model.pt2", {})


def test_a_format_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(sc.SecateurError, match="no format is called 'tflite'; pass onnx or pt2"):
        export_as(small(), (3, 8, 8), tmp_path / "model.tflite", {})


def test_a_library_that_is_missing_is_named_with_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(name: str) -> Mapping[str, str] | None:
        return None

    monkeypatch.setattr(onnx_file, "find_spec", nothing)
    with pytest.raises(sc.SecateurError, match=r"onnx is not installed; pip install 'secateur\[onnx\]'"):
        export_as(small(), (3, 8, 8), tmp_path / "model.onnx", {})
