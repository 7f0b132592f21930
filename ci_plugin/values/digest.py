"""Digests of manifests and indexes, and image IDs (digest of an image's config). The two are never interchangeable.

Grammar: OCI image-spec v1.1, descriptor.md "Digests"; ``sha256`` and ``sha512`` only, lower-case hex of the exact length.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Self

_PATTERN = re.compile(r"(sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})", re.ASCII)


@dataclass(frozen=True, slots=True, order=True)
class _Hash:
    value: str

    def __post_init__(self) -> None:
        if not _PATTERN.fullmatch(self.value):
            raise ValueError(f"expected sha256:<64 hex> or sha512:<128 hex>, found {self.value[:150]!r}")

    def __str__(self) -> str:
        return self.value

    @property
    def algorithm(self) -> str:
        """``sha256`` or ``sha512``."""
        return self.value.partition(":")[0]

    @property
    def hex(self) -> str:
        """The hexadecimal part."""
        return self.value.partition(":")[2]

    @classmethod
    def of(cls, data: bytes) -> Self:
        """The sha256 of these bytes."""
        return cls("sha256:" + hashlib.sha256(data).hexdigest())

    def matches(self, data: bytes) -> bool:
        """Whether these bytes hash to this value, by its own algorithm."""
        return hashlib.new(self.algorithm, data).hexdigest() == self.hex


class Digest(_Hash):
    """Hash of the bytes a registry serves (manifest, index, blob). Raises ValueError for anything malformed."""

    __slots__ = ()


class ImageId(_Hash):
    """Hash of an image's config, as read from its manifest. Raises ValueError for anything malformed."""

    __slots__ = ()
