"""What a stages storage keeps, against a real registry's garbage collector and a real engine's pull."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ci_plugin.demo.rig import busybox_rootfs, start_registry
from ci_plugin.engine.docker_engine import DockerEngine
from ci_plugin.ports import StoredStage
from ci_plugin.registry.stages_storage import RegistryStagesStorage
from ci_plugin.values.manifest import DOCKER_INDEX, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST
from ci_plugin.values.platform import DEFAULT_PLATFORM, Platform
from ci_plugin.values.reference import Repository
from tests.fakes.registry import make_image
from tests.fakes.registry_client import make_client, no_credentials, push_image

FIRST, SECOND, INDEX, KEY = "1" * 64, "2" * 64, "3" * 64, "4" * 64
ARM = Platform("linux", "arm64")


@pytest.fixture
def engine(docker_host: str) -> Iterator[DockerEngine]:
    found = DockerEngine(docker_host, credentials=no_credentials, environ={})
    yield found
    found.close()


def make_stage(storage: RegistryStagesStorage, engine: DockerEngine, directory: Path) -> StoredStage:
    (directory / "rootfs.tar").write_bytes(busybox_rootfs("kept"))
    image = engine.import_rootfs(directory / "rootfs.tar", DEFAULT_PLATFORM, {"made": "here"})
    return storage.publish_unique(FIRST, image.id)


def push_arm(repository: Repository, media_type: str) -> StoredStage:
    """A stage of another platform, as that platform's engine would have pushed it."""
    push_image(make_client(), repository.tagged(SECOND), make_image(platform=str(ARM), media_type=media_type))
    stage = RegistryStagesStorage(repository, make_client(), None).find(SECOND)
    assert stage is not None
    return stage


def test_garbage_collection_leaves_everything_that_is_kept(engine: DockerEngine, tmp_path: Path) -> None:
    with start_registry(tmp_path / "registry") as registry:
        repository = Repository(registry.address, "kept")
        storage = RegistryStagesStorage(repository, make_client(), engine)
        stage = make_stage(storage, engine, tmp_path)
        relabelled = storage.relabel(FIRST, stage, {"made": "again"})
        storage.name_reuse(KEY, stage)
        images = {DEFAULT_PLATFORM: relabelled, ARM: push_arm(repository, DOCKER_MANIFEST)}
        index = storage.publish_index(INDEX, images)
        listing = storage.put_document(b"listing")
    command = ["docker-registry", "garbage-collect", "-m", str(tmp_path / "registry" / "config.yml")]
    subprocess.run(command, check=True, capture_output=True, env={"PATH": "/usr/bin:/bin"})
    with start_registry(tmp_path / "registry", address=registry.address):
        client = make_client()
        later = RegistryStagesStorage(repository, client, None)
        found = later.find_index(INDEX)
        assert found is not None
        assert found.descriptor == index
        assert later.find_reuse(KEY) == stage
        assert later.find_document(listing) == b"listing"
        for kept in (stage, *images.values()):
            assert kept.descriptor is not None
            manifest = client.find_manifest(repository.at(kept.descriptor.digest))
            assert manifest is not None
            for blob in (manifest.get_config(), *manifest.layers):
                assert client.get_blob(repository, blob, 1 << 30)


@pytest.mark.parametrize(("other", "expected"), [(DOCKER_MANIFEST, DOCKER_INDEX), (OCI_MANIFEST, OCI_INDEX)])
def test_an_engine_pulls_its_platform_from_an_index_of_any_manifests(
    engine: DockerEngine, registry_address: str, tmp_path: Path, other: str, expected: str
) -> None:
    repository = Repository(registry_address, f"index/{expected.rpartition('.')[2].replace('+', '-')}")
    storage = RegistryStagesStorage(repository, make_client(), engine)
    stage = make_stage(storage, engine, tmp_path)
    index = storage.publish_index(INDEX, {DEFAULT_PLATFORM: stage, ARM: push_arm(repository, other)})
    assert index is not None
    assert index.media_type == expected
    assert engine.pull(repository.at(index.digest)).id == stage.image_id
