"""classes.json: written by the test of a run, read by its report."""

from pathlib import Path

import pytest

from secateur.errors import SecateurError
from secateur.models.class_scores import ClassScore
from secateur.models.tasks.segmentation import Segmentation
from secateur.rundir.classes import CLASSES, class_table, read_classes, write_classes

METRIC = Segmentation(3).metric


def scores(*values: float) -> dict[int, ClassScore]:
    return {number: ClassScore(value) for number, value in enumerate(values)}


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    networks = {"dense": scores(0.9, 0.8), "pruned": scores(0.1, 0.2), "tuned": scores(0.9, 0.7)}
    table = class_table(METRIC, ["ground", "cat"], networks)
    assert table
    write_classes(table, tmp_path)
    assert read_classes(tmp_path) == table
    assert [(row.name, row.tuned) for row in table.rows] == [("ground", 0.9), ("cat", 0.7)]


def test_a_class_that_one_network_alone_has_is_left_out_and_one_without_a_name_is_numbered() -> None:
    networks = {"dense": scores(0.9, 0.8, 0.1), "pruned": scores(0.1, 0.2), "tuned": scores(0.9, 0.7, 0.5)}
    table = class_table(METRIC, ["ground"], networks)
    assert table
    assert [row.name for row in table.rows] == ["ground", "1"]


def test_no_classes_make_no_table() -> None:
    assert class_table(METRIC, [], {"dense": {}, "pruned": {}, "tuned": {}}) is None


def test_a_folder_of_an_earlier_version_has_none(tmp_path: Path) -> None:
    assert read_classes(tmp_path) is None


def test_a_damaged_file_is_named_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / CLASSES).write_text('{"metric": "accuracy", "rows": [')
    with pytest.raises(SecateurError, match=r"classes\.json is damaged .*; delete it, and the report leaves it out"):
        read_classes(tmp_path)
