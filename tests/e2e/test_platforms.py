"""Images for several platforms on a real engine and a real registry, on an index made by hand."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import docker
import pytest

from ci_plugin.demo.rig import Rig
from ci_plugin.values.digest import Digest
from ci_plugin.values.manifest import DOCKER_INDEX, DOCKER_MANIFEST
from ci_plugin.values.reference import parse_reference, parse_repository
from tests.fakes.git_repository import GitRepository
from tests.fakes.registry_client import make_client
from tests.functional.test_real_builds import SETTINGS, RealProject

AMD64, ARM64 = "linux/amd64", "linux/arm64"
CONFIG = """project: platforms
configVersion: 1
build:
  platform: [linux/amd64, linux/arm64]
---
image: app
from: BASE
fromLatest: true
git:
- add: /src
  to: /app
docker:
  ENV: {MODE: production}
---
image: web
fromImage: app
docker:
  USER: "1000"
---
image: files
from: scratch
git:
- add: /src
  to: /app
"""
COMMANDS = CONFIG.partition("---\nimage: web")[0] + "shell:\n  setup: [echo hello > /hello]\n"
FOREIGN_FILES = {"etc/release": b"arm64, made by hand", "bin/sh": b"\x7fELF of another machine"}


@pytest.fixture
def project(rig: Rig, tmp_path: Path, request: pytest.FixtureRequest) -> RealProject:
    name = "platforms/" + request.node.originalname.removeprefix("test_").replace("_", "-")[:40].strip("-")
    real = RealProject(rig, name, GitRepository(tmp_path / "project"))
    real.write(".stagepin.yaml", SETTINGS)
    real.write("src/main.txt", "hello")
    real.write("werf.yaml", CONFIG)
    real.repository.commit()
    return real


@pytest.fixture
def bases(project: RealProject) -> Mapping[str, str]:
    """The base's digests by platform, its index under its tag."""
    digests = push_images(project)
    push_index(project, digests)
    return digests


@pytest.fixture
def engine(docker_host: str) -> Iterator[docker.APIClient]:
    client = docker.APIClient(docker_host, version="auto")
    yield client
    client.close()


def push_images(project: RealProject) -> Mapping[str, str]:
    """The base for both platforms: busybox for amd64, files that only say so for arm64. Platform → digest."""
    return {AMD64: project.move_base("1"), ARM64: str(push_foreign(project, "1"))}


def push_index(project: RealProject, digests: Mapping[str, str], *, with_attestation: bool = False) -> None:
    """The index of these images under the base's tag."""
    repository, registry = parse_repository(project.base), make_client()
    entries = []
    for platform, digest in digests.items():
        manifest = registry.find_manifest(repository.at(Digest(digest)))
        assert manifest is not None
        os, architecture = platform.split("/")
        described = {"mediaType": DOCKER_MANIFEST, "digest": digest, "size": manifest.descriptor.size}
        entries.append({**described, "platform": {"os": os, "architecture": architecture}})
    if with_attestation:
        entries.append({**entries[0], "platform": {"os": "unknown", "architecture": "unknown"}})
    index = json.dumps({"schemaVersion": 2, "mediaType": DOCKER_INDEX, "manifests": entries}).encode()
    registry.put_manifest(repository.tagged("latest"), index, DOCKER_INDEX)


def push_foreign(project: RealProject, version: str) -> Digest:
    """An image whose config says it is for arm64."""
    repository, registry = parse_repository(project.base), make_client()
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        for path, data in {**FOREIGN_FILES, "etc/version": version.encode()}.items():
            entry = tarfile.TarInfo(path)
            entry.size, entry.mode = len(data), 0o755
            tar.addfile(entry, io.BytesIO(data))
    rootfs = {"type": "layers", "diff_ids": [str(Digest.of(layer.getvalue()))]}
    config = json.dumps({"os": "linux", "architecture": "arm64", "config": {}, "rootfs": rootfs}).encode()
    types = ("application/vnd.docker.container.image.v1+json", "application/vnd.docker.image.rootfs.diff.tar.gzip")
    blobs = (config, gzip.compress(layer.getvalue(), mtime=0))
    described = [
        {"mediaType": kind, "digest": str(registry.put_blob(repository, blob)), "size": len(blob)}
        for kind, blob in zip(types, blobs, strict=True)
    ]
    manifest = {"schemaVersion": 2, "mediaType": DOCKER_MANIFEST, "config": described[0], "layers": described[1:]}
    data = json.dumps(manifest).encode()
    return registry.put_manifest(repository.tagged(f"arm64-{version}"), data, DOCKER_MANIFEST)


