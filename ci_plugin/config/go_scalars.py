"""What a plain scalar of YAML is to Go's YAML package (yaml.v2, as werf reads its configuration and ``fromYaml`` its text).

Directives that are text keep what was written (``1.10`` stays ``1.10``), as Go does when it decodes into a string; this is for the few
that are numbers, and for whoever has to show a value typed. YAML 1.1 booleans, numbers in base 2, 8 (``0o17``, ``017``) and 16, no
base 60, no dates. Rules: https://github.com/go-yaml/yaml/tree/v2 (``resolve.go``), tried value by value with Go itself.
"""

from __future__ import annotations

import math
import re

NULLS = frozenset(("", "~", "null", "Null", "NULL"))
_TRUE = frozenset(("y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"))
_FALSE = frozenset(("n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"))
_INFINITE = {".inf": "inf", ".Inf": "inf", ".INF": "inf", "-.inf": "-inf", "-.Inf": "-inf", "-.INF": "-inf"}
_INFINITE |= {f"+{name}": "inf" for name in (".inf", ".Inf", ".INF")} | dict.fromkeys((".nan", ".NaN", ".NAN"), "nan")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_INTEGER = re.compile(r"0b[-+]?[01]+|[-+]?(0b[01]+|0x[0-9a-fA-F]+|0o?[0-7]+|[1-9][0-9]*|0)")
_LOOSE = re.compile(r"(?<![0-9])_|_(?![0-9])")
"""What may not be in a number that begins with a dot: Go reads that one as a float only."""
_NUMERIC = frozenset("+-.0123456789")
"""What a number begins with; ``_1`` is none, ``1_`` is."""
_LONGEST_NUMBER = 400
Plain = None | bool | int | float | str


def resolve_plain(text: str) -> Plain:
    """The value of an unquoted scalar: None, a boolean, a number, or the text itself."""
    if text in NULLS:
        return None
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    number = resolve_number(text)
    return text if number is None else number


def resolve_integer(text: str) -> int | None:
    """The whole number this is to Go, or None."""
    number = resolve_number(text)
    return number if isinstance(number, int) else None


def resolve_number(text: str) -> int | float | None:
    """The number of 64 bits this is to Go, or None."""
    if text[:1] not in _NUMERIC or len(text) > _LONGEST_NUMBER:
        return None
    if text in _INFINITE:
        return float(_INFINITE[text])
    plain = text if text.startswith(".") and _LOOSE.search(text) else text.replace("_", "")
    if _INTEGER.fullmatch(plain):
        number = _integer(plain)
        if -(1 << 63) <= number < 1 << 64:
            return number
    return float(plain) if _FLOAT.fullmatch(plain) and math.isfinite(float(plain)) else None


def _integer(plain: str) -> int:
    if plain.startswith("0b"):
        return int(plain[2:], 2)
    return int(plain, 8 if re.match(r"[-+]?0[0-7]", plain) else 0)
