"""The JSON Schema of a configuration, for editors: made from the tables that read it, so the two cannot differ.

One schema describes one document of the file. What a schema cannot say in words people act on (one base, one source of an import,
names that exist) is left to ``stagepin``; what it says is right for every file that stagepin takes. Values inside ``{{ … }}`` are what
they are after rendering.
"""

from __future__ import annotations

from ci_plugin.config.dialects import DOCKERFILE, Dialect
from ci_plugin.config.directives.meta import META
from ci_plugin.config.sections import Schema

_DRAFT = "https://json-schema.org/draft/2020-12/schema"
VERSION = 1


def configuration_schema(dialect: Dialect) -> Schema:
    """The schema of one document of this dialect; draft 2020-12."""
    stapel: Schema = {"$ref": "#/$defs/stapel"}
    body = _choose(DOCKERFILE.name, {"$ref": "#/$defs/dockerfile"}, stapel) if dialect.has_meta else stapel
    for key in ("project", "configVersion") if dialect.has_meta else ():
        body = _choose(key, {"$ref": "#/$defs/project"}, body)
    definitions: Schema = {"stapel": _stapel(dialect)}
    if dialect.has_meta:
        definitions |= {"dockerfile": _named(dialect.dockerfile.schema(), dialect.image.name), "project": META.schema()}
    return {
        "$schema": _DRAFT,
        "$id": f"urn:stagepin:schema:config-{dialect.name}-{VERSION}",
        "title": f"stagepin: one document of {dialect.file}",
        "if": {"type": "null"},
        "then": {},
        "else": body,
        "$defs": {name: schema | {"type": "object"} for name, schema in definitions.items()},
    }


def _choose(key: str, then: Schema, otherwise: Schema) -> Schema:
    return {"if": {"type": "object", "required": [key]}, "then": then, "else": otherwise}


def _stapel(dialect: Dialect) -> Schema:
    schema = dialect.stapel.schema()
    names = [{"required": [key.name]} for key in (dialect.image, dialect.artifact)]
    bases = [{"required": [key.name]} for key in dialect.bases]
    return schema | {"allOf": [{"oneOf": names}, {"anyOf": bases}]}


def _named(schema: Schema, name: str) -> Schema:
    return schema | {"required": [name, DOCKERFILE.name]}
