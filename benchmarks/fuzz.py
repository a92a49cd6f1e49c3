"""Files and texts with random damages, each read by the function that reads it in a run.

Of a file with a digest nothing but what was written may be read. What comes from elsewhere has none: an architecture,
tables, weights, options. There any value may come out that the text can mean, or an error of one line.
"""

import io
import json
import random
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from kills import Outcome, Unit
from nasty import NASTY
from PIL import Image
from safetensors.torch import save_file
from torch import nn

import secateur as sc
from secateur.__main__ import main
from secateur.data.pictures import open_picture
from secateur.digests import unsealed
from secateur.files import append_json, read_json, read_json_lines, write_json
from secateur.models.files.library import architectures
from secateur.models.files.tensors import read_tensors, write_tensors
from secateur.models.timing.latency import Latency, measure
from secateur.models.zoo.weights import load_weights
from secateur.reports.pareto import _published
from secateur.rundir.manifest import Manifest, config_of, read_manifest
from secateur.rundir.options import parse_shape
from secateur.search.records import Interim
from secateur.transfer.bank.manifest import BankLocation, BankManifest, Teacher

Mutation = Callable[[bytes, random.Random], bytes]
LETTERS = "0123456789.%eMGk²x-_ "


def network() -> nn.Module:
    """A small one, the same each time."""
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 8, 3, padding=1), nn.ReLU()
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))


def flipped(content: bytes, rng: random.Random) -> bytes:
    """One bit."""
    place = rng.randrange(len(content))
    return content[:place] + bytes([content[place] ^ 1 << rng.randrange(8)]) + content[place + 1 :]


def zeroed(content: bytes, rng: random.Random) -> bytes:
    """A stretch of zeros."""
    start, length = rng.randrange(len(content)), rng.randrange(1, 64)
    return content[:start] + bytes(len(content[start : start + length])) + content[start + length :]


def overwritten(content: bytes, rng: random.Random) -> bytes:
    """A stretch of other bytes."""
    start, length = rng.randrange(len(content)), rng.randrange(1, 16)
    return content[:start] + rng.randbytes(len(content[start : start + length])) + content[start + length :]


def cut(content: bytes, rng: random.Random) -> bytes:
    """The end is lost, but a file of lines keeps none whole of those it loses."""
    return content[: rng.randrange(len(content))]


def inserted(content: bytes, rng: random.Random) -> bytes:
    """One byte more."""
    place = rng.randrange(len(content))
    return content[:place] + rng.randbytes(1) + content[place:]


def doubled(content: bytes, rng: random.Random) -> bytes:
    """A stretch twice."""
    start, length = rng.randrange(len(content)), rng.randrange(1, 64)
    return content[: start + length] + content[start:]


def garbage(content: bytes, rng: random.Random) -> bytes:
    """Nothing of it."""
    return rng.randbytes(len(content))


MUTATIONS: tuple[Mutation, ...] = (flipped, zeroed, overwritten, cut, inserted, doubled, garbage)


