"""A registry that lies in every way of the list of bad answers (79-108), through the methods of the port.

Whatever it says: an error of ours with what was expected and what was found, within the limits of time and size, nobody else is
connected to, no file is written, and the credentials we hold for it show in no message.
"""

from __future__ import annotations

import gzip
import json
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from ci_plugin.errors import AccessDenied, AnswerIsNo, Gone, StagepinError, Unavailable
from ci_plugin.limits import Limits
from ci_plugin.registry.client import RegistryClient
from ci_plugin.values.credentials import Credentials
from ci_plugin.values.digest import Digest
from ci_plugin.values.manifest import DOCKER_INDEX, DOCKER_MANIFEST, LARGEST_CONFIG, OCI_INDEX, OCI_MANIFEST, Descriptor, Manifest
from ci_plugin.values.platform import parse_platform
from ci_plugin.values.reference import Repository
from tests.fakes.canary import make_canary
from tests.fakes.lying_registry import TRUTH, Lie, LyingRegistry, drip, endless, error_reply, manifest_reply, reply, say
from tests.fakes.registry_client import make_client
from tests.fakes.watch import watch

PASSWORD = make_canary("password")
QUICK = Limits(connect=2, idle=0.4, total=0.6, transfer=0.6, taking=0.4)
MOST_BYTES = 32 << 20
"""Sent by a liar before we hang up: our limit, and what lies in the buffers between us."""
HTML = {"Content-Type": "text/html; charset=utf-8"}
CONFIG = Descriptor(Digest.of(TRUTH.blobs[0]), "application/vnd.docker.container.image.v1+json", len(TRUTH.blobs[0]))
OTHER = Digest.of(b"other bytes")


def ask(client: RegistryClient, method: str, address: str) -> object:
    """One call of the port about ``app``; an error in a result of ``resolve`` is raised."""
    repository = Repository(address, "app")
    latest = repository.tagged("latest")
    if method == "resolve":
        found = client.resolve([latest])[latest]
        if isinstance(found, StagepinError):
            raise found
        return found
    calls: dict[str, Callable[[], object]] = {
        "descriptor": lambda: client.find_descriptor(latest),
        "manifest": lambda: client.find_manifest(latest),
        "by digest": lambda: client.find_manifest(repository.at(TRUTH.digest)),
        "blob": lambda: client.get_blob(repository, CONFIG, LARGEST_CONFIG),
        "upload": lambda: client.put_blob(repository, b"new"),
    }
    return calls[method]()


HEADS, GETS, READS = ("resolve", "descriptor"), ("manifest",), ("resolve", "descriptor", "manifest")


@dataclass(frozen=True)
class Row:
    """What is asked while these lies are told, and what comes out: an error with this text in its message, or a result that is right."""

    lies: Sequence[Lie]
    methods: Sequence[str]
    error: type[StagepinError] | None = None
    message: str = ""
    is_right: Callable[[Any], bool] = lambda result: result is not None
    requests: int | None = None
    secrets: Sequence[Credentials] = field(default=(Credentials("user", PASSWORD.text),))


def any_manifest(data: bytes, media_type: str = DOCKER_MANIFEST, headers: Mapping[str, str | Sequence[str]] | None = None) -> Sequence[Lie]:
    """Every manifest request is answered so."""
    return [say("", "/manifests/", manifest_reply(data, media_type, headers))]


def any_answer(answer: Sequence[bytes], path: str = "/manifests/", method: str = "") -> Sequence[Lie]:
    return [say(method, path, answer)]


def changed(**fields: object) -> bytes:
    """The true manifest with other fields; None removes one."""
    document = {**json.loads(TRUTH.manifest), **fields}
    return json.dumps({name: value for name, value in document.items() if value is not None}).encode()


def with_config(**fields: object) -> bytes:
    config = {**json.loads(TRUTH.manifest)["config"], **fields}
    return changed(config={name: value for name, value in config.items() if value is not None})


def entry(platform: str | None, media_type: str = OCI_MANIFEST, digest: str = str(TRUTH.digest)) -> dict[str, object]:
    found: dict[str, object] = {"mediaType": media_type, "digest": digest, "size": len(TRUTH.manifest)}
    if platform:
        os, architecture, *variant = platform.split("/")
        found["platform"] = {"os": os, "architecture": architecture, **({"variant": variant[0]} if variant else {})}
    return found


