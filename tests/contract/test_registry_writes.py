"""What the client writes: copies of blobs, deletions, referrers, and what a registry says no to; against the fake and a real registry."""

from __future__ import annotations

import hashlib
import json
import random
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ci_plugin.demo.rig import start_registry
from ci_plugin.errors import AccessDenied, AnswerIsNo, Bug, Gone, Unavailable
from ci_plugin.registry.client import RegistryClient
from ci_plugin.registry.pin_store import RegistryPinStore
from ci_plugin.values.credentials import Credentials
from ci_plugin.values.digest import Digest
from ci_plugin.values.manifest import DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST, Descriptor
from ci_plugin.values.pipeline import PipelineId, Scope, ScopeKey
from ci_plugin.values.reference import Reference, Repository
from tests.fakes.registry import FakeRegistry, Request, make_image
from tests.fakes.registry_client import make_client, push_image

DATA = b"a blob of some layers"
BLOB = Descriptor(Digest.of(DATA), "application/vnd.oci.image.layer.v1.tar+gzip", len(DATA))
LARGE = 100 * 1024 * 1024
EMPTY = b"{}"
KEY = ScopeKey(PipelineId("gitlab", "gitlab.example.com", "4711", "group/app", "1001"), Scope("pipeline:1001"))


def beside(repository: Repository) -> Repository:
    """Another repository of the same registry."""
    return Repository(repository.registry, f"{repository.path}/copies")


def artifact(subject: bytes, text: str) -> bytes:
    """An artifact that refers to a manifest."""
    empty = {"mediaType": "application/vnd.oci.empty.v1+json", "digest": str(Digest.of(EMPTY)), "size": len(EMPTY)}
    document: dict[str, Any] = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "artifactType": "application/x-note", "config": empty}
    document |= {"layers": [empty], "annotations": {"text": text}}
    document["subject"] = {"mediaType": OCI_MANIFEST, "digest": str(Digest.of(subject)), "size": len(subject)}
    return json.dumps(document).encode()


def put_artifact(client: RegistryClient, repository: Repository, data: bytes) -> Digest:
    client.put_blob(repository, EMPTY)
    return client.put_manifest(repository.at(Digest.of(data)), data, OCI_MANIFEST)


def read(client: RegistryClient, repository: Repository, blob: Descriptor = BLOB) -> bytes:
    return client.get_blob(repository, blob, LARGE)


@pytest.fixture
def other() -> Iterator[FakeRegistry]:
    """Another registry, which the blobs of the first are no part of."""
    with FakeRegistry() as running:
        yield running


@pytest.fixture
def server() -> Iterator[FakeRegistry]:
    with FakeRegistry() as running:
        yield running


