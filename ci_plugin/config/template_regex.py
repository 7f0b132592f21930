"""sprig's regular expressions (RE2, by gotpl), with what they do charged to the budget character by character."""

from __future__ import annotations

import re

from ci_plugin.config.template_costs import charge_result, text_of
from ci_plugin.config.template_library import given, regex_instructions, sprig
from ci_plugin.config.template_values import Budget, Refused, at_most

REGEX = frozenset(
    name
    for plain in ("regexMatch", "regexFind", "regexFindAll", "regexReplaceAll", "regexReplaceAllLiteral", "regexSplit")
    for name in (plain, f"mustR{plain[1:]}")
)
_LONGEST_PATTERN = 3000
"""Counted repetitions written out."""
_LONGEST_TEXT = 1 << 18
"""Letters; simple patterns find all matches before anybody looks at one, and each takes some hundred bytes."""
_PATTERN_PART = re.compile(r"\\.|\[\^?\]?[^\]]*\]|\{[0-9]+,?[0-9]*\}|.", re.DOTALL)
_DIGITS = re.compile(r"[0-9]+")


class _MeteredText(str):
    """Text that charges the budget for each character a regular expression looks at: its threads at that place."""

    budget: Budget
    threads: int

    def __len__(self) -> int:
        self.budget.charge(3)  # asked for at each place, and by each search
        return super().__len__()

    def __getitem__(self, key: object) -> str:
        self.budget.charge(self.threads if isinstance(key, int) else 10)
        return super().__getitem__(key)  # type: ignore[index]


def _written_out(pattern: str) -> int:
    """How long a pattern gets when its counted repetitions are written out, at most."""
    sizes, last = [0], 0
    for part in _PATTERN_PART.findall(pattern):
        if part == "(":
            sizes.append(0)
            continue
        if part == ")" and len(sizes) > 1:
            last = sizes.pop()
        elif part[0] == "{" and part[1:2].isdigit():
            counts = [int(count[:9]) for count in _DIGITS.findall(part)]
            sizes[-1] += last * max(counts)
            last *= max(counts) + 1
            continue
        else:
            last = 1
        sizes[-1] += last
    return sum(sizes)


def _threads(pattern: str) -> int:
    """How many threads may stand at one character; a pattern that is none costs nothing more."""
    try:
        return 1 + regex_instructions(pattern)
    except re.error:
        return 1


def call_regex(name: str, budget: Budget, arguments: list[object]) -> object:
    """What the function of that name gives: pattern first, text second. Raises Refused."""
    pattern, text = text_of(arguments[0]), text_of(arguments[1])
    if _written_out(pattern) > _LONGEST_PATTERN:
        raise Refused(f"expected a pattern of at most {_LONGEST_PATTERN} characters for `{name}`, found more", "split it, or repeat less")
    budget.charge(10 * len(pattern) + (len(text) >> 3))
    if name.endswith(("ReplaceAll", "ReplaceAllLiteral")):
        replacement = text_of(arguments[2])
        at_most((len(text) + 1) * len(replacement) + replacement.count("$") * len(text), f"`{name}`")
    threads = _threads(pattern)
    if threads == 1 and ("All" in name or name.endswith("Split")):
        if len(text) > _LONGEST_TEXT:
            raise Refused(f"expected at most {_LONGEST_TEXT >> 10} Ki letters for `{name}`, found more", "use a shorter text")
        budget.charge(len(text))
    metered = _MeteredText(text)
    metered.budget, metered.threads = budget, threads
    result = given(sprig(name)(pattern, metered, *arguments[2:]))
    return charge_result(budget, name, text if result is metered else result)
