"""Trained weights, loaded from a file into their network."""

from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor, nn

from ...errors import SecateurError, in_a_line
from ...signatures import checked
from ..seal import require_intact
from .state_dict import StateDict, state_dict_in
from .torch_file import class_of, read_torch_file

# What torchvision's inception_v3 and googlenet call the heads they need in training from scratch only.
AUXILIARY = ("AuxLogits.", "aux1.", "aux2.")
# Beside a module's weights: batch norm's counter of batches, what thop counted, how many an AveragedModel averages.
COUNTERS = {"num_batches_tracked", "total_ops", "total_params", "n_averaged"}


@checked
def load_weights(model: nn.Module, path: Path | str) -> None:
    """Fill ``model`` with the tensors of a .safetensors file or of a PyTorch checkpoint; run no code in it.

    A checkpoint may hold its state dict under any key and with any prefix, beside anything else; ``FILE:KEY`` names
    the key where several fit, or a moving average. Batch norm's batch counters may be missing. Tensors of another
    floating-point type are converted. Nothing is written to ``model`` unless everything fits and is finite; else
    SecateurError.

    Args:
        model: The network, changed in place.
        path: A .safetensors file, or a checkpoint that ``torch.save`` wrote, or either with a key: ``FILE:KEY``.

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
    own = model.state_dict()
    found = _state_dict(path, {name for name in own if not _is_counter(name)})
    given = _fitting(found.values, own)
    _require_same_tensors(given, own, path, found.place)
    _require_finite(given, path)
    # Into the network's own, to keep the counters that were not given and torch's version marks.
    own.update(given)
    model.load_state_dict(own)


def weights_file(path: Path | str) -> Path:
    """The file of ``FILE`` or ``FILE:KEY``. Raises SecateurError where there is none."""
    return _file_and_key(path)[0]


def require_readable(path: Path | str) -> None:
    """Raise SecateurError where a file of weights is not there, or of no form that ``load_weights`` reads."""
    _state_dict(path, set())


def _file_and_key(path: Path | str) -> tuple[Path, str | None]:
    if Path(path).is_file():
        return Path(path), None
    file, _, key = str(path).rpartition(":")
    if not file or not Path(file).is_file():
        raise SecateurError(f"no weights file {path}; pass a .safetensors file or a PyTorch state dict")
    return Path(file), key


def _state_dict(path: Path | str, names: set[str]) -> StateDict:
    """What the file holds for a network with tensors of these names, or the closest to it."""
    file, key = _file_and_key(path)
    stored = _safetensors(file) if file.suffix == ".safetensors" else read_torch_file(file)
    try:
        found = state_dict_in(stored, names, key)
    except SecateurError as error:
        raise SecateurError(f"weights {path}: {error}") from error
    if found is None:
        raise SecateurError(_without_tensors(stored, file))
    return found


def _safetensors(path: Path) -> Mapping[str, object]:
    require_intact(path, "restore it from a copy or make it again")
    try:
        return load_file(path)
    except Exception as error:
        what = in_a_line(error)
        raise SecateurError(f"weights {path} can't be read as safetensors ({what}); save them again") from error


def _without_tensors(stored: object, path: Path) -> str:
    """What a file holds instead of tensors by name, and the line that takes the tensors out of a pickled network."""
    places: dict[str, object] = {"": stored}
    if isinstance(stored, Mapping):
        places |= {f"[{key!r}]": value for key, value in stored.items()}
    pickled = {place: name for place, value in places.items() if (name := class_of(value))}
    place, name = next(iter(pickled.items()), ("", type(stored).__name__))
    way = f"torch.save(torch.load({str(path)!r}, weights_only=False){place}.state_dict(), 'new.pt')"
    fix = f", or where you trust the file: {way}" if pickled else ""
    return (
        f"weights {path} hold a {name}, not tensors by name; "
        f"re-save them as a plain state dict: torch.save(model.state_dict(), path){fix}"
    )


def _require_same_tensors(given: Mapping[str, object], own: Mapping[str, object], path: object, place: str) -> None:
    missing = [name for name in own if name not in given and not _is_counter(name)]
    unknown = [name for name in given if name not in own]
    misshapen = [name for name in given if name in own and _shape(given[name]) != _shape(own[name])]
    if not missing and not unknown and not misshapen:
        return
    shapes = [f"{n} is {_shape(given[n])}, the network has {_shape(own[n])}" for n in misshapen]
    what = f"weights {path}{f' (under {place!r})' if place else ''}"
    if not missing and not unknown and (classes := _classes([(given[n], own[n]) for n in misshapen])):
        there, here = classes
        raise SecateurError(
            f"{what} are for {there} classes, the network has {here}{_first(shapes)}; pass weights of as many classes"
        )
    raise SecateurError(
        f"{what} are not for this network: {len(missing)} tensors missing{_first(missing)}, "
        f"{len(unknown)} unknown{_first(unknown)}, {len(misshapen)} of another shape{_first(shapes)}; "
        "pass weights of the same architecture and class count"
    )


def _classes(pairs: list[tuple[object, object]]) -> tuple[int, int] | None:
    """Outputs of the last layer in the file and in the network, if that is all in which these tensors differ."""
    shapes = [(a.shape, b.shape) for a, b in pairs if isinstance(a, Tensor) and isinstance(b, Tensor)]
    if len(shapes) < len(pairs) or not all(len(a) and len(b) and a[1:] == b[1:] for a, b in shapes):
        return None
    counts = {(a[0], b[0]) for a, b in shapes}
    return counts.pop() if len(counts) == 1 else None


def _require_finite(given: Mapping[str, object], path: object) -> None:
    lost = [n for n, value in given.items() if isinstance(value, Tensor) and not bool(value.isfinite().all())]
    if lost:
        raise SecateurError(
            f"weights {path} hold numbers that are not finite in {len(lost)} tensors{_first(lost)}; "
            "the training diverged, pass others"
        )


def _fitting(given: Mapping[str, object], own: Mapping[str, object]) -> dict[str, object]:
    """Without what may be there or not: counters, heads that the constructor leaves out, and what is no tensor."""
    return {n: v for n, v in given.items() if n in own or (isinstance(v, Tensor) and not _may_be_left(n))}


def _may_be_left(name: str) -> bool:
    return _is_counter(name) or name.startswith(AUXILIARY)


def _is_counter(name: str) -> bool:
    return name.rpartition(".")[2] in COUNTERS


def _shape(value: object) -> str:
    if not isinstance(value, Tensor):
        return "no tensor"
    return "x".join(map(str, value.shape)) or "a single number"


def _first(names: list[str]) -> str:
    if not names:
        return ""
    return f" (first: {names[0]})" if len(names) > 1 else f" ({names[0]})"
