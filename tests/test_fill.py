from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from banked import HALF, TEACHERS, THIN, fill, noise, opened, toy
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from secateur.models.compensation.gram import Gram
from secateur.models.compensation.ridge import refit
from secateur.models.evaluate import embed, recalibrate
from secateur.models.split import Split
from secateur.models.subnetwork import Subnetwork
from secateur.models.supernet import Supernet
from secateur.models.surgery.slim import slim
from secateur.transfer.bank import fill as module
from secateur.transfer.bank.bank import open_bank
from secateur.transfer.bank.fill import BankConfig, fill_bank
from secateur.transfer.bank.manifest import BankLocation, Teacher
from secateur.transfer.bank.row_file import mapped
from secateur.transfer.bank.top_k import top_k_logits


def speaker(net: Supernet, subnetwork: Subnetwork, split: Split) -> nn.Module:
    """The teacher as it is to speak: the dense network as it is, others with statistics of their own."""
    if subnetwork == net.dense:
        return net.model.eval()
    model = slim(net, subnetwork)
    recalibrate(model, split)
    return model.eval()


def test_the_bank_holds_what_each_teacher_says_of_each_image(tmp_path: Path, device: torch.device) -> None:
    split, net = noise(), toy(deepcopy(toy().model).to(device))
    bank = opened(tmp_path, net=net, split=split)
    assert bank.teachers == TEACHERS
    assert [(each.dtype, tuple(each.shape)) for each in bank.logits] == [(torch.float16, (90, 4))] * 3
    assert [(each.dtype, tuple(each.shape)) for each in bank.embeddings] == [(torch.float16, (90, 8))] * 3
    for k, teacher in enumerate(TEACHERS):
        model = speaker(net, teacher.subnetwork, split)
        for images, _, indices in split.batches(17):
            with torch.no_grad():
                logits, embeddings = (x.cpu() for x in embed(model, "head", images.to(device)))
            kept = list(teacher.subnetwork.kept[1])
            removed = [c for c in range(8) if c not in kept]
            torch.testing.assert_close(bank.logits[k][indices].float(), logits, atol=2e-3, rtol=2e-3)
            torch.testing.assert_close(bank.embeddings[k][indices][:, kept].float(), embeddings, atol=2e-3, rtol=2e-3)
            assert (bank.embeddings[k][indices][:, removed] == 0).all()
    assert torch.stack(bank.logits).float().std() > 0.01


def test_teachers_of_one_bank_differ_and_the_network_stays_as_it_was(tmp_path: Path) -> None:
    net = toy()
    before = {name: tensor.clone() for name, tensor in net.model.state_dict().items()}
    bank = opened(tmp_path, net=net)
    assert not torch.equal(bank.logits[0], bank.logits[1])
    assert all(torch.equal(before[name], tensor) for name, tensor in net.model.state_dict().items())
    assert all(module.training for module in net.model.modules())


def test_a_network_without_a_head_banks_its_logits_as_embeddings(tmp_path: Path) -> None:
    layers = [nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 8, 3), nn.ReLU()]
    net = toy(nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), TwoHeads()))
    assert net.head is None
    bank = opened(tmp_path, net=net)
    assert all(map(torch.equal, bank.logits, bank.embeddings))


class TwoHeads(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(8, 2), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.one(x), self.two(x)], 1)


def test_a_bank_that_is_built_again_is_the_same_to_the_bit(tmp_path: Path) -> None:
    one, two = opened(tmp_path / "one"), opened(tmp_path / "two")
    for file in sorted((tmp_path / "one").iterdir()):
        assert file.read_bytes() == (tmp_path / "two" / file.name).read_bytes()
    assert all(map(torch.equal, one.logits, two.logits))
    assert len([file for file in (tmp_path / "one").iterdir() if file.suffix != ".lock"]) == 1 + 3


def test_progress_counts_images_over_all_teachers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCH", 40)
    assert fill(tmp_path) == [40, 80, 90, 130, 170, 180, 220, 260, 270]
    assert fill(tmp_path) == [90, 180, 270]


