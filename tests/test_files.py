import json
from collections.abc import Callable
from pathlib import Path

import pytest

from secateur.digests import unsealed
from secateur.errors import SecateurError
from secateur.files import (
    append_json,
    append_line,
    ensure_folder,
    read_json,
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
    assert unsealed(json.loads(path.read_text())) == read_json(path) == {"a": [1, 2]}
    assert path.read_text().startswith('{"a": [1, 2], "blake2b": "')
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
    assert path.read_text().startswith('{"n": 1, ')
    assert path.read_text().count("\n") == 2


def test_a_file_without_a_whole_line_has_none(tmp_path: Path) -> None:
    path = tmp_path / "lines.txt"
    assert whole_lines(path) == []
    path.write_text("cut")
    assert whole_lines(path) == []
    append_line(path, "é")
    assert whole_lines(path) == ["é"]


DAMAGE = [b"", b'{"a": ', b"\xff\xfe\x00", b"[" * 100_000, b"9" * 5_000, b"nothing of the kind"]


@pytest.mark.parametrize("content", DAMAGE, ids=["empty", "cut", "bytes", "deep", "digits", "text"])
def test_damaged_json_is_one_line_with_the_file_and_the_fix(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "note.json"
    path.write_bytes(content)
    with pytest.raises(SecateurError, match=r"note\.json is damaged \(.*\); restore it from a copy") as caught:
        read_json(path)
    assert "\n" not in str(caught.value)
    if content:
        path.write_bytes(content + b"\n")
        with pytest.raises(SecateurError, match=r"note\.json is damaged"):
            read_json_lines(path)


def test_changed_json_is_named_and_json_without_a_digest_is_taken_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "note.json"
    write_json(path, {"n": 1})
    path.write_text(path.read_text().replace("1", "2", 1))
    with pytest.raises(SecateurError, match=r"note\.json is damaged \(.*not what was written; if you edited it"):
        read_json(path)
    path.write_text('{"n": 2}\n')
    assert read_json(path) == {"n": 2}
    append_json(path, {"n": 3})
    assert read_json_lines(path) == [{"n": 2}, {"n": 3}]
    path.write_text(path.read_text().replace('"n": 3', '"n": 4'))
    with pytest.raises(SecateurError, match="not what was written"):
        read_json_lines(path)


def test_a_file_that_is_gone_or_a_folder_is_said_in_the_readers_words(tmp_path: Path) -> None:
    with pytest.raises(SecateurError, match=r"gone\.json is no list \(No such file or directory\); make one"):
        read_json(tmp_path / "gone.json", "is no list", "make one")
    with pytest.raises(SecateurError, match="is damaged"):
        read_json(tmp_path)
    assert read_json_lines(tmp_path / "gone.jsonl") == []


@pytest.mark.parametrize("write", [write_text, append_line], ids=["whole", "line"])
def test_a_full_disk_is_one_line_with_the_file(tmp_path: Path, write: Callable[[Path, str], None]) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("needs Linux: /dev/full")
    (tmp_path / "note.partial").symlink_to("/dev/full")
    path = tmp_path / ("note.json" if write is write_text else "note.partial")
    with pytest.raises(
        SecateurError,
        match=r"note\.\w+ cannot be written \(.*, [\d,]+ bytes are free\); make room",
    ):
        write(path, "x" * 100_000)
