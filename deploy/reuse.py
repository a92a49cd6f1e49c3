"""Architectures that were found before, built again."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import SecateurError
from ..models.costs.budget import Budget
from ..models.costs.widths import fit_to_budget
from ..models.files.architecture import build, save, subnetwork_of
from ..models.files.library import architectures, keep_shares, most_similar
from ..models.files.networks import network_called, require_network
from ..models.files.schema import Architecture, fingerprint, read_architecture
from ..models.subnetwork import Subnetwork, top_channels
from ..models.supernet import Supernet
from ..models.tracing.atoms import IntArray
from ..models.zoo.weights import load_weights
from ..rundir.front import ReusedCosts
from ..rundir.outcomes import Costs
from ..search.importance.magnitude import l1
from .origin import Origin, network_in

KEPT = {"architecture.json", "weights.safetensors"}  # what a reused architecture is kept as


@dataclass(frozen=True, eq=False)
class Reused:
    """A found architecture on a network of the user's: ``exact`` where it is the very network it was found on."""

    net: Supernet
    subnetwork: Subnetwork
    record: Architecture
    exact: bool

    @property
    def summary(self) -> ReusedCosts:
        """Costs, where the channels come from, and every width."""
        net, kept = self.net, self.subnetwork
        return ReusedCosts(
            macs=net.macs(kept),
            parameters=net.parameters(kept),
            dense=Costs(macs=net.macs(net.dense), parameters=net.parameters(net.dense)),
            exact=self.exact,
            found_on=network_in(self.record) or self.record.model,
            widths=dict(zip((group.name for group in net.groups), kept.widths.tolist(), strict=True)),
        )

    def build(self, **about: object) -> nn.Module:
        """The slim network, with the weights of ``net``; it carries its architecture."""
        return build(self.net, self.subnetwork, **about)


def reused(source: Path, model: nn.Module, example: Tensor, budget: str | None = None) -> Reused:
    """The architecture in ``source`` that suits ``model`` best at ``budget``, put onto it.

    ``source`` is an architecture, a run (without a budget, its winner) or a folder of many (the most similar is taken).
    On the network that it was found on the very channels stay. On another the shares over depth are fitted to the
    budget, by default to the share of MACs that the architecture keeps, and the filters of the largest L1 norm stay.
    """
    net, records = Supernet.of(model, example), architectures(source)
    if budget is None and len(records) > 1 and not (source / "front.json").exists():
        raise SecateurError(f"{source} holds {len(records)} architectures; pass --flops to choose one")
    limit = None if budget is None else net.budget(budget)
    record = records[0] if limit is None else most_similar(records, net, limit, 1)[0]
    if record.fingerprint == fingerprint(net) and _holds(net, limit, (kept := subnetwork_of(record, net)).widths):
        return Reused(net, kept, record, True)
    return Reused(net, top_channels(l1(net), _widths(record, net, limit)), record, False)


def reuse(
    source: Path,
    model: str | None,
    out: Path,
    *,
    budget: str | None = None,
    weights: Path | None = None,
    classes: int | None = None,
    shape: tuple[int, int, int] | None = None,
    seed: int = 0,
) -> Reused:
    """Build what ``reused`` finds for a named network and keep it in ``out``: with inherited ``weights``, or fresh.

    The network, its classes and its input are those of the source where they are not passed. Fresh weights are the
    network's own initialisation, for training from scratch on any data.
    """
    _require_free(out)
    origin = Origin.of(source)
    name = model or origin.network
    require_network(name)
    names = origin.classes_as(classes)
    torch.manual_seed(seed)
    dense = network_called(name, len(names))()
    if weights:
        load_weights(dense, weights)
    found = reused(source, dense.eval(), torch.zeros(1, *(shape or origin.shape)), budget)
    inherited = str(weights) if weights else "fresh"
    provenance = {"model": name, "reused": found.record.fingerprint, "weights": inherited}
    about: dict[str, Any] = {"normalisation": origin.normalisation} if origin.normalisation else {}
    save(found.build(provenance=provenance, classes=names, **about), out)
    return found


def _require_free(out: Path) -> None:
    """Refuse a place where anything but an architecture that was reused before is kept."""
    there = {file.name for file in out.iterdir()} if out.is_dir() else set()
    ours = not there or (there == KEPT and "reused" in (read_architecture(out / "architecture.json").provenance or {}))
    if not ours:
        raise SecateurError(f"{out} already holds something else; pass a different --out")


def _widths(record: Architecture, net: Supernet, limit: Budget | None) -> IntArray:
    """Those of the architecture where the groups are the same, as with other classes; else fitted. Shape: → (G,)"""
    groups, costs = record.groups, record.costs
    if {name: group.dense for name, group in groups.items()} == {group.name: group.width for group in net.groups}:
        kept = np.array([groups[group.name].width for group in net.groups])
        if _holds(net, limit, kept):
            return kept
    limit = limit or net.budget(f"{100 * costs.kept.macs / max(costs.dense.macs, 1):.2f}%")
    return fit_to_budget(net.space, limit, keep_shares(record, net) * net.space.dense)


def _holds(net: Supernet, limit: Budget | None, widths: IntArray) -> bool:
    return limit is None or bool(limit.holds(net.space.costs, widths))
