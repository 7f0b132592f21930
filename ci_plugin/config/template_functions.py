"""What a template can call: sprig, and what werf adds, each with its cost.

Rules. A function gives the same result for the same commit, pins and readable variables, on every machine: clocks, random numbers, keys,
the network and the machine's time zone are refused by name (docs/templates.md has the list). Arguments have the types Go would insist
on. What a result costs is charged before it is made; a text or list is never larger than a whole configuration may be.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from ci_plugin.config.template_costs import charge_arguments, charge_result, words
from ci_plugin.config.template_library import NAMES, given, sprig
from ci_plugin.config.template_quick import ASK, QUICK, Quick
from ci_plugin.config.template_regex import REGEX, call_regex
from ci_plugin.config.template_run import Function, Run
from ci_plugin.config.template_values import BUILTINS, Refused, StringMap, formatted, kind_of

_CLOCK_OR_CHANCE = words(
    """
    now ago date htmlDate toDate mustToDate dateModify date_modify mustDateModify must_date_modify unixEpoch durationRound
    randAlpha randAlphaNum randAscii randNumeric randInt randBytes uuidv4 shuffle genPrivateKey genCA genCAWithKey
    genSelfSignedCert genSelfSignedCertWithKey genSignedCert genSignedCertWithKey buildCustomCert bcrypt htpasswd encryptAES
    getHostByName expandenv
    """
)
"""Another result every second, every run or on every machine; ``date`` and its like by the machine's time zone."""
_WRITING = words("set unset merge mergeOverwrite mustMerge mustMergeOverwrite")
_TYPES = {"str": str, "int": int, "float": float, "bool": bool, "dict[str, object]": dict}
_TYPE_NAMES = {str: "text", int: "a whole number", float: "a number with a fraction", bool: "a bool", dict: "a map"}


@dataclass(frozen=True, slots=True)
class _Signature:
    """How many arguments of which types."""

    fixed: tuple[type | None, ...]
    required: int
    others: type | None
    is_variadic: bool

    def check(self, name: str, arguments: list[object]) -> None:
        count = len(arguments)
        if count < self.required or (count > len(self.fixed) and not self.is_variadic):
            wanted = f"{self.required}" if self.required == len(self.fixed) and not self.is_variadic else f"at least {self.required}"
            raise Refused(f"expected `{name}` with {wanted} arguments, found {count}")
        for position, argument in enumerate(arguments):
            wanted_type = self.fixed[position] if position < len(self.fixed) else self.others
            if wanted_type is dict and argument is None and name not in _WRITING:
                arguments[position] = argument = {}  # nil is an empty map in Go
            if wanted_type and (not isinstance(argument, wanted_type) or (wanted_type is int and isinstance(argument, bool))):
                found = kind_of(argument)
                raise Refused(f"expected {_TYPE_NAMES[wanted_type]} as argument {position + 1} of `{name}`, found {found}")


def _signature(function: Callable[..., object]) -> _Signature:
    fixed: list[type | None] = []
    required, others, is_variadic = 0, None, False
    import inspect  # here: most templates call nothing that has to be looked at so closely

    for parameter in inspect.signature(function).parameters.values():
        annotation = parameter.annotation if isinstance(parameter.annotation, str) else getattr(parameter.annotation, "__name__", "")
        kind = _TYPES.get(annotation)
        if parameter.kind is parameter.VAR_POSITIONAL:
            others, is_variadic = kind, True
        elif parameter.kind is not parameter.KEYWORD_ONLY:
            fixed.append(kind)
            required += parameter.default is parameter.empty
    return _Signature(tuple(fixed), required, others, is_variadic)


class Functions(Mapping[str, Function]):
    """The functions by name, each made ready when it is first asked for."""

    def __init__(self, own: Mapping[str, Function]) -> None:
        self._ready: dict[str, Function] = {**own}
        self._names = NAMES.union(BUILTINS, _OURS, own) - {"sha512sum"}

    def __getitem__(self, name: str) -> Function:
        function = self._ready.get(name)
        if function is None:
            if name not in self._names:
                raise KeyError(name)
            function = self._ready[name] = _ready(name)
        return function

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def _ready(name: str) -> Function:
    if name in _CLOCK_OR_CHANCE:
        return _refusing(name)
    if name in QUICK:
        return _quick(name, QUICK[name])
    return checked(name, _OURS.get(name) or BUILTINS.get(name) or sprig(name))


