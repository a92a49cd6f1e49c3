"""README and docs: every command parses, every Python snippet compiles and names what exists."""

import ast
import configparser
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

import secateur as sc
from secateur.__main__ import app

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page: Path, language: str) -> Iterator[str]:
    yield from re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def commands(text: str) -> Iterator[list[str]]:
    """The words behind ``secateur`` of each line, or of the end of one."""
    for line in text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        places = [place for place, word in enumerate(words) if Path(word).name == "secateur"]
        if places and (words[0].endswith("secateur") or words[0] in ("python3.11", "torchrun")):
            yield words[places[-1] + 1 :]


def typed(page: Path) -> Iterator[list[str]]:
    for block in blocks(page, "sh"):
        yield from commands(block)
    prose = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    for span in re.findall(r"`(secateur [^`]*)`", prose):
        yield shlex.split(span)[1:]


COMMANDS = [(page.name, words) for page in PAGES for words in typed(page)]
SNIPPETS = [(page.name, block) for page in PAGES for block in blocks(page, "python")]


def is_whole(words: list[str]) -> bool:
    """Whether the words are a command to type, not a name or a pattern of one."""
    return (len(words) != 1 and not {"...", "COMMAND"} & {*words[:3]}) or words in ([], ["run"], ["doctor"])


@pytest.mark.parametrize(("page", "words"), [each for each in COMMANDS if is_whole(each[1])])
def test_a_command_of_a_page_parses(page: str, words: list[str]) -> None:
    app.parse_args(words, exit_on_error=False, print_error=False)


@pytest.mark.parametrize(("page", "words"), [each for each in COMMANDS if not is_whole(each[1])])
def test_a_command_that_is_only_named_exists(page: str, words: list[str]) -> None:
    assert words[0] == "COMMAND" or words[0] in app


@pytest.mark.parametrize(("page", "code"), SNIPPETS)
def test_a_snippet_of_a_page_names_only_what_exists(page: str, code: str) -> None:
    tree = ast.parse(code)
    names = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "sc"
    }
    assert {name for name in names if not hasattr(sc, name)} == set()


def test_public_names_in_the_prose_exist() -> None:
    prose = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    assert {name for name in re.findall(r"\bsc\.(\w+)", prose) if not hasattr(sc, name)} == set()


@pytest.mark.parametrize("page", [page.name for page in PAGES])
def test_links_to_files_lead_somewhere(page: str) -> None:
    (path,) = (each for each in PAGES if each.name == page)
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", path.read_text(encoding="utf-8"))
    assert [link for link in links if not (path.parent / link).exists()] == []


def test_the_checks_find_commands_and_snippets() -> None:
    assert len(COMMANDS) > 30
    assert len(SNIPPETS) > 5
    with pytest.raises(Exception, match="--flop"):
        app.parse_args(["run", "resnet20", "--flop", "50%"], exit_on_error=False, print_error=False)


def test_the_readme_is_of_one_and_a_half_screens() -> None:
    assert len(PAGES[0].read_text(encoding="utf-8").splitlines()) <= 90


def test_the_description_of_the_package_has_no_link_to_a_file() -> None:
    settings = configparser.ConfigParser(interpolation=None)
    settings.read(ROOT / "setup.cfg", encoding="utf-8")
    described = ROOT / settings["metadata"]["long_description"].removeprefix("file: ")
    links = re.findall(r"\]\(([^)]*)\)", described.read_text(encoding="utf-8"))
    assert [link for link in links if "://" not in link] == []
