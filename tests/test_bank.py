import json
from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from secateur.data import Images
from secateur.models.compensate import compensated
from secateur.models.errors import SecateurError
from secateur.models.evaluate import embed, recalibrate
from secateur.models.gram import Gram
from secateur.models.slim import slim
from secateur.models.subnetwork import Subnetwork
from secateur.models.supernet import Supernet
from secateur.search.interim import Interim
from secateur.transfer import bank as module
from secateur.transfer.bank import MemoryBank, Teacher, choose_teachers, open_bank, record, teachers_by_loss

LOSSES = st.lists(st.floats(0, 10).map(lambda x: round(x, 3)), min_size=0, max_size=30)


class Toy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.conv, self.norm2 = nn.Conv2d(6, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.drop, self.head = nn.Dropout(), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm2(self.conv(F.relu(self.norm(self.stem(x))))))
        return torch.as_tensor(self.head(self.drop(x.mean((2, 3)))))


def toy(model: nn.Module | None = None) -> Supernet:
    torch.manual_seed(0)
    return Supernet.of((model or Toy()).train(), torch.zeros(1, 3, 8, 8))


def noise(count: int = 90, seed: int = 0) -> Images:
    pixels = torch.randint(256, (count, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))
    return Images(lambda chunks: (pixels[chunk] for chunk in chunks), torch.arange(count) % 4, (3, 8, 8))


DENSE = Subnetwork((tuple(range(6)), tuple(range(8))))
HALF = Subnetwork(((0, 2, 5), (1, 3, 4, 6)))
THIN = Subnetwork(((4,), (0, 7)))
TEACHERS = (Teacher(DENSE, 0.5, 300), Teacher(HALF, 0.75, 200), Teacher(THIN, 1.0, 100))


def fill(folder: Path, split: Images | None = None, net: Supernet | None = None, data: str = "abc") -> list[int]:
    return list(record(net or toy(), TEACHERS, {}, split or noise(), folder, data))


def opened(folder: Path, **other: object) -> MemoryBank:
    fill(folder, **other)  # type: ignore[arg-type]
    return open_bank(folder, 90, "abc")


# --- which subnetworks teach ---


def test_teachers_are_those_nearest_to_even_steps_of_loss() -> None:
    losses = np.array([0.0, 0.1, 0.15, 0.3, 0.38, 0.6, 0.82, 0.9, 1.0, 7.0])
    assert teachers_by_loss(losses, dense=0.0, winner=1.0) == [0, 2, 4, 5, 6]  # 0, 0.2, 0.4, 0.6, 0.8


def test_where_late_targets_have_run_out_of_neighbours_the_order_is_still_by_loss() -> None:
    losses = np.array([0.01, 0.6, 0.15, 0.1, 0.3, 1.0])
    assert [losses[i] for i in teachers_by_loss(losses, 0.01, 1.0)] == [0.01, 0.1, 0.15, 0.3, 0.6]


@given(LOSSES, st.floats(0, 3), st.floats(0.01, 7), st.integers(1, 8))
def test_teachers_lie_between_dense_and_winner_each_once_and_dense_first(
    others: list[float], dense: float, gap: float, count: int
) -> None:
    winner = dense + gap
    losses = np.array([*others, dense, winner])
    chosen = teachers_by_loss(losses, dense, winner, count)
    assert len(chosen) == len(set(chosen)) == min(count, int(((losses >= dense) & (losses < winner)).sum()))
    assert losses[chosen[0]] == dense
    assert list(losses[chosen]) == sorted(losses[chosen])
    assert (losses[chosen] < winner).all()


@given(st.integers(5, 60), st.floats(0, 3), st.floats(0.1, 5))
def test_teachers_of_an_even_pool_span_four_fifths_of_the_way(pool: int, dense: float, gap: float) -> None:
    losses = np.linspace(dense, dense + gap, 5 * pool + 1)
    chosen = losses[teachers_by_loss(losses, dense, dense + gap)]
    assert len(chosen) == 5
    assert chosen[-1] - chosen[0] >= 0.8 * gap * (1 - 1e-9)
    np.testing.assert_allclose(np.diff(chosen), gap / 5)


