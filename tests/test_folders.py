"""Image folders as people lay them out."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from secateur.data.dataset import open_data
from secateur.data.folders import Laid, image_folders
from secateur.errors import SecateurError


def lay(root: Path, *folders: str, images: int = 10) -> Path:
    """Classes cat and dog in each of these folders."""
    for folder in folders:
        for number, name in enumerate(("cat", "dog")):
            (root / folder / name).mkdir(parents=True)
            for each in range(images):
                pixels = np.full((8, 8, 3), 20 * number + each, np.uint8)
                Image.fromarray(pixels).save(root / folder / name / f"{each:02d}.png")
    return root


def files(laid: Laid) -> list[set[str]]:
    """The files of each part, by their paths below the root."""

    def of(part: Any) -> set[str]:
        inner = getattr(part, "dataset", part)
        chosen = getattr(part, "indices", range(len(inner.samples)))
        return {"/".join(Path(inner.samples[i][0]).parts[-3:]) for i in chosen}

    return [of(part) for part in laid.parts]


@pytest.mark.parametrize("name", ["val", "valid", "validation", "Val"])
def test_a_val_folder_is_the_holdout_where_there_is_a_test_folder(tmp_path: Path, name: str) -> None:
    laid = image_folders(str(lay(tmp_path, "Train", name, "test")))
    assert [{file.split("/")[0] for file in part} for part in files(laid)] == [{"Train"}, {name}, {"test"}]
    assert [len(part) for part in files(laid)] == [20, 20, 20]
    assert laid.note == f"holdout: {name}/, test: test/"


def test_with_train_and_val_alone_val_is_the_test_and_it_is_said(tmp_path: Path) -> None:
    laid = image_folders(str(lay(tmp_path, "train", "valid")))
    assert laid.note == "holdout: the last 10% of each class of train/, test: valid/"
    train, holdout, test = files(laid)
    assert holdout == {"train/cat/09.png", "train/dog/09.png"}
    assert (len(train), train & holdout, len(test)) == (18, set(), 20)
    assert open_data(f"imagefolder:{tmp_path}").note == laid.note


def test_a_share_or_a_folder_is_the_holdout_that_is_asked_for(tmp_path: Path) -> None:
    root = str(lay(tmp_path, "train", "val", "test", "extra"))
    assert [len(part) for part in files(image_folders(root, "30%"))] == [14, 6, 20]
    for folder in ("extra", str(tmp_path / "extra")):
        assert files(image_folders(root, folder))[1] == {
            f"extra/{name}/{n:02d}.png" for name in ("cat", "dog") for n in range(10)
        }
    assert len(open_data(f"imagefolder:{root}", holdout="20%").holdout) == 4


def test_folders_that_are_classes_are_split_once_for_all(tmp_path: Path) -> None:
    root = lay(tmp_path, "pets") / "pets"
    (root / ".ipynb_checkpoints").mkdir()
    laid = image_folders(str(root))
    train, holdout, test = files(laid)
    assert [len(part) for part in (train, holdout, test)] == [14, 2, 4]
    assert len(train | holdout | test) == 20
    assert {file.split("/")[1] for file in holdout} == {"cat", "dog"}
    assert files(image_folders(str(root))) == [train, holdout, test]
    assert "folders are classes: 10% holdout, 20% test" in laid.note
    assert holdout != {"pets/cat/07.png", "pets/dog/07.png"}  # drawn, not by name


@pytest.mark.parametrize(
    ("folders", "holdout", "said"),
    [
        (("valid", "test"), None, r"no folder .*/train; lay .* \(found: test, valid\)"),
        (("train", "other"), None, r"no folder .*/test and no val; lay .* \(found: other, train\)"),
        (("train", "test"), "dev", r"no folder .*/dev for the holdout \(found: test, train\); pass one of them"),
        (("train", "val"), "val", r"val is the only test folder; add .*/test, or pass --holdout 10%"),
        (("train", "test"), "100%", r"a holdout of 100% of the training samples; pass more than 0%"),
        (("train", "test"), "0%", r"a holdout of 0% of the training samples"),
        ((".",), "90%", r"holdout '90%' of folders that are classes; pass a share below 80%"),
        ((".",), "val", r"holdout 'val' of folders that are classes"),
    ],
)
def test_a_layout_that_lacks_something_is_answered_with_what_is_there(
    folders: tuple[str, ...], holdout: str | None, said: str, tmp_path: Path
) -> None:
    with pytest.raises(SecateurError, match=said):
        image_folders(str(lay(tmp_path, *folders)), holdout)


def test_classes_too_small_for_three_parts_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SecateurError, match="too few images in a class"):
        image_folders(str(lay(tmp_path, "pets", images=2) / "pets"))


def test_only_an_imagefolder_has_a_folder_as_its_holdout() -> None:
    with pytest.raises(SecateurError, match=r"digits has a holdout already; leave out --holdout 10%"):
        open_data("digits", holdout="10%")