def units(inputs: int, seed: int, folder: Path) -> Iterator[Unit]:
    """Every reader, with its share of the inputs."""
    (folder / "fuzz").mkdir()
    readers = [*sealed(folder / "fuzz"), *foreign(folder / "fuzz"), *texts()]
    for number, reader in enumerate(readers):
        rng = random.Random(f"{seed} {number}")
        yield reader.name, partial(fuzzed, reader, -(-inputs // len(readers)), rng)


@dataclass(frozen=True)
class Reader:
    """What reads a file, or a text where there is no ``path``; of one with a ``digest`` only one value may come out."""

    name: str
    read: Callable[[], object] | Callable[[str], object]
    path: Path | None = None
    digest: bool = False


def fuzzed(reader: Reader, inputs: int, rng: random.Random) -> Outcome:
    """How often each outcome came of random damages; the file is whole again afterwards."""
    whole = reader.path.read_bytes() if reader.path else b""
    expected, found, notes = read(reader, whole), Counter[str](), set[str]()
    for number in range(inputs):
        changed = MUTATIONS[number % len(MUTATIONS)](whole, rng) if reader.path else text(rng).encode()
        outcome, note = outcome_of(reader, changed, expected)
        found[outcome] += 1
        notes |= {note} - {""}
    if reader.path:
        reader.path.write_bytes(whole)
    return {
        "fault": "fuzzed, with a digest" if reader.digest else "fuzzed, from elsewhere",
        "outcomes": dict(found),
        "notes": sorted(notes)[:5],
    }


def read(reader: Reader, content: bytes) -> object:
    """What the reader makes of this content."""
    if reader.path is None:
        return reader.read(content.decode()) if content else None  # type: ignore[call-arg]
    reader.path.write_bytes(content)
    return reader.read()  # type: ignore[call-arg]


def outcome_of(reader: Reader, content: bytes, expected: object) -> tuple[str, str]:
    """What comes of reading once, and what was wrong."""
    try:
        same = read(reader, content) == expected
    except sc.SecateurError as error:
        return ("traceback", str(error)[:200]) if "\n" in str(error) else ("refused", "")
    except Exception as error:
        return "traceback", f"{type(error).__name__}: {error}"[:200]
    return "identical" if same else "another" if reader.digest else "read", ""


def sealed(folder: Path) -> Iterator[Reader]:
    """Files as a run leaves them."""
    net = sc.Supernet.of(network(), torch.zeros(1, 3, 8, 8))
    sc.save(sc.slim(net, sc.Subnetwork(((0, 2, 5), (1, 3)))), folder / "best")
    write_json(folder / "record.json", {"seconds": 1.5, "widths": [8, 16], "stages": {"dense": {"epochs": 12}}})
    write_tensors({"weight": torch.arange(64.0)}, folder / "tensors.safetensors", {"done": "5"})
    BankManifest("abc", (Teacher(sc.Subnetwork(((0,),)), 0.5, 10),)).write(folder / "bank.json")
    interim = Interim(sc.Subnetwork(((0, 2), (1,))), "refine", 0.5, 0.75, 2, 100, 10, bytes(4))
    times = {"latency.json": measure(net, subnetworks=4, repeats=1).to_json(net), "line.json": interim.to_json()}
    for name, content in times.items():
        (folder / name).write_text(content, encoding="utf-8")
    append_json(folder / "lines.jsonl", {"step": 1, "loss": 0.5})
    yield Reader("architecture.json", lambda: _slim(folder), folder / "best" / "architecture.json", True)
    yield Reader("weights.safetensors", lambda: _slim(folder), folder / "best" / "weights.safetensors", True)
    yield Reader("run.json, front.json", lambda: _record(folder), folder / "record.json", True)
    yield Reader("checkpoint, teacher", lambda: _tensors(folder), folder / "tensors.safetensors", True)
    yield Reader("bank.json", lambda: BankManifest.read(BankLocation(folder, "abc")), folder / "bank.json", True)
    yield Reader("latency.json", lambda: _times(folder, net), folder / "latency.json", True)
    yield Reader("records.jsonl, a line", lambda: _interim(folder), folder / "line.json", True)
    yield Reader("metrics.jsonl, a line", lambda: _line(folder), folder / "lines.jsonl", True)


def foreign(folder: Path) -> Iterator[Reader]:
    """Files from elsewhere, without digests."""
    run, best = folder / "run", folder / "foreign"
    run.mkdir()
    shutil.copytree(folder / "best", best)
    _bare(best / "architecture.json")
    Manifest(run, sc.Ask())
    _bare(run / "run.json")
    front = {"format": "secateur/front/1", "winner": json.loads((best / "architecture.json").read_text())}
    (run / "front.json").write_text(json.dumps({**front, "points": [front["winner"]]}))
    save_file(network().state_dict(), folder / "theirs.safetensors")
    torch.save({"state_dict": network().state_dict(), "epoch": 3}, folder / "theirs.pt")
    (folder / "published.csv").write_text("name,macs,loss\nFPGM,62M,0.31\nours,50%,0.25\n")
    (folder / "secateur.yaml").write_text("trials: 20\nflops: 50%\nmodel: resnet20\n")
    pixels = np.random.default_rng(0).integers(256, size=(12, 12, 3), dtype=np.uint8)
    yield Reader("foreign architecture", lambda: _foreign(best), best / "architecture.json")
    yield Reader("foreign run.json", lambda: (config_of(run), read_manifest(run)), run / "run.json")
    yield Reader("foreign front.json", lambda: architectures(run), run / "front.json")
    for name in ("theirs.safetensors", "theirs.pt"):
        yield Reader(
            f"foreign weights, {Path(name).suffix}", partial(load_weights, network(), folder / name), folder / name
        )
    table = folder / "published.csv"
    yield Reader("published points", lambda: list(_published(table, "loss", 1000)), table)
    file = folder / "secateur.yaml"
    yield Reader("configuration file", lambda: _options(file), file)
    for kind in ("png", "jpeg", "gif"):
        Image.fromarray(pixels).save(folder / f"image.{kind}")
        yield Reader(f"image, {kind}", partial(_pixels, folder / f"image.{kind}"), folder / f"image.{kind}")


def texts() -> Iterator[Reader]:
    """Options as they are typed."""
    net = sc.Supernet.of(network(), torch.zeros(1, 3, 8, 8))
    yield Reader("a budget", net.budget)
    yield Reader("a range of budgets", net.span)
    yield Reader("a shape", parse_shape)
    yield Reader("options", lambda text: [sc.Ask(**{name: text}) for name in ("flops", "params", "memory", "sampler")])


def text(rng: random.Random) -> str:
    """Eight characters or fewer, or one of what has been read wrongly before."""
    if rng.random() < 0.2:
        return rng.choice(NASTY) + rng.choice(["", "%", "M", "..50%"])
    return "".join(rng.choice(LETTERS) for _ in range(rng.randrange(1, 9)))


def _bare(path: Path) -> None:
    """Take its digest away."""
    path.write_text(json.dumps(unsealed(json.loads(path.read_text()))))


def _foreign(folder: Path) -> object:
    return sc.load(folder, base=network).architecture


def _options(path: Path) -> object:
    """What a command makes of a file of options."""
    said, printed = io.StringIO(), io.StringIO()
    with redirect_stderr(said), redirect_stdout(printed):
        try:
            main(["run", "--config", str(path), "--print-config"])
        except SystemExit as ended:
            if ended.code:
                raise sc.SecateurError(said.getvalue().strip()) from ended
    return printed.getvalue()


def _pixels(path: Path) -> bytes:
    return open_picture(path).tobytes()


def _slim(folder: Path) -> object:
    model = sc.load(folder / "best", base=network)
    return {name: tensor.tolist() for name, tensor in model.state_dict().items()}, model.architecture


def _record(folder: Path) -> object:
    """The entries that a typed reader takes; it leaves others alone, such as a digest whose name was hit."""
    record, names = read_json(folder / "record.json"), ("seconds", "widths", "stages")
    if not isinstance(record, dict) or not record.keys() >= {*names}:
        raise sc.SecateurError("an entry is missing")
    return [record[name] for name in names]


def _tensors(folder: Path) -> object:
    about, tensors = read_tensors(folder / "tensors.safetensors", "delete it")
    return about["done"], {name: tensor.tolist() for name, tensor in tensors.items()}


def _times(folder: Path, net: sc.Supernet) -> object:
    return Latency.from_json((folder / "latency.json").read_bytes().decode(errors="replace"), net).coefficients.tolist()


def _interim(folder: Path) -> object:
    return Interim.from_json((folder / "line.json").read_bytes().decode(errors="replace"))


def _line(folder: Path) -> object:
    lines = read_json_lines(folder / "lines.jsonl")
    if not lines:  # a line that was cut short is one that was never written
        raise sc.SecateurError("no line")
    return [(line["step"], line["loss"]) for line in lines]
