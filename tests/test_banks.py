from pathlib import Path

import pytest
import torch
from commands import laid_out, status
from torch import Tensor, nn

import secateur as sc
from secateur.pipeline.banks import Banks, bank_config
from secateur.pipeline.session import Session
from secateur.search.coarse_to_fine import Searched
from secateur.search.config import SearchConfig
from secateur.transfer.bank.bank import MemoryBank
from secateur.transfer.methods import METHODS

VIEWS = 2


def make() -> nn.Module:
    layers = [nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 12, 3), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 10)).eval()


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Session:
    torch.manual_seed(0)
    data = sc.open_data("digits", (3, 8, 8))
    return Session(sc.Supernet.of(make(), data.example), data, tmp_path_factory.mktemp("session"), "float32")


@pytest.fixture(scope="module")
def searched(session: Session) -> Searched:
    return session.search(SearchConfig(session.net.span("50%"), trials=0))


def banks(session: Session, searched: Searched, method: str) -> Banks:
    return Banks(session, searched, METHODS[method], VIEWS)


def stored(bank: MemoryBank, view: int, indices: Tensor) -> Tensor:
    return bank.fixed[view].full_logits(indices, torch.zeros(len(indices), 10))[:, 0]


@pytest.mark.parametrize(("method", "views"), [("ce", 3), ("kd", 3), ("dkd", 1), ("aligned", 0)])
def test_a_method_that_reads_no_bank_has_none(method: str, views: int) -> None:
    assert bank_config(METHODS[method], views, bfloat16=False) is None


def test_a_bank_holds_as_many_teachers_as_its_method_has() -> None:
    found = {name: bank_config(METHODS[name], 1, bfloat16=False) for name in ("aligned", "kdft", "ckt")}
    assert {name: config and config.teachers for name, config in found.items()} == {"aligned": 1, "kdft": 1, "ckt": 5}


def test_prefilled_it_holds_what_the_dense_network_outputs_for_every_fixed_view(
    session: Session, searched: Searched
) -> None:
    opened = banks(session, searched, "kdft")
    bank = opened.winners
    assert bank is not None
    assert bank.source is not None
    assert not any((session.folder / "bank").glob("teacher-*.safetensors"))  # nothing is complete yet
    opened.prefill()
    for view in range(VIEWS):
        images, _, indices = next(session.data.train.batches(32, view=view))
        with torch.no_grad():
            expected = session.net.model(images)
        assert torch.allclose(stored(bank, view, indices), expected, atol=0.02)  # float16 on the disk


def test_a_bank_of_several_teachers_is_filled_when_it_is_opened(session: Session, searched: Searched) -> None:
    bank = banks(session, searched, "ckt").winners
    assert bank is not None
    assert bank.source is None
    assert len(list((session.folder / "bank").glob("teacher-*.safetensors"))) >= (1 + VIEWS) * len(bank.teachers)


def test_the_outcome_names_teachers_and_what_candidates_are_worth(session: Session, searched: Searched) -> None:
    grown, filled, none = (banks(session, searched, method).stage() for method in ("aligned", "ckt", "ce"))
    assert grown.candidates is not None
    assert grown.candidates[0].taken
    assert len(grown.teachers) == sum(each.taken for each in grown.candidates)
    assert filled.candidates is None
    assert len(filled.teachers) + filled.missing == 5
    assert (none.teachers, none.missing) == ((), 0)


def test_another_point_has_a_bank_of_its_own_and_shares_the_dense_network(session: Session, searched: Searched) -> None:
    opened = banks(session, searched, "kdft")
    other = next(each for each in searched.interims if each.subnetwork != searched.winner.subnetwork)
    first, second = opened.winners, opened.of(other.subnetwork)
    assert first is not None
    assert second is not None
    indices = torch.arange(8)
    assert torch.equal(stored(first, 0, indices), stored(second, 0, indices))


def test_search_prefills_on_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(laid_out(tmp_path))
    options = {"--data": "imagefolder:photos", "--weights": "make.safetensors", "--trials": "0", "--views": "1"}
    words = [word for pair in options.items() for word in pair]
    assert status(["search", "nets.py:make", *words, "--divisor", "1", "--out", "out", "--anyway", "--prefill"]) == 0
    assert list(Path("out/bank").glob("teacher-*-view-0.safetensors"))
