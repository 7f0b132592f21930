"""A registry on loopback: the distribution API over a store in memory, whose tags move when a test says so, and which lies on request.

::

    with FakeRegistry() as registry:
        digest = registry.put_image("base/alpine", "latest", labels={"a": "b"})
        registry.fail(status=429, headers={"Retry-After": "1"}, times=2)
        ...
        assert [request.method for request in registry.requests] == ["HEAD"]

It keeps what the real one (distribution 2.8) does where clients notice: an OCI index is a 404 without its media type in ``Accept``, a
manifest whose blobs or children are missing is refused, the digest header accompanies HEAD and GET, errors are JSON documents, a blob that
one repository took is a 404 in the next until it is mounted, DELETE takes a digest alone.
``require_basic`` / ``require_token`` switch authentication on; the token endpoint is ``/token`` on the same server unless a realm is given.
"""

from __future__ import annotations

import base64
import gzip
import io
import json
import ssl
import tarfile
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from ci_plugin.values.digest import Digest
from ci_plugin.values.manifest import DOCKER_INDEX, DOCKER_MANIFEST, MEDIA_TYPES, OCI_INDEX, OCI_MANIFEST
from ci_plugin.values.platform import parse_platform

TOKEN = "fake-token-"
_BLOB_TYPES = {
    DOCKER_MANIFEST: ("application/vnd.docker.container.image.v1+json", "application/vnd.docker.image.rootfs.diff.tar.gzip"),
    OCI_MANIFEST: ("application/vnd.oci.image.config.v1+json", "application/vnd.oci.image.layer.v1.tar+gzip"),
}


@dataclass(frozen=True, slots=True)
class Request:
    """One request as the server saw it; header names are lower case. ``str()`` gives ``METHOD /path?query``."""

    method: str
    path: str
    headers: Mapping[str, str] = field(repr=False)

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def authorization(self) -> str:
        """What the client said about itself, or empty."""
        return self.headers.get("authorization", "")

    @property
    def scopes(self) -> list[str]:
        """The scopes a token request asks for."""
        return parse_qs(urlsplit(self.path).query).get("scope", [])


@dataclass(slots=True)
class Fault:
    """What happens instead of the right answer to the next ``times`` matching requests.

    With ``status`` the whole answer is replaced; otherwise the right answer is made and then changed: ``headers`` are set (None removes
    one), ``change`` maps its body, ``cut`` sends half of it and hangs up, ``hang_up`` sends nothing at all.
    """

    status: int | None = None
    headers: Mapping[str, str | None] = field(default_factory=dict)
    body: bytes = b""
    change: Callable[[bytes], bytes] | None = None
    cut: bool = False
    hang_up: bool = False
    method: str | None = None
    path: str = ""
    times: int | None = 1

    def takes(self, request: Request) -> bool:
        """Whether this fault meets this request; it is used up by it."""
        if self.times == 0 or self.method not in (None, request.method) or self.path not in request.path:
            return False
        if self.times is not None:
            self.times -= 1
        return True


@dataclass(frozen=True, slots=True)
class ImageBytes:
    """An image as a registry keeps it: the manifest and the blobs it names, config first."""

    manifest: bytes
    media_type: str
    blobs: tuple[bytes, ...]

    @property
    def digest(self) -> Digest:
        """The manifest's digest."""
        return Digest.of(self.manifest)


