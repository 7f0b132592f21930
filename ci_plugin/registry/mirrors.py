"""Mirrors: a registry that is read through others first, and answers as itself.

Rules
- A read of ``host/path`` goes to each mirror ``m[/prefix]`` of that host as ``m/prefix/path``, in order, then to the host itself.
  Docker Hub's ``library/`` stays in the path.
- What a mirror lacks, denies or cannot answer passes on to the next. Absence is the host's own word alone.
- Answers and errors are about the reference that was asked for: a pin names ``docker.io/library/alpine`` whoever answered. Bytes asked for
  by digest are hashed against it, so a mirror is believed about tags alone, which is what it was named for.
- Writes go to the host itself.
- Each host gets its own credentials, a mirror those of the mirror.
- A mirror that could not be reached is not asked again by this object: one that is down costs its tries once, not once per image.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from typing import TypeVar

from ci_plugin.errors import AnswerIsNo, Bug, Gone, InputError, StagepinError, Unavailable
from ci_plugin.ports import Registry
from ci_plugin.values.digest import Digest
from ci_plugin.values.manifest import Descriptor, Manifest
from ci_plugin.values.reference import Reference, Repository, parse_repository

Found = TypeVar("Found")


def place_on_mirror(reference: Reference, mirror: str) -> Reference:
    """The same image on a mirror ``host[:port][/prefix]``. Raises ValueError where that is no mirror's name."""
    return Reference(_place(reference.repository, mirror), reference.tag, reference.digest, reference.spelling)


class MirroredRegistry:
    """``ports.Registry`` over another one. ``mirrors``: registry host as in references → its mirrors, the first one asked first.

    Raises ValueError at once for a mirror whose name is none.
    """

    def __init__(self, inner: Registry, mirrors: Mapping[str, tuple[str, ...]]) -> None:
        for host, names in mirrors.items():
            for name in names:
                _place(Repository(host, "any"), name)
        self._inner = inner
        self._mirrors = mirrors
        self._down: set[str] = set()

    def resolve(self, references: Collection[Reference]) -> Mapping[Reference, Descriptor | StagepinError]:
        """What each reference means now: every first mirror in one go, then every next one for what is left, then the hosts themselves."""
        left = {reference: [*self._mirrors_of(reference.repository), ""] for reference in references}
        passed: dict[Reference, dict[str, StagepinError]] = {reference: {} for reference in left}
        found: dict[Reference, Descriptor | StagepinError] = {}
        while left:
            mirrors = {reference: names.pop(0) for reference, names in left.items()}
            places = {reference: place_on_mirror(reference, name) if name else reference for reference, name in mirrors.items()}
            answers = self._inner.resolve(list(dict.fromkeys(places.values())))
            for reference, mirror in mirrors.items():
                answer = answers[places[reference]]
                if isinstance(answer, Descriptor):
                    found[reference] = answer
                elif mirror:
                    passed[reference][mirror] = self._pass_on(mirror, answer)
                else:
                    found[reference] = _with_mirrors(answer, passed[reference])
            left = {reference: names for reference, names in left.items() if reference not in found}
        return {reference: found[reference] for reference in passed}

    def find_descriptor(self, reference: Reference) -> Descriptor | None:
        """HEAD of one manifest, or None where the host itself confirms that it is absent."""
        return self._first(reference.repository, lambda place: self._inner.find_descriptor(_at(reference, place)))

    def find_manifest(self, reference: Reference) -> Manifest | None:
        """GET of one manifest or index, hashed, or None where the host itself confirms that it is absent."""
        return self._first(reference.repository, lambda place: self._inner.find_manifest(_at(reference, place)))

    def get_blob(self, repository: Repository, blob: Descriptor, limit: int) -> bytes:
        """A blob of at most ``limit`` bytes, hashed. Raises Gone where the host lost it, too."""
        found = self._first(repository, lambda place: self._inner.get_blob(place, blob, limit))
        if found is None:
            raise Bug("unreachable: a blob is bytes or an error")
        return found

    def put_blob(self, repository: Repository, data: bytes) -> Digest:
        """Upload a small blob to the host itself."""
        return self._inner.put_blob(repository, data)

    def copy_blob(self, source: Repository, blob: Descriptor, target: Repository) -> None:
        """Have a blob in ``target``, from wherever it can be had; from the host itself where both are there, so that it may be mounted."""
        mirrors = self._mirrors_of(source) if source.registry != target.registry else []
        for mirror in mirrors:
            # Whose fault an error was is not known here, so it says nothing about the mirror; what is wrong with the target comes again.
            with suppress(AnswerIsNo, InputError, Unavailable):
                return self._inner.copy_blob(_place(source, mirror), blob, target)
        return self._inner.copy_blob(source, blob, target)

    def put_manifest(self, reference: Reference, data: bytes, media_type: str, restore: Callable[[], object] | None = None) -> Digest:
        """PUT these exact bytes to the host itself."""
        return self._inner.put_manifest(reference, data, media_type, restore)

    def _mirrors_of(self, repository: Repository) -> list[str]:
        return [name for name in self._mirrors.get(repository.registry, ()) if name not in self._down]

    def _first(self, repository: Repository, ask: Callable[[Repository], Found | None]) -> Found | None:
        passed: dict[str, StagepinError] = {}
        for mirror in self._mirrors_of(repository):
            try:
                if (found := ask(_place(repository, mirror))) is not None:
                    return found
            except StagepinError as error:
                passed[mirror] = self._pass_on(mirror, error)
        try:
            return ask(repository)
        except StagepinError as error:
            raise _with_mirrors(error, passed) from None

    def _pass_on(self, mirror: str, error: StagepinError) -> StagepinError:
        if isinstance(error, Bug):
            raise error
        if isinstance(error, Unavailable):
            self._down.add(mirror)
        return error


def _place(repository: Repository, mirror: str) -> Repository:
    placed = parse_repository(f"{mirror.rstrip('/')}/{repository.path}")
    if placed.registry != mirror.partition("/")[0].lower():
        # A word without dot or port would be a user's name on Docker Hub.
        raise ValueError(f"expected a mirror such as mirror.example.com or mirror.example.com:5000/prefix, found {mirror[:100]!r}")
    return placed


def _at(reference: Reference, repository: Repository) -> Reference:
    return Reference(repository, reference.tag, reference.digest, reference.spelling)


def _with_mirrors(error: StagepinError, passed: Mapping[str, StagepinError]) -> StagepinError:
    """The host's own error; its hint names what its mirrors said before, but for what they simply lacked."""
    told = [f"its mirror {mirror}: {reason.message}" for mirror, reason in passed.items() if not isinstance(reason, Gone)]
    error.hint = "; ".join(filter(None, [error.hint, *told]))
    return error
