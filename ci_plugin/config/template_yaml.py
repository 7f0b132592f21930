"""``fromYaml`` and ``toYaml`` as Go's yaml.v2 reads and writes.

Rules: https://github.com/go-yaml/yaml/tree/v2 (``encode.go``, ``sorter.go``). Reading goes through PyYAML's parser events
with limits on depth and, after aliases are followed, on the number of values; writing through PyYAML's emitter, a port of the same C
library as Go's.
"""

from __future__ import annotations

import base64
import binascii
import io
import re
from collections.abc import Callable, Iterator
from functools import cmp_to_key
from typing import Any, TypeAlias

from ci_plugin.config.go_scalars import resolve_plain
from ci_plugin.config.template_library import sprintf
from ci_plugin.config.template_values import MAX_DEPTH, Refused

Event: TypeAlias = Any
"""One of PyYAML's events; told apart by class name, so that the module need not import PyYAML."""
Module: TypeAlias = Any
"""PyYAML, or a class of it."""
_BASE_60 = re.compile(r"[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?")
_DATE = re.compile(r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}([Tt ].*)?")
_NODE = 12
"""Steps that reading one value takes."""
_ASTRAL = re.compile(r"[\U00010000-\U0010ffff]")
"""What Go's emitter escapes, and PyYAML's does not."""
_PREFIX = "tag:yaml.org,2002:"


def from_yaml(text: str, charge: Callable[[int], None]) -> dict[str, object]:
    """The map a YAML text holds; an empty one for none. Raises Refused."""
    import yaml  # here: only a template that asks for it

    charge(len(text))
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        value = _Reader(yaml.parse(text, Loader=loader), charge).first()
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" in its line {mark.line + 1}" if mark else ""
        raise Refused(f"expected YAML for `fromYaml`, found: {getattr(error, 'problem', None) or 'a forbidden character'}{line}") from None
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise Refused("expected a map for `fromYaml`, found a list or a single value", "put a key before it")
    return value


class _Reader:
    """Values from parser events."""

    def __init__(self, events: Iterator[Any], charge: Callable[[int], None]) -> None:
        self._events = events
        self._charge = charge
        self._anchors: dict[str, tuple[object, int]] = {}
        self._spent = 0

    def first(self) -> object:
        for event in self._events:
            if type(event).__name__ == "DocumentStartEvent":
                return self._value(next(self._events), 1)
        return None

    def _value(self, event: Event, depth: int) -> object:
        kind = type(event).__name__
        if depth > MAX_DEPTH:
            raise Refused(f"expected YAML at most {MAX_DEPTH} levels deep, found more")
        self._pay(_NODE)
        if kind == "AliasEvent":
            return self._alias(event.anchor)
        before = self._spent
        value: object
        if kind == "ScalarEvent":
            value = self._scalar(event)
        elif kind == "SequenceStartEvent":
            value = [self._value(item, depth + 1) for item in self._until("SequenceEndEvent")]
        else:
            value = self._map(depth)
        if event.anchor is not None:
            self._anchors[event.anchor] = value, self._spent - before
        return value

    def _pay(self, steps: int) -> None:
        self._spent += steps
        self._charge(steps)

    def _until(self, end: str) -> Iterator[Any]:
        for event in self._events:
            if type(event).__name__ == end:
                return
            yield event

    def _alias(self, anchor: str) -> object:
        if anchor not in self._anchors:
            raise Refused(f"expected an anchor &{anchor[:100]} before its alias, found none")
        value, cost = self._anchors[anchor]
        self._pay(cost)
        return value

    def _scalar(self, event: Event) -> object:
        tag = event.tag
        if tag in (None, "!") or not tag.startswith(_PREFIX):
            return resolve_plain(event.value) if event.implicit[0] else event.value
        if tag == f"{_PREFIX}str":
            return event.value
        if tag == f"{_PREFIX}binary":
            return _binary(event.value)
        if tag == f"{_PREFIX}float":
            found = resolve_plain(event.value)
            return float(found) if isinstance(found, int) else found
        return resolve_plain(event.value)

    def _map(self, depth: int) -> dict[str, object]:
        found: dict[str, object] = {}
        merged: list[object] = []
        for event in self._until("MappingEndEvent"):
            if type(event).__name__ != "ScalarEvent":
                raise Refused("expected text as the key of a map, found an alias, a list or a map", "write the key as text")
            is_merge = event.value == "<<" and event.implicit[0]
            key: str = event.value
            self._pay(_NODE)
            value = self._value(next(self._events), depth + 1)
            if is_merge:
                merged += value if isinstance(value, list) else [value]
            else:
                found[key] = value
        for source in reversed(merged):
            if not isinstance(source, dict):
                raise Refused("expected a map to merge with <<, found something else")
            found = {**source, **found} if source else found
        return found


