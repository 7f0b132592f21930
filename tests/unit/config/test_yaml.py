"""YAML as Go's package reads it: scalars, merge keys, keys written twice, aliases, tags, several documents; every limit with its place."""

from __future__ import annotations

import math

import pytest

from ci_plugin.config.go_scalars import resolve_integer, resolve_plain
from ci_plugin.config.yaml_nodes import ListNode, MapNode, Node, ScalarNode, parse_documents, read_integer, read_text, read_texts
from ci_plugin.errors import ConfigError, Location


def one(text: str) -> MapNode:
    (node,) = parse_documents(text, "f.yaml")
    assert isinstance(node, MapNode)
    return node


def scalar(text: str) -> ScalarNode:
    node = one(f"a: {text}").find("a")
    assert isinstance(node, ScalarNode)
    return node


def texts(node: Node) -> object:
    if isinstance(node, ScalarNode):
        return node.text
    if isinstance(node, ListNode):
        return [texts(item) for item in node.items]
    return {key.text: texts(value) for key, value in node.entries}


def refuse(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse_documents(text, "f.yaml")
    assert caught.value.hint
    return f"{caught.value.where}: {caught.value.message}"


GO = [
    *((text, True) for text in ("y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON")),
    *((text, False) for text in ("n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF")),
    *((text, None) for text in ("", "~", "null", "Null", "NULL")),
    *((text, text) for text in ("yEs", "nULL", "12:30:45", "1:30", "2026-01-02", "1.2.3", "<<", "=", "0x", "sha256:ab", "v1", ".", "-")),
    *(("0", 0), ("12", 12), ("+5", 5), ("-7", -7), ("1_000", 1000), ("1__", 1), ("0x1F", 31), ("0b101", 5), ("0o17", 15), ("017", 15)),
    *((text, text) for text in ("_1", "__0", "_.5", "._5", ".5_", "0b2", "-0b-1", "1e400", "0x_", "1_e", "\u0661")),
    *(
        ("1_", 1),
        ("0b-1", -1),
        ("-0b11", -3),
        ("+017", 15),
        (".5_0", 0.5),
        ("1_000.5", 1000.5),
        ("0_8", 8.0),
        ("18446744073709551615", (1 << 64) - 1),
    ),
    *(("18446744073709551616", 2.0**64), ("-9223372036854775809", -(2.0**63)), (".INF", math.inf), ("-.Inf", -math.inf)),
    *(("1e3", 1000.0), ("1.5e3", 1500.0), ("1.10", 1.1), (".5", 0.5), ("5.", 5.0), ("08", 8.0), (".inf", math.inf), ("-.inf", -math.inf)),
]


@pytest.mark.parametrize(("text", "expected"), GO)
def test_a_plain_scalar_is_what_it_is_to_go(text: str, expected: object) -> None:
    found = resolve_plain(text)
    assert (found, type(found)) == (expected, type(expected))


def test_no_number_is_a_number_and_a_very_long_one_is_text() -> None:
    nan = resolve_plain(".nan")
    assert isinstance(nan, float)
    assert math.isnan(nan)
    assert resolve_plain("9" * 5000) == "9" * 5000
    assert resolve_integer("1.5") is None


@pytest.mark.parametrize("text", ["'1'", '"yes"', "!!str 1", "'~'", "|\n  1"])
def test_a_quoted_or_tagged_scalar_is_text(text: str) -> None:
    node = scalar(text)
    assert isinstance(node.value, str)
    assert not node.is_null


@pytest.mark.parametrize("text", ["1.10", "1:30", "012", "yes", "2026-01-02", ".nan", "1e3", "0o17", "0x1F", "08", "1_000"])
def test_a_directive_that_is_text_keeps_what_was_written(text: str) -> None:
    assert read_text(scalar(text)) == text


def test_a_directive_that_is_a_number_takes_it_as_go_does() -> None:
    assert [read_integer(scalar(text)) for text in ("10", "0x10", "0o17", "017")] == [10, 16, 15, 15]
    with pytest.raises(ConfigError, match=r"expected a whole number, found '1\.5'"):
        read_integer(scalar("1.5"))


def test_nothing_in_a_list_of_texts_is_an_error_at_its_place() -> None:
    with pytest.raises(ConfigError, match="expected text, found nothing") as caught:
        read_texts(one("a:\n- x\n-\n").entries[0][1])
    assert caught.value.where == Location("f.yaml", 3, 2)


def test_merge_keys_are_followed_and_an_own_key_wins_then_the_earlier_mapping() -> None:
    text = "base: &b {a: 1, b: 2}\nmore: &m {b: 3, c: 4}\none: {<<: *b, a: 9}\ntwo: {<<: [*m, *b]}\nthree: {'<<': x}\n"
    found = texts(one(text))
    assert isinstance(found, dict)
    assert (found["one"], found["two"], found["three"]) == ({"a": "9", "b": "2"}, {"b": "3", "c": "4", "a": "1"}, {"<<": "x"})


def test_an_anchor_serves_its_own_document_alone() -> None:
    assert "expected an anchor &x before this alias, found none" in refuse("a: &x 1\n---\nb: *x\n")


def test_keys_written_twice_are_all_told_with_both_places() -> None:
    told = refuse("a: 1\nb:\n  c: 1\n  'c': 2\na: 2\n---\non: 1\n'on': 2\n")
    assert told.startswith("f.yaml:4:3: expected every key once, found 'c' again (first at f.yaml:3:3)\nand 2 more errors:\n")
    assert "f.yaml:5:1: expected every key once, found 'a' again (first at f.yaml:1:1)" in told
    assert "f.yaml:8:1: expected every key once, found 'on' again (first at f.yaml:7:1)" in told


def test_tags_of_the_core_are_taken_and_every_other_is_told() -> None:
    assert texts(one("a: !!str 1\nb: !!int 2\nc: !!map {}\nd: !!seq []\n")) == {"a": "1", "b": "2", "c": {}, "d": []}
    told = refuse("a: !foo 1\nb: !!binary aGk=\n")
    assert told.startswith("f.yaml:1:4: expected no YAML tag, found '!foo'")
    assert "f.yaml:2:4: expected no YAML tag, found 'tag:yaml.org,2002:binary'" in told


def test_several_documents_are_kept_in_order_and_empty_ones_left_out() -> None:
    documents = parse_documents("\ufeff# first\n---\na: 1\n---\n---\n# nothing\n---\n~\n---\nb: 2\n...\n", "f.yaml")
    assert [texts(node) for node in documents] == [{"a": "1"}, {"b": "2"}]
    assert [node.location for node in documents] == [Location("f.yaml", 3, 1), Location("f.yaml", 10, 1)]


def test_a_place_in_rendered_text_is_the_one_the_map_gives() -> None:
    def place(line: int, column: int | None = None) -> Location:
        return Location(".werf/part.tmpl", 7, 3) if line == 2 else Location("f.yaml", line + 10, column)

    (node,) = parse_documents("a: 1\nb: 2\n", "f.yaml", place)
    assert isinstance(node, MapNode)
    assert [str(key.location) for key, _ in node.entries] == ["f.yaml:11:1", ".werf/part.tmpl:7:3"]


def test_aliases_are_counted_by_document_and_their_nodes_by_file() -> None:
    many = "".join(f"---\na: &x {{k: v}}\nb: [{', '.join(['*x'] * 90)}]\n" for _ in range(20))
    assert len(parse_documents(many, "f.yaml")) == 20
    wide = "x: &x [" + "a," * 1500 + "]\nb: [" + "*x," * 60 + "]\n"
    assert "expected at most 1000000 values, found more" in refuse("---\n".join([wide] * 12))
