"""Whatever the text, reading a configuration ends with a model or a ConfigError; cosmetic changes change nothing."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ci_plugin.config.context import parse_dockerignore, select
from ci_plugin.config.dialects import DAPP, WERF
from ci_plugin.config.load import load_configuration
from ci_plugin.config.model import Configuration, StapelImage
from ci_plugin.config.settings import parse_settings
from ci_plugin.config.source import Source
from ci_plugin.config.yaml_nodes import ListNode, Node, ScalarNode, parse_documents
from ci_plugin.errors import ConfigError, Location

DATA = Path(__file__).parents[1] / "data" / "config"
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


def _names_of(schema: Any) -> Iterator[str]:
    """Every key of a JSON Schema's mappings, however deep."""
    if isinstance(schema, dict):
        yield from schema.get("properties", {})
        for value in schema.values():
            yield from _names_of(value)


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


DIRECTIVES = sorted(
    {name for table in (WERF.stapel, WERF.dockerfile, DAPP.stapel) for name in _names_of(table.schema())} - {"image", "dimg"}
)
scalars = st.none() | st.booleans() | st.integers(-5, 5) | st.sampled_from(["a", "/x", "../x", "install", "x:1", "tmp_dir", "ImageID", ""])
trees: st.SearchStrategy[Any] = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(DIRECTIVES), inner, max_size=4), max_leaves=12
)


@pytest.mark.parametrize("file", ["werf.yaml", "dappfile.yml"])
@given(documents=st.lists(st.dictionaries(st.sampled_from(DIRECTIVES), trees, max_size=6), min_size=1, max_size=3))
@settings(max_examples=200, deadline=None)
def test_any_tree_of_directives_gives_a_model_or_a_config_error(file: str, documents: list[dict[str, Any]]) -> None:
    key = "image" if file == "werf.yaml" else "dimg"
    text = "\n---\n".join(json.dumps({key: f"i{number}", **document}) for number, document in enumerate(documents))
    only_config_errors(lambda: load(META + text if file == "werf.yaml" else text, file))


@pytest.mark.parametrize("name", sorted(path.name for path in DATA.glob("*.example.y*ml")))
def test_another_order_of_keys_and_another_style_leave_every_directive_equal(name: str) -> None:
    file = "dappfile.yml" if name.startswith("dapp") else "werf.yaml"
    text = (DATA / name).read_text("utf-8")
    other = "\n---\n".join(json.dumps(_turned(node)) for node in parse_documents(text, file))
    assert _without_places(load(text, file).images) == _without_places(load(other, file).images)


def _turned(node: Node) -> Any:
    """The document with the keys of every mapping in the other order, every scalar in quotes but nothing."""
    if isinstance(node, ScalarNode):
        return None if node.is_null else node.text
    if isinstance(node, ListNode):
        return [_turned(item) for item in node.items]
    return {key.text: _turned(value) for key, value in reversed(node.entries)}


def _without_places(value: Any) -> Any:
    if isinstance(value, Location):
        return None
    if is_dataclass(value):
        return [type(value).__name__, *((field.name, _without_places(getattr(value, field.name))) for field in fields(value))]
    if isinstance(value, Mapping):
        return {key: _without_places(item) for key, item in value.items()}
    return [_without_places(item) for item in value] if isinstance(value, tuple) else value


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
def test_any_pattern_matches_or_not_or_is_a_config_error(text: str, path: str) -> None:
    only_config_errors(lambda: parse_dockerignore(text).excludes(path))
    assert select([path], [text]) in ((), (path,))
