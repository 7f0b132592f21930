"""A stage whose layer a real registry lost: a real engine cannot pull it, so it is built anew where it is needed as a parent."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

from ci_plugin.demo.rig import Rig
from ci_plugin.engine.docker_engine import DockerEngine
from ci_plugin.values.manifest import Manifest
from ci_plugin.values.reference import parse_reference
from tests.fakes.git_repository import GitRepository
from tests.fakes.registry_client import make_client, no_credentials
from tests.functional.test_real_builds import SETTINGS, RealProject

CONFIG = """project: lost
configVersion: 1
---
image: app
from: BASE
fromLatest: true
shell:
  install: [date > /installed]
  setup: [echo NUMBER > /set-up]
"""


@pytest.fixture
def project(rig: Rig, tmp_path: Path) -> RealProject:
    real = RealProject(rig, "lost-layers", GitRepository(tmp_path / "project"))
    real.write(".stagepin.yaml", SETTINGS)
    real.move_base("1")
    return real


@pytest.fixture
def engine(docker_host: str) -> Iterator[DockerEngine]:
    found = DockerEngine(docker_host, credentials=no_credentials, environ={})
    yield found
    found.close()


def build(project: RealProject, number: int) -> dict[str, Any]:
    """The stages of the image as its record has them, by name, after a build that verified."""
    project.write("werf.yaml", CONFIG.replace("NUMBER", str(number)))
    project.repository.commit()
    project.new_workspace()
    for command in (("build", "--pin"), ("verify",)):
        project.must(*command, "--repo", project.stages, pipeline=str(number))
    return {stage["name"]: stage for stage in project.record["images"]["app"]["platforms"]["linux/amd64"]["stages"]}


def test_a_lost_layer_is_made_again_once(project: RealProject, engine: DockerEngine) -> None:
    first = build(project, 1)
    lose(project, engine, first)
    second = build(project, 2)
    assert [name for name, stage in second.items() if stage["built"]] == ["install", "setup"]
    assert second["install"]["digest"] != first["install"]["digest"]
    third = build(project, 3)
    assert [name for name, stage in third.items() if stage["built"]] == ["setup"]
    assert third["install"]["digest"] == second["install"]["digest"]


def lose(project: RealProject, engine: DockerEngine, stages: dict[str, Any]) -> None:
    """The registry loses the layer that the stage ``install`` added, and this engine has none of these stages any more."""
    setup, install = (get_manifest(project, stages[name]) for name in ("setup", "install"))
    repository = parse_reference(project.stages).repository
    address = f"http://{repository.registry}/v2/{repository.path}/blobs/{install.layers[-1].digest}"
    with urlopen(Request(address, method="DELETE"), timeout=60) as answer:
        assert answer.status == 202
    engine._connection.api.remove_image(str(setup.image_id), force=True)  # and with it the parents that have no name
    assert engine.find_image(str(install.image_id)) is None


def get_manifest(project: RealProject, stage: Any) -> Manifest:
    found = make_client().find_manifest(parse_reference(f"{project.stages}@{stage['digest']}"))
    assert found is not None
    return found
