"""The GitLab template and the example, run by gitlab-ci-local on this machine, job by job, so that the base can move in between.

gitlab-ci-local simulates neither expiry nor retries: the artifacts are deleted here, and the deploy job is simply run again.
``needs: artifacts: false`` keeps them from the deploy job in any case.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ci_plugin.demo.rig import Rig
from tests.e2e.ci_project import BASE_DIGEST_LABEL, CiProject, make_project, read_labels
from tests.e2e.own_source import ROOT, from_wheel, offline_pip

PROGRAM = ROOT / ".cache" / "npm" / "node_modules" / ".bin" / "gitlab-ci-local"
STATE = Path(".gitlab-ci-local")


@pytest.fixture(params=["dockerfile", "werf"])
def project(request: pytest.FixtureRequest, tmp_path: Path, rig: Rig) -> CiProject:
    """The example as it is, for a runner that hands its own engine to the job: the inputs that GitLab's users would give for that."""
    project = make_project(tmp_path, rig, f"gitlab-{request.param}", request.param, "git@gitlab.example.com:group/app.git")
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


def test_the_example_pipeline_deploys_what_was_pinned_although_the_base_moves_between_its_jobs(project: CiProject, job_path: str) -> None:
    pip = offline_pip()
    artifacts, deployed = project.directory / STATE / "artifacts", project.directory / STATE / "builds" / "deploy" / ".stagepin"

    def run(job: str) -> str:
        options = ["--force-shell-executor", "--shell-isolation", "--no-artifacts-to-source", "--home", str(project.home)]
        options += ["--variable", "CI_PIPELINE_ID=1001", "--variable", f"STAGEPIN_REPO={project.repo}"]
        return project.run(str(PROGRAM), *options, job, env={"PATH": job_path, **pip})

    pinned = project.move_base("first")
    run("stagepin-pin")
    pin_file = json.loads((artifacts / "stagepin-pin" / ".stagepin" / "pins.json").read_text("utf-8"))
    assert [pin["digest"] for pin in pin_file["pins"]] == [pinned]
    assert pin_file["scope"] == "pipeline:1001"

    project.move_base("second")
    run("stagepin-build")
    built = artifacts / "stagepin-build" / ".stagepin"
    record = json.loads((built / "build.json").read_text("utf-8"))
    assert json.loads((built / "pins.json").read_text("utf-8")) == pin_file
    assert record["pins"] == pin_file["checksum"]
    on_a_pinned_base = [entry for entry in record["images"].values() if entry["platforms"]["linux/amd64"]["base"]["state"] == "pinned"]
    assert [read_labels(entry["reference"])[BASE_DIGEST_LABEL] for entry in on_a_pinned_base] == [pinned]

    shutil.rmtree(artifacts)
    for version in ("third", "fourth"):
        assert project.move_base(version) != pinned
        shown = run("deploy").partition("cat stagepin.env")[2]
        assert [name for name, entry in record["images"].items() if entry["reference"] not in shown] == []
        assert json.loads((deployed / "pins.json").read_text("utf-8")) == pin_file
        assert json.loads((deployed / "build.json").read_text("utf-8")) == record
