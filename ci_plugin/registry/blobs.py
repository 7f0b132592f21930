"""Blobs over the distribution API: read, upload, mount, and copy without holding more than one piece in memory."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator

from ci_plugin.errors import AccessDenied, AnswerIsNo, Gone, Location, StagepinError
from ci_plugin.registry.answers import is_well_formed_absence
from ci_plugin.registry.auth import mount_scope, push_scope
from ci_plugin.registry.authorized import AuthorizedRequests
from ci_plugin.registry.transport import LONGEST_ANSWER, Answer, follow
from ci_plugin.values.digest import Digest
from ci_plugin.values.manifest import Descriptor
from ci_plugin.values.reference import Repository

_BYTES = {"Content-Type": "application/octet-stream"}


class Blobs:
    """The blobs of any registry; nothing here is tried again."""

    def __init__(self, requests: AuthorizedRequests) -> None:
        self._requests = requests

    def read(self, repository: Repository, blob: Descriptor) -> bytes:
        """The bytes, hashed. Raises Gone for an absence that was seen twice."""
        for _ in range(2):
            answer = self._requests.ask(repository, "GET", _path(blob.digest), {}, limit=max(blob.size, LONGEST_ANSWER))
            if not is_well_formed_absence(answer):
                break
        self._check_found(answer, repository, blob)
        if not blob.digest.matches(answer.body) or len(answer.body) != blob.size:
            found = f"{len(answer.body)} with {Digest.of(answer.body)}"
            raise _other_bytes(blob, found, answer.location)
        return answer.body

    def put(self, repository: Repository, data: bytes) -> None:
        """Upload where it is not there yet."""
        digest = Digest.of(data)
        if self._has(repository, digest):
            return
        upload = self._begin(repository)
        upload.commit(digest, data)

    def copy(self, source: Repository, blob: Descriptor, target: Repository) -> None:
        """Nothing where the target has it; else a mount where both are on one registry; else through this machine, piece by piece.

        Raises Gone where the source lost it, AnswerIsNo where the source serves other bytes; the target has it whole or not at all.
        """
        if self._has(target, blob.digest):
            return
        answer = self._mount(source, blob.digest, target) if source.registry == target.registry and source != target else None
        if answer and answer.status == 201:
            return
        # A registry that does not mount may have begun an upload instead.
        begun = answer and answer.status == 202 and answer.headers.get("Location")
        self._stream(source, blob, target, _Upload(self._requests, target, answer) if answer and begun else None)

    def _has(self, repository: Repository, digest: Digest) -> bool:
        return self._requests.ask(repository, "HEAD", _path(digest), {}, scope=push_scope(repository.path)).status == 200

    def _mount(self, source: Repository, digest: Digest, target: Repository) -> Answer | None:
        """What the registry says to giving the target the source's blob; None where no token allows both repositories at once."""
        path = f"blobs/uploads/?mount={digest}&from={source.path}"
        try:
            answer = self._requests.ask(target, "POST", path, {}, body=b"", scope=mount_scope(source.path, target.path))
        except AccessDenied:
            return None
        if answer.status >= 500 or answer.status == 429:
            raise self._requests.unexpected(answer, f"blob {digest} to be mounted into {target}", target)
        return answer

    def _begin(self, repository: Repository) -> _Upload:
        answer = self._requests.ask(repository, "POST", "blobs/uploads/", {}, body=b"", scope=push_scope(repository.path))
        if answer.status != 202 or not answer.headers.get("Location"):
            raise self._requests.unexpected_write(answer, f"an upload to {repository} to begin", repository)
        return _Upload(self._requests, repository, answer)

    def _stream(self, source: Repository, blob: Descriptor, target: Repository, begun: _Upload | None) -> None:
        upload = begun

        def send(chunks: Iterator[bytes]) -> None:
            nonlocal upload
            upload = upload or self._begin(target)
            upload.send(_Passing(chunks, source, blob))

        try:
            for _ in range(2):
                answer = self._requests.ask(source, "GET", _path(blob.digest), {}, limit=max(blob.size, LONGEST_ANSWER), consume=send)
                if not is_well_formed_absence(answer):
                    break
            self._check_found(answer, source, blob)
        except BaseException:
            if upload:
                upload.cancel()
            raise

    def _check_found(self, answer: Answer, repository: Repository, blob: Descriptor) -> None:
        if is_well_formed_absence(answer):
            hint = "the registry's garbage collection may have removed it; push the image again"
            raise Gone(f"expected blob {blob.digest} in {repository}, found nothing", hint=hint, where=answer.location)
        if answer.status != 200:
            raise self._requests.unexpected(answer, f"blob {blob.digest} of {repository}", repository)


