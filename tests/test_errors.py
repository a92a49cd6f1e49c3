import pytest

from secateur.errors import SecateurError


def test_the_one_error_for_users_is_a_value_error_that_prints_its_message() -> None:
    with pytest.raises(ValueError, match="give --input") as caught:
        raise SecateurError("the network does not run; give --input")
    assert str(caught.value) == "the network does not run; give --input"
