import pytest

from secateur.errors import SecateurError
from secateur.models.zoo.names import is_code, is_pretrained, require_no_code, untrained


@pytest.mark.parametrize("name", ["os:abort", "net.py:make", "net.py", "a.b:c", "torch:nn", "https://x"])
def test_whatever_would_be_imported_is_code(name: str) -> None:
    assert is_code(name)
    with pytest.raises(SecateurError, match=f"here names the code .* if you trust it, type it: --model {name}"):
        require_no_code(name, "here")


@pytest.mark.parametrize("name", ["resnet20", "torchvision:resnet18", "timm:resnet18@pretrained", "nonsense", ""])
def test_names_of_this_package_torchvision_and_timm_are_no_code(name: str) -> None:
    assert not is_code(name)
    require_no_code(name, "here")


def test_weights_of_a_library_stand_behind_an_at_sign() -> None:
    names = ["torchvision:resnet18@DEFAULT", "timm:resnet18", "resnet20@x", "net@home.py:make"]
    assert [is_pretrained(name) for name in names] == [True, False, False, False]
    assert [untrained(name) for name in names] == ["torchvision:resnet18", *names[1:]]
