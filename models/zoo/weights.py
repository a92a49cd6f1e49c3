"""Trained weights, loaded from a file into their network."""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from ...errors import SecateurError, in_a_line

# What torchvision's inception_v3 and googlenet call the heads they need in training from scratch only.
AUXILIARY = ("AuxLogits.", "aux1.", "aux2.")


def load_weights(model: nn.Module, path: Path | str) -> None:
    """Fill ``model`` with the tensors of a .safetensors file or of a PyTorch checkpoint; run no code in it.

    A checkpoint may hold its state dict under ``state_dict`` or ``model``, with the prefixes of
    DataParallel and torch.compile. Batch norm's batch counters may be missing. Nothing is written to
    ``model`` unless everything fits and is finite; else SecateurError.

    Args:
        model: The network, changed in place.
        path: A .safetensors file, or a checkpoint of tensors that ``torch.save`` wrote.

    >>> import tempfile, torch, secateur as sc
    >>> from safetensors.torch import save_file
    >>> make = sc.constructor("resnet20", classes=10)
    >>> trained, model = make(), make()
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_file(trained.state_dict(), f"{folder}/weights.safetensors")
    ...     sc.load_weights(model, f"{folder}/weights.safetensors")
    >>> torch.equal(model.conv1.weight, trained.conv1.weight)
    True
    """
    path = Path(path)
    own = model.state_dict()
    given = _fitting(_unprefixed(_read(path), own), own)
    missing = [name for name in own if name not in given and not _is_counter(name)]
    unknown = [name for name in given if name not in own]
    misshapen = [name for name in given if name in own and _shape(given[name]) != _shape(own[name])]
    if missing or unknown or misshapen:
        shapes = [f"{n} is {_shape(given[n])}, the network has {_shape(own[n])}" for n in misshapen]
        raise SecateurError(
            f"weights {path} are not for this network: {len(missing)} tensors missing{_first(missing)}, "
            f"{len(unknown)} unknown{_first(unknown)}, {len(misshapen)} of another shape{_first(shapes)}; "
            "pass weights of the same architecture and class count"
        )
    lost = [n for n, value in given.items() if isinstance(value, Tensor) and not bool(value.isfinite().all())]
    if lost:
        raise SecateurError(
            f"weights {path} hold numbers that are not finite in {len(lost)} tensors{_first(lost)}; "
            "the training diverged, pass others"
        )
    # Into the network's own, to keep the counters that were not given and torch's version marks.
    own.update(given)
    model.load_state_dict(own)


def require_file(path: Path | str) -> None:
    """Raise SecateurError where there is no file."""
    if not Path(path).is_file():
        raise SecateurError(f"no weights file {path}; pass a .safetensors file or a PyTorch state dict")


def _read(path: Path) -> Mapping[str, object]:
    require_file(path)
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except Exception as error:
            what = in_a_line(error)
            raise SecateurError(f"weights {path} can't be read as safetensors ({what}); save them again") from error
    try:
        stored: object = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise SecateurError(
            f"weights {path} hold more than tensors, or are no PyTorch file ({type(error).__name__}); "
            "re-save them as a plain state dict: torch.save(model.state_dict(), path)"
        ) from error
    return _state_dict(stored, path)


def _state_dict(stored: object, path: Path) -> Mapping[str, object]:
    if isinstance(stored, Mapping):
        for key in ("state_dict", "model"):
            if isinstance(stored.get(key), Mapping):
                stored = stored[key]
                break
    if not isinstance(stored, Mapping) or not all(isinstance(name, str) for name in stored):
        raise SecateurError(
            f"weights {path} hold a {type(stored).__name__}, not tensors by name; "
            "re-save them as a plain state dict: torch.save(model.state_dict(), path)"
        )
    return stored


def _unprefixed(given: Mapping[str, object], own: Mapping[str, object]) -> Mapping[str, object]:
    # torch.compile goes around DataParallel, or inside.
    for prefix in ("_orig_mod.", "module.", "_orig_mod."):
        foreign = not any(name.startswith(prefix) for name in own)
        if foreign and all(name.startswith(prefix) for name in given):
            given = {name.removeprefix(prefix): tensor for name, tensor in given.items()}
    return given


def _fitting(given: Mapping[str, object], own: Mapping[str, object]) -> dict[str, object]:
    # Without what may be there or not: counters, and heads that the constructor leaves out.
    return {n: v for n, v in given.items() if n in own or not (_is_counter(n) or n.startswith(AUXILIARY))}


def _is_counter(name: str) -> bool:
    return name.rpartition(".")[2] == "num_batches_tracked"


def _shape(value: object) -> str:
    if not isinstance(value, Tensor):
        return "no tensor"
    return "x".join(map(str, value.shape)) or "a single number"


def _first(names: list[str]) -> str:
    if not names:
        return ""
    return f" (first: {names[0]})" if len(names) > 1 else f" ({names[0]})"
