"""Strict JSON documents with a version and a checksum: the shape pin file and build record share.

Rules: UTF-8, one object, no duplicate keys, no NaN or infinity, at most 16 MiB and 40 levels. ``schemaVersion`` is checked first.
``checksum`` is the sha256 of the canonical JSON of everything else; it detects accidents and edits, not attackers (SECURITY.md).
Errors name the place as a path such as ``pins[2].digest``. Which keys a document has is the business of pins/ and records/.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from ci_plugin.errors import DocumentError, Location
from ci_plugin.values.canonical import canonical_json
from ci_plugin.values.digest import Digest
from ci_plugin.values.pipeline import PipelineId

LARGEST_DOCUMENT = 16 * 1024 * 1024
"""Bytes."""
_DEEPEST = 40
_LARGEST_NUMBER = 2**53 - 1
"""The largest whole number every JSON reader keeps exactly (RFC 7493, section 2.2)."""
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Node:
    """A value of a document and its path; every accessor raises DocumentError with that path when the shape is another."""

    value: object
    path: str
    file: str

    def error(self, expected: str) -> DocumentError:
        """The error for a value that is not what was expected here."""
        found = "nothing" if self.value is None else json.dumps(self.value, ensure_ascii=True)[:120]
        return DocumentError(
            f"expected {expected} at {self.path or 'the top'}, found {found}",
            hint="fetch the file again with `stagepin fetch`, or pin and build in a new scope",
            where=Location(self.file),
        )

    def only(self, *keys: str) -> Node:
        """The same object, after making sure it has no other keys."""
        for key in self._object():
            if key not in keys:
                raise Node(key, self.path, self.file).error(f"only the keys {', '.join(keys)}")
        return self

    def __getitem__(self, key: str) -> Node:
        """A member that must be there (null counts as there)."""
        members = self._object()
        path = f"{self.path}.{key}" if self.path else key
        if key not in members:
            raise Node(None, path, self.file).error("a value")
        return Node(members[key], path, self.file)

    def text(self) -> str:
        """A string."""
        if not isinstance(self.value, str):
            raise self.error("text")
        return self.value

    def integer(self) -> int:
        """A whole number from 0."""
        if not isinstance(self.value, int) or isinstance(self.value, bool) or not 0 <= self.value <= _LARGEST_NUMBER:
            raise self.error("a whole number from 0")
        return self.value

    def number(self) -> float:
        """A number from 0."""
        if not isinstance(self.value, int | float) or isinstance(self.value, bool) or not 0 <= self.value <= _LARGEST_NUMBER:
            raise self.error("a number from 0")
        return float(self.value)

    def boolean(self) -> bool:
        """True or false."""
        if not isinstance(self.value, bool):
            raise self.error("true or false")
        return self.value

    def items(self) -> list[Node]:
        """The elements of a list."""
        if not isinstance(self.value, list):
            raise self.error("a list")
        return [Node(item, f"{self.path}[{index}]", self.file) for index, item in enumerate(self.value)]

    def members(self) -> dict[str, Node]:
        """The members of an object by key."""
        return {key: self[key] for key in self._object()}

    def parse(self, parser: Callable[[str], _T]) -> _T:
        """A string through a parser that raises ValueError."""
        try:
            return parser(self.text())
        except ValueError as error:
            raise self.error(str(error).partition(", found ")[0].removeprefix("expected ")) from None

    def optional(self, reader: Callable[[Node], _T]) -> _T | None:
        """None for null, else what the reader makes of it."""
        return None if self.value is None else reader(self)

    def _object(self) -> Mapping[str, Any]:
        if not isinstance(self.value, dict):
            raise self.error("an object")
        return self.value


def checksum_of(body: Mapping[str, object]) -> str:
    """``sha256:…`` over the canonical JSON of a document without its ``checksum``."""
    return str(Digest.of(canonical_json({key: value for key, value in body.items() if key != "checksum"})))


def seal(body: Mapping[str, object]) -> bytes:
    """The document's bytes for people and machines: the body in its order, then its checksum; indented, newline at the end."""
    return (json.dumps({**body, "checksum": checksum_of(body)}, indent=2, ensure_ascii=False) + "\n").encode()


def open_sealed(data: bytes, file: str, version: int) -> Node:
    """The top of a sealed document. Raises DocumentError when it is no JSON, of another version, or not what was sealed."""
    document = _load(data, file)
    found = document.get("schemaVersion")
    if not isinstance(found, int) or isinstance(found, bool) or found < 1:
        raise Node(found, "schemaVersion", file).error(f"the version {version}")
    if found > version:
        message = (
            f"expected schemaVersion {version}, found {found}: it was written by a newer stagepin ({str(document.get('tool', ''))[:60]})"
        )
        raise DocumentError(message, hint="use the same or a newer stagepin in this job", where=Location(file))
    expected = checksum_of(document)
    if document.get("checksum") != expected:
        message = f"expected checksum {expected}, found {str(document.get('checksum'))[:80]}: the file was changed after it was written"
        raise DocumentError(message, hint="delete it and run `stagepin fetch`; never edit it by hand", where=Location(file))
    return Node(document, "", file)


def pipeline_body(pipeline: PipelineId) -> dict[str, object]:
    """The ``pipeline`` object of pin file and build record."""
    return {
        "forge": pipeline.forge,
        "host": pipeline.host,
        "projectId": pipeline.project_id,
        "project": pipeline.project,
        "id": pipeline.id,
    }


def parse_pipeline(node: Node) -> PipelineId:
    """The inverse of ``pipeline_body``. Raises DocumentError."""
    node.only("forge", "host", "projectId", "project", "id")
    if node["forge"].text() not in ("gitlab", "github", "local"):
        raise node["forge"].error("gitlab, github or local")
    return PipelineId(node["forge"].text(), node["host"].text(), node["projectId"].text(), node["project"].text(), node["id"].text())


def _load(data: bytes, file: str) -> dict[str, Any]:
    def refuse(message: str) -> DocumentError:
        hint = "delete the file and run `stagepin fetch`, or `stagepin pin` in the pin job"
        return DocumentError(message, hint=hint, where=Location(file))

    if len(data) > LARGEST_DOCUMENT:
        raise refuse(f"expected at most {LARGEST_DOCUMENT} bytes, found {len(data)}")
    try:
        text = data.decode("utf-8")
        document = json.loads(text, object_pairs_hook=_without_duplicates, parse_constant=_no_constant, parse_float=_finite)
        canonical_json(document)  # raises ValueError for half a surrogate pair: such text has no bytes, so no checksum
    except (ValueError, RecursionError) as error:
        reason = str(error)[:100] if isinstance(error, ValueError) else "nested too deeply"
        raise refuse(f"expected a whole JSON document, found {len(data)} bytes that are none ({reason})") from None
    if not isinstance(document, dict) or _depth(document) > _DEEPEST:
        raise refuse(f"expected a JSON object of at most {_DEEPEST} levels, found {type(document).__name__}")
    return document


def _without_duplicates(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return members


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON number")


def _finite(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else _no_constant(text[:20])


def _depth(value: object) -> int:
    deepest, level = 0, [value]
    while level:
        deepest += 1
        level = [child for item in level for child in (item.values() if isinstance(item, dict) else item if isinstance(item, list) else ())]
    return deepest
