"""Pin once on GitHub: the stores that GitHub itself offers, through the command line, over re-runs, races, losses and refusals."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.fakes.canary import Canary
from tests.fakes.github import FakeGitHub, Request, Run
from tests.fakes.github import Project as Hosted
from tests.fakes.github_state import zip_of
from tests.scenarios.pipeline import PLAIN, Job, Pipeline, Project, Ran

CONFIG = "image: app\nfrom: BASE\nfromLatest: true\n"
CANARY = Canary("github-token", "ghs_c4naryTok3nOfGitHub/+00x")


@dataclass
class Workflow:
    """A repository on GitHub, its clone and the runs of its workflow; every job's clock is GitHub's."""

    github: FakeGitHub
    hosted: Hosted
    project: Project
    store: str
    token: str
    runs: dict[int, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What messages call the repository."""
        return f"{self.github.url.removeprefix('http://')}/group/app"

    def commit(self, config: str = CONFIG) -> str:
        return self.project.commit(config=config)

    def run(self, *, branch: str = "main", head_repository: int | None = None) -> Run:
        """A run of the newest commit, with a pin job and a build job."""
        commit = self.project.pipeline().commit
        run = self.hosted.start_run("pin", "build", head_sha=commit, branch=branch, head_repository=head_repository)
        self.runs[run.id] = commit
        return run

    def job(self, run: Run, *, artifacts_of: Job | None = None) -> Job:
        """A fresh runner in the run's current attempt."""
        environ = {
            **PLAIN,
            "CI": "true",
            **self.github.job_environment(self.hosted, run.id, token=self.token),
            "STAGEPIN_REPO": self.project.stages,
            "STAGEPIN_STORE": self.store,
        }
        job = Pipeline(self.project, environ, self.runs[run.id]).job(artifacts_of=artifacts_of)
        job.clock = self.github.clock
        return job

    def upload(self, run: Run, job: Job, name: str, *files: str) -> None:
        """What upload-artifact does at the end of a job; it leaves out the directory that all files share."""
        self.hosted.add_artifact(run.id, name, {file: (job.workspace / file).read_bytes() for file in files})

    def rerun_failed(self, run: Run) -> None:
        self.hosted.finish_run(run.id, failed=["build"])
        self.hosted.rerun_failed(run.id)

    def rerun_all(self, run: Run) -> None:
        self.hosted.finish_run(run.id)
        self.hosted.rerun_all(run.id)


@pytest.fixture
def github() -> Iterator[FakeGitHub]:
    with FakeGitHub() as running:
        yield running


@pytest.fixture
def workflow(github: FakeGitHub, project: Project) -> Workflow:
    hosted = github.add_project("group/app")
    hosted.commit_files({"README.md": b"hello"})
    token = github.add_token(CANARY.text, contents="write", actions="read")
    return Workflow(github, hosted, project, "git-ref", token)


@pytest.fixture
def artifacts(workflow: Workflow) -> Workflow:
    workflow.store = "ci-artifact"
    return workflow


