import pytest
import torch
import torch.nn.functional as F
from banked import HALF, noise, toy
from torch import Tensor

from secateur.models.evaluate import batch_statistics
from secateur.models.surgery.slim import slim
from secateur.transfer.bank.worth import TEMPERATURES, answers, judge

N, CLASSES = 2000, 5
LABELS = torch.arange(N) % CLASSES


def network(seed: int, skill: float = 1.0) -> Tensor:
    """Logits whose errors are a network's own."""
    noise = torch.randn(N, CLASSES, generator=torch.Generator().manual_seed(seed))
    return skill * F.one_hot(LABELS, CLASSES).float() + noise


def test_one_whose_errors_are_its_own_is_taken_and_its_gain_is_that_of_the_mix() -> None:
    dense, other = network(0), network(1)
    verdict = judge([dense, other], LABELS)

    def best(logits: Tensor) -> Tensor:
        return min((F.cross_entropy(logits / t, LABELS, reduction="none") for t in TEMPERATURES), key=torch.mean)

    gains = best(dense) - best((dense.log_softmax(1) + other.log_softmax(1)) / 2)
    assert verdict.taken == [0, 1]
    assert verdict.worths[1].gain == pytest.approx(float(gains.mean()), abs=1e-6)
    assert verdict.worths[1].error == pytest.approx(float(gains.std()) / N**0.5, rel=1e-4)
    assert verdict.worths[1].loss == pytest.approx(float(best(other).mean()), rel=1e-5)


def test_a_worse_copy_of_the_dense_network_is_worth_nothing() -> None:
    dense = network(0, skill=3)
    verdict = judge([dense, dense + 0.3 * network(1, 0), dense + network(2, 0)], LABELS)
    assert verdict.taken == [0]
    assert all(worth.gain <= 2 * worth.error for worth in verdict.worths[1:])


def test_an_overconfident_dense_network_is_cooled_and_a_copy_that_is_less_sure_adds_nothing() -> None:
    """Without temperatures the mix of both would beat it: that is calibration, and no knowledge."""
    calibrated = 2 * network(0, skill=2)  # the log-posterior of its noise
    sure = 2 * calibrated
    plain = F.cross_entropy(sure, LABELS)
    assert F.cross_entropy((sure + 0.2 * calibrated) / 2, LABELS) < plain
    verdict = judge([sure, 0.2 * calibrated], LABELS)
    alone = judge([calibrated], LABELS).temperature
    assert verdict.taken == [0]
    assert verdict.temperature == pytest.approx(2 * alone, abs=0.11)
    assert alone == pytest.approx(1, abs=0.11)
    assert verdict.worths[0].gain > 0


def test_several_are_taken_one_after_the_other_best_first() -> None:
    verdict = judge([network(0), network(1), network(2), 5 * network(3, 0.0)], LABELS)
    assert verdict.taken == [0, 1, 2]


def test_candidates_answer_as_the_search_scored_them() -> None:
    net, split = toy(), noise()
    seen, labels = answers(net, HALF, {}, split, images=40)
    batch = next(split.batches(40))
    model = slim(net, HALF)
    with batch_statistics(model), torch.no_grad():
        torch.testing.assert_close(seen, model(batch.images))
    assert torch.equal(labels, batch.labels)
    dense, _ = answers(net, net.dense, {}, split, images=40)
    torch.testing.assert_close(dense, net.model.eval()(batch.images).detach())


def test_a_gain_within_the_error_of_few_images_is_none() -> None:
    dense, other = network(0, 3), network(0, 3) + 0.7 * network(1, 0.3)
    many = judge([dense, other], LABELS).worths[1]
    few = judge([dense[:20], other[:20]], LABELS[:20])
    assert few.taken == [0]
    assert few.worths[1].error > many.error
