"""From a trained network to a smaller one, as the page about Python says."""

import copy
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import secateur as sc
from secateur.data.images import Images
from secateur.models.compensation.gram import grams
from secateur.models.compensation.initial import initial_student
from secateur.models.files.architecture import architecture_of
from secateur.models.surgery.slim import slim
from secateur.transfer.objectives.base import CrossEntropy
from secateur.transfer.training.recipe import Recipe
from secateur.transfer.training.train import train

SHAPE = (3, 16, 16)


def make(classes: int = 10) -> nn.Module:
    layers: list[nn.Module] = []
    channels = 3
    for width, stride in ((8, 1), (16, 2), (16, 2)):
        layers += [nn.Conv2d(channels, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
        channels = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes))


@pytest.fixture(scope="module")
def data() -> sc.Data:
    return sc.open_data("digits", SHAPE)


@pytest.fixture(scope="module")
def model(data: sc.Data) -> nn.Module:
    torch.manual_seed(0)
    model = make()
    for _ in train(model, data.train, CrossEntropy(), Recipe(epochs=4, batch=64)):
        pass
    return model.eval()


@pytest.fixture(scope="module")
def net(model: nn.Module, data: sc.Data) -> sc.Supernet:
    return sc.Supernet.of(model, data.example)


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("search")


@pytest.fixture(scope="module")
def found(net: sc.Supernet, data: sc.Data, storage: Path) -> sc.Found:
    return sc.find(net, data, "50%", trials=4, storage=storage, method="ckt")


@pytest.fixture(scope="module")
def student(net: sc.Supernet, data: sc.Data, found: sc.Found) -> nn.Module:
    return sc.finetune(net, found.best(), found.bank, data, epochs=1)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root, pixels = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for split, count in (("train", 30), ("test", 4)):
        for shade, name in enumerate(("dark", "grey", "light")):
            (root / split / name).mkdir(parents=True)
            for number in range(count):
                image = pixels.integers(60 * shade, 60 * shade + 100, (16, 16, 3), dtype=np.uint8)
                Image.fromarray(image).save(root / split / name / f"{number:02}.png")
    return root


def images_of(split: sc.Data) -> Tensor:
    images: Tensor = next(split.test.batches(64)).images
    return images


def same(one: nn.Module, other: nn.Module) -> bool:
    pairs = zip(one.state_dict().items(), other.state_dict().items(), strict=True)
    return all(a == b and torch.equal(x, y) for (a, x), (b, y) in pairs)


def sealed(data: sc.Data) -> sc.Data:
    """The same data, its test images unreadable but for the fingerprint, which is taken before."""

    def read(chunks: Sequence[Tensor]) -> Iterator[Tensor]:
        raise AssertionError("the test split was read")

    assert isinstance(data.test, Images)
    closed = replace(data, test=replace(data.test, read=read))
    closed.__dict__["fingerprint"] = data.fingerprint
    return closed