def index(*entries: dict[str, object], media_type: str = OCI_INDEX) -> Sequence[Lie]:
    return any_manifest(json.dumps({"schemaVersion": 2, "mediaType": media_type, "manifests": entries}).encode(), media_type)


def serves(platform: str, digest: object) -> Callable[[Manifest], bool]:
    """Whether an index gives this digest (None: nothing) for a platform."""
    return lambda manifest: str(getattr(manifest.find_platform(parse_platform(platform)), "digest", None)) == str(digest)


def digest_is(digest: Digest) -> Callable[[Any], bool]:
    return lambda found: bool((found.descriptor if isinstance(found, Manifest) else found).digest == digest)


NO_MANIFEST = "expected a manifest for {address}/app:latest, found bytes that are none: "
NO_REGISTRY = "{address} answered %s (status %d), expected a registry: "
OTHER_BYTES = "the registry served other bytes than the digest names: expected "
CUT = "expected an answer from {address}, found: the connection was cut"
LAYER = json.loads(TRUTH.manifest)["layers"][0]
SPACED = TRUTH.manifest + b"\n"

DOCUMENTS = {
    "79 an empty 200": Row(any_manifest(b""), READS, AnswerIsNo, NO_MANIFEST + "expected JSON, found b''"),
    "79 an empty 200 of no type": Row(any_answer(reply(200)), READS, Unavailable, NO_REGISTRY % ("no content type", 200)),
    "79 an empty 200 for a blob": Row(any_answer(reply(200), "/blobs/"), ["blob"], AnswerIsNo, OTHER_BYTES),
    "80 a page": Row(any_answer(reply(200, HTML, b"<html>log in</html>")), READS, Unavailable, NO_REGISTRY % ("text/html", 200)),
    "80 a page that calls itself a manifest": Row(
        any_answer(reply(200, {"Content-Type": DOCKER_MANIFEST}, b"<html>")),
        GETS,
        Unavailable,
        NO_MANIFEST + "expected JSON, found b'<html>'",
    ),
    "80 a page for a blob": Row(any_answer(reply(200, HTML, b"<html>"), "/blobs/"), ["blob"], AnswerIsNo, OTHER_BYTES),
    "81 an array": Row(any_manifest(b"[]"), GETS, AnswerIsNo, NO_MANIFEST + "expected a JSON object, found list"),
    "81 a string": Row(any_manifest(b'"x"'), GETS, AnswerIsNo, NO_MANIFEST + "expected a JSON object, found str"),
    "81 null": Row(any_manifest(b"null"), GETS, AnswerIsNo, NO_MANIFEST + "expected a JSON object, found NoneType"),
    "81 depth without end": Row(any_manifest(b"[" * 100_000), GETS, AnswerIsNo, NO_MANIFEST + "expected JSON"),
    "81 no UTF-8": Row(any_manifest(b'{"a": "\xff"}'), GETS, AnswerIsNo, NO_MANIFEST + "expected JSON"),
    "81 a number of 5000 digits": Row(any_manifest(b'{"a": ' + b"9" * 5000 + b"}"), GETS, AnswerIsNo, NO_MANIFEST + "expected JSON"),
    "82 schema 1, signed": Row(
        any_manifest(b"{}", "application/vnd.docker.distribution.manifest.v1+prettyjws"), READS, AnswerIsNo, "found the obsolete schema 1"
    ),
    "82 schema 1, unsigned": Row(
        any_manifest(b"{}", "application/vnd.docker.distribution.manifest.v1+json"), READS, AnswerIsNo, "found the obsolete schema 1"
    ),
    "82 schema 1 under a newer type": Row(
        any_manifest(b'{"schemaVersion": 1, "fsLayers": []}'), GETS, AnswerIsNo, "expected schemaVersion 2, found another schema"
    ),
    "83 manifests and layers": Row(any_manifest(changed(manifests=[])), GETS, AnswerIsNo, "expected either manifests or config and layers"),
    "83 layers in an index": Row(
        any_manifest(b'{"schemaVersion": 2, "manifests": [], "layers": []}', OCI_INDEX), GETS, AnswerIsNo, "found both"
    ),
    "83 an index served as a manifest": Row(
        any_manifest(b'{"schemaVersion": 2, "manifests": []}'), GETS, AnswerIsNo, "expected a list of objects in 'layers'"
    ),
    "84 another media type in it": Row(
        any_manifest(TRUTH.manifest, OCI_MANIFEST), GETS, AnswerIsNo, f"expected mediaType {OCI_MANIFEST}, found '{DOCKER_MANIFEST}'"
    ),
    "85 no media type in it": Row(any_manifest(changed(mediaType=None)), READS),
    "86 an unknown media type": Row(
        any_manifest(b"{}", "application/vnd.example.thing+json"),
        READS,
        Unavailable,
        NO_REGISTRY % ("application/vnd.example.thing+json", 200),
    ),
    "86 an unknown media type in it": Row(any_manifest(changed(mediaType="x/y")), GETS, AnswerIsNo, "found 'x/y'"),
    "86 an artifact type": Row(any_manifest(changed(mediaType=None, artifactType="application/vnd.example"), OCI_MANIFEST), READS),
    "87 an index of nothing": Row(index(), GETS, is_right=serves("linux/amd64", None)),
    "87 an index of 10,000": Row(
        index(*[entry("linux/s390x")] * 9_999, entry("linux/amd64")), GETS, is_right=serves("linux/amd64", TRUTH.digest)
    ),
    "87 an index in an index": Row(index(entry("linux/amd64", OCI_INDEX)), GETS, is_right=serves("linux/amd64", None)),
    "87 an index before the image": Row(
        index(entry("linux/amd64", DOCKER_INDEX, str(OTHER)), entry("linux/amd64")), GETS, is_right=serves("linux/amd64", TRUTH.digest)
    ),
    "87 two for one platform": Row(
        index(entry("linux/amd64"), entry("linux/amd64", digest=str(OTHER))), GETS, is_right=serves("linux/amd64", TRUTH.digest)
    ),
    "87 attestations alone": Row(index(entry("unknown/unknown")), GETS, is_right=serves("linux/amd64", None)),
    "87 another platform": Row(index(entry("linux/arm64")), GETS, is_right=serves("linux/amd64", None)),
    "87 no platform": Row(index(entry(None)), GETS, is_right=serves("linux/amd64", None)),
    "87 variants": Row(
        index(entry("linux/arm/v6", digest=str(OTHER)), entry("linux/arm/v7"), entry("linux/arm/v8", digest=str(OTHER))),
        GETS,
        is_right=serves("linux/arm", TRUTH.digest),
    ),
    "87 the lowest variant alone": Row(index(entry("linux/arm/v6")), GETS, is_right=serves("linux/arm/v7", None)),
    "88 a size of -1": Row(any_manifest(with_config(size=-1)), GETS, AnswerIsNo, "expected a size in bytes, found -1"),
    "88 a size of 2^63": Row(
        any_manifest(with_config(size=2**63)), GETS, AnswerIsNo, "expected a size in bytes, found 9223372036854775808"
    ),
    "88 a size that is true": Row(any_manifest(with_config(size=True)), GETS, AnswerIsNo, "expected a size in bytes, found True"),
    "88 no size": Row(any_manifest(with_config(size=None)), GETS, AnswerIsNo, "expected a size in bytes, found None"),
    "88 a size of 0": Row(any_manifest(with_config(size=0)), GETS, is_right=lambda manifest: manifest.config.size == 0),
    "89 a layer by sha512": Row(
        any_manifest(changed(layers=[{**LAYER, "digest": "sha512:" + "a" * 128}])),
        GETS,
        is_right=lambda manifest: len(manifest.layers) == 1,
    ),
    "89 a layer by md5": Row(any_manifest(changed(layers=[{**LAYER, "digest": "md5:" + "a" * 32}])), GETS, AnswerIsNo, "found 'md5:aaa"),
    "89 a layer with no digest": Row(any_manifest(changed(layers=[{"size": 1}])), GETS, AnswerIsNo, "expected sha256:<64 hex>"),
    "89 layers that are no list": Row(any_manifest(changed(layers={"a": 1})), GETS, AnswerIsNo, "expected a list of objects in 'layers'"),
    "89 no config": Row(any_manifest(changed(config=None)), GETS, AnswerIsNo, "expected a descriptor object"),
    "90 a layer at the metadata service": Row(
        any_manifest(changed(layers=[{**LAYER, "urls": ["http://169.254.169.254/latest/meta-data/"]}])), READS
    ),
    "91 a config that is no JSON": Row(any_answer(reply(200, body=b"?" * CONFIG.size), "/blobs/"), ["blob"], AnswerIsNo, OTHER_BYTES),
    "91 a config of 500 MB": Row(
        [lambda request: endless(reply(200, length=False), b"x" * 65536) if "/blobs/" in request.path else None],
        ["blob"],
        AnswerIsNo,
        "expected at most 4194304 bytes from {address}, found more",
        requests=1,
    ),
    "92 no digest header": Row(
        any_answer(reply(200, {"Content-Type": DOCKER_MANIFEST}, TRUTH.manifest)), READS, is_right=digest_is(TRUTH.digest)
    ),
    "92 a wrong digest header": Row(
        any_manifest(TRUTH.manifest, headers={"Docker-Content-Digest": str(OTHER)}),
        GETS,
        AnswerIsNo,
        OTHER_BYTES + f"{OTHER}, found {TRUTH.digest}",
    ),
    "92 a digest header of another digest than asked": Row(
        any_manifest(TRUTH.manifest, headers={"Docker-Content-Digest": str(OTHER)}), ["by digest"], is_right=digest_is(TRUTH.digest)
    ),
    "92 garbage as digest header": Row(
        any_manifest(TRUTH.manifest, headers={"Docker-Content-Digest": "sha256:\u00ff"}), READS, is_right=digest_is(TRUTH.digest)
    ),
    "92 two digest headers": Row(
        any_manifest(TRUTH.manifest, headers={"Docker-Content-Digest": [str(OTHER), str(TRUTH.digest)]}),
        READS,
        is_right=digest_is(TRUTH.digest),
    ),
    "92 an upper-case digest header": Row(
        any_manifest(TRUTH.manifest, headers={"Docker-Content-Digest": str(OTHER).upper()}), READS, is_right=digest_is(TRUTH.digest)
    ),
    "93 a longer length than the body": Row(
        any_manifest(TRUTH.manifest, headers={"Content-Length": str(len(TRUTH.manifest) + 10)}), GETS, Unavailable, CUT
    ),
    "93 a shorter length than the body": Row(
        any_manifest(TRUTH.manifest, headers={"Content-Length": "20"}), GETS, AnswerIsNo, OTHER_BYTES + str(TRUTH.digest)
    ),
    "93 a negative length": Row(any_manifest(TRUTH.manifest, headers={"Content-Length": "-1"}), READS, is_right=digest_is(TRUTH.digest)),
    "93 a length of no number": Row(
        any_manifest(TRUTH.manifest, headers={"Content-Length": "0x10"}), READS, is_right=digest_is(TRUTH.digest)
    ),
    "93 a length of 10^30": Row(any_manifest(TRUTH.manifest, headers={"Content-Length": "1" + "0" * 30}), READS, Unavailable, CUT),
    "93 a length of 5000 digits": Row(
        any_manifest(TRUTH.manifest, headers={"Content-Length": "9" * 5000}), READS, is_right=digest_is(TRUTH.digest)
    ),
    "93 two lengths": Row(
        any_manifest(TRUTH.manifest, headers={"Content-Length": ["1", "2"]}),
        GETS,
        Unavailable,
        "expected one Content-Length from {address}, found 2",
    ),
    "94 a gzip bomb": Row(
        any_manifest(gzip.compress(b" " * (32 << 20)), headers={"Content-Encoding": "gzip"}),
        GETS,
        AnswerIsNo,
        NO_MANIFEST + "expected JSON",
    ),
    "95 a key twice": Row(
        any_manifest(TRUTH.manifest[:-1] + b', "layers": []}'), GETS, AnswerIsNo, NO_MANIFEST + "expected JSON, found b'{\"schemaVersion"
    ),
    "96 a trailing newline": Row(any_manifest(SPACED), READS, is_right=digest_is(Digest.of(SPACED))),
    "96 a trailing newline by digest": Row(
        any_manifest(SPACED), ["by digest"], AnswerIsNo, OTHER_BYTES + f"{TRUTH.digest}, found {Digest.of(SPACED)}", requests=1
    ),
}


