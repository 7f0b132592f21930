"""Whose stages storage this is: a tag that gives the identity of a project to somebody who knows its address only.

Pins are filed by forge, host and project id, which a job is told and a clone on a laptop is not: it knows ``gitlab.example.com`` and
``group/app`` from its remote. So the first pins of a project leave ``stagepin-project-<12 hex of host and path>`` behind, an OCI artifact
whose annotations hold the identity. A renamed project gets another such tag with its next pins; the identity stays what it was.
"""

from __future__ import annotations

import json

from ci_plugin.errors import DocumentError, Location
from ci_plugin.ports import Registry
from ci_plugin.values.canonical import canonical_json, sha256_hex
from ci_plugin.values.manifest import OCI_MANIFEST
from ci_plugin.values.pipeline import PipelineId
from ci_plugin.values.reference import Reference, Repository

PROJECT_TYPE = "application/vnd.stagepin.project.v1+json"
_EMPTY = b"{}"
_EMPTY_TYPE = "application/vnd.oci.empty.v1+json"
_KEYS = ("forge", "host", "project-id", "project")
_PREFIX = "dev.stagepin."


def tag_project(repository: Repository, registry: Registry, pipeline: PipelineId) -> None:
    """Leave the project's identity in its stages storage, where it is not there yet: one HEAD if it is."""
    reference = _reference(repository, pipeline.host, pipeline.project)
    if registry.find_descriptor(reference):
        return
    empty = {"mediaType": _EMPTY_TYPE, "digest": str(registry.put_blob(repository, _EMPTY)), "size": len(_EMPTY)}
    values = (pipeline.forge, pipeline.host, pipeline.project_id, pipeline.project)
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": PROJECT_TYPE,
        "config": empty,
        "layers": [empty],
        "annotations": {f"{_PREFIX}{key}": value for key, value in zip(_KEYS, values, strict=True)},
    }
    registry.put_manifest(reference, canonical_json(manifest), OCI_MANIFEST)


def find_project(repository: Repository, registry: Registry, host: str, project: str) -> PipelineId | None:
    """The identity of the project at ``host`` (a port does not matter) and ``project``, such as ``group/app``; its ``id`` is empty.

    None where no pins of it were filed here. Raises DocumentError where the tag holds something else.
    """
    reference = _reference(repository, host, project)
    manifest = registry.find_manifest(reference)
    if manifest is None:
        return None
    annotations = json.loads(manifest.data).get("annotations") or {}
    try:
        forge, own_host, project_id, path = (str(annotations[f"{_PREFIX}{key}"]) for key in _KEYS)
    except (KeyError, TypeError):
        hint = "somebody else wrote this tag; remove it, the next pin job writes it again"
        raise DocumentError("expected a project's identity, found something else", hint=hint, where=Location(str(reference))) from None
    return PipelineId(forge, own_host, project_id, path, "")


def _reference(repository: Repository, host: str, project: str) -> Reference:
    # A remote over SSH has another port, or none, and forges take paths in any case.
    name = host.rpartition(":")[0] or host
    return repository.tagged(f"stagepin-project-{sha256_hex(('project', name.lower(), project.lower()))[:12]}")
