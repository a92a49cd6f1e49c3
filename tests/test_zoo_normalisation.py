"""How images are normalised for a network."""

import subprocess
import sys

import pytest
import timm
from hypothesis import given
from hypothesis import strategies as st

import secateur as sc
from secateur.models.zoo.normalisation import MEAN, STD, Normalisation, normalisation_of, require_normalised
from secateur.pipeline.images import open_run_data
from secateur.progress import silent


@pytest.mark.parametrize("name", ["resnet18", "vit_tiny_patch16_224@pretrained", "mobilenetv3_small_050.lamb_in1k"])
def test_timms_networks_have_the_statistics_that_timm_says(name: str) -> None:
    theirs = timm.create_model(name.partition("@")[0], pretrained=False).default_cfg
    assert isinstance(theirs, dict)
    assert normalisation_of(f"timm:{name}") == (tuple(theirs["mean"]), tuple(theirs["std"]))


@pytest.mark.parametrize("name", ["resnet20", "torchvision:resnet18", "net.py:make", "timm:nonesuch"])
def test_others_have_imagenets(name: str) -> None:
    assert normalisation_of(name) == Normalisation() == (MEAN, STD)


def test_a_run_normalises_as_its_network_is_trained_unless_it_is_said_otherwise() -> None:
    asked = {"input": "3x8x8", "weights": "w"}
    data = open_run_data(sc.Ask("timm:vit_tiny_patch16_224", **asked), silent)
    assert (data.train.mean, data.train.std) == ((0.5,) * 3, (0.5,) * 3)  # type: ignore[union-attr]
    data = open_run_data(sc.Ask("timm:vit_tiny_patch16_224", **asked, mean=(0.1, 0.2, 0.3)), silent)
    assert (data.train.mean, data.train.std) == ((0.1, 0.2, 0.3), (0.5,) * 3)  # type: ignore[union-attr]


@given(st.tuples(*[st.floats(0.01, 1)] * 3))
def test_statistics_of_bytes_are_refused_with_the_right_numbers(std: tuple[float, float, float]) -> None:
    require_normalised(std, std)
    of_bytes = tuple(255 * each for each in std)
    if max(of_bytes) > 1:
        with pytest.raises(sc.SecateurError, match=r"is of pixels in 0\.\.255") as caught:
            require_normalised(None, of_bytes)  # type: ignore[arg-type]
        right = [float(word) for word in str(caught.value).split("0..1: ")[1].split()]
        assert right == pytest.approx(std, rel=1e-3)


def test_they_are_refused_in_python_too() -> None:
    with pytest.raises(sc.SecateurError, match=r"pass those of 0\.\.1: 0\.485 0\.456 0\.406"):
        sc.open_data("digits", mean=(123.675, 116.28, 103.53))


def test_no_library_is_imported_for_help() -> None:
    code = "import sys, secateur.rundir.options; sys.exit('timm' in sys.modules or 'torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