def test_the_dense_network_teaches_even_a_winner_that_is_better() -> None:
    losses = np.array([0.9, 1.0, 1.1, 0.8])
    assert teachers_by_loss(losses, dense=1.0, winner=0.8) == [1]
    assert teachers_by_loss(losses, dense=1.0, winner=1.0) == [1]


def candidate(subnetwork: Subnetwork, loss: float, macs: int) -> Interim:
    return Interim(subnetwork, "made up", loss, 0.5, 10, macs, 1)


def test_chosen_teachers_carry_their_loss_and_cost_and_leave_the_winner_out() -> None:
    pool = [candidate(THIN, 1.0, 100), candidate(HALF, 0.7, 200), candidate(DENSE, 0.5, 300)]
    assert choose_teachers(pool, DENSE, THIN) == [Teacher(DENSE, 0.5, 300), Teacher(HALF, 0.7, 200)]


@pytest.mark.parametrize("loss", [0.5, 0.4])
def test_a_bank_is_never_empty_and_never_taught_by_the_winner(loss: float) -> None:
    pool = [candidate(HALF, loss, 200), candidate(DENSE, 0.5, 300)]
    assert choose_teachers(pool, DENSE, HALF) == [Teacher(DENSE, 0.5, 300)]


# --- what they know ---


def test_the_bank_holds_what_each_recalibrated_teacher_says_of_each_image(tmp_path: Path, device: torch.device) -> None:
    split, net = noise(), toy(deepcopy(toy().model).to(device))
    bank = opened(tmp_path, net=net, split=split)
    assert bank.teachers == TEACHERS
    assert [(each.dtype, tuple(each.shape)) for each in bank.logits] == [(torch.float16, (90, 4))] * 3
    assert [(each.dtype, tuple(each.shape)) for each in bank.embeddings] == [(torch.float16, (90, 8))] * 3
    for k, teacher in enumerate(TEACHERS):
        model = slim(net, teacher.subnetwork)
        recalibrate(model, split)
        model.eval()
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


def test_logits_are_looked_up_by_position(tmp_path: Path) -> None:
    bank = opened(tmp_path)
    indices = torch.tensor([5, 0, 89, 5])
    found = bank.at(indices)
    assert (found.shape, found.dtype) == ((4, 3, 4), torch.float32)
    for row, i in enumerate(indices.tolist()):
        assert torch.equal(found[row], torch.stack([logits[i] for logits in bank.logits]).float())


def test_keys_are_the_best_teachers_embeddings_standardised_and_of_unit_length(tmp_path: Path) -> None:
    bank = opened(tmp_path)
    raw = bank.embeddings[0].double()
    alive = raw.std(0) > 1e-4
    standard = torch.where(alive, (raw - raw.mean(0)) / raw.std(0).clamp_min(1e-6), torch.zeros(()))
    torch.testing.assert_close(bank.keys().norm(dim=1), torch.ones(90))
    torch.testing.assert_close(bank.keys().double(), standard / standard.norm(dim=1, keepdim=True), atol=1e-3, rtol=0)


def test_keys_stay_finite_where_a_channel_never_varies(tmp_path: Path) -> None:
    embeddings = torch.zeros(1, 10, 3, dtype=torch.float16)
    embeddings[0, :, 0] = torch.arange(10)
    keys = MemoryBank(tmp_path, TEACHERS[:1], (torch.zeros(10, 4),), (embeddings[0],)).keys()
    assert keys.abs().tolist() == [[1, 0, 0]] * 10


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


# --- on disk ---


