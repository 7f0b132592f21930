"""What the fake artifact service refuses; what it does for a client that behaves is in test_github_artifact_client.py."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator

import pytest

from tests.fakes.github import FakeGitHub, Project, Run
from tests.fakes.github_bare_client import BareClient, ask_once
from tests.fakes.github_results import SERVICE
from tests.fakes.github_state import zip_of

PINS = zip_of({".stagepin/pins.json": b"{}"})


@pytest.fixture
def fake() -> Iterator[FakeGitHub]:
    with FakeGitHub() as running:
        yield running


@pytest.fixture
def project(fake: FakeGitHub) -> Project:
    made = fake.add_project("group/app")
    made.commit_files({"README.md": b"hello"})
    return made


@pytest.fixture
def run(project: Project) -> Run:
    return project.start_run("pin", "build")


class Runner:
    """The runner's side of the service, in a job of a run's current attempt."""

    def __init__(self, fake: FakeGitHub, project: Project, run: int) -> None:
        self._fake = fake
        self.token = fake.job_environment(project, run)["ACTIONS_RUNTIME_TOKEN"]
        claims = json.loads(base64.urlsafe_b64decode(self.token.split(".")[1] + "=="))
        _, self.run_id, self.job_id = claims["scp"].split(":")

    def call(self, method: str, **fields: object) -> tuple[int, dict[str, object]]:
        """Status and document."""
        ids = {"workflow_run_backend_id": self.run_id, "workflow_job_run_backend_id": self.job_id}
        status, document, _ = ask_once(self._fake, self.token, "POST", f"{SERVICE}{method}", {**ids, **fields})
        return status, document

    def create(self, name: str) -> str:
        """Take a name; the address for the bytes."""
        status, document = self.call("CreateArtifact", name=name, version=7)
        assert (status, document["ok"]) == (200, True)
        return str(document["signed_upload_url"])

    def upload(self, name: str, data: bytes = PINS) -> None:
        """All of it, with a blob written in one go."""
        put(self._fake, self.create(name), data)
        assert self.call("FinalizeArtifact", name=name, size=str(len(data)))[0] == 200


def put(fake: FakeGitHub, url: str, data: bytes) -> int:
    """Write a blob in one block of one byte and one of the rest; the last status."""
    with BareClient(fake) as client:
        for name, part in (("MQ==", data[:1]), ("Mg==", data[1:])):
            client.send("PUT", f"{url}&comp=block&blockid={name}", part)
        blocks = b"<BlockList><Latest>MQ==</Latest><Latest>Mg==</Latest></BlockList>"
        return client.send("PUT", f"{url}&comp=blocklist", blocks)


def test_a_token_or_a_run_that_is_not_ones_own_is_refused(fake: FakeGitHub, project: Project, run: Run) -> None:
    ours, theirs = Runner(fake, project, run.id), Runner(fake, project, project.start_run("pin").id)
    theirs.run_id = ours.run_id
    assert theirs.call("ListArtifacts") == (403, {"code": "permission_denied", "msg": "the token is for another workflow run"})

    ours.token = "e30.e30.forged"
    assert ours.call("ListArtifacts")[0] == 401
    assert ask_once(fake, ours.token, "POST", f"{SERVICE}Nothing", {})[:2] == (
        404,
        {"code": "bad_route", "msg": "no handler for this path"},
    )


@pytest.mark.parametrize("name", ["", "a/b", "a:b", 'a"b', "a\nb"])
def test_a_name_that_cannot_be_one_is_refused(fake: FakeGitHub, project: Project, run: Run, name: str) -> None:
    assert Runner(fake, project, run.id).call("CreateArtifact", name=name)[0] == 400


@pytest.mark.parametrize("claim", [{"size": "1"}, {"size": str(len(PINS)), "hash": f"sha256:{'0' * 64}"}])
def test_bytes_that_are_not_what_was_claimed_burn_the_name(fake: FakeGitHub, project: Project, run: Run, claim: dict[str, object]) -> None:
    runner = Runner(fake, project, run.id)
    assert put(fake, runner.create("pins"), PINS) == 201

    assert runner.call("FinalizeArtifact", name="pins", **claim)[0] == 400

    assert runner.call("ListArtifacts") == (200, {"artifacts": []})
    assert runner.call("CreateArtifact", name="pins")[0] == 409
    assert runner.call("DeleteArtifact", name="pins") == (404, {"code": "not_found", "msg": "artifact not found"})


def test_a_block_list_that_names_a_block_nobody_sent_is_refused(fake: FakeGitHub, project: Project, run: Run) -> None:
    url = Runner(fake, project, run.id).create("pins")

    with BareClient(fake) as client:
        assert client.send("PUT", f"{url}&comp=blocklist", b"<BlockList><Latest>MQ==</Latest></BlockList>") == 400


def test_each_attempt_has_its_own_artifact_of_a_name(fake: FakeGitHub, project: Project, run: Run) -> None:
    first = Runner(fake, project, run.id)
    first.upload("pins")
    project.finish_run(run.id, failed=["build"])
    project.rerun_failed(run.id)
    second = Runner(fake, project, run.id)
    second.upload("pins", zip_of({".stagepin/pins.json": b"other"}))

    assert [(one.attempt, one.data == PINS) for one in project.artifacts(run.id)] == [(2, False), (1, True)]
    second.run_id = first.run_id
    _, signed = second.call("GetSignedArtifactURL", name="pins")
    assert ask_once(fake, None, "GET", str(signed["signed_url"]))[1] == PINS


def test_an_address_for_reading_takes_no_bytes(fake: FakeGitHub, project: Project, run: Run) -> None:
    runner = Runner(fake, project, run.id)
    runner.upload("pins")
    _, signed = runner.call("GetSignedArtifactURL", name="pins")

    with BareClient(fake) as client:
        assert client.send("PUT", str(signed["signed_url"]), b"others") == 403

    assert ask_once(fake, None, "GET", str(signed["signed_url"]))[1] == PINS


def test_a_part_of_a_blob_can_be_had(fake: FakeGitHub, project: Project, run: Run) -> None:
    runner = Runner(fake, project, run.id)
    runner.upload("pins")
    _, signed = runner.call("GetSignedArtifactURL", name="pins")

    with BareClient(fake) as client:
        client.headers["Range"] = "bytes=2-5"
        status, data, headers = client.ask("GET", str(signed["signed_url"]))

    assert (status, data, headers["Content-Range"]) == (206, PINS[2:6], f"bytes 2-5/{len(PINS)}")
