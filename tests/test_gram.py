"""Grams against moments of inputs that torch unfolds."""

from collections import Counter

import numpy as np
import pytest
import torch
from test_ridge import Noise, inputs_of, supernet
from torch import Tensor, nn
from toys import Concat, Grouped, NoNorm, Shared, SqueezeExcite, Toy, Transposed, conv

from secateur.models.compensation import gram as gram_module
from secateur.models.compensation.gram import block_widths, grams, sample_rows
from secateur.models.tracing.weight_reads import MatrixRead


def moments(rows: Tensor) -> Tensor:
    """E[p pᵀ] with a one behind each p, kernel places first. Shape: rows (groups, channels, kernel, n)"""
    flat = rows.transpose(1, 2).flatten(1, 2)
    flat = torch.cat([flat, torch.ones_like(flat[:, :1])], 1)
    return flat @ flat.mT / flat.shape[-1]


@pytest.mark.parametrize("toy", [Concat, Grouped, NoNorm, SqueezeExcite])
@pytest.mark.parametrize("batch", [500, 7])
def test_a_gram_is_the_mean_product_of_what_its_layer_reads(
    toy: type[Toy], batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gram_module, "BATCH", batch)
    monkeypatch.setattr(gram_module, "ROWS", 10**6)
    monkeypatch.setattr(gram_module, "CHUNK", 100)
    net, noise = supernet(toy), Noise(20)
    found = grams(net, noise)
    readers = {m.tensor for group in net.groups for m in group.members if m.reads}
    assert found.keys() == readers
    expected = inputs_of(net.model, [name.removesuffix(".weight") for name in readers], noise.images)
    for name, rows in expected.items():
        (block,) = found[f"{name}.weight"].blocks
        assert torch.allclose(block, moments(rows))


def test_a_sample_of_rows_comes_near_all_of_them_and_is_the_same_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    net, noise = supernet(NoNorm), Noise(400)
    some, again, other = (grams(net, noise, seed=seed)["conv.weight"].blocks[0] for seed in (0, 0, 1))
    monkeypatch.setattr(gram_module, "ROWS", 10**6)
    every = grams(net, noise)["conv.weight"].blocks[0]
    assert torch.equal(some, again)
    assert not torch.equal(some, other)
    assert 0 < (some - every).norm() < 0.15 * every.norm()


def test_only_the_asked_images_are_read() -> None:
    net, noise = supernet(NoNorm), Noise(30)
    few = Noise(30)
    few.images, few.labels = noise.images[:10], noise.labels[:10]
    one, two = grams(net, noise, images=10), grams(net, few)
    assert all(torch.equal(one[name].blocks[0], two[name].blocks[0]) for name in one)


def test_a_weight_with_two_biases_has_none_and_one_without_a_gram_is_absent() -> None:
    net, noise = supernet(Shared), Noise(10)
    assert grams(net, noise)["again.weight"].bias is None
    assert "up.weight" not in grams(supernet(Transposed), noise)


def test_a_matrix_that_is_also_read_as_its_transpose_has_no_gram() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.inner, self.head = conv(3, 8), nn.Linear(8, 8, bias=False), nn.Linear(8, 5)

        def forward(self, x: Tensor) -> Tensor:
            x = torch.relu(self.inner(torch.relu(self.stem(x)).mean((2, 3))))
            out: Tensor = self.head(torch.relu(x @ self.inner.weight))
            return out

    assert grams(supernet(Tied), Noise(10)).keys() == {"head.weight"}


@pytest.mark.parametrize("kernel", [1, 4, 9])
@pytest.mark.parametrize("read", [1, 64, 512, 513, 5000, 25088])
def test_blocks_hold_all_columns_and_their_memory_grows_with_the_columns(kernel: int, read: int) -> None:
    widths = block_widths(kernel * read, read)
    assert sum(widths) == kernel * read
    assert max(widths) <= gram_module.WIDEST
    assert read > gram_module.WIDEST or all(width % read == 0 for width in widths)
    assert sum(np.square(widths)) <= gram_module.WIDEST * kernel * read


def test_rows_are_shared_out_among_the_batches_by_their_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gram_module, "ROWS", 2)
    monkeypatch.setattr(gram_module, "BATCH", 5)
    drawn: Counter[str] = Counter()

    def counted(read: MatrixRead, share: float, generator: torch.Generator) -> Tensor:
        positions = sample_rows(read, share, generator)
        drawn[read.name] += len(positions)
        return positions

    monkeypatch.setattr(gram_module, "sample_rows", counted)
    net = supernet(NoNorm)
    grams(net, Noise(20))
    columns = {name: net.model.get_parameter(name)[0].numel() for name in drawn}
    assert drawn == {name: 4 * (2 * count // 4 + 1) for name, count in columns.items()}