class TestCopyingABlob:
    def test_within_a_registry(self, repository: Repository) -> None:
        client, target = make_client(), beside(repository)
        client.put_blob(repository, DATA)
        with pytest.raises(Gone):
            read(client, target)
        client.copy_blob(repository, BLOB, target)
        assert read(client, target) == DATA

    def test_from_one_registry_to_another(self, repository: Repository, other: FakeRegistry) -> None:
        client, source = make_client(), Repository(other.address, "base/alpine")
        client.put_blob(source, DATA)
        client.copy_blob(source, BLOB, repository)
        assert read(client, repository) == DATA

    def test_back_from_it(self, repository: Repository, other: FakeRegistry) -> None:
        client, target = make_client(), Repository(other.address, "base/alpine")
        client.put_blob(repository, DATA)
        client.copy_blob(repository, BLOB, target)
        assert (read(client, target), other.uploads) == (DATA, {})

    def test_an_empty_one(self, repository: Repository, other: FakeRegistry) -> None:
        client, source = make_client(), Repository(other.address, "base/alpine")
        empty = Descriptor(client.put_blob(source, b""), "", 0)
        client.copy_blob(source, empty, repository)
        assert read(client, repository, empty) == b""

    def test_one_that_nobody_has_is_gone(self, repository: Repository) -> None:
        client = make_client()
        client.put_blob(repository, b"something, so that the repository exists")
        for source in (repository, beside(repository)):
            with pytest.raises(Gone, match=f"expected blob {BLOB.digest} in {source}, found nothing"):
                client.copy_blob(source, BLOB, Repository(repository.registry, "contract/elsewhere"))

    def test_bytes_that_changed_on_the_way_are_refused_and_leave_nothing(self, repository: Repository, other: FakeRegistry) -> None:
        client, source = make_client(), Repository(other.address, "base/alpine")
        for lie in (bytes.upper, lambda data: data[:-1], lambda data: data + b"!"):
            other.blobs[str(BLOB.digest)] = lie(DATA)
            with pytest.raises(AnswerIsNo, match=f"served other bytes than the digest names: expected {BLOB.size} bytes") as caught:
                client.copy_blob(source, BLOB, repository)
            assert caught.value.where is not None
            assert str(caught.value.where) == f"{source}@{BLOB.digest}"
            with pytest.raises(Gone):
                read(client, repository)
        other.blobs[str(BLOB.digest)] = DATA
        client.copy_blob(source, BLOB, repository)
        assert read(client, repository) == DATA

    def test_a_cut_connection_is_tried_again_from_the_start(self, repository: Repository, other: FakeRegistry) -> None:
        client, source = make_client(), Repository(other.address, "base/alpine")
        client.put_blob(source, DATA)
        other.fail(method="GET", path="/blobs/", cut=True, times=2)
        client.copy_blob(source, BLOB, repository)
        assert read(client, repository) == DATA
        assert other.count("GET", "/blobs/") == 3

    def test_a_blob_of_100_mb_is_never_held_in_memory(self, real_registry: str, tmp_path: Path) -> None:
        source, target = Repository(real_registry, "contract/large"), Repository(real_registry, "contract/large-copy")
        client, large = make_client(), random.Random(1).randbytes(1024 * 1024) * (LARGE // 1024 // 1024)  # noqa: S311 - any bytes will do
        blob = Descriptor(client.put_blob(source, large), "", LARGE)
        del large
        with start_registry(tmp_path / "second") as second:
            elsewhere = Repository(second.address, target.path)
            tracemalloc.start()
            try:
                client.copy_blob(source, blob, elsewhere)
                most = tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()
            assert most < 4 * 1024 * 1024
            client.copy_blob(elsewhere, blob, target)
        assert hashlib.sha256(client.get_blob(target, blob, LARGE)).hexdigest() == blob.digest.hex

    @pytest.mark.engine
    def test_what_failed_leaves_nothing_on_the_registrys_disk(self, tmp_path: Path, other: FakeRegistry) -> None:
        other.blobs[str(BLOB.digest)] = DATA.upper()
        with start_registry(tmp_path) as real:
            with pytest.raises(AnswerIsNo, match="served other bytes"):
                make_client().copy_blob(Repository(other.address, "a"), BLOB, Repository(real.address, "b"))
            assert list((tmp_path / "store").rglob("data")) == []
            make_client().put_blob(Repository(real.address, "b"), DATA)
            assert len(list((tmp_path / "store").rglob("data"))) == 1


class TestWhatACopyCosts:
    def test_one_head_where_the_target_has_it(self, server: FakeRegistry) -> None:
        client, source = make_client(), Repository(server.address, "a")
        client.put_blob(source, DATA)
        client.copy_blob(source, BLOB, beside(source))
        server.requests.clear()
        client.copy_blob(source, BLOB, beside(source))
        assert [request.method for request in server.requests] == ["HEAD"]

    def test_a_mount_and_no_byte_within_a_registry(self, server: FakeRegistry) -> None:
        client, source = make_client(), Repository(server.address, "a")
        client.put_blob(source, DATA)
        server.requests.clear()
        client.copy_blob(source, BLOB, beside(source))
        assert [str(request) for request in server.requests] == [
            f"HEAD /v2/a/copies/blobs/{BLOB.digest}",
            f"POST /v2/a/copies/blobs/uploads/?mount={BLOB.digest}&from=a",
        ]

    def test_an_upload_where_the_registry_does_not_mount(self, server: FakeRegistry) -> None:
        client, source = make_client(), Repository(server.address, "a")
        client.put_blob(source, DATA)
        server.can_mount = False
        server.requests.clear()
        client.copy_blob(source, BLOB, beside(source))
        # The upload that was begun instead of the mount is the one that is used.
        assert [request.method for request in server.requests] == ["HEAD", "POST", "GET", "PATCH", "PUT"]
        assert server.uploads == {}

    def test_an_upload_that_fails_is_cancelled(self, server: FakeRegistry, other: FakeRegistry) -> None:
        client, source = make_client(), Repository(server.address, "a")
        server.blobs[str(BLOB.digest)] = DATA.upper()
        with pytest.raises(AnswerIsNo, match="served other bytes"):
            client.copy_blob(source, BLOB, Repository(other.address, "b"))
        assert (other.uploads, other.blobs) == ({}, {})

    def test_a_token_for_both_repositories(self, server: FakeRegistry) -> None:
        server.require_token()
        client, target = make_client(), Repository(server.address, "ours")
        for name in ("a", "b"):
            # The second base finds a token that writes to the target and does not read this source.
            server.put_image(name, "latest")
            image = make_image()
            blob = Descriptor(Digest.of(image.blobs[1]), "", len(image.blobs[1]))
            client.copy_blob(Repository(server.address, name), blob, target)
            server.collect_blob(blob.digest)
        assert (server.count("POST", "from=a"), server.count("POST", "from=b")) == (1, 1)
        assert server.count("PATCH") == 0

    def test_an_upload_where_no_token_allows_both(self, server: FakeRegistry) -> None:
        server.require_token()
        client, source = make_client(), Repository(server.address, "a")
        client.put_blob(source, DATA)
        # Either the token server gives nothing for two repositories at once, or the registry wants more than the token it gave.
        server.fail(path="%3Apull%2Cpush&scope=", status=403)
        client.copy_blob(source, BLOB, beside(source))
        server.fail(path="from=a", status=403, body=b'{"errors": [{"code": "DENIED"}]}')
        client.copy_blob(source, BLOB, Repository(server.address, "third"))
        assert read(client, beside(source)) == read(client, Repository(server.address, "third")) == DATA
        assert server.count("PATCH") == 2


class TestManifests:
    def test_a_deleted_one_is_gone_with_its_tags(self, repository: Repository) -> None:
        client, image = make_client(), make_image(seed="to be deleted")
        reference = repository.tagged("old")
        digest = push_image(client, reference, image)
        client.delete(repository.at(digest))
        assert client.find_descriptor(reference) is None
        assert client.find_descriptor(repository.at(digest)) is None
        client.delete(repository.at(digest))
        with pytest.raises(Bug, match="expected a reference with a digest to delete"):
            client.delete(reference)

    def test_blobs_that_were_collected_meanwhile_are_brought_back_once(self, repository: Repository) -> None:
        client, image = make_client(), make_image(seed="collected")
        reference = repository.tagged("collected")
        restored: list[Digest] = []

        def restore() -> None:
            restored.extend(client.put_blob(repository, blob) for blob in image.blobs)

        assert client.put_manifest(reference, image.manifest, image.media_type, restore) == image.digest
        assert client.put_manifest(reference, image.manifest, image.media_type, restore) == image.digest
        assert restored == [Digest.of(blob) for blob in image.blobs]

    def test_blobs_that_stay_missing_are_refused(self, repository: Repository) -> None:
        calls: list[None] = []
        image = make_image(seed="never uploaded")
        with pytest.raises(AnswerIsNo, match="MANIFEST_BLOB_UNKNOWN"):
            make_client().put_manifest(repository.tagged("broken"), image.manifest, image.media_type, lambda: calls.append(None))
        assert len(calls) == 1

    def test_an_index_whose_child_is_missing_is_refused(self, repository: Repository) -> None:
        child = {"mediaType": OCI_MANIFEST, "digest": str(Digest.of(b"no such child")), "size": 1}
        data = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [child]}).encode()
        with pytest.raises(AnswerIsNo, match="MANIFEST_BLOB_UNKNOWN"):
            make_client().put_manifest(repository.tagged("index"), data, OCI_INDEX)

    def test_a_registry_that_deletes_nothing_says_so(self, server: FakeRegistry) -> None:
        server.fail(method="DELETE", status=405, body=b'{"errors": [{"code": "UNSUPPORTED"}]}')
        with pytest.raises(AnswerIsNo, match="deletes nothing") as caught:
            make_client().delete(Repository(server.address, "a").at(BLOB.digest))
        assert "switched off" in caught.value.hint


