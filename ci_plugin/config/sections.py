"""Typed access to one mapping of a configuration: a table of the keys it may have, a reader for each, did-you-mean for the rest.

The same tables give the JSON Schema: a reader says with ``@takes`` what it accepts, a table what a mapping may hold.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, NoReturn, TypeAlias, TypeVar

from ci_plugin.config.problems import Problems
from ci_plugin.config.yaml_nodes import (
    ListNode,
    MapNode,
    Node,
    ScalarNode,
    is_null,
    read_flag,
    read_integer,
    read_map,
    read_maps,
    read_text,
    read_text_map,
    read_texts,
)
from ci_plugin.errors import ConfigError, Location

__all__ = ["Key", "Problems", "Schema", "Section", "Table", "takes", "unknown_key"]

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
Schema: TypeAlias = dict[str, Any]
"""A JSON Schema, draft 2020-12."""
Reader: TypeAlias = Callable[[Node], T]

SCALAR: Schema = {"type": ["string", "number", "boolean", "null"]}
SCALARS: Schema = {"type": ["string", "number", "boolean", "array", "null"], "items": {"type": ["string", "number", "boolean"]}}
_SCHEMAS: dict[Callable[[Any], object], Schema] = {
    read_text: SCALAR,
    read_texts: SCALARS,
    read_flag: {
        "enum": [True, False, None, *(form for word in ("y", "n", "yes", "no", "on", "off") for form in (word, word.capitalize()))]
    },
    read_integer: {"type": ["integer", "string", "null"]},
    read_text_map: {"type": ["object", "null"], "additionalProperties": SCALAR},
    read_map: {"type": ["object", "null"]},
    read_maps: {"type": ["array", "null"], "items": {"type": "object"}},
}


def takes(schema: Schema) -> Callable[[Reader[T]], Reader[T]]:
    """Says of a reader what it accepts."""

    def note(read: Reader[T]) -> Reader[T]:
        _SCHEMAS[read] = schema
        return read

    return note


@dataclass(frozen=True, slots=True)
class Table:
    """The keys one mapping may have: ``used`` are read, ``later`` are known but not built yet, ``ignored`` concern other commands.

    ``required`` is told to editors; what is missing is said by whoever reads the mapping, in better words.
    """

    used: frozenset[str]
    later: frozenset[str] = frozenset()
    ignored: frozenset[str] = frozenset()
    keys: tuple[Key[object], ...] = ()
    required: tuple[str, ...] = ()

    @classmethod
    def of(cls, keys: Iterable[Key[object]], later: Iterable[str] = (), ignored: Iterable[str] = (), required: Iterable[str] = ()) -> Table:
        """A table of these keys."""
        every = tuple(keys)
        return cls(frozenset(key.name for key in every), frozenset(later), frozenset(ignored), every, tuple(required))

    def schema(self) -> Schema:
        """The JSON Schema of such a mapping."""
        properties = {key.name: key.schema() for key in self.keys} | {name: {} for name in sorted(self.ignored | self.later)}
        schema: Schema = {"type": ["object", "null"], "additionalProperties": False, "properties": dict(sorted(properties.items()))}
        return schema | ({"required": list(self.required)} if self.required else {})


@dataclass(frozen=True, slots=True)
class Key(Generic[T_co]):
    """A directive we take: its name, how its value becomes a value, a sentence for editors; the table of a mapping (or a list of them)."""

    name: str
    read: Callable[[Node], T_co]
    about: str = ""
    table: Table | None = field(default=None, compare=False)

    def schema(self) -> Schema:
        """The JSON Schema of the value."""
        about: Schema = {"description": self.about} if self.about else {}
        if self.table is None:
            return about | _SCHEMAS.get(self.read, {})
        one = self.table.schema()
        return about | ({"type": ["array", "null"], "items": one | {"type": "object"}} if self.read is read_maps else one)


def mapping(name: str, table: Table, about: str = "") -> Key[MapNode]:
    """A directive that is a mapping with a table of its own."""
    return Key(name, read_map, about, table)


def mappings(name: str, table: Table, about: str = "") -> Key[tuple[MapNode, ...]]:
    """A directive that is a list of mappings with one table."""
    return Key(name, read_maps, about, table)


class Section:
    """One mapping seen through its table."""

    def __init__(self, node: MapNode, dialect: str = "", problems: Problems | None = None) -> None:
        self.node = node
        self.dialect = dialect
        self.problems = problems or Problems()
        self._values: Mapping[str, tuple[ScalarNode, Node]] = {key.text: (key, value) for key, value in node.entries}
        self._read: dict[str, Any] = {}
        """What ``check`` has read already."""
        self._meant: set[str] = set()
        """What unknown keys were most likely meant to be; ``check`` told them."""

    def check(self, table: Table, dialect: str, problems: Problems) -> None:
        """Collects one ConfigError per key that is unknown or not built yet, and all that is wrong with the values of the others."""
        self.dialect, self.problems = dialect, problems
        for taken in table.keys:
            if taken.name in self._values:
                try:
                    self._read[taken.name] = self.get(taken)
                except ConfigError as error:
                    problems.add(error)
        for key, _ in self.node.entries:
            if key.text in table.used or key.text in table.ignored:
                continue
            if key.text in table.later:
                problems.add(_later(key, dialect))
            else:
                known = table.used | table.later | table.ignored
                problems.add(unknown_key(key, known))
                self._meant |= {near for near in [_nearest(key.text, known)] if near}

    def has(self, key: Key[object]) -> bool:
        """Whether the key stands there with a value."""
        found = self._values.get(key.name)
        return found is not None and not is_null(found[1])

    def is_meant(self, keys: Iterable[Key[Any]]) -> bool:
        """Whether an unknown key, told already, was most likely meant to be one of these: that none of them is there follows from it."""
        return not self._meant.isdisjoint(key.name for key in keys)

    def get(self, key: Key[T]) -> T | None:
        """The key's value, or None where it is absent or null. Raises ConfigError for a value of the wrong kind."""
        found = self._values.get(key.name)
        if found is None or is_null(found[1]):
            return None
        if key.name in self._read:
            known: T = self._read[key.name]
            return known
        try:
            return key.read(found[1])
        except ConfigError as error:
            _raise_each(key, found[1], error)

    def find(self, key: Key[T]) -> T | None:
        """As ``get``, and None for a value that is wrong, too: for whoever goes on reading; what is wrong is collected."""
        try:
            return self.get(key)
        except ConfigError as error:
            self.problems.add(error)
            return None

    def open(self, key: Key[MapNode]) -> Section | None:
        """The mapping below a key, checked against the key's table, or None. Raises ConfigError for another kind of value."""
        node = self.get(key)
        return None if node is None else self._open(node, key)

    def open_each(self, key: Key[tuple[MapNode, ...]]) -> Iterator[Section]:
        """The mappings of the list below a key, checked against the key's table. Raises ConfigError for another kind of value."""
        for node in self.get(key) or ():
            yield self._open(node, key)

    def _open(self, node: MapNode, key: Key[Any]) -> Section:
        section = Section(node)
        section.check(key.table or Table(frozenset()), self.dialect, self.problems)
        return section

    def where(self, key: Key[object]) -> Location:
        """The line of the key; of the whole section where it is absent."""
        found = self._values.get(key.name)
        return found[0].location if found else self.node.location

    def error(self, message: str, hint: str, key: Key[object] | None = None) -> ConfigError:
        """An error at a key of this section, or at its beginning."""
        return ConfigError(message, hint=hint, where=self.node.location if key is None else self.where(key))


