"""Weights refitted to examples, batch after batch."""

import torch
from torch import Tensor, nn

from secateur.models.compensation.refits import Examples, Refits, with_bias
from secateur.models.tracing.weight_reads import MatrixRead

LAW = torch.randn(2, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(7))


def layer(seed: int) -> nn.Linear:
    torch.manual_seed(seed)
    return nn.Linear(4, 2).double()


def examples(seed: int, count: int = 20, *, normed: bool = False) -> Examples:
    """Rows that a linear layer reads and what ``LAW`` makes of them; the last five are held out."""
    rows = torch.randn(count, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    read = MatrixRead("weight", rows, False, (0, 1), 1, "bias")
    positions = torch.arange(count)
    return Examples(read, positions, rows @ LAW.T + 3, positions >= count - 5, normed)


def fitted(own: nn.Module, inherited: nn.Module, *batches: Examples) -> Tensor:
    """The weight after these batches, the bias behind it. Shape: → (made, columns + 1)"""
    refits = Refits(own, inherited, [1e-12])
    with torch.no_grad():
        for each in batches:
            refits.refit(each)
        return with_bias(batches[0].read, refits.tensors, torch.float64)[0]


def test_moments_are_those_of_what_the_output_lacks_and_of_the_input_with_a_one() -> None:
    given, weight = examples(0), torch.randn(1, 2, 5, dtype=torch.float64)
    rows = torch.cat([given.read.inputs, torch.ones(20, 1)], 1)
    found = given.moments(weight, slice(0, 4))
    torch.testing.assert_close(found.across[0], (given.wanted - rows @ weight[0].T).T @ rows)
    torch.testing.assert_close(found.among[0], rows.T @ rows)
    assert found.rows == 20


def test_a_refit_finds_the_law_behind_its_examples() -> None:
    found = fitted(layer(0), layer(0), examples(0))
    torch.testing.assert_close(found, torch.cat([LAW, torch.full((2, 1), 3.0)], 1), rtol=0, atol=1e-6)


def test_two_batches_fit_like_one_that_holds_both() -> None:
    one, other = examples(1, 9), examples(2, 8)
    both = Examples(
        MatrixRead("weight", torch.cat([one.read.inputs, other.read.inputs]), False, (0, 1), 1, "bias"),
        torch.arange(17),
        torch.cat([one.wanted, other.wanted]).square(),
        torch.cat([one.held, other.held]),
        False,
    )
    one, other = (Examples(e.read, e.positions, e.wanted.square(), e.held, False) for e in (one, other))
    torch.testing.assert_close(fitted(layer(0), layer(0), one, other), fitted(layer(0), layer(0), both))


def test_an_inherited_weight_that_no_refit_beats_comes_back() -> None:
    exact = layer(0)
    with torch.no_grad():
        exact.weight.copy_(LAW)
        exact.bias.fill_(3)
    held = examples(3)
    held.wanted[:15] *= -1  # what is fitted contradicts what is held out
    found = fitted(layer(1), exact, held)
    torch.testing.assert_close(found, torch.cat([LAW, torch.full((2, 1), 3.0)], 1))


def test_a_weight_by_grams_that_no_refit_beats_stays() -> None:
    exact = layer(0)
    with torch.no_grad():
        exact.weight.copy_(LAW)
        exact.bias.fill_(3)
    held = examples(3)
    held.wanted[:15] *= -1
    found = fitted(exact, layer(1), held)
    torch.testing.assert_close(found, torch.cat([LAW, torch.full((2, 1), 3.0)], 1))


def test_a_mean_is_that_of_all_batches() -> None:
    norm = nn.BatchNorm2d(2).double()
    refits = Refits(norm, norm, [1e-3])
    one, other = torch.rand(3, 2, dtype=torch.float64), torch.rand(5, 2, dtype=torch.float64)
    with torch.no_grad():
        refits.set_mean("bias", one)
        refits.set_mean("bias", other)
    torch.testing.assert_close(norm.bias.detach(), torch.cat([one, other]).mean(0))