def test_the_ten_lines_of_the_readme_run_as_they_stand(
    model: nn.Module, data: sc.Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    example = data.example

    net = sc.Supernet.of(model, example)
    print(net.profile("50%"))
    found = sc.find(net, data, "50%", trials=4, storage="runs/tiny")
    assert found.front
    assert net.macs(found.best("40%")) <= 0.4 * net.macs(net.dense)
    student = sc.finetune(net, found.best(), found.bank, data, epochs=1)
    sc.save(student, "slim")
    loaded = sc.load("slim", base=make)

    said = capsys.readouterr()
    assert "can be met" in said.out
    assert "is an output of the network" in said.out
    assert said.err == ""
    images = images_of(data)
    assert torch.equal(loaded(images), student(images))
    locks = {"run.lock", "holder.lock", "study.db.lock"}
    left = {"bank", "best", "dense", "front.json", "run.json", "study.db", *locks}
    assert {path.name for path in Path("runs/tiny").iterdir()} == left


def test_every_subnetwork_at_the_budget_meets_it_to_the_last_channel(
    net: sc.Supernet, found: sc.Found, storage: Path
) -> None:
    limit = net.budget("50%").macs
    assert net.macs(found.best()) <= limit == net.macs(net.dense) // 2
    interims = [json.loads(line) for line in (storage / "bank" / "records.jsonl").read_text().splitlines()]
    at_budget = [each["subnetwork"] for each in interims if 0.9 * limit < each.get("macs", 0) <= limit]
    assert [list(channels) for channels in found.best().kept] in at_budget
    assert len(at_budget) > 3
    for kept in at_budget:
        widths = np.array([len(channels) for channels in kept])
        wider = np.array([widths + step for step in np.diag(widths < net.space.dense) if step.any()])
        assert (net.space.costs.macs(wider) > limit).all(), widths


def test_the_macs_are_those_that_torch_counts_in_the_student(
    net: sc.Supernet, found: sc.Found, student: nn.Module, data: sc.Data
) -> None:
    with FlopCounterMode(display=False) as counter:
        student(data.example)
    assert counter.get_total_flops() == 2 * net.macs(found.best()) == 2 * found.winner.macs
    assert sum(p.numel() for p in student.parameters()) == net.parameters(found.best()) == found.winner.parameters


def test_the_front_falls_in_loss_as_it_rises_in_cost(net: sc.Supernet, found: sc.Found) -> None:
    costs, losses = [p.macs for p in found.front], [p.loss for p in found.front]
    assert len(costs) > 1
    assert costs == sorted(set(costs))
    assert losses == sorted(set(losses), reverse=True)
    assert [net.macs(p.subnetwork) for p in found.front] == costs


def test_any_budget_on_the_front_has_its_best_point(net: sc.Supernet, found: sc.Found) -> None:
    for point in found.front:
        assert found.best(str(point.macs)) == point.subnetwork
    assert found.best("100%") == min(found.front, key=lambda p: p.loss).subnetwork


def test_a_budget_below_the_front_is_refused_with_the_least_there_is(found: sc.Found) -> None:
    least = f"the smallest {found.front[0].macs / 1e6:.4g}M"
    with pytest.raises(sc.SecateurError, match="no point of the front costs at most") as caught:
        found.best("10%")
    assert least in str(caught.value)


def test_the_student_is_a_plain_module(student: nn.Module, model: nn.Module, data: sc.Data) -> None:
    images = images_of(data)
    assert type(student) is type(model)
    assert not student.training
    assert all(type(module).__module__.startswith("torch.") for module in student.modules())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in student.modules())
    copied = copy.deepcopy(student)
    assert torch.equal(copied(images), student(images))


def test_neither_search_nor_transfer_changes_the_dense_network(model: nn.Module, data: sc.Data) -> None:
    before = copy.deepcopy(model)
    net = sc.Supernet.of(model, data.example)
    found = sc.find(net, data, "50%", trials=1)
    sc.finetune(net, found.best(), found.bank, data, epochs=1)
    assert same(model, before)
    assert not model.training


def test_test_images_are_not_read(net: sc.Supernet, data: sc.Data) -> None:
    closed = sealed(data)
    with pytest.raises(AssertionError, match="test split was read"):
        images_of(closed)
    found = sc.find(net, closed, "50%", trials=1)
    sc.finetune(net, found.best(), found.bank, closed, epochs=1)


def test_the_same_seed_gives_the_same_architecture_and_weights(
    net: sc.Supernet, data: sc.Data, found: sc.Found, student: nn.Module
) -> None:
    torch.rand(7)  # the caller's random state is none of its business
    again = sc.find(net, data, "50%", trials=4, method="ckt")
    twin = sc.finetune(net, again.best(), again.bank, data, epochs=1)
    assert again.best() == found.best()
    assert [p.subnetwork for p in again.front] == [p.subnetwork for p in found.front]
    assert same(twin, student)


def test_another_seed_gives_other_weights(net: sc.Supernet, data: sc.Data, found: sc.Found, student: nn.Module) -> None:
    assert not same(sc.finetune(net, found.best(), found.bank, data, epochs=1, seed=1), student)


