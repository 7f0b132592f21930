"""Documents are read strictly: what a broken job, a proxy or an editor leaves behind is refused with one sentence."""

from __future__ import annotations

import json

import pytest

from ci_plugin.errors import DocumentError, Location
from ci_plugin.values.document import LARGEST_DOCUMENT, Node, open_sealed, parse_pipeline, pipeline_body, seal
from ci_plugin.values.pipeline import PipelineId

FILE = ".stagepin/pins.json"
BODY: dict[str, object] = {"schemaVersion": 1, "tool": "stagepin/0.1.0", "text": "é", "list": [1, {"a": None}], "seconds": 1.5}
SEALED = seal(BODY)


def refusal(data: bytes) -> DocumentError:
    with pytest.raises(DocumentError) as caught:
        open_sealed(data, FILE, 1)
    assert caught.value.where == Location(FILE)
    assert caught.value.hint
    return caught.value


def test_a_sealed_document_opens_again() -> None:
    assert open_sealed(SEALED, FILE, 1).value == {**BODY, "checksum": json.loads(SEALED)["checksum"]}
    assert SEALED.endswith(b"}\n")


def test_the_checksum_does_not_depend_on_layout_or_the_order_of_keys() -> None:
    document = json.loads(SEALED)
    assert open_sealed(json.dumps(dict(reversed(document.items()))).encode(), FILE, 1).value == document


def test_a_document_cut_anywhere_is_refused() -> None:
    for end in range(len(SEALED) - 2):
        assert "expected a whole JSON document, found " in refusal(SEALED[:end]).message


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "found 0 bytes that are none"),
        (b"\xef\xbb\xbf" + SEALED, "Unexpected UTF-8 BOM"),
        (b"<!DOCTYPE html><title>Sign in</title>", "bytes that are none"),
        (SEALED + SEALED, "Extra data"),
        (SEALED + b"\0", "Extra data"),
        (SEALED.decode().encode("utf-16"), "can't decode byte"),
        (b"\xff", "can't decode byte"),
        (b'{"schemaVersion": 1, "schemaVersion": 1}', "a key stands twice in one object"),
        (b'{"a": {"b": 1, "b": 1}}', "a key stands twice in one object"),
        (b'{"a": NaN}', "NaN is no JSON number"),
        (b'{"a": -Infinity}', "-Infinity is no JSON number"),
        (b'{"a": 1e999}', "1e999 is no JSON number"),
        (b'{"a": "\\ud800"}', "surrogates not allowed"),
        (b'{"a": ["\\udfff"]}', "surrogates not allowed"),
        (b'{"\\ud800": 1}', "surrogates not allowed"),
        (b"[" * 200_000, "nested too deeply"),
        (b'{"a":' * 200_000, "nested too deeply"),
        (b'{"a": ' + b"9" * 5000 + b"}", "Exceeds the limit"),
        (b'{"a": 01}', "bytes that are none"),
        (b"{'a': 1}", "bytes that are none"),
    ],
)
def test_what_is_no_json_document_is_refused(data: bytes, reason: str) -> None:
    error = refusal(data)
    assert error.message.startswith(f"expected a whole JSON document, found {len(data)} bytes")
    assert reason in error.message
    assert error.hint == "delete the file and run `stagepin fetch`, or `stagepin pin` in the pin job"


@pytest.mark.parametrize(("data", "kind"), [(b"[]", "list"), (b'"a"', "str"), (b"null", "NoneType"), (b"1", "int"), (b"true", "bool")])
def test_a_json_value_that_is_no_object_is_refused(data: bytes, kind: str) -> None:
    assert refusal(data).message == f"expected a JSON object of at most 40 levels, found {kind}"


def test_a_document_of_41_levels_is_refused_and_one_of_40_is_read() -> None:
    deepest = seal({"schemaVersion": 1, "a": _nested(39)})
    open_sealed(deepest, FILE, 1)
    assert "at most 40 levels" in refusal(seal({"schemaVersion": 1, "a": _nested(40)})).message


def _nested(levels: int) -> list[object]:
    """Lists in lists; the innermost is empty and counts as a level."""
    found: list[object] = []
    for _ in range(levels - 1):
        found = [found]
    return found


def test_a_document_of_17_mib_is_refused_before_it_is_read() -> None:
    size = 17 * 1024 * 1024
    assert refusal(b" " * size).message == f"expected at most {LARGEST_DOCUMENT} bytes, found {size}"


@pytest.mark.parametrize(
    ("version", "found"), [("null", "nothing"), ("0", "0"), ("true", "true"), ("1.0", "1.0"), ('"1"', '"1"'), ("-1", "-1")]
)
def test_a_version_that_is_none_is_refused(version: str, found: str) -> None:
    assert refusal(f'{{"schemaVersion": {version}}}'.encode()).message == f"expected the version 1 at schemaVersion, found {found}"


