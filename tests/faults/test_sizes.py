"""Sizes that a file claims: refused in a line, or read, and never more memory than the file has itself."""

import json
import resource
import struct
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from chains import plain
from safetensors.torch import save_file

import secateur as sc
from secateur.digests import unsealed
from secateur.errors import SecateurError
from secateur.models.files.tensors import read_tensors
from secateur.models.zoo.weights import load_weights
from secateur.search.records import Interim
from secateur.transfer.bank.manifest import BankLocation, BankManifest
from secateur.transfer.bank.row_file import RowFile

HUGE = 1 << 40
SPARE = 256 << 20  # bytes that a refusal may take
NET = plain((4, 6))


@pytest.fixture(autouse=True)
def _little_memory() -> Iterator[None]:
    """No more address space than there is in use, and a little: what allocates as it is told fails."""
    if sys.platform != "linux":
        yield
        return
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + SPARE, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


def header(path: Path, entry: dict[str, object]) -> None:
    """A safetensors file that claims this of its one tensor, and has four bytes."""
    text = json.dumps({"weight": entry}).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(4))


@pytest.mark.parametrize(
    "entry",
    [
        {"dtype": "F32", "shape": [HUGE], "data_offsets": [0, 4 * HUGE]},
        {"dtype": "F32", "shape": [HUGE, HUGE], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [1], "data_offsets": [0, 4 * HUGE]},
    ],
    ids=["all", "shape", "offsets"],
)
def test_a_header_of_endless_tensors_is_refused(tmp_path: Path, entry: dict[str, object]) -> None:
    path = tmp_path / "weights.safetensors"
    header(path, entry)
    with pytest.raises(SecateurError, match=r"weights\.safetensors cannot be read"):
        read_tensors(path, "delete it")
    with pytest.raises(SecateurError, match="can't be read as safetensors"):
        load_weights(NET.model, path)


@pytest.mark.parametrize("length", [HUGE, (1 << 64) - 1])
def test_an_endless_header_is_refused(tmp_path: Path, length: int) -> None:
    path = tmp_path / "weights.safetensors"
    path.write_bytes(struct.pack("<Q", length) + b"{}")
    with pytest.raises(SecateurError, match=r"weights\.safetensors cannot be read"):
        read_tensors(path, "delete it")


def test_a_checkpoint_that_unfolds_is_refused(tmp_path: Path) -> None:
    plain_file, path = tmp_path / "plain.pt", tmp_path / "bomb.pt"
    torch.save({"weight": torch.zeros(1 << 22)}, plain_file)
    with zipfile.ZipFile(plain_file) as source, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as folded:
        for entry in source.infolist():
            folded.writestr(entry.filename, source.read(entry))
    with pytest.raises(SecateurError, match=r"bomb\.pt claim 16,7.* bytes and the file has"):
        load_weights(NET.model, path)


def test_a_checkpoint_of_one_number_a_terabyte_wide_is_refused(tmp_path: Path) -> None:
    wide = {name: torch.zeros(1).expand(HUGE) for name in NET.model.state_dict()}
    torch.save(wide, tmp_path / "wide.pt")
    with pytest.raises(SecateurError, match="of another shape"):
        load_weights(NET.model, tmp_path / "wide.pt")


CLAIMS: list[tuple[str, Callable[[dict[str, object]], object]]] = [
    ("inputs", lambda record: [[3, 1 << 20, 1 << 20]]),
    ("classes", lambda record: ["c"] * (1 << 18)),
    ("groups", lambda record: {"0": {"width": 1 << 30, "dense": 1 << 30, "kept": []}}),
    ("arguments", lambda record: {"tuple": [{"tuple": [{"tensor": [1, HUGE]}]}, {"dict": []}]}),
]


@pytest.mark.parametrize(("part", "claim"), CLAIMS, ids=[part for part, _ in CLAIMS])
def test_an_architecture_that_claims_much_is_refused(
    tmp_path: Path, part: str, claim: Callable[[dict[str, object]], object]
) -> None:
    sc.save(sc.slim(NET, sc.Subnetwork(((0, 2), (1, 3, 5)))), tmp_path)
    path = tmp_path / "architecture.json"
    record = unsealed(json.loads(path.read_text()))
    path.write_text(json.dumps({**record, part: claim(record)}))
    with pytest.raises(SecateurError, match=r"architecture\.json"):
        sc.load(tmp_path, lambda: plain((4, 6)).model)


def test_an_architecture_of_a_million_channels_is_not_of_this_network(tmp_path: Path) -> None:
    sc.save(sc.slim(NET, sc.Subnetwork(((0, 2), (1, 3, 5)))), tmp_path)
    path = tmp_path / "architecture.json"
    record = unsealed(json.loads(path.read_text()))
    wide = {name: {"width": 1 << 20, "dense": 1 << 20, "kept": [0]} for name in record["groups"]}
    path.write_text(json.dumps({**record, "groups": wide}))
    with pytest.raises(SecateurError):
        sc.load(tmp_path, lambda: plain((4, 6)).model)


@pytest.mark.parametrize("field", ["n", "macs", "parameters"])
def test_an_evaluation_that_claims_much_is_read_or_refused(field: str) -> None:
    interim = Interim(sc.Subnetwork(((0, 2), (1,))), "refine", 0.5, 0.75, 2, 100, 10, bytes(4))
    record = {**unsealed(json.loads(interim.to_json())), field: HUGE}
    if field == "n":
        with pytest.raises(SecateurError, match="bytes of losses"):
            Interim.from_json(json.dumps(record))
    else:
        assert getattr(Interim.from_json(json.dumps(record)), field) == HUGE


def test_a_bank_that_claims_much_is_refused(tmp_path: Path) -> None:
    save_file({"logits": torch.zeros(2, 3)}, tmp_path / "teacher.safetensors")
    with pytest.raises(SecateurError, match=r"teacher\.safetensors"):
        RowFile(tmp_path / "teacher.safetensors", HUGE)
    (tmp_path / "bank.json").write_text('{"images": "abc", "teachers": ' + "[" * 100_000 + "]" * 100_000 + "}")
    with pytest.raises(SecateurError, match=r"bank\.json"):
        BankManifest.read(BankLocation(tmp_path, "abc"))
