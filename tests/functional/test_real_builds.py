"""The command line on a real engine and a real registry: one story for each dialect, and what only real parts can show."""

from __future__ import annotations

import io
import json
import tarfile
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ci_plugin.cli.main import main
from ci_plugin.cli.wiring import Outside, connect_docker
from ci_plugin.demo.rig import Rig, push_base
from ci_plugin.demo.rootfs import busybox_rootfs
from ci_plugin.forge.clock import SystemClock
from tests.fakes.git_repository import GitRepository
from tests.scenarios.pipeline import META, PLAIN, Ran

SETTINGS = "settle: 0\n"


@dataclass
class RealProject:
    """A git repository, a base that moves, and the stages storage, in the rig's registry; jobs share the rig's engine."""

    rig: Rig
    name: str
    repository: GitRepository

    @property
    def base(self) -> str:
        return f"{self.rig.registry_address}/{self.name}/base"

    @property
    def stages(self) -> str:
        return f"{self.rig.registry_address}/{self.name}/stages"

    def move_base(self, version: str) -> str:
        return str(push_base(self.rig.docker_host, self.rig.registry_address, f"{self.name}/base", "latest", version))

    def write(self, path: str, text: str) -> None:
        self.repository.write(path, text.replace("BASE", self.base))

    def run(self, *argv: str, pipeline: str = "1001", **environ: str) -> Ran:
        """A job of a GitLab pipeline; the pipeline ``local`` is a desk."""
        gitlab = {
            "CI": "true",
            "GITLAB_CI": "true",
            "CI_SERVER_HOST": "gitlab.example.com",
            "CI_PROJECT_ID": "4711",
            "CI_PROJECT_PATH": "group/app",
            "CI_PIPELINE_ID": pipeline,
        }
        given = {**PLAIN, **(gitlab if pipeline != "local" else {}), "DOCKER_HOST": self.rig.docker_host, **environ}
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            code = main(["-C", str(self.repository.directory), *argv], Outside(given, SystemClock(), connect_docker))
        return Ran(code, out.getvalue(), err.getvalue())

    def must(self, *argv: str, pipeline: str = "1001", **environ: str) -> Ran:
        ran = self.run(*argv, pipeline=pipeline, **environ)
        assert ran.code == 0, ran.text
        return ran

    @property
    def record(self) -> Any:
        return json.loads((self.repository.directory / ".stagepin" / "build.json").read_bytes())

    def new_workspace(self) -> None:
        """What the next job on another runner sees: nothing."""
        for name in ("pins.json", "build.json"):
            (self.repository.directory / ".stagepin" / name).unlink(missing_ok=True)


@pytest.fixture
def project(rig: Rig, tmp_path: Path, request: pytest.FixtureRequest) -> RealProject:
    name = request.node.originalname.removeprefix("test_").replace("_", "-")[:40].strip("-")
    real = RealProject(rig, name, GitRepository(tmp_path / "project"))
    real.write(".stagepin.yaml", SETTINGS)
    real.move_base("1")
    return real


@pytest.mark.engine
def test_a_lone_dockerfile_in_one_step_while_every_base_moves(project: RealProject) -> None:
    project.write(
        "Dockerfile",
        "FROM BASE AS builder\nRUN cat /etc/stagepin-base > /built-on\n"
        "FROM BASE\nCOPY --from=builder /built-on /built-on\nCOPY --from=BASE /etc/stagepin-base /copied\n"
        'RUN test "$(cat /built-on /copied /etc/stagepin-base | uniq)" = 1\nCOPY app.txt /\nCMD ["cat", "/app.txt"]\n',
    )
    project.write("app.txt", "hello")
    project.repository.commit()
    project.must("pin", "--repo", project.stages)
    moved = project.move_base("2")
    ran = project.must("build", "--pin", "--repo", project.stages)
    assert ": stage dockerfile built in " in ran.err
    (image,) = project.record["images"].values()
    base = image["platforms"]["linux/amd64"]["base"]
    assert base["state"] == "pinned"
    assert base["digest"] != moved
    again = project.must("build", "--repo", project.stages)
    assert "built in" not in again.err
    project.new_workspace()
    assert image["digest"] in project.must("verify", "--recompute", "--repo", project.stages, DOCKER_HOST="unix:///nonexistent.sock").out
    project.new_workspace()
    assert moved in project.must("pin", "--repo", project.stages, pipeline="1002").out


@pytest.mark.engine
def test_a_mount_from_another_image_is_pinned_too(project: RealProject) -> None:
    project.write("Dockerfile", 'FROM BASE\nRUN --mount=from=BASE,target=/m test "$(cat /m/etc/stagepin-base)" = 1\n')
    project.repository.commit()
    project.must("pin", "--repo", project.stages)
    project.move_base("2")
    project.must("build", "--repo", project.stages)
    project.must("verify", "--repo", project.stages)


