"""The project's template with ``STAGEPIN_STORE=generic-package``, run by gitlab-ci-local against the fake GitLab, job by job.

The jobs install stagepin from its own wheel with the extra ``gitlab``; pins and record reach later jobs through the package store alone,
because every artifact is deleted between them. gitlab-ci-local has no API of its own: the variables name the fake's.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ci_plugin.demo.rig import Rig
from tests.e2e.ci_project import BASE_DIGEST_LABEL, CiProject, make_project, read_labels
from tests.e2e.own_source import ROOT, from_wheel, offline_pip
from tests.fakes.gitlab import FakeGitLab

PROGRAM = ROOT / ".cache" / "npm" / "node_modules" / ".bin" / "gitlab-ci-local"
STATE = Path(".gitlab-ci-local")


@pytest.fixture
def gitlab() -> Iterator[FakeGitLab]:
    with FakeGitLab() as running:
        running.add_pipeline(running.add_project("group/app", 4711))
        yield running


@pytest.fixture
def project(tmp_path: Path, rig: Rig) -> CiProject:
    """The Dockerfile example with our template, on a runner that hands its own engine to the job."""
    project = make_project(tmp_path, rig, "gitlab-packages", "dockerfile", "git@gitlab.example.com:group/app.git")
    shutil.copytree(ROOT / "templates", project.directory / "templates")
    example = (ROOT / ".gitlab-ci.example.yml").read_text("utf-8")
    inputs = f"inputs:\n      services: []\n      docker-host: {rig.docker_host}"
    (project.directory / ".gitlab-ci.yml").write_text(from_wheel(example, tmp_path / "build").replace("inputs:", inputs), "utf-8")
    project.commit()
    return project


@pytest.fixture
def job_path(tmp_path: Path) -> str:
    """A PATH whose python and pip are those of a job image: an environment of its own, empty but for pip."""
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "image")], check=True)
    return f"{tmp_path / 'image' / 'bin'}{os.pathsep}{os.environ['PATH']}"


def test_the_template_keeps_pins_and_record_in_packages_and_deploys_after_every_artifact_is_gone(
    project: CiProject, gitlab: FakeGitLab, job_path: str
) -> None:
    pip = offline_pip()
    host, _, port = gitlab.address.rpartition(":")
    variables = {
        "CI_PIPELINE_ID": "1001",
        "CI_PROJECT_ID": "4711",
        "CI_SERVER_HOST": host,
        "CI_SERVER_PORT": port,
        "CI_SERVER_PROTOCOL": "http",
        "CI_API_V4_URL": gitlab.api_url,
        "CI_JOB_TOKEN": gitlab.add_job_token(gitlab.state.projects[4711]),
        "STAGEPIN_REPO": project.repo,
        "STAGEPIN_STORE": "generic-package",
    }
    artifacts, builds = project.directory / STATE / "artifacts", project.directory / STATE / "builds"

    def run(job: str) -> str:
        shutil.rmtree(artifacts, ignore_errors=True)
        options = ["--force-shell-executor", "--shell-isolation", "--no-artifacts-to-source", "--home", str(project.home), "--no-needs"]
        options += [part for name, value in variables.items() for part in ("--variable", f"{name}={value}")]
        printed = project.run(str(PROGRAM), *options, job, env={"PATH": job_path, **pip})
        assert variables["CI_JOB_TOKEN"] not in printed
        return printed

    def read(name: str) -> dict[str, object]:
        """The newest file of that kind in the package, as GitLab keeps it."""
        (package,) = gitlab.state.packages
        document: dict[str, object] = json.loads([file.data for file in package.files if file.name.startswith(name)][-1])
        return document

    pinned = project.move_base("first")
    assert f"kept in the workspace and in the generic package on {gitlab.address}/4711" in run("stagepin-pin")
    pin_file = read("pins-")
    assert pin_file["pipeline"] == {"forge": "gitlab", "host": gitlab.address, "id": "1001", "project": "group/app", "projectId": "4711"}

    project.move_base("second")
    assert "adopted from generic package on" in run("stagepin-pin")
    run("stagepin-build")
    record = read("build-")
    assert record["pins"] == pin_file["checksum"]
    (image,) = record["images"].values()  # type: ignore[attr-defined]
    assert read_labels(image["reference"])[BASE_DIGEST_LABEL] == pinned

    for version in ("third", "fourth"):
        assert project.move_base(version) != pinned
        shown = run("deploy").partition("cat stagepin.env")[2]
        assert image["reference"] in shown
        deployed = builds / "deploy" / ".stagepin"
        assert json.loads((deployed / "pins.json").read_text("utf-8")) == pin_file
        assert json.loads((deployed / "build.json").read_text("utf-8")) == record
    assert [file.name.partition("-")[0] for file in gitlab.state.packages[0].files] == ["pins", "build"]
