import json
import math
from base64 import b64encode
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from secateur.data.images import Images
from secateur.digests import unsealed
from secateur.errors import SecateurError
from secateur.models.evaluate import batch_statistics, evaluate_as_is
from secateur.models.split import Split
from secateur.models.subnetwork import Subnetwork
from secateur.models.supernet import Supernet
from secateur.models.surgery.slim import slim
from secateur.search.early_stopping import LOOK
from secateur.search.records import FORMAT, Interim, Records


def toy() -> Supernet:
    torch.manual_seed(0)
    body = [nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 4, 3), nn.BatchNorm2d(4), nn.ReLU()]
    model = nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 4))
    return Supernet.of(model, torch.zeros(1, 3, 8, 8))


class Counting(Images):
    """A split that notes how many images were read at a time."""

    asked: list[int]


def noise(count: int = 100) -> Counting:
    pixels = torch.randint(256, (count, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    asked: list[int] = []

    def one(chunk: Tensor) -> Tensor:
        asked.append(len(chunk))
        return pixels[chunk]

    split = Counting(lambda chunks: (one(chunk) for chunk in chunks), torch.arange(count) % 4, (3, 8, 8))
    assert split.content  # all are read once for it, which is not counted
    asked.clear()
    object.__setattr__(split, "asked", asked)
    return split


A = Subnetwork(((0, 2, 5), (1, 3)))
B = Subnetwork(((0, 1), (0, 1, 2)))


def point(macs: int, loss: float) -> Interim:
    return Interim(A, "made up", loss, 0.5, 10, macs, 1)


@given(
    st.lists(st.lists(st.integers(0, 10**6), min_size=1, max_size=5, unique=True), max_size=4),
    st.text(),
    st.floats(allow_nan=False),
    st.integers(0, 2**60),
)
def test_json_brings_an_interim_back(kept: list[list[int]], source: str, loss: float, macs: int) -> None:
    subnetwork = Subnetwork(tuple(tuple(sorted(channels)) for channels in kept))
    interim = Interim(subnetwork, source, loss, 0.1, 7, macs, 3)
    line = interim.to_json()
    assert "\n" not in line
    assert Interim.from_json(line) == interim


def test_json_brings_a_loss_that_is_no_number_back() -> None:
    assert math.isnan(Interim.from_json(point(1, math.nan).to_json()).loss)


def test_about_holds_plain_values_only() -> None:
    about = point(5, 0.5).to_dict()
    assert set(about) == {"source", "loss", "accuracy", "n", "macs", "parameters"}
    assert json.loads(json.dumps(about)) == about


def test_an_evaluation_is_the_slimmed_network_with_batch_statistics() -> None:
    net, split = toy(), noise()
    interim = Records(net, split).evaluate(A, "here", 60)
    model = slim(net, A)
    with batch_statistics(model):
        expected = evaluate_as_is(model, split, 60)
    assert interim.loss == pytest.approx(expected.loss)
    assert (interim.accuracy, interim.n) == (expected.accuracy, 60)
    assert interim.parameters == sum(p.numel() for p in model.parameters())
    assert interim.macs == 3 * 3 * 9 * 36 + 3 * 2 * 9 * 16 + 2 * 4
    assert (interim.subnetwork, interim.source) == (A, "here")


def test_an_evaluation_leaves_the_dense_network_alone() -> None:
    net = toy()
    net.model.train()
    before = {name: tensor.clone() for name, tensor in net.model.state_dict().items()}
    Records(net, noise()).evaluate(net.dense, "dense", 100)
    assert all(torch.equal(before[name], tensor) for name, tensor in net.model.state_dict().items())
    assert all(module.training for module in net.model.modules())


def test_a_known_subnetwork_is_not_evaluated_again() -> None:
    split = noise()
    records = Records(toy(), split)
    first = records.evaluate(A, "first", 60)
    assert records.evaluate(Subnetwork(A.kept), "second", 60) is first
    assert split.asked == [60]


def test_more_images_are_another_evaluation_but_no_more_than_there_are() -> None:
    split = noise(100)
    records = Records(toy(), split)
    assert [records.evaluate(A, "x", images).n for images in (60, 100, 5000)] == [60, 100, 100]
    assert split.asked == [60, 100]
    assert [interim.n for interim in records.all] == [60, 100]


def test_records_are_taken_up_from_their_file(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    first = Records(toy(), noise(), path)
    known = [first.evaluate(A, "a", 60), first.evaluate(B, "b", 60), first.evaluate(A, "a", 100)]
    split = noise()
    again = Records(toy(), split, path)
    assert again.all == known == first.all
    assert again.evaluate(B, "other", 60) == known[1]
    assert split.asked == []
    assert len(path.read_text().splitlines()) == 1 + 3


def test_records_of_other_weights_or_other_data_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    Records(toy(), noise(), path).evaluate(A, "a", 60)
    other = toy()
    with torch.no_grad():
        next(other.model.parameters()).add_(1)
    with pytest.raises(SecateurError, match="evaluations of other weights or other data; pass a different folder"):
        Records(other, noise(), path)


def test_records_of_other_images_are_refused_with_both_sides_named(tmp_path: Path) -> None:
    path, other = tmp_path / "records.jsonl", replace(noise(), mean=(0.5, 0.5, 0.5))
    Records(toy(), noise(), path).evaluate(A, "a", 60)
    sides = rf"\(of {FORMAT} \w+ {noise().content}, not {FORMAT} \w+ {other.content}\)"
    with pytest.raises(SecateurError, match=sides):
        Records(toy(), other, path)


@pytest.mark.parametrize("cut", [1, 2, 40])
def test_a_line_that_a_kill_cut_short_is_cut_away_and_evaluated_again(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "records.jsonl"
    records = Records(toy(), noise(), path)
    known = [records.evaluate(A, "a", 60), records.evaluate(B, "b", 60)]
    whole = path.read_text()
    path.write_text(whole[:-cut])
    split = noise()
    again = Records(toy(), split, path)
    assert again.all == known[:1]
    assert again.evaluate(B, "b", 60) == known[1]
    assert split.asked == [60]
    assert path.read_text() == whole


@pytest.mark.parametrize(
    ("damage", "useful"),
    [
        ({"loss": "high"}, "Expected `float`"),
        ({"n": 0}, "Expected `int` >= 1"),
        ({"macs": -1}, "Expected `int` >= 0"),
        ({"subnetwork": [[0, 2, 5]]}, "subnetwork"),
        ({"subnetwork": [[0, 2, 60], [1, 3]]}, "60"),
        ({"subnetwork": [[2, 0], [1]]}, "ascending"),
        ({"subnetwork": 5}, "Expected `array`"),
        ({"losses": "%%%"}, "base64"),
        ({"losses": "AAAA"}, "3 bytes of losses for 60 images"),
        ({"source": None}, "Expected `str`"),
        (None, "it is no evaluation"),
    ],
    ids=str,
)
def test_a_damaged_line_is_named_with_its_number(tmp_path: Path, damage: dict[str, object] | None, useful: str) -> None:
    path = tmp_path / "records.jsonl"
    records = Records(toy(), noise(), path)
    records.evaluate(A, "a", 60)
    head, line = path.read_text().splitlines()
    broken = line[:-9] if damage is None else json.dumps({**unsealed(json.loads(line)), **damage})
    path.write_text(f"{head}\n{line}\n{broken}\n")
    with pytest.raises(
        SecateurError, match=r"records\.jsonl line 3 is damaged: .*; delete the line, and it is"
    ) as caught:
        Records(toy(), noise(), path)
    assert useful in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("change", [("0.", "1."), ("60", "61"), ('"a"', '"b"'), ("[0", "[1")], ids=str)
def test_a_changed_character_is_found_in_every_line(tmp_path: Path, change: tuple[str, str]) -> None:
    path = tmp_path / "records.jsonl"
    Records(toy(), noise(), path).evaluate(A, "a", 60)
    head, line = path.read_text().splitlines()
    assert change[0] in line
    path.write_text(f"{head}\n{line.replace(*change, 1)}\n")
    with pytest.raises(SecateurError, match=r"records\.jsonl line 2 is damaged: .* is not what was written"):
        Records(toy(), noise(), path)
    path.write_text(f"{head.replace('records', 'record')}\n{line}\n")
    with pytest.raises(SecateurError, match=r"records\.jsonl is damaged \(.* is not what was written"):
        Records(toy(), noise(), path)


def test_after_a_rewind_an_evaluation_is_known_once_it_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    records = Records(toy(), noise(), path)
    found, lines = [records.evaluate(each, "a", 60) for each in (A, B)], path.read_text()
    records.rewind()
    assert records.all == []
    assert records.evaluate(B, "b", 60) == found[1]
    assert records.all == [found[1]]
    assert path.read_text() == lines


def test_without_a_path_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Records(toy(), noise()).evaluate(A, "a", 60)
    assert list(tmp_path.iterdir()) == []


def worse(interim: Interim, by: float) -> Interim:
    """A rival that is better on every image."""
    return replace(interim, losses=(interim.image_losses - by).astype(np.float16).tobytes())


def test_an_evaluation_ends_at_the_first_look_that_shows_it_worse_than_its_rival() -> None:
    split = noise(3 * LOOK)
    rival = worse(Records(toy(), noise(3 * LOOK)).evaluate(A, "whole", 3 * LOOK), 1.0)
    records = Records(toy(), split)
    stopped = records.evaluate(A, "stopped", 3 * LOOK, rival)
    assert (stopped.n, len(stopped.image_losses)) == (LOOK, LOOK)
    assert records.evaluate(A, "again", 3 * LOOK, rival) is stopped
    assert split.asked == [LOOK]
    assert records.evaluate(A, "in full", 3 * LOOK).n == 3 * LOOK  # asked without a rival


@pytest.mark.parametrize("by", [0.0, -1.0])
def test_an_evaluation_that_holds_its_own_sees_every_image(by: float) -> None:
    whole = Records(toy(), noise(3 * LOOK)).evaluate(A, "whole", 3 * LOOK)
    assert Records(toy(), noise(3 * LOOK)).evaluate(A, "whole", 3 * LOOK, worse(whole, by)) == whole


def test_the_losses_of_the_images_are_kept(tmp_path: Path) -> None:
    interim = Records(toy(), noise(), tmp_path / "records.jsonl").evaluate(A, "a", 60)
    assert interim.image_losses.mean() == pytest.approx(interim.loss, rel=1e-3)
    assert len(Records(toy(), noise(), tmp_path / "records.jsonl").all[0].image_losses) == 60


def test_records_of_another_evaluation_are_refused(tmp_path: Path) -> None:
    def mine(model: nn.Module, split: Split, images: int) -> float:
        return 0.5

    path = tmp_path / "records.jsonl"
    Records(toy(), noise(), path).evaluate(A, "a", 60)
    with pytest.raises(SecateurError, match="pass a different folder"):
        Records(toy(), noise(), path, evaluation=mine)


def test_an_evaluation_of_one_number_keeps_it_and_survives_the_file(tmp_path: Path) -> None:
    def parameters(model: nn.Module, split: Split, images: int) -> float:
        return float(sum(p.numel() for p in model.parameters()))

    def loaded() -> Records:
        return Records(toy(), noise(), tmp_path / "records.jsonl", evaluation=parameters)

    interim = loaded().evaluate(A, "a", 60)
    assert (interim.loss, interim.n, interim.losses) == (interim.parameters, 60, b"")
    assert [each.to_json() for each in loaded().all] == [interim.to_json()]
    assert loaded().chance_loss is None
    assert Records(toy(), noise()).chance_loss == math.log(4)


def test_rank_is_by_loss_then_by_channels_and_nan_is_last() -> None:
    ordered = [replace(point(1, 0.1), subnetwork=B), point(1, 0.1), point(1, 0.2), point(1, math.inf)]
    nan = replace(point(1, math.nan), subnetwork=Subnetwork(((3,),)))
    assert sorted([nan, *reversed(ordered)], key=lambda each: each.rank) == [*ordered, nan]


def test_the_file_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    """Format 2, as it was first written."""
    records, path = Records(toy(), noise()), tmp_path / "records.jsonl"
    interim = records.evaluate(A, "a", 60)
    head = json.dumps({"format": "secateur/records/2", "of": records.fingerprint})
    fields = {"source": "a", "loss": interim.loss, "accuracy": interim.accuracy, "n": 60, "macs": interim.macs}
    long = {"parameters": interim.parameters, "subnetwork": A.kept, "losses": b64encode(interim.losses).decode()}
    path.write_text(f"{head}\n{json.dumps({**fields, **long}, separators=(',', ':'))}\n")
    assert Records(toy(), noise(), path).all == [interim]
    assert json.loads(path.read_text().splitlines()[1]) == unsealed(json.loads(interim.to_json()))


def test_one_class_has_no_loss_of_a_guess_to_be_measured_by() -> None:
    pixels = torch.zeros(8, 3, 8, 8, dtype=torch.uint8)
    split = Images(lambda chunks: (pixels[chunk] for chunk in chunks), torch.zeros(8, dtype=torch.int64), (3, 8, 8))
    assert Records(toy(), split).chance_loss is None
