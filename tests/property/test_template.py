"""Whatever somebody writes into a template, it renders or a ConfigError says where it does not, within the budget."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ci_plugin.config.template import Rendered, render
from ci_plugin.config.template_costs import words
from ci_plugin.config.template_functions import Functions, checked
from ci_plugin.config.template_library import NAMES as LIBRARY
from ci_plugin.config.template_library import sprig, sprintf
from ci_plugin.config.template_quick import QUICK, printed
from ci_plugin.config.template_run import Function, Run
from ci_plugin.config.template_text import Text
from ci_plugin.config.template_values import MAX_OUTPUT, MAX_STEPS, Refused
from ci_plugin.config.template_yaml import from_yaml, to_yaml
from ci_plugin.errors import ConfigError
from tests.unit.config.sources import source

SOURCE = source({"f.txt": "k: v\n", ".werf/m.tmpl": "M{{ . }}", "d/x": b"\xff"}, {"X": "v"})
NAMES = sorted({*Functions({}), *words("include tpl env required fromYaml toYaml and or fail")})
WORDS = """
    . $ $x .Files .Env .Commit.Date.Unix 1 -1 1.5 1000000000 9223372036854775807 nil true "" "a" "%5.3f" "%q%v" "[a-z]+(x|y)*" "{{.}}"
    "a:[1]" "1.2.3" "UTC" "m.tmpl" "f.txt" "X" "é\\n😀" 'c' 1i .Files.Get (list) (dict)
"""
ATOMS = st.sampled_from(WORDS.split()) | st.sampled_from(
    ['(list 1 nil "a")', '(dict "a" 1 "b" (list 2))', "(until 5)", '(repeat 500 "ab")']
)
CALLS = st.builds(lambda name, given: " ".join([name, *given]), st.sampled_from(NAMES), st.lists(ATOMS, max_size=4))
EXPRESSIONS = st.recursive(
    CALLS | ATOMS,
    lambda inner: st.builds("{} ({}) ({})".format, st.sampled_from(NAMES), inner, inner) | st.builds("{} | {}".format, inner, CALLS),
    max_leaves=5,
)
JUNK = st.text(max_size=20) | st.sampled_from(["{{", "}}", "{{-", "-}}", "{{/*", "*/}}", "{{end}}", "\n", "`"])
TEMPLATES = st.recursive(
    EXPRESSIONS.map("{{{{ {} }}}}".format) | EXPRESSIONS.map("{{{{ $x = {} }}}}".format) | JUNK,
    lambda inner: (
        st.builds(
            "{{{{ {} {} }}}}{}{{{{ else }}}}{}{{{{ end }}}}".format,
            st.sampled_from(["if", "with", "range", "range $i, $v :="]),
            EXPRESSIONS,
            inner,
            inner,
        )
        | st.builds("{}{}".format, inner, inner)
    ),
    max_leaves=5,
)
CHARACTERS = st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zl", "Zp"]) | st.just("\n")
LINES = st.text(CHARACTERS, max_size=8).map(lambda text: text.rstrip("\n")).filter(lambda text: text != "<<")
"""Go, too, writes the key ``<<`` as if it merged, and ``toYaml`` takes the last line break away."""
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 63), (1 << 63) - 1) | st.floats(allow_nan=False) | LINES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(LINES, inner, max_size=3),
    max_leaves=8,
)


def attempt(text: str) -> tuple[Rendered | None, ConfigError | None]:
    try:
        return render("{{ $x := 1 }}" + text, "werf.yaml", SOURCE), None
    except ConfigError as error:
        return None, error


@settings(max_examples=300, deadline=None)
@given(TEMPLATES | st.text(max_size=80))
def test_a_template_renders_or_is_refused_with_its_place(text: str) -> None:
    rendered, refused = attempt(text)
    if refused is not None:
        assert refused.where is not None
        assert refused.where.line is not None
        assert refused.hint
    if rendered is not None:
        assert len(rendered.text) <= MAX_OUTPUT
        assert all(rendered.place_of(line).line for line in range(1, rendered.text.count("\n") + 2))


@settings(max_examples=100, deadline=None)
@given(TEMPLATES)
def test_the_same_template_gives_the_same_text_again(text: str) -> None:
    (rendered, refused), (again, refused_again) = attempt(text), attempt(text)
    assert rendered == again
    assert str(refused) == str(refused_again)


@settings(max_examples=200, deadline=None)
@given(st.text(st.characters(exclude_characters="{}", codec="utf-8"), max_size=60))
def test_text_without_actions_stays_as_it_is(text: str) -> None:
    assert render(text, "werf.yaml", SOURCE).text == text


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.text("abcXYZ019._- :#é\n", min_size=1, max_size=5), VALUES, min_size=1, max_size=3))
def test_what_to_yaml_writes_from_yaml_reads(value: dict[str, object]) -> None:
    run = Run({})
    assert run.text == Text("", None, "")
    assert run.budget.left == MAX_STEPS
    assert from_yaml(to_yaml(value), run.budget.charge) == value
    assert run.budget.left < MAX_STEPS


ODD_TEXTS = ["", "b", "ab a\n b", " \t x\n", "\x1fa", "é", '"', "\\", "%", "A-b", "1", "\x7f", "\U0001f600", "abb", "bb", "aab"]
TEXTS = st.sampled_from(ODD_TEXTS) | st.text("ab \n", max_size=4) | st.text(max_size=6)
PLAIN = TEXTS | st.integers(-9, 9) | st.sampled_from([1 << 62, -(1 << 63), (1 << 63) - 1]) | st.booleans() | st.none() | st.floats(-2, 2)
GIVEN = PLAIN | st.lists(PLAIN, max_size=3) | st.dictionaries(TEXTS, PLAIN, max_size=2)


def answer(function: Function, arguments: list[object]) -> tuple[object, ...]:
    try:
        found = function(Run({}), deepcopy(arguments))
    except Refused as refused:
        return ("refused", refused.message)
    return repr(found), type(found)


@pytest.mark.parametrize("name", sorted(QUICK))
@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_a_function_we_answer_ourselves_gives_what_the_library_gives(name: str, data: st.DataObject) -> None:
    types = QUICK[name].types if not QUICK[name].is_variadic else QUICK[name].types * data.draw(st.integers(0, 4))
    kinds: dict[object, st.SearchStrategy[Any]] = {str: TEXTS, int: st.integers(-9, 99), bool: st.booleans()}
    kinds[list] = st.lists(PLAIN, max_size=3)
    kinds[dict] = st.dictionaries(TEXTS, PLAIN, max_size=2)
    likely = kinds if data.draw(st.integers(0, 3)) else {}
    arguments = [data.draw(likely.get(wanted, GIVEN)) for wanted in types]
    assert answer(Functions({})[name], arguments) == answer(checked(name, sprig(name)), arguments)


@settings(max_examples=500, deadline=None)
@given(st.lists(st.sampled_from(["%s", "%d", "%v", "%q", "%%", "%", "%5d", "%x", "%T", "a", "é"]), max_size=4), st.lists(PLAIN, max_size=3))
def test_what_we_print_ourselves_is_what_the_library_prints(pieces: list[str], values: list[object]) -> None:
    ours = printed("".join(pieces), values)
    if isinstance(ours, str):
        assert ours == sprintf("".join(pieces), *values)


def test_the_names_that_are_written_down_are_those_of_the_library() -> None:
    from gotpl.funcs.sprig import text_func_map

    assert set(text_func_map()) == LIBRARY
    assert set(QUICK) <= LIBRARY
