"""The OCI distribution API over HTTP: ``ports.Registry`` for real registries.

Rules
- Every manifest request names all four media types in one ``Accept`` header: which digest a tag has depends on it.
- A HEAD's digest header is taken as the answer to "what does this tag mean"; bytes are hashed, always.
- A registry without a usable digest header, or one that refuses HEAD, is asked with GET and the bytes are hashed.
- Absence is a well-formed 404, seen twice; of a HEAD's two the second is a GET, whose body shows who answers.
- Whole operations are repeated, never a request out of the middle: a POST is not sent again blindly (``ci_plugin.retry``).
- A blob that is copied is mounted where it can be, else passed on piece by piece; it is there whole or not at all.
- There is no ``/v2/`` ping, and a request for a token only after a 401.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping

from ci_plugin.errors import AnswerIsNo, Bug, Gone, StagepinError
from ci_plugin.limits import LIMITS, Limits
from ci_plugin.ports import Clock, CredentialSource
from ci_plugin.registry.auth import pull_scope
from ci_plugin.registry.authorized import AuthorizedRequests
from ci_plugin.registry.blobs import Blobs
from ci_plugin.registry.manifests import Manifests
from ci_plugin.registry.referrers import Referrers
from ci_plugin.registry.transport import Proxies, Transport
from ci_plugin.retry import RetryPolicy, Tell
from ci_plugin.values.digest import Digest
from ci_plugin.values.manifest import Descriptor, Manifest
from ci_plugin.values.reference import Reference, Repository


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
        limits: Limits = LIMITS,
        tell: Tell | None = None,
    ) -> None:
        transport = Transport(insecure=insecure, connections=connections, ca_file=ca_file, proxies=proxies, limits=limits)
        requests = AuthorizedRequests(transport, credentials)
        self._retry = RetryPolicy(clock.sleep, deadline, tell=tell)
        self._connections = connections
        self._manifests = Manifests(requests)
        self._blobs = Blobs(requests)
        self._referrers = Referrers(requests, self._manifests)

    def resolve(self, references: Collection[Reference]) -> Mapping[Reference, Descriptor | StagepinError]:
        """What each reference means now: one HEAD each, in parallel, under one deadline.

        The first reference of each registry goes ahead of its others, so that a 401 is met once and one token serves them all.
        """
        from concurrent.futures import Future, as_completed

        from ci_plugin.threads import thread_pool

        waiting: dict[str, list[Reference]] = {}
        for reference in dict.fromkeys(references):
            waiting.setdefault(reference.repository.registry, []).append(reference)
        scopes = {registry: [pull_scope(one.repository.path) for one in group] for registry, group in waiting.items()}
        started = time.monotonic()
        with thread_pool(min(self._connections, len(references))) as pool:
            running: dict[Reference, Future[Descriptor | StagepinError]] = {}

            def start(reference: Reference) -> Future[Descriptor | StagepinError]:
                registry = reference.repository.registry
                running[reference] = pool.submit(self._resolve_one, reference, scopes[registry], started)
                return running[reference]

            # Waiting for the first ones alone: to wait for all of them again and again would cost the square of their number.
            first = {start(group[0]): group for group in waiting.values()}
            for done in as_completed(first):
                for reference in first[done][1:]:
                    start(reference)
            found = {reference: future.result() for reference, future in running.items()}
        return {reference: found[reference] for reference in dict.fromkeys(references)}

    def find_descriptor(self, reference: Reference) -> Descriptor | None:
        """HEAD of one manifest, or None where it is confirmed absent."""
        return self._retry.run(lambda: self._manifests.head(reference))

    def find_manifest(self, reference: Reference) -> Manifest | None:
        """GET of one manifest or index, hashed, or None where it is confirmed absent."""
        return self._retry.run(lambda: self._manifests.get(reference))

    def get_blob(self, repository: Repository, blob: Descriptor, limit: int) -> bytes:
        """A blob of at most ``limit`` bytes, hashed. Raises Gone where the registry lost it."""
        if blob.size > limit:
            raise AnswerIsNo(f"expected a blob of at most {limit} bytes, found {blob.size} bytes announced for {repository}@{blob.digest}")
        return self._retry.run(lambda: self._blobs.read(repository, blob))

    def put_blob(self, repository: Repository, data: bytes) -> Digest:
        """Upload a small blob where it is not there yet; returns its digest."""
        self._retry.run(lambda: self._blobs.put(repository, data))
        return Digest.of(data)

    def copy_blob(self, source: Repository, blob: Descriptor, target: Repository) -> None:
        """Have a blob of any size in another repository: mounted where that is possible, else passed on and hashed on the way.

        Raises Gone where the source lost it, AnswerIsNo where the source serves other bytes; the target has it whole or not at all.
        """
        self._retry.run(lambda: self._blobs.copy(source, blob, target))

    def put_manifest(self, reference: Reference, data: bytes, media_type: str, restore: Callable[[], object] | None = None) -> Digest:
        """PUT these exact bytes under the reference's tag or digest; returns their digest. Raises AnswerIsNo where the registry refuses.

        ``restore`` brings back the blobs it names: called once where garbage collection took them since they were uploaded.
        """
        digest = Digest.of(data)
        if reference.digest and not reference.digest.matches(data):
            raise Bug(f"expected bytes that hash to {reference.digest}, found {digest}")
        has_subject = self._retry.run(lambda: self._manifests.put(reference, data, media_type, restore))
        if not has_subject and b'"subject"' in data:
            self._retry.run(lambda: self._referrers.add(reference, data, media_type))
        return digest

    def delete(self, reference: Reference) -> None:
        """Remove a manifest by its digest, and every tag on it; absent is fine. Raises AnswerIsNo where the registry deletes nothing."""
        self._retry.run(lambda: self._manifests.delete(reference))

    def find_referrers(self, reference: Reference) -> tuple[Descriptor, ...]:
        """What refers to ``repository@digest``, by the referrers API or, where there is none, by the fallback tag."""
        return self._retry.run(lambda: self._referrers.find(reference))

    def _resolve_one(self, reference: Reference, also: Collection[str], started: float) -> Descriptor | StagepinError:
        try:
            descriptor = self._retry.run(lambda: self._manifests.head(reference, also), started=started)
        except StagepinError as error:
            return error
        if descriptor is None:
            hint = "check the spelling of the repository and tag, and that it was pushed"
            return Gone(f"expected {reference} in its registry, found nothing: not found in the registry", hint=hint)
        return descriptor
