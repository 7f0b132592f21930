"""The pin file: ``.stagepin/pins.json``, version 1 (schemas/pins-1.json).

Parsing and formatting are inverse; the checksum is written and checked on the way and is no part of the pin set.
``keep`` and ``fork`` stand in the file only where they say something; pins of git repositories follow those of images.
"""

from __future__ import annotations

from collections.abc import Sequence

from ci_plugin.pins.git_pin import GIT_ORIGIN, GitPin, parse_pinned_url, parse_ref
from ci_plugin.pins.origin import Origin
from ci_plugin.pins.pin_set import ORIGIN_KINDS, Pin, PinSet
from ci_plugin.values.digest import Digest
from ci_plugin.values.document import Node, checksum_of, open_sealed, parse_pipeline, pipeline_body, seal
from ci_plugin.values.pipeline import Scope, parse_commit
from ci_plugin.values.platform import parse_platform
from ci_plugin.values.reference import Reference, parse_reference, parse_repository
from ci_plugin.values.timestamp import format_time, parse_time

SCHEMA_VERSION = 1


def format_pin_file(pins: PinSet) -> bytes:
    """The document's bytes, with its checksum."""
    return seal(_body(pins))


def pin_checksum(pins: PinSet) -> str:
    """``sha256:…`` of the pin file these pins make: what the build record names, and what jobs may compare."""
    return checksum_of(_body(pins))


def parse_pin_file(data: bytes, file: str) -> PinSet:
    """The pin set in these bytes; ``file`` names them in errors. Raises DocumentError with the path of what is wrong."""
    top = open_sealed(data, file, SCHEMA_VERSION)
    top.only("schemaVersion", "tool", "scope", "pipeline", "commit", "createdAt", "images", "pins", "keep", "fork", "checksum")
    optional = top.members()
    nodes = top["pins"].items()
    first_git = next((index for index, node in enumerate(nodes) if node["kind"].text() == "git"), len(nodes))
    return PinSet(
        tool=top["tool"].text(),
        scope=top["scope"].parse(Scope),
        pipeline=parse_pipeline(top["pipeline"]),
        commit=top["commit"].parse(parse_commit),
        created_at=top["createdAt"].parse(parse_time),
        images=tuple(item.text() for item in top["images"].items()),
        pins=_parse_pins(nodes[:first_git]),
        git=_parse_git_pins(nodes[first_git:]),
        keep=optional["keep"].parse(parse_repository) if "keep" in optional else None,
        fork=_parse_fork(optional["fork"]) if "fork" in optional else "",
    )


def _body(pins: PinSet) -> dict[str, object]:
    return {
        "schemaVersion": SCHEMA_VERSION,
        "tool": pins.tool,
        "scope": pins.scope.text,
        "pipeline": pipeline_body(pins.pipeline),
        "commit": pins.commit,
        "createdAt": format_time(pins.created_at),
        "images": list(pins.images),
        "pins": [*(_pin_body(pin) for pin in pins.pins), *(_git_body(pin) for pin in pins.git)],
        **({"keep": str(pins.keep)} if pins.keep else {}),
        **({"fork": pins.fork} if pins.fork else {}),
    }


def _pin_body(pin: Pin) -> dict[str, object]:
    resolved: dict[str, object] = {"digest": None, "reason": pin.reason}
    if pin.digest is not None:
        platforms = {str(platform): str(digest) for platform, digest in sorted(pin.platforms.items())}
        resolved = {"digest": str(pin.digest), "mediaType": pin.media_type, "size": pin.size, "platforms": platforms}
    return {
        "kind": "image",
        "reference": str(pin.reference),
        **resolved,
        "inSignature": pin.in_signature,
        "resolvedAt": format_time(pin.resolved_at),
        "origin": [_origin_body(place) for place in pin.origin],
    }


def _git_body(pin: GitPin) -> dict[str, object]:
    return {
        "kind": "git",
        "url": pin.url,
        "ref": pin.ref,
        "commit": pin.commit,
        "resolvedAt": format_time(pin.resolved_at),
        "origin": [_origin_body(place) for place in pin.origin],
    }


def _origin_body(place: Origin) -> dict[str, object]:
    return {"kind": place.kind, "image": place.image, "file": place.file, "line": place.line}


def _parse_fork(node: Node) -> str:
    if not node.text():
        raise node.error("the name of a project")
    return node.text()


def _parse_pins(nodes: Sequence[Node]) -> tuple[Pin, ...]:
    pins: dict[Reference, Pin] = {}
    for node in nodes:
        pin = _parse_pin(node)
        if pin.reference in pins:
            raise node["reference"].error("every reference once")
        pins[pin.reference] = pin
    return tuple(pins.values())


def _parse_pin(node: Node) -> Pin:
    if node["kind"].text() != "image":
        raise node["kind"].error("the kind image or git")
    digest = node["digest"].optional(lambda value: value.parse(Digest))
    common = ("kind", "reference", "digest", "inSignature", "resolvedAt", "origin")
    node.only(*common, *(("reason",) if digest is None else ("mediaType", "size", "platforms")))
    platforms = {} if digest is None else node["platforms"].members()
    return Pin(
        reference=node["reference"].parse(parse_reference),
        digest=digest,
        media_type="" if digest is None else node["mediaType"].text(),
        size=0 if digest is None else node["size"].integer(),
        platforms={Node(key, f"{node.path}.platforms", node.file).parse(parse_platform): v.parse(Digest) for key, v in platforms.items()},
        in_signature=node["inSignature"].boolean(),
        resolved_at=node["resolvedAt"].parse(parse_time),
        origin=tuple(_parse_origin(item, ORIGIN_KINDS) for item in node["origin"].items()),
        reason=node["reason"].text() if digest is None else "",
    )


def _parse_git_pins(nodes: Sequence[Node]) -> tuple[GitPin, ...]:
    pins: dict[tuple[str, str], GitPin] = {}
    for node in nodes:
        pin = _parse_git_pin(node)
        if (pin.url, pin.ref) in pins:
            raise node["ref"].error("every ref of a repository once")
        pins[pin.url, pin.ref] = pin
    return tuple(pins.values())


def _parse_git_pin(node: Node) -> GitPin:
    if node["kind"].text() != "git":
        raise node["kind"].error("pins of git repositories after those of images")
    node.only("kind", "url", "ref", "commit", "resolvedAt", "origin")
    return GitPin(
        url=node["url"].parse(parse_pinned_url),
        ref=node["ref"].parse(parse_ref),
        commit=node["commit"].parse(parse_commit),
        resolved_at=node["resolvedAt"].parse(parse_time),
        origin=tuple(_parse_origin(item, (GIT_ORIGIN,)) for item in node["origin"].items()),
    )


def _parse_origin(node: Node, kinds: Sequence[str]) -> Origin:
    node.only("kind", "image", "file", "line")
    if node["kind"].text() not in kinds:
        raise node["kind"].error(f"one of {', '.join(kinds)}")
    line = node["line"].optional(Node.integer)
    if line == 0:
        raise node["line"].error("a line from 1")
    return Origin(node["kind"].text(), node["image"].text(), node["file"].text(), line)
