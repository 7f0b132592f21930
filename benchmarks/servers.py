"""What the jobs ask, counted on the server's side: by the fake registry itself, or by a relay in front of the real one."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from ci_plugin.registry.client import RegistryClient
from ci_plugin.values.digest import Digest
from ci_plugin.values.manifest import OCI_INDEX, OCI_MANIFEST
from ci_plugin.values.reference import Reference, parse_repository
from tests.fakes.registry import FakeRegistry, make_image
from tests.fakes.registry_client import make_client, push_image

_REQUEST = re.compile(rb"(HEAD|GET|PUT|POST|PATCH|DELETE) (\S+) HTTP/1\.[01]\r\n")
_PLATFORMS = ("linux/amd64", "linux/arm64")
_PUSHES_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class Requests:
    """The requests of one job, each ``METHOD /path?query``."""

    lines: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.lines)

    def count(self, pattern: str) -> int:
        """How many match this regular expression from their beginning."""
        return sum(1 for line in self.lines if re.match(pattern, line))

    @property
    def manifest_heads(self) -> int:
        """HEADs of manifests."""
        return self.count(r"HEAD /v2/.+/manifests/")

    @property
    def gets_by_digest(self) -> int:
        """GETs of manifests and indexes by digest."""
        return self.count(r"GET /v2/.+/manifests/sha256:")

    @property
    def overhead(self) -> int:
        """Requests for ``/v2/`` itself or for a token."""
        return self.count(r"\w+ (/v2/?$|/token)")


class Counted(Protocol):
    """A registry whose requests are counted."""

    address: str

    def requests(self) -> Requests:
        """The requests since the last call."""


class CountedFake:
    """The tests' fake registry, which writes down what it is asked."""

    def __init__(self, registry: FakeRegistry) -> None:
        self.address = registry.address
        self._registry = registry

    def requests(self) -> Requests:
        """The requests since the last call."""
        lines = tuple(map(str, self._registry.requests))
        self._registry.requests.clear()
        return Requests(lines)


class Relay:
    """Passes bytes on to the real registry, unchanged, and writes down each request line.

    A request begins a piece of what the client sends, because our client waits for an answer before it asks again on a connection.
    """

    def __init__(self, target: str) -> None:
        host, _, port = target.rpartition(":")
        self._target = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self._lines: list[str] = []
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Take no more connections."""
        self._listener.close()

    def requests(self) -> Requests:
        """The requests since the last call."""
        lines, self._lines = self._lines, []
        return Requests(tuple(lines))

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._target)
                threading.Thread(target=self._pass_on, args=(client, server, self._note), daemon=True).start()
                threading.Thread(target=self._pass_on, args=(server, client, lambda _: None), daemon=True).start()

    def _note(self, piece: bytes) -> None:
        if found := _REQUEST.match(piece):
            self._lines.append(f"{found[1].decode()} {found[2].decode()}")

    @staticmethod
    def _pass_on(source: socket.socket, sink: socket.socket, note: Callable[[bytes], None]) -> None:
        with contextlib.suppress(OSError):
            while piece := source.recv(65536):
                note(piece)
                sink.sendall(piece)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)


@contextmanager
def relay_to(address: str) -> Iterator[Relay]:
    """A relay until the block ends."""
    relay = Relay(address)
    try:
        yield relay
    finally:
        relay.close()


def push_bases(address: str, count: int, indexes: int) -> Sequence[str]:
    """Push ``count`` different images as ``base/imageNN:latest``, the first ``indexes`` of them as indexes of two platforms.

    Returns ``repository:tag`` of each, without the registry.
    """
    client = make_client()
    for number in range(count):
        push_base(client, parse_repository(f"{address}/base/image{number:02}").tagged("latest"), str(number), is_index=number < indexes)
    return [f"base/image{number:02}:latest" for number in range(count)]


def push_base(client: RegistryClient, reference: Reference, seed: str, *, is_index: bool) -> None:
    """Push one image, or an index of two, under the reference's tag; ``seed`` decides the content."""
    if not is_index:
        push_image(client, reference, make_image(seed=seed))
        return
    entries = []
    for platform in _PLATFORMS:
        image = make_image(seed=seed, platform=platform, media_type=OCI_MANIFEST)
        push_image(client, reference.repository.at(image.digest), image)
        system, architecture = platform.split("/")
        described = {"os": system, "architecture": architecture}
        entries.append({"mediaType": OCI_MANIFEST, "digest": str(image.digest), "size": len(image.manifest), "platform": described})
    index = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}).encode()
    client.put_manifest(reference, index, OCI_INDEX)


def push_many(address: str, repositories: int, tags: int, indexes: int) -> Sequence[str]:
    """Push ``repositories`` x ``tags`` references; in each of the first ``indexes`` repositories two tags name one index.

    Beside those every reference has a manifest of its own; the blobs of a repository are the same, so that pushing takes seconds.
    Returns ``repository:tag`` of each, without the registry.
    """
    client = make_client()

    def push(number: int) -> list[str]:
        repository = parse_repository(f"{address}/many/image{number:03}")
        image = make_image(seed=str(number), media_type=OCI_MANIFEST)
        for blob in image.blobs:
            client.put_blob(repository, blob)
        names = [f"v{tag:02}" for tag in range(tags)]
        twins = names[:2] if number < indexes else []
        for name in twins:
            push_base(client, repository.tagged(name), f"index {number}", is_index=True)
        for name in names[len(twins) :]:
            manifest = {**json.loads(image.manifest), "annotations": {"tag": name}}
            client.put_manifest(repository.tagged(name), json.dumps(manifest).encode(), OCI_MANIFEST)
        return [f"{repository.path}:{name}" for name in names]

    with ThreadPoolExecutor(_PUSHES_AT_ONCE) as pool:
        return [name for names in pool.map(push, range(repositories)) for name in names]


def push_stage(repo: str, signature: str, labels: dict[str, str]) -> Digest:
    """Push a stage image as a build would leave it: labelled, under its stage signature."""
    return push_image(make_client(), parse_repository(repo).tagged(signature), make_image(labels=labels, seed=signature))
