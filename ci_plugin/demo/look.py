"""What a registry holds, read with nothing but HTTP: for the hand-made script, and so that the demo judges stagepin by other eyes.

Plain HTTP on loopback only, single-platform images only: it reads the demo's own registry, nothing else.
"""

from __future__ import annotations

import http.client
import io
import json
import tarfile
from dataclasses import dataclass
from typing import Any

from ci_plugin.errors import AnswerIsNo

_ACCEPT = "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json"
_MARKER = "etc/stagepin-base"
_DEADLINE = 30.0
"""Seconds."""


@dataclass(frozen=True, slots=True)
class Inside:
    """What is in an image: the version its base's root filesystem is marked with, its labels, its layers (diff ids, base first)."""

    base: str
    labels: dict[str, str]
    layers: tuple[str, ...]


def find_digest(reference: str) -> str | None:
    """The digest the registry serves for ``host/repository:tag`` now, None where there is no such image."""
    host, repository, name = _parts(reference)
    connection = http.client.HTTPConnection(host, timeout=_DEADLINE)
    try:
        connection.request("HEAD", f"/v2/{repository}/manifests/{name}", headers={"Accept": _ACCEPT})
        answer = connection.getresponse()
        return answer.headers["Docker-Content-Digest"] if answer.status == 200 else None
    finally:
        connection.close()


def look_inside(reference: str) -> Inside:
    """What the image ``host/repository:tag`` or ``…@digest`` holds. Raises AnswerIsNo where the registry does not have all of it."""
    host, repository, name = _parts(reference)
    manifest = json.loads(_get(host, f"/v2/{repository}/manifests/{name}"))
    config = json.loads(_get(host, f"/v2/{repository}/blobs/{manifest['config']['digest']}"))
    blobs = (_get(host, f"/v2/{repository}/blobs/{layer['digest']}") for layer in reversed(manifest["layers"]))
    marks = (mark for mark in map(_read_marker, blobs) if mark is not None)
    return Inside(next(marks, "no base of ours"), dict(config["config"].get("Labels") or {}), tuple(config["rootfs"]["diff_ids"]))


def _parts(reference: str) -> tuple[str, str, str]:
    host, _, rest = reference.partition("/")
    repository, at, digest = rest.partition("@")
    if at:
        return host, repository, digest
    repository, _, tag = rest.rpartition(":")
    return host, repository, tag


def _get(host: str, path: str) -> bytes:
    connection = http.client.HTTPConnection(host, timeout=_DEADLINE)
    try:
        connection.request("GET", path, headers={"Accept": _ACCEPT})
        answer = connection.getresponse()
        data = answer.read()
    finally:
        connection.close()
    if answer.status != 200:
        raise AnswerIsNo(f"expected http://{host}{path}, found {answer.status} {answer.reason}", hint="read the registry's log")
    return data


def _read_marker(layer: bytes) -> str | None:
    with tarfile.open(fileobj=io.BytesIO(layer), mode="r:*") as tar:
        found: Any = next((tar.extractfile(entry) for entry in tar if entry.name.removeprefix("./") == _MARKER), None)
        return None if found is None else found.read().decode().strip()
