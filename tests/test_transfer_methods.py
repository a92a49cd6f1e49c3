"""The methods of fine-tuning: what each needs, and what each makes."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from banked import DENSE, noise, opened, toy
from torch import Tensor

from secateur.errors import SecateurError
from secateur.models.surgery.slim import slim
from secateur.transfer.bank.bank import MemoryBank
from secateur.transfer.losses import dkd_loss, kl
from secateur.transfer.methods import METHODS, MethodContext, embedding_width, require_method
from secateur.transfer.objectives.base import Objective, StudentBatch, label_loss
from secateur.transfer.training.recipe import Recipe
from secateur.transfer.training.train import train

BANKED = {"ckt": 5, "ckt-kl": 5, "kdft": 1, "aligned": 1}
RUNS_ALONG = "aligned"  # without a bank, where it can have one


def context(bank: MemoryBank | None = None) -> MethodContext:
    return MethodContext(toy(), bank, noise().labels, classes=4, width=8, seed=0, student=DENSE)


def batch(seed: int = 0) -> StudentBatch:
    split, random = noise(), torch.Generator().manual_seed(seed)
    images, labels, indices = next(iter(split.batches(12)))
    logits, embeddings = torch.randn(1, 12, 4, generator=random), torch.randn(1, 12, 8, generator=random)
    features = {"norm2": torch.randn(12, 8, 8, 8, generator=random)}
    return StudentBatch(logits, embeddings, labels, indices, images[None], features=features)


def test_the_table_says_which_methods_learn_from_a_bank_and_from_how_many_teachers() -> None:
    assert {name: method.bank_teachers for name, method in METHODS.items() if method.bank_teachers} == BANKED


@pytest.mark.parametrize("name", METHODS)
def test_every_method_makes_an_objective_that_can_be_computed(name: str, tmp_path: Path) -> None:
    objective = METHODS[name].objective(context(opened(tmp_path)))
    assert isinstance(objective, Objective)
    assert objective.views == 1
    assert float(objective(batch()).detach()) > 0


@pytest.mark.parametrize("name", METHODS)
def test_a_method_of_the_bank_is_refused_without_one_and_the_others_are_named(name: str) -> None:
    if name not in BANKED or name == RUNS_ALONG:
        METHODS[name].objective(context())
        return
    with pytest.raises(SecateurError, match="there is none; pass one, or one of ckt-queue, kd, dkd, crd, ce"):
        METHODS[name].objective(context())


def test_banks_of_the_dense_network_alone_fill_themselves() -> None:
    assert {name for name, method in METHODS.items() if method.grows} == {"kdft", "aligned"}


def test_kd_weighs_labels_by_a_tenth_and_the_teacher_by_nine() -> None:
    seen, net = batch(), toy()
    teacher = net.model.eval()(seen.images[0])[None]
    expected = 0.1 * label_loss(seen) + 0.9 * kl(teacher, seen.logits).mean()
    torch.testing.assert_close(METHODS["kd"].objective(context())(seen), expected)


def test_dkd_weighs_both_by_one() -> None:
    seen, net = batch(), toy()
    teacher = net.model.eval()(seen.images[0])[None]
    expected = label_loss(seen) + dkd_loss(teacher, seen.logits, seen.labels[None]).mean()
    torch.testing.assert_close(METHODS["dkd"].objective(context())(seen), expected)


def test_kdft_learns_from_the_stored_logits_of_the_dense_network(tmp_path: Path) -> None:
    bank, seen = opened(tmp_path), batch()
    expected = 0.1 * label_loss(seen) + 0.9 * kl(bank.logits[0][seen.indices].float(), seen.logits[0]).mean()
    torch.testing.assert_close(METHODS["kdft"].objective(context(bank))(seen), expected)


def test_aligned_is_refused_where_the_students_channels_are_not_known() -> None:
    with pytest.raises(SecateurError, match="the student's are not known"):
        METHODS["aligned"].objective(replace(context(), student=None))


def test_ckt_kl_is_ckt_without_the_contrast(tmp_path: Path) -> None:
    bank, seen = opened(tmp_path), batch()
    with_contrast, without = (METHODS[name].objective(context(bank)) for name in ("ckt", "ckt-kl"))
    assert float(with_contrast(seen).detach()) > float(without(seen).detach())
    assert list(without.module.parameters()) == []


def test_a_function_of_the_context_is_a_method(tmp_path: Path) -> None:
    """One of a user's own: labels smoothed by the dense network, with a temperature that is trained along."""

    class Own(Objective):
        def __init__(self, given: MethodContext) -> None:
            super().__init__(views=2, module=torch.nn.ParameterDict({"log_t": torch.zeros(())}))
            self.dense, self.calls = given.dense, 0

        def __call__(self, batch: StudentBatch) -> Tensor:
            self.calls += 1
            target = self.dense(batch)[0].softmax(-1)
            temperature = self.module.get_parameter("log_t").exp()
            return F.cross_entropy((batch.logits / temperature).flatten(0, 1), target.flatten(0, 1))

        def metrics(self) -> dict[str, object]:
            return {"calls": self.calls}

    net = toy()
    objective = Own(context())
    model, recipe = slim(net, net.dense), Recipe(epochs=2, batch=30, learning_rate=0.1)
    losses = [step.loss for step in train(model, noise(), objective, recipe, head=net.head, folder=tmp_path)]
    assert losses[-1] < losses[0]
    assert objective.metrics() == {"calls": len(losses)} == {"calls": 6}
    assert float(objective.module.get_parameter("log_t").detach().abs()) > 1e-4
    assert not list(train(model, noise(), objective, recipe, head=net.head, folder=tmp_path))  # its state is resumed


def test_an_unknown_name_is_refused_with_those_there_are() -> None:
    require_method("ckt")
    require_method("pdd", ["pdd"])
    with pytest.raises(SecateurError, match=r"no method is called 'magic'; pass ckt, .*, ce, pdd"):
        require_method("magic", ["pdd"])


def test_the_embedding_is_what_the_head_reads_or_the_logits() -> None:
    net = toy()
    assert embedding_width(net.model, "head", 4) == 8
    assert embedding_width(net.model, None, 4) == 4
    assert context().widths == (8, 8)