def refuse_writes(client: RegistryClient, repository: Repository) -> None:
    """Every way to write to a registry that is read-only ends with Unavailable."""
    source = Repository(repository.registry, "contract/source")
    data = make_image(seed="refused").manifest
    for write in (
        lambda: client.put_blob(repository, b"new"),
        lambda: client.copy_blob(source, BLOB, repository),
        lambda: client.put_manifest(repository.tagged("new"), data, DOCKER_MANIFEST),
    ):
        with pytest.raises(Unavailable, match=f"found {repository.registry} to take no writes now") as caught:
            write()
        assert "read-only" in caught.value.hint


def test_a_read_only_registry_is_unavailable(server: FakeRegistry) -> None:
    server.blobs[str(BLOB.digest)] = DATA
    server.fail(method="HEAD", path="/v2/a/blobs/", status=404, times=None)
    server.read_only = True
    refuse_writes(make_client(), Repository(server.address, "a"))


@pytest.mark.engine
def test_a_real_read_only_registry_is_unavailable(tmp_path: Path) -> None:
    with start_registry(tmp_path) as writable:
        make_client().put_blob(Repository(writable.address, "contract/source"), DATA)
    with start_registry(tmp_path, address=writable.address, read_only=True):
        refuse_writes(make_client(), Repository(writable.address, "contract/target"))


