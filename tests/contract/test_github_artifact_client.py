"""GitHub's own artifact client (npm ``@actions/artifact``, unmodified, fetched by scripts/github-contract) against the fake.

What it does in a job is done here: upload, list, get, download with a check of the digest, delete; over the runner's artifact service and,
for the artifacts of other runs, over the REST API. Where it refuses, it says what it says in production.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.clock import FakeClock
from tests.fakes.github import FakeGitHub, Project, Run
from tests.fakes.github_openapi import problems

_ROOT = Path(__file__).parents[2]
_CLIENT = _ROOT / ".cache/npm-github/node_modules/@actions/artifact/lib/artifact.js"
_DRIVER = _ROOT / "tests/data/github/artifact-client.mjs"
TAKEN = (
    "Error: Failed to CreateArtifact: Received non-retryable error: Failed request: (409) Conflict: "
    "an artifact with this name already exists on the workflow run"
)


@pytest.fixture
def fake() -> Iterator[FakeGitHub]:
    with FakeGitHub(record=True) as running:
        yield running
    assert problems(running.exchanges) == []


@pytest.fixture
def project(fake: FakeGitHub) -> Project:
    made = fake.add_project("group/app")
    made.commit_files({"README.md": b"hello"})
    return made


class JobWithClient:
    """A job of a run's current attempt that uses the official client; its workspace holds ``.stagepin/pins.json``."""

    def __init__(self, fake: FakeGitHub, project: Project, run: Run, workspace: Path, token: str = "") -> None:
        assert _CLIENT.exists(), f"expected GitHub's artifact client at {_CLIENT}, found none; run scripts/github-contract (make test does)"
        self.workspace = workspace
        self._environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        self._environment |= fake.job_environment(project, run.id, token=token) | {"GITHUB_WORKSPACE": str(workspace)}
        self._environment["GITHUB_SERVER_URL"] = "https://github.com"  # elsewhere the client refuses to work
        self.pins = workspace / ".stagepin" / "pins.json"
        self.pins.parent.mkdir(exist_ok=True)
        self.pins.write_text('{"schemaVersion": 1}')

    def upload(self, name: str = "stagepin-pins") -> dict[str, Any]:
        """The step that uploads the pin file."""
        return {"do": "uploadArtifact", "arguments": [name, [str(self.pins)], str(self.workspace)]}

    def run(self, *steps: dict[str, Any]) -> list[Any]:
        """What each step gives: its value, or its error as text."""
        asked, answered = self.workspace / "steps.json", self.workspace / "results.json"
        asked.write_text(json.dumps(steps))
        command = ["node", str(_DRIVER), str(_CLIENT), str(asked), str(answered)]
        done = subprocess.run(command, env=self._environment, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return [one.get("error", one.get("value")) for one in json.loads(answered.read_text())]


def step(do: str, *arguments: object) -> dict[str, Any]:
    """One call of the client."""
    return {"do": do, "arguments": list(arguments)}


def test_the_official_client_uploads_lists_gets_and_downloads(fake: FakeGitHub, project: Project, tmp_path: Path) -> None:
    run = project.start_run("pin")
    job = JobWithClient(fake, project, run, tmp_path)

    uploaded, listed, got = job.run(job.upload(), step("listArtifacts"), step("getArtifact", "stagepin-pins"))

    stored = project.artifacts(run.id)[0]
    described = {
        "name": "stagepin-pins",
        "id": stored.id,
        "size": len(stored.data),
        "createdAt": "2026-01-02T03:04:05.000Z",
        "digest": stored.digest,
    }
    assert uploaded == {"size": len(stored.data), "digest": stored.digest.removeprefix("sha256:"), "id": stored.id}
    assert listed == {"artifacts": [described]}
    assert got == {"artifact": described}

    there = tmp_path / "there"
    wanted = {"path": str(there), "expectedHash": stored.digest}
    assert job.run(step("downloadArtifact", stored.id, wanted)) == [{"downloadPath": str(there), "digestMismatch": False}]
    assert (there / ".stagepin" / "pins.json").read_text() == '{"schemaVersion": 1}'
    other = {"path": str(there), "expectedHash": f"sha256:{'0' * 64}"}
    assert job.run(step("downloadArtifact", stored.id, other)) == [{"downloadPath": str(there), "digestMismatch": True}]


def test_a_name_is_taken_for_its_attempt_and_free_in_the_next(fake: FakeGitHub, project: Project, tmp_path: Path) -> None:
    run = project.start_run("pin", "build")
    job = JobWithClient(fake, project, run, tmp_path)

    first, second = job.run(job.upload(), job.upload())
    assert second == TAKEN

    project.finish_run(run.id, failed=["build"])
    project.rerun_failed(run.id)
    job = JobWithClient(fake, project, run, tmp_path)
    third, listed, got = job.run(job.upload(), step("listArtifacts", {"latest": False}), step("getArtifact", "stagepin-pins"))

    assert [one["id"] for one in listed["artifacts"]] == [third["id"], first["id"]]
    assert got["artifact"]["id"] == third["id"]


def test_a_later_attempt_reads_what_an_earlier_one_uploaded_unless_all_jobs_ran_again(
    fake: FakeGitHub, project: Project, tmp_path: Path
) -> None:
    run = project.start_run("pin", "build")
    job = JobWithClient(fake, project, run, tmp_path)
    [uploaded] = job.run(job.upload())
    project.finish_run(run.id, failed=["build"])

    project.rerun_failed(run.id)
    later = JobWithClient(fake, project, run, tmp_path)
    assert later.run(step("downloadArtifact", uploaded["id"], {"path": str(tmp_path / "there")})) == [
        {"downloadPath": str(tmp_path / "there"), "digestMismatch": False}
    ]

    project.finish_run(run.id)
    project.rerun_all(run.id)
    [listed, again] = JobWithClient(fake, project, run, tmp_path).run(step("listArtifacts"), job.upload())
    assert listed == {"artifacts": []}
    assert again["id"] > uploaded["id"]


def test_a_finalize_that_fails_burns_the_name(fake: FakeGitHub, project: Project, tmp_path: Path) -> None:
    run = project.start_run("pin")
    job = JobWithClient(fake, project, run, tmp_path)
    fake.fail(path="FinalizeArtifact", status=403, body=b'{"code": "permission_denied", "msg": "injected"}')

    failed, again, listed, deleted = job.run(job.upload(), job.upload(), step("listArtifacts"), step("deleteArtifact", "stagepin-pins"))

    assert failed == "Error: Failed to FinalizeArtifact: Received non-retryable error: Failed request: (403) Forbidden: injected"
    assert again == TAKEN
    assert listed == {"artifacts": []}
    assert deleted.startswith("ArtifactNotFoundError: ")
    assert project.artifacts(run.id) == []


def test_overwriting_is_deleting_and_gives_another_id(fake: FakeGitHub, project: Project, tmp_path: Path) -> None:
    job = JobWithClient(fake, project, project.start_run("pin"), tmp_path)

    first, deleted, second = job.run(job.upload(), step("deleteArtifact", "stagepin-pins"), job.upload())

    assert deleted == {"id": first["id"]}
    assert second["id"] > first["id"]


def test_no_artifact_is_kept_longer_than_90_days_and_an_expired_one_is_gone(tmp_path: Path) -> None:
    # The client counts the days from its own clock, which is years ahead of this one.
    with FakeGitHub(FakeClock(datetime(2020, 1, 1, tzinfo=UTC))) as fake:
        project = fake.add_project("group/app")
        project.commit_files({"README.md": b"hello"})
        run = project.start_run("pin")
        job = JobWithClient(fake, project, run, tmp_path)
        upload = job.upload()

        [uploaded] = job.run({**upload, "arguments": [*upload["arguments"], {"retentionDays": 5}]})
        assert project.stored[uploaded["id"]].expires_at == datetime(2020, 3, 31, tzinfo=UTC)

        project.expire_artifact(uploaded["id"])
        listed, refused = job.run(step("listArtifacts"), step("downloadArtifact", uploaded["id"], {"path": str(tmp_path)}))
        assert listed == {"artifacts": []}
        assert refused.startswith("ArtifactNotFoundError: No artifacts found for ID")


def test_the_official_client_reads_another_runs_artifacts_over_the_rest_api(fake: FakeGitHub, project: Project, tmp_path: Path) -> None:
    token = fake.add_token(actions="read")
    earlier = project.start_run("pin")
    stored = project.add_artifact(earlier.id, "stagepin-pins", {".stagepin/pins.json": b"{}"})
    for number in range(101):
        project.add_artifact(earlier.id, f"other-{number}", {"x": b"1"})
    job = JobWithClient(fake, project, project.start_run("deploy"), tmp_path, token)
    there = {"findBy": {"token": token, "workflowRunId": earlier.id, "repositoryOwner": "group", "repositoryName": "app"}}

    listed, got, downloaded = job.run(
        step("listArtifacts", there),
        step("getArtifact", "stagepin-pins", there),
        step("downloadArtifact", stored.id, {**there, "path": str(tmp_path / "there"), "expectedHash": stored.digest}),
    )

    assert len(listed["artifacts"]) == 102
    assert got["artifact"]["digest"] == stored.digest
    assert downloaded == {"downloadPath": str(tmp_path / "there"), "digestMismatch": False}
    assert (tmp_path / "there" / ".stagepin" / "pins.json").read_text() == "{}"
    assert [request.authorization for request in fake.blobs.requests] == [""]


def test_the_rest_api_shows_what_the_official_client_uploaded(fake: FakeGitHub, project: Project, tmp_path: Path) -> None:
    token = fake.add_token(actions="read")
    run = project.start_run("pin")
    job = JobWithClient(fake, project, run, tmp_path, token)
    there = {"findBy": {"token": token, "workflowRunId": run.id, "repositoryOwner": "group", "repositoryName": "app"}}

    uploaded, inside, outside = job.run(job.upload(), step("getArtifact", "stagepin-pins"), step("getArtifact", "stagepin-pins", there))

    assert inside == outside
    assert inside["artifact"]["id"] == uploaded["id"]