class TestGitRef:
    def test_a_retried_pin_job_adopts_the_pins_of_the_first(self, workflow: Workflow) -> None:
        workflow.commit()
        run = workflow.run()
        first, retried = workflow.job(run), workflow.job(run)
        ran = first.must("pin")
        assert f"kept in the workspace and in the git ref on {workflow.name}" in ran.err
        workflow.project.move_base("2")
        before = len(workflow.project.upstream_requests())
        ran = retried.must("pin")
        assert f"pins of pipeline:{run.id} adopted from git ref on {workflow.name}" in ran.err
        assert retried.pins == first.pins
        assert len(workflow.project.upstream_requests()) == before
        CANARY.assert_hidden(ran.text)

    def test_after_a_rerun_of_failed_jobs_the_build_job_reads_what_the_first_attempt_pinned(self, workflow: Workflow) -> None:
        workflow.commit()
        run = workflow.run()
        pin = workflow.job(run)
        pin.must("pin")
        workflow.project.move_base("2")
        workflow.rerun_failed(run)
        build = workflow.job(run)
        assert build.environ["GITHUB_RUN_ATTEMPT"] == "2"
        build.must("build")
        assert build.pins == pin.pins
        assert build.built_on() == pin.pinned(workflow.project.base)

    def test_after_a_rerun_of_all_jobs_the_pins_are_still_those_of_the_first_attempt(self, workflow: Workflow) -> None:
        workflow.commit()
        run = workflow.run()
        first = workflow.job(run)
        first.must("pin")
        workflow.project.move_base("2")
        workflow.rerun_all(run)
        again = workflow.job(run)
        assert "adopted from git ref" in again.must("pin").err
        assert again.pins == first.pins

    def test_a_deploy_job_with_nothing_but_the_ref_verifies_what_was_built(self, workflow: Workflow) -> None:
        workflow.commit()
        run = workflow.run()
        build, deploy = workflow.job(run), workflow.job(run)
        build.must("pin")
        build.must("build")
        workflow.project.move_base("2")
        ran = deploy.must("verify")
        assert build.digest() in ran.out
        assert deploy.record == build.record

    def test_of_two_pin_jobs_at_once_the_later_adopts_the_winner(self, workflow: Workflow) -> None:
        workflow.commit()
        run = workflow.run()
        winner, loser = workflow.job(run), workflow.job(run)
        raced: list[Request] = []

        def overtake(request: Request) -> None:
            if request.method == "POST" and request.path.endswith("/git/refs") and not raced:
                raced.append(request)
                workflow.project.move_base("2")
                winner.must("pin")

        workflow.github.on_request = overtake
        loser.must("pin")
        assert raced
        assert loser.pins == winner.pins
        assert loser.pinned(workflow.project.base) == winner.pinned(workflow.project.base)

    @pytest.mark.parametrize("fault", [{"lose_reply": True}, {"drop": True}, {"status": 502}])
    @pytest.mark.parametrize("path", ["/git/blobs", "/git/trees", "/git/commits", "/git/refs"])
    def test_a_write_that_fails_once_is_made_up_for(self, path: str, fault: dict[str, object], workflow: Workflow) -> None:
        workflow.commit()
        run = workflow.run()
        workflow.github.fail(method="POST", path=path, **fault)
        first, second = workflow.job(run), workflow.job(run)
        first.must("pin")
        second.must("pin")
        assert second.pins == first.pins
        assert sum(ref.startswith("refs/stagepin/") for ref in workflow.hosted.git.refs) == 1

    @pytest.mark.parametrize("skip", range(8))
    def test_a_pin_job_that_dies_anywhere_leaves_one_set_for_its_retry(self, skip: int, workflow: Workflow) -> None:
        workflow.commit()
        run = workflow.run()
        killed, retried, later = (workflow.job(run) for _ in range(3))
        fault = workflow.github.fail(lose_reply=True, skip=skip, times=None)
        ran = killed.run("pin")
        assert ran.code == 3
        assert not (killed.workspace / "pins.json").exists()
        fault.times = 0
        workflow.project.move_base("2")
        retried.must("pin")
        workflow.project.move_base("3")
        later.must("pin")
        assert later.pins == retried.pins

    def test_a_ref_that_exists_and_cannot_be_read_stops_the_job_and_nothing_is_pinned_twice(self, workflow: Workflow) -> None:
        workflow.commit()
        run = workflow.run()
        first, second = workflow.job(run), workflow.job(run)
        first.must("pin")
        workflow.project.move_base("2")
        ref = next(name for name in workflow.hosted.git.refs if name.startswith("refs/stagepin/"))
        workflow.github.fail(method="GET", path=f"/git/{ref.replace('refs/', 'ref/')}", status=404, times=None)
        ran = second.run("pin")
        assert ran.code == 3
        assert f"error: expected {ref} on {workflow.name} after being refused to create it, found none yet" in ran.err
        assert "next: GitHub's replicas lag behind each other; run the job again" in ran.err
        assert not (second.workspace / "pins.json").exists()

    def test_a_reader_waits_for_what_an_earlier_job_wrote(self, workflow: Workflow) -> None:
        workflow.commit()
        run = workflow.run()
        pin, build = workflow.job(run), workflow.job(run)
        pin.must("pin")
        ref = next(name for name in workflow.hosted.git.refs if name.startswith("refs/stagepin/"))
        workflow.github.fail(method="GET", path=f"/git/{ref.replace('refs/', 'ref/')}", status=404)
        build.must("build")
        assert build.pins == pin.pins
        assert workflow.github.clock.slept[0] == 5.0

    def test_a_ref_that_somebody_else_wrote_is_refused(self, workflow: Workflow) -> None:
        workflow.commit()
        run = workflow.run()
        pin = workflow.job(run)
        pin.must("pin")
        ref = next(name for name in workflow.hosted.git.refs if name.startswith("refs/stagepin/"))
        workflow.hosted.git.refs[ref] = workflow.hosted.git.refs["refs/heads/main"]
        for command in ("pin", "build", "fetch"):
            ran = workflow.job(run).run(command)
            assert ran.code == 2
            assert "error: expected a pin set of stagepin, found no pins.json in the ref" in ran.err
            assert f"at: {workflow.name} {ref}" in ran.err
            assert "next: somebody else wrote this ref; delete it, then run the pin job again" in ran.err

    def test_a_tag_run_ships_what_the_branch_run_of_the_same_commit_tested(self, workflow: Workflow) -> None:
        workflow.commit()
        branch, tag = workflow.job(workflow.run()), workflow.job(workflow.run(branch="v1.0"))
        branch.must("pin", STAGEPIN_SCOPE="commit")
        branch.must("build", STAGEPIN_SCOPE="commit")
        workflow.project.move_base("2")
        tag.must("pin", STAGEPIN_SCOPE="commit")
        ran = tag.must("verify", STAGEPIN_SCOPE="commit")
        assert tag.pins == branch.pins
        assert branch.digest() in ran.out

    def test_a_rollback_names_the_run_whose_pins_and_record_it_wants(self, workflow: Workflow) -> None:
        workflow.commit()
        old = workflow.run()
        shipped = workflow.job(old)
        shipped.must("pin")
        shipped.must("build")
        workflow.project.move_base("2")
        workflow.commit(CONFIG + "shell:\n  setup: [echo later]\n")
        rollback = workflow.job(workflow.run())
        rollback.must("fetch", "--pipeline", str(old.id))
        assert (rollback.pins, rollback.record) == (shipped.pins, shipped.record)
        assert shipped.digest() in rollback.must("verify", "--pipeline", str(old.id)).out

    def test_a_job_that_needs_pins_and_finds_none_stops_with_the_fix(self, workflow: Workflow) -> None:
        workflow.commit()
        ran = workflow.job(workflow.run()).run("build")
        assert ran.code == 2
        assert f"and git ref on {workflow.name})" in ran.err
        assert "next: run `stagepin pin` in an earlier job of this scope" in ran.err
        assert workflow.project.upstream_requests() == []

    def test_a_store_of_the_other_forge_is_refused(self, workflow: Workflow) -> None:
        workflow.commit()
        ran = workflow.job(workflow.run()).run("pin", STAGEPIN_STORE="generic-package")
        assert ran.code == 2
        assert "error: expected a job of GitLab for the store generic-package, found one of GitHub" in ran.err
        assert workflow.github.requests == []


