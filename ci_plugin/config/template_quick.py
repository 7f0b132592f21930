"""The functions that nearly every configuration uses, for the plain arguments they are nearly always given, without sprig's port.

Each takes arguments of exactly these types, and gives ``ASK`` where the answer is not plain: then, and for other arguments, the library
is asked. A test holds each of them to the library's own answers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

ASK = object()
"""Let the library answer."""
_QUOTABLE = re.compile(r"[ !#-\[\]-~]*")
"""What ``%q`` only puts quotes around."""
_SPACE = " \t\n\v\f\r"
_DIRECTIVE = re.compile(r"%(.?)", re.DOTALL)
_SMALL = 1 << 62


class Quick(NamedTuple):
    """A function and what it takes: a type for each argument, None for any; the one type again and again if ``is_variadic``."""

    function: Callable[..., object]
    types: tuple[type | None, ...]
    is_variadic: bool = False

    def takes(self, arguments: Sequence[object]) -> bool:
        """Whether these are the arguments it is for."""
        types = self.types * len(arguments) if self.is_variadic else self.types
        return len(arguments) == len(types) and all(
            wanted is None or type(argument) is wanted for wanted, argument in zip(types, arguments, strict=True)
        )


def quoted(text: str) -> object:
    """``%q``."""
    return f'"{text}"' if _QUOTABLE.fullmatch(text) else ASK


def printed(layout: str, values: Sequence[object]) -> object:
    """``printf`` of text and whole numbers with ``%s``, ``%d``, ``%v``, ``%q`` and no widths."""
    pieces, used, end = [], 0, 0
    for found in _DIRECTIVE.finditer(layout):
        pieces.append(layout[end : found.start()])
        end = found.end()
        if found[1] == "%":
            pieces.append("%")
            continue
        if used == len(values):
            return ASK
        piece = _piece(found[1], values[used])
        if not isinstance(piece, str):
            return ASK
        pieces.append(piece)
        used += 1
    return "".join((*pieces, layout[end:])) if used == len(values) else ASK


def _piece(verb: str, value: object) -> object:
    if type(value) is str and verb in ("s", "v", "q"):
        return value if verb != "q" else quoted(value)
    return str(value) if type(value) is int and verb in ("d", "v") else ASK


def _ascii(function: Callable[[str], object]) -> Callable[[str], object]:
    return lambda text: function(text) if text.isascii() else ASK


def _small(function: Callable[..., int]) -> Callable[..., object]:
    """Whole numbers that cannot go over 64 bits."""

    def count(*numbers: int) -> object:
        result = function(*numbers) if all(-_SMALL < number < _SMALL for number in numbers) else _SMALL
        return result if -_SMALL < result < _SMALL else ASK

    return count


def _positive(function: Callable[[int, int], int]) -> Callable[[int, int], object]:
    return lambda first, second: function(first, second) if 0 <= first < _SMALL and 0 < second < _SMALL else ASK


def _indent(blanks: int, text: str) -> object:
    pad = " " * blanks
    return pad + text.replace("\n", "\n" + pad) if blanks >= 0 else ASK


def _nindent(blanks: int, text: str) -> object:
    indented = _indent(blanks, text)
    return f"\n{indented}" if isinstance(indented, str) else ASK


def _replace(old: str, new: str, text: str) -> object:
    return text.replace(old, new) if old else ASK


def _join(separator: str, items: list[object]) -> object:
    texts = [item for item in items if isinstance(item, str)]
    return separator.join(texts) if len(texts) == len(items) else ASK


def _dict(*pairs: object) -> object:
    if len(pairs) % 2 or not all(type(key) is str for key in pairs[::2]):
        return ASK
    return dict(zip(pairs[::2], pairs[1::2], strict=True))


def _set(into: dict[str, object], key: str, value: object) -> object:
    into[key] = value
    return into


def _default(instead: object, value: object) -> object:
    plain = value is None or isinstance(value, str) or type(value) in (int, bool, float, list, dict)
    return (value or instead) if plain else ASK


def _sha256(text: str) -> str:
    from hashlib import sha256

    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _b64(text: str) -> str:
    from base64 import b64encode

    return b64encode(text.encode("utf-8", "surrogatepass")).decode()


def _quote(value: object) -> object:
    return quoted(value) if type(value) is str else f'"{value}"' if type(value) is int else ASK


QUICK: Mapping[str, Quick] = {
    "quote": Quick(_quote, (None,)),
    "squote": Quick(lambda value: f"'{value}'" if type(value) in (str, int) else ASK, (None,)),
    "toString": Quick(lambda value: str(value) if type(value) in (str, int) else ASK, (None,)),
    "indent": Quick(_indent, (int, str)),
    "nindent": Quick(_nindent, (int, str)),
    "replace": Quick(_replace, (str, str, str)),
    "trim": Quick(_ascii(lambda text: text.strip(_SPACE)), (str,)),
    "trimSuffix": Quick(lambda end, text: text.removesuffix(end), (str, str)),
    "trimPrefix": Quick(lambda start, text: text.removeprefix(start), (str, str)),
    "upper": Quick(_ascii(str.upper), (str,)),
    "lower": Quick(_ascii(str.lower), (str,)),
    "contains": Quick(lambda part, text: part in text, (str, str)),
    "hasPrefix": Quick(lambda start, text: text.startswith(start), (str, str)),
    "hasSuffix": Quick(lambda end, text: text.endswith(end), (str, str)),
    "repeat": Quick(lambda count, text: text * count if count >= 0 else ASK, (int, str)),
    "splitList": Quick(lambda separator, text: text.split(separator) if separator else ASK, (str, str)),
    "join": Quick(_join, (str, list)),
    "sha256sum": Quick(_sha256, (str,)),
    "b64enc": Quick(_b64, (str,)),
    "list": Quick(lambda *items: list(items), (None,), is_variadic=True),
    "dict": Quick(_dict, (None,), is_variadic=True),
    "set": Quick(_set, (dict, str, None)),
    "get": Quick(lambda of, key: of.get(key, ""), (dict, str)),
    "hasKey": Quick(lambda of, key: key in of, (dict, str)),
    "first": Quick(lambda items: items[0] if items else ASK, (list,)),
    "last": Quick(lambda items: items[-1] if items else ASK, (list,)),
    "append": Quick(lambda items, item: [*items, item], (list, None)),
    "default": Quick(_default, (None, None)),
    "ternary": Quick(lambda yes, no, which: yes if which else no, (None, None, bool)),
    "until": Quick(lambda count: list(range(count)) if count >= 0 else ASK, (int,)),
    "add": Quick(_small(lambda *numbers: sum(numbers)), (int,), is_variadic=True),
    "add1": Quick(_small(lambda number: number + 1), (int,)),
    "sub": Quick(_small(lambda first, second: first - second), (int, int)),
    "mul": Quick(_small(lambda first, second: first * second), (int, int)),
    "div": Quick(_positive(lambda first, second: first // second), (int, int)),
    "mod": Quick(_positive(lambda first, second: first % second), (int, int)),
    "int": Quick(lambda number: number, (int,)),
}
