"""Two processes that train one network, as torchrun starts them, on the CPU."""

import os
import socket
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.multiprocessing.spawn import spawn

from secateur.data.images import Images
from secateur.errors import SecateurError
from secateur.models.subnetwork import Subnetwork
from secateur.transfer.bank.bank import MemoryBank
from secateur.transfer.bank.manifest import Teacher
from secateur.transfer.objectives.contrastive import ContrastiveConfig, ContrastiveTransfer
from secateur.transfer.training.distributed import World, process_group, world
from secateur.transfer.training.recipe import Recipe
from secateur.transfer.training.train import train

IMAGES, CLASSES = 80, 4
RECIPE = Recipe(epochs=2, batch=8, checkpoint_every=5, ema_decay=0.9, clip=5.0)  # 20 steps


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 6, 3, stride=2, padding=1), nn.BatchNorm2d(6)
        self.drop, self.head, self.idle = nn.Dropout(0.3), nn.Linear(6, CLASSES), nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        return torch.as_tensor(self.head(self.drop(F.relu(self.norm(self.stem(x))).mean((2, 3)))))


def trained(folder: Path, recipe: Recipe, seed: int = 0) -> dict[str, Tensor]:
    """Weights and the last gradients after 20 steps of CKT from a bank of two teachers."""
    random = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (IMAGES, 3, 8, 8), dtype=torch.uint8, generator=random)
    labels, logits = torch.arange(IMAGES) % CLASSES, torch.randn(2, IMAGES, CLASSES, generator=random)
    teachers = (Teacher(Subnetwork(((0,),)), 0.0, 1), Teacher(Subnetwork(((1,),)), 1.0, 1))
    bank = MemoryBank(folder, teachers, tuple(logits.half()), tuple(torch.randn(2, IMAGES, 7, generator=random).half()))
    objective = ContrastiveTransfer(bank, labels, 6, ContrastiveConfig(1.0, 1.0, 0.5, power=1, views=2), seed=seed)
    torch.manual_seed(seed)
    model, split = Net(), Images(lambda chunks: (pixels[chunk] for chunk in chunks), labels, (3, 8, 8))
    steps = list(train(model, split, objective, recipe, head="head", folder=folder / "run"))
    assert len(steps) == 20
    named = [*model.named_parameters(), *objective.module.named_parameters()]
    found = {name: parameter.detach().clone() for name, parameter in named}
    found |= {f"{name}.grad": parameter.grad for name, parameter in named if parameter.grad is not None}
    return {**found, "losses": torch.tensor([step.loss for step in steps])}


def one_of_two(rank: int, port: int, folder: Path) -> None:
    torch.set_num_threads(1)
    own = folder / str(rank)
    own.mkdir()
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    with process_group("cpu") as device:
        assert (device, world()) == ("cpu", World(rank, 2))
        with world().one_after_another():
            (folder / "turns").open("a").write(f"begun {rank}\n")
            (folder / "turns").open("a").write(f"ended {rank}\n")
        found = trained(own, RECIPE, seed=rank)  # begins as the first one does, whatever it had
    save_file(found, own / "found.safetensors")


def test_two_processes_take_the_steps_of_one_that_takes_two_parts(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    spawn(one_of_two, (port, tmp_path), nprocs=2)  # type: ignore[no-untyped-call]
    one = trained(tmp_path, Recipe(**{**RECIPE.__dict__, "micro_batches": 2}))
    for rank in range(2):
        found = load_file(tmp_path / str(rank) / "found.safetensors")
        assert found.keys() == one.keys()
        for name, tensor in one.items():
            torch.testing.assert_close(found[name], tensor, atol=1e-5, rtol=1e-5, msg=name)
    assert [(tmp_path / str(rank) / "run").exists() for rank in range(2)] == [True, False]  # the first writes
    assert (tmp_path / "turns").read_text().split() == ["begun", "0", "ended", "0", "begun", "1", "ended", "1"]


def test_alone_there_is_nothing_to_share() -> None:
    tensor = torch.ones(2)
    with process_group("cuda:7") as device:
        assert device == "cuda:7"
        world().all_reduce([tensor])
        world().broadcast([tensor])
        with world().one_after_another():
            assert world().first
    assert tensor.tolist() == [1, 1]


def test_a_batch_that_is_too_small_to_share_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("secateur.transfer.training.trainer.world", lambda: World(0, 5))
    with pytest.raises(SecateurError, match="batch=8 for 5 processes of 1 micro-batches; pass at least 2 images"):
        trained(tmp_path, RECIPE)