class TestCiArtifact:
    def test_a_build_job_reads_the_pin_jobs_artifact(self, artifacts: Workflow) -> None:
        artifacts.commit()
        run = artifacts.run()
        pin, build = artifacts.job(run), artifacts.job(run)
        pin.must("pin")
        artifacts.upload(run, pin, "stagepin-pins", "pins.json")
        artifacts.project.move_base("2")
        ran = build.must("build")
        assert f"pins of pipeline:{run.id} from CI artifacts of {artifacts.name}" in ran.err
        assert build.pins == pin.pins
        CANARY.assert_hidden(ran.text)
        assert all("authorization" not in request.headers for request in artifacts.github.blobs.requests)

    def test_a_deploy_job_reads_pins_and_record(self, artifacts: Workflow) -> None:
        artifacts.commit()
        run = artifacts.run()
        build, deploy = artifacts.job(run), artifacts.job(run)
        build.must("pin")
        build.must("build")
        artifacts.upload(run, build, "stagepin-record", "pins.json", "build.json")
        assert build.digest() in deploy.must("verify").out

    def test_a_retried_pin_job_adopts_the_oldest_artifact(self, artifacts: Workflow) -> None:
        artifacts.commit()
        run = artifacts.run()
        first, retried, build = artifacts.job(run), artifacts.job(run), artifacts.job(run)
        first.must("pin")
        artifacts.upload(run, first, "stagepin-pins", "pins.json")
        artifacts.project.move_base("2")
        artifacts.rerun_failed(run)
        assert f"adopted from CI artifacts of {artifacts.name}" in retried.must("pin").err
        artifacts.upload(run, retried, "stagepin-pins", "pins.json")
        build.must("build")
        assert build.pins == retried.pins == first.pins

    def test_a_rerun_of_all_jobs_has_lost_the_artifacts_and_pins_anew(self, artifacts: Workflow) -> None:
        artifacts.commit()
        run = artifacts.run()
        first = artifacts.job(run)
        first.must("pin")
        artifacts.upload(run, first, "stagepin-pins", "pins.json")
        artifacts.project.move_base("2")
        artifacts.rerun_all(run)
        again = artifacts.job(run)
        ran = again.must("pin")
        assert f"pinned for pipeline:{run.id}, references: 1" in ran.err
        assert again.pinned(artifacts.project.base) != first.pinned(artifacts.project.base), "the documented limit of CI artifacts"

    def test_what_is_promised_names_that_limit(self, artifacts: Workflow) -> None:
        artifacts.commit()
        ran = artifacts.job(artifacts.run()).run("doctor")
        assert "on GitHub they outlive a re-run of failed jobs, are lost by a re-run of all jobs, which then pins anew" in ran.text

    def test_an_expired_artifact_is_no_pin_set_and_nothing_is_resolved(self, artifacts: Workflow) -> None:
        artifacts.commit()
        run = artifacts.run()
        pin = artifacts.job(run)
        pin.must("pin")
        artifacts.upload(run, pin, "stagepin-pins", "pins.json")
        artifacts.github.clock.advance(91 * 24 * 3600)
        before = len(artifacts.project.upstream_requests())
        for command in ("build", "fetch", "verify"):
            ran = artifacts.job(run).run(command)
            assert ran.code == 2
            assert f"expected the pins of pipeline:{run.id}" in ran.err
            assert f"CI artifacts of {artifacts.name}" in ran.err
        assert len(artifacts.project.upstream_requests()) == before

    def test_an_artifact_that_is_listed_and_cannot_be_had_stops_even_the_pin_job(self, artifacts: Workflow) -> None:
        artifacts.commit()
        run = artifacts.run()
        pin = artifacts.job(run)
        pin.must("pin")
        artifacts.upload(run, pin, "stagepin-pins", "pins.json")
        artifacts.github.fail(host="blob", status=404, times=None)
        before = len(artifacts.project.upstream_requests())
        ran = artifacts.job(run).run("pin")
        assert ran.code == 3
        assert "error: expected the artifact stagepin-pins, which the listing shows, found status 404 from http://localhost:" in ran.err
        assert "next: run the job again; if it stays so, keep pins where they can be had: --store git-ref or stages-storage" in ran.err
        assert len(artifacts.project.upstream_requests()) == before

    def test_bytes_that_come_at_the_third_try_are_taken(self, artifacts: Workflow) -> None:
        artifacts.commit()
        run = artifacts.run()
        pin, build = artifacts.job(run), artifacts.job(run)
        pin.must("pin")
        artifacts.upload(run, pin, "stagepin-pins", "pins.json")
        artifacts.github.fail(host="blob", status=404, times=2)
        build.must("build")
        assert build.pins == pin.pins

    def test_an_artifact_of_the_same_name_from_another_run_is_another_runs(self, artifacts: Workflow) -> None:
        artifacts.commit()
        other, run = artifacts.run(), artifacts.run()
        stranger = artifacts.job(other)
        stranger.must("pin")
        artifacts.upload(other, stranger, "stagepin-pins", "pins.json")
        assert artifacts.job(run).run("build").code == 2
        artifacts.upload(run, stranger, "stagepin-pins", "pins.json")
        ran = artifacts.job(run).run("build")
        assert ran.code == 2
        assert f"expected the pins of pipeline:{run.id}, found none" in ran.err

    def test_a_forks_artifact_is_refused_when_a_run_of_the_project_asks_for_it(self, artifacts: Workflow) -> None:
        artifacts.commit()
        fork = artifacts.github.add_project("mallory/app", fork_of=artifacts.hosted.id)
        theirs, ours = artifacts.run(head_repository=fork.id), artifacts.run()
        pin = artifacts.job(theirs)
        pin.must("pin")
        artifacts.upload(theirs, pin, "stagepin-pins", "pins.json")
        ran = artifacts.job(ours).run("fetch", "--pipeline", str(theirs.id))
        assert ran.code == 2
        assert (
            f"error: expected pins and records that code of group/app made, found an artifact of a fork (repository id {fork.id})"
            in ran.err
        )
        assert "next: a fork's run may write any pins it likes: pin in a run of this repository, and deploy that" in ran.err

    @pytest.mark.parametrize("member", ["../../canary", "/canary", "pins.json"])
    def test_a_hostile_archive_is_refused_and_leaves_no_trace(self, member: str, artifacts: Workflow, tmp_path: Path) -> None:
        artifacts.commit()
        run = artifacts.run()
        files = {member: b"{}"} if member != "pins.json" else {member: b"{}", "PINS.json": b"{}"}
        artifacts.hosted.add_artifact(run.id, "stagepin-pins", zip_of(files))
        job = artifacts.job(run)
        before = _snapshot(tmp_path)
        ran = job.run("fetch")
        assert ran.code == 2
        assert "error: expected a zip archive as the CI makes it, found " in ran.err
        assert "(stagepin-pins)" in ran.err
        assert _snapshot(tmp_path) == before

    def test_an_artifact_that_holds_no_pin_file_is_refused_by_name(self, artifacts: Workflow) -> None:
        artifacts.commit()
        run = artifacts.run()
        artifacts.hosted.add_artifact(run.id, "pins.json", b"<html>no</html>")
        ran = artifacts.job(run).run("fetch")
        assert ran.code == 2
        assert "expected a whole JSON document" in ran.err

    @pytest.mark.parametrize("scope", ["commit", "train-7"])
    def test_a_scope_that_is_no_runs_is_refused(self, scope: str, artifacts: Workflow) -> None:
        artifacts.commit()
        ran = artifacts.job(artifacts.run()).run("pin", STAGEPIN_SCOPE=scope)
        assert ran.code == 2
        assert f"error: expected a scope of one pipeline for the CI artifacts of {artifacts.name}, found {scope}" in ran.err
        assert "choose another store (--store stages-storage)" in ran.err


