"""Digests inside files: any change is found, and files without one are taken."""

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from secateur.errors import SecateurError
from secateur.models.seal import BLANK, is_intact, require_intact, seal


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sealed") / "a.safetensors"
    save_file({"a": torch.arange(50.0), "b": torch.ones(3, 4)}, path, {"step": "3", **BLANK})
    seal(path)
    return path


def test_a_sealed_file_is_intact_and_still_one_of_safetensors(sealed: Path) -> None:
    assert is_intact(sealed)
    require_intact(sealed, "")
    assert load_file(sealed)["a"].tolist() == list(range(50))


@settings(max_examples=300)
@given(st.data())
def test_any_flipped_bit_outside_of_the_seals_name_is_found(sealed: Path, data: st.DataObject) -> None:
    content = bytearray(sealed.read_bytes())
    name = content.index(b'"blake2b"')
    place = data.draw(st.integers(0, len(content) - 1).filter(lambda at: not name <= at < name + 12 + 33))
    content[place] ^= 1 << data.draw(st.integers(0, 7))
    path = sealed.with_name("flipped.safetensors")
    path.write_bytes(content)
    try:
        load_file(path)
    except Exception:
        return  # safetensors itself says so
    assert not is_intact(path)


@pytest.mark.parametrize("start", [0, 40, 200])
def test_a_lost_stretch_and_a_lost_end_are_found(sealed: Path, start: int) -> None:
    content = sealed.read_bytes()
    path = sealed.with_name("lost.safetensors")
    path.write_bytes(content[:-start] if start else content + b"x")
    assert not is_intact(path)
    end = len(content) - 60
    path.write_bytes(content[: end - start] + bytes(start + 30) + content[end + 30 :])
    if start < 200:  # of the tensors, and not of the header
        assert not is_intact(path)


def test_the_error_names_the_file_and_the_fix(sealed: Path) -> None:
    path = sealed.with_name("cut.safetensors")
    path.write_bytes(sealed.read_bytes()[:-1])
    with pytest.raises(SecateurError, match=r"cut\.safetensors cannot be read \(its content .*\); make it again"):
        require_intact(path, "make it again")


@pytest.mark.parametrize("content", [b"", b"1234", b"no safetensors at all"])
def test_a_file_that_was_never_sealed_is_taken_as_it_is(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "other"
    path.write_bytes(content)
    assert is_intact(path)


def test_a_file_is_sealed_again_after_a_change(sealed: Path) -> None:
    path = sealed.with_name("again.safetensors")
    path.write_bytes(sealed.read_bytes()[:-4] + bytes(4))
    seal(path)
    assert is_intact(path)
