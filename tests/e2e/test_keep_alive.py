"""Kept copies against a real registry's garbage collector: what it takes, what it leaves, and what an empty engine then builds."""

from __future__ import annotations

import io
import json
import subprocess
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ci_plugin.cli.main import main
from ci_plugin.cli.wiring import Outside, connect_docker
from ci_plugin.demo.rig import Rig, RunningRegistry, push_base, start_engine, start_registry
from ci_plugin.forge.clock import SystemClock
from ci_plugin.services.keeping import keep_tag
from ci_plugin.values.digest import Digest
from ci_plugin.values.manifest import DOCKER_INDEX, DOCKER_MANIFEST, LARGEST_CONFIG, Manifest
from ci_plugin.values.reference import Repository
from tests.fakes.git_repository import GitRepository
from tests.fakes.registry import make_image
from tests.fakes.registry_client import make_client, push_image
from tests.scenarios.pipeline import PLAIN, Ran

WERF = (
    "project: app\nconfigVersion: 1\n---\nimage: app\nfrom: BASE:latest\nfromLatest: true\nshell:\n  install: [cp /etc/stagepin-base /on]\n"
)
DOCKERFILE = """\
FROM BASE:latest AS tools
RUN cp /etc/stagepin-base /tool
FROM BASE:latest
COPY --from=tools /tool /tool
COPY --from=BASE:latest /etc/stagepin-base /copied
RUN --mount=from=BASE:latest,target=/m test "$(cat /m/etc/stagepin-base /tool /copied /etc/stagepin-base | uniq)" = 1
"""