def pull(engine: docker.APIClient, repository: str, digest: str, platform: str) -> Any:
    """What ``docker pull --platform`` gives of an index by its digest."""
    for event in engine.pull(repository, digest, platform=platform, stream=True, decode=True):
        assert "error" not in event, event
    api: Any = engine  # the stubs leave this method untyped
    return api.inspect_image(f"{repository}@{digest}")


def file_of(engine: docker.APIClient, image: str, path: str) -> bytes:
    """A file of an image that need not be able to run."""
    container = engine.create_container(image, command=["/nothing"])["Id"]
    try:
        chunks, _ = engine.get_archive(container, path)
        with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as tar:
            found = tar.extractfile(tar.getmembers()[0])
            assert found is not None
            return found.read()
    finally:
        engine.remove_container(container, force=True)


def test_both_platforms_are_built_without_emulation_published_as_one_index_pulled_and_verified(
    project: RealProject, bases: Mapping[str, str], engine: docker.APIClient
) -> None:
    project.must("build", "--pin", "--repo", project.stages)
    for name, image in project.record["images"].items():
        reference = parse_reference(image["reference"])
        index = make_client().find_manifest(reference)
        assert index is not None
        assert {str(platform): str(entry.digest) for platform, entry in index.entries if platform} == {
            platform: record["digest"] for platform, record in image["platforms"].items()
        }
        for platform, record in image["platforms"].items():
            found = pull(engine, str(reference.repository), image["digest"], platform)
            assert (f"{found['Os']}/{found['Architecture']}", found["Id"]) == (platform, record["imageId"])
            assert found["Config"]["Labels"]["stagepin.signature"] == record["signature"]
            assert file_of(engine, record["imageId"], "/app/main.txt") == b"hello"
            if platform == ARM64 and name != "files":
                assert file_of(engine, record["imageId"], "/etc/release") == FOREIGN_FILES["etc/release"]
            # This engine keeps one image for a digest, and would not take the other platform's under the same.
            engine.remove_image(image["reference"], force=True, noprune=True)
    images = project.record["images"]
    assert {platform: record["base"]["digest"] for platform, record in images["app"]["platforms"].items()} == bases
    project.new_workspace()
    out = project.must("verify", "--recompute", "--repo", project.stages, DOCKER_HOST="unix:///nonexistent.sock").out
    assert all(image["reference"] in out for image in images.values())


def test_an_attestation_beside_the_same_manifests_rebuilds_nothing_and_a_moved_platform_that_alone(
    project: RealProject, bases: Mapping[str, str]
) -> None:
    project.must("build", "--pin", "--repo", project.stages)
    first = project.record["images"]
    push_index(project, bases, with_attestation=True)
    project.new_workspace()
    again = project.must("build", "--pin", "--repo", project.stages, pipeline="1002")
    assert "built in" not in again.err
    assert {name: image["digest"] for name, image in project.record["images"].items()} == {
        name: image["digest"] for name, image in first.items()
    }
    foreign = str(push_foreign(project, "2"))
    push_index(project, {**bases, ARM64: foreign})
    project.new_workspace()
    project.must("pin", "--repo", project.stages, pipeline="1003")
    why = project.must("explain", "app", "--against", "pipeline:1001", "--repo", project.stages, pipeline="1003").out.splitlines()
    moved = f"{project.base}:latest moved from {bases[ARM64][:19]}… to {foreign[:19]}… (pinned by pipeline 1003, just now)"
    assert why[0] == f'stage "from" of "app" (linux/arm64) changed because {moved}'
    assert all("(linux/arm64) changed because its parent" in sentence for sentence in why[1:])
    ran = project.must("build", "--repo", project.stages, pipeline="1003")
    assert "app (linux/arm64): stage from built in" in ran.err
    assert "(linux/amd64): stage" not in ran.err
    assert project.record["images"]["app"]["platforms"][ARM64]["base"]["digest"] == foreign
    project.must("verify", "--repo", project.stages, pipeline="1003")


