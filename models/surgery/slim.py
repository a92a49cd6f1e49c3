"""Build a subnetwork: a smaller plain network, or the dense one with the removed channels unread."""

from collections.abc import Collection, Mapping

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from ..structure import Structure
from ..subnetwork import Subnetwork
from ..tracing.atoms import IntArray
from ..tracing.modules import named_tensors, own_tensors
from .copies import copied
from .held_widths import rewrite_widths
from .places import kept_places
from .pointers import places_pointed_to, renumbered

ALMOST_NOTHING = 1e-12  # of a weight that forward divides by its norm
Convolution = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


def slim(net: Structure, subnetwork: Subnetwork) -> nn.Module:
    """A fresh plain module with only the kept channels, in their order; the dense model is untouched.

    It inherits weights, batch norm and running statistics, and needs nothing of this library to run.
    """
    net.check(subnetwork)
    kept, own, indices = kept_places(net, subnetwork), own_tensors(net.model), dict[int, Tensor]()
    narrowed = {id(old): _selected(old, kept.get(name, {}), indices) for name, old in own.buffers.items()}
    for name, places in places_pointed_to(net, kept):
        old = own.buffers[name]
        narrowed[id(old)] = renumbered(narrowed[id(old)], np.arange(len(net.trace.pointers[name])), places)
    for name, old in own.parameters.items():
        narrowed[id(old)] = nn.Parameter(_selected(old, kept.get(name, {}), indices), old.requires_grad)
    model = copied(net.model, narrowed)  # wide tensors are never copied
    rewrite_widths(net, subnetwork, kept, model)
    _describe(model)
    return model


def masked(net: Structure, subnetwork: Subnetwork, *, spared: Collection[str] = ()) -> nn.Module:
    """The dense network with the weights that read removed channels set to zero; ``slim`` must equal it.

    Where forward computes weights or reduces over channels by itself, it must equal ``reference`` and this comes near.
    ``spared``: names of tensors that stay as they are.
    """
    net.check(subnetwork)
    model = copied(net.model, {})
    tensors = named_tensors(model)
    with torch.no_grad():
        for group, channels in zip(net.groups, subnetwork.kept, strict=True):
            removed = np.setdiff1d(np.arange(group.width), channels)
            for member in group.members:
                if member.reads and member.tensor not in spared:
                    tensor = tensors[member.tensor]
                    places = torch.from_numpy(member.where(removed)).to(tensor.device)
                    share = ALMOST_NOTHING if member.tensor in net.trace.factors else 0
                    tensor.index_copy_(member.dim, places, tensor.index_select(member.dim, places) * share)
    return model


@torch.no_grad()
def narrow(
    net: Structure,
    model: nn.Module,
    now: Subnetwork,
    then: Subnetwork,
    *,
    optimizer: torch.optim.Optimizer | None = None,
) -> None:
    """Narrow a slimmed network further, in place: from the channels of ``now`` to those of ``then``, some of them.

    Its parameters stay the same objects, so an optimiser continues with them; its state of each, such as momentum, is
    narrowed alike. Gradients are dropped, and no graph of an earlier pass may be left.
    """
    before, after, tensors = kept_places(net, now), kept_places(net, then), named_tensors(model)
    pointed = dict(places_pointed_to(net, before))
    for name, dims in after.items():
        tensor = tensors[name]
        states = optimizer.state.get(tensor, {}) if optimizer else {}
        along = {key: state for key, state in states.items() if state is not None and state.shape == tensor.shape}
        for dim, places in dims.items():
            at = torch.from_numpy(np.searchsorted(before[name][dim], places)).to(tensor.device)
            tensor.data = tensor.data.index_select(dim, at)
            along = {key: state.index_select(dim, at) for key, state in along.items()}
        tensor.grad = None
        states.update(along)
    for name, places in places_pointed_to(net, after):
        tensors[name].copy_(renumbered(tensors[name], pointed[name], places))
    rewrite_widths(net, then, after, model)
    _describe(model)


