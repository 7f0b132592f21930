"""Values as Go's templates see them, and what one run may use up.

Text is ``str``, numbers ``int`` and ``float``, then ``bool``, ``list``, ``dict`` with text keys, ``None`` for nil, ``MISSING`` for what a
map does not hold. Printing, comparing and indexing follow Go's ``text/template`` and ``fmt``. Everything that walks through a value is
charged to the ``Budget`` before it is done, so that no template can use more time or memory than the budget has.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Protocol
from urllib.parse import quote_plus

from ci_plugin.config.template_library import sprintf
from ci_plugin.config.template_quick import printed as quickly_printed

MAX_STEPS = 1_000_000
"""One step is at most about two microseconds of work."""
MAX_OUTPUT = 1 << 20
MAX_DEPTH = 50
_NUMBER = re.compile(r"[0-9]+")
_DIRECTIVE = re.compile(r"%%|%[-+# 0]*[0-9]*(?:\.[0-9]*)?(?P<verb>[a-zA-Z])")
_PLACED = re.compile(r"%[^a-zA-Z%]*[*\[]")
"""A directive that names its argument, or takes its width from one."""


class Refused(Exception):
    """A template may not go on: our message and hint; becomes a ConfigError with its place, nothing else sees it."""

    def __init__(self, message: str, hint: str = "check this line of the template") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class _Missing:
    def __repr__(self) -> str:
        return "<no value>"


MISSING = _Missing()
"""What a map does not hold: prints as ``<no value>``, its fields are missing, too."""


class StringMap(dict[str, str]):
    """Go's ``map[string]string``: what it does not hold is the empty text for ``index``."""


class Methods(Protocol):
    """A value whose fields are functions, such as ``.Files``."""

    def methods(self) -> Mapping[str, Callable[..., object]]:
        """Name → function of plain arguments."""
        ...


class Budget:
    """The steps one run has left."""

    def __init__(self, steps: int = MAX_STEPS) -> None:
        self.left = steps

    def charge(self, steps: int) -> None:
        """Use up steps. Raises Refused where there are none left."""
        self.left -= steps
        if self.left < 0:
            raise Refused(
                f"expected a template that ends within {MAX_STEPS:,} steps, found more work", "split the configuration, or loop less"
            )

    def charge_value(self, value: object, depth: int = 0) -> None:
        """What walking through a value costs: some steps a value, one for 8 characters, more the deeper it lies."""
        if isinstance(value, str):
            self.charge(1 + (len(value) >> 3))
        elif isinstance(value, list | dict):
            if depth > MAX_DEPTH:
                raise Refused(f"expected a value at most {MAX_DEPTH} levels deep, found more", "a map or list cannot hold itself")
            self.charge(1 + (depth >> 2) + 4 * len(value))
            for item in value.values() if isinstance(value, dict) else value:
                self.charge_value(item, depth + 1)
            if isinstance(value, dict):
                self.charge(sum(map(len, map(str, value))) >> 3)


def at_most(size: int, what: str) -> None:
    """Refuse what would be larger than a whole configuration may be."""
    if size > MAX_OUTPUT:
        raise Refused(f"expected {what} to make at most 1 MiB, found more", "use a smaller number, or a shorter text")


class _Nil:
    """nil for the formatter, which would print the Python value for it as ``<no value>``."""

    def __go_format_value__(self, kind: str, mode: str, *, nested: bool) -> str:
        return "<nil>"


_NIL = _Nil()


def printed(value: object) -> str:
    """What an action prints: nil and missing as ``<no value>``, everything else as ``%v``."""
    if isinstance(value, str):
        return value
    if value is None or value is MISSING:
        return "<no value>"
    return str(value) if type(value) is int else str(value).lower() if type(value) is bool else formatted("%v", value)


def formatted(layout: str, *values: object) -> str:
    """``printf``; widths and precisions are limited."""
    if isinstance(quick := quickly_printed(layout, values), str):
        return quick
    if "%" in layout:
        numbers = [int(text[:18]) for text in _NUMBER.findall(layout)]
        if "*" in layout:
            numbers += [abs(item) for item in values if isinstance(item, int)]
        at_most(sum(numbers), "`printf`")
    if any(isinstance(value, list | dict) for value in values) and not _PLACED.search(layout):
        layout, values = _spelled_out(layout, values)
    return sprintf(layout, *(_NIL if value is None else _printable(value) for value in values))


def _spelled_out(layout: str, values: tuple[object, ...]) -> tuple[str, tuple[object, ...]]:
    """The verb of a list or map goes to each of its items, as in Go; the formatter has no such rule."""
    rest, given = list(values), []

    def replace(found: re.Match[str]) -> str:
        if found[0] == "%%" or not rest:
            return found[0]
        value = rest.pop(0)
        is_whole = found["verb"] not in "vT" and isinstance(value, list | dict)
        given.append(_each(found[0], value) if is_whole else value)
        return "%s" if is_whole else found[0]

    return _DIRECTIVE.sub(replace, layout), (*given, *rest)


def _each(directive: str, value: object) -> object:
    if isinstance(value, list):
        return f"[{' '.join(str(_each(directive, item)) for item in value)}]"
    if isinstance(value, dict):
        return f"map[{' '.join(f'{_each(directive, key)}:{_each(directive, value[key])}' for key in sorted(value))}]"
    return sprintf(directive, _NIL if value is None else value)


