"""What the modules of a network return: which channels of it stay in a subnetwork, and which of it are feature maps."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
from torch import Tensor, nn

from .structure import Structure
from .subnetwork import Subnetwork
from .tracing.atoms import IntArray
from .tracing.components import connected_components
from .tracing.trace import output_labels

HALVINGS = 2  # sizes of feature maps up to which a module is one block, whose insides are not looked at


@dataclass(frozen=True, eq=False)
class FeatureMap:
    """The output of a module with channels and pixels: its name, (height, width), and an atom of each channel.

    Shape: atoms (C,)
    """

    module: str
    size: tuple[int, ...]
    atoms: IntArray


def feature_maps(net: Structure) -> dict[str, FeatureMap]:
    """The feature maps that modules return, by name, in the order of the forward pass; those of one pixel left out.

    A module that is called several times, returns something else than one tensor, or whose channels do not lie along
    the second dimension has none.
    """
    found = {}
    for name, output in output_labels(net.model, *net.examples, layout=net.layout).items():
        size, labels = output.shape[2:], output.labels
        along_channels = len(labels) == 1 and labels[0].size == labels[0].shape[1] == output.shape[1]
        if name and np.prod(size) > 1 and along_channels:
            found[name] = FeatureMap(name, size, labels[0].reshape(-1))
    return found


def stage_ends(maps: Mapping[str, FeatureMap]) -> list[FeatureMap]:
    """The last feature map of each size on the way through the network.

    Looked at are the children of the network; one that makes maps of more than ``HALVINGS`` sizes inside is replaced by
    its own children. Of a ResNet these are its stages.

    >>> import torch, secateur as sc
    >>> net = sc.Supernet.of(sc.constructor("resnet20", classes=10)(), torch.zeros(1, 3, 32, 32))
    >>> [(each.module, each.size) for each in stage_ends(feature_maps(net))]
    [('layer1', (32, 32)), ('layer2', (16, 16)), ('layer3', (8, 8))]
    """
    chain = list(_blocks(maps, ""))
    return [one for one, other in pairwise([*chain, None]) if one and (other is None or one.size != other.size)]


def block_ends(net: Structure, maps: Mapping[str, FeatureMap]) -> list[FeatureMap]:
    """The feature maps of all blocks: the outermost modules with children that stand in an ``nn.Sequential``.

    Those of ``stage_ends`` where there are no such blocks.

    >>> import torch, secateur as sc
    >>> net = sc.Supernet.of(sc.constructor("resnet20", classes=10)(), torch.zeros(1, 3, 32, 32))
    >>> [each.module for each in block_ends(net, feature_maps(net))][:4]
    ['layer1.0', 'layer1.1', 'layer1.2', 'layer2.0']
    """
    modules = dict(net.model.named_modules())

    def is_block(name: str) -> bool:
        inside = isinstance(modules[name.rpartition(".")[0]], nn.Sequential)
        return inside and not isinstance(modules[name], nn.Sequential) and any(modules[name].children())

    blocks = {name for name in maps if is_block(name)}
    outermost = [each for name, each in maps.items() if name in blocks and not blocks & set(_around(name))]
    return outermost or stage_ends(maps)


def kept_channels(net: Structure, subnetwork: Subnetwork, maps: Sequence[FeatureMap]) -> dict[str, IntArray]:
    """Which of the dense network's channels each map of the slimmed network has, in their order, by module.

    Channel c of the slimmed network's map is channel K[c] of the dense network's. Shape: (kept,) each
    """
    root = connected_components(net.trace.count, net.trace.ties)
    removed = np.zeros(net.trace.count, np.bool_)
    for group, channels in zip(net.groups, subnetwork.kept, strict=True):
        gone = np.setdiff1d(np.arange(group.width), channels)
        removed[root[group.atoms(net.trace.tensors)[gone]]] = True
    return {each.module: np.flatnonzero(~removed[root[each.atoms]]) for each in maps}


@contextmanager
def outputs_of(model: nn.Module, modules: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """What these modules return in a forward pass inside, by name, with its graph."""
    seen: dict[str, Tensor] = {}
    hooks = [model.get_submodule(name).register_forward_hook(partial(_keep, seen, name)) for name in modules]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def _keep(seen: dict[str, Tensor], name: str, _module: nn.Module, _inputs: Any, output: Tensor) -> None:
    seen[name] = output


def _blocks(maps: Mapping[str, FeatureMap], inside: str) -> Iterator[FeatureMap]:
    """The maps of the children of a module, in order, or of their children in turn."""
    names = [name for name in maps if name.startswith(inside)]
    for child in dict.fromkeys(inside + name[len(inside) :].partition(".")[0] for name in names):
        sizes = {maps[name].size for name in names if name.startswith(f"{child}.")}
        if child in maps and len(sizes) <= HALVINGS:
            yield maps[child]
        else:
            yield from _blocks(maps, f"{child}.")


def _around(module: str) -> Iterator[str]:
    """The names of the modules that a module lies in."""
    while module := module.rpartition(".")[0]:
        yield module