def test_a_storage_is_taken_up_and_nothing_in_it_evaluated_again(
    net: sc.Supernet, data: sc.Data, found: sc.Found, storage: Path
) -> None:
    kept = (storage / "bank" / "records.jsonl").read_bytes()
    told: list[str] = []
    again = sc.find(net, data, "50%", trials=4, storage=storage, progress=lambda what, *_: told.append(what))
    assert "fine search" not in told
    assert again.best() == found.best()
    assert (storage / "bank" / "records.jsonl").read_bytes() == kept


def test_more_trials_go_on_from_those_that_are_stored(net: sc.Supernet, data: sc.Data, tmp_path: Path) -> None:
    counts: list[tuple[int, int]] = []
    for trials in (1, 3):
        told: list[str] = []
        sc.find(
            net, data, "50%", trials=trials, storage=tmp_path, progress=lambda what, *_, told=told: told.append(what)
        )
        counts.append((trials, told.count("fine search")))
    assert counts == [(1, 1), (3, 2)]


@pytest.mark.parametrize("method", ["ckt", "ckt-kl", "ckt-queue", "kdft", "kd", "dkd", "crd", "ce"])
def test_every_method_trains_the_same_architecture(
    net: sc.Supernet, data: sc.Data, found: sc.Found, student: nn.Module, method: str
) -> None:
    other = sc.finetune(net, found.best(), found.bank, data, epochs=1, method=method)
    assert not same(other, student)
    assert [p.shape for p in other.parameters()] == [p.shape for p in student.parameters()]


def test_teachers_are_not_run_while_a_student_learns_from_the_bank(
    net: sc.Supernet, data: sc.Data, found: sc.Found
) -> None:
    passes: list[str] = []
    training, dense = ["before"], id(net.model)

    def noted(module: nn.Module, inputs: object) -> None:
        if id(module) == dense:  # a student is a copy, hooks and all, and its hooks lead to it
            passes.append(training[-1])

    hook = net.model.register_forward_pre_hook(noted)

    def follow(what: str, *_: int) -> None:  # from the first step on
        training.append(what)

    try:
        for method in ("ckt", "kdft", "kd"):
            sc.finetune(net, found.best(), found.bank, data, epochs=1, method=method, progress=follow)
            training.append("before")
    finally:
        hook.remove()
    assert [passes.count(f"fine-tuning ({method})") for method in ("ckt", "kdft")] == [0, 0]
    assert passes.count("fine-tuning (kd)") == data.train.steps(128) - 1


def test_a_student_starts_halfway_or_from_what_it_is_given(
    net: sc.Supernet, data: sc.Data, found: sc.Found, student: nn.Module
) -> None:
    best = found.best()
    split = data.in_memory_format_of(net.model).train
    half = initial_student(net, best, grams(net, split), split)
    assert same(sc.finetune(net, best, found.bank, data, epochs=1, student=half), student)
    assert not same(sc.finetune(net, best, found.bank, data, epochs=1, student=slim(net, best)), student)


def test_a_student_may_see_the_views_that_the_bank_holds(
    net: sc.Supernet, data: sc.Data, found: sc.Found, storage: Path, student: nn.Module
) -> None:
    with pytest.raises(sc.SecateurError, match="views=4, and the bank holds 3 of each image; pass at most as many"):
        sc.finetune(net, found.best(), found.bank, data, epochs=1, views=4)
    again = sc.find(net, data, "50%", trials=4, storage=storage, views=1, method="ckt")
    assert again.bank is not None
    assert len(again.bank.fixed) == 3  # those that are there already
    three, new = (sc.finetune(net, found.best(), again.bank, data, epochs=1, views=views) for views in (3, 0))
    assert same(three, student)
    assert not same(new, student)


def test_a_recipe_says_everything_else(net: sc.Supernet, data: sc.Data, found: sc.Found, student: nn.Module) -> None:
    recipe = Recipe(optimizer="adamw", learning_rate=0.002, ema_decay=0.9)
    assert not same(sc.finetune(net, found.best(), found.bank, data, epochs=1, recipe=recipe), student)


