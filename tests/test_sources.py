import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from torch.utils.data import Dataset, Subset, TensorDataset

from secateur.data.sources import Source, classes_of, datasets, labels_of
from secateur.errors import SecateurError


@pytest.fixture(autouse=True)
def _own_import_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", sys.path[:])


def write(folder: Path, count: int) -> None:
    folder.mkdir(parents=True)
    for number in range(count):
        pixels = np.random.default_rng(number).integers(0, 256, (10, 12, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:04d}.png")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("ant", "bee", "cow"):
        write(tmp_path / "train" / name, 21)
        write(tmp_path / "test" / name, 5)
    return tmp_path


def labels(source: Source) -> list[list[int]]:
    return [labels_of(part).tolist() for part in source.parts]


# --- digits ---


def test_digits_are_split_by_class_and_disjoint() -> None:
    digits = datasets("digits")
    assert digits.shape == (3, 32, 32)
    assert not digits.flip
    parts = [labels_of(part) for part in digits.parts]
    assert [len(part) for part in parts] == [1078, 360, 359]
    assert all(part.bincount(minlength=10).min() > 30 for part in parts)
    seen = {image.numpy().tobytes() for part in digits.parts for image, _ in part}  # type: ignore[attr-defined]
    assert len(seen) == 1797


# --- CIFAR ---


class FakeCifar(Dataset[Any]):
    classes = ("cat", "dog")

    def __init__(self, root: str, train: bool) -> None:
        self.targets = [0, 1] * (20 if train else 5)
        generator = np.random.default_rng(int(train))
        self.images = generator.integers(0, 256, (len(self.targets), 32, 32, 3), dtype=np.uint8)

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, position: int) -> tuple[Image.Image, int]:
        return Image.fromarray(self.images[position]), self.targets[position]


@pytest.mark.parametrize(("form", "source"), [("cifar10", "CIFAR10"), ("cifar100", "CIFAR100")])
def test_cifar_is_ordered_by_class_and_holds_out_the_last_tenth_of_each(
    form: str, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torchvision.datasets, source, FakeCifar)
    cifar = datasets(f"{form}:anywhere")
    assert classes_of(cifar.parts) == ("cat", "dog")
    assert labels(cifar) == [[0] * 18 + [1] * 18, [0, 0, 1, 1], [0] * 5 + [1] * 5]
    held, whole = cifar.parts[1], FakeCifar("", train=True)
    for position, original in enumerate((36, 38, 37, 39)):
        assert held[position][0] == whole[original][0]


@pytest.mark.parametrize("form", ["cifar10", "cifar100"])
def test_a_missing_cifar_names_the_folder_and_the_archive(form: str, tmp_path: Path) -> None:
    with pytest.raises(SecateurError, match=rf"no whole {form.upper()} .*{tmp_path.name}.*; unpack the python version"):
        datasets(f"{form}:{tmp_path}")


# --- image folders ---


def test_holdout_is_the_last_tenth_of_the_names_of_each_class(root: Path) -> None:
    folder = datasets(f"imagefolder:{root}")
    assert classes_of(folder.parts) == ("ant", "bee", "cow")
    assert labels(folder) == [[0] * 19 + [1] * 19 + [2] * 19, [0, 0, 1, 1, 2, 2], [0] * 5 + [1] * 5 + [2] * 5]
    for position, name in enumerate(("0019.png", "0020.png")):
        with Image.open(root / "train" / "ant" / name) as image:
            assert folder.parts[1][position][0].tobytes() == image.tobytes()


def test_val_stands_in_for_a_missing_test_folder(root: Path) -> None:
    (root / "test").rename(root / "val")
    assert len(labels(datasets(f"imagefolder:{root}"))[2]) == 15


def test_missing_and_empty_image_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(SecateurError, match=r"no folder .*train; lay the images out"):
        datasets(f"imagefolder:{tmp_path}")
    (tmp_path / "train").mkdir()
    with pytest.raises(SecateurError, match=r"any class folder in .*train"):
        datasets(f"imagefolder:{tmp_path}")
    (tmp_path / "train" / "bee").mkdir()
    with pytest.raises(SecateurError, match=r"no valid file for the classes bee.*Give every class"):
        datasets(f"imagefolder:{tmp_path}")
    write(tmp_path / "train" / "ant", 3)
    write(tmp_path / "train" / "bee" / "in", 3)
    with pytest.raises(SecateurError, match=r"no folder .*val; lay the images out"):
        datasets(f"imagefolder:{tmp_path}")


