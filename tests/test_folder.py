from pathlib import Path

import pytest

from secateur.models.errors import SecateurError
from secateur.models.folder import made


def test_a_folder_is_made_with_those_above_it_once(tmp_path: Path) -> None:
    place = tmp_path / "a" / "b"
    assert made(str(place)) == made(place) == place
    assert place.is_dir()


@pytest.mark.parametrize("name", ["file", "file/inside"])
def test_a_file_in_its_place_is_said(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SecateurError, match=r"the folder .*file.* cannot be made \(.*\); give another"):
        made(tmp_path / name)
