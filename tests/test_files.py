from pathlib import Path

import pytest

from secateur.errors import SecateurError
from secateur.files import ensure_folder


def test_a_folder_is_made_with_those_above_it_once(tmp_path: Path) -> None:
    place = tmp_path / "a" / "b"
    assert ensure_folder(str(place)) == ensure_folder(place) == place
    assert place.is_dir()


@pytest.mark.parametrize("name", ["file", "file/inside"])
def test_a_file_in_its_place_is_said(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SecateurError, match=r"the folder .*file.* cannot be made \(.*\); give another"):
        ensure_folder(tmp_path / name)