def _selected(tensor: Tensor, dims: Mapping[int, IntArray], indices: dict[int, Tensor]) -> Tensor:
    """The part of a tensor that stays, no view of it; ``indices``: places as tensors, by the id of their array."""
    selected = tensor.detach()
    for places in dims.values():
        if id(places) not in indices or indices[id(places)].device != tensor.device:
            indices[id(places)] = torch.from_numpy(places).to(tensor.device)
    if dims.keys() == {0, 1} and selected[0, 0].numel() > 1:  # kernels, each in one piece
        rows = indices[id(dims[0])][:, None] * selected.shape[1] + indices[id(dims[1])]
        return selected.flatten(0, 1).index_select(0, rows.flatten()).reshape(*rows.shape, *selected.shape[2:])
    for dim, places in dims.items():
        selected = _along(selected, dim, indices[id(places)])
    return selected if dims else selected.clone()


def _along(tensor: Tensor, dim: int, at: Tensor) -> Tensor:
    """The result of ``index_select``, faster along the innermost dimension."""
    if dim == 0 or tensor.shape[dim + 1 :].numel() > 1:
        return tensor.index_select(dim, at)
    shape = [*tensor.shape[:dim], len(at), *tensor.shape[dim + 1 :]]
    return tensor.flatten(dim).gather(dim, at.expand(*shape[: dim + 1])).reshape(shape)


def _describe(model: nn.Module) -> None:
    """Set the attributes of all modules to the sizes of their tensors."""
    for module in model.modules():
        if module._parameters or module._buffers or is_parametrized(module):
            _describe_one(module)


def _describe_one(module: nn.Module) -> None:
    if isinstance(module, Convolution):
        made, read = (1, 0) if module.transposed else (0, 1)
        if module.groups > 1 and module.groups == module.in_channels:
            rows, dense = module.weight.shape[0], module.in_channels if module.transposed else module.out_channels
            module.groups = rows * module.groups // dense
        module.out_channels = module.weight.shape[made] * (module.groups if module.transposed else 1)
        module.in_channels = module.weight.shape[read] * (1 if module.transposed else module.groups)
    elif isinstance(module, nn.Linear):
        module.out_features, module.in_features = module.weight.shape
    elif isinstance(module, nn.modules.batchnorm._NormBase):
        known = [t for t in (module.weight, module.running_mean) if t is not None]
        module.num_features = len(known[0]) if known else module.num_features
    elif isinstance(module, nn.GroupNorm) and module.affine:
        if module.num_groups == module.num_channels:
            module.num_groups = len(module.weight)
        module.num_channels = len(module.weight)
    elif isinstance(module, nn.LayerNorm) and module.elementwise_affine:
        module.normalized_shape = tuple(module.weight.shape)
    elif isinstance(module, nn.PReLU):
        module.num_parameters = len(module.weight)
    elif isinstance(module, (nn.RNNBase, nn.RNNCellBase)):
        _describe_recurrent(module)
    elif isinstance(module, nn.MultiheadAttention):
        _describe_attention(module)


def _describe_recurrent(module: nn.RNNBase | nn.RNNCellBase) -> None:
    weights = [each for name, each in module.named_parameters() if name.startswith("weight")]
    module.input_size = weights[0].shape[1]
    if getattr(module, "proj_size", 0):
        module.proj_size = weights[1].shape[1]
        module.hidden_size = weights[2].shape[1]
    else:
        module.hidden_size = weights[1].shape[1]


def _describe_attention(module: nn.MultiheadAttention) -> None:
    query = module.in_proj_weight if module.in_proj_weight is not None else module.q_proj_weight
    module.embed_dim = module.kdim = module.vdim = query.shape[1]
    if module.in_proj_weight is None:
        module.kdim, module.vdim = module.k_proj_weight.shape[1], module.v_proj_weight.shape[1]
    module.head_dim = module.embed_dim // module.num_heads