def statuses(status: int, *, headers: Mapping[str, str] | None = None, body: bytes = b"") -> Sequence[Lie]:
    return any_answer(reply(status, headers, body), "/v2/")


CHATTER = b"HTTP/1.1 100 Continue\r\nX-Pad: " + b"x" * 4000 + b"\r\n\r\n"
HEAD_OF_200 = "HTTP/1.1 200 OK\r\nContent-Type: " + DOCKER_MANIFEST + "\r\n"
TOO_LATE = "expected the whole answer from {address} within 0.6 s, found "
SILENT = "expected an answer from {address}, found: no answer in time"


def raw(*pieces: bytes) -> Sequence[Lie]:
    return [say("", "/v2/", pieces)]


HTTP = {
    "100 an upload that begins nowhere": Row(any_answer(reply(202), "/uploads/", "POST"), ["upload"], Unavailable, "expected"),
    "100 an upload at a file": Row(
        any_answer(reply(202, {"Location": "file:///etc/passwd"}), "/uploads/", "POST"),
        ["upload"],
        AnswerIsNo,
        "found 'file:///etc/passwd'",
    ),
    "100 an upload at the metadata service": Row(
        any_answer(reply(202, {"Location": "http://169.254.169.254/latest"}), "/uploads/", "POST"),
        ["upload"],
        AnswerIsNo,
        "expected {address} to redirect to an https or http address, found 'http://169.254.169.254/latest'",
    ),
    "101 429 with garbage": Row(
        statuses(429, headers={"Retry-After": "soon\u00ff"}), [*READS, "blob"], Unavailable, "found status 429 from {address}", requests=6
    ),
    "102 an error with escapes": Row(
        any_answer(error_reply(500, "\x1b[2J", message="\x1b]8;;http://x\x07::set-output name=a::b\r\n::error::c\u202e"), "/v2/"),
        GETS,
        Unavailable,
        "found status 500 from {address} (?[2J: ?]8;;http://x?::set-output name=a::b??::error::c?)",
    ),
    "102 an error page": Row(statuses(500, headers=HTML, body=b"<html>"), READS, Unavailable, "found status 500 from {address}"),
    "102 an error of 1 MB": Row(
        any_answer(error_reply(400, "X", message="y" * (1 << 20)), "/v2/"), GETS, AnswerIsNo, "(X: " + "y" * 197 + ")", requests=1
    ),
    "102 an error that is no JSON": Row(
        statuses(400, headers={"Content-Type": "application/json"}, body=b"{"), GETS, AnswerIsNo, "status 400"
    ),
    "102 an error document of other shape": Row(statuses(400, body=b'{"errors": {"code": 1}}'), GETS, AnswerIsNo, "found status 400"),
    "105 304 to no condition": Row(statuses(304), [*READS, "blob"], Unavailable, NO_REGISTRY % ("no content type", 304)),
    "106 206 to no range": Row(
        statuses(206, headers={"Content-Type": DOCKER_MANIFEST, "Content-Range": "bytes 0-1/9"}, body=b"{}"),
        [*READS, "blob"],
        Unavailable,
        NO_REGISTRY % (DOCKER_MANIFEST, 206),
    ),
    "106 204": Row(statuses(204), [*READS, "blob"], Unavailable, NO_REGISTRY % ("no content type", 204)),
    "106 999": Row(statuses(999), [*READS, "blob"], Unavailable, NO_REGISTRY % ("no content type", 999)),
    "107 100 Continue for ever": Row(
        [lambda _: endless([], CHATTER)],
        [*READS, "blob"],
        Unavailable,
        "expected at most 262144 bytes of headers from {address}, found more",
    ),
    "107 100 Continue once": Row(
        [lambda request: [b"HTTP/1.1 100 Continue\r\n\r\n", *manifest_reply(TRUTH.manifest)]], READS, is_right=digest_is(TRUTH.digest)
    ),
    "108 HTTP/1.0": Row(
        raw(b"HTTP/1.0 200 OK\r\nContent-Type: " + DOCKER_MANIFEST.encode() + b"\r\n\r\n", TRUTH.manifest),
        READS,
        is_right=digest_is(TRUTH.digest),
    ),
    "108 HTTP/9.9": Row(raw(b"HTTP/9.9 200 OK\r\n\r\n"), READS, Unavailable, "expected an answer from {address}"),
    "108 no HTTP": Row(raw(b"SSH-2.0-OpenSSH_9.2\r\n"), READS, Unavailable, "expected an answer from {address}"),
    "108 nothing": Row(raw(), READS, Unavailable, "expected an answer from {address}"),
    "108 a chunk of no size": Row(raw(HEAD_OF_200.encode() + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}"), GETS, Unavailable, CUT),
    "108 a chunk that is cut": Row(raw(HEAD_OF_200.encode() + b"Transfer-Encoding: chunked\r\n\r\nff\r\n{}"), GETS, Unavailable, CUT),
    "108 a header of 1 MB": Row(statuses(200, headers={"X-Long": "x" * (1 << 20)}), READS, Unavailable, CUT),
    "108 headers of 1 MB": Row(
        statuses(200, headers={f"X-{number}": "x" * 60_000 for number in range(20)}),
        READS,
        Unavailable,
        "expected at most 262144 bytes of headers",
    ),
    "108 200 headers": Row(statuses(200, headers={f"X-{number}": "x" for number in range(200)}), READS, Unavailable, CUT),
    "108 a body without end": Row(
        [lambda _: endless(reply(200, {"Content-Type": DOCKER_MANIFEST}, length=False), b" " * 65536)],
        ["manifest", "blob"],
        AnswerIsNo,
        "expected at most 4194304 bytes from {address}, found more",
        requests=1,
    ),
}


def run_row(row: Row, method: str, limits: Limits | None = None, deadline: float = 60.0) -> StagepinError | None:
    """Ask while the lies are told, hold what came out against the row, and return the error."""
    with LyingRegistry(*row.lies) as registry, watch() as seen:
        credentials = dict.fromkeys([registry.address], row.secrets[0])
        client = make_client(credentials.get, deadline=deadline, **({"limits": limits} if limits else {}))  # type: ignore[arg-type]
        caught: StagepinError | None = None
        try:
            result = ask(client, method, registry.address)
        except StagepinError as error:
            caught = error
        assert seen.hosts <= {registry.address, "?127.0.0.1"}
        assert seen.written_outside() == []
        assert registry.sent < MOST_BYTES
        assert row.requests in (None, len(registry.requests))
        if row.error is None:
            assert caught is None, caught
            assert row.is_right(result)
            return None
        assert type(caught) is row.error, caught
        assert row.message.replace("{address}", registry.address) in caught.message
        for text in (caught.message, caught.hint, str(caught.where), "".join(traceback.format_exception(caught))):
            PASSWORD.assert_hidden(text)
        return caught


def cases(table: Mapping[str, Row]) -> list[Any]:
    return [pytest.param(row, method, id=f"{name}, {method}") for name, row in table.items() for method in row.methods]


@pytest.mark.parametrize(("row", "method"), cases(DOCUMENTS))
def test_a_document_that_is_wrong(row: Row, method: str) -> None:
    run_row(row, method)


@pytest.mark.parametrize(("row", "method"), cases(HTTP))
def test_http_that_is_wrong(row: Row, method: str) -> None:
    run_row(row, method)


SLOW = {
    "nothing": (b"", b"", SILENT),
    "a status line": (b"", b"H", TOO_LATE),
    "a header": (b"HTTP/1.1 200 OK\r\nX: ", b"x", TOO_LATE),
    "interim answers": (b"", b"HTTP/1.1 100 Continue\r\n\r\n", TOO_LATE),
    "a body": (HEAD_OF_200.encode() + b"Content-Length: 1000\r\n\r\n", b" ", TOO_LATE),
    "the size of a chunk": (HEAD_OF_200.encode() + b"Transfer-Encoding: chunked\r\n\r\n", b"0", TOO_LATE),
    "chunks": (HEAD_OF_200.encode() + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n", TOO_LATE),
    "trailers": (HEAD_OF_200.encode() + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"X: y\r\n", TOO_LATE),
}


@pytest.mark.parametrize("method", ["manifest", "blob"])
@pytest.mark.parametrize("part", SLOW)
def test_108_an_answer_that_comes_a_byte_at_a_time_ends_whatever_part_drips(part: str, method: str) -> None:
    head, piece, message = SLOW[part]
    run_row(Row([lambda _: drip(head, piece)], [method], Unavailable, message, requests=1), method, QUICK, deadline=0.5)


def test_the_truth_is_taken() -> None:
    for method in (*READS, "by digest", "blob"):
        run_row(Row((), [method]), method)
    assert Gone.exit_code == AnswerIsNo.exit_code == 1
    assert AccessDenied.exit_code == 2
