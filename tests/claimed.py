"""Figures in prose, held against the result files that they come from.

``benchmarks/claims.json`` lists the claims and, under ``not_measured``, patterns of figures that nothing measured, such
as names and options; a space in them is any white space, and those at the top go first. A claim has a ``file``, a
``text`` of it, which may be wrapped differently, and for every figure in the text one of the ``sources``, in order. A
source is a result file and the way into it:

    transfer.json > arms > method=ce & start=raw > test > mean

where a step is a key, an index, ``*`` for any, or conditions that an entry meets. ``least of``, ``most of``,
``mean of``, ``median of``, ``spread of`` and ``count of`` make one value of many; ``over`` and ``less`` divide and
subtract two of them, or a plain number. A figure may be as far from its source as its decimals round. Its unit is what
stands behind it (%, K, M, G), or else the claim's ``unit``.
"""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from statistics import fmean, median, stdev
from typing import Any

FIGURE = re.compile(r"(?<![\w.])(\d+(?:,\d{3})*(?:\.\d+)?)([%KMG]?)(?!\w)")
UNSAID = re.compile(r"```\w+\n.*?```|<!--.*?-->|`[^`\n]*`|\]\([^)]*\)", re.DOTALL)  # code, comments, link targets
UNITS = {"": 1.0, "%": 100.0, "K": 1e-3, "M": 1e-6, "G": 1e-9}
ONE_OF_MANY: dict[str, Callable[[Sequence[float]], float]] = {
    "least of": min,
    "most of": max,
    "mean of": fmean,
    "median of": median,
    "spread of": stdev,
    "count of": len,
}


class UnfoundedError(Exception):
    """A source that leads nowhere."""


@dataclass(frozen=True)
class Claim:
    """A text of a file, and where each of its figures comes from."""

    file: str
    text: str
    sources: tuple[str, ...]
    unit: str = ""

    def found(self, prose: str) -> list[tuple[int, int]]:
        """Where the text stands, however it is wrapped."""
        pattern = r"\s+".join(map(re.escape, self.text.split()))
        return [match.span() for match in re.finditer(pattern, prose)]


@dataclass(frozen=True)
class Results:
    """The result files of a folder."""

    folder: Path

    def value(self, source: str) -> float:
        """What a source comes to.

        >>> import json, tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> _ = (folder / "times.json").write_text(json.dumps({"ours": [1.0, 3.0], "theirs": 8}))
        >>> Results(folder).value("times.json > theirs over mean of times.json > ours > *")
        4.0
        """
        for word, joined in (("less", float.__sub__), ("over", float.__truediv__)):
            first, found, second = source.partition(f" {word} ")
            if found:
                return joined(self.value(first), self.value(second))
        if re.fullmatch(r"[\d.]+", source):
            return float(source)
        reduction = next((name for name in ONE_OF_MANY if source.startswith(name)), None)
        values = self._values(source.removeprefix(reduction or "").strip())
        if reduction is None and len(values) != 1:
            raise UnfoundedError(f"{source} leads to {len(values)} values; say which, or 'mean of'")
        return float(ONE_OF_MANY[reduction](values) if reduction else values[0])

    def _values(self, source: str) -> list[Any]:
        name, *steps = source.split(" > ")
        path = self.folder / name
        if not path.is_file():
            raise UnfoundedError(f"there is no {name} in results/")
        text = path.read_text(encoding="utf-8")
        here = [[json.loads(line) for line in text.splitlines()] if path.suffix == ".jsonl" else json.loads(text)]
        for step in steps:
            here = [each for value in here for each in entered(value, step)]
            if not here:
                raise UnfoundedError(f"{source} leads nowhere at '{step}'")
        return here


def entered(value: Any, step: str) -> Iterator[Any]:
    """What a step leads to."""
    if isinstance(value, dict) and "=" not in step:
        yield from (each for key, each in value.items() if fnmatchcase(key, step))
    elif isinstance(value, list) and step.isdigit():
        yield from value[int(step) : int(step) + 1]
    elif step == "*":
        yield from value
    else:
        wanted = dict(condition.split("=", 1) for condition in step.split(" & "))
        entries = value.values() if isinstance(value, dict) else value
        yield from (each for each in entries if all(matches(each.get(key), text) for key, text in wanted.items()))


