import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from secateur.transfer.losses import crd_nce, dkd_loss, feature_loss, gated_transfer, info_nce, kl, open_gates


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def unit(*shape: int, seed: int = 0) -> Tensor:
    return F.normalize(normal(*shape, seed=seed), dim=-1)


def plain_kl(p: Tensor, q: Tensor, temperature: float) -> float:
    """KL of one row, by the book."""
    a, b = torch.softmax(p.double() / temperature, 0), torch.softmax(q.double() / temperature, 0)
    return float(sum(x * math.log(x / y) for x, y in zip(a.tolist(), b.tolist(), strict=True)))


def graded(images: int = 64, classes: int = 10) -> Tensor:
    """Five teachers, each further from the best. Shape: → (images, 5, classes)"""
    best = 6 * F.one_hot(torch.arange(images) % classes, classes) + normal(images, classes)
    return torch.stack([best + 0.5 * k * normal(images, classes, seed=k) for k in range(5)], 1)


@given(st.integers(0, 1000), st.sampled_from([1.0, 4.0, 10.0]), st.sampled_from([0, 1, 2]))
def test_kl_is_the_sum_over_classes_times_a_power_of_the_temperature(seed: int, temperature: float, power: int) -> None:
    p, q = 3 * normal(2, 3, 5, seed=seed), 3 * normal(2, 3, 5, seed=seed + 1)
    found = kl(p, q, temperature, power)
    assert found.shape == (2, 3)
    for row in range(6):
        expected = temperature**power * plain_kl(p.flatten(0, 1)[row], q.flatten(0, 1)[row], temperature)
        assert float(found.flatten()[row]) == pytest.approx(expected, rel=1e-3, abs=1e-5)


def test_kl_of_a_thing_with_itself_is_zero() -> None:
    p = 10 * normal(20, 10)
    torch.testing.assert_close(kl(p, p), torch.zeros(20), atol=1e-5, rtol=0)
    torch.testing.assert_close(kl(p, p + 7), torch.zeros(20), atol=1e-5, rtol=0)  # logits are up to a constant


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_kl_stays_finite_at_logits_of_ten_thousand(temperature: float) -> None:
    p = torch.tensor([[1e4, -1e4, 0], [-1e4, 1e4, 1e4]])
    q = torch.tensor([[-1e4, 1e4, 0], [1e4, -1e4, -1e4]]).requires_grad_()
    loss = kl(p, q, temperature)
    (gradient,) = torch.autograd.grad(loss.sum(), q)
    assert loss.isfinite().all()
    assert gradient.isfinite().all()
    assert (loss > 1e3).all()


@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize("temperature", [1.0, 4.0, 10.0])
def test_the_gradient_of_kl_is_the_difference_of_the_softmaxes(temperature: float, power: int) -> None:
    p, q = normal(8, 10), normal(8, 10, seed=1).requires_grad_()
    (gradient,) = torch.autograd.grad(kl(p, q, temperature, power).mean(), q)
    apart = torch.softmax(q / temperature, 1) - torch.softmax(p / temperature, 1)
    torch.testing.assert_close(gradient, apart * temperature ** (power - 1) / 8)


def test_a_student_that_knows_nothing_hears_every_teacher() -> None:
    teachers = graded()
    assert open_gates(teachers, torch.zeros_like(teachers[:, 0])).tolist() == [True] * 5


def test_a_student_next_to_the_best_teacher_hears_only_that_one() -> None:
    teachers = graded()
    assert open_gates(teachers, teachers[:, 0] + 0.01 * normal(64, 10, seed=9)).tolist() == [True] + [False] * 4


def test_a_student_that_equals_the_best_teacher_still_hears_it() -> None:
    teachers = graded()
    assert open_gates(teachers, teachers[:, 0].clone()).tolist() == [True] + [False] * 4


def test_gates_close_one_by_one_as_the_student_comes_nearer() -> None:
    teachers, noise = graded(), normal(64, 10, seed=9)
    steps = [16.0, 4.0, 2.0, 1.5, 1.2, 1.0, 0.7, 0.5, 0.2, 0.05, 0.0]
    gates = [open_gates(teachers, teachers[:, 0] + step * noise) for step in steps]
    counts = [int(each.sum()) for each in gates]
    assert counts == sorted(counts, reverse=True)
    assert (counts[0], counts[-1]) == (5, 1)
    assert len(set(counts)) >= 4
    for each, count in zip(gates, counts, strict=True):
        assert each.tolist() == [True] * count + [False] * (5 - count)


