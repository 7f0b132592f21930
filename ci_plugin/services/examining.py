"""What a store of pins gives here and now: can it be read, and what does it hold for the asking job. Nothing is written anywhere.

What is looked at asks the same registry and the same engine for several answers. One that is dead costs every question its whole time-out,
so its first refusal to answer stands for all later ones.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import TypeVar

from ci_plugin.errors import Location, StagepinError, Unavailable
from ci_plugin.pins.pin_file import parse_pin_file
from ci_plugin.ports import PinStore, Registry
from ci_plugin.services.pinning import Asking
from ci_plugin.values.digest import Digest
from ci_plugin.values.manifest import Descriptor, Manifest
from ci_plugin.values.reference import Reference, Repository

_Answer = TypeVar("_Answer")


def ask_once(question: Callable[[], _Answer]) -> Callable[[], _Answer]:
    """The question with its first answer kept, be it a value or an error of ours."""
    answers: list[_Answer | StagepinError] = []

    def ask() -> _Answer:
        if not answers:
            try:
                answers.append(question())
            except StagepinError as error:
                answers.append(error)
        if isinstance(answers[0], StagepinError):
            raise answers[0]
        return answers[0]

    return ask


class AskedOnce:
    """``ports.Registry`` over another one: a host that was unavailable once is not read again: its first error is raised anew."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._dead: dict[str, Unavailable] = {}

    def resolve(self, references: Collection[Reference]) -> Mapping[Reference, Descriptor | StagepinError]:
        """What each reference means now."""
        return self._registry.resolve(references)

    def find_descriptor(self, reference: Reference) -> Descriptor | None:
        """HEAD of one manifest."""
        return self._ask(reference.repository, lambda: self._registry.find_descriptor(reference))

    def find_manifest(self, reference: Reference) -> Manifest | None:
        """GET of one manifest or index."""
        return self._ask(reference.repository, lambda: self._registry.find_manifest(reference))

    def get_blob(self, repository: Repository, blob: Descriptor, limit: int) -> bytes:
        """A blob of at most ``limit`` bytes."""
        return self._ask(repository, lambda: self._registry.get_blob(repository, blob, limit))

    def put_blob(self, repository: Repository, data: bytes) -> Digest:
        """Upload a small blob."""
        return self._registry.put_blob(repository, data)

    def copy_blob(self, source: Repository, blob: Descriptor, target: Repository) -> None:
        """Have a blob in another repository."""
        self._registry.copy_blob(source, blob, target)

    def put_manifest(self, reference: Reference, data: bytes, media_type: str, restore: Callable[[], object] | None = None) -> Digest:
        """PUT these exact bytes."""
        return self._registry.put_manifest(reference, data, media_type, restore)

    def _ask(self, repository: Repository, question: Callable[[], _Answer]) -> _Answer:
        host = repository.registry
        if host in self._dead:
            raise self._dead[host]
        try:
            return question()
        except Unavailable as error:
            self._dead[host] = error
            raise


@dataclass(frozen=True, slots=True)
class Examined:
    """One store as this job meets it. ``holds`` says what it has for the scope; ``error`` why it cannot be read, None where it can.

    ``guarantee`` is the store's own sentence, empty where it could not even be opened.
    """

    name: str
    is_chosen: bool
    guarantee: str = ""
    holds: str = ""
    error: StagepinError | None = None


def examine_store(name: str, is_chosen: bool, open_store: Callable[[], PinStore], asking: Asking) -> Examined:
    """The store behind ``open_store``, asked for the pins of ``asking``: the cheapest read every store has. Raises nothing of ours."""
    guarantee = ""
    try:
        store = open_store()
        guarantee = store.guarantee
        holds = _holds(store, asking)
    except StagepinError as error:
        return Examined(name, is_chosen, guarantee, error=error)
    return Examined(name, is_chosen, guarantee, holds)


def _holds(store: PinStore, asking: Asking) -> str:
    data = store.find_pins(asking.key)
    if data is None:
        return f"no pins of {asking.key.scope} yet"
    pins = parse_pin_file(data, store.name)
    pins.check_ours(asking.key, asking.commit, by_name=asking.by_name, where=Location(store.name))
    return f"pins of {pins.scope}, references: {len(pins.pins)}"
