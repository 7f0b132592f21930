"""A registry client that is made when it is first asked for something.

Making it costs the import of urllib3 and the reading of credentials, and most jobs of a pipeline ask no registry: they have the pin file.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ci_plugin.errors import StagepinError
    from ci_plugin.ports import Registry
    from ci_plugin.values.digest import Digest
    from ci_plugin.values.manifest import Descriptor, Manifest
    from ci_plugin.values.reference import Reference, Repository


class LateRegistry:
    """``ports.Registry`` over the one that ``make`` returns; ``make`` is called once, by the first question."""

    def __init__(self, make: Callable[[], Registry]) -> None:
        self._make = make

    @cached_property
    def _made(self) -> Registry:
        return self._make()

    def resolve(self, references: Collection[Reference]) -> Mapping[Reference, Descriptor | StagepinError]:
        """What each reference means now."""
        return self._made.resolve(references)

    def find_descriptor(self, reference: Reference) -> Descriptor | None:
        """HEAD of one manifest."""
        return self._made.find_descriptor(reference)

    def find_manifest(self, reference: Reference) -> Manifest | None:
        """GET of one manifest or index."""
        return self._made.find_manifest(reference)

    def get_blob(self, repository: Repository, blob: Descriptor, limit: int) -> bytes:
        """A blob of at most ``limit`` bytes."""
        return self._made.get_blob(repository, blob, limit)

    def put_blob(self, repository: Repository, data: bytes) -> Digest:
        """Upload a small blob."""
        return self._made.put_blob(repository, data)

    def copy_blob(self, source: Repository, blob: Descriptor, target: Repository) -> None:
        """Have a blob in another repository."""
        self._made.copy_blob(source, blob, target)

    def put_manifest(self, reference: Reference, data: bytes, media_type: str, restore: Callable[[], object] | None = None) -> Digest:
        """PUT these exact bytes."""
        return self._made.put_manifest(reference, data, media_type, restore)
