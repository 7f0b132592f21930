"""Stages on real engines and a real registry: two engines in one election, lost layers, and every way to keep, take and name stages."""

from __future__ import annotations

import http.client
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ci_plugin.demo.rig import Rig, push_base, start_engine
from ci_plugin.engine.docker_engine import DockerEngine
from ci_plugin.values.digest import Digest
from ci_plugin.values.manifest import Manifest
from ci_plugin.values.reference import Repository, parse_reference
from tests.fakes.git_repository import GitRepository
from tests.fakes.registry_client import make_client, no_credentials
from tests.scenarios.pipeline import META, PLAIN, Ran

SECONDS = 120.0
CONFIG = (
    "image: lib\nfrom: BASE\nfromLatest: true\nshell:\n  install: [echo LIB > /lib-made]\n---\n"
    "image: app\nfromImage: lib\nshell:\n  install: [cat /lib-made > /app-made, echo APP >> /app-made]\n"
)
NOWHERE = "unix:///nonexistent/docker.sock"


@pytest.fixture(scope="module")
def other_engine(rig: Rig, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A second engine with a data root of its own."""
    with start_engine(tmp_path_factory.mktemp("other")) as engine:
        yield engine.docker_host


@dataclass
class Scene:
    """A project whose jobs run on the engine they are given; every test has a repository of stages of its own."""

    rig: Rig
    other_engine: str
    project: GitRepository
    stages: Repository

    def commit(self, app: str = "app") -> None:
        base = f"{self.rig.registry_address}/kept/base"
        self.project.write("werf.yaml", META + CONFIG.replace("BASE", base).replace("APP", app))
        self.project.commit()

    def start(self, *argv: str, engine: str, scope: str = "one", directory: Path | None = None) -> subprocess.Popen[str]:
        """A job in a process of its own."""
        where = ["--repo", str(self.stages)] if "--repo" not in argv else []
        return subprocess.Popen(
            [sys.executable, "-m", "ci_plugin", argv[0], *where, "--scope", scope, *argv[1:]],
            cwd=directory or self.project.directory,
            env={**PLAIN, "DOCKER_HOST": engine},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *argv: str, engine: str = "", scope: str = "one") -> Ran:
        return ended(self.start(*argv, engine=engine or self.rig.docker_host, scope=scope))

    def must(self, *argv: str, engine: str = "", scope: str = "one") -> Ran:
        ran = self.run(*argv, engine=engine, scope=scope)
        assert ran.code == 0, ran.text
        return ran

    def pin_anew(self, scope: str) -> None:
        """Another pipeline, whose jobs have none of the files of the one before."""
        shutil.rmtree(self.project.directory / ".stagepin")
        self.must("pin", scope=scope)

    @property
    def record(self) -> Any:
        return record_in(self.project.directory)

    def manifest(self, digest: str) -> Manifest:
        found = make_client().find_manifest(self.stages.at(Digest(digest)))
        assert found is not None
        return found

    def lose(self, digest: Digest) -> None:
        """The registry loses a blob of the stages' repository."""
        connection = http.client.HTTPConnection(self.rig.registry_address, timeout=30)
        connection.request("DELETE", f"/v2/{self.stages.path}/blobs/{digest}")
        assert connection.getresponse().status == 202
        connection.close()


def ended(job: subprocess.Popen[str]) -> Ran:
    out, err = job.communicate(timeout=SECONDS)
    return Ran(job.returncode, out, err)


def record_in(directory: Path) -> Any:
    return json.loads((directory / ".stagepin" / "build.json").read_bytes())


def clone(project: GitRepository, directory: Path) -> Path:
    subprocess.run(["git", "clone", "--quiet", str(project.directory), str(directory)], check=True, env=PLAIN)
    return directory


@pytest.fixture
def scene(rig: Rig, other_engine: str, tmp_path: Path) -> Scene:
    push_base(rig.docker_host, rig.registry_address, "kept/base", "latest", "1")
    made = Scene(rig, other_engine, GitRepository(tmp_path / "project"), Repository(rig.registry_address, f"kept/{tmp_path.name.lower()}"))
    made.commit()
    return made


def test_two_engines_that_build_at_once_record_one_digest_or_say_that_they_may_not(scene: Scene, tmp_path: Path) -> None:
    for number in range(2):
        scene.commit(f"round-{number}")
        scope = f"round-{number}"
        clones = [clone(scene.project, tmp_path / f"{number}-{name}") for name in ("one", "two")]
        engines = (scene.rig.docker_host, scene.other_engine)
        for directory in clones:
            assert ended(scene.start("pin", engine=NOWHERE, scope=scope, directory=directory)).code == 0
        jobs = [scene.start("build", engine=one, scope=scope, directory=where) for one, where in zip(engines, clones, strict=True)]
        ran = [ended(job) for job in jobs]
        assert [one.code for one in ran] == [0, 0], ran[0].text + ran[1].text
        digests = [{name: image["digest"] for name, image in record_in(directory)["images"].items()} for directory in clones]
        assert digests[0] == digests[1] or any("longer than an election waits" in one.err for one in ran)
        for directory in clones:
            assert ended(scene.start("verify", engine=NOWHERE, scope=scope, directory=directory)).code == 0


def test_a_base_whose_layers_the_registry_lost_is_rebuilt_for_an_engine_that_has_nothing(scene: Scene) -> None:
    scene.must("pin")
    scene.must("build")
    lost = scene.record["images"]["lib"]["digest"]
    scene.lose(scene.manifest(lost).layers[-1].digest)
    scene.commit("another")
    scene.pin_anew("two")
    ran = scene.must("build", engine=scene.other_engine, scope="two")
    assert "lib: stage install built" in ran.err
    rebuilt = scene.record["images"]["lib"]["digest"]
    assert rebuilt != lost
    assert scene.record["images"]["app"]["platforms"]["linux/amd64"]["base"]["digest"] == rebuilt
    scene.must("verify", engine=NOWHERE, scope="two")
    for image in scene.record["images"].values():
        for blob in scene.manifest(image["digest"]).layers:
            assert make_client().get_blob(scene.stages, blob, 1 << 30)
    (signature,) = scene.record["images"]["lib"]["tags"]
    tagged = make_client().find_descriptor(scene.stages.tagged(signature))
    assert tagged is not None
    assert str(tagged.digest) == rebuilt


def test_what_another_repository_has_needs_no_engine_at_all(scene: Scene) -> None:
    cache = f"{scene.stages}-cache"
    scene.must("pin", "--repo", cache)
    scene.must("build", "--repo", cache)
    built = scene.record["images"]["app"]["digest"]
    scene.pin_anew("two")
    ran = scene.must("build", "--cache-repo", cache, "--tag", "{image}-v1", engine=NOWHERE, scope="two")
    assert f"is taken from {cache}" in ran.err
    assert scene.record["images"]["app"]["digest"] == built
    scene.must("verify", engine=NOWHERE, scope="two")
    tagged = make_client().find_descriptor(scene.stages.tagged("app-v1"))
    assert tagged is not None
    assert str(tagged.digest) == built
    # Mounted, and whole: an engine that never saw it pulls it from the own repository.
    engine = DockerEngine(scene.other_engine, credentials=no_credentials, environ={})
    assert engine.pull(scene.stages.at(Digest(built))).labels["stagepin.stage"] == "install"
    engine.close()


def test_what_is_not_published_stays_in_the_engine_under_the_name_that_was_asked_for(scene: Scene) -> None:
    scene.must("pin")
    scene.must("build", "lib")
    lib = scene.record["images"]["lib"]["digest"]
    ran = scene.must("build", "--no-publish", "--tag", "{image}-try", engine=scene.other_engine)
    assert "lib: stage" not in ran.err
    app = scene.record["images"]["app"]
    assert (scene.record["published"], app["digest"]) == (False, None)
    assert app["platforms"]["linux/amd64"]["base"]["digest"] == lib
    assert make_client().find_descriptor(scene.stages.tagged("app-try")) is None
    name = next(word.rstrip(",") for word in ran.err.split() if word.startswith("stagepin.local/") and word.endswith(":app-try"))
    engine = DockerEngine(scene.other_engine, credentials=no_credentials, environ={})
    found = engine.find_image(str(parse_reference(name)))
    assert found is not None
    assert str(found.id) == app["platforms"]["linux/amd64"]["imageId"]
    engine.close()
