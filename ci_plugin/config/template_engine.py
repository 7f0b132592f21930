"""Go's ``text/template``: parsed by gotpl, run here, so that every step counts, every value is bounded and every place is known.

Rules: https://pkg.go.dev/text/template of Go 1.19, but that ``range`` takes a number as newer ones do. A template becomes functions
once; running it calls them. A run has one budget; what it includes shares it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

import gotpl
from gotpl.parse import nodes
from gotpl.parse.parser import ParserLimits, parse_template
from gotpl.runtime.values import number_value

from ci_plugin.config.template_run import Frame, Run, Step, SyntaxRefused, Text
from ci_plugin.config.template_values import MAX_OUTPUT, MISSING, Refused, field_of, is_true, kind_of, printed

_LIMITS = ParserLimits(max_source_bytes=MAX_OUTPUT, max_tokens=150_000, max_nesting=40)
_ACTION = re.compile(r"\{\{(.*?)(?:\}\}|\Z)", re.DOTALL)
_QUOTED = re.compile(r'"(?:[^"\\\n]|\\.)*"|`[^`]*`')
_LONG_OCTAL = re.compile(r"(?<![\w.])0[0-7_]{16,}")
"""Of such a number that is none, gotpl's own pattern takes the square of two to its length (found by fuzzing); no file mode is as long."""
_BREAK, _CONTINUE = 1, 2
_NOTHING = object()
"""No value comes in from the left of this command."""


Value = Callable[[Frame], object]
Command = Callable[[Frame, object], object]
"""A command with what is piped into it."""


def add_template(run: Run, text: Text) -> None:
    """Parse a text and the definitions in it; an empty one replaces nothing, as in Go. Raises SyntaxRefused."""
    _refuse_long_octals(text)
    try:
        parsed = parse_template(text.text, name=text.name, limits=_LIMITS, functions=run.functions.keys())
    except gotpl.TemplateSyntaxError as error:
        raise SyntaxRefused(str(error).split(": ", 1)[-1], text, error.position) from None
    for name, body in (*((item.name, item.body) for item in parsed.definitions), (text.name, parsed.root)):
        is_empty = all(isinstance(node, nodes.TextNode) and not node.text.strip() for node in body.nodes)
        if not is_empty or name not in run.templates:
            run.templates[name] = text, _compile_list(body), is_empty


def _refuse_long_octals(text: Text) -> None:
    for action in _ACTION.finditer(text.text):
        plain = _QUOTED.sub(lambda quoted: " " * len(quoted[0]), action[1])
        if found := _LONG_OCTAL.search(plain):
            raise SyntaxRefused("expected an octal number of at most 16 digits, found a longer one", text, action.start(1) + found.start())


def _compile_list(body: nodes.ListNode) -> Step:
    steps = tuple(_compile(node) for node in body.nodes)

    def run(frame: Frame) -> int:
        for step in steps:
            signal = step(frame)
            if signal:
                return signal
        return 0

    return run


def _compile(node: nodes.TemplateNode) -> Step:
    match node:
        case nodes.TextNode():
            return _text(node)
        case nodes.ActionNode():
            return _action(node)
        case nodes.IfNode() | nodes.WithNode():
            return _branch(node)
        case nodes.RangeNode():
            return _range(node)
        case nodes.BreakNode():
            return lambda _: _BREAK
        case nodes.ContinueNode():
            return lambda _: _CONTINUE
        case nodes.TemplateCallNode() | nodes.BlockNode():
            return _template(node)


def _text(node: nodes.TextNode) -> Step:
    text, at = node.text, node.start

    def run(frame: Frame) -> int:
        frame.run.at = at
        frame.run.write(text, is_literal=True)
        return 0

    return run


def _action(node: nodes.ActionNode) -> Step:
    value_of, at, prints = _pipeline(node.pipeline), node.pipeline.start, not node.pipeline.declarations

    def run(frame: Frame) -> int:
        current = frame.run
        current.at = at
        current.budget.charge(1)
        value = value_of(frame)
        if prints:
            current.at = at
            if not isinstance(value, str):
                current.budget.charge(5)
                current.budget.charge_value(value)
                value = printed(value)
            current.write(value)
        return 0

    return run


def _branch(node: nodes.IfNode | nodes.WithNode) -> Step:
    value_of, at, is_with = _pipeline(node.pipeline), node.pipeline.start, isinstance(node, nodes.WithNode)
    body, other = _compile_list(node.body), _compile_list(node.else_body) if node.else_body else None

    def run(frame: Frame) -> int:
        current, mark, dot = frame.run, len(frame.names), frame.dot
        current.at = at
        current.budget.charge(1)
        value = value_of(frame)
        signal = 0
        if is_true(value):
            frame.dot = value if is_with else dot
            signal = body(frame)
        elif other:
            signal = other(frame)
        frame.dot = dot
        del frame.names[mark:], frame.values[mark:]
        return signal

    return run


def _range(node: nodes.RangeNode) -> Step:
    value_of, at = _pipeline(node.pipeline, binds=False), node.pipeline.start
    body, other = _compile_list(node.body), _compile_list(node.else_body) if node.else_body else None
    variables = [variable.name for variable in node.pipeline.declarations]
    declares = not node.pipeline.is_assignment

    def run(frame: Frame) -> int:
        current, mark, dot = frame.run, len(frame.names), frame.dot
        current.at = at
        current.budget.charge(1)
        is_empty, signal = True, 0
        looped = value_of(frame)
        if isinstance(looped, dict):
            current.budget.charge(len(looped))
        for pair in _entries(looped):
            is_empty = False
            current.budget.charge(2)
            for name, value in zip(variables, pair[-len(variables) :] if variables else (), strict=True):
                _bind(frame, name, value, declares=declares)
            frame.dot = pair[1]
            signal = body(frame)
            del frame.names[mark:], frame.values[mark:]
            if signal == _BREAK:
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


