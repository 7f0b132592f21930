"""Bases that come from no registry: a busybox root filesystem and a debootstrap one, built on and pushed."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from ci_plugin.demo.rig import busybox_rootfs
from ci_plugin.engine.archives import RootfsArchive
from ci_plugin.engine.docker_engine import DockerEngine
from ci_plugin.ports import EngineImage, ImageChange
from ci_plugin.values.manifest import parse_image_config
from ci_plugin.values.platform import Platform
from ci_plugin.values.reference import Repository
from tests.fakes.registry_client import make_client, no_credentials

AMD64 = Platform("linux", "amd64")
DEBOOTSTRAP = Path(__file__).parents[2] / ".cache" / "debootstrap.tar"


@pytest.fixture
def engine(docker_host: str) -> Iterator[DockerEngine]:
    found = DockerEngine(docker_host, credentials=no_credentials, environ={})
    yield found
    found.close()


@pytest.fixture
def repository(registry_address: str) -> Repository:
    return Repository(registry_address, f"rootfs/{secrets.token_hex(4)}")


def _push_and_compare(engine: DockerEngine, image: EngineImage, repository: Repository) -> None:
    name = repository.tagged("one")
    engine.tag(image.id, name)
    digest = engine.push(name)
    client = make_client()
    manifest = client.find_manifest(repository.at(digest))
    assert manifest is not None
    assert manifest.config is not None
    config = parse_image_config(client.get_blob(repository, manifest.config, 1 << 20))
    assert config.diff_ids == image.diff_ids
    assert config.labels["made"] == "from an archive"


def _build_on(engine: DockerEngine, archive: Path, commands: list[str]) -> tuple[EngineImage, list[str]]:
    rootfs = RootfsArchive(archive)
    for _ in rootfs.chunks():
        pass
    base = engine.import_rootfs(archive, AMD64, {"made": "from an archive"})
    assert base.diff_ids == (rootfs.diff_id,)
    lines: list[str] = []
    image = engine.derive(base.id, ImageChange(cmd=("/bin/sh",)), commands, lines.append)
    assert image.diff_ids[:1] == base.diff_ids
    return image, lines


def test_a_busybox_rootfs_is_a_base_to_build_on_and_to_push(engine: DockerEngine, repository: Repository, tmp_path: Path) -> None:
    (tmp_path / "rootfs.tar").write_bytes(busybox_rootfs("e2e"))
    image, lines = _build_on(engine, tmp_path / "rootfs.tar", ["cat /etc/stagepin-base", "touch /made", "test -f /made && id -u"])
    assert lines == ["e2e", "0"]
    _push_and_compare(engine, image, repository)


def test_a_debootstrap_rootfs_is_a_base_to_build_on_and_to_push(engine: DockerEngine, repository: Repository) -> None:
    if not DEBOOTSTRAP.is_file():
        pytest.fail(f"expected a Debian root filesystem at {DEBOOTSTRAP}, found none: run scripts/prepare-debootstrap", pytrace=False)
    commands = ["[[ $BASH_VERSION ]] && echo bash", ". /etc/os-release", "echo $ID", "dpkg --version | head -1"]
    image, lines = _build_on(engine, DEBOOTSTRAP, commands)
    assert lines[:2] == ["bash", "debian"]
    assert "package management program" in lines[2]
    _push_and_compare(engine, image, repository)
