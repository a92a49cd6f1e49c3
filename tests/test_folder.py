"""Where a run goes."""

from pathlib import Path

import pytest
from left import searched, tuned
from safetensors.torch import save_file

import secateur as sc
from secateur.errors import SecateurError
from secateur.rundir.command_options import PlaceOptions
from secateur.rundir.config import ask
from secateur.rundir.folder import default_folder, folder_for, remove_run, require_place, require_replaceable
from secateur.rundir.manifest import Manifest, config_of, differences, transfer_line


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_default_folders_are_numbered_and_the_same_run_finds_its_own() -> None:
    one, two, three = ask(seed=1), ask(seed=2), ask(seed=3)
    names = ["resnet20-digits-10pc", "resnet20-digits-10pc-2", "resnet20-digits-10pc-3"]
    for config, name in zip((one, two, three), names, strict=True):
        assert default_folder(config) == Path("runs", name)
        Manifest(default_folder(config), config)
    assert [default_folder(each).name for each in (one, two, three)] == names


def test_a_folder_of_something_else_is_left_to_it() -> None:
    Path("runs/resnet20-digits-10pc").mkdir(parents=True)
    assert default_folder(ask()).name == "resnet20-digits-10pc"
    Path("runs/resnet20-digits-10pc/thesis.txt").touch()
    assert default_folder(ask()).name == "resnet20-digits-10pc-2"


def test_a_run_that_needs_no_other_search_is_no_reason_for_another_folder() -> None:
    tuned(Path("runs/resnet20-digits-10pc"))
    config = ask(trials=4)
    assert default_folder(config) == default_folder(config.with_options(epochs=40))
    assert default_folder(config) != default_folder(config.with_options(seed=4))


def test_what_is_asked_for_comes_first() -> None:
    config = ask()
    Manifest(Path("runs", config.name), ask(seed=5))
    assert folder_for(config, PlaceOptions(out=Path("mine"))) == Path("mine")
    assert folder_for(config, PlaceOptions(overwrite=True)).name == "resnet20-digits-10pc"
    assert folder_for(config, PlaceOptions()).name == "resnet20-digits-10pc-2"


def test_the_command_of_a_change_of_mind_is_that_of_transfer() -> None:
    folder = tuned(Path("run"))
    config = ask(trials=4)
    assert transfer_line(folder, config) is None
    assert transfer_line(folder, config.with_options(epochs=40)) == "secateur transfer run --epochs 40"
    assert transfer_line(folder, config.with_options(epochs=40, seed=2)) is None
    assert transfer_line(folder, ask(method="pdd")) is None
    assert differences(folder, config.with_options(epochs=40)) == {"epochs": (10, 40)}
    begun = Path("begun")
    Manifest(begun, config)
    assert transfer_line(begun, config.with_options(epochs=40)) is None  # it has no bank


def test_a_run_is_removed_and_nothing_else() -> None:
    folder = searched(Path("run"))
    (folder / "study.db-journal").touch()
    (folder / "notes.txt").touch()
    for refused in (require_replaceable, remove_run):
        with pytest.raises(SecateurError, match=r"run holds notes\.txt, which no run left; move it"):
            refused(folder)
    assert (folder / "front.json").exists()
    (folder / "notes.txt").unlink()
    remove_run(folder)
    assert list(folder.iterdir()) == []


def test_a_place_that_cannot_be_is_known_before() -> None:
    Path("file").touch()
    with pytest.raises(SecateurError, match=r"file/run cannot be made \(.*file is a file\)"):
        require_place(Path("file/run"))
    with pytest.raises(SecateurError, match="file exists and is not a run of secateur"):
        require_place(Path("file"))
    require_place(Path("new/run"))
    assert not Path("new").exists()


def test_another_run_is_written_over_when_that_is_asked_for_and_nothing_is_wrong() -> None:
    save_file(sc.constructor("resnet20", 10)().state_dict(), "w.safetensors")
    first = ask(weights="w.safetensors", input="3x8x8", trials=0)
    sc.run(first, "run", until="search")
    second = first.with_options(flops="60%")
    for wrong in (second.with_options(divisor=999), second.with_options(weights="no.pth")):
        with pytest.raises(SecateurError):
            sc.run(wrong, "run", until="search", overwrite=True)
    assert config_of(Path("run")) == first
    sc.run(second, "run", until="search", overwrite=True)
    assert config_of(Path("run")) == second
    before = Path("run/bank/records.jsonl").read_bytes()
    sc.run(second, "run", until="search", overwrite=True)  # the same run is resumed
    assert Path("run/bank/records.jsonl").read_bytes() == before
