"""What CI must not let pass: a skip that nobody foresaw."""

from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

CONFTEST = Path(__file__).with_name("conftest.py").read_text(encoding="utf-8")
PASSES = "def test_it():\n    pass\n"
SKIPS = "import pytest\n\ndef test_it():\n    pytest.skip({reason!r})\n"
SKIPS_WHOLE_MODULE = "import pytest\n\npytest.importorskip('no_such_module')\n"


def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, *arguments: str, ci: str) -> pytest.RunResult:
    monkeypatch.setenv("CI", ci)
    pytester.makeconftest(CONFTEST)
    return pytester.runpytest_subprocess(*arguments)


@pytest.mark.parametrize("workers", ["0", "2"])
def test_an_unforeseen_skip_fails_ci_and_is_named(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, workers: str
) -> None:
    pytester.makepyfile(test_passes=PASSES, test_skips=SKIPS.format(reason="not today"))
    pytester.makepyfile(test_module=SKIPS_WHOLE_MODULE)
    result = run(pytester, monkeypatch, "-n", workers, ci="true")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines_random(
        [
            "unforeseen skip: test_skips.py::test_it: not today",
            "unforeseen skip: test_module.py: could not import 'no_such_module'*",
        ]
    )


def test_a_foreseen_skip_and_an_expected_failure_pass_ci(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    fails = "import pytest\n\n@pytest.mark.xfail(strict=True)\ndef test_it():\n    assert False\n"
    pytester.makepyfile(test_skips=SKIPS.format(reason="no GPU here: timing"), test_fails=fails)
    result = run(pytester, monkeypatch, "-n", "0", ci="true")
    assert result.ret == pytest.ExitCode.OK
    result.assert_outcomes(skipped=1, xfailed=1)


def test_away_from_ci_a_skip_is_only_a_skip(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    pytester.makepyfile(test_skips=SKIPS.format(reason="not today"))
    assert run(pytester, monkeypatch, "-n", "0", ci="").ret == pytest.ExitCode.OK


def test_a_device_is_a_parameter_of_the_test_that_asks_for_it(device: object) -> None:
    assert str(device) in {"cpu", "cuda"}
