"""Architectures built again: the very channels, other depths, inherited and fresh weights."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import secateur as sc
from secateur.__main__ import main
from secateur.deploy.reuse import reused
from secateur.models.files.architecture import build, save
from secateur.models.zoo.registry import NETS
from secateur.search.importance.magnitude import l1

EXAMPLE = torch.zeros(1, 3, 32, 32)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ResNet-20 that keeps the last channels of every group, a half in the first blocks and a quarter in the last."""
    folder = tmp_path_factory.mktemp("found")
    torch.manual_seed(0)
    dense = NETS["resnet20"](10)
    save_file(dense.state_dict(), folder / "dense.safetensors")
    net = sc.Supernet.of(dense.eval(), EXAMPLE, check=False)
    kept = [group.width // (4 if group.name.startswith("layer3") else 2) for group in net.groups]
    last = (tuple(range(g.width - k, g.width)) for g, k in zip(net.groups, kept, strict=True))
    save(build(net, sc.Subnetwork(tuple(last))), folder / "one")
    return folder


def line(*words: object) -> None:
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    assert ended.value.code == 0


def test_on_its_own_network_the_very_channels_and_weights_come_back(found: Path, tmp_path: Path) -> None:
    weights = ("--weights", found / "dense.safetensors")
    line("reuse", found / "one", "resnet20", *weights, "--out", tmp_path / "again", "--json")
    again, before = (
        sc.load(folder, base=lambda: NETS["resnet20"](10)) for folder in (tmp_path / "again", found / "one")
    )
    images = torch.randn(2, 3, 32, 32)
    assert torch.equal(again(images), before(images))


def test_fresh_weights_have_the_widths_and_no_weight_of_the_old(
    found: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line("reuse", found / "one", "resnet20", "--classes", 7, "--seed", 5, "--out", tmp_path / "fresh", "--json")
    answer = json.loads(capsys.readouterr().out)
    assert (answer["widths"]["layer1.0.conv1"], answer["widths"]["layer3.0.conv1"]) == (8, 16)
    fresh = sc.load(tmp_path / "fresh", base=lambda: NETS["resnet20"](7))
    assert fresh(torch.zeros(1, 3, 32, 32)).shape == (1, 7)
    old = sc.load(found / "one", base=lambda: NETS["resnet20"](10))
    assert not torch.equal(fresh.get_parameter("conv1.weight"), old.get_parameter("conv1.weight"))


def test_a_deeper_network_takes_the_widths_at_the_same_share_of_macs(found: Path) -> None:
    again = reused(found / "one", NETS["resnet56"](10).eval(), EXAMPLE)
    widths = dict(zip((group.name for group in again.net.groups), again.subnetwork.widths, strict=True))
    kept = again.record.costs.kept.macs / again.record.costs.dense.macs
    assert not again.exact
    assert 0.98 * kept < again.net.macs(again.subnetwork) / again.net.macs(again.net.dense) <= kept + 1e-4
    assert widths["layer3.4.conv1"] / 64 < 0.35 < widths["layer1.4.conv1"] / 16
    strongest = l1(again.net)[1].argsort()[::-1][: widths[again.net.groups[1].name]]
    assert sorted(strongest.tolist()) == list(again.subnetwork.kept[1])


def test_a_budget_is_met_and_one_that_already_holds_changes_nothing(found: Path) -> None:
    for budget, exact in (("20%", False), ("60%", True)):
        again = reused(found / "one", NETS["resnet20"](10).eval(), EXAMPLE, budget)
        assert again.exact is exact
        assert again.net.budget(budget).holds(again.net.space.costs, again.subnetwork.widths)


def test_of_a_folder_of_many_the_budget_chooses(found: Path, tmp_path: Path) -> None:
    net = sc.Supernet.of(NETS["resnet20"](10).eval(), EXAMPLE, check=False)
    for share in (0.25, 0.5, 0.75):
        kept = (tuple(range(max(1, int(share * group.width)))) for group in net.groups)
        save(build(net, sc.Subnetwork(tuple(kept))), tmp_path / f"{share}")
    with pytest.raises(sc.SecateurError, match="holds 3 architectures; pass --flops to choose one"):
        reused(tmp_path, NETS["resnet32"](10).eval(), EXAMPLE)
    for budget, share in (("10%", 0.25), ("30%", 0.5), ("60%", 0.75)):
        again = reused(tmp_path, NETS["resnet32"](10).eval(), EXAMPLE, budget)
        assert again.record.groups["conv1"].width == share * 16


@pytest.mark.parametrize("place", ["one", ""])
def test_what_something_else_holds_is_not_written_over(
    found: Path, place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.read_bytes() for path in found.rglob("*") if path.is_file()}
    with pytest.raises(SystemExit) as ended:
        main(["reuse", str(found / "one"), "resnet20", "--out", str(found / place)])
    assert ended.value.code == 2
    assert "already holds something else; pass a different --out" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in found.rglob("*") if path.is_file()} == before


def test_what_was_reused_may_be_reused_again(found: Path, tmp_path: Path) -> None:
    for seed in (1, 2):
        line("reuse", found / "one", "resnet20", "--seed", seed, "--out", tmp_path / "again", "--json")


def test_what_was_reused_is_exported(found: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line("reuse", found / "one", "resnet20", "--out", tmp_path / "fresh")
    assert "the very channels found on ResNet" in capsys.readouterr().out
    line("export", tmp_path / "fresh", "--format", "pt2", "--json")
    done = json.loads(capsys.readouterr().out)
    assert done["path"] == str(tmp_path / "fresh" / "model.pt2")
    assert done["difference"] <= done["tolerance"] == 1e-4
