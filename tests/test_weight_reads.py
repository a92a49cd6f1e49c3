"""The reads that are recorded of a network, against torch's own unfolding."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from toys import Functional, Grouped, NoNorm, Shared, SqueezeExciteLinear, Toy, Transposed

from secateur.models.tracing.weight_reads import MatrixRead, WeightRead, WeightReadRecorder, at_rows


def recorded(model: nn.Module, x: Tensor) -> tuple[list[tuple[WeightRead, Tensor]], WeightReadRecorder]:
    reads: list[tuple[WeightRead, Tensor]] = []
    recorder = WeightReadRecorder(dict(model.eval().named_parameters()), after=lambda *each: reads.append(each))
    with torch.no_grad(), recorder:
        model(x)
    return reads, recorder


def matrix_read(model: nn.Module, x: Tensor) -> tuple[MatrixRead, Tensor]:
    """The one read of a model."""
    ((read, output),), _ = recorded(model, x)
    assert isinstance(read, MatrixRead)
    return read, output


def names(model: nn.Module, kind: type[WeightRead] = WeightRead) -> list[str]:
    return [read.name for read, _ in recorded(model, torch.randn(2, 3, 8, 8))[0] if isinstance(read, kind)]


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.Conv2d(4, 6, 3, padding=1), (2, 4, 7, 5)),
        (nn.Conv2d(4, 6, (3, 2), (2, 1), (1, 0), (1, 2), bias=False), (2, 4, 9, 8)),
        (nn.Conv2d(4, 6, 3, groups=2, padding="same"), (2, 4, 7, 5)),
        (nn.Conv2d(4, 6, 3, padding=1, padding_mode="circular"), (2, 4, 7, 5)),
        (nn.Conv1d(4, 6, 3, stride=2), (2, 4, 9)),
        (nn.Conv3d(4, 6, (1, 2, 3), padding=1), (2, 4, 5, 4, 3)),
        (nn.Conv2d(4, 6, 1), (4, 7, 5)),
        (nn.Linear(4, 6), (3, 4)),
        (nn.Linear(4, 6, bias=False), (3, 5, 4)),
    ],
)
def test_matrix_times_rows_plus_bias_is_the_output(layer: nn.Module, shape: tuple[int, ...]) -> None:
    read, output = matrix_read(layer.double(), torch.randn(*shape, dtype=torch.float64))
    weight = layer.get_parameter(read.name).detach()
    matrix = weight.permute(read.order).flatten(1)
    matrix = matrix.reshape(read.groups, -1, matrix.shape[1])
    positions = torch.randperm(read.count)
    made = (read.rows(positions) @ matrix.mT).movedim(0, 1).flatten(1)
    if read.bias:
        made = made + layer.get_parameter(read.bias)
    assert read.bias == ("bias" if layer.bias is not None else None)
    assert matrix.shape[-1] == read.columns
    assert torch.allclose(made, at_rows(output, positions))


def test_calls_are_recorded_that_belong_to_no_module() -> None:
    torch.manual_seed(0)
    reads, _ = recorded(Functional(), torch.randn(2, 3, 8, 8))
    assert [(r.name, r.order, r.bias) for r, _ in reads if isinstance(r, MatrixRead)] == [
        ("stem.weight", (0, 2, 3, 1), "stem.bias"),
        ("weight", (0, 2, 3, 1), "bias"),
        ("matrix", (1, 0), None),
        ("head.weight", (0, 1), "head.bias"),
    ]


@pytest.mark.parametrize(
    ("toy", "expected"),
    [
        (Functional, ["stem.weight", "weight", "matrix", "head.weight"]),
        (Grouped, ["stem.weight", "grouped.weight", "head.weight"]),
        (Shared, ["stem.weight", "again.weight", "again.weight", "again.weight", "head.weight"]),
        (Transposed, ["stem.weight", "up.weight", "up3.weight", "head.weight"]),
    ],
)
def test_every_product_with_a_weight_is_recorded_each_time(toy: type[Toy], expected: list[str]) -> None:
    assert names(toy()) == expected


def test_transposed_convolutions_have_no_matrix_form() -> None:
    assert names(Transposed(), MatrixRead) == ["stem.weight", "head.weight"]


def test_only_weights_that_were_named_are_recorded() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 2, 1))
    reads: list[WeightRead] = []
    with torch.no_grad(), WeightReadRecorder({"mine": model.get_parameter("1.weight")}, before=reads.append):
        model(torch.randn(2, 3, 8, 8))
    assert [read.name for read in reads] == ["mine"]


def test_a_convolution_reads_its_input() -> None:
    first, second = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 1)
    images = torch.randn(5, 3, 8, 8)
    ((image, _), (hidden, _)), _ = recorded(nn.Sequential(first, nn.ReLU(), second), images)
    assert torch.equal(image.by_image(5), images)
    assert torch.equal(hidden.by_image(5), F.relu(first(images)))


@pytest.mark.parametrize("bias", [True, False])
def test_a_linear_layer_reads_one_number_of_each_feature(bias: bool) -> None:
    images = torch.randn(5, 6)
    read, _ = matrix_read(nn.Linear(6, 3, bias=bias), images)
    assert torch.equal(read.by_image(5), images[:, :, None])


@pytest.mark.parametrize("bias", [True, False])
def test_a_linear_layer_on_tokens_reads_all_places_of_an_image(bias: bool) -> None:
    images = torch.randn(5, 4, 7, 6)  # (B, height, width, features)
    read, _ = matrix_read(nn.Linear(6, 3, bias=bias), images)
    assert torch.equal(read.by_image(5), images.permute(0, 3, 1, 2).flatten(2))
    assert read.by_image(3).shape == (140, 6, 1)  # three images don't divide the rows


class Factor(nn.Module):
    """A parameter in an expression."""

    def __init__(self, product: Callable[[Tensor, Tensor], Tensor], *shape: int) -> None:
        super().__init__()
        self.weight, self.product = nn.Parameter(torch.randn(*shape)), product

    def forward(self, x: Tensor) -> Tensor:
        return self.product(self.weight, x)


def test_a_weight_on_the_left_reads_columns() -> None:
    columns = torch.randn(6, 5)
    ((read, _),), _ = recorded(Factor(torch.matmul, 3, 6), columns)
    assert not isinstance(read, MatrixRead)
    assert torch.equal(read.by_image(5), columns.T[:, :, None])


@pytest.mark.parametrize(
    ("product", "shape", "orders"),
    [
        (lambda w, x: x @ w, (6, 3), [(1, 0)]),
        (lambda w, x: x @ w.t(), (3, 6), [(0, 1)]),
        (lambda w, x: x @ w.t().view(6, 3), (3, 6), [None]),  # it might be another matrix by now
        (lambda w, x: torch.bmm(x[None], w[None]), (6, 3), []),  # unsqueezed, which is not followed
        (lambda w, x: torch.bmm(x[None], w.expand(1, 6, 3)), (6, 3), [None]),
        (lambda w, x: x @ (2 * w), (6, 3), []),
    ],
)
def test_only_a_matrix_as_it_is_or_transposed_has_a_matrix_form(
    product: Callable[[Tensor, Tensor], Tensor], shape: tuple[int, ...], orders: list[tuple[int, ...] | None]
) -> None:
    reads, _ = recorded(Factor(product, *shape), torch.randn(5, 6))
    assert [r.order if isinstance(r, MatrixRead) else None for r, _ in reads] == orders


@pytest.mark.parametrize(
    ("toy", "normed"),
    [(Grouped, {"stem.weight", "grouped.weight"}), (NoNorm, set()), (SqueezeExciteLinear, {"stem.weight"})],
)
def test_weights_with_batch_norm_behind_them_are_told_apart(toy: type[Toy], normed: set[str]) -> None:
    _, recorder = recorded(toy(), torch.randn(2, 3, 8, 8))
    assert set(recorder.norms) == normed


def test_nothing_is_kept_alive() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2)).eval()
    recorder = WeightReadRecorder(dict(model.named_parameters()))
    with torch.no_grad(), recorder:
        model(torch.randn(3, 4))
    assert len(recorder.makers) == 0
    assert len(recorder._moved) == 0


def test_rows_of_half_precision_come_in_single() -> None:
    read, output = matrix_read(nn.Conv2d(4, 6, 3).bfloat16(), torch.randn(1, 4, 5, 5).bfloat16())
    assert read.rows(torch.tensor([0])).dtype == at_rows(output, torch.tensor([0])).dtype == torch.float32
    assert F.unfold(torch.zeros(1, 4, 5, 5), 3).shape[2] == read.count
