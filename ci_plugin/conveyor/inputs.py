"""How facts become labelled inputs, and what of them people may see."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ci_plugin.conveyor.stage import Input
from ci_plugin.values.canonical import Value


def visible(label: str, value: str) -> Input:
    """A fact that may be shown as it is: a reference, a digest, a path, a stage signature."""
    return Input(label, value, value)


def hidden(label: str, value: Value | None) -> Iterator[Input]:
    """A text that may hold a value of the environment, where there is one: only its length is shown."""
    if value is not None:
        size = _count(len(value), "item") if isinstance(value, tuple) else _count(len(str(value)), "character")
        yield Input(label, value, size)


def pairs(label: str, values: Iterable[tuple[str, str]]) -> Iterator[Input]:
    """Named values, where there are any, in any order: the names are shown, the values are not."""
    ordered = tuple(sorted(values))
    if ordered:
        yield Input(label, ordered, ", ".join(dict.fromkeys(name for name, _ in ordered)))


def texts(label: str, values: Iterable[str] | None) -> Iterator[Input]:
    """A list of texts, where it is given: only its length is shown."""
    if values is not None:
        yield from hidden(label, tuple(values))


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
