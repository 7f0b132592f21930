"""YAML text → nodes that know their file and line. Every scalar stays text; the directive that takes it gives it a type.

Built from parser events, not from ``load``: so ``1.10`` stays ``1.10``, a key written twice is an error, and limits hold before
memory is spent. Refused with file and line: duplicate keys, cycles, unknown tags, keys that are no text, more than 50 levels, 1 MiB,
100 aliases, or 100,000 nodes after aliases are followed. PyYAML is imported on first use.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from ci_plugin.errors import ConfigError, Location

MAX_BYTES = 1 << 20
MAX_DEPTH = 50
MAX_ALIASES = 100
MAX_NODES = 100_000
Event: TypeAlias = Any
"""One of PyYAML's parser events; told apart by class name, so that the module need not import PyYAML."""
_NULLS = ("", "~", "null", "Null", "NULL")
_TRUE = ("y", "yes", "true", "on")
_FALSE = ("n", "no", "false", "off")
_CORE_TAGS = frozenset(f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "null", "seq", "map")) | {"!"}


@dataclass(frozen=True, slots=True)
class ScalarNode:
    """A scalar as written; ``is_null`` for ``~``, ``null`` and nothing at all, unquoted."""

    text: str
    location: Location
    is_null: bool = False
    size: int = 1


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
LineMap: TypeAlias = Callable[[int], int]
"""A line of the rendered text (from 1) → the line people wrote."""


def parse_documents(text: str, file: str, line_of: LineMap = lambda line: line) -> tuple[Node, ...]:
    """The documents of a YAML stream, empty ones left out. Raises ConfigError with file and line."""
    if len(text.encode("utf-8", "replace")) > MAX_BYTES:
        raise ConfigError("expected at most 1 MiB of YAML, found more", hint="split the file", where=Location(file))
    import yaml  # here: a lone Dockerfile needs no YAML

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        documents = _Composer(yaml.parse(text, Loader=loader), file, line_of).documents()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = Location(file, line_of(mark.line + 1) if mark else None)
        raise ConfigError(f"expected YAML, found: {error.problem or error.context}", hint=_hint(str(error.problem)), where=where) from None
    except yaml.YAMLError as error:
        message = f"expected YAML, found a character it does not allow ({getattr(error, 'reason', 'unreadable')})"
        raise ConfigError(message, hint="remove control characters", where=Location(file, _bad_line(text, error, line_of))) from None
    return tuple(node for node in documents if not (isinstance(node, ScalarNode) and node.is_null))


def _hint(problem: str) -> str:
    if "\\t" in problem or "tab character" in problem:
        return "indent with spaces, not with tabs"
    return "check the indentation and the quotes of this line; a value with `: ` or ` #` needs quotes"


def _bad_line(text: str, error: Exception, line_of: LineMap) -> int | None:
    position = getattr(error, "position", None)
    return line_of(text.count("\n", 0, position) + 1) if isinstance(position, int) else None


