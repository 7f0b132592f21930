"""Our scanner sees what BuildKit's own parser sees (package ``dockerfile``), and nothing but a ConfigError comes out of any text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

import dockerfile as oracle
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ci_plugin.config.dockerfile import Dockerfile, parse_dockerfile
from ci_plugin.config.dockerfile_scan import INSTRUCTIONS, Instruction, scan
from ci_plugin.config.dockerfile_words import find_json_list
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


@given(text=texts, head=st.sampled_from(["", "# escape=`\n", "\ufeff# escape=`\r\n", "# syntax=a\n# escape=`\n", "#!x\n# escape=`\n"]))
@example(text="FROM \u00a0--from=a ", head="")
@example(text="FROM FROM \u00a0FROM ", head="")
@example(text='COPY ["a", "b"]FROM ', head="")
@settings(max_examples=600, deadline=None)
def test_any_text_both_take_is_seen_alike(text: str, head: str) -> None:
    mine, other = ours(head + "FROM x\n" + text), theirs(head + "FROM x\n" + text)
    is_newer = "`" in head and re.search(r"--\S*[\\`]", text)  # flags with the file's escape: tests/contract/test_dockerfile_parser.py
    if not is_newer and mine is not None and other is not None and all(command[0] in INSTRUCTIONS for command in other):
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
    assert all(item.reference.digest == digest for item in again)


_IMAGES = st.sampled_from(["alpine", "alpine:3", "docker.io/library/redis", "example.com:5000/a/b:c", f"debian@{Digest.of(b'old')}"])
_GAPS = st.sampled_from([" ", "  ", "\t", " \\\n ", "\\\n# c\n\n  "])
_NAMES = st.sampled_from(["one", "Two", "x-1.y"])
_QUOTES = st.sampled_from(["", '"', "'"])
_BODIES = (
    "RUN x",
    "RUN <<E\nFROM no/image\nCOPY --from=no/image a b\nE",
    "# FROM no/image",
    "LABEL a='--from=no/image' \\\n b=FROM",
    'CMD ["FROM", "no/image"]',
    "ENV FROM=no/image",
    "",
)


@st.composite
def _from_lines(draw: st.DrawFn) -> tuple[str, str]:
    """A line with one operand, and the operand as it is written."""
    gap, quote, image = draw(_GAPS), draw(_QUOTES), draw(_IMAGES)
    shape = draw(st.sampled_from(["FROM", "COPY", "RUN", "ONBUILD"]))
    if shape == "FROM":
        name = f"{draw(_GAPS)}AS{draw(_GAPS)}{draw(_NAMES)}" if draw(st.booleans()) else ""
        return f"FROM{gap}--platform=linux/arm64{gap}{quote}{image}{quote}{name}", f"{quote}{image}{quote}"
    if shape == "COPY":
        return f"COPY{gap}--link{gap}--from={quote}{image}{quote}{gap}a{gap}b", image
    mount = f"--mount={quote}type=bind,from={image},target=/x{quote}"
    if shape == "RUN":
        return f"RUN{gap}{mount}{gap}--network=none{gap}x from={image}", image
    return f"ONBUILD{gap}COPY{gap}--from={image}{gap}a{gap}b", image


@st.composite
def _files(draw: st.DrawFn) -> tuple[str, list[str]]:
    """A file of which every stage and image counts, in pieces: operands at the odd places."""
    pieces = [
        draw(st.sampled_from(["", "\ufeff", "# escape=\\\n", "# c\n"])) + "FROM ",
        "first.example.com/a:1",
        f" AS {draw(st.sampled_from(['zero', 'Alpine']))}\nFROM scratch\n",
    ]
    for line, operand in draw(st.lists(_from_lines(), max_size=6)):
        before, _, after = line.partition(operand)
        body = draw(st.sampled_from(_BODIES))
        pieces[-1] += before
        pieces += [operand, f"{after}\n{body}\n"]
    text = "".join(pieces)
    newline = draw(st.sampled_from(["\n", "\r\n"]))
    return text.replace("\n", newline), [piece.replace("\n", newline) for piece in pieces]


@given(file=_files())
@settings(max_examples=300, deadline=None)
def test_pinning_changes_the_bytes_of_the_operands_and_no_others(file: tuple[str, list[str]]) -> None:
    text, pieces = file
    parsed = parse_dockerfile(text.encode(), "Dockerfile")
    digest = Digest.of(b"new")
    stages = parsed.parts.stages
    replaced: set[tuple[int, int]] = set()
    for stage in stages:
        reached = str(stage.index)
        references, _ = parsed.find_references(reached)
        replaced |= {(item.start, item.end) for item in references}
        again = parse_dockerfile(parsed.pinned(lambda item: item.reference.at(digest), reached).encode(), "Dockerfile")
        assert [(one.name, one.index, len(one.body)) for one in again.parts.stages] == [
            (one.name, one.index, len(one.body)) for one in stages
        ]
        assert _without_operands(again, reached) == _without_operands(parsed, reached)
    operands = set(_places(pieces))
    assert replaced <= operands
    assert {text[start:end].strip("\"'").lower() for start, end in operands - replaced} <= {stage.name for stage in stages}


def _places(pieces: list[str]) -> Iterator[tuple[int, int]]:
    start = 0
    for index, piece in enumerate(pieces):
        if index % 2:
            yield start, start + len(piece)
        start += len(piece)


def _between(spans: list[tuple[int, int]], length: int) -> Iterator[tuple[int, int]]:
    kept = 0
    for start, end in spans:
        yield kept, start
        kept = end
    yield kept, length


def _without_operands(parsed: Dockerfile, target: str) -> str:
    text = parsed.parts.scan.text
    spans = sorted((item.start, item.end) for item in parsed.references(target))
    return "|".join(text[start:end] for start, end in _between(spans, len(text)))
