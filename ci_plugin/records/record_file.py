"""The record file: ``.stagepin/build.json``, version 1 (schemas/build-1.json). Parsing and formatting are inverse."""

from __future__ import annotations

import re

from ci_plugin.records.build_record import (
    BaseRecord,
    BaseState,
    BuildRecord,
    BuiltBy,
    DependencyValue,
    ImageRecord,
    PlatformRecord,
    StageRecord,
)
from ci_plugin.values.digest import Digest, ImageId
from ci_plugin.values.document import Node, checksum_of, open_sealed, parse_pipeline, pipeline_body, seal
from ci_plugin.values.pipeline import Scope, parse_commit
from ci_plugin.values.platform import parse_platform
from ci_plugin.values.reference import Reference, parse_reference, parse_repository

SCHEMA_VERSION = 1
_HEX = re.compile(r"[0-9a-f]{64}")


def format_record_file(record: BuildRecord) -> bytes:
    """The document's bytes, with its checksum."""
    return seal(_body(record))


def record_checksum(record: BuildRecord) -> str:
    """``sha256:…`` of the record file this record makes."""
    return checksum_of(_body(record))


def parse_record_file(data: bytes, file: str) -> BuildRecord:
    """The build record in these bytes; ``file`` names them in errors. Raises DocumentError with the path of what is wrong."""
    top = open_sealed(data, file, SCHEMA_VERSION)
    top.only("schemaVersion", "scope", "pipeline", "commit", "repo", "pins", "complete", "published", "dirty", "images", "checksum")
    return BuildRecord(
        scope=top["scope"].parse(Scope),
        pipeline=parse_pipeline(top["pipeline"]),
        commit=top["commit"].parse(parse_commit),
        repository=top["repo"].optional(lambda node: node.parse(parse_repository)),
        pins=str(top["pins"].parse(Digest)),
        complete=top["complete"].boolean(),
        published=top["published"].boolean(),
        images={name: _parse_image(node) for name, node in top["images"].members().items()},
        dirty=_parse_dirty(top),
    )


def _parse_dirty(top: Node) -> bool:
    """Absent where everything was committed, so that such a record is byte for byte what it was before there was the key (ADR 12)."""
    if "dirty" not in top.members():
        return False
    if not top["dirty"].boolean() or top["published"].boolean():
        raise top["dirty"].error("true, in a record that is not published")
    return True


def _body(record: BuildRecord) -> dict[str, object]:
    return {
        "schemaVersion": SCHEMA_VERSION,
        "scope": record.scope.text,
        "pipeline": pipeline_body(record.pipeline),
        "commit": record.commit,
        "repo": _text(record.repository),
        "pins": record.pins,
        "complete": record.complete,
        "published": record.published,
        "images": {name: _image_body(image) for name, image in record.images.items()},
        **({"dirty": True} if record.dirty else {}),
    }


def _image_body(image: ImageRecord) -> dict[str, object]:
    return {
        "reference": _text(image.reference),
        "digest": _text(image.digest),
        "mediaType": image.media_type,
        "tags": list(image.tags),
        "platforms": {str(platform): _platform_body(record) for platform, record in sorted(image.platforms.items())},
    }


def _platform_body(record: PlatformRecord) -> dict[str, object]:
    base = record.base
    return {
        "signature": record.signature,
        "digest": _text(record.digest),
        "imageId": str(record.image_id),
        "builtBy": {"scope": record.built_by.scope, "commit": record.built_by.commit},
        "base": {
            "reference": base.reference,
            "digest": _text(base.digest),
            "state": base.state.value,
            "diffIds": [str(item) for item in base.diff_ids],
        },
        "stages": [_stage_body(stage) for stage in record.stages],
        **(
            {"dependencies": [[item.image, item.type, item.target, item.value] for item in record.dependencies]}
            if record.dependencies
            else {}
        ),
    }