def _binary(text: str) -> str:
    try:
        return base64.b64decode(text).decode("utf-8", "replace")
    except (binascii.Error, ValueError):
        raise Refused("expected base64 after !!binary, found something else") from None


def to_yaml(value: object) -> str:
    """The YAML of a value, keys sorted, without a line break at its end. Raises Refused for what has no YAML."""
    import yaml

    stream = io.StringIO()
    emitter = _emitter(yaml)(stream, width=80, allow_unicode=True)
    emitter.emit(yaml.StreamStartEvent())
    emitter.emit(yaml.DocumentStartEvent(explicit=False))
    for event in _events(value, yaml):
        emitter.emit(event)
    emitter.emit(yaml.DocumentEndEvent(explicit=False))
    emitter.emit(yaml.StreamEndEvent())
    text = stream.getvalue().removesuffix("...\n").removesuffix("\n")
    return _ASTRAL.sub(lambda found: f"\\U{ord(found[0]):08X}", text)


def _emitter(yaml: Module) -> Module:
    class Emitter(yaml.emitter.Emitter):  # type: ignore[misc]
        """Go's emitter writes an empty key as ``"": value``."""

        def check_simple_key(self) -> bool:
            is_empty = isinstance(self.event, yaml.ScalarEvent) and not self.event.value
            return is_empty or bool(super().check_simple_key())

    return Emitter


def _events(value: object, yaml: Module) -> Iterator[Any]:
    if isinstance(value, dict):
        yield yaml.MappingStartEvent(None, None, True, flow_style=not value)
        for key in sorted(value, key=cmp_to_key(_order)):
            yield _scalar(key, yaml)
            yield from _events(value[key], yaml)
        yield yaml.MappingEndEvent()
    elif isinstance(value, list):
        yield yaml.SequenceStartEvent(None, None, True, flow_style=not value)
        for item in value:
            yield from _events(item, yaml)
        yield yaml.SequenceEndEvent()
    else:
        yield _scalar(value, yaml)


def _scalar(value: object, yaml: Module) -> Event:
    style: str | None = None
    if value is None:
        text = "null"
    elif isinstance(value, bool):
        text = "true" if value else "false"
    elif isinstance(value, int | float):
        text = _number(value)
    elif isinstance(value, str):
        text, style = value, _style(value)
    else:
        raise Refused("expected text, numbers, lists and maps for `toYaml`, found a set of functions")
    return yaml.ScalarEvent(None, None, (True, True), text, style=style)


def _style(text: str) -> str | None:
    if _ASTRAL.search(text):
        return '"'
    if "\n" in text:
        return "|"
    is_plain = isinstance(resolve_plain(text), str) and not _BASE_60.fullmatch(text) and not _DATE.fullmatch(text)
    return None if is_plain else '"'


def _number(value: float) -> str:
    if isinstance(value, int):
        return str(value)
    text = sprintf("%v", value)
    return {"+Inf": ".inf", "-Inf": "-.inf", "NaN": ".nan"}.get(text, text)


def _order(first: str, second: str) -> int:
    """Keys in yaml.v2's order: letters after everything else, runs of digits by their number."""
    for index, (one, other) in enumerate(zip(first, second, strict=False)):
        if one == other:
            continue
        if one.isalpha() or other.isalpha():
            is_before = one < other if one.isalpha() and other.isalpha() else other.isalpha()
            return -1 if is_before else 1
        return -1 if _digits(first, second, index) < _digits(second, first, index) else 1
    return len(first) - len(second)


def _digits(text: str, other: str, index: int) -> tuple[int, int, str]:
    """What a run of digits counts for; a zero inside a number is one of its digits."""
    before = re.search(r"[0-9]*$", text[:index])
    inside = "0" in (text[index], other[index]) and before is not None and before[0].strip("0") != ""
    run = re.match(r"[0-9]*", text[index:])
    digits = run[0] if run else ""
    return int(("1" if inside else "") + digits or "0") if len(digits) < 400 else 0, len(digits), text[index]