def _template(node: nodes.TemplateCallNode | nodes.BlockNode) -> Step:
    value_of: Value = _pipeline(node.pipeline) if node.pipeline else lambda _: MISSING
    name, at = node.name, node.start

    def run(frame: Frame) -> int:
        current = frame.run
        current.at = at
        current.budget.charge(1)
        value = value_of(frame)
        current.at = at
        current.call(name, value)
        return 0

    return run


def _bind(frame: Frame, name: str, value: object, *, declares: bool) -> None:
    if declares:
        frame.names.append(name)
        frame.values.append(value)
        return
    for index in range(len(frame.names) - 1, -1, -1):
        if frame.names[index] == name:
            frame.values[index] = value
            return


def _pipeline(pipe: nodes.PipeNode, *, binds: bool = True) -> Value:
    commands = tuple(_command(command) for command in pipe.commands)
    name = pipe.declarations[0].name if binds and pipe.declarations else None
    declares = not pipe.is_assignment

    def evaluate(frame: Frame) -> object:
        value = _NOTHING
        for command in commands:
            value = command(frame, value)
        if value is None:
            value = MISSING
        if name is not None:
            _bind(frame, name, value, declares=declares)
        return value

    return evaluate


def _command(node: nodes.CommandNode) -> Command:
    first, rest = node.arguments[0], tuple(_argument(item) for item in node.arguments[1:])
    if isinstance(first, nodes.IdentifierNode):
        return _logic(first.name, rest) if first.name in ("and", "or") else _call(first, rest)
    if isinstance(first, nodes.NilNode):
        return _refusing("expected a value or a function, found nil", node.start)
    return _value_or_method(_operand(first), rest, node.start)


def _refusing(message: str, at: int) -> Command:
    def refuse(frame: Frame, _: object) -> object:
        frame.run.at = at
        raise Refused(message)

    return refuse


def _value_or_method(value_of: Value, rest: Sequence[Value], at: int) -> Command:
    def evaluate(frame: Frame, piped: object) -> object:
        value = value_of(frame)
        arguments = [argument(frame) for argument in rest]
        if piped is not _NOTHING:
            arguments.append(piped)
        if callable(value):
            frame.run.at = at
            frame.run.budget.charge(1)
            return value(*(None if item is MISSING else item for item in arguments))
        if arguments:
            frame.run.at = at
            raise Refused(f"expected a function before these values, found {kind_of(value)}")
        return value

    return evaluate


def _call(node: nodes.IdentifierNode, rest: Sequence[Value]) -> Command:
    name, at = node.name, node.start

    def evaluate(frame: Frame, piped: object) -> object:
        run = frame.run
        arguments = [argument(frame) for argument in rest]
        if piped is not _NOTHING:
            arguments.append(piped)
        run.at = at
        return run.functions[name](run, [None if item is MISSING else item for item in arguments])

    return evaluate


def _logic(name: str, rest: Sequence[Value]) -> Command:
    def evaluate(frame: Frame, piped: object) -> object:
        value = _NOTHING
        for argument in rest:
            value = argument(frame)
            if is_true(value) is (name == "or"):
                return value
        value = value if piped is _NOTHING else piped
        if value is _NOTHING:
            raise Refused(f"expected `{name}` with a value or more, found none")
        return value

    return evaluate


def _argument(node: nodes.TermNode) -> Value:
    """A value in an argument's place: a function there is called with nothing, and nil is a value."""
    if isinstance(node, nodes.IdentifierNode):
        called = _call(node, ())
        return lambda frame: called(frame, _NOTHING)
    if isinstance(node, nodes.NilNode):
        return lambda _: None
    evaluate = _value_or_method(_operand(node), (), node.start)
    return lambda frame: evaluate(frame, _NOTHING)


def _operand(node: nodes.TermNode) -> Value:
    match node:
        case nodes.DotNode():
            return lambda frame: frame.dot
        case nodes.FieldNode():
            return _fields(lambda frame: frame.dot, node.fields, node.start)
        case nodes.VariableNode():
            return _fields(_variable(node.name), node.fields, node.start)
        case nodes.ParenthesizedNode():
            return _fields(_pipeline(node.pipeline), node.fields, node.start)
        case nodes.NumberNode() | nodes.ComplexNode():
            return _constant(node)
        case nodes.CharacterNode():
            code = ord(node.value)
            return lambda _: code
        case nodes.StringNode() | nodes.BoolNode():
            constant = node.value
            return lambda _: constant
        case _:
            raise AssertionError(node)


def _constant(node: nodes.NumberNode | nodes.ComplexNode) -> Value:
    number, at = number_value(node.text, is_complex=isinstance(node, nodes.ComplexNode)), node.start
    is_small = not isinstance(number, int) or -(1 << 63) <= number < 1 << 63

    def value(frame: Frame) -> object:
        if not is_small:
            frame.run.at = at
            raise Refused("expected a number of 64 bits, found a larger one")
        return number

    return value


def _variable(name: str) -> Value:
    def find(frame: Frame) -> object:
        names = frame.names
        for index in range(len(names) - 1, -1, -1):
            if names[index] == name:
                return frame.values[index]
        raise Refused(f"expected a variable, found {name[:100]!r} undefined")

    return find


def _fields(value_of: Value, names: Sequence[str], at: int) -> Value:
    if not names:
        return value_of

    def evaluate(frame: Frame) -> object:
        value = value_of(frame)
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