class TestReferrers:
    def test_nobody_refers_to_what_is_new(self, repository: Repository) -> None:
        client, image = make_client(), make_image(media_type=OCI_MANIFEST)
        digest = push_image(client, repository.tagged("subject"), image)
        assert client.find_referrers(repository.at(digest)) == ()
        with pytest.raises(Bug):
            client.find_referrers(repository.tagged("subject"))

    def test_what_refers_is_found(self, repository: Repository) -> None:
        client, image = make_client(), make_image(media_type=OCI_MANIFEST)
        digest = push_image(client, repository.tagged("subject"), image)
        notes = [artifact(image.manifest, text) for text in ("one", "two")]
        for note in [*notes, notes[0]]:
            put_artifact(client, repository, note)
        found = client.find_referrers(repository.at(digest))
        assert found == tuple(Descriptor(Digest.of(note), OCI_MANIFEST, len(note)) for note in notes)
        # Listed beside the subject, whose own tag stays what it was.
        index = client.find_manifest(repository.tagged(f"sha256-{digest.hex}"))
        assert index is not None
        entry = json.loads(index.data)["manifests"][0]
        assert (entry["artifactType"], entry["annotations"]) == ("application/x-note", {"text": "one"})

    def test_a_registry_that_keeps_them_itself_gets_no_fallback_tag(self, server: FakeRegistry) -> None:
        server.has_referrers = True
        client, repository, image = make_client(), Repository(server.address, "a"), make_image(media_type=OCI_MANIFEST)
        digest = push_image(client, repository.tagged("subject"), image)
        note = artifact(image.manifest, "one")
        put_artifact(client, repository, note)
        assert client.find_referrers(repository.at(digest)) == (Descriptor(Digest.of(note), OCI_MANIFEST, len(note)),)
        assert list(server.tags) == [("a", "subject")]

    def test_a_fallback_tag_that_answers_with_the_subject_means_none(self, server: FakeRegistry) -> None:
        # As registry.gitlab.com does (oras-project/oras-go#1396).
        client, repository = make_client(), Repository(server.address, "a")
        image = server.put_image("a", "latest", media_type=OCI_MANIFEST)
        index = server.put_index("a", None, {"linux/amd64": image})
        for digest in (image, index):
            server.move_tag("a", f"sha256-{digest.hex}", digest)
            assert client.find_referrers(repository.at(digest)) == ()

    def test_pages_are_followed_at_the_same_address_alone(self, server: FakeRegistry) -> None:
        server.has_referrers = True
        client, about = make_client(), Reference(Repository(server.address, "a"), None, BLOB.digest)
        path = f"/v2/a/referrers/{BLOB.digest}"
        server.fail(path="/referrers/", headers={"Link": f'<{path}?last=1>; rel="next"'})
        assert client.find_referrers(about) == ()
        assert [str(request) for request in server.requests] == [f"GET {path}", f"GET {path}?last=1"]
        server.fail(path="/referrers/", headers={"Link": f'<http://127.0.0.2:1{path}>; rel="next"'})
        with pytest.raises(AnswerIsNo, match="the same address"):
            client.find_referrers(about)
        server.fail(path="/referrers/", headers={"Link": f'<{path}>; rel="next"'}, times=None)
        with pytest.raises(AnswerIsNo, match="at most 50 pages"):
            client.find_referrers(about)

    def test_a_page_that_is_no_index_is_no_answer(self, server: FakeRegistry) -> None:
        server.fail(path="/referrers/", status=200, headers={"Content-Type": "text/html"}, body=b"<html>", times=None)
        with pytest.raises(Unavailable, match="expected a registry: the referrers of"):
            make_client().find_referrers(Repository(server.address, "a").at(BLOB.digest))


