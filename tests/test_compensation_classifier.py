"""The last layer in closed form."""

import pytest
import torch
from banked import HALF, noise, toy
from sklearn.linear_model import Ridge
from torch import nn

from secateur.models.compensation.classifier import refit_classifier, ridge
from secateur.models.evaluate import batch_statistics
from secateur.models.surgery.slim import slim


def test_the_solution_is_that_of_scikit_learn() -> None:
    features, targets = torch.randn(50, 6).double() + 2, torch.randn(50, 3).double() - 1
    weight, bias = ridge(features, targets, strength=0.3)
    alpha = 0.3 * float(features.var(0, correction=0).mean()) * 50
    peer = Ridge(alpha).fit(features.numpy(), targets.numpy())
    torch.testing.assert_close(weight, torch.from_numpy(peer.coef_).double())
    torch.testing.assert_close(bias, torch.from_numpy(peer.intercept_).double())


def test_the_slimmed_network_comes_nearer_to_the_dense_one() -> None:
    net, split = toy(), noise()
    net.model.eval()
    model = slim(net, HALF)
    images = next(split.batches(90)).images
    dense = net.model(images)
    with torch.no_grad(), batch_statistics(model):
        before = (model(images) - dense).square().mean()
        refit_classifier(net, model, split)
        after = (model(images) - dense).square().mean()
    assert float(after) < 0.9 * float(before)


def test_nothing_else_changes_and_the_dense_network_does_not() -> None:
    net, split = toy(), noise()
    kept = {name: tensor.clone() for name, tensor in net.model.state_dict().items()}
    model = slim(net, HALF)
    own = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    refit_classifier(net, model, split)
    changed = {name for name, tensor in model.state_dict().items() if not torch.equal(own[name], tensor)}
    assert changed == {"head.weight", "head.bias"}
    assert all(torch.equal(kept[name], tensor) for name, tensor in net.model.state_dict().items())


@pytest.mark.parametrize("head", [nn.Conv2d(8, 4, 1), nn.Identity()])
def test_a_network_that_ends_otherwise_stays_as_it_is(head: nn.Module) -> None:
    net = toy(nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), head, nn.AdaptiveAvgPool2d(1), nn.Flatten()))
    model = slim(net, net.dense)
    refit_classifier(net, model, noise())
    assert all(torch.equal(tensor, net.model.state_dict()[name]) for name, tensor in model.state_dict().items())
