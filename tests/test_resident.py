"""The GPU harness of the benchmarks trains as the product does."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from resident import Resident, ResidentTraining, apart, difference, train_together
from torch import nn

import secateur as sc
from secateur.data.images import Images
from secateur.models.surgery.copies import copied
from secateur.seeds import derive_seed
from secateur.transfer.objectives.aligned import AlignedTransfer, KeptFeatures
from secateur.transfer.objectives.base import CrossEntropy, Objective, OnlineTeacher
from secateur.transfer.training.recipe import Recipe
from secateur.transfer.training.train import train

RECIPE = Recipe(epochs=2, batch=20, learning_rate=0.005, seed=3)
GENERATOR = torch.Generator().manual_seed(0)
PIXELS = torch.randint(256, (40, 3, 8, 8), dtype=torch.uint8, generator=GENERATOR)
IMAGES = Images(lambda chunks: (PIXELS[chunk] for chunk in chunks), torch.arange(40) % 4, (3, 8, 8))
CHANNELS_LAST = replace(IMAGES, layout=torch.channels_last)
NET = sc.Supernet.of(sc.constructor("resnet20", classes=4)().eval(), IMAGES.example)


def labels(net: sc.Supernet = NET) -> Objective:
    return CrossEntropy()


def kept_channels(net: sc.Supernet = NET) -> Objective:
    return AlignedTransfer(OnlineTeacher(net.model, net.head), KeptFeatures.of(net, net.dense))


def student(seed: int = 1) -> nn.Module:
    torch.manual_seed(seed)
    return sc.constructor("resnet20", classes=4)()


def resident(model: nn.Module, objective: Objective, **how: Any) -> ResidentTraining:
    images = Resident.of(IMAGES, torch.device("cpu"))
    return ResidentTraining(model, images, objective, RECIPE, head=NET.head, **{"graphed": False, **how})


def test_an_epoch_shows_what_the_product_shows() -> None:
    images = Resident.of(IMAGES, torch.device("cpu"))
    for epoch in range(RECIPE.epochs):
        seed = derive_seed(RECIPE.seed, epoch)
        for draws, batch in zip(images.epoch(RECIPE, epoch), IMAGES.epoch(RECIPE.batch, seed), strict=True):
            assert torch.equal(draws[:, 0], batch.indices)
            torch.testing.assert_close(images.shown(draws), batch.images[0], rtol=0, atol=1e-6)


@pytest.mark.parametrize("make", [labels, kept_channels])
def test_trainings_side_by_side_end_where_the_product_ends(make: Any) -> None:
    models = student(), student(2)
    expected = [copied(each, {}) for each in models]
    for each in expected:
        list(train(each, CHANNELS_LAST, make(), RECIPE, head=NET.head))
    train_together([resident(each, make()) for each in models])
    for model, other in zip(models, expected, strict=True):
        assert difference(model, other) < 0.02  # rounding, which batch norm of few images and ReLU carry far
    assert difference(*models) > 0.5


def test_another_order_of_images_is_another_training() -> None:
    models = student(), student()
    list(train(models[0], CHANNELS_LAST, labels(), replace(RECIPE, seed=4), head=NET.head))
    train_together([resident(models[1], labels())])
    assert difference(*models) > 0.1


def test_two_ways_of_which_one_is_a_tenth_longer_end_a_tenth_apart() -> None:
    start, one, other = (student().double() for _ in range(3))
    for model, steps in ((one, 1.1), (other, 1.0)):
        for parameter in model.parameters():
            nn.init.constant_(parameter, 1.0 + steps)
    for parameter in start.parameters():
        nn.init.ones_(parameter)
    assert apart(one, other, start) == pytest.approx(0.1, rel=1e-5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
@pytest.mark.parametrize("make", [labels, kept_channels])
def test_a_graphed_step_is_an_eager_one(make: Any) -> None:
    images, start = Resident.of(IMAGES, torch.device("cuda")), student().cuda()
    net = sc.Supernet.of(copied(NET.model, {}).cuda(), IMAGES.example.cuda())
    models = [copied(start, {}) for _ in range(2)]
    for model, graphed in zip(models, (True, False), strict=True):
        ResidentTraining(model, images, make(net), RECIPE, head=net.head, graphed=graphed).step()
    assert apart(models[0], models[1], start) < 0.01


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_a_graphed_training_ends_where_an_eager_one_does() -> None:
    images = Resident.of(IMAGES, torch.device("cuda"))
    models = [student().cuda() for _ in range(2)]
    for model, graphed in zip(models, (False, True), strict=True):
        train_together([ResidentTraining(model, images, labels(), RECIPE, head=NET.head, graphed=graphed)])
    assert difference(*models) < 1e-2