def _stage_body(stage: StageRecord) -> dict[str, object]:
    seconds = round(float(stage.seconds), 3)
    return {
        "name": stage.name,
        "signature": stage.signature,
        "digest": _text(stage.digest),
        "built": stage.built,
        "seconds": int(seconds) if seconds.is_integer() else seconds,
        "inputs": [[label, value] for label, value in stage.inputs],
    }


def _parse_image(node: Node) -> ImageRecord:
    node.only("reference", "digest", "mediaType", "tags", "platforms")
    if not node["platforms"].members():
        raise node["platforms"].error("at least one platform")
    reference, digest = node["reference"].optional(lambda value: value.parse(_deployed)), node["digest"].optional(_digest)
    if digest != (reference.digest if reference else None):
        raise node["digest"].error("the digest of the reference")
    return ImageRecord(
        reference=reference,
        digest=digest,
        media_type=node["mediaType"].text(),
        tags=tuple(item.text() for item in node["tags"].items()),
        platforms={
            Node(key, f"{node.path}.platforms", node.file).parse(parse_platform): _parse_platform(value)
            for key, value in node["platforms"].members().items()
        },
    )


def _parse_platform(node: Node) -> PlatformRecord:
    node.only("signature", "digest", "imageId", "builtBy", "base", "stages", "dependencies")
    node["builtBy"].only("scope", "commit")
    base = node["base"].only("reference", "digest", "state", "diffIds")
    return PlatformRecord(
        signature=node["signature"].parse(_signature),
        digest=node["digest"].optional(_digest),
        image_id=node["imageId"].parse(ImageId),
        built_by=BuiltBy(node["builtBy"]["scope"].text(), node["builtBy"]["commit"].parse(parse_commit)),
        base=BaseRecord(
            reference=base["reference"].optional(Node.text),
            digest=base["digest"].optional(_digest),
            state=base["state"].parse(_state),
            diff_ids=tuple(item.parse(Digest) for item in base["diffIds"].items()),
        ),
        stages=tuple(_parse_stage(item) for item in node["stages"].items()),
        dependencies=_parse_dependencies(node),
    )


def _parse_dependencies(node: Node) -> tuple[DependencyValue, ...]:
    """Absent where the image was told nothing of others, so that such a record is byte for byte what it was before there was the key."""
    if "dependencies" not in node.members():
        return ()
    items = node["dependencies"].items()
    if not items:
        raise node["dependencies"].error("at least one value")
    return tuple(_parse_dependency(item) for item in items)


def _parse_dependency(node: Node) -> DependencyValue:
    parts = [item.text() for item in node.items()]
    if len(parts) != 4:
        raise node.error("an image, a type, a target and a value")
    return DependencyValue(*parts)


def _parse_stage(node: Node) -> StageRecord:
    node.only("name", "signature", "digest", "built", "seconds", "inputs")
    return StageRecord(
        name=node["name"].text(),
        signature=node["signature"].parse(_signature),
        digest=node["digest"].optional(_digest),
        built=node["built"].boolean(),
        seconds=node["seconds"].number(),
        inputs=tuple(_parse_input(item) for item in node["inputs"].items()),
    )


def _parse_input(node: Node) -> tuple[str, str]:
    pair = node.items()
    if len(pair) != 2:
        raise node.error("a pair of label and sha256")
    return pair[0].text(), pair[1].parse(_signature)


def _digest(node: Node) -> Digest:
    return node.parse(Digest)


def _deployed(text: str) -> Reference:
    """What a deploy pulls: a tag in it could mean another image tomorrow."""
    reference = parse_reference(text)
    if reference.digest is None or reference.tag is not None:
        raise ValueError("expected repository@digest, found another reference")
    return reference


def _signature(text: str) -> str:
    if not _HEX.fullmatch(text):
        raise ValueError("expected 64 hex characters, found something else")
    return text


def _state(text: str) -> BaseState:
    try:
        return BaseState(text)
    except ValueError:
        raise ValueError(f"expected one of {', '.join(BaseState)}, found {text!r}") from None


def _text(value: object) -> str | None:
    return None if value is None else str(value)