def make_image(
    *, labels: Mapping[str, str] | None = None, platform: str = "linux/amd64", seed: str = "1", media_type: str = DOCKER_MANIFEST
) -> ImageBytes:
    """An image of one small layer whose content ``seed`` decides; the same arguments give the same bytes."""
    layer = _layer(seed)
    parsed = parse_platform(platform)
    config: dict[str, Any] = {"os": parsed.os, "architecture": parsed.architecture, "config": {"Labels": dict(labels or {})}}
    config |= {"variant": parsed.variant} if parsed.variant else {}
    config |= {"rootfs": {"type": "layers", "diff_ids": [str(Digest.of(layer))]}}
    blobs = (json.dumps(config).encode(), gzip.compress(layer, mtime=0))
    described = [
        {"mediaType": kind, "digest": str(Digest.of(blob)), "size": len(blob)}
        for kind, blob in zip(_BLOB_TYPES[media_type], blobs, strict=True)
    ]
    manifest = {"schemaVersion": 2, "mediaType": media_type, "config": described[0], "layers": described[1:]}
    return ImageBytes(json.dumps(manifest).encode(), media_type, blobs)


@dataclass(slots=True)
class _Answer:
    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


class FakeRegistry:
    """A running registry; use it as a context manager. ``address`` is ``127.0.0.1:PORT``, plain HTTP unless ``tls`` is given."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.requests: list[Request] = []
        self.blobs: dict[str, bytes] = {}
        self.manifests: dict[tuple[str, str], tuple[str, bytes]] = {}
        self.tags: dict[tuple[str, str], str] = {}
        self.on_request: Callable[[Request], None] | None = None
        """Called with every request before it is answered: where a test moves a tag between two requests."""
        self.immutable_tags = False
        self.has_referrers = False
        """Whether there is a referrers API; distribution 2.8 has none."""
        self.read_only = False
        """Refuses what writes, as distribution does during its garbage collection."""
        self.can_mount = True
        self.uploads: dict[str, bytes] = {}
        """What was begun and neither closed nor cancelled."""
        self._taken: dict[str, set[str]] = {}
        self._faults: list[Fault] = []
        self._auth: tuple[str, str, str, str] | None = None
        self._tokens: dict[str, list[str]] = {}
        self._lock = threading.RLock()
        self._server = _Server(("127.0.0.1", 0), _handler_for(self))
        if tls:
            # The handshake belongs to the connection's thread, not to the one that accepts.
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self.address = f"127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()

    def put_image(
        self,
        repository: str,
        tag: str | None = None,
        *,
        labels: Mapping[str, str] | None = None,
        platform: str = "linux/amd64",
        seed: str = "1",
        media_type: str = DOCKER_MANIFEST,
    ) -> Digest:
        """Store an image of one layer, whose content ``seed`` decides; returns its manifest digest."""
        image = make_image(labels=labels, platform=platform, seed=seed, media_type=media_type)
        with self._lock:
            for blob in image.blobs:
                self._take_blob(repository, blob)
        return self.put_manifest(repository, tag, image.manifest, media_type)

    def put_index(
        self, repository: str, tag: str | None, children: Mapping[str, Digest], *, media_type: str = OCI_INDEX, attestation: bool = False
    ) -> Digest:
        """Store an index of manifests that are there, by platform; ``attestation`` adds an ``unknown/unknown`` entry."""
        entries = []
        for platform, digest in children.items():
            child_type, data = self.manifests[repository, str(digest)]
            parsed = parse_platform(platform)
            described = {"os": parsed.os, "architecture": parsed.architecture} | ({"variant": parsed.variant} if parsed.variant else {})
            entries.append({"mediaType": child_type, "digest": str(digest), "size": len(data), "platform": described})
        if attestation:
            entries.append({**entries[0], "platform": {"os": "unknown", "architecture": "unknown"}})
        index = {"schemaVersion": 2, "mediaType": media_type, "manifests": entries}
        return self.put_manifest(repository, tag, json.dumps(index).encode(), media_type)

    def put_manifest(self, repository: str, tag: str | None, data: bytes, media_type: str) -> Digest:
        """Store any bytes as a manifest; returns their digest."""
        digest = Digest.of(data)
        with self._lock:
            self.manifests[repository, str(digest)] = (media_type, data)
            if tag:
                self.tags[repository, tag] = str(digest)
        return digest

    def move_tag(self, repository: str, tag: str, digest: Digest) -> None:
        """Point a tag at another manifest, under the clients' feet."""
        with self._lock:
            self.tags[repository, tag] = str(digest)

    def delete(self, repository: str, digest: Digest) -> None:
        """Remove a manifest and every tag on it, as distribution does."""
        with self._lock:
            self.manifests.pop((repository, str(digest)), None)
            self.tags = {key: value for key, value in self.tags.items() if (key[0], value) != (repository, str(digest))}

    def collect_blob(self, digest: Digest) -> None:
        """Remove a blob, as garbage collection does."""
        with self._lock:
            self.blobs.pop(str(digest), None)
            self._taken.pop(str(digest), None)

    def fail(self, **fault: Any) -> Fault:
        """Let the next matching requests fail or lie: the fields of ``Fault``; ``times=None`` is for ever."""
        made = Fault(**fault)
        self._faults.append(made)
        return made

    def require_basic(self, user: str, secret: str) -> None:
        """Answer 401 with a Basic challenge without these credentials."""
        self._auth = ("basic", user, secret, "")

    def require_token(self, user: str = "", secret: str = "", *, realm: str = "") -> None:
        """Answer 401 with a Bearer challenge without a token that names the repository; with a user, tokens only for these credentials."""
        self._auth = ("bearer", user, secret, realm or f"http://{self.address}/token")

    def expire_tokens(self) -> None:
        """Forget every token given out."""
        self._tokens.clear()

    def count(self, method: str | None = None, path: str = "") -> int:
        """How many requests had this method and this text in their path."""
        return sum(1 for request in self.requests if method in (None, request.method) and path in request.path)

    def answer(self, request: Request, body: bytes) -> tuple[_Answer, Fault | None]:
        """The answer to a request, and the fault to apply while it is sent."""
        with self._lock:
            self.requests.append(request)
            if self.on_request:
                self.on_request(request)
            fault = next((one for one in self._faults if one.takes(request)), None)
            if fault and fault.status is not None:
                headers = {name: value for name, value in fault.headers.items() if value is not None}
                return _Answer(fault.status, headers, fault.body), fault
            answer = self._answer_rightly(request, body)
            for name, value in (fault.headers if fault else {}).items():
                answer.headers.pop(name, None)
                if value is not None:
                    answer.headers[name] = value
            if fault and fault.change:
                answer.body = fault.change(answer.body)
            return answer, fault

    def _answer_rightly(self, request: Request, body: bytes) -> _Answer:
        url = urlsplit(request.path)
        if url.path == "/token":
            return self._give_token(request, body)
        if refusal := self._refusal(request, url.path):
            return refusal
        if self.read_only and request.method not in ("GET", "HEAD"):
            return _Answer(405, {"Allow": "GET, HEAD", "Content-Type": "text/plain"}, b"Method not allowed\n")
        answers = (
            ("/manifests/", self._manifest),
            ("/blobs/uploads/", self._upload),
            ("/blobs/", self._blob),
            ("/referrers/", self._referrers),
        )
        for marker, respond in answers:
            if marker in url.path:
                repository, _, name = url.path.removeprefix("/v2/").partition(marker)
                return respond(request, repository, name, body)
        return _Answer(200, {"Content-Type": "application/json"}, b"{}") if url.path == "/v2/" else _error(404, "UNSUPPORTED")

    def _manifest(self, request: Request, repository: str, name: str, body: bytes) -> _Answer:
        if request.method == "PUT":
            return self._take_manifest(request, repository, name, body)
        if request.method == "DELETE":
            if ":" not in name:
                return _error(400, "DIGEST_INVALID")
            if (repository, name) not in self.manifests:
                return _error(404, "MANIFEST_UNKNOWN")
            self.delete(repository, Digest(name))
            return _Answer(202)
        digest = self.tags.get((repository, name), name)
        found = self.manifests.get((repository, digest))
        if found is None or (found[0] in (OCI_INDEX, OCI_MANIFEST) and found[0] not in request.headers.get("accept", "")):
            known = any(key[0] == repository for key in self.manifests)
            return _error(404, "MANIFEST_UNKNOWN" if known else "NAME_UNKNOWN")
        return _Answer(200, {"Content-Type": found[0], "Docker-Content-Digest": digest}, found[1])

    def _take_manifest(self, request: Request, repository: str, name: str, body: bytes) -> _Answer:
        media_type, digest = request.headers.get("content-type", ""), Digest.of(body)
        if media_type not in MEDIA_TYPES or (":" in name and name != str(digest)):
            return _error(400, "MANIFEST_INVALID")
        document = json.loads(body)
        # A layer with addresses is taken, as by a distribution whose configuration allows them; by default it answers 500 (measured).
        described = [*document.get("layers", []), *filter(None, [document.get("config")])]
        if any(item["digest"] not in self.blobs and not item.get("urls") for item in described):
            return _error(400, "MANIFEST_BLOB_UNKNOWN")
        if any((repository, item["digest"]) not in self.manifests for item in document.get("manifests", [])):
            return _error(400, "MANIFEST_BLOB_UNKNOWN")
        tag = None if ":" in name else name
        if self.immutable_tags and tag and (repository, tag) in self.tags:
            return _error(412, "PRECONDITION_FAILED")
        self.put_manifest(repository, tag, body, media_type)
        subject = {"OCI-Subject": document["subject"]["digest"]} if self.has_referrers and document.get("subject") else {}
        return _Answer(201, {"Docker-Content-Digest": str(digest), **subject})

    def _referrers(self, request: Request, repository: str, name: str, body: bytes) -> _Answer:
        if not self.has_referrers:
            return _Answer(404, {"Content-Type": "text/plain"}, b"404 page not found\n")
        entries = [
            {"mediaType": kind, "digest": digest, "size": len(data), "artifactType": json.loads(data).get("artifactType", "")}
            for (where, digest), (kind, data) in self.manifests.items()
            if where == repository and (json.loads(data).get("subject") or {}).get("digest") == name
        ]
        index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}
        return _Answer(200, {"Content-Type": OCI_INDEX}, json.dumps(index).encode())

    def _blob(self, request: Request, repository: str, name: str, body: bytes) -> _Answer:
        # What a test put into ``blobs`` itself was taken by nobody: every repository has it.
        if name not in self.blobs or repository not in self._taken.get(name, {repository}):
            return _error(404, "BLOB_UNKNOWN")
        return _Answer(200, {"Content-Type": "application/octet-stream", "Docker-Content-Digest": name}, self.blobs[name])

    def _upload(self, request: Request, repository: str, name: str, body: bytes) -> _Answer:
        query = {key: values[0] for key, values in parse_qs(urlsplit(request.path).query).items()}
        if request.method == "POST":
            if self.can_mount and query.get("mount") in self.blobs and query.get("from") in self._taken.get(query["mount"], ()):
                self._taken[query["mount"]].add(repository)
                return _Answer(201, {"Docker-Content-Digest": query["mount"]})
            name = f"upload-{len(self.requests)}"
            self.uploads[name] = b""
            return _Answer(202, {"Location": f"/v2/{repository}/blobs/uploads/{name}?state=x"})
        if request.method == "PATCH":
            self.uploads[name] = self.uploads.get(name, b"") + body
            return _Answer(202, {"Location": f"/v2/{repository}/blobs/uploads/{name}?state=y"})
        data = self.uploads.pop(name, b"") + body
        if request.method == "DELETE":
            return _Answer(204)
        if query.get("digest") != str(Digest.of(data)):
            return _error(400, "DIGEST_INVALID")
        self._take_blob(repository, data)
        return _Answer(201, {"Docker-Content-Digest": query["digest"]})

    def _take_blob(self, repository: str, data: bytes) -> None:
        digest = str(Digest.of(data))
        self.blobs[digest] = data
        self._taken.setdefault(digest, set()).add(repository)

    def _refusal(self, request: Request, path: str) -> _Answer | None:
        if self._auth is None:
            return None
        kind, user, secret, realm = self._auth
        if kind == "basic":
            if request.authorization == _basic(user, secret):
                return None
            return _error(401, "UNAUTHORIZED", {"WWW-Authenticate": 'Basic realm="fake"'})
        scopes = self._tokens.get(request.authorization.removeprefix("Bearer "), [])
        repository = path.removeprefix("/v2/").partition("/manifests/")[0].partition("/blobs/")[0]
        needed = {"GET": "pull", "HEAD": "pull", "DELETE": "delete"}.get(request.method, "pull,push")
        source = parse_qs(urlsplit(request.path).query).get("from", [repository])[0]
        wanted = (f"repository:{repository}:{needed}", f"repository:{source}:pull")
        if all(any(scope.startswith(one) for scope in scopes) for one in wanted[: 1 if source == repository else 2]):
            return None
        challenge = f'Bearer realm="{realm}",service="fake",scope="repository:{repository}:{needed}"'
        return _error(401, "UNAUTHORIZED", {"WWW-Authenticate": challenge})

    def _give_token(self, request: Request, body: bytes) -> _Answer:
        _, user, secret, _ = self._auth or ("", "", "", "")
        form = parse_qs(body.decode())
        if user and request.authorization != _basic(user, secret) and form.get("refresh_token") != [secret]:
            return _error(401, "UNAUTHORIZED")
        token = f"{TOKEN}{len(self.requests)}"
        self._tokens[token] = request.scopes or form.get("scope", [""])[0].split()
        return _Answer(200, {"Content-Type": "application/json"}, json.dumps({"token": token, "expires_in": 60}).encode())


