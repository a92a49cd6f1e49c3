"""Networks that were kept, taken wherever a network is named."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn

import secateur as sc
from secateur.digests import unsealed
from secateur.models.files.networks import intake_of, network_called, require_network
from secateur.models.files.place import home_of, is_kept
from secateur.models.zoo.names import OURS
from secateur.models.zoo.normalisation import Normalisation
from secateur.models.zoo.registry import NETS

IMAGES = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
CLASSES = ["cat", "dog", "emu"]
NORMALISATION = {"mean": [0.1, 0.2, 0.3], "std": [0.5, 0.6, 0.7]}


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What a run of ResNet-20 on three classes keeps in best/."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    net = sc.Supernet.of(NETS["resnet20"](3).eval(), torch.zeros(1, 3, 16, 16), check=False)
    about = {"provenance": {"model": "resnet20", "data": "digits"}, "classes": CLASSES, "normalisation": NORMALISATION}
    sc.save(sc.slim(net, sc.Subnetwork.first(net.space.dense // 2), **about), "run/best")
    return Path("run")


def rewrite(kept: Path, **values: object) -> None:
    path = kept / "best" / "architecture.json"
    path.write_text(json.dumps({**unsealed(json.loads(path.read_text())), **values}))


def test_names_of_this_package_are_those_of_the_registry() -> None:
    assert NETS.keys() == OURS


@pytest.mark.parametrize("place", ["run", "run/best", "run/best/architecture.json"])
def test_a_run_loads_by_its_folder_and_needs_no_constructor(kept: Path, place: str) -> None:
    theirs = sc.load("run/best", base=lambda: NETS["resnet20"](3))
    for model in (sc.load(place), sc.load(place, base="resnet20"), network_called(place, 3)()):
        assert torch.equal(model(IMAGES), theirs(IMAGES))
    assert home_of(place) == kept / "best"
    assert is_kept(place)


def test_a_kept_network_says_what_it_reads(kept: Path) -> None:
    assert intake_of("run").shape == (3, 16, 16)
    assert intake_of("run").normalisation == ((0.1, 0.2, 0.3), (0.5, 0.6, 0.7))
    for other in ({"mean": [0.5], "std": [1.0]}, {"mean": "x"}, {"mean": [1, 2, "3"], "std": None}):
        rewrite(kept, normalisation=other)
        assert intake_of("run").normalisation == Normalisation()


def test_a_kept_network_has_the_classes_it_was_built_for(kept: Path) -> None:
    with pytest.raises(
        sc.SecateurError, match=r"run was built for 3 classes and not 10; .* secateur reuse run --classes 10"
    ):
        network_called("run", 10)


def test_a_network_that_was_pruned_twice_loads_by_its_folder(kept: Path) -> None:
    net = sc.Supernet.of(sc.load("run"), torch.zeros(1, 3, 16, 16), check=False)
    again = sc.slim(net, sc.Subnetwork.first(net.space.dense // 2), provenance={"model": "run"}, classes=CLASSES)
    sc.save(again, "twice")
    assert torch.equal(sc.load("twice")(IMAGES), again.eval()(IMAGES))


def test_code_that_a_file_names_and_a_file_that_names_itself_are_refused(kept: Path) -> None:
    rewrite(kept, provenance={"model": "os:abort"})
    with pytest.raises(sc.SecateurError, match="names the code os:abort, and what a file names is not run"):
        sc.load("run")
    rewrite(kept, provenance={"model": "run"})
    with pytest.raises(sc.SecateurError, match="names itself as its dense network"):
        sc.load("run")
    rewrite(kept, provenance={})
    with pytest.raises(sc.SecateurError, match=r"does not say which network it is of; pass what makes it: base=lambda"):
        sc.load("run")


def test_another_number_of_classes_is_said(kept: Path) -> None:
    with pytest.raises(sc.SecateurError, match=r"pass the dense network it was found on, of 3 classes"):
        sc.load("run", base=lambda: NETS["resnet20"](10))


@pytest.mark.parametrize("name", ["nowhere", "resnet21", "torchvision:resnet", "timm:resnet"])
def test_what_names_no_network_is_known_before_anything_is_built(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nn.Conv2d, "__init__", lambda *_, **__: pytest.fail("built"))
    with pytest.raises(sc.SecateurError):
        require_network(name)
    require_network("torchvision:resnet18")