class Collected:
    """A registry of our own that is stopped, collected and started again under the same address."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._running: RunningRegistry = start_registry(directory)
        self.address = self._running.address

    def collect(self) -> None:
        """What a nightly clean-up does: everything without a tag goes, with the layers only that had."""
        self._running.stop()
        command = ["docker-registry", "garbage-collect", "-m", str(self._directory / "config.yml")]
        subprocess.run(command, check=True, capture_output=True, env={"PATH": "/usr/bin:/bin"})
        self._running = start_registry(self._directory, address=self.address)

    def stop(self) -> None:
        self._running.stop()


@dataclass
class Scene:
    """A project whose base is an index in the registry that is collected; its jobs run on an engine that has nothing."""

    registry: Collected
    filled_engine: str
    empty_engine: str
    repository: GitRepository

    @property
    def base(self) -> Repository:
        return Repository(self.registry.address, "upstream/base")

    @property
    def kept(self) -> Repository:
        return Repository(self.registry.address, "group/app/bases")

    def push_base(self, version: str) -> tuple[Digest, list[Digest]]:
        """An index of a real image and one of another platform under ``latest``; the children have no tag. The index and its children."""
        runs = push_base(self.filled_engine, self.registry.address, self.base.path, "latest", version)
        client, other = make_client(), make_image(platform="linux/arm64", seed=version)
        push_image(client, self.base.at(other.digest), other)
        size = self.get(self.base, runs).descriptor.size
        entries = [("amd64", runs, size), ("arm64", other.digest, len(other.manifest))]
        data = index_of(entries)
        return client.put_manifest(self.base.tagged("latest"), data, DOCKER_INDEX), [runs, other.digest]

    def get(self, repository: Repository, digest: Digest) -> Manifest:
        manifest = make_client().find_manifest(repository.at(digest))
        assert manifest is not None
        return manifest

    def has(self, repository: Repository, digest: Digest) -> bool:
        return make_client().find_manifest(repository.at(digest)) is not None

    def run(self, *argv: str, pipeline: str = "1001") -> Ran:
        gitlab = {
            "CI": "true",
            "GITLAB_CI": "true",
            "CI_SERVER_HOST": "gitlab.example.com",
            "CI_PROJECT_ID": "4711",
            "CI_PROJECT_PATH": "group/app",
            "CI_PIPELINE_ID": pipeline,
            "CI_REGISTRY_IMAGE": f"{self.registry.address}/group/app/stages",
        }
        given = {**PLAIN, **gitlab, "DOCKER_HOST": self.empty_engine}
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            code = main(["-C", str(self.repository.directory), *argv], Outside(given, SystemClock(), connect_docker))
        return Ran(code, out.getvalue(), err.getvalue())

    def must(self, *argv: str) -> Ran:
        ran = self.run(*argv)
        assert ran.code == 0, ran.text
        return ran

    @property
    def record(self) -> Any:
        return json.loads((self.repository.directory / ".stagepin" / "build.json").read_bytes())


def index_of(entries: list[tuple[str, Digest, int]]) -> bytes:
    manifests = [
        {"mediaType": DOCKER_MANIFEST, "digest": str(digest), "size": size, "platform": {"os": "linux", "architecture": architecture}}
        for architecture, digest, size in entries
    ]
    return json.dumps({"schemaVersion": 2, "mediaType": DOCKER_INDEX, "manifests": manifests}).encode()


@pytest.fixture
def scene(rig: Rig, tmp_path: Path) -> Iterator[Scene]:
    registry = Collected(tmp_path / "registry")
    try:
        with start_engine(tmp_path / "engine") as engine:
            made = Scene(registry, rig.docker_host, engine.docker_host, GitRepository(tmp_path / "project"))
            made.repository.write(".stagepin.yaml", "settle: 0\n")
            yield made
    finally:
        registry.stop()


def write(scene: Scene, path: str, text: str) -> None:
    scene.repository.write(path, text.replace("BASE", str(scene.base)))
    scene.repository.commit()


def test_a_retried_build_survives_the_clean_up_of_its_base(scene: Scene) -> None:
    write(scene, "werf.yaml", WERF)
    index, children = scene.push_base("1")
    scene.must("pin", "--keep", str(scene.kept))
    # Why every child gets a tag: of the same index, tagged without them, the collector leaves a shell.
    bare = Repository(scene.registry.address, "group/app/bare")
    client = make_client()
    for digest in children:
        manifest = scene.get(scene.base, digest)
        for blob in (manifest.get_config(), *manifest.layers):
            client.copy_blob(scene.base, blob, bare)
        client.put_manifest(bare.at(digest), manifest.data, DOCKER_MANIFEST)
    client.put_manifest(bare.tagged("latest"), scene.get(scene.base, index).data, DOCKER_INDEX)
    scene.push_base("2")
    scene.registry.collect()
    assert [scene.has(scene.base, digest) for digest in (index, *children)] == [False, False, False]
    assert [scene.has(bare, digest) for digest in (index, *children)] == [True, False, False]
    assert [scene.has(scene.kept, digest) for digest in (index, *children)] == [True, True, True]
    for digest in children:
        manifest = scene.get(scene.kept, digest)
        for blob in (manifest.get_config(), *manifest.layers):
            make_client().get_blob(scene.kept, blob, LARGEST_CONFIG)
        found = make_client().find_descriptor(scene.kept.tagged(keep_tag(digest)))
        assert found is not None
        assert found.digest == digest
    said = scene.must("build").err
    assert f"base {scene.base}@{children[0]} is gone from its registry; taken from the copy in {scene.kept}" in said
    base = scene.record["images"]["app"]["platforms"]["linux/amd64"]["base"]
    assert (base["digest"], base["state"]) == (str(children[0]), "pinned")
    scene.must("verify", "--recompute")
    # The pin job once more: the copies are there, upstream is not asked.
    scene.must("pin", "--keep", str(scene.kept))


def test_without_copies_it_says_that_the_base_is_gone(scene: Scene) -> None:
    write(scene, "werf.yaml", WERF)
    _, children = scene.push_base("1")
    scene.must("pin")
    scene.push_base("2")
    scene.registry.collect()
    ran = scene.run("build")
    assert ran.code == 1
    assert f"{scene.base}@{children[0]}" in ran.err
    assert "its registry deleted what was pinned" in ran.err


def test_what_was_built_is_verified_when_neither_base_nor_copy_is_left(scene: Scene) -> None:
    write(scene, "werf.yaml", WERF)
    index, children = scene.push_base("1")
    scene.must("pin", "--keep", str(scene.kept))
    scene.must("build")
    scene.push_base("2")
    for digest in (index, *children):
        make_client().delete(scene.kept.at(digest))
    scene.registry.collect()
    assert not scene.has(scene.kept, children[0])
    scene.must("verify", "--recompute")
    # Nothing changed, so nothing is built, and no base is missed.
    assert "built in" not in scene.must("build").err


def test_a_dockerfile_is_built_on_the_copies(scene: Scene) -> None:
    write(scene, "Dockerfile", DOCKERFILE)
    scene.push_base("1")
    scene.must("pin", "--keep", str(scene.kept))
    scene.push_base("2")
    scene.registry.collect()
    said = scene.must("build").err
    assert said.count("taken from the copy in") == 1
    scene.must("verify", "--recompute")
