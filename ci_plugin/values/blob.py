"""The id git gives the bytes of a file (gitformat: ``blob <size>NUL<bytes>``, hashed as the repository's object format says)."""

from __future__ import annotations

import hashlib


def blob_id(data: bytes, like: str) -> str:
    """The id of these bytes in the object format of ``like``, an id of the same repository: 64 characters are sha256, else sha1."""
    kind = "sha256" if len(like) == len("0" * 64) else "sha1"
    return hashlib.new(kind, b"blob %d\0%b" % (len(data), data), usedforsecurity=False).hexdigest()
