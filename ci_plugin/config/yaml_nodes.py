"""YAML text → nodes that know their file, line and column. Every scalar stays text; the directive that takes it gives it a type.

Built from parser events, not from ``load``: so ``1.10`` stays ``1.10``, a key written twice is an error, and limits hold before
memory is spent. Refused with their place: duplicate keys, cycles, unknown tags, keys that are no text, more than 50 levels, 1 MiB,
100 aliases or 100,000 nodes in one document after aliases are followed, a million in a file. PyYAML is imported on first use.
Keys that merge (``<<``) are followed: an own key wins, then the earlier of several mappings.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from ci_plugin.config.go_scalars import NULLS, Plain, resolve_integer, resolve_plain
from ci_plugin.config.problems import Problems
from ci_plugin.errors import ConfigError, Location

MAX_BYTES = 1 << 20
MAX_DEPTH = 50
MAX_ALIASES = 100
MAX_NODES = 100_000
MAX_NODES_OF_A_FILE = 1_000_000
Event: TypeAlias = Any
"""One of PyYAML's parser events, or a mark of one; told apart by class name, so that the module need not import PyYAML."""
_NOT_ALLOWED = re.compile("[^\\t\\n\\r -~\\x85\\xa0-\\ud7ff\\ue000-\\ufffd\\U00010000-\\U0010ffff]")
"""What YAML 1.1 takes for no text (chapter 5.1)."""
_CORE_TAGS = frozenset(f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "null", "seq", "map")) | {"!"}


@dataclass(frozen=True, slots=True)
class ScalarNode:
    """A scalar as written; ``is_null`` for ``~``, ``null`` and nothing at all, unquoted."""

    text: str
    location: Location
    is_null: bool = False
    is_plain: bool = False
    """Without quotes and without a tag: what Go may take for a number or a boolean."""

    size: int = 1

    @property
    def value(self) -> Plain:
        """What the scalar is to Go's YAML package."""
        return resolve_plain(self.text) if self.is_plain else self.text


@dataclass(frozen=True, slots=True)
class ListNode:
    """A sequence."""

    items: tuple[Node, ...]
    location: Location
    size: int = 1


@dataclass(frozen=True, slots=True)
class MapNode:
    """A mapping, in the order of the text, merge keys already followed."""

    entries: tuple[tuple[ScalarNode, Node], ...]
    location: Location
    size: int = 1

    def find(self, key: str) -> Node | None:
        """The value of a key, or None."""
        return next((value for name, value in self.entries if name.text == key), None)


Node: TypeAlias = ScalarNode | ListNode | MapNode


class LineMap(Protocol):
    """A line and column of the rendered text, from 1 → the place where people wrote it."""

    def __call__(self, line: int, column: int | None = None, /) -> Location:
        """Without a column, where the line begins."""
        ...


def parse_documents(text: str, file: str, line_of: LineMap | None = None, problems: Problems | None = None) -> tuple[Node, ...]:
    """The documents of a YAML stream, empty ones left out. Raises ConfigError with file and line.

    With ``problems``, what does not hinder reading on (a key written twice, a tag) is collected there instead of raised at the end.
    """
    if len(text.encode("utf-8", "replace")) > MAX_BYTES:
        raise ConfigError("expected at most 1 MiB of YAML, found more", hint="split the file", where=Location(file))
    import yaml  # here: a lone Dockerfile needs no YAML

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    text = text.removeprefix("\ufeff")
    collected = Problems() if problems is None else problems
    place = _Places(file, line_of)
    try:
        # Not yaml.parse: it asks for every event twice, a fifth of the whole time.
        documents = _Composer(iter(loader(text).get_event, None), place, collected).documents()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = place.at(mark) if mark else Location(file)
        raise ConfigError(f"expected YAML, found: {error.problem or error.context}", hint=_hint(text, mark), where=where) from None
    except yaml.YAMLError as error:
        message = f"expected YAML, found a character it does not allow ({getattr(error, 'reason', 'unreadable')})"
        raise ConfigError(message, hint="remove control characters", where=_bad_place(text, place)) from None
    if problems is None:
        collected.raise_first()
    return tuple(node for node in documents if not (isinstance(node, ScalarNode) and node.is_null))


