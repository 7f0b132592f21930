"""Tags that people read, set on what a build has published."""

from __future__ import annotations

from ci_plugin.errors import Gone
from ci_plugin.ports import Registry
from ci_plugin.values.digest import Digest
from ci_plugin.values.reference import Reference, Repository


def set_tag(repository: Repository, registry: Registry, tag: str, digest: Digest) -> Reference:
    """Point a tag at a manifest or index of the repository; where it is there already nothing is written. Returns the tag's name.

    Raises Gone where the digest is lost, AnswerIsNo or AccessDenied where the registry does not let the tag be set.
    """
    reference = repository.tagged(tag)
    current = registry.find_descriptor(reference)
    if current and current.digest == digest:
        return reference
    manifest = registry.find_manifest(repository.at(digest))
    if manifest is None:
        raise Gone(f"expected {repository.at(digest)}, which was just published; found nothing")
    registry.put_manifest(reference, manifest.data, manifest.descriptor.media_type)
    return reference
