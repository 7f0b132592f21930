"""A Dockerfile that begins with, or copies from, another image of the configuration."""

from __future__ import annotations

from pathlib import Path

import docker
import pytest

from ci_plugin.demo.rig import Rig
from tests.fakes.git_repository import GitRepository
from tests.functional.test_real_builds import SETTINGS, RealProject

CONFIG = (
    "project: p\nconfigVersion: 1\n---\nimage: base\nfrom: BASE\nfinal: false\nshell:\n  install: [echo FIRST > /made]\n---\n"
    "image: app\ndockerfile: Dockerfile\ndependencies:\n- image: base\n  imports:\n  - {type: ImageName, targetBuildArg: PARENT}\n"
)
DOCKERFILE = "ARG PARENT=alpine\nFROM $PARENT AS made\nRUN cat /made > /copied\nFROM $PARENT\nCOPY --from=made /copied /copied\n"


@pytest.fixture(params=["registry", "local"])
def repo(request: pytest.FixtureRequest, rig: Rig) -> str:
    return ":local" if request.param == "local" else f"{rig.registry_address}/parents/stages"


@pytest.fixture
def project(rig: Rig, tmp_path: Path) -> RealProject:
    real = RealProject(rig, "parents", GitRepository(tmp_path / "project"))
    real.write(".stagepin.yaml", SETTINGS)
    real.move_base("1")
    real.write("Dockerfile", DOCKERFILE)
    return real


def build(project: RealProject, repo: str, text: str) -> dict[str, object]:
    project.write("werf.yaml", CONFIG.replace("FIRST", text))
    project.repository.commit()
    project.new_workspace()
    project.must("pin", "--repo", repo, "--scope", text)
    project.must("build", "--repo", repo, "--scope", text)
    found: dict[str, object] = project.record["images"]["app"]["platforms"]["linux/amd64"]
    return found


def test_it_is_built_on_that_image_and_built_again_with_it(rig: Rig, project: RealProject, repo: str) -> None:
    client = docker.DockerClient(base_url=rig.docker_host)
    try:
        first = build(project, repo, "one")
        second = build(project, repo, "two")
        assert second["signature"] != first["signature"]
        for made, text in ((first, b"one\n"), (second, b"two\n")):
            name = str(made["imageId"])
            if repo != ":local":
                name = f"{repo}@{made['digest']}"
                client.images.pull(name)
            assert client.containers.run(name, ["cat", "/copied"], remove=True, network_mode="none") == text
            assert made["base"]["state"] == "image"  # type: ignore[index]
        if repo != ":local":
            project.must("verify", "--repo", repo, "--scope", "two")
        names = [tag for image in client.images.list() for tag in image.tags]
        assert [name for name in names if name.startswith("stagepin.local/parent")] == []
    finally:
        client.close()
