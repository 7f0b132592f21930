"""Holds recorded exchanges to GitHub's own OpenAPI description (npm ``@octokit/openapi``, sliced into .cache by scripts/github-contract).

::

    with FakeGitHub(record=True) as github:
        ...
    assert problems(github.exchanges) == []

Both sides are held: what a client sends (path, query, body: nothing undocumented) and what the fake answers (status, body: every required
field, no field of its own). Answers that a fault replaced or changed are left out, their requests are not.

Where the description is silent we know GitHub better: any operation may refuse with 401, 403, 404 or 429 and its error document, a renamed
repository redirects with 301 or 307, and ``/repositories/{id}``, where its own ``Link`` headers and redirects point, means ``/repos/…``.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from jsonschema import Draft4Validator, FormatChecker
from referencing import Registry
from referencing.jsonschema import DRAFT4

from tests.fakes.github_http import Answer, Exchange, Request

DESCRIPTION = Path(__file__).parents[2] / ".cache" / "github-openapi.json"
_UNDOCUMENTED_REFUSALS = (301, 307, 401, 403, 404, 429)
_ROOT = "urn:github"
_BASIC_ERROR = {"$ref": f"{_ROOT}#/components/schemas/basic-error"}

_FORMATS = FormatChecker(formats=())
Document = dict[str, Any]


@_FORMATS.checks("date-time", raises=ValueError)
def _is_date_time(value: object) -> bool:
    return not isinstance(value, str) or ("T" in value and datetime.fromisoformat(value).tzinfo is not None)


@_FORMATS.checks("uri", raises=ValueError)
def _is_uri(value: object) -> bool:
    return not isinstance(value, str) or bool(urlsplit(value).scheme)


def problems(exchanges: Iterable[Exchange]) -> list[str]:
    """One line for each way in which a recorded exchange is not GitHub's; empty where all conform."""
    return [f"{exchange.request}: {problem}" for exchange in exchanges for problem in _problems(exchange)]


def _problems(exchange: Exchange) -> Iterator[str]:
    found = _find_operation(exchange.request)
    if found is None:
        yield "GitHub describes no such operation"
        return
    operation, parameters = found
    yield from _query_problems(exchange.request, parameters)
    yield from _body_problems(exchange.request, operation)
    if not exchange.is_faulty:
        yield from _answer_problems(exchange.answer, operation)


def _find_operation(request: Request) -> tuple[Document, list[Document]] | None:
    path = re.sub(r"^/repositories/\d+", "/repos/-/-", request.path)
    for template, item in _description()["paths"].items():
        if _pattern(template).fullmatch(path) and request.method.lower() in item:
            operation = item[request.method.lower()]
            return operation, [_resolve(one) for one in [*item.get("parameters", []), *operation.get("parameters", [])]]
    return None


def _query_problems(request: Request, parameters: list[Document]) -> Iterator[str]:
    known = {one["name"]: one for one in parameters if one["in"] == "query"}
    for name, value in request.query.items():
        if name not in known:
            yield f"GitHub knows no parameter {name} here"
            continue
        schema = known[name]["schema"]
        typed = int(value) if schema.get("type") == "integer" and value.isdecimal() else value
        yield from _schema_problems(typed, schema, f"parameter {name}")
    for name, one in known.items():
        if one.get("required") and name not in request.query:
            yield f"expected the parameter {name}"


def _body_problems(request: Request, operation: Document) -> Iterator[str]:
    described = operation.get("requestBody")
    if not request.body:
        if described and described.get("required"):
            yield "expected a body"
        return
    if not described:
        yield "GitHub takes no body here"
    elif "json" not in request.headers.get("content-type", ""):
        yield f"expected a body of JSON, found {request.headers.get('content-type')}"
    else:
        yield from _schema_problems(request.json, described["content"]["application/json"]["schema"], "body")


