"""What comes of damaged files: identical, refused by name, another result in silence, or a traceback.

Each kind of file that a run reads again is written once, then read ``n`` times, each time with one random damage: a
flipped bit, a zeroed stretch, other bytes, a cut, an inserted byte, a doubled stretch, or garbage.

    python benchmarks/faults.py [--n 2000] [--seed 0] [--out FOLDER]

The last two columns must be 0: of a file with a digest nothing else than what was written may ever be read.
"""

import argparse
import json
import random
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import torch
from conditions import conditions
from torch import nn

import secateur as sc
from secateur.files import append_json, read_json, read_json_lines, write_json
from secateur.models.files.tensors import read_tensors, write_tensors
from secateur.models.timing.latency import Latency, measure
from secateur.search.records import Interim
from secateur.transfer.bank.manifest import BankLocation, BankManifest, Teacher

OUTCOMES = ("identical", "refused", "another result", "traceback")
Read = Callable[[], object]
Mutation = Callable[[bytes, random.Random], bytes]


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


def written(folder: Path) -> dict[str, tuple[Path, Read]]:
    """A file of each kind, and what reads it."""
    net = sc.Supernet.of(network(), torch.zeros(1, 3, 8, 8))
    sc.save(sc.slim(net, sc.Subnetwork(((0, 2, 5), (1, 3)))), folder / "best")
    write_json(folder / "record.json", {"seconds": 1.5, "widths": [8, 16], "stages": {"dense": {"epochs": 12}}})
    write_tensors({"weight": torch.arange(64.0)}, folder / "tensors.safetensors", {"done": "5"})
    BankManifest("abc", (Teacher(sc.Subnetwork(((0,),)), 0.5, 10),)).write(folder / "bank.json")
    interim = Interim(sc.Subnetwork(((0, 2), (1,))), "refine", 0.5, 0.75, 2, 100, 10, bytes(4))
    texts = {"latency.json": measure(net, subnetworks=4, repeats=1).to_json(net), "line.json": interim.to_json()}
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    append_json(folder / "lines.jsonl", {"step": 1, "loss": 0.5})
    return {
        "architecture.json": (folder / "best" / "architecture.json", lambda: _slim(folder)),
        "weights.safetensors": (folder / "best" / "weights.safetensors", lambda: _slim(folder)),
        "run.json, front.json": (folder / "record.json", lambda: _record(folder)),
        "checkpoint, teacher": (folder / "tensors.safetensors", lambda: _tensors(folder)),
        "bank.json": (folder / "bank.json", lambda: BankManifest.read(BankLocation(folder, "abc"))),
        "latency.json": (folder / "latency.json", lambda: _times(folder, net)),
        "records.jsonl, a line": (folder / "line.json", lambda: _interim(folder)),
        "metrics.jsonl, a line": (folder / "lines.jsonl", lambda: _line(folder)),
    }


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


def outcome(read: Read, expected: object) -> str:
    """What comes of reading once."""
    try:
        return "identical" if read() == expected else "another result"
    except sc.SecateurError as error:
        return "refused" if "\n" not in str(error) else "traceback"
    except Exception as error:
        print(f"{type(error).__name__}: {error}"[:200], flush=True)
        return "traceback"


def counted(path: Path, read: Read, n: int, rng: random.Random) -> Counter[str]:
    """How often each outcome came of ``n`` random damages; the file is whole again afterwards."""
    whole, expected, found = path.read_bytes(), read(), Counter[str]()
    for number in range(n):
        path.write_bytes(MUTATIONS[number % len(MUTATIONS)](whole, rng))
        found[outcome(read, expected)] += 1
    path.write_bytes(whole)
    return found


def main() -> None:
    """Run, print a table, and write results/faults.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    rng, table = random.Random(asked.seed), dict[str, dict[str, int]]()
    print(f"{'file':24}" + "".join(f"{name:>16}" for name in OUTCOMES), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for name, (path, read) in written(Path(folder)).items():
            found = counted(path, read, asked.n, rng)
            table[name] = {each: found[each] for each in OUTCOMES}
            print(f"{name:24}" + "".join(f"{found[each]:16}" for each in OUTCOMES), flush=True)
    result = {**conditions(), "n": asked.n, "seed": asked.seed, "files": table}
    (asked.out / "faults.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