def _printable(value: object) -> object:
    if hasattr(value, "methods") and not hasattr(value, "__go_format_value__"):
        raise Refused("expected a value that can be printed, found a set of functions", "call one of them, such as .Files.Get")
    if isinstance(value, dict):
        return {key: _NIL if item is None else _printable(item) for key, item in value.items()}
    return [_NIL if item is None else _printable(item) for item in value] if isinstance(value, list) else value


def spread(*values: object) -> str:
    """``print``: a blank between two values neither of which is text."""
    text, before = "", ""
    for index, value in enumerate(values):
        blank = index and not isinstance(value, str) and not isinstance(before, str)
        text += (" " if blank else "") + (value if isinstance(value, str) else formatted("%v", value))
        before = value  # type: ignore[assignment]
    return text


def is_true(value: object) -> bool:
    """Whether ``if`` takes it: not false, 0, nil, missing or empty."""
    return value is not MISSING and bool(value)


def field_of(value: object, name: str) -> object:
    """``.name`` of a map. Raises Refused where the value has no fields."""
    if isinstance(value, dict):
        return value.get(name, MISSING)
    if value is MISSING:
        return MISSING
    if hasattr(value, "methods"):
        found = value.methods().get(name)
        if found is None:
            raise Refused(f"expected one of {', '.join(value.methods())}, found .{name[:100]}")
        return found
    raise Refused(f"expected a map before .{name[:100]}, found {kind_of(value)}")


def kind_of(value: object) -> str:
    """What Go calls it."""
    if value is None or value is MISSING:
        return "nil"
    if isinstance(value, str):
        return "a string"
    names = {bool: "a bool", int: "an int", float: "a float64", list: "a list"}
    return names.get(type(value), "a map" if isinstance(value, dict) else "something else")


def index(value: object, *keys: object) -> object:
    """``index``: the item of lists, maps and text (its bytes) along the keys."""
    for key in keys:
        value = _item(value, key)
    return value


def _item(value: object, key: object) -> object:
    if isinstance(value, dict):
        if not isinstance(key, str):
            raise Refused(f"expected text as the key of a map, found {kind_of(key)}")
        return value.get(key, "" if isinstance(value, StringMap) else None)
    if not isinstance(value, list | str):
        raise Refused(f"expected a list or a map to index, found {kind_of(value)}")
    items: list[object] | bytes = value.encode() if isinstance(value, str) else value
    if not isinstance(key, int) or isinstance(key, bool):
        raise Refused(f"expected a number as the index of a list, found {kind_of(key)}")
    if not 0 <= key < len(items):
        raise Refused(f"expected an index below {len(items)}, found {key}")
    return items[key]


def length(value: object) -> int:
    """``len``: text in bytes."""
    if isinstance(value, str):
        return len(value.encode("utf-8", "surrogatepass"))
    if not isinstance(value, list | dict):
        raise Refused(f"expected text, a list or a map, found {kind_of(value)}")
    return len(value)


def equal(first: object, *others: object) -> bool:
    """``eq``: whether the first equals any other; nil equals nil only."""
    if not others:
        raise Refused("expected `eq` with two values or more, found one")
    return True in [_is_equal(first, other) for other in others]  # all of them: each must be comparable


def _is_equal(first: object, second: object) -> bool:
    if first is None or second is None:
        return first is second
    for value in (first, second):
        if isinstance(value, list | dict):
            raise Refused(f"expected values that compare, found {kind_of(value)}", "compare their items, or use deepEqual")
    if kind_of(first) != kind_of(second):
        raise Refused(f"expected two values of one kind, found {kind_of(first)} and {kind_of(second)}", "use toString, int or float64")
    return first == second


def less(first: object, second: object) -> bool:
    """``lt``: two numbers of one kind, or two texts."""
    if kind_of(first) != kind_of(second) or not isinstance(first, int | float | str) or isinstance(first, bool):
        raise Refused(f"expected two numbers or two texts, found {kind_of(first)} and {kind_of(second)}", "use toString, int or float64")
    if isinstance(first, str) and isinstance(second, str):
        return first.encode() < second.encode()
    return first < second  # type: ignore[operator]


_HTML = {"\0": "\ufffd", '"': "&#34;", "'": "&#39;", "&": "&amp;", "<": "&lt;", ">": "&gt;"}
_JS = {"\\": r"\\", "'": r"\'", '"': r"\"", "<": r"\u003C", ">": r"\u003E", "&": r"\u0026", "=": r"\u003D"}


def _joined(values: tuple[object, ...]) -> str:
    return values[0] if len(values) == 1 and isinstance(values[0], str) else spread(*values)


def _js(*values: object) -> str:
    text = "".join(_JS.get(character, character) for character in _joined(values))
    return re.sub(r"[\x00-\x1f\u2028\u2029]", lambda found: f"\\u{ord(found[0]):04X}", text)


BUILTINS: Mapping[str, Callable[..., object]] = {
    "eq": equal,
    "ne": lambda first, second: not _is_equal(first, second),
    "lt": less,
    "le": lambda first, second: less(first, second) or _is_equal(first, second),
    "gt": lambda first, second: not less(first, second) and not _is_equal(first, second),
    "ge": lambda first, second: not less(first, second),
    "html": lambda *values: "".join(_HTML.get(character, character) for character in _joined(values)),
    "index": index,
    "js": _js,
    "len": length,
    "not": lambda value: not is_true(value),
    "print": spread,
    "printf": formatted,
    "println": lambda *values: " ".join(value if isinstance(value, str) else formatted("%v", value) for value in values) + "\n",
    "urlquery": lambda *values: quote_plus(_joined(values), safe=""),
}
"""Go's own functions but ``and``, ``or`` (they evaluate what they need, not more) and ``call`` (there is nothing to call)."""