class _Upload:
    """An upload the registry began; it is a blob once it is committed, and nothing before."""

    def __init__(self, requests: AuthorizedRequests, repository: Repository, begun: Answer) -> None:
        self._requests = requests
        self._repository = repository
        self._asked = begun.url
        self._url = follow(begun.url, begun.headers["Location"])

    def send(self, passing: _Passing) -> None:
        """Pass the pieces on and commit them, unless they turn out to be others."""
        blob = passing.blob
        answer = self._ask("PATCH", self._url, passing.pieces())
        # Where it goes on from here, or is cancelled: the address before knows of no byte.
        self._url = follow(self._url, answer.headers.get("Location", ""))
        passing.check()
        if answer.status not in (202, 204):
            raise self._requests.unexpected_write(answer, f"blob {blob.digest} to be taken by {self._repository}", self._repository)
        self.commit(blob.digest, b"")

    def commit(self, digest: Digest, data: bytes) -> None:
        """Send what is left and close the upload under this digest, which the registry checks."""
        url = f"{self._url}{'&' if '?' in self._url else '?'}digest={digest}"
        answer = self._ask("PUT", url, data)
        if answer.status not in (201, 204):
            raise self._requests.unexpected_write(answer, f"blob {digest} to be taken by {self._repository}", self._repository)

    def cancel(self) -> None:
        """Have the registry forget it; where that fails, the registry purges old uploads by itself."""
        with contextlib.suppress(StagepinError):
            self._ask("DELETE", self._url, None)

    def _ask(self, method: str, url: str, body: bytes | Iterator[bytes] | None) -> Answer:
        return self._requests.ask_at(self._repository, self._asked, method, url, _BYTES, body=body)


class _Passing:
    """The pieces of a blob on their way, counted and hashed.

    What breaks meanwhile is kept for ``check``: the request the pieces are in ends as requests do, and the upload is cancelled after it.
    In one that is cut off, the registry would still be writing.
    """

    def __init__(self, chunks: Iterator[bytes], source: Repository, blob: Descriptor) -> None:
        self.blob = blob
        self._chunks = chunks
        self._source = source
        self._size, self._hash = 0, hashlib.new(blob.digest.algorithm)
        self._error: StagepinError | None = None

    def pieces(self) -> Iterator[bytes]:
        """The pieces, as long as they can be those of the blob."""
        try:
            for chunk in self._chunks:
                self._size += len(chunk)
                self._hash.update(chunk)
                if self._size > self.blob.size:
                    return
                yield chunk
        except StagepinError as error:
            self._error = error

    def check(self) -> None:
        """Raise what broke, or AnswerIsNo where these were the bytes of another digest."""
        if self._error:
            raise self._error
        if (self._size, self._hash.hexdigest()) != (self.blob.size, self.blob.digest.hex):
            found = f"{self._size} with {self.blob.digest.algorithm}:{self._hash.hexdigest()}"
            raise _other_bytes(self.blob, found, Location(f"{self._source}@{self.blob.digest}"))


def _path(digest: Digest) -> str:
    return f"blobs/{digest}"


def _other_bytes(blob: Descriptor, found: str, where: Location) -> AnswerIsNo:
    message = f"expected {blob.size} bytes with digest {blob.digest}, found {found}"
    hint = "the registry's store or a proxy in between is damaged; push the image again"
    return AnswerIsNo(f"the registry served other bytes than the digest names: {message}", hint=hint, where=where)
