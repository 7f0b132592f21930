"""Go's ``text/template`` at work: what each piece of a template does, so that every step counts, every value is bounded, every place known.

Rules: https://pkg.go.dev/text/template of Go 1.19, but that ``range`` takes a number as newer ones do. A template becomes functions once
(``template_parse``); running it calls them. A run has one budget; what it includes shares it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from ci_plugin.config.template_costs import words
from ci_plugin.config.template_run import Frame, Function, Step
from ci_plugin.config.template_text import Made, without_parts
from ci_plugin.config.template_values import MISSING, Refused, field_of, is_true, kind_of, printed

_BREAK, _CONTINUE = 1, 2
Value = Callable[[Frame], object]


class Branch(NamedTuple):
    """A condition, where it stands, and what is done where it holds."""

    value: Value
    at: int
    body: Step


def in_order(steps: Sequence[Step]) -> Step:
    """One after the other, until one leaves the loop or the turn."""
    if len(steps) == 1:
        return steps[0]

    def run(frame: Frame) -> int:
        for step in steps:
            signal = step(frame)
            if signal:
                return signal
        return 0

    return run


def leave_loop(_: Frame) -> int:
    """``break``."""
    return _BREAK


def next_turn(_: Frame) -> int:
    """``continue``."""
    return _CONTINUE


def literal(text: str, at: int) -> Step:
    """Text that stands in the template."""

    def run(frame: Frame) -> int:
        frame.run.at = at
        frame.run.write(text, is_literal=True)
        return 0

    return run


def printing(value_of: Value, at: int) -> Step:
    """An action that prints its value."""

    def run(frame: Frame) -> int:
        current = frame.run
        current.at = at
        current.budget.charge(1)
        value = value_of(frame)
        current.at = at
        if not isinstance(value, str):
            current.budget.charge(5)
            current.budget.charge_value(value)
            value = printed(value)
        current.write(value)
        return 0

    return run


def storing(value_of: Value, slot: int, at: int) -> Step:
    """An action that sets a variable."""

    def run(frame: Frame) -> int:
        frame.run.at = at
        frame.run.budget.charge(1)
        frame.values[slot] = value_of(frame)
        return 0

    return run


def kept(value_of: Value, slots: Sequence[int]) -> Value:
    """The value, also set as a variable where there is one."""
    if not slots:
        return value_of
    (slot,) = slots

    def evaluate(frame: Frame) -> object:
        value = frame.values[slot] = value_of(frame)
        return value

    return evaluate


def branching(branches: Sequence[Branch], other: Step | None, *, is_with: bool) -> Step:
    """The first branch whose condition holds."""

    def run(frame: Frame) -> int:
        current = frame.run
        for value_of, at, body in branches:
            current.at = at
            current.budget.charge(1)
            value = value_of(frame)
            if is_true(value):
                if not is_with:
                    return body(frame)
                dot, frame.dot = frame.dot, value
                signal = body(frame)
                frame.dot = dot
                return signal
        return other(frame) if other else 0

    return run


def looping(value_of: Value, slots: Sequence[int], body: Step, other: Step | None, at: int) -> Step:
    """``range``: one variable takes the value, two the key and the value."""

    def run(frame: Frame) -> int:
        current, dot, values = frame.run, frame.dot, frame.values
        current.at = at
        current.budget.charge(1)
        is_empty = True
        looped = value_of(frame)
        if isinstance(looped, dict):
            current.budget.charge(len(looped))
        for key, value in _entries(looped):
            is_empty = False
            current.budget.charge(2)
            if slots:
                values[slots[-1]] = value
                if len(slots) == 2:
                    values[slots[0]] = key
            frame.dot = value
            if body(frame) == _BREAK:
                break
        frame.dot = dot
        return other(frame) if is_empty and other else 0

    return run


def _entries(value: object) -> Iterator[tuple[object, object]]:
    if isinstance(value, dict):
        return iter([(key, value[key]) for key in sorted(value)])
    if isinstance(value, list):
        return enumerate(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return ((number, number) for number in range(value))
    if value is None or value is MISSING:
        return iter(())
    raise Refused(f"expected a list or a map to range over, found {kind_of(value)}")


def calling(name: str, value_of: Value, at: int) -> Step:
    """``template``: print another one here."""

    def run(frame: Frame) -> int:
        current = frame.run
        current.at = at
        current.budget.charge(1)
        value = value_of(frame)
        current.at = at
        current.call(name, value)
        return 0

    return run


def whole(value_of: Value) -> Value:
    """A pipeline's value: nil at its end is what nobody has."""

    def evaluate(frame: Frame) -> object:
        value = value_of(frame)
        return MISSING if value is None else value

    return evaluate


