"""Manifests over the distribution API: HEAD, GET, PUT and DELETE of one, each a whole operation that may be repeated."""

from __future__ import annotations

from collections.abc import Callable, Collection

from ci_plugin.errors import AnswerIsNo, Bug, StagepinError, Unavailable
from ci_plugin.registry.answers import digest_header, error_codes, is_well_formed_absence, not_a_registry, size_header
from ci_plugin.registry.auth import delete_scope, push_scope
from ci_plugin.registry.authorized import AuthorizedRequests
from ci_plugin.registry.transport import Answer
from ci_plugin.values.digest import Digest
from ci_plugin.values.manifest import MEDIA_TYPES, Descriptor, Manifest, parse_manifest
from ci_plugin.values.reference import Reference

ACCEPT = ", ".join(MEDIA_TYPES)
_SCHEMA1 = "application/vnd.docker.distribution.manifest.v1"
_SUBJECT_HEADER = "OCI-Subject"


class Manifests:
    """The manifests of any registry; nothing here is tried again."""

    def __init__(self, requests: AuthorizedRequests) -> None:
        self._requests = requests

    def head(self, reference: Reference, also: Collection[str] = ()) -> Descriptor | None:
        """What a reference means, or None for an absence that a GET confirmed."""
        answer = self._requests.ask(reference.repository, "HEAD", _path(reference), {"Accept": ACCEPT}, also=also)
        if answer.status in (404, 405, 501):
            manifest = self._get(reference)
            if manifest is None and answer.status != 404:
                manifest = self._get(reference)
            return manifest.descriptor if manifest else None
        if answer.status != 200:
            raise self._requests.unexpected(answer, f"the digest of {reference}", reference.repository)
        media_type = _manifest_type(answer, reference)
        digest, size = digest_header(answer), size_header(answer)
        if digest is None or size is None or (reference.digest and digest != reference.digest):
            manifest = self.get(reference)
            return manifest.descriptor if manifest else None
        return Descriptor(digest, media_type, size)

    def get(self, reference: Reference) -> Manifest | None:
        """A manifest, hashed, or None for an absence that was seen twice."""
        return self._get(reference) or self._get(reference)

    def put(self, reference: Reference, data: bytes, media_type: str, restore: Callable[[], object] | None) -> bool:
        """PUT; where blobs are missing, once more after ``restore``. Whether the registry itself keeps track of the manifest's subject."""
        answer = self._put(reference, data, media_type)
        if restore and "MANIFEST_BLOB_UNKNOWN" in error_codes(answer):
            restore()
            answer = self._put(reference, data, media_type)
        if answer.status not in (200, 201, 202, 204):
            raise self._requests.unexpected_write(answer, f"the manifest of {reference} to be taken", reference.repository)
        taken = digest_header(answer)
        if taken is not None and not taken.matches(data):
            message = f"expected {reference.repository.registry} to take the manifest as {Digest.of(data)}, found {taken}"
            raise AnswerIsNo(message, where=answer.location)
        return _SUBJECT_HEADER in answer.headers

    def delete(self, reference: Reference) -> None:
        """DELETE by digest; an absence that is seen twice is fine."""
        if reference.digest is None:
            raise Bug(f"expected a reference with a digest to delete, found {reference}: a tag may move meanwhile")
        if self._delete(reference) or self._delete(reference):
            return

    def _get(self, reference: Reference) -> Manifest | None:
        """One GET; None for a well-formed 404, which the caller has to see twice."""
        answer = self._requests.ask(reference.repository, "GET", _path(reference), {"Accept": ACCEPT})
        if is_well_formed_absence(answer):
            return None
        if answer.status != 200:
            raise self._requests.unexpected(answer, f"the manifest of {reference}", reference.repository)
        media_type = _manifest_type(answer, reference)
        _check_bytes(answer, reference)
        try:
            return parse_manifest(answer.body, media_type)
        except ValueError as error:
            message = f"expected a manifest for {reference}, found bytes that are none: {error}"
            hint = "was this reference pushed by a tool that writes OCI or Docker images?"
            # What its digest proves to be the content stays what it is; anything else may be a proxy's bad moment.
            kind = AnswerIsNo if reference.digest or digest_header(answer) else Unavailable
            raise kind(message, hint=hint, where=answer.location) from None

    def _put(self, reference: Reference, data: bytes, media_type: str) -> Answer:
        scope = push_scope(reference.repository.path)
        return self._requests.ask(reference.repository, "PUT", _path(reference), {"Content-Type": media_type}, body=data, scope=scope)

    def _delete(self, reference: Reference) -> bool:
        answer = self._requests.ask(reference.repository, "DELETE", _path(reference), {}, scope=delete_scope(reference.repository.path))
        if not is_well_formed_absence(answer) and answer.status not in (200, 202, 204):
            raise self._refused_deletion(answer, reference)
        return answer.status != 404

    def _refused_deletion(self, answer: Answer, reference: Reference) -> StagepinError:
        if answer.status == 405:
            message = f"expected {reference} to be deleted, found that {reference.repository.registry} deletes nothing"
            return AnswerIsNo(message, hint="deletion is switched off there; ask whoever runs it", where=answer.location)
        return self._requests.unexpected(answer, f"{reference} to be deleted", reference.repository)


def _path(reference: Reference) -> str:
    return f"manifests/{reference.target}"


def _manifest_type(answer: Answer, reference: Reference) -> str:
    if answer.media_type in MEDIA_TYPES:
        return answer.media_type
    if answer.media_type.startswith(_SCHEMA1):
        message = f"expected an image manifest of Docker schema 2 or OCI for {reference}, found the obsolete schema 1"
        raise AnswerIsNo(message, hint="push the image again with a current tool", where=answer.location)
    raise not_a_registry(answer, f"a manifest for {reference}", reference.repository.registry)


def _check_bytes(answer: Answer, reference: Reference) -> None:
    """The digest asked for, or by tag the digest the registry names beside the bytes, must be theirs (bit rot keeps the old header)."""
    named = reference.digest or digest_header(answer)
    if named is not None and not named.matches(answer.body):
        message = f"expected {named}, found {Digest.of(answer.body)} for {reference}"
        hint = "the registry's store or a proxy in between is damaged; push the image again"
        raise AnswerIsNo(f"the registry served other bytes than the digest names: {message}", hint=hint, where=answer.location)
