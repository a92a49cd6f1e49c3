"""What can be pruned of a network, before anything is searched."""

from typing import Any

import torch

from ..models.costs.profile import Profile
from ..models.files.networks import classes_of, intake_of, network_called
from ..models.supernet import Supernet
from ..models.zoo.registry import LIBRARIES
from ..rundir.config import RunConfig


def inspection(config: RunConfig, classes: int | None = None) -> tuple[tuple[int, ...], Profile]:
    """The shape of the input and the profile of the network that is asked for; its weights are random.

    ``classes`` and the input are the usual ones where they are not given: of torchvision's and timm's networks those
    that they are made for. Of a range of budgets its lower end counts, which would be fine-tuned.
    """
    known = config.model.partition(":")[0] in LIBRARIES
    usual = len(classes_of(config.model) or ()) or (1000 if known else 10)
    network = network_called(config.model, usual if classes is None else classes)()
    made_for = getattr(network, "default_cfg", {}).get("input_size", (3, 224, 224)) if known else (3, 32, 32)
    shape = config.images.shape or intake_of(config.model).shape or made_for  # timm's say it
    wanted = config.constraints
    options: dict[str, Any] = {"divisor": wanted.fixed_divisor, "freeze": wanted.freeze, "tie": wanted.ties}
    net = Supernet.of(network, torch.zeros(1, *shape), least=wanted.min_keep, **options)
    return shape, net.profile(config.budget.spec.low)
