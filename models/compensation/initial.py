"""The student that fine-tuning starts from."""

from collections.abc import Mapping

import torch
from torch import nn

from ..split import Split
from ..subnetwork import Subnetwork
from ..supernet import Supernet
from ..surgery.slim import slim
from .gram import Gram
from .sequential import refit_sequentially


@torch.no_grad()
def initial_student(net: Supernet, subnetwork: Subnetwork, grams: Mapping[str, Gram], split: Split) -> nn.Module:
    """The subnetwork with weights halfway between those that it inherits and those refitted in sequence.

    Refitted weights are much better before training, but no better to start training from on CIFAR-10, where
    halfway is as good as inherited (benchmarks/transfer.py).
    """
    model = slim(net, subnetwork)
    others = refit_sequentially(net, subnetwork, grams, split).state_dict()
    for name, own in model.state_dict().items():
        if own.is_floating_point():
            own.lerp_(others[name], 0.5)
    return model