def _quick(name: str, quick: Quick) -> Function:
    """What we can answer ourselves; anything else is for the library."""
    asked: list[Function] = []

    def call(run: Run, arguments: list[object]) -> object:
        if quick.takes(arguments):
            charge_arguments(name, run.budget, arguments)
            result = quick.function(*arguments)
            if result is not ASK:
                return charge_result(run.budget, name, result)
        if not asked:
            asked.append(checked(name, sprig(name)))
        return asked[0](run, arguments)

    return call


def _refusing(name: str) -> Function:
    def refuse(*_: object) -> object:
        raise Refused(
            f"expected a template that gives one text for one commit, found `{name}`",
            'hand the value in through a variable: {{ env "NAME" }}',
        )

    return refuse


def checked(name: str, plain: Callable[..., object]) -> Function:
    """A function of values as a function of a run: types checked, arguments and result charged, its own failures told as ours."""
    signature = _signature(plain)

    def call(run: Run, arguments: list[object]) -> object:
        signature.check(name, arguments)
        try:
            if name in REGEX:
                return call_regex(name, run.budget, arguments)
            charge_arguments(name, run.budget, arguments)
            return charge_result(run.budget, name, _value(plain(*arguments)))
        except (Refused, RecursionError, MemoryError):
            raise
        except Exception as error:  # whatever sprig's port raises is the template's failure
            raise Refused(f"expected `{name}` to give a value, found: {error or type(error).__name__}") from None

    return call


def _value(result: object) -> object:
    """Plain values are their own; the library may wrap others, with an error in them."""
    return result if result is None or isinstance(result, str | int | float | list | dict) else given(result)


class _Version:
    """A semantic version: its parts are functions, as in Go."""

    def __init__(self, text: str) -> None:
        parsed: object = given(sprig("semver")(text))
        self._text = str(parsed)
        self._parts = {name: getattr(parsed, name) for name in ("Major", "Minor", "Patch", "Prerelease", "Metadata", "Original")}

    def methods(self) -> Mapping[str, Callable[..., object]]:
        """``.Major`` and so on."""
        return {name: part if callable(part) else lambda number=part: number for name, part in self._parts.items()}

    def __go_format_value__(self, kind: str, mode: str, *, nested: bool) -> str:
        return self._text


def _to_float(value: object) -> float:
    number = given(sprig("float64")(value))
    return number if isinstance(number, float) else 0.0


def _round(value: object, places: int, half: float = 0.5) -> float:
    power = 10.0**places
    scaled = power * _to_float(value)
    whole = math.ceil(scaled) if math.fmod(scaled, 1) >= half else math.floor(scaled)
    return float(whole) / power


def _date_in_zone(layout: str, value: object, zone: str) -> object:
    if not isinstance(value, int) or isinstance(value, bool):
        raise Refused(f"expected seconds since 1970 as the date, found {kind_of(value)}", "for example .Commit.Date.Unix | int64")
    if zone in ("", "Local"):
        raise Refused("expected a time zone that is the same on every machine, found the machine's own", 'write "UTC"')
    return sprig("dateInZone")(layout, value, zone)


def _without_nil(values: tuple[object, ...]) -> list[object]:
    return [value for value in values if value is not None]


def _sorted_values(value: dict[str, object]) -> list[object]:
    return [value[key] for key in sorted(value)]


def _sorted_keys(*values: dict[str, object]) -> list[object]:
    return [key for value in values for key in sorted(value)]


def _split(separator: str, value: str) -> object:
    return StringMap(_texts(sprig("split")(separator, value)))


def _splitn(separator: str, count: int, value: str) -> object:
    return StringMap(_texts(sprig("splitn")(separator, count, value)))


def _texts(found: object) -> dict[str, str]:
    return found if isinstance(found, dict) else {}


_OURS: Mapping[str, Callable[..., object]] = {
    "cat": lambda *values: " ".join(formatted("%v", value) for value in _without_nil(values)),
    "dateInZone": _date_in_zone,
    "date_in_zone": _date_in_zone,
    "htmlDateInZone": lambda value, zone: _date_in_zone("2006-01-02", value, zone),
    "keys": _sorted_keys,
    "round": _round,
    "semver": _Version,
    "split": _split,
    "splitn": _splitn,
    "values": _sorted_values,
}
"""Where the library's own is not as we want it: dates by the machine, maps in the order they were written, maps of text."""