def test_an_architecture_says_who_taught_it(net: sc.Supernet, data: sc.Data, found: sc.Found) -> None:
    student = sc.finetune(net, found.best(), found.bank, data, epochs=1, method="ckt")
    training = architecture_of(student)["training"]
    assert found.bank is not None
    assert [(t["macs"], t["loss"]) for t in training["teachers"]] == [(t.macs, t.loss) for t in found.bank.teachers]
    assert [t["open"] for t in training["teachers"]] == training["gates_open"]
    assert training["gates_open"][0] == 1.0


@pytest.mark.parametrize("budget", ["50%", "100%"])
def test_an_untrained_network_or_no_cut_at_all_goes_through(data: sc.Data, budget: str) -> None:
    torch.manual_seed(0)
    net = sc.Supernet.of(make(), data.example)
    found = sc.find(net, data, budget, trials=0)
    sc.finetune(net, found.best(), found.bank, data, epochs=1)
    assert found.bank is not None
    assert len(found.bank.teachers) >= 1


def test_a_streamed_folder_gives_what_the_same_images_in_memory_give(photos: Path) -> None:
    students, searches = [], []
    for memory_bytes in (0, 10**9):
        data = sc.open_data(f"imagefolder:{photos}", memory_bytes=memory_bytes)
        torch.manual_seed(0)
        net = sc.Supernet.of(make(3), data.example)
        found = sc.find(net, data, "50%", trials=2)
        students.append(sc.finetune(net, found.best(), found.bank, data, epochs=2))
        searches.append([(p.subnetwork, p.loss) for p in found.front])
    assert searches[0] == searches[1]
    assert same(*students)


def test_wrong_values_are_refused(net: sc.Supernet, data: sc.Data, found: sc.Found) -> None:
    with pytest.raises(sc.SecateurError, match="trials=-1"):
        sc.find(net, data, "50%", trials=-1)
    with pytest.raises(sc.SecateurError, match="no method is called 'magic'; pass ckt"):
        sc.finetune(net, found.best(), found.bank, data, method="magic")
    with pytest.raises(sc.SecateurError, match="epochs=0"):
        sc.finetune(net, found.best(), found.bank, data, epochs=0)
    with pytest.raises(sc.SecateurError, match="learns from a memory bank, and there is none; pass one, or"):
        sc.finetune(net, found.best(), None, data, epochs=1, method="kdft")
    with pytest.raises(sc.SecateurError, match="no precision is called 'fp16'; pass auto"):
        sc.find(net, data, "50%", precision="fp16")


def test_a_method_without_a_bank_needs_none(net: sc.Supernet, data: sc.Data, found: sc.Found) -> None:
    students = [sc.finetune(net, found.best(), bank, data, epochs=1, method="ce") for bank in (None, found.bank)]
    assert same(*students)
    assert architecture_of(students[0])["training"]["teachers"] == []


def test_fine_tuning_improves_on_the_pruned_network(net: sc.Supernet, data: sc.Data, found: sc.Found) -> None:
    from secateur.models.evaluate import evaluate, recalibrate
    from secateur.models.surgery.slim import slim

    pruned = slim(net, found.best())
    recalibrate(pruned, data.train)
    tuned = sc.finetune(net, found.best(), found.bank, data, epochs=4)
    assert evaluate(tuned, data.holdout).loss < evaluate(pruned, data.holdout).loss


def test_a_folder_and_a_database_have_a_parameter_each(net: sc.Supernet, data: sc.Data, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'shared.db'}"
    sc.find(net, data, "50%", trials=0, views=0, out=tmp_path / "run", storage=url)
    assert (tmp_path / "shared.db").exists()
    left = {"bank", "best", "dense", "front.json", "run.json", "run.lock", "holder.lock"}
    assert {path.name for path in (tmp_path / "run").iterdir()} == left
    with pytest.raises(sc.SecateurError, match="storage='elsewhere' is no database URL"):
        sc.find(net, data, "50%", out=tmp_path / "run", storage="elsewhere")
