from pathlib import Path

import pytest

from secateur.errors import SecateurError
from secateur.files import (
    append_json,
    append_line,
    ensure_folder,
    read_json_lines,
    whole_lines,
    write_json,
    write_text,
    write_whole,
)


def test_a_folder_is_made_with_those_above_it_once(tmp_path: Path) -> None:
    place = tmp_path / "a" / "b"
    assert ensure_folder(str(place)) == ensure_folder(place) == place
    assert place.is_dir()


@pytest.mark.parametrize("name", ["file", "file/inside"])
def test_a_file_in_its_place_is_said(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SecateurError, match=r"the folder .*file.* cannot be made \(.*\); pass a different one"):
        ensure_folder(tmp_path / name)


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "note.json"
    write_text(path, "before")
    write_json(path, {"a": [1, 2]}, indent=None)
    assert path.read_text() == '{"a": [1, 2]}'
    assert [file.name for file in tmp_path.iterdir()] == ["note.json"]


def test_what_stops_while_it_writes_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "note.json"
    write_text(path, "before")

    def stops(partial: Path) -> None:
        partial.write_text("aft")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_whole(path, stops)
    assert path.read_text() == "before"


@pytest.mark.parametrize("cut", ["", '{"n": 2', "x" * 200_000])
def test_a_line_that_was_cut_short_is_left_out_and_then_removed(tmp_path: Path, cut: str) -> None:
    path = tmp_path / "lines.jsonl"
    append_json(path, {"n": 1})
    with path.open("a") as file:
        file.write(cut)
    assert read_json_lines(path) == [{"n": 1}]
    append_json(path, {"n": 3})
    assert read_json_lines(path) == [{"n": 1}, {"n": 3}]
    assert path.read_text() == '{"n": 1}\n{"n": 3}\n'


def test_a_file_without_a_whole_line_has_none(tmp_path: Path) -> None:
    path = tmp_path / "lines.txt"
    assert whole_lines(path) == []
    path.write_text("cut")
    assert whole_lines(path) == []
    append_line(path, "é")
    assert whole_lines(path) == ["é"]