def test_a_gate_looks_at_the_whole_batch() -> None:
    """A teacher that is far on one image and near on the rest is judged by the sum."""
    best = normal(10, 4)
    second = best.clone()
    second[0] += torch.tensor([9.0, 0, 0, 0])
    teachers = torch.stack([best, second], 1)
    apart = kl(best, second).sum()
    for student in (best + 0.2 * normal(10, 4, seed=1), best + 3 * normal(10, 4, seed=1)):
        assert bool(open_gates(teachers, student)[1]) == bool(apart < kl(best, student).sum())
    assert open_gates(teachers, best + 3 * normal(10, 4, seed=1)).tolist() == [True, True]


@pytest.mark.parametrize("peaked", [True, False])
def test_gates_take_the_divergence_from_the_best_teacher_and_not_that_to_it(peaked: bool) -> None:
    peak, flat = torch.tensor([12.0, 0, 0, 0]), torch.tensor([3.0, 0, 0, 0])
    best, second = (peak, flat) if peaked else (flat, peak)
    right, wrong = plain_kl(best, second, 4.0), plain_kl(second, best, 4.0)
    assert abs(right - wrong) > 0.1
    student = torch.tensor([best[0], 1.0, 0, 0])
    while not min(right, wrong) < plain_kl(best, student, 4.0) < max(right, wrong):
        student[1] += 0.1
        assert student[1] < 100
    teachers = torch.stack([best, second]).expand(6, 2, 4)
    gates = open_gates(teachers, student.expand(6, 4))
    assert gates.tolist() == [True, right < plain_kl(best, student, 4.0)] == [True, right < wrong]


@pytest.mark.parametrize("noise", [0.0, 0.7, 1.2, 16.0])
@pytest.mark.parametrize("power", [1, 2])
def test_gated_transfer_is_the_double_loop(noise: float, power: int) -> None:
    teachers, temperature = graded(12, 5), 4.0
    views = teachers[:, 0] + noise * normal(2, 12, 5, seed=3)
    student = views.mean(0)
    progress = sum(plain_kl(teachers[i, 0], student[i], temperature) for i in range(12))
    apart = [sum(plain_kl(teachers[i, 0], teachers[i, k], temperature) for i in range(12)) for k in range(5)]
    spoken = [k for k in range(5) if k == 0 or apart[k] < progress]
    total = 0.0
    for view in range(2):
        for i in range(12):
            target = sum(teachers[i, k] for k in spoken) / len(spoken)
            total += temperature**power * plain_kl(torch.as_tensor(target), views[view, i], temperature)
    found = float(gated_transfer(teachers, views, temperature, power))
    assert found == pytest.approx(total / 24, rel=1e-4, abs=1e-5)


def test_teachers_of_each_view_pull_on_that_view() -> None:
    each, views = torch.stack([graded(8, 4), graded(8, 4) + 1.0 * normal(8, 5, 4, seed=7)]), normal(2, 8, 4, seed=3)
    gates = open_gates(each.mean(0), views.mean(0))
    expected = torch.stack([kl(each[v][:, gates].mean(1), views[v], power=1).mean() for v in range(2)]).mean()
    torch.testing.assert_close(gated_transfer(each, views), expected)
    same = graded(8, 4)
    torch.testing.assert_close(gated_transfer(same.expand(2, -1, -1, -1), views), gated_transfer(same, views))


def test_gated_transfer_is_ekg_weighted_by_the_temperature_unless_told_otherwise() -> None:
    teachers, views = graded(), normal(2, 64, 10)
    assert float(gated_transfer(teachers, views)) == pytest.approx(float(gated_transfer(teachers, views, 4.0, 1)))


def test_only_the_views_learn_from_gated_transfer() -> None:
    teachers, views = graded(8, 4).requires_grad_(), normal(2, 8, 4).requires_grad_()
    gradients = torch.autograd.grad(gated_transfer(teachers.detach(), views), views)
    assert gradients[0].abs().sum() > 0
    target = teachers.detach().mean(1)  # such a student opens every gate
    expected = (torch.softmax(views / 4, -1) - torch.softmax(target / 4, -1)) / 16
    torch.testing.assert_close(gradients[0], expected)


@pytest.mark.parametrize("temperature", [0.07, 0.1, 1.0])
def test_info_nce_is_the_loop_over_views_images_and_negatives(temperature: float) -> None:
    queries, keys, negatives = unit(2, 6, 8), unit(6, 8, seed=1), unit(6, 5, 8, seed=2)
    total = 0.0
    for view in range(2):
        for i in range(6):
            own = math.exp(float(queries[view, i] @ keys[i]) / temperature)
            others = sum(math.exp(float(queries[view, i] @ negatives[i, j]) / temperature) for j in range(5))
            total -= math.log(own / (own + others))
    assert float(info_nce(queries, keys, negatives, temperature)) == pytest.approx(total / 12, rel=1e-4)


