"""Small documents a stages storage keeps beside its stages, such as the listing of a stage's files: named by what they hold.

The name is the sha256 of the bytes, so a document is proved by reading it, and one that is there need never be written again.
"""

from __future__ import annotations

import hashlib

from ci_plugin.errors import AnswerIsNo, InputError

LARGEST_KEPT = 64 * 1024 * 1024
"""Bytes of a kept document, uncompressed: the listing of about 400,000 files."""


def name_of_document(data: bytes) -> str:
    """sha256 of the bytes, 64 hex characters. Raises InputError for a document that nobody would read again."""
    if len(data) > LARGEST_KEPT:
        raise InputError(
            f"expected a listing of an image's files of at most {LARGEST_KEPT} bytes, found {len(data)}",
            hint="map fewer files into the image: includePaths and excludePaths of its git mapping",
        )
    return hashlib.sha256(data).hexdigest()


def prove_document(name: str, data: bytes, where: str) -> bytes:
    """The bytes where they are the document of that name. Raises AnswerIsNo where somebody wrote others at ``where``."""
    if len(data) > LARGEST_KEPT or hashlib.sha256(data).hexdigest() != name:
        raise foreign_document(name, where, "other bytes")
    return data


def foreign_document(name: str, where: str, found: str) -> AnswerIsNo:
    """The error for what is not the document ``name`` at ``where``."""
    hint = "somebody overwrote the tag; delete it, then build again"
    return AnswerIsNo(f"expected the document {name} at {where}, found {found}", hint=hint)
