"""What a plain scalar of YAML is to Go's YAML package (yaml.v2, as werf reads its configuration).

Directives that are text keep what was written (``1.10`` stays ``1.10``), as Go does when it decodes into a string; this is for the few
that are numbers, and for whoever has to show a value typed. YAML 1.1 booleans, numbers in base 2, 8 (``0o17``, ``017``) and 16, no
base 60, no dates as numbers. Source of the rules: the resolver of gopkg.in/yaml.v2, tried value by value.
"""

from __future__ import annotations

import re

NULLS = frozenset(("", "~", "null", "Null", "NULL"))
TRUE = ("y", "yes", "true", "on")
FALSE = ("n", "no", "false", "off")
_BOOLEANS = {form: value for words, value in ((TRUE, True), (FALSE, False)) for w in words for form in (w, w.upper(), w.capitalize())}
_INTEGER = re.compile(r"[-+]?(?:0b[01_]+|0o?[0-7_]+|0x[0-9a-fA-F_]+|[1-9][0-9_]*|0)", re.ASCII)
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", re.ASCII)
_SPECIAL = {".inf": "inf", "+.inf": "inf", "-.inf": "-inf", ".nan": "nan"}
_LONGEST_NUMBER = 100
Plain = None | bool | int | float | str


def resolve_plain(text: str) -> Plain:
    """The value of an unquoted scalar: None, a boolean, a number, or the text itself."""
    if text in NULLS:
        return None
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    number = resolve_number(text)
    return text if number is None else number


def resolve_integer(text: str) -> int | None:
    """The whole number this is to Go, or None."""
    number = resolve_number(text)
    return number if isinstance(number, int) else None


def resolve_number(text: str) -> int | float | None:
    """The number this is to Go, or None. A number of more than 100 characters is text: no configuration has one."""
    if not text or len(text) > _LONGEST_NUMBER:
        return None
    if text.lower() in _SPECIAL and text.lower() == text:
        return float(_SPECIAL[text])
    if _INTEGER.fullmatch(text):
        return _integer(text.replace("_", ""))
    return float(text) if _FLOAT.fullmatch(text) else None


def _integer(text: str) -> int | None:
    sign, digits = (-1, text[1:]) if text.startswith("-") else (1, text.removeprefix("+"))
    base = {"0b": 2, "0o": 8, "0x": 16}.get(digits[:2])
    try:
        if base is not None:
            return sign * int(digits[2:], base)
        return sign * int(digits, 8 if digits.startswith("0") and len(digits) > 1 else 10)
    except ValueError:
        return None
