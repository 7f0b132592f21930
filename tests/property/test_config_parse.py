"""Whatever the text, reading a configuration ends with a model or a ConfigError; cosmetic changes change nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ci_plugin.config.context import parse_dockerignore, select
from ci_plugin.config.load import load_configuration
from ci_plugin.config.model import Configuration, StapelImage
from ci_plugin.config.settings import parse_settings
from ci_plugin.config.source import Source
from ci_plugin.errors import ConfigError

META = "project: p\nconfigVersion: 1\n---\n"
_PIECES = [
    "image",
    "from",
    "fromImage",
    "shell",
    "docker",
    "git",
    ": ",
    "\n",
    "  ",
    "- ",
    "---\n",
    "a",
    "&x",
    "*x",
    "<<",
    "[",
    "]",
    "{",
    "}",
    "'",
    '"',
]
_PIECES += [
    "|",
    ">",
    "#",
    "!",
    "!!str",
    "%YAML",
    "~",
    "\t",
    "{{",
    "}}",
    " env ",
    '"X"',
    "range",
    "end",
    ".Files",
    "$x",
    ":=",
    "1.10",
    "yes",
    "é",
    "\u2028",
]
pieces = st.lists(st.sampled_from(_PIECES), max_size=40).map("".join)
names = st.text("abcdefghij", min_size=1, max_size=6)


def load(text: str | bytes, file: str = "werf.yaml") -> Configuration:
    data = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
    return load_configuration(Source({file: data}.get, lambda: [file], {"X": "v"}), "p")


def only_config_errors(read: Callable[[], Any]) -> None:
    outcome: ConfigError | None = None
    try:
        read()
    except ConfigError as error:
        outcome = error
    assert outcome is None or (outcome.message and outcome.hint)


@pytest.mark.parametrize("file", ["werf.yaml", "dappfile.yml"])
@given(text=pieces)
@settings(max_examples=150, deadline=None)
def test_text_made_of_directives_gives_a_model_or_a_config_error(file: str, text: str) -> None:
    only_config_errors(lambda: load(META + text if file == "werf.yaml" else text, file))


@given(data=st.binary(max_size=200))
@settings(max_examples=150, deadline=None)
def test_any_bytes_give_a_model_or_a_config_error(data: bytes) -> None:
    only_config_errors(lambda: load(data))
    only_config_errors(lambda: load(META.encode() + data))
    only_config_errors(lambda: parse_settings(data))


@given(text=st.text(max_size=60))
@settings(max_examples=150, deadline=None)
def test_any_value_of_from_gives_a_model_or_a_config_error(text: str) -> None:
    quoted = "".join(f"\\U{ord(character):08x}" for character in text)
    only_config_errors(lambda: load(META + f'image: a\nfrom: "{quoted}"\n'))


@given(images=st.lists(names, min_size=1, max_size=5, unique=True), data=st.data())
@settings(max_examples=60, deadline=None)
def test_cosmetic_changes_leave_the_model_equal(images: list[str], data: st.DataObject) -> None:
    values = [(name, data.draw(names), data.draw(st.booleans()), data.draw(st.lists(names, max_size=3))) for name in images]
    plain = "---\n".join(
        f"image: {name}\nfrom: x/{base}\nfromLatest: {'true' if latest else 'false'}\nshell:\n  install: [{', '.join(commands)}]\n"
        for name, base, latest, commands in values
    )
    dressed = "\n# end\n---\n---\n".join(
        f'# c\n"shell": {{ install: {_block(commands)} }}\nfromLatest: {"Yes" if latest else "off"} # c\n\n'
        f"image: '{name}'\nfrom:   \"x/{base}\""
        for name, base, latest, commands in values
    )
    assert _bare(load(META + plain)) == _bare(load("configVersion:  '1'\nproject: \"p\"\n---\n" + dressed))


def _block(commands: list[str]) -> str:
    return "[" + ",".join(f"'{command}'" for command in commands) + "]"


def _bare(configuration: Configuration) -> list[tuple[object, ...]]:
    """The model without its lines."""
    found: list[tuple[object, ...]] = []
    for image in configuration:
        assert isinstance(image, StapelImage)
        base = image.base
        found.append((image.name, getattr(base, "reference", None), getattr(base, "from_latest", None), image.shell))
    return found


@given(text=st.text("ab*?[]!/\\.-^\n ", max_size=30), path=st.text("ab/.", min_size=1, max_size=10))
@settings(max_examples=300, deadline=None)
def test_any_pattern_matches_or_not_and_never_fails(text: str, path: str) -> None:
    assert parse_dockerignore(text).excludes(path) in (True, False)
    assert select([path], [text]) in ((), (path,))
