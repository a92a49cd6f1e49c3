"""What a run is asked: which words are taken, which are refused, and how it is typed."""

from typing import Any

import pytest

import secateur as sc
from secateur.rundir.options import JOINT_METHODS, OPTIMIZERS, TEACHER_METHODS
from secateur.transfer.methods import METHODS
from secateur.transfer.training.recipe import LEARNING_RATES


def test_an_input_is_channels_height_and_width() -> None:
    assert sc.Ask(input="3x224x192").images.shape == (3, 224, 192)
    assert sc.Ask(input="1X28X28").images.shape == (1, 28, 28)
    assert sc.Ask().images.shape is None


@pytest.mark.parametrize("text", ["3x32", "3x32x32x32", "", "x", "3x-1x5", "3x0x5", "axbxc", "3 x 32 x 32"])
def test_what_is_no_input_is_refused_with_the_form_to_write(text: str) -> None:
    with pytest.raises(sc.SecateurError, match="write 3x224x224") as caught:
        _ = sc.Ask(input=text).images.shape
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize(("option", "value"), [("epochs", 0), ("trials", -1), ("seed", -1), ("divisor", 0)])
def test_a_number_below_its_least_is_refused_before_anything_starts(option: str, value: Any) -> None:
    with pytest.raises(sc.SecateurError, match=f"{option}={value}; pass"):
        sc.Ask(**{option: value})


def test_a_standard_deviation_of_zero_is_refused() -> None:
    with pytest.raises(sc.SecateurError, match="above 0"):
        sc.Ask(std=(0.2, 0.0, 0.2))


def test_half_of_the_macs_is_the_limit_where_none_is_given() -> None:
    assert sc.Ask("resnet56").budget.spec.texts == sc.Ask(flops="50%").budget.spec.texts == {"flops": "50%"}
    assert sc.Ask(data="imagefolder:photos").budget.spec.texts == {"flops": "50%"}
    assert sc.Ask(params="0.1M").budget.spec.texts == {"params": "0.1M"}
    assert sc.Ask(flops="60%", latency="5ms").budget.spec.texts == {"flops": "60%", "latency": "5ms"}
    assert str(sc.Ask(flops="60%", latency="5ms").budget.spec) == "60% 5ms latency"


@pytest.mark.parametrize("option", ["flops", "params", "memory", "latency"])
def test_a_limit_that_is_no_amount_is_refused_at_once(option: str) -> None:
    given: dict[str, Any] = {option: "much"}
    with pytest.raises(sc.SecateurError, match="budget 'much' is not a share"):
        sc.Ask(**given)


def test_pairs_to_tie_are_two_names() -> None:
    assert sc.Ask(tie=("a.0,b.1", "c, d")).constraints.ties == (("a.0", "b.1"), ("c", "d"))


@pytest.mark.parametrize("text", ["", "a", "a,", ",b", "a,b,c", "a,a", "layer1.*,b"])
def test_what_is_no_pair_is_refused_with_what_to_write(text: str) -> None:
    with pytest.raises(sc.SecateurError, match="is not two channel groups; write --tie") as caught:
        sc.Ask(tie=(text,))
    assert repr(text) in str(caught.value)


def test_the_least_is_a_share_or_a_number_of_channels_of_all_groups_or_some() -> None:
    assert sc.Ask().constraints.min_keep == {}
    assert sc.Ask(least=("12.5%",)).constraints.min_keep == {"*": 0.125}
    found = sc.Ask(least=("20%", "conv1=16", "layer1.*=50%")).constraints.min_keep
    assert list(found.items()) == [("conv1", 16), ("layer1.*", 0.5), ("*", 0.2)]
    assert isinstance(found["conv1"], int)
    assert isinstance(sc.Ask(least=("100%",)).constraints.min_keep["*"], float)


@pytest.mark.parametrize("text", ["", "0.1", "conv1", "conv1=", "101%", "-1", "conv1=1.5", "=%", "ten%"])
def test_what_is_no_least_is_refused_with_what_to_write(text: str) -> None:
    with pytest.raises(sc.SecateurError, match=r"write 10%, conv1=16 or 'layer1\.\*=50%'") as caught:
        sc.Ask(least=(text,))
    assert repr(text) in str(caught.value)


def test_the_quickstart_keeps_less_so_that_there_is_something_to_win() -> None:
    assert sc.Ask().budget == sc.Ask(seed=1, trials=3).budget == sc.Ask(flops="10%").budget
    assert sc.Ask(params="50%").budget.flops is None


def test_the_words_of_an_ask_are_what_to_type() -> None:
    assert sc.Ask().command_line == "resnet20 --flops 10%"
    assert sc.Ask("resnet56", flops="15%", params="40%").command_line == "resnet56 --flops 15% --params 40%"
    ask = sc.Ask(model="resnet56", flops="40%", weights="a b.safetensors", mean=(0.1, 0.2, 0.3))
    assert ask.command_line == "resnet56 --weights 'a b.safetensors' --flops 40% --mean 0.1 0.2 0.3"
    ask = sc.Ask(freeze=("layer1.*", "conv1"), tie=("a,b",), least=("20%",))
    assert ask.command_line == "resnet20 --flops 10% --freeze 'layer1.*' --freeze conv1 --tie a,b --least 20%"
    assert sc.Ask(params="40%", latency="5ms").command_line == "resnet20 --params 40% --latency 5ms"


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("batch", 1, "batch=1; pass 2 or more"),
        ("lr", 0.0, "lr=0.0; pass a positive learning rate"),
        ("lr", float("nan"), "lr=nan"),
        ("weight_decay", -1.0, "weight-decay=-1.0; pass 0 or more"),
        ("optimizer", "lion", "optimizer='lion' is not known; pass sgd or adamw"),
        ("teacher", "resnet56", "--teacher is for pdd and kddp and blockwise and kd and dkd"),
    ],
)
def test_a_training_that_cannot_be_is_refused_before_anything_starts(option: str, value: Any, message: str) -> None:
    with pytest.raises(sc.SecateurError, match=message):
        sc.Ask(**{option: value})


def test_the_methods_that_take_a_teacher_are_the_same_everywhere() -> None:
    takes = {name for name, method in METHODS.items() if method.takes_teacher}
    assert takes == {*TEACHER_METHODS} - {*JOINT_METHODS}
    assert {*OPTIMIZERS} == {*LEARNING_RATES}


def test_the_options_of_a_training_are_fields_of_its_recipe() -> None:
    options = sc.Ask(batch=16, lr=0.1, optimizer="adamw", weight_decay=0.0).transfer.recipe_options
    assert sc.Recipe(**options) == sc.Recipe(batch=16, learning_rate=0.1, optimizer="adamw", weight_decay=0.0)
    assert sc.Recipe(**sc.Ask().transfer.recipe_options) == sc.Recipe()
