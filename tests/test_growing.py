"""A bank that training fills: what it holds, what it costs, and that nothing is made twice."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from banked import HALF, TEACHERS, fill, noise, toy
from torch import Tensor, nn
from torch.multiprocessing.spawn import spawn

from secateur.errors import SecateurError
from secateur.models.evaluate import embed
from secateur.models.surgery.slim import slim
from secateur.transfer.bank import fill as fill_module
from secateur.transfer.bank.bank import MemoryBank, open_bank
from secateur.transfer.bank.fill import BankConfig
from secateur.transfer.bank.growing import GrowingFiles, TeacherSetting, growing_bank
from secateur.transfer.bank.manifest import BankLocation
from secateur.transfer.methods import METHODS, MethodContext
from secateur.transfer.objectives import base as base_module
from secateur.transfer.objectives.base import StudentBatch, bank_teacher
from secateur.transfer.training.recipe import Recipe
from secateur.transfer.training.train import train

VIEWS = 2
TWO_VIEWS = BankConfig(views=VIEWS)
RECIPE = Recipe(epochs=4, batch=30, checkpoint_every=3, learning_rate=0.01, fixed_views=VIEWS)


def growing(folder: Path, data: str = "abc", config: BankConfig = TWO_VIEWS, teachers: int = 1) -> MemoryBank:
    return growing_bank(TEACHERS[:teachers], BankLocation(folder, data), TeacherSetting(toy(), noise(), {}, config))


def trained(bank: MemoryBank, method: str = "kdft", folder: Path | None = None, stop: int = 0) -> dict[str, Tensor]:
    """The weights of a student after training from a bank, or up to a step."""
    net = toy()
    student = slim(net, HALF)
    context = MethodContext(net, bank, noise().labels, classes=4, width=4, seed=0, student=HALF)
    steps = train(student, noise(), METHODS[method].objective(context), RECIPE, head="head", folder=folder)
    for step in steps:
        if step.step == stop:
            break
    return student.state_dict()


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many images each forward pass of the dense network had."""
    found: list[int] = []

    def noted(model: nn.Module, head: str | None, images: Tensor) -> tuple[Tensor, Tensor]:
        found.append(len(images))
        return embed(model, head, images)

    for module in (fill_module, base_module):
        monkeypatch.setattr(module, "embed", noted)
    return found


@pytest.mark.parametrize("method", ["kdft", "aligned"])
def test_the_dense_network_runs_once_for_each_image_and_view(method: str, tmp_path: Path, passes: list[int]) -> None:
    bank = growing(tmp_path)
    assert passes == [2]  # for the sizes of rows
    trained(bank, method)
    assert passes[1:] == [30] * 3 * VIEWS
    trained(growing(tmp_path), "kdft")  # another student, another time
    assert len(passes) == 1 + 3 * VIEWS


@pytest.mark.parametrize("method", ["kdft", "aligned"])
def test_what_training_leaves_is_what_one_pass_over_the_images_leaves(method: str, tmp_path: Path) -> None:
    trained(growing(tmp_path / "grown"), method)
    growing(tmp_path / "grown")
    fill(tmp_path / "filled", config=BankConfig(views=VIEWS))
    dense = open_bank(BankLocation(tmp_path / "filled", "abc"), 90)
    fill(tmp_path / "grown", config=BankConfig(views=VIEWS))
    grown = open_bank(BankLocation(tmp_path / "grown", "abc"), 90)
    for one, other in zip(grown.fixed, dense.fixed, strict=True):
        torch.testing.assert_close(one.logits[0], other.logits[0], atol=2e-3, rtol=2e-3)
    assert not list((tmp_path / "grown").glob("*.partial"))
    assert not list((tmp_path / "grown").glob("*.journal"))


@pytest.mark.parametrize("method", ["kdft", "aligned"])
def test_a_training_that_was_stopped_resumes_to_the_same_weights(method: str, tmp_path: Path) -> None:
    whole = trained(growing(tmp_path / "whole"), method, tmp_path / "one")
    for stop in (2, 5, 8, 0):
        parts = trained(growing(tmp_path / "parts"), method, tmp_path / "two", stop)
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_a_bank_that_was_filled_before_trains_nearly_the_same(tmp_path: Path, passes: list[int]) -> None:
    bank = growing(tmp_path / "before")
    assert isinstance(bank.source, GrowingFiles)
    assert list(bank.source.fill_all(noise())) == [90, 180]
    passes.clear()
    before, during = trained(growing(tmp_path / "before")), trained(growing(tmp_path / "during"))
    assert passes.count(90) == 0
    for name, weights in before.items():
        torch.testing.assert_close(weights, during[name], atol=1e-3, rtol=1e-3)


def test_of_many_classes_the_likely_ones_are_stored(tmp_path: Path) -> None:
    bank = growing(tmp_path, config=replace(TWO_VIEWS, many=3, top_classes=2))
    trained(bank)
    logits = torch.cat([toy().model.eval()(images).detach() for images, *_ in noise().batches(90, view=0)])
    order = torch.cat([indices for *_, indices in noise().batches(90)])
    assert bank.fixed[0].classes is not None
    assert torch.equal(bank.fixed[0].classes[order].long(), logits.topk(2).indices)