def refusing(message: str, at: int) -> Value:
    """What may be written, but not run."""

    def refuse(frame: Frame) -> object:
        frame.run.at = at
        raise Refused(message)

    return refuse


def value_or_method(value_of: Value, piped: Value | None, rest: Sequence[Value], at: int) -> Value:
    """A value; where it is a function (``.Files.Get``), called with the arguments."""

    def evaluate(frame: Frame) -> object:
        last = piped(frame) if piped else None
        value = value_of(frame)
        arguments = [argument(frame) for argument in rest]
        if piped:
            arguments.append(last)
        if callable(value):
            frame.run.at = at
            frame.run.budget.charge(1)
            return value(*(None if item is MISSING else without_parts(item) for item in arguments))
        if arguments:
            frame.run.at = at
            raise Refused(f"expected a function before these values, found {kind_of(value)}")
        return value

    return evaluate


def call(name: str, function: Function, piped: Value | None, rest: Sequence[Value], at: int) -> Value:
    """A function with its arguments, the piped one last. Of text that was made elsewhere it is told what came through."""
    takes_as_it_is = name in _KEEPING

    def evaluate(frame: Frame) -> object:
        run = frame.run
        if piped:
            last = piped(frame)
            arguments = [argument(frame) for argument in rest]
            arguments.append(last)
        else:
            arguments = [argument(frame) for argument in rest]
        arguments = [None if item is MISSING else item for item in arguments]
        run.at = at
        if not run.has_made or takes_as_it_is:
            return function(run, arguments)
        if name in _COMPARING:
            for argument in arguments:
                run.budget.charge_value(argument)
            return function(run, [without_parts(argument) for argument in arguments])
        given = [item.plain if item.__class__ is Made else item for item in arguments]
        result = function(run, given)
        return run.traced(result, arguments) if result.__class__ is str else result

    return evaluate


_KEEPING = words("append coalesce default dict first get include index last list mustAppend prepend set slice ternary tpl tuple")
"""Functions that hand on what they are given, or keep it."""


_COMPARING = words("deepEqual has mustHas mustUniq mustWithout uniq without")
"""Functions that look at the types of what lists and maps hold."""


def logic(name: str, piped: Value | None, rest: Sequence[Value]) -> Value:
    """``and`` and ``or``: the first value that decides, or the last."""

    def evaluate(frame: Frame) -> object:
        last = piped(frame) if piped else MISSING
        value: object = MISSING
        for argument in rest:
            value = argument(frame)
            if is_true(value) is (name == "or"):
                return value
        frame.run.budget.charge(len(rest) >> 3)
        if not rest and not piped:
            raise Refused(f"expected `{name}` with a value or more, found none")
        return last if piped else value

    return evaluate


def missing(_: Frame) -> object:
    """What nobody has."""
    return MISSING


def dot(frame: Frame) -> object:
    """``.``."""
    return frame.dot


def constant(value: object) -> Value:
    """A value that stands in the template."""
    return lambda _: value


def variable(slot: int) -> Value:
    """A variable by its place in the frame."""
    return lambda frame: frame.values[slot]


def fields(value_of: Value, names: Sequence[str], at: int) -> Value:
    """``.a.b`` of a value."""
    is_long = len(names) > 4

    def evaluate(frame: Frame) -> object:
        value = value_of(frame)
        if is_long:
            frame.run.budget.charge(len(names))
        for name in names:
            if callable(value):
                value = value()
            if type(value) is dict:
                value = value.get(name, MISSING)
            else:
                frame.run.at = at
                value = field_of(value, name)
        return value

    return evaluate
