"""What refers to a manifest: the referrers API, and the tag ``sha256-<hex>`` where a registry has none (distribution-spec v1.1).

The fallback is an index under that tag, which whoever pushes a referrer keeps up. Registries have no compare-and-set, so of two writers
at once one may be lost: nothing of ours depends on referrers.
"""

from __future__ import annotations

import json
import re
from typing import Any

from ci_plugin.errors import AnswerIsNo, Bug
from ci_plugin.registry.answers import not_a_registry
from ci_plugin.registry.authorized import AuthorizedRequests
from ci_plugin.registry.manifests import Manifests
from ci_plugin.registry.transport import Answer, follow, origin_of
from ci_plugin.values.canonical import canonical_json
from ci_plugin.values.digest import Digest
from ci_plugin.values.manifest import OCI_INDEX, Descriptor, Manifest, parse_manifest
from ci_plugin.values.reference import Reference

_MOST_PAGES = 50
_NEXT = re.compile(r'<([^>]*)>\s*;[^,]*\brel="?next"?')
_DESCRIBED = ("artifactType", "annotations")


class Referrers:
    """The referrers of any manifest; nothing here is tried again."""

    def __init__(self, requests: AuthorizedRequests, manifests: Manifests) -> None:
        self._requests = requests
        self._manifests = manifests

    def find(self, reference: Reference) -> tuple[Descriptor, ...]:
        """The descriptors of what refers to ``repository@digest``, by the API or else by the fallback tag; empty where there is none."""
        if reference.digest is None:
            raise Bug(f"expected a reference with a digest to find referrers of, found {reference}")
        path = f"referrers/{reference.digest}"
        found: list[Descriptor] = []
        for _ in range(_MOST_PAGES):
            answer = self._requests.ask(reference.repository, "GET", path, {"Accept": OCI_INDEX})
            if answer.status in (404, 405, 501):
                return self._listed(self._find_fallback(reference))
            found += self._parse(answer, reference)
            following = self._next(answer, reference)
            if not following:
                return tuple(dict.fromkeys(found))
            path = following
        raise AnswerIsNo(f"expected at most {_MOST_PAGES} pages of referrers of {reference}, found more", where=answer.location)

    def add(self, reference: Reference, data: bytes, media_type: str) -> None:
        """List the manifest in ``data``, just pushed to a registry without the API, under its subject's fallback tag; none: nothing."""
        document = json.loads(data)
        subject = document.get("subject")
        if not isinstance(subject, dict):
            return
        about = reference.at(Digest(str(subject.get("digest"))))
        index = self._find_fallback(about)
        digest = Digest.of(data)
        if index and any(entry.digest == digest for _, entry in index.entries):
            return
        body: dict[str, Any] = json.loads(index.data) if index else {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}
        described = {key: document[key] for key in _DESCRIBED if document.get(key)}
        if "artifactType" not in described and isinstance(document.get("config"), dict):
            described["artifactType"] = document["config"].get("mediaType", "")
        body["manifests"].append({"mediaType": media_type, "digest": str(digest), "size": len(data), **described})
        self._manifests.put(_fallback(about), canonical_json(body), OCI_INDEX, None)

    def _find_fallback(self, reference: Reference) -> Manifest | None:
        """The index under the fallback tag; registry.gitlab.com answers that tag with the subject itself, and then there is none."""
        manifest = self._manifests.get(_fallback(reference))
        is_list = manifest and manifest.descriptor.is_index and manifest.descriptor.digest != reference.digest
        return manifest if is_list else None

    def _listed(self, index: Manifest | None) -> tuple[Descriptor, ...]:
        return tuple(dict.fromkeys(entry for _, entry in index.entries)) if index else ()

    def _parse(self, answer: Answer, reference: Reference) -> list[Descriptor]:
        expected = f"the referrers of {reference}"
        if answer.status != 200:
            raise self._requests.unexpected(answer, expected, reference.repository)
        try:
            return [entry for _, entry in parse_manifest(answer.body, OCI_INDEX).entries]
        except ValueError:
            raise not_a_registry(answer, expected, reference.repository.registry) from None

    def _next(self, answer: Answer, reference: Reference) -> str:
        """The path of the next page, which must be of the same list."""
        match = _NEXT.search(answer.headers.get("Link", ""))
        if match is None:
            return ""
        url = follow(answer.url, match[1])
        _, marker, path = url.partition(f"/v2/{reference.repository.path}/referrers/")
        if not marker or origin_of(url) != origin_of(answer.url):
            message = f"expected the next page of the referrers of {reference} at the same address, found another"
            raise AnswerIsNo(message, where=answer.location)
        return f"referrers/{path}"


def _fallback(reference: Reference) -> Reference:
    return reference.repository.tagged(str(reference.digest).replace(":", "-")[:128])