def matches(value: Any, text: str) -> bool:
    """Whether a JSON value is written so."""
    return bool(value == text) or json.dumps(value) == text


@dataclass(frozen=True)
class Checker:
    """The claims about some files, ``texts`` by name, and what they are founded on."""

    texts: dict[str, str]
    claims: tuple[Claim, ...]
    not_measured: tuple[str, ...]
    results: Results

    @classmethod
    def of(cls, root: Path, files: Sequence[str]) -> "Checker":
        """Of these files of a checkout."""
        table = json.loads((root / "benchmarks" / "claims.json").read_text(encoding="utf-8"))
        claims = [Claim(**{**each, "sources": tuple(each["sources"])}) for each in table["claims"]]
        texts = {name: (root / name).read_text(encoding="utf-8") for name in files}
        return cls(texts, tuple(claims), tuple(table["not_measured"]), Results(root / "benchmarks" / "results"))

    @cached_property
    def measured(self) -> dict[str, str]:
        """The texts, blank where nothing is said or nothing was measured; places stay."""
        patterns = [*(re.compile(each.replace(" ", r"\s+")) for each in self.not_measured), UNSAID]
        blanked = dict(self.texts)
        for pattern in patterns:
            blanked = {name: pattern.sub(_blank, text) for name, text in blanked.items()}
        return blanked

    def failures(self) -> list[str]:
        """Everything that is wrong, a line each."""
        return [*(line for claim in self.claims for line in self._wrong(claim)), *self._unclaimed()]

    def _wrong(self, claim: Claim) -> Iterator[str]:
        """What is wrong with a claim."""
        spans = claim.found(self.texts.get(claim.file, ""))
        if not spans:
            yield f"{claim.file}: '{claim.text}' is claimed, but not in the text; change or drop its claim"
        for start, end in spans:
            where = f"{claim.file}:{self._line(claim.file, start)}"
            figures = list(FIGURE.finditer(self.measured[claim.file], start, end))
            if len(figures) != len(claim.sources):
                written = ", ".join(figure[0] for figure in figures)
                yield f"{where}: '{claim.text}' has {len(figures)} figures ({written}), {len(claim.sources)} sources"
                continue
            for figure, source in zip(figures, claim.sources, strict=True):
                yield from self._differs(f"{where}: '{claim.text}' says {figure[0]}", figure, source, claim.unit)

    def _differs(self, said: str, figure: re.Match[str], source: str, unit: str) -> Iterator[str]:
        """Whether a figure is not what its source is, rounded."""
        try:
            value = UNITS[figure[2] or unit] * self.results.value(source)
        except (UnfoundedError, TypeError, ZeroDivisionError) as error:
            yield f"{said}, and {error}"
            return
        decimals = len(figure[1].partition(".")[2])
        if abs(value - float(figure[1].replace(",", ""))) > 0.5 * 10**-decimals * (1 + 1e-9):
            yield f"{said}, {source} is {value:.{decimals + 2}f}"

    def _unclaimed(self) -> Iterator[str]:
        """Figures that no claim covers."""
        for name, text in self.measured.items():
            spans = [span for claim in self.claims if claim.file == name for span in claim.found(self.texts[name])]
            for figure in FIGURE.finditer(text):
                if not any(start <= figure.start() < end for start, end in spans):
                    line = self._line(name, figure.start())
                    beside = " ".join(self.texts[name][max(0, figure.start() - 40) : figure.end() + 20].split())
                    yield (
                        f"{name}:{line}: {figure[0]} in '…{beside}…' has no claim; add one to benchmarks/claims.json,"
                        " or what it is to not_measured there"
                    )

    def _line(self, name: str, place: int) -> int:
        return self.texts[name].count("\n", 0, place) + 1


def _blank(match: re.Match[str]) -> str:
    """Spaces as long as what matched, and its line breaks."""
    return re.sub(r"[^\n]", " ", match[0])
