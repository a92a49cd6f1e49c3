"""Data that changed between two starts of a run: refused, with what it was and what it is."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from commands import NETS
from PIL import Image
from safetensors.torch import save_file

import secateur as sc
from secateur.errors import SecateurError
from secateur.files import read_json, write_json
from secateur.models.zoo.registry import constructor
from secateur.progress import silent
from secateur.stages.prepare import prepare_run

CHANGED = r"of run changed since the run began \([\w ]+ then, [\w ]+ now\); pass a different --out"
MANY = 60  # training images a class, more than a mark of 64 images sees


def picture(seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(256, size=(8, 8, 3), dtype=np.uint8))


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of images, and a run of them that has been prepared."""
    place = tmp_path_factory.mktemp("changed")
    (place / "nets.py").write_text(NETS)
    for split, count in (("train", MANY), ("test", 4)):
        for label, name in enumerate(("cat", "dog")):
            (place / "photos" / split / name).mkdir(parents=True)
            for number in range(count):
                picture(2 * number + label).save(place / "photos" / split / name / f"{number}.png")
    save_file(constructor(f"{place / 'nets.py'}:make", 2)().state_dict(), place / "w.safetensors")
    start(place)
    return place


@pytest.fixture
def place(begun: Path, tmp_path: Path) -> Path:
    """A copy, whose data may change."""
    return Path(shutil.copytree(begun, tmp_path / "copy"))


def start(place: Path) -> None:
    """All of a run's start before its first stage."""
    ask = sc.Ask(model="nets.py:make", weights="w.safetensors", data="imagefolder:photos", divisor=1, epochs=1)
    before = Path.cwd()
    os.chdir(place)
    try:
        prepare_run(ask, Path("run"), "cpu", silent)
    finally:
        os.chdir(before)


def added(photos: Path) -> None:
    picture(999).save(photos / "train" / "cat" / "999.png")


def removed(photos: Path) -> None:
    (photos / "train" / "dog" / "7.png").unlink()


def removed_from_the_test_images(photos: Path) -> None:
    (photos / "test" / "dog" / "3.png").unlink()


def moved_to_another_class(photos: Path) -> None:
    (photos / "train" / "dog" / "7.png").rename(photos / "train" / "cat" / "7b.png")


def renamed(photos: Path) -> None:
    for split in ("train", "test"):
        (photos / split / "cat").rename(photos / split / "camel")


def another_size(photos: Path) -> None:
    for file in photos.rglob("*.png"):
        Image.open(file).resize((9, 9)).save(file)


@pytest.mark.parametrize(
    "change", [added, removed, removed_from_the_test_images, moved_to_another_class, renamed, another_size]
)
def test_data_that_changed_is_refused_with_what_it_was_and_is(change: Callable[[Path], None], place: Path) -> None:
    change(place / "photos")
    with pytest.raises(
        SecateurError, match=r"^the data of run changed since the run began \([\w ]+ then, [\w ]+ now\); pass"
    ):
        start(place)


@pytest.mark.parametrize("number", range(0, MANY, 7))
def test_another_image_of_the_same_size_is_refused_whichever_it_is(number: int, place: Path) -> None:
    picture(999).save(place / "photos" / "train" / "cat" / f"{number}.png")
    with pytest.raises(
        SecateurError, match=r"^the (data|images) of run changed since the run began \([\w ]+ then, [\w ]+ now\)"
    ):
        start(place)


def test_other_dates_and_another_place_are_no_change(place: Path, tmp_path: Path) -> None:
    for file in (place / "photos").rglob("*.png"):
        os.utime(file, (1e9, 1e9))
    place.rename(tmp_path / "moved")
    start(tmp_path / "moved")


def test_a_run_that_began_without_a_mark_of_all_images_resumes(place: Path) -> None:
    book = read_json(place / "run" / "run.json")
    del book["fingerprints"]["images"]
    write_json(place / "run" / "run.json", book)
    start(place)
    assert read_json(place / "run" / "run.json")["fingerprints"]["images"]
