"""Typed access to one mapping of a configuration: a table of the keys it may have, a reader for each, did-you-mean for the rest."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from ci_plugin.config.yaml_nodes import MapNode, Node, ScalarNode
from ci_plugin.errors import ConfigError, Location

if TYPE_CHECKING:
    from collections.abc import Iterator

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Key(Generic[T_co]):
    """A directive we take: its name and how its value becomes a value."""

    name: str
    read: Callable[[Node], T_co]


@dataclass(frozen=True, slots=True)
class Table:
    """The keys one mapping may have: ``used`` are read, ``later`` are known but not built yet, ``ignored`` concern other commands."""

    used: frozenset[str]
    later: frozenset[str] = frozenset()
    ignored: frozenset[str] = frozenset()

    @classmethod
    def of(cls, keys: Iterable[Key[object]], later: Iterable[str] = (), ignored: Iterable[str] = ()) -> Table:
        """A table of these keys."""
        return cls(frozenset(key.name for key in keys), frozenset(later), frozenset(ignored))


class Problems:
    """Collects the errors of a file, so that one run tells all of them."""

    def __init__(self) -> None:
        self._errors: list[ConfigError] = []

    @contextmanager
    def collect(self) -> Iterator[None]:
        """Keep a ConfigError raised inside and go on."""
        try:
            yield
        except ConfigError as error:
            self._errors.append(error)

    def raise_first(self) -> None:
        """Raise the first error found (unknown directives come before what they cause), naming the others; nothing where there is none."""
        if not self._errors:
            return
        first, *others = self._errors
        if not others:
            raise first
        listed = "\n".join(f"  {error.where}: {error.message}" + (f" ({error.hint})" if error.hint else "") for error in others)
        noun = "error" if len(others) == 1 else "errors"
        raise ConfigError(f"{first.message}\nand {len(others)} more {noun}:\n{listed}", hint=first.hint, where=first.where)


class Section:
    """One mapping seen through its table."""

    def __init__(self, node: MapNode) -> None:
        self.node = node
        self._values: Mapping[str, tuple[ScalarNode, Node]] = {key.text: (key, value) for key, value in node.entries}

    def check(self, table: Table, dialect: str, problems: Problems) -> None:
        """Collects one ConfigError per key that is unknown or not built yet."""
        for key, _ in self.node.entries:
            if key.text in table.used or key.text in table.ignored:
                continue
            with problems.collect():
                if key.text in table.later:
                    raise ConfigError(
                        f"{dialect} knows `{key.text}`, this version of stagepin does not do it yet",
                        hint=f"remove `{key.text}`; see the README for what is built",
                        where=key.location,
                    )
                raise unknown_key(key, table.used | table.later | table.ignored)

    def has(self, key: Key[object]) -> bool:
        """Whether the key stands there with a value."""
        found = self._values.get(key.name)
        return found is not None and not (isinstance(found[1], ScalarNode) and found[1].is_null)

    def get(self, key: Key[T]) -> T | None:
        """The key's value, or None where it is absent or null. Raises ConfigError for a value of the wrong kind."""
        if not self.has(key):
            return None
        return key.read(self._values[key.name][1])

    def where(self, key: Key[object]) -> Location:
        """The line of the key; of the whole section where it is absent."""
        found = self._values.get(key.name)
        return found[0].location if found else self.node.location


def unknown_key(key: ScalarNode, known: Iterable[str]) -> ConfigError:
    """The error for a key outside the table, with the nearest known one."""
    names = sorted(known)
    near = difflib.get_close_matches(key.text, names, 1, 0.6) or [name for name in names if name.lower() == key.text.lower()]
    hint = f"did you mean `{near[0]}`?" if near else f"known here: {', '.join(names)}"
    return ConfigError(f"expected a known directive, found `{key.text[:100]}`", hint=hint, where=key.location)