def test_a_bank_that_was_interrupted_is_filled_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = opened(tmp_path / "whole")
    monkeypatch.setattr(module, "BATCH", 40)
    going = fill_bank(toy(), TEACHERS, noise(), BankLocation(tmp_path / "parts", "abc"), grams={})
    assert [next(going) for _ in range(5)] == [40, 80, 90, 130, 170]  # in the middle of the second teacher
    del going
    monkeypatch.undo()
    built: list[Subnetwork] = []

    def noted(net: Supernet, subnetwork: Subnetwork, grams: Mapping[str, Gram]) -> nn.Module:
        built.append(subnetwork)
        return refit(net, subnetwork, grams)

    monkeypatch.setattr(module, "refit", noted)
    bank = opened(tmp_path / "parts")
    assert built == [HALF, THIN]
    assert all(map(torch.equal, bank.logits[1:], whole.logits[1:]))
    torch.testing.assert_close(bank.logits[0], whole.logits[0], atol=2e-3, rtol=2e-3)  # in other batches
    assert fill(tmp_path / "parts") == [90, 180, 270]
    assert built == [HALF, THIN]


def conv_head() -> Sequence[nn.Module]:
    layers = [nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 8, 3), nn.BatchNorm2d(8), nn.ReLU()]
    return [*layers, nn.Conv2d(8, 4, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()]


def test_a_head_that_is_a_convolution_banks_one_embedding_an_image(tmp_path: Path) -> None:
    net = toy(nn.Sequential(*conv_head()))
    assert opened(tmp_path, net=net).embeddings[2].shape == (90, 8)


def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many images each forward pass of a teacher had, from now on."""
    passes: list[int] = []

    def noted(model: nn.Module, head: str | None, images: Tensor) -> tuple[Tensor, Tensor]:
        passes.append(len(images))
        return embed(model, head, images)

    monkeypatch.setattr(module, "embed", noted)
    return passes


@pytest.mark.parametrize("stop", [1, 2, 4, 5])
def test_a_bank_that_was_interrupted_runs_no_batch_twice_and_ends_the_same(
    stop: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BATCH", 40)  # three batches a teacher
    fill(tmp_path / "whole")
    passes = counted(monkeypatch)
    going = fill_bank(toy(), TEACHERS, noise(), BankLocation(tmp_path / "parts", "abc"), grams={})
    for _ in range(stop):
        next(going)
    del going
    fill(tmp_path / "parts")
    assert passes == [40, 40, 10] * 3
    assert sorted(file.name for file in (tmp_path / "parts").iterdir()) == sorted(
        file.name for file in (tmp_path / "whole").iterdir()
    )
    for file in (tmp_path / "whole").iterdir():
        assert file.read_bytes() == (tmp_path / "parts" / file.name).read_bytes()


@pytest.mark.parametrize("damage", ["a stretch of zeros", "a flipped bit", "cut", "no journal", "another header"])
def test_what_was_damaged_while_it_was_filled_is_filled_again(
    damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BATCH", 40)
    fill(tmp_path / "whole")
    going = fill_bank(toy(), TEACHERS, noise(), BankLocation(tmp_path / "parts", "abc"), grams={})
    for _ in range(2):
        next(going)
    del going
    (partial,) = (tmp_path / "parts").glob("*.partial")
    content = bytearray(partial.read_bytes())
    if damage == "a stretch of zeros":
        content[-400:-100] = bytes(300)
    elif damage == "a flipped bit":
        content[-101] ^= 16
    elif damage == "cut":
        del content[-50:]
    elif damage == "another header":
        content[12] ^= 1
    else:
        partial.with_suffix(".journal").unlink()
    partial.write_bytes(content)
    fill(tmp_path / "parts")
    for file in (tmp_path / "whole").iterdir():
        assert file.read_bytes() == (tmp_path / "parts" / file.name).read_bytes()


def test_fixed_views_hold_what_teachers_say_of_the_very_views_that_training_shows(tmp_path: Path) -> None:
    split, net = noise(), toy()
    bank = opened(tmp_path, net=net, split=split, config=BankConfig(views=2))
    assert len(bank.fixed) == 2
    assert [each.embeddings for each in bank.fixed] == [(), ()]
    for k, teacher in enumerate(TEACHERS):
        model = speaker(net, teacher.subnetwork, split)
        for views in split.epoch(30, seed=4, fixed=(1, 0)):
            for images, view in zip(views.images, (1, 0), strict=True):
                said = bank.fixed[view].logits[k][views.indices].float()
                torch.testing.assert_close(said, model(images).detach(), atol=2e-3, rtol=2e-3)
    assert not torch.equal(bank.fixed[0].logits[0], bank.fixed[1].logits[0])
    assert not torch.equal(bank.fixed[0].logits[0], bank.logits[0])


def test_more_views_are_added_to_a_bank_and_what_is_there_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = opened(tmp_path, config=BankConfig(views=1))
    passes = counted(monkeypatch)
    assert fill(tmp_path, config=BankConfig(views=3))[-1] == 90 * 3 * 4
    assert sum(passes) == 90 * 3 * 2
    three = open_bank(BankLocation(tmp_path, "abc"), 90)
    assert len(three.fixed) == 3
    assert all(map(torch.equal, three.fixed[0].logits, one.fixed[0].logits))
    assert len(opened(tmp_path).fixed) == 3  # asked for none, and those that are there are not forgotten


def test_teachers_in_bfloat16_say_nearly_the_same(tmp_path: Path) -> None:
    exact, quick = opened(tmp_path / "exact"), opened(tmp_path / "quick", config=BankConfig(bfloat16=True))
    for one, two in zip((*exact.logits, *exact.embeddings), (*quick.logits, *quick.embeddings), strict=True):
        assert two.dtype is torch.float16
        assert not torch.equal(one, two)
        torch.testing.assert_close(two, one, atol=0.05, rtol=0.05)


def test_of_many_classes_the_likely_ones_and_the_rest_are_kept(tmp_path: Path) -> None:
    whole, few = opened(tmp_path / "whole"), opened(tmp_path / "few", config=BankConfig(views=1, many=3, top_classes=2))
    assert [tuple(each.shape) for each in few.logits] == [(90, 3)] * 3
    assert [tuple(each.shape) for each in few.embeddings] == [(90, 8)]
    assert whole.classes is None
    classes = torch.as_tensor(few.classes).long()
    assert torch.equal(classes, whole.logits[0].float().topk(2).indices)
    for one, two in zip(whole.logits, few.logits, strict=True):
        torch.testing.assert_close(two.float(), top_k_logits(one.float(), classes), atol=1e-2, rtol=1e-2)
    assert few.fixed[0].classes is not None
    assert torch.equal(few.keys(), whole.keys())


def test_a_second_plan_shares_the_teachers_of_the_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, passes = opened(tmp_path), counted(monkeypatch)
    other = (TEACHERS[0], Teacher(Subnetwork(((1, 2), (0, 1, 2))), 0.6, 150), TEACHERS[1])
    list(fill_bank(toy(), other, noise(), BankLocation(tmp_path, "abc", "other.json"), grams={}))
    assert passes == [90]
    assert open_bank(BankLocation(tmp_path, "abc", "other.json"), 90).teachers == other
    again = open_bank(BankLocation(tmp_path, "abc"), 90)
    assert again.teachers == TEACHERS
    assert all(map(torch.equal, again.logits, first.logits))


@pytest.mark.parametrize(("many", "views"), [(256, 0), (256, 2), (3, 0), (3, 2)])
def test_the_size_of_a_bank_is_known_before_it_is_filled(many: int, views: int, tmp_path: Path) -> None:
    extent = BankConfig(views=views, many=many, top_classes=2)
    fill(tmp_path, config=extent)
    files = [load_file(path) for path in tmp_path.glob("teacher-*")]
    held = sum(tensor.nbytes for file in files for tensor in file.values())
    assert extent.bytes(90, 4, 8, 3) == held


def test_imagenet_takes_less_than_a_gigabyte_of_logits() -> None:
    images, classes, teachers = 1_281_167, 1000, 5
    assert 25.6e9 < 4 * images * classes * teachers < 25.7e9  # as float32
    assert BankConfig().bytes(images, classes, 0, teachers) < 1e9


def test_what_is_written_to_a_mapped_file_is_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "some.safetensors"
    save_file({"a": torch.zeros(3, 5).half(), "b": torch.zeros(4, dtype=torch.int16)}, path)
    into = mapped(path)
    into["a"][torch.tensor([2, 0])] = torch.ones(2, 5).half()
    into["b"][1] = -7
    found = load_file(path)
    assert found["a"].sum(1).tolist() == [5, 0, 5]
    assert found["b"].tolist() == [0, -7, 0, 0]