def _snapshot(directory: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() if path.is_file() else b"" for path in directory.rglob("*") if ".git/" not in str(path)}


class TestRefusals:
    """E 111, 117, 118: what the user reads, and the exit code."""

    def pin(self, workflow: Workflow, **environ: str) -> Ran:
        workflow.commit()
        ran = workflow.job(workflow.run()).run("pin", **environ)
        CANARY.assert_hidden(ran.text)
        return ran

    @pytest.mark.parametrize(
        ("status", "code", "message"),
        [
            (401, 2, "to know the token in GITHUB_TOKEN, found status 401"),
            (403, 2, "expected the token in GITHUB_TOKEN to have the right 'contents: read' on group/app, found status 403"),
            (451, 1, "to take the request, found status 451"),
            (429, 3, "to take the request, found its rate limit (429)"),
            (500, 3, "to do as asked, found status 500"),
            (503, 3, "to do as asked, found status 503"),
        ],
    )
    def test_an_api_that_refuses(self, status: int, code: int, message: str, workflow: Workflow) -> None:
        workflow.github.fail(path="/git/ref/", status=status, times=None)
        ran = self.pin(workflow)
        assert ran.code == code
        assert message in ran.err
        assert "next: " in ran.err or code == 1
        assert workflow.project.upstream_requests() == []

    def test_a_token_that_may_only_read(self, workflow: Workflow) -> None:
        workflow.token = workflow.github.add_token("ghs_reader", contents="read")
        ran = self.pin(workflow)
        assert ran.code == 2
        assert "error: expected the token in GITHUB_TOKEN to have the right 'contents: write' on group/app, found status 403" in ran.err
        assert "next: add to the job: `permissions: {contents: write}`" in ran.err

    def test_no_token(self, workflow: Workflow) -> None:
        ran = self.pin(workflow, GITHUB_TOKEN="")
        assert ran.code == 2
        assert "found none (status 404)" in ran.err
        assert "next: hand it to the step: `env: GITHUB_TOKEN: ${{ github.token }}`; outside CI set STAGEPIN_TOKEN" in ran.err

    def test_a_token_with_a_line_end(self, workflow: Workflow) -> None:
        ran = self.pin(workflow, STAGEPIN_TOKEN=f"{CANARY.text}\n")
        assert ran.code == 2
        assert "error: expected a token in STAGEPIN_TOKEN, found blanks, line ends or other characters that no token has" in ran.err
        assert workflow.github.requests == []

    @pytest.mark.parametrize("retry_after", [2, 3600])
    def test_a_secondary_rate_limit_is_waited_for_if_it_ends_in_time(self, retry_after: int, workflow: Workflow) -> None:
        workflow.github.limit_rate_secondary(retry_after=retry_after, path="/git/")
        ran = self.pin(workflow)
        assert ran.code == (0 if retry_after == 2 else 3)
        assert ("found its rate limit (403)" in ran.err) == (ran.code == 3)

    @pytest.mark.parametrize("url", ["http://github.example.com", "https://evil.example.com", "https://api.127.0.0.1.evil.example.com"])
    def test_an_api_address_that_the_token_must_not_go_to(self, url: str, workflow: Workflow) -> None:
        ran = self.pin(workflow, GITHUB_API_URL=url)
        assert ran.code == 2
        assert "in GITHUB_API_URL: no token is sent there" in ran.err
        assert "next: GITHUB_API_URL is set by the forge; do not override it" in ran.err
        assert workflow.github.requests == []

    @pytest.mark.parametrize("status", [301, 302, 307, 308])
    def test_an_api_that_redirects_to_another_host(self, status: int, workflow: Workflow) -> None:
        with FakeGitHub() as elsewhere:
            workflow.github.fail(path="/git/", status=status, redirect=f"{elsewhere.url}/x", times=None)
            ran = self.pin(workflow)
            assert elsewhere.requests == []
            assert ran.code == 2
            assert f"found a redirect at {elsewhere.url}: the token is not sent there" in ran.err

    def test_a_foreign_message_cannot_command_the_runner(self, workflow: Workflow) -> None:
        body = json.dumps({"message": "x\n::add-mask::y\x1b[2J"}).encode()
        workflow.github.fail(path="/git/ref/", status=451, body=body, times=None)
        ran = self.pin(workflow)
        assert ran.code == 1
        assert "\n::add-mask::" not in ran.text
        assert "\x1b" not in ran.text