@pytest.mark.usefixtures("bases")
def test_commands_for_a_platform_this_engine_does_not_run_end_with_what_is_missing(project: RealProject) -> None:
    project.write("werf.yaml", COMMANDS)
    project.repository.commit()
    ran = project.run("build", "--pin", "--repo", project.stages)
    assert ran.code == 1
    assert "app (linux/amd64): stage setup built in" in ran.err
    error = ran.err.partition("error: stage 'setup' of image 'app (linux/arm64)': ")[2]
    assert error.startswith("expected "), ran.err
    assert "this engine runs linux/amd64, and programs for linux/arm64 only where emulation of it is registered on its machine" in error


@pytest.mark.usefixtures("bases")
def test_jobs_of_a_matrix_that_build_one_platform_each_end_in_one_index(project: RealProject) -> None:
    project.must("pin", "--repo", project.stages)
    for platform in (AMD64, ARM64):
        project.must("build", "--platform", platform, "--repo", project.stages)
        assert project.record["complete"] is False
    ran = project.run("verify", "--repo", project.stages)
    assert ran.code == 1
    project.must("build", "--require-built", "--repo", project.stages, DOCKER_HOST="unix:///nonexistent.sock")
    assert project.record["complete"] is True
    project.must("verify", "--repo", project.stages)


@pytest.mark.usefixtures("bases")
def test_a_dockerfile_that_runs_on_the_build_platform_alone_is_built_for_both_without_emulation(
    project: RealProject, engine: docker.APIClient
) -> None:
    (project.repository.directory / "werf.yaml").unlink()
    project.write(
        "Dockerfile",
        "FROM --platform=$BUILDPLATFORM BASE AS make\nARG TARGETARCH\nRUN echo made for $TARGETARCH > /made\n"
        "FROM BASE\nCOPY --from=make /made /made\nCOPY src /app\n",
    )
    project.repository.commit()
    argv = ("--repo", project.stages, "--platform", f"{AMD64},{ARM64}")
    project.must("build", "--pin", *argv)
    (image,) = project.record["images"].values()
    for platform, record in image["platforms"].items():
        found = pull(engine, project.stages, record["digest"], platform)
        assert (f"{found['Os']}/{found['Architecture']}", found["Id"]) == (platform, record["imageId"])
        assert file_of(engine, record["imageId"], "/app/main.txt") == b"hello"
        assert file_of(engine, record["imageId"], "/made") == f"made for {platform.partition('/')[2]}\n".encode()
    project.must("verify", "--recompute", *argv)


@pytest.mark.usefixtures("bases")
def test_a_dockerfile_that_runs_on_a_foreign_platform_ends_with_what_is_missing(project: RealProject) -> None:
    (project.repository.directory / "werf.yaml").unlink()
    project.write("Dockerfile", "FROM BASE\nRUN echo hello > /hello\n")
    project.repository.commit()
    ran = project.run("build", "--pin", "--repo", project.stages, "--platform", ARM64)
    assert ran.code == 1
    assert "error: stage 'dockerfile' of image 'project': " in ran.err
    assert "this engine runs linux/amd64, and programs for linux/arm64 only where emulation of it is registered on its machine" in ran.err


@pytest.mark.usefixtures("bases")
def test_in_the_engines_own_store_every_platform_is_an_image(project: RealProject, engine: docker.APIClient) -> None:
    project.must("build", "--pin", "--repo", ":local", pipeline="local")
    for image in project.record["images"].values():
        assert (image["reference"], image["digest"]) == (None, None)
        assert image["tags"] == [record["signature"] for record in image["platforms"].values()]
        for platform, record in image["platforms"].items():
            api: Any = engine  # the stubs leave this method untyped
            found = api.inspect_image(record["imageId"])
            assert f"{found['Os']}/{found['Architecture']}" == platform
            assert any(name.endswith(f":{record['signature']}") for name in found["RepoTags"])
    assert "stage" not in project.must("build", "--repo", ":local", pipeline="local").err.replace("stagepin", "")
