import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from secateur.transfer.bank.top_k import restore_logits, top_k_logits
from secateur.transfer.losses import gated_transfer, kl


def normal(*shape: int, seed: int = 0, scale: float = 3.0) -> Tensor:
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


CLASSES = st.integers(2, 12).flatmap(lambda c: st.tuples(st.just(c), st.integers(1, c - 1)))


@given(CLASSES, st.sampled_from([1.0, 4.0]), st.integers(0, 1000))
def test_condensed_logits_have_the_probabilities_of_the_classes_and_of_the_rest(
    sizes: tuple[int, int], temperature: float, seed: int
) -> None:
    logits = normal(3, 5, sizes[0], seed=seed)
    classes = logits.topk(sizes[1]).indices
    found = torch.softmax(top_k_logits(logits, classes, temperature) / temperature, -1)
    whole = torch.softmax(logits / temperature, -1).gather(-1, classes)
    torch.testing.assert_close(found[..., :-1], whole)
    torch.testing.assert_close(found[..., -1], 1 - whole.sum(-1), atol=1e-5, rtol=1e-4)


@given(CLASSES, st.sampled_from([1.0, 4.0]), st.integers(0, 1000))
def test_kl_to_what_was_expanded_is_that_over_the_classes_and_the_rest(
    sizes: tuple[int, int], temperature: float, seed: int
) -> None:
    teacher, student = normal(6, sizes[0], seed=seed), normal(6, sizes[0], seed=seed + 1).requires_grad_()
    classes = teacher.topk(sizes[1]).indices
    told = top_k_logits(teacher, classes, temperature)
    found = kl(restore_logits(told, classes, student.detach(), temperature), student, temperature)
    expected = kl(told, top_k_logits(student, classes, temperature), temperature)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    one, two = (torch.autograd.grad(loss.sum(), student)[0] for loss in (found, expected))
    torch.testing.assert_close(one, two, atol=1e-4, rtol=1e-4)


def test_condensing_what_was_expanded_gives_it_back() -> None:
    teacher, student = normal(6, 9), normal(2, 6, 9, seed=1)
    classes = teacher.topk(4).indices
    again = top_k_logits(restore_logits(top_k_logits(teacher, classes), classes, student), classes.expand(2, -1, -1))
    torch.testing.assert_close(again, top_k_logits(teacher, classes).expand_as(again))


def test_a_student_that_knows_the_teacher_learns_nothing_from_it() -> None:
    teacher = normal(6, 9)
    classes = teacher.topk(3).indices
    torch.testing.assert_close(restore_logits(top_k_logits(teacher, classes), classes, teacher), teacher)


@pytest.mark.parametrize("kept", [1, 4, 8])
def test_several_teachers_are_expanded_at_once(kept: int) -> None:
    teachers, views = normal(6, 5, 9), normal(2, 6, 9, seed=1)
    classes = teachers[:, 0].topk(kept).indices[:, None]
    found = restore_logits(top_k_logits(teachers, classes.expand(-1, 5, -1)), classes, views[:, :, None])
    assert found.shape == (2, 6, 5, 9)
    one = restore_logits(top_k_logits(teachers[2, 3], classes[2, 0]), classes[2, 0], views[1, 2])
    torch.testing.assert_close(found[1, 2, 3], one)
    assert gated_transfer(found, views) > 0


def test_huge_logits_stay_finite() -> None:
    logits = torch.tensor([[1e4, -1e4, 0, 5e3]])
    found = top_k_logits(logits, torch.tensor([[0, 2]]))
    assert found.isfinite().all()
    assert restore_logits(found, torch.tensor([[0, 2]]), -logits).isfinite().all()