class _Composer:
    """Turns one stream of events into nodes, with the limits."""

    def __init__(self, events: Iterable[Event], file: str, line_of: LineMap) -> None:
        self._events = iter(events)
        self._file = file
        self._line_of = line_of
        self._aliases = 0
        self._anchors: dict[str, Node | None] = {}

    def documents(self) -> list[Node]:
        found = []
        for event in self._events:
            if type(event).__name__ == "DocumentStartEvent":
                self._anchors = {}
                found.append(self._node(next(self._events), 1))
        return found

    def _error(self, message: str, hint: str, event: Event) -> ConfigError:
        return ConfigError(message, hint=hint, where=self._where(event))

    def _where(self, event: Event) -> Location:
        return Location(self._file, self._line_of(event.start_mark.line + 1))

    def _node(self, event: Event, depth: int) -> Node:
        if depth > MAX_DEPTH:
            raise self._error(f"expected at most {MAX_DEPTH} levels, found more", "flatten this part", event)
        kind = type(event).__name__
        if kind == "AliasEvent":
            return self._alias(event)
        if event.tag is not None and event.tag not in _CORE_TAGS:
            raise self._error(f"expected no YAML tag, found {event.tag[:100]!r}", "remove the tag, or quote the text", event)
        if event.anchor is not None:
            self._anchors[event.anchor] = None
        node: Node
        if kind == "ScalarEvent":
            plain = event.style in (None, "") and event.tag is None
            node = ScalarNode(event.value, self._where(event), is_null=plain and event.value in _NULLS)
        elif kind == "SequenceStartEvent":
            node = self._list(event, depth)
        else:
            node = self._map(event, depth)
        if node.size > MAX_NODES:
            raise self._error(f"expected at most {MAX_NODES} values, found more", "split the file or use fewer aliases", event)
        if event.anchor is not None:
            self._anchors[event.anchor] = node
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
        return ListNode(tuple(items), self._where(event), size)

    def _map(self, event: Event, depth: int) -> MapNode:
        entries: dict[str, tuple[ScalarNode, Node]] = {}
        merged: list[tuple[ScalarNode, Node]] = []
        size = 1
        while type(item := next(self._events)).__name__ != "MappingEndEvent":
            is_plain = getattr(item, "style", "x") in (None, "")
            key = self._node(item, depth + 1)
            if not isinstance(key, ScalarNode):
                raise self._error("expected a key that is text, found a list or mapping", "a template needs quotes: key: '{{ … }}'", item)
            value = self._node(next(self._events), depth + 1)
            size += 1 + value.size
            if key.text == "<<" and is_plain:
                merged += self._merged(value)
            elif key.text in entries:
                first = entries[key.text][0].location
                raise ConfigError(
                    f"expected every key once, found {key.text[:100]!r} again (first at {first})",
                    hint="remove one of the two",
                    where=key.location,
                )
            else:
                entries[key.text] = (key, value)
            if size > MAX_NODES:
                break
        for key, value in merged:
            entries.setdefault(key.text, (key, value))
        return MapNode(tuple(entries.values()), self._where(event), size)

    def _merged(self, value: Node) -> list[tuple[ScalarNode, Node]]:
        maps: Sequence[Node] = value.items if isinstance(value, ListNode) else (value,)
        found: list[tuple[ScalarNode, Node]] = []
        for node in maps:
            if not isinstance(node, MapNode):
                raise ConfigError("expected a mapping after <<, found something else", hint="write << : *anchor", where=value.location)
            found += node.entries
        return found


def read_text(node: Node) -> str:
    """A scalar as written. Raises ConfigError for a list or mapping."""
    if not isinstance(node, ScalarNode):
        raise ConfigError(f"expected text, found {_name(node)}", hint="write one value on this line", where=node.location)
    return node.text


def read_flag(node: Node) -> bool:
    """A boolean as yaml.v2 takes it: true/yes/on/y and false/no/off/n, lower case, capitalised or upper case. Raises ConfigError."""
    text = read_text(node)
    if text in (text.lower(), text.upper(), text.capitalize()):
        if text.lower() in _TRUE:
            return True
        if text.lower() in _FALSE:
            return False
    raise ConfigError(f"expected true or false, found {text[:100]!r}", hint="write true or false", where=node.location)


def read_texts(node: Node) -> tuple[str, ...]:
    """One text or a list of texts. Raises ConfigError."""
    if isinstance(node, ListNode):
        return tuple(read_text(item) for item in node.items)
    if isinstance(node, ScalarNode):
        return (node.text,)
    raise ConfigError(f"expected text or a list of texts, found {_name(node)}", hint="write `- value` lines", where=node.location)


def read_text_map(node: Node) -> dict[str, str]:
    """A mapping of texts; a null value is the empty text. Raises ConfigError."""
    return {key.text: "" if isinstance(value, ScalarNode) and value.is_null else read_text(value) for key, value in read_map(node).entries}


def read_map(node: Node) -> MapNode:
    """A mapping. Raises ConfigError."""
    if not isinstance(node, MapNode):
        raise ConfigError(f"expected a mapping, found {_name(node)}", hint="write `key: value` lines", where=node.location)
    return node


def _name(node: Node) -> str:
    match node:
        case ListNode():
            return "a list"
        case MapNode():
            return "a mapping"
    return f"{node.text[:100]!r}"
