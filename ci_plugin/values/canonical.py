"""Labelled fields → unambiguous bytes → sha256.

The encoding is prefix-free and injective: every value carries its type and its length, so no two different values share their
bytes, whatever they contain. It is versioned: golden vectors in ``tests/data/signatures.json`` hold it, and a change needs a new
``ENCODING_VERSION`` (docs/adr/0003).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import TypeAlias

ENCODING_VERSION = 1

Value: TypeAlias = "str | bytes | int | bool | tuple[Value, ...] | None"
Fields: TypeAlias = Sequence[tuple[str, Value]]


def encode(value: Value) -> bytes:
    """The bytes of one value: ``n`` | ``t`` | ``f`` | ``i<decimal>;`` | ``s<bytes>:<utf-8>`` | ``b<bytes>:<data>`` | ``l<count>:<values>``.

    Text that came from bytes which are no UTF-8 (file names) is taken with ``surrogateescape``. Raises ValueError for text that no bytes
    decode to: it would share its encoding with other text.
    """
    match value:
        case None:
            return b"n"
        case bool():
            return b"t" if value else b"f"
        case int():
            return b"i%d;" % value
        case str():
            data = value.encode("utf-8", "surrogateescape")
            if not value.isascii() and data.decode("utf-8", "surrogateescape") != value:
                raise ValueError("expected text that UTF-8 bytes decode to, found escaped bytes that are UTF-8 together")
            return b"s%d:%b" % (len(data), data)
        case bytes():
            return b"b%d:%b" % (len(value), value)
        case tuple():
            return b"l%d:%b" % (len(value), b"".join(encode(item) for item in value))


def encode_fields(fields: Fields) -> bytes:
    """The bytes of an ordered list of labelled values, led by the encoding's version."""
    return encode((ENCODING_VERSION, tuple((label, value) for label, value in fields)))


def sha256_hex(value: Value) -> str:
    """sha256 of one encoded value, 64 hex characters."""
    return hashlib.sha256(encode(value)).hexdigest()


def fields_hash(fields: Fields) -> str:
    """sha256 of labelled fields, 64 hex characters."""
    return hashlib.sha256(encode_fields(fields)).hexdigest()


def canonical_json(document: object) -> bytes:
    """One byte string per JSON document: sorted keys, no spaces, UTF-8, no newline.

    Equal to RFC 8785 for what our documents hold (no floats beyond seconds rounded to thousandths, ASCII keys); the tests compare the two.
    """
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8")
