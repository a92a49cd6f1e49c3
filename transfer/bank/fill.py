"""Filling the memory bank: every teacher runs once over the training images, and goes on where it was stopped."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeAlias

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from ...models.compensation.gram import Gram
from ...models.compensation.ridge import refit
from ...models.evaluate import BATCH, device_of, embed, recalibrate
from ...models.split import Split
from ...models.subnetwork import Subnetwork
from ...models.supernet import Supernet
from ...models.surgery.slim import kept_places
from ...models.tracing.trace import evaluating
from .bank import MANIFEST, TEACHERS, Teacher, read_bank_manifest, read_teacher, teacher_file
from .top_k import top_k_logits

Rows: TypeAlias = dict[str, Tensor]  # by name, what is stored of some images (B, ...)
UNWRITTEN = {torch.float16: float("nan"), torch.int16: -1}
DTYPES = {"F16": torch.float16, "I16": torch.int16}  # as safetensors calls them


@dataclass(frozen=True)
class BankConfig:
    """How much a bank holds: ``views`` of each image beside it as it is; of more than ``many`` classes ``kept``.

    ``teachers``: at most, the best of those that a bank may have. They run in ``bfloat16`` where the student will.
    """

    views: int = 0
    many: int = 256
    kept: int = 32
    bfloat16: bool = False
    teachers: int = TEACHERS

    def bytes(self, images: int, classes: int, width: int, teachers: int) -> int:
        """The size of a bank of embeddings of ``width``. Logits and embeddings have 2 bytes a number, classes too."""
        some = classes > self.many
        logits = teachers * (self.kept + 1) + self.kept if some else teachers * classes
        return 2 * images * (logits * (1 + self.views) + width * (1 if some else teachers))


def fill_bank(
    net: Supernet,
    teachers: Sequence[Teacher],
    grams: Mapping[str, Gram],
    split: Split,
    folder: Path,
    data: str,
    extent: BankConfig = BankConfig(),  # frozen
    plan: str = MANIFEST,
) -> Iterator[int]:
    """Fill the bank in ``folder``, one file a teacher and view; yields images done, over all teachers and views.

    The first teacher is the dense network, which speaks as it is. The others are compensated by ``grams``, as they were
    when the search scored them, and recalibrated.
    A file that is there is not made again, so one folder serves several plans. ``data`` is the data set's fingerprint.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / plan).exists():
        read_bank_manifest(folder / plan, data)  # the teachers that are there must be of the same data
    listed = [{"kept": t.subnetwork.kept, "loss": t.loss, "macs": t.macs} for t in teachers]
    about = {"format": "secateur/bank/1", "data": data, "teachers": listed}
    _write_json(folder / plan, about)
    done = 0
    for teacher in teachers:
        files = {view: folder / teacher_file(teacher, view) for view in (None, *range(extent.views))}
        missing = {view: path for view, path in files.items() if not path.exists()}
        done += len(split) * (len(files) - len(missing))
        if not missing:
            yield done
            continue
        model = net.model
        if teacher.subnetwork != net.dense:
            model = refit(net, teacher.subnetwork, grams)
            recalibrate(model, split)
        for view, path in missing.items():
            first = {} if teacher is teachers[0] else read_teacher(folder / teacher_file(teachers[0], view), len(split))
            hear = partial(_heard, net, teacher.subnetwork, model, extent.bfloat16)
            say = partial(_rows, hear, first.get("classes"), extent, view)
            for count in _filled(say, split, view, path):
                yield done + count
            done += len(split)


def _heard(
    net: Supernet, subnetwork: Subnetwork, model: nn.Module, bfloat16: bool, images: Tensor
) -> tuple[Tensor, Tensor]:
    """A teacher's logits and its embeddings at the dense network's width. Shape: → (B, C), (B, D)"""
    device = device_of(model)
    with evaluating(model), torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
        logits, embeddings = (x.float().cpu() for x in embed(model, net.head, images.to(device)))
    kept = kept_places(net, subnetwork).get(f"{net.head}.weight", {}).get(1)
    if kept is None:
        return logits, embeddings
    wide = torch.zeros(len(embeddings), net.shapes[f"{net.head}.weight"][1])
    return logits, wide.index_copy(1, torch.from_numpy(kept), embeddings)


def _rows(
    hear: Callable[[Tensor], tuple[Tensor, Tensor]],
    classes: Tensor | None,
    extent: BankConfig,
    view: int | None,
    images: Tensor,
    indices: Tensor,
) -> Rows:
    """What is stored of a teacher and a batch; ``classes`` are those that the first teacher found likely, if it did."""
    logits, embeddings = hear(images)
    rows, some = dict[str, Tensor](), logits.shape[1] > extent.many
    if view is None and not (some and classes is not None):
        rows["embeddings"] = embeddings.half()
    if some:
        likely = logits.topk(extent.kept).indices if classes is None else classes[indices].long()
        logits = top_k_logits(logits, likely)
        if classes is None:
            rows["classes"] = likely.short()
    return {**rows, "logits": logits.half()}  # last: where there are logits, there is the rest


def _filled(say: Callable[[Tensor, Tensor], Rows], split: Split, view: int | None, path: Path) -> Iterator[int]:
    """Write what is said of every image, batch by batch; a batch that is written already is not run again."""
    begun, done = path.with_suffix(".partial"), 0
    into = mapped(begun) if begun.exists() else {}
    for images, _, indices in split.batches(BATCH, view=view):
        if not into or into["logits"][indices].isnan().any():
            rows = say(images, indices)
            into = into or _begun(begun, rows, len(split))
            for name, values in rows.items():
                into[name][indices] = values
        done += len(indices)
        yield done
    begun.replace(path)


def _begun(path: Path, rows: Rows, images: int) -> Rows:
    """A file for all images, of which nothing is written yet, mapped."""
    blank = {n: torch.full((images, *x.shape[1:]), UNWRITTEN[x.dtype], dtype=x.dtype) for n, x in rows.items()}
    save_file(blank, path.with_suffix(".blank"))
    path.with_suffix(".blank").replace(path)
    return mapped(path)


def mapped(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file; what is written to them is written to the file."""
    raw = torch.from_file(str(path), shared=True, size=path.stat().st_size, dtype=torch.uint8)
    start = 8 + int.from_bytes(raw[:8].numpy().tobytes(), "little")
    found = {}
    for name, about in json.loads(raw[8:start].numpy().tobytes()).items():
        begin, end = about["data_offsets"]
        found[name] = raw[start + begin : start + end].view(DTYPES[about["dtype"]]).reshape(about["shape"])
    return found


def _write_json(path: Path, value: object) -> None:
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(value))
    partial.replace(path)
