"""Keep pinned bases alive: copies of them in a repository of ours, which no garbage collection upstream reaches (``pin --keep``).

Everything is copied by digest, never from a tag: the digest is what was pinned, and it is the same everywhere. An index is copied with all
its children. Every manifest gets a tag of its own, ``stagepin-keep-<first 12 hex of its digest>``: registries delete what has none, and
distribution 2.8 deletes the untagged children of a tagged index too. Blobs come first, then manifests, then indexes, so that what has its
tag is whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TypeVar

from ci_plugin.errors import AnswerIsNo, Gone, StagepinError
from ci_plugin.pins.pin_set import PinSet
from ci_plugin.ports import Registry
from ci_plugin.threads import thread_pool
from ci_plugin.values.digest import Digest
from ci_plugin.values.manifest import Descriptor, Manifest
from ci_plugin.values.reference import Reference, Repository

KEEP_TAG = "stagepin-keep-"
_AT_ONCE = 8
_DEEPEST = 4
"""Indexes around one manifest; in the wild it is one."""
_ELSEWHERE = ("application/vnd.docker.image.rootfs.foreign.", "application/vnd.oci.image.layer.nondistributable.")
"""Layers that no registry serves (Windows bases of before 2023): their manifests name where they are.

distribution 2.8 takes such a manifest only where its configuration allows those addresses (``validation.manifests.urls``).
"""

Item = TypeVar("Item")
Result = TypeVar("Result")


def keep_bases(pins: PinSet, target: Repository, registry: Registry) -> tuple[Reference, ...]:
    """Have every pinned digest in ``target``; the copies, ``target@digest``, in the order of the pins.

    A copy that is there costs one HEAD. Raises what the registry answered, naming the base: Gone where it is lost upstream already,
    AccessDenied where it may not be read or the target not be written.
    """
    pinned = [pin.reference.at(pin.digest) for pin in pins.pins if pin.digest]
    _Keeper(target, registry).keep(pinned)
    return tuple(dict.fromkeys(target.at(reference.digest) for reference in pinned if reference.digest))


def keep_tag(digest: Digest) -> str:
    """The tag a copy is kept under."""
    return f"{KEEP_TAG}{digest.hex[:12]}"


def places_of(pinned: Reference, mirrors: Sequence[Reference], keep: Repository | None) -> tuple[Reference, ...]:
    """Where a pinned digest may be pulled from, in order: the mirrors of its registry, its own registry, the copy that was kept."""
    copies = (keep.at(pinned.digest),) if keep and pinned.digest else ()
    return tuple(dict.fromkeys((*mirrors, pinned, *copies)))


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A manifest to keep: where it is, ``repository@digest``, and the pinned base it is or belongs to."""

    reference: Reference
    digest: Digest
    base: Reference
    depth: int = 0
    platform: str = ""


@dataclass(frozen=True, slots=True)
class _Part:
    """A manifest that is not kept yet, as it was read."""

    wanted: _Wanted
    manifest: Manifest

    @property
    def blobs(self) -> tuple[Descriptor, ...]:
        """What a registry must have before it takes the manifest."""
        described = (self.manifest.config, *self.manifest.layers)
        return tuple(blob for blob in described if blob and not blob.media_type.startswith(_ELSEWHERE))

    @property
    def children(self) -> Iterator[_Wanted]:
        """The manifests of an index, attestations too: a registry takes an index whole or not at all."""
        for platform, entry in self.manifest.entries:
            reference, depth = self.wanted.reference.at(entry.digest), self.wanted.depth + 1
            yield _Wanted(reference, entry.digest, self.wanted.base, depth, str(platform or ""))


class _Keeper:
    """Copies what one repository lacks."""

    def __init__(self, target: Repository, registry: Registry) -> None:
        self._target = target
        self._registry = registry
        self._parts: dict[Digest, _Part] = {}
        self._kept: set[Digest] = set()

    def keep(self, pinned: Iterable[Reference]) -> None:
        wanted = [_Wanted(reference, reference.digest, reference) for reference in pinned if reference.digest]
        while wanted:
            wanted = self._read(wanted)
        parts = self._parts.values()
        blobs = {blob.digest: (part, blob) for part in parts for blob in part.blobs}
        _side_by_side(lambda item: self._copy(*item), blobs.values())
        # A registry refuses an index before its children; what is no index needs blobs alone.
        for depth in sorted({(part.manifest.descriptor.is_index, -part.wanted.depth) for part in parts}):
            _side_by_side(self._put, [part for part in parts if (part.manifest.descriptor.is_index, -part.wanted.depth) == depth])

    def _read(self, wanted: Iterable[_Wanted]) -> list[_Wanted]:
        """Read what is not kept yet; what its indexes want in turn."""
        fresh: dict[Digest, _Wanted] = {}
        for one in wanted:
            if one.digest in self._parts:
                # Met again as somebody's child: it has to be there before that one.
                self._parts[one.digest] = replace(self._parts[one.digest], wanted=one)
            elif one.digest not in self._kept:
                fresh.setdefault(one.digest, one)
        found = _side_by_side(self._find, fresh.values())
        self._kept |= {one.digest for one, part in zip(fresh.values(), found, strict=True) if part is None}
        parts = [part for part in found if part]
        self._parts |= {part.wanted.digest: part for part in parts}
        return [child for part in parts for child in part.children]

    def _find(self, wanted: _Wanted) -> _Part | None:
        """The manifest, or None where it is kept already."""
        with self._naming(wanted):
            kept = self._registry.find_descriptor(self._target.tagged(keep_tag(wanted.digest)))
            if kept and kept.digest == wanted.digest:
                return None
            if wanted.depth > _DEEPEST:
                raise AnswerIsNo(f"expected an image in at most {_DEEPEST} indexes, found more at {wanted.reference}")
            manifest = self._registry.find_manifest(wanted.reference)
        if manifest is None:
            raise self._gone(wanted)
        return _Part(wanted, manifest)

    def _gone(self, wanted: _Wanted) -> Gone:
        if wanted.reference == wanted.base:
            message = f"expected {wanted.base} in its registry, to keep a copy of it, found nothing"
            return Gone(message, hint="its registry deleted it since it was pinned; run a new pipeline, which pins anew")
        which = f"manifest {wanted.digest}{f' ({wanted.platform})' if wanted.platform else ''}"
        hint = "its registry lost a part of it, to garbage collection perhaps; push the base again, or choose another"
        return Gone(f"expected {which} of the index {wanted.base} in its registry, to keep a copy of it, found nothing", hint=hint)

    def _copy(self, part: _Part, blob: Descriptor) -> None:
        with self._naming(part.wanted):
            self._registry.copy_blob(part.wanted.reference.repository, blob, self._target)

    def _put(self, part: _Part) -> None:
        def restore() -> None:
            for blob in part.blobs:
                self._copy(part, blob)

        with self._naming(part.wanted):
            tag = self._target.tagged(keep_tag(part.wanted.digest))
            self._registry.put_manifest(tag, part.manifest.data, part.manifest.descriptor.media_type, restore)

    @contextmanager
    def _naming(self, wanted: _Wanted) -> Iterator[None]:
        """Says of an error for which base it was: of a blob's, people would not know."""
        try:
            yield
        except StagepinError as error:
            if str(wanted.base) not in error.message:
                error.message = f"keep {wanted.base} in {self._target}: {error.message}"
            raise


def _side_by_side(work: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """The results in order, or the first error."""
    waiting = list(items)
    with thread_pool(min(_AT_ONCE, len(waiting))) as pool:
        return list(pool.map(work, waiting))
