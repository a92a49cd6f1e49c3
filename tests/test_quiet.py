import warnings

import optuna
import pytest

from secateur.search.refine.quiet import quiet


def test_optuna_is_silent_inside_and_as_it_was_afterwards() -> None:
    before = optuna.logging.get_verbosity()
    with quiet():
        assert optuna.logging.get_verbosity() == optuna.logging.CRITICAL
        warnings.warn("experimental", optuna.exceptions.ExperimentalWarning, stacklevel=1)
    assert optuna.logging.get_verbosity() == before


def test_an_error_inside_passes_and_puts_the_verbosity_back() -> None:
    before = optuna.logging.get_verbosity()

    def interrupted() -> None:
        with quiet():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert optuna.logging.get_verbosity() == before
