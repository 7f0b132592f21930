"""Pin file and build record in the engine itself: ``ports.PinStore`` for ``:local``, where all jobs of a pipeline run on one engine.

A document is the label of an empty volume: an engine makes a volume of a name once and answers everybody who comes later with the one it
has, which is create-if-absent. Labels never change, so every build record is a volume of its own, ``…-record-<n>``; the last one counts.
"""

from __future__ import annotations

from collections.abc import Mapping

from ci_plugin.errors import DocumentError, Location
from ci_plugin.ports import Engine
from ci_plugin.values.pipeline import ScopeKey

_DOCUMENT = "dev.stagepin.document"


class EnginePinStore:
    """The pins and records kept by one engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @property
    def name(self) -> str:
        """What messages call it."""
        return "engine's own store (:local)"

    @property
    def guarantee(self) -> str:
        """What may be relied on."""
        return (
            "create-if-absent on this one engine: of any number of pin jobs that use it one wins and all adopt it; "
            "kept until its volumes are pruned, and unknown to every other engine"
        )

    @property
    def lag(self) -> float:
        """An engine shows what it has."""
        return 0.0

    def find_pins(self, key: ScopeKey) -> bytes | None:
        """The pin file, or None. Raises DocumentError where a volume of that name is not ours."""
        return self._find(_volume(key))

    def create_pins(self, key: ScopeKey, document: bytes) -> bytes:
        """Make the volume, or learn what the one that is there holds."""
        return self._create(_volume(key), document)

    def find_record(self, key: ScopeKey) -> bytes | None:
        """The last build record, or None."""
        return self._last_record(key)[1]

    def put_record(self, key: ScopeKey, document: bytes, pins: bytes) -> bool:
        """File the record after the last one; False where the scope has other pins."""
        if self.create_pins(key, pins) != pins:
            return False
        number, last = self._last_record(key)
        while last != document:
            number += 1
            last = self._create(f"{_volume(key)}-record-{number}", document)
        return True

    def _last_record(self, key: ScopeKey) -> tuple[int, bytes | None]:
        number, last = 0, None
        while (found := self._find(f"{_volume(key)}-record-{number + 1}")) is not None:
            number, last = number + 1, found
        return number, last

    def _create(self, name: str, document: bytes) -> bytes:
        return _document(name, self._engine.create_volume(name, {_DOCUMENT: document.decode()}))

    def _find(self, name: str) -> bytes | None:
        labels = self._engine.find_volume(name)
        return None if labels is None else _document(name, labels)


def _volume(key: ScopeKey) -> str:
    return f"stagepin-{key.short_hash}"


def _document(name: str, labels: Mapping[str, str]) -> bytes:
    if _DOCUMENT not in labels:
        hint = f"somebody else made that volume; remove it: docker volume rm {name}"
        raise DocumentError(f"expected a volume with the label {_DOCUMENT}, found none", hint=hint, where=Location(f"volume {name}"))
    return labels[_DOCUMENT].encode()