def test_credentials_that_may_not_write_are_denied(server: FakeRegistry) -> None:
    server.require_basic("me", "right")
    client = make_client(lambda _registry: Credentials("me", "wrong"))
    with pytest.raises(AccessDenied):
        client.copy_blob(Repository(server.address, "a"), BLOB, Repository(server.address, "b"))


class TestThePinStore:
    """What it does when the registry collects or keeps: tests/contract/pin_store_suite.py holds it to the rest of its port."""

    def test_a_collection_between_upload_and_manifest_costs_one_more_upload(self, server: FakeRegistry) -> None:
        store = RegistryPinStore(Repository(server.address, "app"), make_client())
        collect_before_manifest(server)
        assert store.create_pins(KEY, b'"pins"') == b'"pins"'
        collect_before_manifest(server)
        assert store.put_record(KEY, b'"record"', b'"pins"')
        assert (store.find_pins(KEY), store.find_record(KEY)) == (b'"pins"', b'"record"')

    def test_a_tag_that_may_not_be_written_again_refuses_the_record(self, server: FakeRegistry) -> None:
        store = RegistryPinStore(Repository(server.address, "app"), make_client())
        store.create_pins(KEY, b'"pins"')
        server.immutable_tags = True
        with pytest.raises(AnswerIsNo, match="found that the tag may not be written again") as caught:
            store.put_record(KEY, b'"record"', b'"pins"')
        assert "CI artifact" in caught.value.hint
        server.immutable_tags = False
        server.fail(method="PUT", path="/manifests/", status=403)
        with pytest.raises(AnswerIsNo, match="may not be written again"):
            store.put_record(KEY, b'"record"', b'"pins"')

    def test_a_lack_of_rights_is_none_of_that(self, server: FakeRegistry) -> None:
        store = RegistryPinStore(Repository(server.address, "app"), make_client())
        store.create_pins(KEY, b'"pins"')
        server.fail(method="POST", status=403)
        with pytest.raises(AccessDenied):
            store.put_record(KEY, b'"record"', b'"pins"')


def collect_before_manifest(server: FakeRegistry) -> None:
    """Take every blob away just before the next PUT of a manifest, once."""

    def collect(request: Request) -> None:
        if request.method == "PUT" and "/manifests/" in request.path:
            server.on_request = None
            for digest in list(server.blobs):
                server.collect_blob(Digest(digest))

    server.on_request = collect
