"""The OCI distribution API over HTTP: ``ports.Registry`` for real registries.

Rules
- Every manifest request names all four media types in one ``Accept`` header: which digest a tag has depends on it.
- A HEAD's digest header is taken as the answer to "what does this tag mean"; bytes are hashed, always.
- A registry without a usable digest header, or one that refuses HEAD, is asked with GET and the bytes are hashed.
- Absence is a well-formed 404, seen twice; of a HEAD's two the second is a GET, whose body shows who answers.
- Whole operations are repeated, never a request out of the middle: a POST is not sent again blindly (``ci_plugin.retry``).
- There is no ``/v2/`` ping, and a request for a token only after a 401.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Mapping

from ci_plugin.errors import AnswerIsNo, Bug, Gone, StagepinError, Unavailable
from ci_plugin.ports import Clock, CredentialSource
from ci_plugin.registry.answers import digest_header, is_well_formed_absence, not_a_registry, unexpected
from ci_plugin.registry.auth import Authenticator, pull_scope, push_scope
from ci_plugin.registry.transport import LONGEST_ANSWER, Answer, Proxies, Transport, follow, origin_of
from ci_plugin.retry import RetryPolicy
from ci_plugin.values.digest import Digest
from ci_plugin.values.manifest import MEDIA_TYPES, Descriptor, Manifest, parse_manifest
from ci_plugin.values.reference import Reference, Repository

ACCEPT = ", ".join(MEDIA_TYPES)
_SCHEMA1 = "application/vnd.docker.distribution.manifest.v1"


class RegistryClient:
    """Registries over HTTP. ``deadline`` is in seconds, for one call with all its tries; ``connections`` per registry."""

    def __init__(
        self,
        credentials: CredentialSource,
        *,
        clock: Clock,
        insecure: Collection[str] = (),
        deadline: float = 60.0,
        connections: int = 16,
        ca_file: str | None = None,
        proxies: Proxies | None = None,
    ) -> None:
        self._transport = Transport(insecure=insecure, connections=connections, ca_file=ca_file, proxies=proxies)
        self._credentials = credentials
        self._retry = RetryPolicy(clock.sleep, deadline)
        self._connections = connections
        self._authenticators: dict[str, Authenticator] = {}
        self._lock = threading.Lock()

    def resolve(self, references: Collection[Reference]) -> Mapping[Reference, Descriptor | StagepinError]:
        """What each reference means now: one HEAD each, in parallel, under one deadline.

        The first reference of each registry goes ahead of its others, so that a 401 is met once and one token serves them all.
        """
        from concurrent.futures import FIRST_COMPLETED, Future, wait

        from ci_plugin.threads import thread_pool

        waiting: dict[str, list[Reference]] = {}
        for reference in dict.fromkeys(references):
            waiting.setdefault(reference.repository.registry, []).append(reference)
        scopes = {registry: [pull_scope(one.repository.path) for one in group] for registry, group in waiting.items()}
        started = time.monotonic()
        found: dict[Reference, Descriptor | StagepinError] = {}
        with thread_pool(min(self._connections, len(references))) as pool:
            running: dict[Future[Descriptor | StagepinError], Reference] = {}

            def start(group: Collection[Reference]) -> None:
                for reference in group:
                    also = scopes[reference.repository.registry]
                    running[pool.submit(self._resolve_one, reference, also, started)] = reference

            start([group.pop(0) for group in waiting.values()])
            while running:
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    reference = running.pop(future)
                    found[reference] = future.result()
                    start(waiting.pop(reference.repository.registry, ()))
        return {reference: found[reference] for reference in dict.fromkeys(references)}

    def find_descriptor(self, reference: Reference) -> Descriptor | None:
        """HEAD of one manifest, or None where it is confirmed absent."""
        return self._retry.run(lambda: self._head(reference, ()))

    def find_manifest(self, reference: Reference) -> Manifest | None:
        """GET of one manifest or index, hashed, or None where it is confirmed absent."""
        return self._retry.run(lambda: self._get(reference) or self._get(reference))

    def get_blob(self, repository: Repository, blob: Descriptor, limit: int) -> bytes:
        """A blob of at most ``limit`` bytes, hashed. Raises Gone where the registry lost it."""
        if blob.size > limit:
            raise AnswerIsNo(f"expected a blob of at most {limit} bytes, found {blob.size} bytes announced for {repository}@{blob.digest}")
        return self._retry.run(lambda: self._read_blob(repository, blob))

    def put_blob(self, repository: Repository, data: bytes) -> Digest:
        """Upload a small blob where it is not there yet; returns its digest."""
        digest = Digest.of(data)
        self._retry.run(lambda: self._upload(repository, digest, data))
        return digest

    def put_manifest(self, reference: Reference, data: bytes, media_type: str) -> Digest:
        """PUT these exact bytes under the reference's tag or digest; returns their digest. Raises AnswerIsNo where the registry refuses."""
        digest = Digest.of(data)
        if reference.digest and not reference.digest.matches(data):
            raise Bug(f"expected bytes that hash to {reference.digest}, found {digest}")
        self._retry.run(lambda: self._put(reference, data, media_type))
        return digest

    def _resolve_one(self, reference: Reference, also: Collection[str], started: float) -> Descriptor | StagepinError:
        try:
            descriptor = self._retry.run(lambda: self._head(reference, also), started=started)
        except StagepinError as error:
            return error
        if descriptor is None:
            hint = "check the spelling of the repository and tag, and that it was pushed"
            return Gone(f"expected {reference} in its registry, found nothing: not found in the registry", hint=hint)
        return descriptor

    def _head(self, reference: Reference, also: Collection[str]) -> Descriptor | None:
        answer = self._ask(reference.repository, "HEAD", _manifest_path(reference), {"Accept": ACCEPT}, also=also)
        if answer.status in (404, 405, 501):
            manifest = self._get(reference)
            if manifest is None and answer.status != 404:
                manifest = self._get(reference)
            return manifest.descriptor if manifest else None
        if answer.status != 200:
            raise self._unexpected(answer, f"the digest of {reference}", reference.repository)
        media_type = self._manifest_type(answer, reference)
        digest, size = digest_header(answer), answer.headers.get("Content-Length", "")
        if digest is None or not size.isdecimal() or (reference.digest and digest != reference.digest):
            manifest = self._get(reference) or self._get(reference)
            return manifest.descriptor if manifest else None
        return Descriptor(digest, media_type, int(size))

    def _get(self, reference: Reference) -> Manifest | None:
        """One GET; None for a well-formed 404, which the caller has to see twice."""
        answer = self._ask(reference.repository, "GET", _manifest_path(reference), {"Accept": ACCEPT})
        if is_well_formed_absence(answer):
            return None
        if answer.status != 200:
            raise self._unexpected(answer, f"the manifest of {reference}", reference.repository)
        media_type = self._manifest_type(answer, reference)
        _check_bytes(answer, reference)
        try:
            return parse_manifest(answer.body, media_type)
        except ValueError as error:
            message = f"expected a manifest for {reference}, found bytes that are none: {error}"
            raise Unavailable(
                message, hint="was this reference pushed by a tool that writes OCI or Docker images?", where=answer.location
            ) from None

    def _read_blob(self, repository: Repository, blob: Descriptor) -> bytes:
        path = f"/v2/{repository.path}/blobs/{blob.digest}"
        answer = self._ask(repository, "GET", path, {}, limit=max(blob.size, LONGEST_ANSWER))
        if is_well_formed_absence(answer):
            answer = self._ask(repository, "GET", path, {}, limit=max(blob.size, LONGEST_ANSWER))
        if is_well_formed_absence(answer):
            hint = "the registry's garbage collection may have removed it; push the image again"
            raise Gone(f"expected blob {blob.digest} in {repository}, found nothing", hint=hint, where=answer.location)
        if answer.status != 200:
            raise self._unexpected(answer, f"blob {blob.digest} of {repository}", repository)
        if not blob.digest.matches(answer.body) or len(answer.body) != blob.size:
            message = f"expected {blob.size} bytes with digest {blob.digest}, found {len(answer.body)} with {Digest.of(answer.body)}"
            raise AnswerIsNo(f"the registry served other bytes than the digest names: {message}", where=answer.location)
        return answer.body

    def _upload(self, repository: Repository, digest: Digest, data: bytes) -> None:
        path = f"/v2/{repository.path}/blobs/"
        if self._ask(repository, "HEAD", f"{path}{digest}", {}, push=True).status == 200:
            return
        answer = self._ask(repository, "POST", f"{path}uploads/", {}, body=b"", push=True)
        target = answer.headers.get("Location", "")
        if answer.status != 202 or not target:
            raise self._unexpected(answer, f"an upload to {repository} to begin", repository)
        url = follow(answer.url, target)
        url += ("&" if "?" in url else "?") + f"digest={digest}"
        done = self._send_to(repository, answer.url, url, data)
        if done.status not in (201, 204):
            raise self._unexpected(done, f"blob {digest} to be taken by {repository}", repository)

    def _send_to(self, repository: Repository, asked: str, url: str, data: bytes) -> Answer:
        """PUT to where the registry says; credentials go along only to the origin that was asked (GHSA-jxpm-75mh-9fp7)."""
        headers = {"Content-Type": "application/octet-stream"}
        if origin_of(asked) == origin_of(url):
            value = self._authenticator(repository.registry).header(push_scope(repository.path))
            headers |= {"Authorization": value} if value else {}
        return self._transport.ask("PUT", url, headers, body=data)

    def _put(self, reference: Reference, data: bytes, media_type: str) -> None:
        answer = self._ask(reference.repository, "PUT", _manifest_path(reference), {"Content-Type": media_type}, body=data, push=True)
        if answer.status not in (200, 201, 202, 204):
            raise self._unexpected(answer, f"the manifest of {reference} to be taken", reference.repository)
        taken = digest_header(answer)
        if taken is not None and not taken.matches(data):
            message = f"expected {reference.repository.registry} to take the manifest as {Digest.of(data)}, found {taken}"
            raise AnswerIsNo(message, where=answer.location)

    def _ask(
        self,
        repository: Repository,
        method: str,
        path: str,
        headers: Mapping[str, str],
        *,
        body: bytes | None = None,
        push: bool = False,
        also: Collection[str] = (),
        limit: int = LONGEST_ANSWER,
    ) -> Answer:
        """One request with what the registry wants to know of us: at most a 401, a token, and at most one newer token."""
        authenticator = self._authenticator(repository.registry)
        scope = push_scope(repository.path) if push else pull_scope(repository.path)
        value = authenticator.header(scope, also)
        for is_last in (False, False, True):
            sent = {**headers, "Authorization": value} if value else headers
            answer = self._transport.ask_registry(repository.registry, method, path, sent, body=body, limit=limit)
            if answer.status != 401 or is_last:
                return answer
            value = authenticator.learn(answer, value, scope, also)
        raise Bug("unreachable: the last answer is returned")

    def _authenticator(self, registry: str) -> Authenticator:
        with self._lock:
            if registry not in self._authenticators:
                self._authenticators[registry] = Authenticator(registry, self._transport, self._credentials)
            return self._authenticators[registry]

    def _manifest_type(self, answer: Answer, reference: Reference) -> str:
        if answer.media_type in MEDIA_TYPES:
            return answer.media_type
        if answer.media_type.startswith(_SCHEMA1):
            message = f"expected an image manifest of Docker schema 2 or OCI for {reference}, found the obsolete schema 1"
            raise AnswerIsNo(message, hint="push the image again with a current tool", where=answer.location)
        raise not_a_registry(answer, f"a manifest for {reference}", reference.repository.registry)

    def _unexpected(self, answer: Answer, expected: str, repository: Repository) -> StagepinError:
        has = self._authenticator(repository.registry).has_credentials
        return unexpected(answer, expected, repository.registry, has_credentials=has)


def _manifest_path(reference: Reference) -> str:
    return f"/v2/{reference.repository.path}/manifests/{reference.target}"


def _check_bytes(answer: Answer, reference: Reference) -> None:
    """The digest asked for, or by tag the digest the registry names beside the bytes, must be theirs (bit rot keeps the old header)."""
    named = reference.digest or digest_header(answer)
    if named is not None and not named.matches(answer.body):
        message = f"expected {named}, found {Digest.of(answer.body)} for {reference}"
        hint = "the registry's store or a proxy in between is damaged; push the image again"
        raise AnswerIsNo(f"the registry served other bytes than the digest names: {message}", hint=hint, where=answer.location)