def _answer_problems(answer: Answer, operation: Document) -> Iterator[str]:
    described = operation["responses"].get(str(answer.status))
    if described is None:
        if answer.status in _UNDOCUMENTED_REFUSALS:
            yield from _schema_problems(json.loads(answer.body), _BASIC_ERROR, f"answer {answer.status}", is_open=True)
        else:
            yield f"GitHub describes no answer {answer.status} here"
        return
    described = _resolve(described)
    content = described.get("content", {}).get("application/json")
    if "Location" in described.get("headers", {}) and "Location" not in answer.headers:
        yield f"answer {answer.status}: expected a Location"
    if content is None and answer.body and answer.status < 400:
        yield f"answer {answer.status}: expected no body"
    if content is not None and "json" in answer.headers.get("Content-Type", ""):
        is_open = answer.status >= 400  # the description's error documents lag behind the real ones, which carry "status"
        yield from _schema_problems(json.loads(answer.body), content["schema"], f"answer {answer.status}", is_open=is_open)


def _schema_problems(value: object, schema: Document, what: str, *, is_open: bool = False) -> Iterator[str]:
    validator = Draft4Validator(_converted(schema, is_open), registry=_registry(is_open), format_checker=_FORMATS)
    for error in validator.iter_errors(value):
        yield f"{what}: {error.json_path}: {error.message}"


@functools.cache
def _description() -> Document:
    if not DESCRIPTION.exists():
        raise AssertionError(
            f"expected GitHub's API description in {DESCRIPTION}, found none; run scripts/github-contract (make test does)"
        )
    document: Document = json.loads(DESCRIPTION.read_text("utf-8"))
    return document


@functools.cache
def _registry(is_open: bool) -> Registry[Any]:
    schemas = {name: _converted(schema, is_open) for name, schema in _description()["components"]["schemas"].items()}
    empty: Registry[Any] = Registry()
    filled: Registry[Any] = empty.with_resource(_ROOT, DRAFT4.create_resource({"components": {"schemas": schemas}}))
    return filled


@functools.cache
def _pattern(template: str) -> re.Pattern[str]:
    """A path's expression; only a ref's name has slashes."""
    escaped = re.escape(template).replace(r"\{ref\}", ".+")
    return re.compile(re.sub(r"\\\{\w+\\\}", "[^/]+", escaped))


def _resolve(node: Document) -> Document:
    """What a reference means; anything else as it is."""
    if "$ref" not in node:
        return node
    _, _, kind, name = node["$ref"].split("/")
    found: Document = _description()["components"][kind][name]
    return found


def _converted(schema: Any, is_open: bool) -> Any:
    """OpenAPI 3.0's schema as JSON Schema draft 4: ``nullable`` becomes a type; unless open, an object has no other fields than it names.

    ``oneOf`` becomes ``anyOf``: some of GitHub's alternatives include each other.
    """
    if isinstance(schema, list):
        return [_converted(one, is_open) for one in schema]
    if not isinstance(schema, Mapping):
        return schema
    if "$ref" in schema:
        return {"$ref": f"{_ROOT}{schema['$ref']}" if schema["$ref"].startswith("#") else schema["$ref"]}
    made: Document = {_RENAMED.get(name, str(name)): _converted(value, is_open) for name, value in schema.items() if name not in _DROPPED}
    if "properties" in schema:
        # Fields are named by anything, also by words that mean something in a schema.
        made["properties"] = {name: _converted(value, is_open) for name, value in schema["properties"].items()}
        if not is_open and not {"oneOf", "anyOf", "allOf", "additionalProperties"} & schema.keys():
            made["additionalProperties"] = False
    return _nullable(made) if schema.get("nullable") else made


def _nullable(schema: Document) -> Document:
    if not isinstance(schema.get("type"), str):
        return {"anyOf": [schema, {"type": "null"}]}
    may_be = {"enum": [*schema["enum"], None]} if "enum" in schema else {}
    return {**schema, **may_be, "type": [schema["type"], "null"]}


_RENAMED = {"oneOf": "anyOf"}
_DROPPED = {"nullable", "example", "examples", "description", "title", "discriminator", "deprecated", "default", "externalDocs", "xml"}