def _hint(text: str, mark: Event) -> str:
    line = "".join(text.split("\n")[mark.line : mark.line + 1]) if mark else ""
    if "\t" in line[: len(line) - len(line.lstrip())]:
        return "indent with spaces, not with tabs"
    return "check the indentation and the quotes of this line; a value with `: ` or ` #` needs quotes"


def _bad_place(text: str, place: _Places) -> Location:
    """Where the first character stands that YAML does not allow; the parser tells bytes."""
    found = _NOT_ALLOWED.search(text)
    before = text[: found.start()] if found else ""
    return place.of(before.count("\n"), len(before) - before.rfind("\n") - 1)


class _Places:
    """Marks of the parser → the places people wrote."""

    def __init__(self, file: str, line_of: LineMap | None) -> None:
        self.file = file
        self._line_of = line_of

    def at(self, mark: Event) -> Location:
        """The place of one of PyYAML's marks."""
        return self.of(mark.line, mark.column)

    def of(self, line: int, column: int) -> Location:
        """The place of a line and column, counted from 0."""
        if self._line_of is None:
            return Location(self.file, line + 1, column + 1)
        return self._line_of(line + 1, column + 1)


class _Composer:
    """Turns one stream of events into nodes, with the limits."""

    def __init__(self, events: Iterable[Event], places: _Places, problems: Problems) -> None:
        self._events = iter(events)
        self._where = places.at
        self._problems = problems
        self._aliases = 0
        self._anchors: dict[str, Node | None] = {}

    def documents(self) -> list[Node]:
        found: list[Node] = []
        total = 0
        for event in self._events:
            kind = type(event).__name__
            if kind == "StreamEndEvent":
                break
            if kind == "DocumentStartEvent":
                self._anchors, self._aliases = {}, 0
                found.append(self._node(next(self._events), 1))
                total += found[-1].size
                if total > MAX_NODES_OF_A_FILE:
                    raise self._error(f"expected at most {MAX_NODES_OF_A_FILE} values, found more", "use fewer aliases", event)
        return found

    def _error(self, message: str, hint: str, event: Event) -> ConfigError:
        return ConfigError(message, hint=hint, where=self._where(event.start_mark))

    def _node(self, event: Event, depth: int) -> Node:
        if depth > MAX_DEPTH:
            raise self._error(f"expected at most {MAX_DEPTH} levels, found more", "flatten this part", event)
        kind = type(event).__name__
        if kind == "AliasEvent":
            return self._alias(event)
        if event.tag is not None and event.tag not in _CORE_TAGS:
            self._problems.add(self._error(f"expected no YAML tag, found {event.tag[:100]!r}", "remove the tag, or quote the text", event))
        anchor = event.anchor
        if anchor is not None:
            self._anchors[anchor] = None
        node: Node
        if kind == "ScalarEvent":
            text = event.value
            plain = event.tag is None and event.style in (None, "")
            node = ScalarNode(text, self._where(event.start_mark), plain and text in NULLS, plain)
        elif kind == "SequenceStartEvent":
            node = self._list(event, depth)
        else:
            node = self._map(event, depth)
        if node.size > MAX_NODES:
            raise self._error(f"expected at most {MAX_NODES} values, found more", "split the file or use fewer aliases", event)
        if anchor is not None:
            self._anchors[anchor] = node
        return node

    def _alias(self, event: Event) -> Node:
        self._aliases += 1
        if self._aliases > MAX_ALIASES:
            raise self._error(f"expected at most {MAX_ALIASES} aliases, found more", "write the values out", event)
        if event.anchor not in self._anchors:
            raise self._error(f"expected an anchor &{event.anchor} before this alias, found none", "define it above", event)
        node = self._anchors[event.anchor]
        if node is None:
            raise self._error(f"expected a value, found *{event.anchor} inside itself", "an alias cannot hold itself", event)
        return node

    def _list(self, event: Event, depth: int) -> ListNode:
        items: list[Node] = []
        size = 1
        while type(item := next(self._events)).__name__ != "SequenceEndEvent":
            items.append(self._node(item, depth + 1))
            size += items[-1].size
            if size > MAX_NODES:
                break
        return ListNode(tuple(items), self._where(event.start_mark), size)

    def _map(self, event: Event, depth: int) -> MapNode:
        entries: dict[str, tuple[ScalarNode, Node]] = {}
        merged: list[tuple[ScalarNode, Node]] = []
        size = 1
        while type(item := next(self._events)).__name__ != "MappingEndEvent":
            key = self._node(item, depth + 1)
            if not isinstance(key, ScalarNode):
                raise self._error("expected a key that is text, found a list or mapping", "a template needs quotes: key: '{{ … }}'", item)
            value = self._node(next(self._events), depth + 1)
            size += 1 + value.size
            if key.text == "<<" and key.is_plain:
                merged += self._merged(value)
            elif key.text in entries:
                self._problems.add(_twice(key, entries[key.text][0]))
            else:
                entries[key.text] = (key, value)
            if size > MAX_NODES:
                break
        for key, value in merged:
            entries.setdefault(key.text, (key, value))
        return MapNode(tuple(entries.values()), self._where(event.start_mark), size)

    def _merged(self, value: Node) -> list[tuple[ScalarNode, Node]]:
        maps: Sequence[Node] = value.items if isinstance(value, ListNode) else (value,)
        found: list[tuple[ScalarNode, Node]] = []
        for node in maps:
            if not isinstance(node, MapNode):
                raise ConfigError("expected a mapping after <<, found something else", hint="write << : *anchor", where=value.location)
            found += node.entries
        return found