WERF = """\
artifact: tools
from: BASE
fromLatest: true
shell:
  install: ["cat /etc/stagepin-base > /tools"]
---
image: app
fromImageArtifact: tools
shell:
  beforeInstall: ["test $(cat /tools) = 1"]
  setup: ["echo ready > /state"]
docker:
  USER: nobody
  ENV: {MODE: fast}
  CMD: ["cat", "/state"]
---
image: empty
from: scratch
docker:
  LABEL: {purpose: nothing}
---
image: own
fromArchive: rootfs.tar.gz
shell:
  setup: ["test $(cat /etc/stagepin-base) = archive"]
"""


@pytest.mark.engine
def test_werf_with_all_kinds_of_bases(project: RealProject) -> None:
    project.write("werf.yaml", META + WERF)
    project.repository.commit()
    data = io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(busybox_rootfs("archive"))) as source, tarfile.open(fileobj=data, mode="w:gz") as target:
        for member in source:
            target.addfile(member, source.extractfile(member) if member.isfile() else None)
    (project.repository.directory / "rootfs.tar.gz").write_bytes(data.getvalue())
    project.must("pin", "--repo", project.stages)
    project.move_base("2")
    project.must("build", "app", "--repo", project.stages)
    assert project.record["complete"] is False
    project.must("build", "--repo", project.stages, "--jobs", "3")
    project.new_workspace()
    project.must("build", "--require-built", "--repo", project.stages, DOCKER_HOST="unix:///nonexistent.sock")
    images = project.record["images"]
    states = {name: image["platforms"]["linux/amd64"]["base"]["state"] for name, image in images.items()}
    assert states == {"app": "image", "empty": "scratch", "own": "archive"}
    project.must("verify", "--recompute", "--repo", project.stages)
    connection = connect_docker({"DOCKER_HOST": project.rig.docker_host}, lambda _host: None)
    built = connection.find_image(images["app"]["platforms"]["linux/amd64"]["imageId"])
    assert built is not None
    assert (built.config["User"], built.config["Cmd"]) == ("nobody", ["cat", "/state"])
    assert {"MODE=fast", "BASE=yes"} <= set(_texts(built.config["Env"]))


def _texts(value: object) -> list[str]:
    assert isinstance(value, list)
    return [str(item) for item in value]


@pytest.mark.engine
def test_the_older_dialect(project: RealProject) -> None:
    project.write(
        "dappfile.yml",
        "artifact: tools\nfrom: BASE\nshell:\n  install: ['echo tools > /tools']\n---\n"
        'dimg: app\nfromDimgArtifact: tools\nfromCacheVersion: "{{ env "CACHE" }}"\nshell:\n  setup: ["test $(cat /tools) = tools"]\n',
    )
    project.repository.commit()
    project.must("build", "--pin", "--repo", project.stages, CACHE="1")
    project.must("verify", "--repo", project.stages)
    assert "built in" not in project.must("build", "--repo", project.stages, CACHE="1").err
    assert "app: stage from built in" in project.must("build", "--repo", project.stages, CACHE="2").err


@pytest.mark.engine
def test_at_a_desk_everything_stays_in_the_engine(project: RealProject) -> None:
    project.write("werf.yaml", META + "image: app\nfrom: BASE\nfromLatest: true\nshell:\n  setup: ['echo one']\n")
    project.repository.commit()
    ran = project.must("build", pipeline="local")
    assert "app: stage setup built in" in ran.err
    image = project.record["images"]["app"]
    assert (image["reference"], image["digest"]) == (None, None)
    project.move_base("2")
    assert "built in" not in project.must("build", pipeline="local").err
    assert project.record["images"]["app"]["platforms"]["linux/amd64"]["imageId"] == image["platforms"]["linux/amd64"]["imageId"]
    project.must("build", "--require-built", pipeline="local")


@pytest.mark.engine
def test_a_failing_command_shows_its_whole_output(project: RealProject) -> None:
    project.write(
        "werf.yaml", META + "image: app\nfrom: BASE\nshell:\n  install: ['seq 1 300; echo went wrong >&2; exit 7', 'echo never']\n"
    )
    project.repository.commit()
    ran = project.run("build", "--pin", "--repo", project.stages)
    assert ran.code == 1
    lines = [line.removeprefix("  | ") for line in ran.err.splitlines() if line.startswith("  | ")]
    assert [line for line in lines if line.isdigit()] == [str(number) for number in range(1, 301)]
    assert "went wrong" in lines
    assert "never" not in lines
    assert "error: stage 'install' of image 'app': expected " in ran.err
    assert "found exit code 7" in ran.err
    assert "\n  at: werf.yaml:4:8\n" in ran.err


def test_no_engine_where_something_has_to_be_built(tmp_path: Path) -> None:
    repository = GitRepository(tmp_path / "project")
    repository.write("werf.yaml", META + "image: app\nfrom: scratch\n")
    repository.commit()
    project = RealProject(Rig(f"unix://{tmp_path}/none.sock", "127.0.0.1:1", False), "none", repository)
    ran = project.run("build", pipeline="local")
    assert ran.code == 2
    assert f"error: no Docker engine reachable at unix://{tmp_path}/none.sock: expected an answer, found " in ran.err
    assert "\n  next: " in ran.err
