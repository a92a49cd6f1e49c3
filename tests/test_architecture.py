"""Architectures on disk: what is saved is loaded again, and what is broken is refused in one line."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import secateur as sc
from secateur.digests import unsealed
from secateur.errors import SecateurError
from secateur.models.files import tensors
from secateur.models.files.architecture import architecture, architecture_of, build, save, subnetwork_of
from secateur.models.files.networks import load
from secateur.models.files.schema import Architecture, fingerprint

NET = """from torch import nn


def make(classes: int = 10) -> nn.Module:
    layers: list[nn.Module] = []
    channels = 3
    for width, stride in ((8, 1), (12, 2), (10, 2)):
        layers += [nn.Conv2d(channels, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
        channels = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes))
"""
KEPT = ((0, 2, 5), tuple(range(9)), tuple(range(10)))
IMAGES = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(1))
Record = dict[str, Any]


def make(classes: int = 10) -> nn.Module:
    scope: dict[str, Any] = {}
    exec(NET, scope)
    network: nn.Module = scope["make"](classes)
    return network


def supernet() -> sc.Supernet:
    torch.manual_seed(0)
    return sc.Supernet.of(make().eval(), torch.zeros(1, 3, 16, 16))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save(build(supernet(), sc.Subnetwork(KEPT)), tmp_path / "slim")
    return tmp_path / "slim"


def edit(folder: Path, change: Callable[[Record], object]) -> None:
    path = folder / "architecture.json"
    record = unsealed(json.loads(path.read_text()))
    change(record)
    path.write_text(json.dumps(record))


def refusal(folder: Path, base: Callable[[], nn.Module] = make) -> str:
    with pytest.raises(sc.SecateurError) as caught:
        load(folder, base)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 400
    return message


def test_a_loaded_network_answers_as_the_saved_one_and_is_ready_for_use(folder: Path) -> None:
    student = build(supernet(), sc.Subnetwork(KEPT)).eval()
    loaded = load(folder, make)
    assert not loaded.training
    assert torch.equal(loaded(IMAGES), student(IMAGES))
    assert architecture_of(loaded) == architecture_of(student)


def test_what_is_loaded_can_be_saved_and_loaded_again(folder: Path, tmp_path: Path) -> None:
    save(load(folder, make), tmp_path / "again")
    assert (tmp_path / "again" / "architecture.json").read_bytes() == (folder / "architecture.json").read_bytes()
    assert torch.equal(load(tmp_path / "again", make)(IMAGES), load(folder, make)(IMAGES))


def test_architecture_json_is_read_with_plain_json(folder: Path) -> None:
    net, record = supernet(), json.loads((folder / "architecture.json").read_text())
    assert record["format"] == "secateur/architecture/1"
    assert record["model"] == "Sequential"
    assert record["inputs"] == [[3, 16, 16]]
    assert record["fingerprint"] == fingerprint(net)
    assert list(record["groups"]) == [group.name for group in net.groups]
    assert record["groups"]["0"] == {"width": 3, "dense": 8, "kept": [0, 2, 5]}
    # 3x3 filters on 16x16, 8x8 and 4x4 places, then the head
    kept = 9 * (3 * 3 * 256 + 3 * 9 * 64 + 9 * 10 * 16) + 10 * 10
    assert record["costs"]["kept"]["macs"] == kept
    assert record["costs"]["dense"]["macs"] == 9 * (3 * 8 * 256 + 8 * 12 * 64 + 12 * 10 * 16) + 10 * 10
    assert record["costs"]["kept"]["parameters"] == 9 * (3 * 3 + 3 * 9 + 9 * 10) + 2 * (3 + 9 + 10) + 10 * 10 + 10


def test_the_channels_kept_are_the_subnetworks(folder: Path) -> None:
    record = unsealed(json.loads((folder / "architecture.json").read_text()))
    assert subnetwork_of(Architecture.from_dict(record, folder), supernet()) == sc.Subnetwork(KEPT)


def test_a_slim_network_carries_plain_values() -> None:
    net = supernet()
    small = sc.slim(net, sc.Subnetwork(KEPT), classes=["cat"])
    record = vars(small)["architecture"]
    assert type(record) is dict
    assert record == {**architecture(net, sc.Subnetwork(KEPT)), "classes": ["cat"]}
    assert {type(each).__module__ for each in values(record)} == {"builtins"}


def values(tree: Any) -> list[Any]:
    """All values within a value, and it."""
    inner = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else []
    return [tree, *(value for each in inner for value in values(each))]


def test_only_json_and_safetensors_are_written(folder: Path) -> None:
    assert sorted(path.name for path in folder.iterdir()) == ["architecture.json", "weights.safetensors"]


def test_a_fresh_process_needs_the_constructor_alone(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(NET)
    torch.save(IMAGES, tmp_path / "images.pt")
    code = (
        "import torch, secateur as sc; from net import make; student = sc.load('slim', base=make); "
        "torch.save(student(torch.load('images.pt', weights_only=True)).detach(), 'answer.pt')"
    )
    environment = {"PYTHONPATH": str(tmp_path), "PATH": "", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    answer = torch.load(tmp_path / "answer.pt", weights_only=True)
    torch.testing.assert_close(answer, load(folder, make)(IMAGES).detach())


@pytest.mark.parametrize(
    ("change", "fact"),
    [
        (lambda r: r.update(format="secateur/architecture/2"), "not of format 'secateur/architecture/1'"),
        (lambda r: r.update(fingerprint="0" * 16), "is of another network"),
        (lambda r: r["groups"]["0"].update(width=4), "not the number of its kept channels"),
        (lambda r: r["groups"]["0"].update(kept=[0, 2, 8]), "channel 8 is kept of group 0, which has 8"),
        (lambda r: r["groups"]["0"].update(kept=[-1, 2, 3]), "Expected `int` >= 0 - at `$.groups[...].kept[0]`"),
        (lambda r: r["groups"]["0"].update(kept=[2, 2, 3]), "ascending"),
        (lambda r: r["groups"]["0"].update(kept=[]), "keeps no channel"),
        (lambda r: r["groups"]["0"].update(kept=[0, "2", 5]), "Expected `int`, got `str` - at `$.groups[...].kept[1]`"),
        (lambda r: r["groups"]["0"].update(kept=[0.5, 2, 5]), "has a missing or broken value: "),
        (lambda r: r["groups"]["0"].pop("kept"), "has a missing or broken value: "),
        (lambda r: r["groups"]["0"].pop("width"), "missing required field `width` - at `$.groups[...]`"),
        (lambda r: r["groups"].update({"0": 3}), "has a missing or broken value: "),
        (lambda r: r["groups"].pop("0"), "channel groups are not this network's"),
        (lambda r: r.pop("groups"), "has a missing or broken value: "),
        (lambda r: r.pop("inputs"), "has a missing or broken value: "),
        (lambda r: r.update(inputs="3x16x16"), "has a missing or broken value: "),
        (lambda r: r.pop("tie"), "has a missing or broken value: "),
        (lambda r: r.update(tie=[["0", 3]]), "has a missing or broken value: "),
        (lambda r: r["groups"]["0"].update(colour="red"), "unknown field `colour` - at `$.groups[...]`"),
        (lambda r: r.update(colour="red", size=3), "keys that this version does not know (colour, size)"),
        (lambda r: r["costs"]["kept"].update(macs=12), "are not those of its channels"),
        (lambda r: r["costs"]["dense"].update(parameters=12), "are not those of its channels"),
        (lambda r: r["costs"].pop("dense"), "missing required field `dense` - at `$.costs`"),
        (lambda r: r.pop("frozen"), "missing required field `frozen`"),
        (lambda r: r.pop("fingerprint"), "missing required field `fingerprint`"),
        (lambda r: r["groups"]["0"].update(width=9), "group 0 keeps 9 of 8 channels"),
        (lambda r: r["groups"]["0"].update(dense=0), "Expected `int` >= 1"),
        (lambda r: r["groups"]["0"].update(dense=10**30), "Expected `int` <= 1048576"),
        (lambda r: r["groups"]["0"].update(kept=[0, 2, 2**64]), "Expected `int` <= 1048575"),
        (lambda r: r["costs"]["dense"].update(macs=-1), "Expected `int` >= 0 - at `$.costs.dense.macs`"),
        (lambda r: r["costs"]["dense"].update(macs=10**30), "has a missing or broken value: "),
        (lambda r: r.update(inputs=[[3, 10**6, 10**6]]), "hold more than 268435456 numbers"),
        (lambda r: r.update(inputs=[[3, 0, 16]]), "Expected `int` >= 1 - at `$.inputs[0][1]`"),
        (lambda r: r.update(inputs=[[1] * 9]), "Expected `array` of length <= 8 - at `$.inputs[0]`"),
        (lambda r: r.update(inputs=[[3, True, 16]]), "Expected `int`, got `bool`"),
        (lambda r: r.update(figures=3), "Expected `object | null`, got `int` - at `$.figures`"),
        (lambda r: r.update(tie=[["0", "none"]]), "no channel group is called 'none'"),
    ],
)
def test_a_changed_architecture_is_refused(folder: Path, change: Callable[[Record], object], fact: str) -> None:
    edit(folder, change)
    assert fact in refusal(folder)


def test_an_architecture_of_another_network_is_refused(folder: Path) -> None:
    assert "is of another network" in refusal(folder, lambda: make(7))


@pytest.mark.parametrize(
    "text",
    ["", "hello", '{"format": "secateur/arch', "[1, 2]", "3", "null", "[" * 100_000, "9" * 5000],
    ids=["empty", "word", "cut", "list", "number", "null", "deep", "huge"],
)
def test_what_is_no_json_object_is_refused(folder: Path, text: str) -> None:
    (folder / "architecture.json").write_text(text)
    assert "architecture.json" in refusal(folder)


def test_a_truncated_architecture_is_refused_wherever_it_was_cut(folder: Path) -> None:
    whole = (folder / "architecture.json").read_text()
    for length in range(0, len(whole) - 1, 40):
        (folder / "architecture.json").write_text(whole[:length])
        assert "is no architecture" in refusal(folder)


def test_a_changed_figure_is_refused_until_the_digest_is_removed(folder: Path) -> None:
    path = folder / "architecture.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps({**record, "model": "Other"}))
    assert "its content is not what was written; if you edited it yourself, remove its 'blake2b'" in refusal(folder)
    path.write_text(json.dumps({**unsealed(record), "model": "Other"}))
    assert vars(load(folder, make))["architecture"]["model"] == "Other"


def test_a_network_in_place_of_what_makes_one_is_refused(folder: Path) -> None:
    with pytest.raises(SecateurError, match="pass what makes the dense network: lambda"):
        load(folder, base=nn.Linear(2, 2))
    with pytest.raises(SecateurError, match=r"base=20 is of type int; pass a function of 0 arguments or a str"):
        load(folder, base=20)  # type: ignore[arg-type]


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    assert "nowhere" in refusal(tmp_path / "nowhere")


def test_weights_of_another_architecture_are_refused(folder: Path, tmp_path: Path) -> None:
    net = supernet()
    save(build(net, net.dense), tmp_path / "dense")
    (tmp_path / "dense" / "weights.safetensors").replace(folder / "weights.safetensors")
    message = refusal(folder)
    assert "weights.safetensors does not fit its architecture.json" in message
    assert "0.weight" in message


@pytest.mark.parametrize("content", [b"", b"hello hello hello", None], ids=["empty", "junk", "gone"])
def test_broken_weights_are_refused(folder: Path, content: bytes | None) -> None:
    path = folder / "weights.safetensors"
    path.unlink() if content is None else path.write_bytes(content)
    assert "weights.safetensors does not fit" in refusal(folder)


def test_a_truncated_weights_file_is_refused(folder: Path) -> None:
    path = folder / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    assert "weights.safetensors cannot be read (its content is not what was written)" in refusal(folder)


def test_a_network_without_an_architecture_is_not_saved(tmp_path: Path) -> None:
    with pytest.raises(sc.SecateurError, match="carries no architecture"):
        save(make(), tmp_path / "dense")
    assert not (tmp_path / "dense").exists()


def test_a_save_that_is_cut_short_leaves_what_was_there(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def cut(model: nn.Module, path: str, about: object) -> None:
        Path(path).write_bytes(b"half")
        raise KeyboardInterrupt

    before = load(folder, make)(IMAGES)
    monkeypatch.setattr(tensors, "save_model", cut)
    with pytest.raises(KeyboardInterrupt):
        save(load(folder, make), folder)
    assert torch.equal(load(folder, make)(IMAGES), before)


def test_tied_groups_and_several_inputs_are_found_again(tmp_path: Path) -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.image, self.mask, self.head = nn.Conv2d(3, 8, 3), nn.Conv2d(1, 8, 3), nn.Conv2d(16, 5, 1)

        def forward(self, image: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
            out: torch.Tensor = self.head(torch.cat([self.image(image), self.mask(mask)], 1))
            return out

    inputs = (torch.randn(1, 3, 8, 8), torch.randn(1, 1, 8, 8))
    net = sc.Supernet.of(Two(), inputs, tie=[("image", "mask")])
    small = build(net, sc.Subnetwork(((0, 3, 4),)))
    save(small, tmp_path)
    torch.testing.assert_close(load(tmp_path, Two)(*inputs), small(*inputs))