class _Server(ThreadingHTTPServer):
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is what some tests are about."""


def _handler_for(registry: FakeRegistry) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = 65536
        disable_nagle_algorithm = True

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
            pass

        def respond(self) -> None:
            chunked = self.headers.get("Transfer-Encoding") == "chunked"
            body = b"".join(self._chunks()) if chunked else self.rfile.read(int(self.headers.get("Content-Length") or 0))
            request = Request(self.command, self.path, {name.lower(): value for name, value in self.headers.items()})
            answer, fault = registry.answer(request, body)
            if fault and fault.hang_up:
                self.close_connection = True
                return
            self.send_response(answer.status)
            answer.headers.setdefault("Docker-Distribution-Api-Version", "registry/2.0")
            for name, value in answer.headers.items():
                self.send_header(name, value)
            if "Content-Length" not in answer.headers:
                self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            if fault and fault.cut:
                answer.body = answer.body[: len(answer.body) // 2]
                self.close_connection = True
            if self.command != "HEAD":
                self.wfile.write(answer.body)

        def _chunks(self) -> Iterator[bytes]:
            while size := int(self.rfile.readline(), 16):
                yield self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()

        do_GET = do_HEAD = do_PUT = do_POST = do_PATCH = do_DELETE = respond  # noqa: N815 - http.server finds them by these names

    return Handler


def _error(status: int, code: str, headers: Mapping[str, str] | None = None) -> _Answer:
    body = json.dumps({"errors": [{"code": code, "message": code.replace("_", " ").lower(), "detail": None}]}).encode()
    return _Answer(status, {"Content-Type": "application/json; charset=utf-8", **(headers or {})}, body)


def _basic(user: str, secret: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{secret}".encode()).decode()


def _layer(seed: str) -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        member = tarfile.TarInfo("seed")
        member.size = len(seed.encode())
        archive.addfile(member, io.BytesIO(seed.encode()))
    return data.getvalue()


__all__ = ["DOCKER_INDEX", "DOCKER_MANIFEST", "OCI_INDEX", "OCI_MANIFEST", "FakeRegistry", "Fault", "ImageBytes", "Request", "make_image"]
