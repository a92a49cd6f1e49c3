import functools
import logging
import weakref
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from secateur.models.tracing.reach import contents, is_foreign, reachable, walk

TABLE: dict[str, Tensor] = {}


def looks_up() -> dict[str, Tensor]:
    return TABLE


class Box:
    """A plain object."""

    def __init__(self, **held: Any) -> None:
        self.__dict__.update(held)

    def method(self) -> None:
        pass


def reaches(root: object, target: object) -> bool:
    return any(x is target for x in reachable(root))


def test_everything_that_holds_a_tensor_is_walked_through() -> None:
    x = torch.zeros(1)
    for root in ([x], (x,), {"a": [x]}, Box(x=Box(x=x)), functools.partial(print, x), Box(x=x).method, lambda: x):
        assert reaches(root, x)
    target = nn.Module()
    assert reaches([weakref.ref(target)], target)


def test_globals_defaults_and_class_attributes_that_a_function_names_are_reached() -> None:
    class Shared:
        cache: ClassVar[dict[str, Tensor]] = {}

    def with_default(x: object = TABLE) -> object:
        return x

    assert reaches(looks_up, TABLE)
    assert reaches(functools.lru_cache(looks_up), TABLE)
    assert reaches(with_default, TABLE)
    assert reaches(Shared(), Shared.cache)


def test_nothing_of_torch_numpy_or_the_standard_library_is_entered() -> None:
    logger = logging.getLogger("secateur.test")
    assert list(reachable(logger)) == [logger]
    assert list(reachable(torch.nn.functional.relu)) == [torch.nn.functional.relu]
    assert is_foreign(nn.Conv2d)
    assert not is_foreign(Box)


def test_what_refers_to_itself_is_walked_through_once() -> None:
    box = Box()
    box.__dict__["box"] = box
    assert sum(x is box for x in walk(box, contents)) == 1


def test_attributes_in_slots_are_contents() -> None:
    class Slotted:
        __slots__ = ("missing", "x")

    slotted, x = Slotted(), torch.zeros(1)
    setattr(slotted, "x", x)  # noqa: B010  # to type checkers it has none
    assert any(each is x for each in contents(slotted))
