"""What a template's functions cost: charged before they run, so that none makes more than the budget has.

Most functions walk through all of their arguments. Those that look at none of them, at the top of them, at each letter or at each pair
are named here, and those whose result grows with a number.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ci_plugin.config.template_values import Budget, at_most

Cost = Callable[[Budget, list[object]], None]


def words(text: str) -> frozenset[str]:
    """The names in a text."""
    return frozenset(text.split())


_CHEAP = words(
    """
    and coalesce default dict empty first get hasKey include index kindIs kindOf last len list not required set ternary tuple tpl
    typeIs typeIsLike typeOf unset include_debug tpl_debug printf_debug dump_debug
    """
)
"""Work that does not depend on how large the arguments are."""
_SHALLOW = words(
    """
    append concat initial keys mustAppend mustFirst mustLast mustPrepend mustPush pick omit pluck prepend push rest slice
    """
)
"""Work by the number of items, whatever they hold."""
_CALL = 4
"""Steps that any call takes."""
_SCRYPT = 150_000
"""Steps that deriving one password by scrypt takes."""


def charge_arguments(name: str, budget: Budget, arguments: list[object]) -> None:
    """What the function of that name costs with these arguments. Raises Refused."""
    budget.charge(_CALL)
    charge = _charge_nothing if name in _CHEAP else _charge_items if name in _SHALLOW else _charge_all
    charge(budget, arguments)
    if name in _COSTS:
        _COSTS[name](budget, arguments)


def _charge_nothing(budget: Budget, arguments: list[object]) -> None:
    budget.charge(1 + len(arguments))


def _charge_items(budget: Budget, arguments: list[object]) -> None:
    budget.charge(1 + sum(len(item) for item in arguments if isinstance(item, list | dict)))


def _charge_all(budget: Budget, arguments: list[object]) -> None:
    for argument in arguments:
        budget.charge_value(argument)


def charge_result(budget: Budget, name: str, result: object) -> object:
    """The result, once it is charged and known to be no larger than a configuration may be."""
    if isinstance(result, str):
        at_most(len(result), f"`{name}`")
        budget.charge(len(result) >> 3)
    elif isinstance(result, list | dict):
        budget.charge(len(result))
    elif isinstance(result, bytes | tuple):
        result = list(result)
    return result


def text_of(argument: object) -> str:
    """The argument where it is text, else none."""
    return argument if isinstance(argument, str) else ""


def _number(argument: object) -> int:
    return abs(argument) if isinstance(argument, int) else int(argument) if isinstance(argument, str) and argument.isdecimal() else 0


def _cost_repeat(_: Budget, arguments: list[object]) -> None:
    at_most(_number(arguments[0]) * len(text_of(arguments[1])), "`repeat`")


def _cost_indent(_: Budget, arguments: list[object]) -> None:
    at_most(_number(arguments[0]) * (text_of(arguments[1]).count("\n") + 1), "`indent`")


def _cost_until(budget: Budget, arguments: list[object]) -> None:
    numbers = [item for item in arguments if isinstance(item, int)]
    first, last, step = {1: (0, *numbers[:1], 1), 3: tuple(numbers)}.get(len(numbers), (0, 0, 1))
    budget.charge(abs(last - first) // max(abs(step), 1))


def _cost_seq(budget: Budget, arguments: list[object]) -> None:
    numbers = [item for item in arguments if isinstance(item, int)]
    step = numbers[1] if len(numbers) == 3 else 1
    first = numbers[0] if len(numbers) > 1 else 0
    budget.charge(4 * (abs(numbers[-1] - first) // max(abs(step), 1)) if numbers else 1)


def _cost_replace(_: Budget, arguments: list[object]) -> None:
    old, new, value = map(text_of, arguments)
    at_most(value.count(old) * len(new) + len(value), "`replace`")


def _cost_join(_: Budget, arguments: list[object]) -> None:
    at_most(len(text_of(arguments[0])) * (len(arguments[1]) if isinstance(arguments[1], list) else 1), "`join`")


def _cost_wrap(budget: Budget, arguments: list[object]) -> None:
    at_most(len(text_of(arguments[-1])) * (1 + len(text_of(arguments[1])) if len(arguments) == 3 else 2), "`wrap`")
    budget.charge(len(text_of(arguments[-1])))


def _cost_letters(budget: Budget, arguments: list[object]) -> None:
    """Functions that look at each character by itself, or make a value of each."""
    budget.charge(sum(len(item) for item in arguments if isinstance(item, str)))


def _cost_printing(budget: Budget, arguments: list[object]) -> None:
    """Functions that format each argument, and look at each character of it."""
    budget.charge(5 * len(arguments))
    _cost_letters(budget, arguments)


def _cost_keys(budget: Budget, arguments: list[object]) -> None:
    """Keys that are no text are formatted, whatever they hold."""
    _charge_times(budget, [key for key in arguments[::2] if not isinstance(key, str)], 3)


def _cost_text(budget: Budget, arguments: list[object]) -> None:
    """Cheap functions that must turn text into bytes."""
    budget.charge(sum(len(item) for item in arguments if isinstance(item, str)) >> 3)


def _cost_pairs(budget: Budget, arguments: list[object]) -> None:
    """Functions that compare each item with each other: both lists, and how large the items are."""
    items = max((len(item) for item in arguments if isinstance(item, list)), default=0)
    others = items if len(arguments) == 1 else len(arguments)
    _charge_times(budget, arguments, others)


def _cost_copy(budget: Budget, arguments: list[object]) -> None:
    _charge_times(budget, arguments, 3)


def _cost_yaml(budget: Budget, arguments: list[object]) -> None:
    """The emitter is slow: some 70 microseconds a value."""
    budget.charge(50)
    _charge_times(budget, arguments, 12)


def _charge_times(budget: Budget, arguments: list[object], times: int) -> None:
    before = budget.left
    _charge_all(budget, arguments)
    budget.charge((before - budget.left) * times)


def _cost_parsing(budget: Budget, _: list[object]) -> None:
    budget.charge(40)


def _cost_decimal(budget: Budget, arguments: list[object]) -> None:
    budget.charge(20 * len(arguments))


def _cost_scrypt(budget: Budget, _: list[object]) -> None:
    budget.charge(_SCRYPT)


_LETTERS = words(
    """
    abbrev abbrevboth b32dec b32enc b64dec b64enc camelcase fromJson initials kebabcase lower mustFromJson mustToJson
    mustToPrettyJson mustToRawJson nospace regexQuoteMeta snakecase split splitList splitn swapcase title toJson
    toPrettyJson toRawJson trim trimall trimAll untitle upper urlParse urlJoin semver semverCompare adler32sum
    atoi int int64 float64
    """
)
_PRINTING = words("print println printf cat html js urlquery quote squote toString toStrings sortAlpha toDecimal")
_COSTS: Mapping[str, Cost] = {
    **dict.fromkeys(_LETTERS, _cost_letters),
    **dict.fromkeys(_PRINTING, _cost_printing),
    "dict": _cost_keys,
    **dict.fromkeys(("uniq", "mustUniq", "without", "mustWithout", "has", "mustHas"), _cost_pairs),
    **dict.fromkeys(("until", "untilStep"), _cost_until),
    **dict.fromkeys(["len", "index"], _cost_text),
    "repeat": _cost_repeat,
    "indent": _cost_indent,
    "nindent": _cost_indent,
    "seq": _cost_seq,
    "replace": _cost_replace,
    "join": _cost_join,
    "wrap": _cost_wrap,
    "wrapWith": _cost_wrap,
    **dict.fromkeys(["addf", "add1f", "subf", "mulf", "divf"], _cost_decimal),
    **dict.fromkeys(["semver", "semverCompare", "dateInZone", "date_in_zone", "htmlDateInZone", "urlParse", "urlJoin"], _cost_parsing),
    **dict.fromkeys(["deepCopy", "mustDeepCopy"], _cost_copy),
    "derivePassword": _cost_scrypt,
    "toYaml": _cost_yaml,
}
