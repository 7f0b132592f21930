"""The store of git refs in a workflow that act runs: "re-run all jobs" finds the pins and the record of the first attempt.

No CI artifact goes from job to job, so that everything comes from the ref. GitHub's API is our fake on loopback (act lets GITHUB_API_URL
and GITHUB_SERVER_URL be set from outside). act knows no attempts: the second run has the first one's id and GITHUB_RUN_ATTEMPT=2, which is
what a job of a re-run sees.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ci_plugin.demo.rig import Rig
from tests.e2e.ci_project import BASE_DIGEST_LABEL, CiProject, make_project, read_labels
from tests.e2e.own_source import copy_source, offline_pip
from tests.e2e.test_act import ACT
from tests.fakes.canary import Canary
from tests.fakes.github import FakeGitHub
from tests.fakes.github import Project as Hosted

TOKEN = Canary("github-token", "ghs_c4naryTok3nOfGitHub00act")
WORKFLOW = """\
name: stagepin
on: push
env: {STAGEPIN_STORE: git-ref}
jobs:
  pin:
    runs-on: ubuntu-latest
    permissions: {contents: write}
    outputs: {pin-checksum: "${{ steps.pin.outputs.pin-checksum }}"}
    steps:
      - uses: actions/checkout@v5
      - {id: pin, uses: OWNER/stagepin@v0.1.0, with: {command: pin}}
      - {run: 'echo "attempt of the pin job: $GITHUB_RUN_ATTEMPT"'}
  build:
    needs: pin
    runs-on: ubuntu-latest
    permissions: {contents: write}
    outputs: {images: "${{ steps.build.outputs.images }}", any: "${{ steps.build.outputs.any }}"}
    steps:
      - uses: actions/checkout@v5
      - id: build
        uses: OWNER/stagepin@v0.1.0
        with: {command: build, pin-checksum: "${{ needs.pin.outputs.pin-checksum }}"}
  deploy:
    needs: [pin, build]
    runs-on: ubuntu-latest
    permissions: {contents: read}
    outputs: {verified: "${{ steps.verify.outputs.verified }}", record-checksum: "${{ steps.verify.outputs.record-checksum }}"}
    steps:
      - uses: actions/checkout@v5
      - id: verify
        uses: OWNER/stagepin@v0.1.0
        with: {command: verify, pin-checksum: "${{ needs.pin.outputs.pin-checksum }}"}
  witness:
    needs: [pin, build, deploy]
    runs-on: ubuntu-latest
    steps: [{env: {NEEDS: '${{ toJSON(needs) }}'}, run: 'printf %s "$NEEDS" > "$WITNESS"'}]
"""


@pytest.fixture
def github() -> Iterator[FakeGitHub]:
    with FakeGitHub() as running:
        yield running


@pytest.fixture
def hosted(github: FakeGitHub) -> Hosted:
    made = github.add_project("octo/app", id=4711)
    made.commit_files({"README.md": b"hello"})
    github.add_token(TOKEN.text, contents="write")
    return made


@pytest.fixture
def project(tmp_path: Path, rig: Rig) -> CiProject:
    made = make_project(tmp_path, rig, "octo", "dockerfile", "https://github.com/octo/app.git")
    file = made.directory / ".github" / "workflows" / "stagepin.yml"
    file.parent.mkdir(parents=True)
    file.write_text(WORKFLOW, "utf-8")
    made.commit()
    return made


def test_after_a_rerun_of_all_jobs_pins_and_record_are_those_of_the_first_attempt(
    project: CiProject, github: FakeGitHub, hosted: Hosted, tmp_path: Path
) -> None:
    action = copy_source(tmp_path / "action")
    pinned = project.move_base("first")

    first, log = run_attempt(project, github, action, 1)
    assert "pinned for pipeline:77, references: 1" in log
    ref = {name: commit for name, commit in hosted.git.refs.items() if "stagepin/" in name}
    assert len(ref) == 1
    assert project.move_base("second") != pinned

    again, log = run_attempt(project, github, action, 2)
    assert "attempt of the pin job: 2" in log
    assert f"pins of pipeline:77 adopted from git ref on {github.url.removeprefix('http://')}/octo/app" in log
    assert "pinned for pipeline:77" not in log
    assert again["pin"]["outputs"] == first["pin"]["outputs"] != {}
    assert again["build"]["outputs"]["images"] == first["build"]["outputs"]["images"]
    assert (first["build"]["outputs"]["any"], again["build"]["outputs"]["any"]) == ("true", "false")
    assert first["deploy"]["outputs"]["verified"] == again["deploy"]["outputs"]["verified"] == "true"
    (image,) = json.loads(again["build"]["outputs"]["images"]).values()
    assert read_labels(image)[BASE_DIGEST_LABEL] == pinned != project.current_base()
    assert [name for name in hosted.git.refs if "stagepin/" in name] == list(ref), "one scope, one ref"


def run_attempt(project: CiProject, github: FakeGitHub, action: Path, attempt: int) -> tuple[dict[str, Any], str]:
    """Every job of the push event through act, in fresh checkouts; what the jobs handed on, and the log."""
    witness = project.home / f"needs-{attempt}.json"
    environment = {
        "GITHUB_RUN_ID": "77",
        "GITHUB_RUN_ATTEMPT": str(attempt),
        "GITHUB_REPOSITORY_ID": "4711",
        "GITHUB_SERVER_URL": github.url,
        "GITHUB_API_URL": github.url,
        "STAGEPIN_REPO": project.repo,
        "DOCKER_HOST": project.rig.docker_host,
        "WITNESS": str(witness),
        **offline_pip(),
    }
    command = [str(ACT), "push", "-P", "ubuntu-latest=-self-hosted", "--no-cache-server", "-s", f"GITHUB_TOKEN={TOKEN.text}"]
    command += [f"--local-repository=OWNER/stagepin@v0.1.0={action}"]
    for name, value in environment.items():
        command += ["--env", f"{name}={value}"]
    log = project.run(*command)
    TOKEN.assert_hidden(log)
    needs: dict[str, Any] = json.loads(witness.read_text("utf-8"))
    assert {job: needs[job]["result"] for job in needs} == {"pin": "success", "build": "success", "deploy": "success"}
    return needs, re.sub(r"\x1b\[[0-9;]*m", "", log)
