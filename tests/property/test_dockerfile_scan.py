"""Our scanner sees what BuildKit's own parser sees (package ``dockerfile``), and nothing but a ConfigError comes out of any text."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

import dockerfile as oracle
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ci_plugin.config.dockerfile import Dockerfile, parse_dockerfile
from ci_plugin.config.dockerfile_scan import INSTRUCTIONS, Instruction, find_json_list, scan
from ci_plugin.errors import ConfigError
from ci_plugin.values.digest import Digest

CORPUS = sorted((Path(__file__).parents[1] / "data" / "config" / "dockerfiles").iterdir())
Step: TypeAlias = tuple[str, tuple[str, ...], int | None, tuple[tuple[str, str], ...], tuple[str, ...] | None]
Seen: TypeAlias = list[Step]

_PIECES = [
    "FROM ",
    "RUN ",
    "COPY ",
    "ADD ",
    "ONBUILD ",
    "ARG ",
    "ENV ",
    "CMD ",
    "a",
    "b:1",
    "AS ",
    "--from=a ",
    "--mount=type=bind,from=x ",
    '--x="y z" ',
]
_PIECES += [
    "\n",
    "\n",
    "\n",
    "\r\n",
    "\\\n",
    "\\ \n",
    "\\\\\n",
    "# c\n",
    "# escape=`\n",
    "`\n",
    "<<E ",
    "<<-E ",
    "<<'E' ",
    "E\n",
    "\tE\n",
    '"',
    "'",
    " ",
    "\t",
    "$X",
    "${X:-y}",
]
_PIECES += ['["a", "b"]', "[", "\\", "-- ", "é", "\u00a0"]
texts = st.lists(st.sampled_from(_PIECES), max_size=25).map("".join)


def ours(text: str) -> Seen | None:
    try:
        return [_seen(item) for item in scan(text, "Dockerfile").instructions]
    except ConfigError:
        return None


def _seen(item: Instruction) -> Step:
    words = None
    if item.name in ("FROM", "COPY", "ADD"):
        items = find_json_list(item.arguments.text) if item.name != "FROM" else None
        words = tuple(word.text for word in item.arguments.split()) if items is None else tuple(items)
    heredocs = tuple((heredoc.name, heredoc.content) for heredoc in item.heredocs)
    flags = tuple(flag.text for flag in item.flags) if item.name != "ONBUILD" else ()  # theirs are those of the trigger
    return item.name, flags, item.location.line, heredocs, words


def theirs(text: str) -> Seen | None:
    try:
        commands = oracle.parse_string(text)
    except oracle.GoParseError:
        return None
    return [_step(command) for command in commands]


def _step(command: oracle.Command) -> Step:
    name = (command.cmd or "").upper()  # a line of a continuation alone has no name
    heredocs = tuple((heredoc.name, heredoc.content) for heredoc in command.heredocs)
    return (
        name,
        command.flags if name != "ONBUILD" else (),
        command.start_line,
        heredocs if name != "ONBUILD" else (),
        command.value if name in ("FROM", "COPY", "ADD") else None,
    )


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.name)
def test_the_corpus_is_seen_as_buildkit_sees_it(path: Path) -> None:
    text = path.read_bytes().decode()
    assert ours(text) is not None
    assert ours(text) == theirs(text)


@given(text=texts)
@example(text="FROM \u00a0--from=a ")
@example(text="FROM FROM \u00a0FROM ")
@example(text='COPY ["a", "b"]FROM ')
@settings(max_examples=600, deadline=None)
def test_any_text_both_take_is_seen_alike(text: str) -> None:
    mine, other = ours("FROM x\n" + text), theirs("FROM x\n" + text)
    if mine is not None and other is not None and all(command[0] in INSTRUCTIONS for command in other):
        assert mine == other


@given(text=texts, target=st.sampled_from([None, "a", "0", "nope"]))
@settings(max_examples=300, deadline=None)
def test_nothing_but_a_config_error_comes_out(text: str, target: str | None) -> None:
    with hinted():
        _ask_everything(parse_dockerfile(("FROM x AS a\n" + text).encode(), "Dockerfile"), target)


@given(data=st.binary(max_size=100))
@settings(max_examples=150, deadline=None)
def test_any_bytes_are_a_dockerfile_or_a_config_error(data: bytes) -> None:
    with hinted():
        _ask_everything(parse_dockerfile(data, "Dockerfile"), None)


@contextmanager
def hinted() -> Iterator[None]:
    """A ConfigError may come out, and then it says what to do."""
    outcome: ConfigError | None = None
    try:
        yield
    except ConfigError as error:
        outcome = error
    assert outcome is None or outcome.hint


def _ask_everything(parsed: Dockerfile, target: str | None) -> None:
    digest = Digest.of(b"x")
    assert parsed.needs_buildkit is None or parsed.needs_buildkit
    parsed.base_use(target, {})
    pinned = parsed.pinned(lambda item: item.reference.at(digest), target, {})
    parsed.instructions(target, {})
    parsed.build_arg_values(target, {})
    parsed.context_use(target, {})
    again = parse_dockerfile(pinned.encode(), "Dockerfile").references(target, {})
    assert [item.kind for item in again] == [item.kind for item in parsed.references(target, {})]
    assert all(item.reference.digest == digest for item in again if item.kind != "syntax")