@pytest.mark.parametrize("count", [1, 7, 64])
def test_info_nce_where_everything_coincides_is_the_log_of_the_choices(count: int) -> None:
    one = unit(1, 16)
    loss = info_nce(one.expand(2, 5, 16), one.expand(5, 16), one.expand(5, count, 16))
    assert float(loss) == pytest.approx(math.log(1 + count), rel=1e-5)


def test_info_nce_falls_as_queries_come_to_their_keys() -> None:
    keys, negatives, start = unit(20, 16), unit(20, 9, 16, seed=1), unit(2, 20, 16, seed=2)
    steps = [F.normalize((1 - s) * start + s * keys, dim=-1) for s in (0.0, 0.3, 0.6, 1.0)]
    losses = [float(info_nce(queries, keys, negatives)) for queries in steps]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 0.1 < losses[0]


def test_info_nce_without_negatives_is_zero() -> None:
    assert float(info_nce(unit(2, 4, 8), unit(4, 8), torch.zeros(4, 0, 8))) == 0


@given(st.integers(0, 1000), st.sampled_from([1.0, 4.0]))
def test_decoupled_terms_weighted_by_what_the_teacher_leaves_to_others_are_kl(seed: int, temperature: float) -> None:
    teacher, student = 3 * normal(2, 4, 5, seed=seed), 3 * normal(2, 4, 5, seed=seed + 1)
    labels = torch.randint(5, (2, 4), generator=torch.Generator().manual_seed(seed))
    rest = 1 - torch.softmax(teacher / temperature, -1).gather(-1, labels[..., None])[..., 0]
    own = dkd_loss(teacher, student, labels, temperature=temperature, target=1.0, others=0.0)
    others = dkd_loss(teacher, student, labels, temperature=temperature, target=0.0, others=1.0)
    torch.testing.assert_close(own + rest * others, kl(teacher, student, temperature), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(
        dkd_loss(teacher, student, labels, temperature=temperature, target=0.5, others=3.0), 0.5 * own + 3 * others
    )


def test_decoupled_is_zero_for_logits_equal_up_to_a_constant_and_finite_for_large_ones() -> None:
    logits, labels = normal(6, 4), torch.arange(6) % 4
    torch.testing.assert_close(dkd_loss(logits, logits + 7, labels), torch.zeros(6), atol=1e-4, rtol=0)
    far = dkd_loss(1e4 * logits, -1e4 * logits, labels)
    assert far.isfinite().all()
    assert (far > 0).all()


@pytest.mark.parametrize("scale", [3.0, 200.0])
def test_noise_contrastive_is_the_loop_over_images_and_rows(scale: float) -> None:
    similar, images = torch.tanh(normal(5, 8)), 40
    total, noise = 0.0, 7 / images
    for row in similar.double().tolist():
        own, *others = (math.exp(x / 0.07) / scale for x in row)
        total -= math.log(own / (own + noise)) + sum(math.log(noise / (noise + other)) for other in others)
    assert float(crd_nce(similar, torch.tensor(scale), images)) == pytest.approx(total / 5, rel=1e-4)


def test_noise_contrastive_stays_finite_where_nothing_and_everything_is_alike() -> None:
    similar = torch.tensor([[-1.0, 1.0], [1.0, -1.0]]).requires_grad_()
    loss = crd_nce(similar, torch.tensor(1e-6), 1_000_000, temperature=0.01)
    (gradient,) = torch.autograd.grad(loss, similar)
    assert loss.isfinite()
    assert gradient.isfinite().all()


def test_a_student_that_knows_each_channels_mean_alone_has_a_feature_loss_of_one() -> None:
    teacher = torch.randn(50, 6, 4, 4) * torch.arange(1, 7.0)[:, None, None] + 3
    mean = teacher.mean((0, 2, 3), keepdim=True).expand_as(teacher)
    torch.testing.assert_close(feature_loss(mean, teacher), torch.tensor(1.0))
    assert float(feature_loss(teacher, teacher)) == 0.0


def test_the_scale_of_a_channel_does_not_matter_and_dead_ones_have_no_weight() -> None:
    teacher, scale = torch.randn(20, 4), torch.tensor([1.0, 7.0, 0.3, 2.0])
    student = teacher + torch.randn(20, 4)
    torch.testing.assert_close(feature_loss(student * scale, teacher * scale), feature_loss(student, teacher))
    dead = torch.cat([teacher, torch.full((20, 4), 5.0)], 1)
    off = torch.cat([student, torch.randn(20, 4)], 1).requires_grad_()
    loss = feature_loss(off, dead)
    loss.backward()  # type: ignore[no-untyped-call]
    torch.testing.assert_close(loss.detach(), feature_loss(student, teacher) / 2)
    assert off.grad is not None
    assert (off.grad[:, 4:] == 0).all()
    assert float(feature_loss(torch.randn(5, 3), torch.zeros(5, 3))) == 0.0
