"""Every regular expression of the product, against long inputs that are made to hurt it.

The inputs come from each expression's own parts: what it looks for, repeated, in pairs, behind a beginning that almost
fits. Time is compared with time: four times the input may cost a linear expression four times as much, and costs a
quadratic one sixteen times.
"""

from __future__ import annotations

import ast
import itertools
import re
import re._constants as opcodes
import re._parser as parser
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
LENGTH = 4_000
SUSPICIOUS_S = 0.002
"""CPU time of one search at which growth is measured: a linear expression needs far less for so many characters."""
STEEP = 9.0
"""Growth of time over a fourfold input from which it is not linear; sixteen is quadratic, noise is in between."""
MOST_CHARACTERS = 8
"""Of an expression, that are tried in pairs."""
_CALLS = {"compile", "match", "search", "fullmatch", "sub", "subn", "split", "findall", "finditer"}


def expressions() -> dict[str, re.Pattern[str]]:
    """All expressions that stand in the product's source, by file and text."""
    found: dict[str, re.Pattern[str]] = {}
    for path in sorted([*(ROOT / "include").rglob("*.py"), *(ROOT / "plugins").rglob("*.py")]):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            called = ast.unparse(node.func)
            given = node.args[:1] if called.startswith("re.") and called[3:] in _CALLS else []
            given += [keyword.value for keyword in node.keywords if keyword.arg == "pattern"]
            for argument in given:
                text = argument.value if isinstance(argument, ast.Constant) else None
                if isinstance(text, bytes):
                    text = text.decode("latin-1")
                if isinstance(text, str):
                    found[f"{path.relative_to(ROOT)}: {text}"] = re.compile(text, flags(node))
    return found


def flags(call: ast.Call) -> int:
    told = " ".join(ast.unparse(part) for part in (*call.args[1:], *(keyword.value for keyword in call.keywords)))
    return sum(int(getattr(re, name)) for name in ("MULTILINE", "IGNORECASE", "DOTALL") if f"re.{name}" in told)


def characters(pattern: str) -> list[str]:
    """Characters that the parts of an expression take, in the order in which they stand."""
    return list(dict.fromkeys(char for char in taken(parser.parse(pattern)) if char != "\n"))


def taken(parts: Any) -> Iterator[str]:
    """One character for every part of a parsed expression."""
    if isinstance(parts, tuple) and len(parts) == 2 and parts[0] in SAMPLES:
        yield SAMPLES[parts[0]](parts[1])
    elif isinstance(parts, parser.SubPattern | tuple | list):
        for each in parts:
            yield from taken(each)


CLASSES = {opcodes.CATEGORY_DIGIT: "0", opcodes.CATEGORY_SPACE: " ", opcodes.CATEGORY_WORD: "a"}
SAMPLES: dict[Any, Callable[[Any], str]] = {
    opcodes.LITERAL: chr,
    opcodes.RANGE: lambda ends: chr(ends[0]),
    opcodes.CATEGORY: lambda kind: CLASSES.get(kind, "-"),
    opcodes.NOT_LITERAL: lambda _: "a",
    opcodes.ANY: lambda _: "a",
}


def beginnings(pattern: str) -> list[str]:
    """Texts that an expression's first parts match, the longer ones last."""
    found, text = [""], ""
    for part in parser.parse(pattern):
        text += sample(part)
        found.append(text)
    return list(dict.fromkeys(found))


def sample(part: Any) -> str:
    """A text that one part of a parsed expression matches."""
    op, value = part
    if op in SAMPLES:
        return SAMPLES[op](value)
    if op is opcodes.IN:
        return next((sample(each) for each in value if each[0] is not opcodes.NEGATE), "a") if value else ""
    if op is opcodes.BRANCH:
        return "".join(map(sample, value[1][0]))
    if op is opcodes.SUBPATTERN:
        return "".join(map(sample, value[-1]))
    if op in {opcodes.MAX_REPEAT, opcodes.MIN_REPEAT, opcodes.POSSESSIVE_REPEAT}:
        return "".join(map(sample, value[2])) * max(1, value[0])
    return ""


def attacks(pattern: str) -> Iterator[tuple[str, str, str]]:
    """Beginning, what is repeated, and end."""
    parts = characters(pattern)
    half = MOST_CHARACTERS // 2
    spread = [*(parts if len(parts) <= MOST_CHARACTERS else [*parts[:half], *parts[-half:]]), "a", "\n"]
    starts = beginnings(pattern)
    for begin, pump in itertools.product(starts, [*spread, *filter(None, starts)]):
        yield begin, pump, "\0"
    for one, two in itertools.product(spread, repeat=2):
        yield one, two, ""
        yield "", one + two, "\0"


def cpu_s(pattern: re.Pattern[str], text: str, *, times: int = 3) -> float:
    best = float("inf")
    for _ in range(times):
        started = time.thread_time()
        pattern.search(text)
        best = min(best, time.thread_time() - started)
    return best


def growth(pattern: re.Pattern[str]) -> tuple[float, str] | None:
    """How much more time four times the input takes, and the input; None where no input takes any time to speak of."""
    worst: tuple[float, str] | None = None
    for begin, pump, end in attacks(pattern.pattern):
        once = cpu_s(pattern, begin + pump * (LENGTH // len(pump)) + end, times=1)
        if once < SUSPICIOUS_S:
            continue
        # A bound of some thousand characters looks quadratic below it: only what goes on growing is. What takes half a
        # second already is measured over shorter inputs instead.
        sizes = (2, 8) if once < 0.5 else (0.25, 1)
        small, large = (cpu_s(pattern, begin + pump * int(LENGTH * n / len(pump)) + end) for n in sizes)
        if worst is None or large / small > worst[0]:
            worst = (large / small, f"{begin!r} + {pump!r} * n + {end!r}")
        if worst[0] > STEEP:
            break
    return worst


def test_every_expression_is_linear_in_its_input() -> None:
    found = expressions()
    steep = {
        name: worst for name, pattern in found.items() if (worst := growth(pattern)) is not None and worst[0] > STEEP
    }

    assert len(found) > 40
    assert steep == {}


@pytest.mark.parametrize(
    "pattern",
    [
        pytest.param(r"<(/?)([A-Za-z]+)[^<>]*>|<[0-9:.]+>|\{\\[^{}]*\}", id="a tag, as it was until 0.3"),
        pytest.param(r"\s+$", id="blanks at an end"),
    ],
)
def test_the_measure_finds_what_is_not_linear(pattern: str) -> None:
    found = growth(re.compile(pattern))

    assert found is not None
    assert found[0] > STEEP