def _twice(again: ScalarNode, first: ScalarNode) -> ConfigError:
    message = f"expected every key once, found {again.text[:100]!r} again (first at {first.location})"
    return ConfigError(message, hint="remove one of the two", where=again.location)


def read_text(node: Node) -> str:
    """A scalar as written. Raises ConfigError for a list, a mapping or nothing at all."""
    if not isinstance(node, ScalarNode):
        raise ConfigError(f"expected text, found {name_of(node)}", hint="write one value on this line", where=node.location)
    if node.is_null:
        raise ConfigError("expected text, found nothing", hint="write a value, or remove the line", where=node.location)
    return node.text


def read_flag(node: Node) -> bool:
    """A boolean as yaml.v2 takes it: true/yes/on/y and false/no/off/n, lower case, capitalised or upper case. Raises ConfigError."""
    text = read_text(node)
    value = resolve_plain(text)
    if isinstance(value, bool):
        return value
    raise ConfigError(f"expected true or false, found {text[:100]!r}", hint="write true or false", where=node.location)


def read_integer(node: Node) -> int:
    """A whole number as Go writes them (``10``, ``0x10``, ``0o17``). Raises ConfigError."""
    text = read_text(node)
    number = resolve_integer(text)
    if number is None:
        raise ConfigError(f"expected a whole number, found {text[:100]!r}", hint="write digits", where=node.location)
    return number


def read_texts(node: Node) -> tuple[str, ...]:
    """One text or a list of texts. Raises ConfigError."""
    if isinstance(node, MapNode):
        raise ConfigError(f"expected text or a list of texts, found {name_of(node)}", hint="write `- value` lines", where=node.location)
    items = node.items if isinstance(node, ListNode) else (node,)
    return tuple(read_text(item) for item in items)


def read_text_map(node: Node) -> dict[str, str]:
    """A mapping of texts; a null value is the empty text. Raises ConfigError."""
    return {key.text: "" if is_null(value) else read_text(value) for key, value in read_map(node).entries}


def read_map(node: Node) -> MapNode:
    """A mapping. Raises ConfigError."""
    if not isinstance(node, MapNode):
        raise ConfigError(f"expected a mapping, found {name_of(node)}", hint="write `key: value` lines", where=node.location)
    return node


def read_maps(node: Node) -> tuple[MapNode, ...]:
    """A list of mappings. Raises ConfigError."""
    if not isinstance(node, ListNode):
        raise ConfigError(f"expected a list of mappings, found {name_of(node)}", hint="begin each with `- `", where=node.location)
    return tuple(read_map(item) for item in node.items)


def is_null(node: Node) -> bool:
    """Whether nothing was written here, or ``~``, or ``null``."""
    return isinstance(node, ScalarNode) and node.is_null


def name_of(node: Node) -> str:
    """What to call a node in a message."""
    match node:
        case ListNode():
            return "a list"
        case MapNode():
            return "a mapping"
    return "nothing" if node.is_null else f"{node.text[:100]!r}"