def test_classes_that_differ_between_train_and_test_are_named(root: Path) -> None:
    (root / "test" / "cow").rename(root / "test" / "doe")
    with pytest.raises(SecateurError, match=r"differ in their classes \(cow, doe\)"):
        classes_of(datasets(f"imagefolder:{root}").parts)


def test_a_class_of_one_image_can_hold_none_out(root: Path) -> None:
    write(root / "train" / "dog", 1)
    with pytest.raises(SecateurError, match=r"class dog has 1 training image.*; it needs two or more"):
        datasets(f"imagefolder:{root}")


def test_an_unreadable_image_is_named(root: Path) -> None:
    broken = root / "train" / "bee" / "0004.png"
    broken.write_bytes(broken.read_bytes()[:60])
    train = datasets(f"imagefolder:{root}").parts[0]
    with pytest.raises(SecateurError, match=r"bee.0004\.png is not a readable image; remove or replace it$"):
        train[19 + 4]


# --- functions of the user's ---


def test_a_function_in_a_file_or_module_gives_the_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = """
import torch
from torch.utils.data import TensorDataset

def splits():
    return [TensorDataset(torch.full((n, 3, 6, 6), n, dtype=torch.uint8), torch.arange(n)) for n in (3, 2, 1)]
"""
    (tmp_path / "mine_for_test_sources.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    for spec in (f"{tmp_path / 'mine_for_test_sources.py'}:splits", "mine_for_test_sources:splits"):
        source = datasets(spec)
        assert labels(source) == [[0, 1, 2], [0, 1], [0]]
        assert (source.shape, source.flip) == (None, True)
    sys.modules.pop("mine_for_test_sources")


@pytest.mark.parametrize("spec", ["", "imagenet", "digit"])
def test_an_unknown_word_lists_the_forms(spec: str) -> None:
    with pytest.raises(SecateurError, match=rf"unknown data '{spec}'; pass one of: digits, cifar10:ROOT"):
        datasets(spec)


@pytest.mark.parametrize(
    ("spec", "useful"),
    [
        ("cifar:/data", "importing cifar for cifar:/data failed with .*; or was cifar10:/data meant"),
        (":", "':' names no function; write path/to/file.py:function"),
        ("splits.py", "'splits.py' names no function; write path/to/file.py:function"),
        ("nowhere.py:f", "no file nowhere.py for nowhere.py:f; pass the path of a Python file"),
        ("no.such.module:f", "importing no.such.module for no.such.module:f failed with ModuleNotFoundError"),
    ],
)
def test_what_is_not_there_is_named_with_what_can_be_given(spec: str, useful: str) -> None:
    with pytest.raises(SecateurError, match=useful) as caught:
        datasets(spec)
    assert "\n" not in str(caught.value)


def test_an_import_that_fails_inside_the_users_module_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_for_test_sources.py").write_text("import nothing_of_that_name")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SecateurError, match=r"No module named 'nothing_of_that_name' \(.*\.py line 1\); fix it"):
        datasets("broken_for_test_sources:f")


def test_a_missing_function_or_one_that_gives_other_than_three_data_sets_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("def four(): return [[]] * 4\ndef one(): return {}\n")
    with pytest.raises(SecateurError, match=r"a\.py has no function 'fuor'; nearest: four"):
        datasets(f"{tmp_path}/a.py:fuor")
    for name in ("one", "four"):
        with pytest.raises(SecateurError, match=rf"a\.py:{name}' returns no \(train, holdout, test\); name a function"):
            datasets(f"{tmp_path}/a.py:{name}")


# --- labels and classes ---


def test_labels_come_from_targets_through_subsets() -> None:
    base = FakeCifar("", train=True)
    assert labels_of(Subset(base, [3, 5, 2])).tolist() == [1, 1, 0]
    assert labels_of(Subset(Subset(base, [1, 2]), [1])).tolist() == [0]


def test_labels_are_read_image_by_image_where_no_targets_are_kept() -> None:
    assert labels_of(TensorDataset(torch.zeros(3), torch.tensor([2, 0, 1]))).tolist() == [2, 0, 1]


def test_classes_are_those_of_the_parts_that_know_any() -> None:
    base, nameless = FakeCifar("", train=True), TensorDataset(torch.zeros(3), torch.arange(3))
    assert classes_of([nameless, Subset(base, [0]), base]) == ("cat", "dog")
    assert classes_of([nameless, nameless]) is None