def test_a_bank_that_is_built_again_is_the_same_to_the_bit(tmp_path: Path) -> None:
    one, two = opened(tmp_path / "one"), opened(tmp_path / "two")
    for file in sorted((tmp_path / "one").iterdir()):
        assert file.read_bytes() == (tmp_path / "two" / file.name).read_bytes()
    assert all(map(torch.equal, one.logits, two.logits))
    assert len(list((tmp_path / "one").iterdir())) == 1 + 3


def test_progress_counts_images_over_all_teachers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCH", 40)
    assert fill(tmp_path) == [40, 80, 90, 130, 170, 180, 220, 260, 270]
    assert fill(tmp_path) == [90, 180, 270]


def test_a_bank_that_was_interrupted_is_filled_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = opened(tmp_path / "whole")
    monkeypatch.setattr(module, "BATCH", 40)
    going = record(toy(), TEACHERS, {}, noise(), tmp_path / "parts", "abc")
    assert [next(going) for _ in range(5)] == [40, 80, 90, 130, 170]  # in the middle of the second teacher
    del going
    monkeypatch.undo()
    built: list[Subnetwork] = []

    def noted(net: Supernet, subnetwork: Subnetwork, grams: Mapping[str, Gram]) -> nn.Module:
        built.append(subnetwork)
        return compensated(net, subnetwork, grams)

    monkeypatch.setattr(module, "compensated", noted)
    bank = opened(tmp_path / "parts")
    assert built == [HALF, THIN]
    assert all(map(torch.equal, bank.logits[1:], whole.logits[1:]))
    torch.testing.assert_close(bank.logits[0], whole.logits[0], atol=2e-3, rtol=2e-3)  # calibrated in other batches
    assert fill(tmp_path / "parts") == [90, 180, 270]
    assert built == [HALF, THIN]


def test_a_bank_of_other_data_is_refused_and_not_mixed(tmp_path: Path) -> None:
    fill(tmp_path)
    with pytest.raises(SecateurError, match=r"of other data \(abc, not xyz\); give another --out"):
        open_bank(tmp_path, 90, "xyz")
    with pytest.raises(SecateurError, match=r"of other data \(abc, not xyz\); give another --out"):
        fill(tmp_path, noise(seed=1), data="xyz")
    assert json.loads((tmp_path / "bank.json").read_text())["data"] == "abc"


def test_a_bank_of_another_number_of_images_is_refused(tmp_path: Path) -> None:
    fill(tmp_path)
    with pytest.raises(SecateurError, match="holds 90 images, the training data 91; delete it and run again"):
        open_bank(tmp_path, 91, "abc")


@pytest.mark.parametrize("left", [0, 5, 200, -1])
def test_a_truncated_teacher_is_refused(tmp_path: Path, left: int) -> None:
    fill(tmp_path)
    path = sorted(tmp_path.glob("teacher-*"))[1]
    path.write_bytes(path.read_bytes()[:left])
    with pytest.raises(SecateurError, match=rf"{path.name} cannot be read .*; delete it and run again"):
        open_bank(tmp_path, 90, "abc")


def test_a_missing_teacher_is_refused(tmp_path: Path) -> None:
    fill(tmp_path)
    next(tmp_path.glob("teacher-*")).unlink()
    with pytest.raises(SecateurError, match=r"cannot be read .* delete it and run again"):
        open_bank(tmp_path, 90, "abc")


@pytest.mark.parametrize("content", [None, "", '{"format": '])
def test_a_folder_without_a_whole_plan_is_no_bank(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "bank.json").write_text(content)
    with pytest.raises(SecateurError, match=r"no memory bank in .* run secateur search first"):
        open_bank(tmp_path, 90, "abc")


def conv_head() -> Sequence[nn.Module]:
    layers = [nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 8, 3), nn.BatchNorm2d(8), nn.ReLU()]
    return [*layers, nn.Conv2d(8, 4, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()]


def test_a_head_that_is_a_convolution_banks_one_embedding_an_image(tmp_path: Path) -> None:
    net = toy(nn.Sequential(*conv_head()))
    assert opened(tmp_path, net=net).embeddings[2].shape == (90, 8)