def test_a_newer_version_is_refused_by_its_name_before_its_checksum_is_looked_at() -> None:
    error = refusal(b'{"schemaVersion": 2, "tool": "stagepin/9.9.9", "new": true}')
    assert error.message == "expected schemaVersion 1, found 2: it was written by a newer stagepin (stagepin/9.9.9)"
    assert error.hint == "use the same or a newer stagepin in this job"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"tool"', b'"tol"'),
        (b"0.1.0", b"0.1.1"),
        ("é".encode(), b"e"),
        (b"1.5", b"1.6"),
        (b"null", b"true"),
        (b"    1,\n", b"    1, 1,\n"),
        (b'"checksum": "sha256:', b'"checksum": "sha256:0'),
        (b'"checksum"', b'"Checksum"'),
        (b'"text": "\xc3\xa9",', b""),
        (b'{\n  "schemaVersion"', b'{"more": 1, "schemaVersion"'),
    ],
)
def test_the_checksum_finds_every_kind_of_edit(old: bytes, new: bytes) -> None:
    assert SEALED.count(old) == 1
    error = refusal(SEALED.replace(old, new))
    assert error.message.startswith("expected checksum sha256:")
    assert error.message.endswith(": the file was changed after it was written")
    assert error.hint == "delete it and run `stagepin fetch`; never edit it by hand"


def test_every_single_changed_byte_is_found_or_is_only_layout() -> None:
    for position, byte in enumerate(SEALED):
        edited = SEALED[:position] + bytes([byte ^ 0x01]) + SEALED[position + 1 :]
        try:
            value = open_sealed(edited, FILE, 1).value
        except DocumentError:
            continue
        assert value == json.loads(SEALED)


def node(value: object) -> Node:
    return Node(value, "a.b", FILE)


@pytest.mark.parametrize(
    ("reader", "value", "message"),
    [
        (Node.text, 1, "expected text at a.b, found 1"),
        (Node.text, None, "expected text at a.b, found nothing"),
        (Node.integer, -1, "expected a whole number from 0 at a.b, found -1"),
        (Node.integer, True, "expected a whole number from 0 at a.b, found true"),
        (Node.integer, 1.0, "expected a whole number from 0 at a.b, found 1.0"),
        (Node.integer, 2**53, "expected a whole number from 0 at a.b, found 9007199254740992"),
        (Node.number, -0.5, "expected a number from 0 at a.b, found -0.5"),
        (Node.number, False, "expected a number from 0 at a.b, found false"),
        (Node.number, 10**400, "expected a number from 0 at a.b, found 1" + "0" * 119),
        (Node.boolean, 1, "expected true or false at a.b, found 1"),
        (Node.items, {"a": 1}, 'expected a list at a.b, found {"a": 1}'),
        (Node.members, [], "expected an object at a.b, found []"),
        (lambda it: it["c"], {}, "expected a value at a.b.c, found nothing"),
        (lambda it: it.only("x", "y"), {"z": 1}, 'expected only the keys x, y at a.b, found "z"'),
        (lambda it: it.parse(_refuse), "v", 'expected a word at a.b, found "v"'),
        (lambda it: it.items()[1].text(), ["a", 2], "expected text at a.b[1], found 2"),
        (lambda it: it.optional(Node.text), 5, "expected text at a.b, found 5"),
        (Node.text, ["\x1b\n"], 'expected text at a.b, found ["\\u001b\\n"]'),
    ],
)
def test_a_wrong_shape_is_refused_with_its_path(reader: object, value: object, message: str) -> None:
    assert callable(reader)
    with pytest.raises(DocumentError) as caught:
        reader(node(value))
    assert caught.value.message == message
    assert caught.value.hint == "fetch the file again with `stagepin fetch`, or pin and build in a new scope"


def _refuse(text: str) -> str:
    raise ValueError(f"expected a word, found {text}")


def test_values_of_the_right_shape_are_given() -> None:
    assert (node("a").text(), node(0).integer(), node(2).number(), node(0.5).number(), node(True).boolean()) == ("a", 0, 2.0, 0.5, True)
    assert node(None).optional(Node.text) is None
    assert [item.value for item in node([1, 2]).items()] == [1, 2]
    assert {key: item.path for key, item in node({"x": 1}).members().items()} == {"x": "a.b.x"}


def test_a_pipeline_is_read_back_with_the_name_people_see() -> None:
    pipeline = PipelineId("gitlab", "gitlab.example.com", "4711", "group/app", "1001")
    found = parse_pipeline(node(pipeline_body(pipeline)))
    assert (found, found.project) == (pipeline, "group/app")


def test_a_pipeline_of_an_unknown_forge_is_refused() -> None:
    body = pipeline_body(PipelineId("gitea", "h", "1", "p", "2"))
    with pytest.raises(DocumentError, match=r'expected gitlab, github or local at a[.]b[.]forge, found "gitea"'):
        parse_pipeline(node(body))