def test_a_new_view_is_added_and_those_that_are_there_stay(tmp_path: Path, passes: list[int]) -> None:
    trained(growing(tmp_path))
    passes.clear()
    more = growing(tmp_path, config=replace(TWO_VIEWS, views=VIEWS + 1))
    images, _, indices = next(noise().batches(90, view=VIEWS))
    assert more.source is not None
    for view in range(VIEWS + 1):
        more.source.fill(view, images, indices)
    assert passes == [2, 90]
    assert len(more.fixed) == VIEWS + 1


@pytest.mark.parametrize("method", ["kdft", "aligned"])
@pytest.mark.parametrize("config", [TWO_VIEWS, replace(TWO_VIEWS, many=3, top_classes=2)], ids=["whole", "likely"])
def test_a_mix_is_stored_teacher_by_teacher_and_each_runs_once(
    method: str, config: BankConfig, tmp_path: Path, passes: list[int]
) -> None:
    trained(growing(tmp_path / "grown", config=config, teachers=2), method)
    assert passes[1:] == [30] * 3 * VIEWS * 2
    grown = growing(tmp_path / "grown", config=config, teachers=2)
    fill(tmp_path / "filled", config=config)
    filled = open_bank(BankLocation(tmp_path / "filled", "abc"), 90)
    for one, other in zip(grown.fixed, filled.fixed, strict=True):
        for mine, theirs in zip(one.logits, other.logits[:2], strict=True):
            torch.testing.assert_close(mine, theirs, atol=4e-3, rtol=4e-3)


def test_the_target_of_a_mix_is_the_mean_of_its_logits(tmp_path: Path) -> None:
    bank = growing(tmp_path, teachers=2)
    images, labels, indices = next(noise().batches(90, view=1))
    batch = StudentBatch(torch.zeros(1, 90, 4), torch.zeros(1, 90, 8), labels, indices, images[None], fixed=(1,))
    target = bank_teacher(bank)(batch)[0]
    expected = torch.stack([logits[indices].float() for logits in bank.fixed[1].logits]).mean(0)
    torch.testing.assert_close(target, expected)
    assert not target.isnan().any()


def half_of_each_batch(rank: int, folder: Path) -> None:
    """What a process of two does to the bank in a training: it fills it for its part of every batch."""
    bank = growing(folder)
    assert bank.source is not None
    for epoch in range(2 * VIEWS):
        for views in noise().epoch(30, epoch, fixed=(epoch % VIEWS,), part=(rank, 2)):
            bank.source.fill(epoch % VIEWS, views.images[0], views.indices)


def test_processes_that_share_a_folder_fill_one_bank(tmp_path: Path) -> None:
    growing(tmp_path)  # processes of torchrun open it one after another
    spawn(half_of_each_batch, (tmp_path,), nprocs=2)  # type: ignore[no-untyped-call]
    bank = growing(tmp_path)
    for view, fixed in enumerate(bank.fixed):
        images, _, indices = next(noise().batches(90, view=view))
        expected = toy().model.eval()(images).detach()
        torch.testing.assert_close(fixed.logits[0][indices].float(), expected, atol=2e-3, rtol=2e-3)
    assert not list(tmp_path.glob("*.partial"))


def test_what_a_kill_left_of_an_empty_file_is_written_over(tmp_path: Path) -> None:
    growing(tmp_path)
    (partial,) = tmp_path.glob("*-view-0.partial")
    partial.rename(partial.with_suffix(".blank"))
    trained(growing(tmp_path))
    growing(tmp_path)  # what is complete is put in its place
    assert sorted({path.suffix for path in tmp_path.iterdir()}) == [".json", ".lock", ".safetensors"]


def test_a_process_that_uses_a_file_keeps_it_while_another_one_repairs_it(tmp_path: Path) -> None:
    using = growing(tmp_path)
    assert using.source is not None
    images, _, indices = next(noise().batches(90, view=0))
    using.source.fill(0, images, indices)
    (path,) = tmp_path.glob("*-view-0.partial")
    content = bytearray(path.read_bytes())
    content[-5] ^= 16
    with path.open("r+b") as file:  # in place, as a disk damages it
        file.write(content)
    seen = using.fixed[0].logits[0].clone()
    repaired = growing(tmp_path)
    assert torch.equal(using.fixed[0].logits[0], seen)
    assert int(repaired.fixed[0].logits[0].isnan().any(1).sum()) == 90  # they were written together


def test_a_bank_of_other_data_is_refused(tmp_path: Path) -> None:
    growing(tmp_path)
    with pytest.raises(SecateurError, match="is of other data"):
        growing(tmp_path, "other")


def test_without_a_bank_aligned_runs_the_dense_network_at_every_step(passes: list[int]) -> None:
    context = MethodContext(toy(), None, noise().labels, classes=4, width=4, seed=0, student=HALF)
    student, recipe = slim(toy(), HALF), replace(RECIPE, fixed_views=0)
    list(train(student, noise(), METHODS["aligned"].objective(context), recipe, head="head"))
    assert passes == [30] * 12