def _raise_each(key: Key[object], node: Node, error: ConfigError) -> NoReturn:
    """Raise what is wrong with each entry of a list or mapping; the error itself where each is right alone."""
    alone: list[Node] = []
    if isinstance(node, ListNode):
        alone = [ListNode((item,), item.location) for item in node.items]
    elif isinstance(node, MapNode) and error.where != node.location:
        alone = [MapNode((entry,), entry[0].location) for entry in node.entries]
    problems = Problems()
    for part in alone:
        with problems.collect():
            key.read(part)
    problems.raise_first()
    raise error


def _later(key: ScalarNode, dialect: str) -> ConfigError:
    message = f"{dialect} knows `{key.text}`, this version of stagepin does not do it yet"
    return ConfigError(message, hint=f"remove `{key.text}`; see the README for what is built", where=key.location)


def unknown_key(key: ScalarNode, known: Iterable[str]) -> ConfigError:
    """The error for a key outside the table, with the nearest known one."""
    names = sorted(known)
    near = _nearest(key.text, names)
    hint = f"did you mean `{near}`?" if near else f"known here: {', '.join(names)}"
    return ConfigError(f"expected a known directive, found `{key.text[:100]}`", hint=hint, where=key.location)


def _nearest(text: str, known: Iterable[str]) -> str | None:
    names = sorted(known)
    same = [name for name in names if name.lower() == text.lower()]
    return next(iter(same or difflib.get_close_matches(text[:100], names, 1, 0.6)), None)
