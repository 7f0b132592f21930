"""Pin once on GitLab, through the command line: pins in generic packages, which have one winner, and in job artifacts, which have less."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.fakes.clock import FakeClock
from tests.fakes.gitlab import FakeGitLab, Request
from tests.fakes.gitlab_state import REPORTER
from tests.fakes.gitlab_state import Job as ForgeJob
from tests.scenarios.pipeline import PLAIN, Job, Pipeline, Project, Ran

CONFIG = "image: app\nfrom: BASE\nfromLatest: true\n"
PACKAGE, ARTIFACT = "generic-package", "ci-artifact"


@pytest.fixture
def gitlab() -> Iterator[FakeGitLab]:
    with FakeGitLab() as running:
        running.add_project("group/app", 4711)
        yield running


@pytest.fixture(autouse=True)
def committed(project: Project) -> None:
    project.commit(config=CONFIG)


def start(project: Project, gitlab: FakeGitLab, number: int = 1001, *, store: str = PACKAGE, parent: int | None = None) -> Pipeline:
    """A pipeline of the current commit, known to this GitLab; its jobs keep pins in ``store``."""
    gitlab.add_pipeline(gitlab.state.projects[4711], number, parent=parent)
    pipeline = project.pipeline(str(number))
    address, _, port = gitlab.address.rpartition(":")
    pipeline.environ |= {"CI_SERVER_HOST": address, "CI_SERVER_PORT": port, "CI_SERVER_PROTOCOL": "http", "CI_API_V4_URL": gitlab.api_url}
    pipeline.environ |= {"CI_JOB_TOKEN": gitlab.add_job_token(gitlab.state.projects[4711]), "STAGEPIN_STORE": store}
    return pipeline


def end(gitlab: FakeGitLab, number: int, name: str, job: Job, *, expire_in: float | None = None) -> ForgeJob:
    """The job has ended, and GitLab keeps its ``.stagepin`` as artifacts."""
    files = {f".stagepin/{file.name}": file.read_bytes() for file in job.workspace.glob("*.json")}
    return gitlab.state.add_job(gitlab.state.pipelines[number], name, files=files, expire_in=expire_in)


def pass_time(gitlab: FakeGitLab, seconds: float) -> None:
    assert isinstance(gitlab.state.clock, FakeClock)
    gitlab.state.clock.advance(seconds)


class TestGenericPackages:
    def test_a_retried_pin_job_adopts_the_pins_of_the_first(self, project: Project, gitlab: FakeGitLab) -> None:
        pipeline = start(project, gitlab)
        first, retried = pipeline.job(), pipeline.job()
        ran = first.must("pin")
        assert f"kept in the workspace and in the generic package on {gitlab.address}/4711" in ran.err
        project.move_base("2")
        before = len(project.upstream_requests())
        ran = retried.must("pin")
        assert f"pins of pipeline:1001 adopted from generic package on {gitlab.address}/4711" in ran.err
        assert retried.pins == first.pins
        assert len(project.upstream_requests()) == before

    def test_nothing_of_the_pins_goes_to_the_stages_storage(self, project: Project, gitlab: FakeGitLab) -> None:
        start(project, gitlab).job().must("pin")
        assert project.registry.tags.keys() == {("base/alpine", "latest")}

    def test_a_pin_job_retried_after_its_artifacts_were_erased_adopts_them_all_the_same(self, project: Project, gitlab: FakeGitLab) -> None:
        pipeline = start(project, gitlab)
        first, retried = pipeline.job(), pipeline.job()
        first.must("pin")
        end(gitlab, 1001, "pin", first).files = None
        project.move_base("2")
        retried.must("pin")
        assert retried.pins == first.pins

    def test_a_deploy_retried_after_every_artifact_expired_deploys_what_was_built(self, project: Project, gitlab: FakeGitLab) -> None:
        pipeline = start(project, gitlab)
        pin = pipeline.job()
        pin.must("pin")
        build = pipeline.job(artifacts_of=pin)
        build.must("build")
        for name, job in (("pin", pin), ("build", build)):
            end(gitlab, 1001, name, job, expire_in=60)
        pass_time(gitlab, 90 * 24 * 3600)
        for seed in ("2", "3"):
            project.move_base(seed)
            deploy = pipeline.job()
            deploy.must("fetch")
            assert build.digest() in deploy.must("verify").out
            assert (deploy.pins, deploy.record) == (pin.pins, build.record)

    def test_a_build_without_its_pin_jobs_artifacts_is_built_on_the_same_base(self, project: Project, gitlab: FakeGitLab) -> None:
        pipeline = start(project, gitlab)
        pin, build = pipeline.job(), pipeline.job()
        pin.must("pin")
        project.move_base("2")
        build.must("build")
        assert build.built_on() == pin.pinned(project.base)

    def test_a_child_pipeline_shares_the_parents_pins_where_the_scope_is_handed_on(self, project: Project, gitlab: FakeGitLab) -> None:
        parent = start(project, gitlab).job()
        parent.must("pin")
        project.move_base("2")
        child = start(project, gitlab, 1002, parent=1001).job()
        child.environ["CI_PIPELINE_SOURCE"] = "parent_pipeline"
        assert child.run("pin").code == 2
        child.must("build", STAGEPIN_SCOPE="pipeline:1001")
        assert child.pins == parent.pins

    def test_a_tag_pipeline_ships_what_the_branch_pipeline_of_the_same_commit_tested(self, project: Project, gitlab: FakeGitLab) -> None:
        branch = start(project, gitlab, 1001).job()
        branch.must("pin", "--scope", "commit")
        branch.must("build", "--scope", "commit")
        project.move_base("2")
        tag = start(project, gitlab, 1002).job()
        tag.must("pin", STAGEPIN_SCOPE="commit")
        assert branch.digest() in tag.must("verify", STAGEPIN_SCOPE="commit").out
        assert tag.pins == branch.pins

    def test_a_rollback_verifies_what_an_earlier_pipeline_of_another_commit_built(self, project: Project, gitlab: FakeGitLab) -> None:
        old = start(project, gitlab, 1001).job()
        old.must("pin")
        old.must("build")
        project.move_base("2")
        project.commit(config=CONFIG + "shell:\n  setup: [echo later]\n")
        rollback = start(project, gitlab, 1002).job()
        assert old.digest() in rollback.must("verify", "--pipeline", "1001").out

    def test_of_two_pin_jobs_the_one_that_is_late_adopts_what_appeared_while_it_resolved(
        self, project: Project, gitlab: FakeGitLab
    ) -> None:
        pipeline = start(project, gitlab)
        first, second = pipeline.job(), pipeline.job()
        moments: list[str] = []

        def overtake(request: Request) -> None:
            if request.method == "PUT" and not moments:
                moments.append(str(request))
                project.move_base("2")
                second.must("pin")

        gitlab.on_request = overtake
        first.must("pin")
        assert moments
        assert first.pins == second.pins
        later = pipeline.job()
        later.must("pin")
        assert later.pins == second.pins
        assert gitlab.count("PUT") == 2

    @pytest.mark.parametrize(
        "fault", [{"lose_reply": True}, {"drop": True}, {"status": 500}, {"status": 500, "commits": True}, {"status": 502, "times": 3}]
    )
    def test_whatever_becomes_of_the_upload_all_jobs_read_one_set(
        self, project: Project, gitlab: FakeGitLab, fault: dict[str, object]
    ) -> None:
        pipeline = start(project, gitlab)
        gitlab.lag(reads=2)
        gitlab.fail(method="PUT", **fault)
        first, second = pipeline.job(), pipeline.job()
        first.must("pin")
        project.move_base("2")
        second.must("pin")
        assert second.pins == first.pins

    def test_a_download_from_object_storage_leaves_the_token_behind(self, project: Project, gitlab: FakeGitLab) -> None:
        storage = gitlab.keep_objects_elsewhere()
        pipeline = start(project, gitlab)
        pipeline.job().must("pin")
        build = pipeline.job()
        build.must("build")
        assert storage.requests
        sent = " ".join(str(request.headers) + str(request) for request in storage.requests)
        assert pipeline.environ["CI_JOB_TOKEN"] not in sent

    def test_the_record_is_found_behind_many_earlier_ones(self, project: Project, gitlab: FakeGitLab) -> None:
        pipeline = start(project, gitlab)
        pin, build, deploy = pipeline.job(), pipeline.job(), pipeline.job()
        pin.must("pin")
        (package,) = gitlab.state.packages
        for number in range(210):
            gitlab.state.add_package_file(
                gitlab.state.projects[4711], package.creator, "stagepin", package.version, f"x-{number}.json", b""
            )
        build.must("build")
        deploy.must("fetch")
        assert (deploy.pins, deploy.record) == (pin.pins, build.record)

    def test_a_clone_on_a_laptop_gets_the_pins_ci_used(self, project: Project, gitlab: FakeGitLab) -> None:
        pipeline = start(project, gitlab)
        pipeline.environ["CI_SERVER_PORT"] = ""
        pin = pipeline.job()
        pin.must("pin")
        laptop = pipeline.job()
        project_git = laptop.directory / ".git" / "config"
        project_git.write_text(project_git.read_text() + '[remote "origin"]\n\turl = git@127.0.0.1:group/app.git\n')
        token = gitlab.add_access_token(REPORTER, ("read_api",))
        laptop.environ = {**PLAIN, "STAGEPIN_TOKEN": token, "CI_API_V4_URL": gitlab.api_url}
        laptop.must("fetch", "--pipeline", "1001", "--store", PACKAGE)
        assert laptop.pins == pin.pins

    def test_drift_is_written_as_one_comment_that_is_brought_up_to_date(self, project: Project, gitlab: FakeGitLab) -> None:
        pipeline = start(project, gitlab)
        merge_request = gitlab.state.add_merge_request(gitlab.state.projects[4711], 7)
        pipeline.environ |= {"CI_PIPELINE_SOURCE": "merge_request_event", "CI_MERGE_REQUEST_IID": "7"}
        pipeline.environ |= {"CI_MERGE_REQUEST_PROJECT_ID": "4711", "CI_MERGE_REQUEST_SOURCE_PROJECT_ID": "4711"}
        job = pipeline.job()
        job.must("pin")
        project.move_base("2")
        ran = job.must("drift", "--comment")
        assert "expected a token that may comment on the merge request !7, found CI_JOB_TOKEN" in ran.err
        assert merge_request.notes == []
        for seed in ("3", "4"):
            digest = project.move_base(seed)
            ran = job.must("drift", "--comment", STAGEPIN_TOKEN=gitlab_bot(gitlab))
            assert f"comment written: {gitlab.url}/group/app/-/merge_requests/7#note_301" in ran.err
            (note,) = merge_request.notes
            assert digest.hex[:12] in note.body


def gitlab_bot(gitlab: FakeGitLab) -> str:
    """The token of the one bot of these stories."""
    found = [token.text for token in gitlab.state.tokens.values() if token.kind == "private"]
    return found[0] if found else gitlab.add_access_token()


class TestRefusals:
    """A forge that does not answer rightly: the exit code, the message with the way out, and never a fresh resolve."""

    @pytest.fixture
    def pipeline(self, project: Project, gitlab: FakeGitLab) -> Pipeline:
        return start(project, gitlab)

    def run(self, project: Project, pipeline: Pipeline, command: str = "pin", **environ: str) -> Ran:
        """Run a command on a fresh runner; requests for the base image are counted from here."""
        project.registry.requests.clear()
        ran = pipeline.job().run(command, **environ)
        assert pipeline.environ["CI_JOB_TOKEN"] not in ran.text
        return ran

    @pytest.mark.parametrize("status", [401, 403, 404])
    @pytest.mark.parametrize("command", ["pin", "build", "verify", "fetch"])
    def test_missing_rights_end_with_2_and_say_what_is_missing(
        self, project: Project, gitlab: FakeGitLab, pipeline: Pipeline, status: int, command: str
    ) -> None:
        gitlab.fail(path="/packages?", status=status)
        ran = self.run(project, pipeline, command)
        assert ran.code == 2
        assert f"error: expected the packages of {gitlab.address}/4711, found status {status} with CI_JOB_TOKEN" in ran.err
        assert "next: the project's package registry must be on" in ran.err
        assert "set STAGEPIN_TOKEN (a project access token, scope read_api)" in ran.err
        assert len(gitlab.requests) == 1
        assert project.upstream_requests() == []

    def test_a_job_of_a_reporter_may_not_pin_and_hears_which_role_may(
        self, project: Project, gitlab: FakeGitLab, pipeline: Pipeline
    ) -> None:
        token = gitlab.add_job_token(gitlab.state.projects[4711], REPORTER)
        ran = self.run(project, pipeline, CI_JOB_TOKEN=token)
        assert ran.code == 2
        assert "to take the package stagepin" in ran.err
        assert "the token needs the role Developer or higher" in ran.err
        assert token not in ran.text

    def test_a_registry_that_is_switched_off_is_explained(self, project: Project, gitlab: FakeGitLab, pipeline: Pipeline) -> None:
        gitlab.state.projects[4711].package_registry = False
        ran = self.run(project, pipeline)
        assert ran.code == 2
        assert "the project's package registry must be on (Settings > General > Visibility)" in ran.err

    @pytest.mark.parametrize("fault", [{"status": 429}, {"status": 500}, {"status": 502}, {"status": 503}, {"status": 504}, {"drop": True}])
    @pytest.mark.parametrize("command", ["pin", "build", "verify", "fetch"])
    def test_an_outage_ends_with_3_and_nothing_is_resolved(
        self, project: Project, gitlab: FakeGitLab, pipeline: Pipeline, fault: dict[str, object], command: str
    ) -> None:
        gitlab.fail(path="/packages", times=None, **fault)
        ran = self.run(project, pipeline, command)
        assert ran.code == 3
        assert f"error: expected the packages of {gitlab.address}/4711, found" in ran.err
        assert len(gitlab.requests) == 6, "one policy of ours repeats it, and no policy of the library's"
        assert project.upstream_requests() == []

    @pytest.mark.parametrize("fault", [{"status": 429}, {"status": 500}, {"drop": True}, {"cut": True}])
    def test_an_outage_that_passes_is_waited_for(
        self, project: Project, gitlab: FakeGitLab, pipeline: Pipeline, fault: dict[str, object]
    ) -> None:
        gitlab.fail(path="/packages", times=3, **fault)
        assert self.run(project, pipeline).code == 0

    def test_a_rate_limit_is_waited_for_as_long_as_gitlab_asks(self, project: Project, gitlab: FakeGitLab) -> None:
        job = start(project, gitlab).job()
        gitlab.limit_rate("7")
        job.must("pin")
        assert 7.0 in job.clock.slept

    @pytest.mark.parametrize("command", ["pin", "build", "verify", "fetch"])
    def test_pins_that_are_listed_and_cannot_be_read_end_with_3_and_nothing_is_resolved(
        self, project: Project, gitlab: FakeGitLab, pipeline: Pipeline, command: str
    ) -> None:
        assert self.run(project, pipeline).code == 0
        gitlab.fail(method="GET", path="/packages/generic/", status=404, times=None)
        ran = self.run(project, pipeline, command)
        assert ran.code == 3
        assert "found it not there yet" in ran.err
        assert "next: GitLab's replicas lag behind each other; run the job again" in ran.err
        assert project.upstream_requests() == []

    def test_an_upload_that_no_listing_shows_ends_with_3_and_the_next_try_adopts_it(
        self, project: Project, gitlab: FakeGitLab, pipeline: Pipeline
    ) -> None:
        gitlab.lag(reads=20)
        ran = self.run(project, pipeline)
        assert ran.code == 3
        assert "after uploading it, found it not there yet" in ran.err
        gitlab.lag(reads=0)
        for _ in range(20):
            self.run(project, pipeline, "fetch")
        (document,) = [file.data for package in gitlab.state.packages for file in package.files]
        job = pipeline.job()
        job.must("pin")
        assert job.pins == json.loads(document)

    def test_a_reader_that_sees_nothing_yet_waits_before_it_says_so(self, project: Project, gitlab: FakeGitLab) -> None:
        pipeline = start(project, gitlab)
        pin, build = pipeline.job(), pipeline.job()
        gitlab.lag(reads=0)
        pin.must("pin")
        files = gitlab.state.packages.copy()
        gitlab.state.packages.clear()

        def arrive(_: Request) -> None:
            if build.clock.slept:
                gitlab.state.packages[:] = files

        gitlab.on_request = arrive
        build.must("build")
        assert build.clock.slept[0] == 10.0
        assert build.pins == pin.pins

    def test_without_any_token_it_is_said(self, project: Project, gitlab: FakeGitLab, pipeline: Pipeline) -> None:
        ran = self.run(project, pipeline, CI_JOB_TOKEN="")
        assert ran.code == 2
        assert "found status 404 without a token (CI_JOB_TOKEN and STAGEPIN_TOKEN are empty)" in ran.err

    def test_an_api_on_another_host_gets_no_token(self, project: Project, gitlab: FakeGitLab, pipeline: Pipeline) -> None:
        ran = self.run(project, pipeline, CI_API_V4_URL=gitlab.api_url.replace("127.0.0.1", "localhost"))
        assert ran.code == 2
        assert "in CI_API_V4_URL: no token is sent there" in ran.err
        assert gitlab.requests == []


class TestJobArtifacts:
    """The store whose guarantee is the job graph: the oldest artifacts that are left are the pins."""

    def test_a_retried_pin_job_adopts_what_an_earlier_try_handed_on(self, project: Project, gitlab: FakeGitLab) -> None:
        pipeline = start(project, gitlab, store=ARTIFACT)
        first, retried = pipeline.job(), pipeline.job()
        assert "single writer by the job graph" in first.must("-v", "pin").err
        end(gitlab, 1001, "pin", first)
        project.move_base("2")
        ran = retried.must("pin")
        assert f"pins of pipeline:1001 adopted from CI artifacts of {gitlab.address}/4711" in ran.err
        assert retried.pins == first.pins

    def test_a_deploy_reads_pins_and_record_of_tries_that_were_retried_since(self, project: Project, gitlab: FakeGitLab) -> None:
        pipeline = start(project, gitlab, store=ARTIFACT)
        pin = pipeline.job()
        pin.must("pin")
        end(gitlab, 1001, "pin", pin)
        build = pipeline.job()
        build.must("build")
        end(gitlab, 1001, "build", build)
        for name in ("pin", "build"):
            gitlab.state.add_job(gitlab.state.pipelines[1001], name, status="failed")
        project.move_base("2")
        deploy = pipeline.job()
        assert build.digest() in deploy.must("verify").out
        assert (deploy.pins, deploy.record) == (pin.pins, build.record)

    def test_a_rollback_reads_the_artifacts_of_the_pipeline_it_names(self, project: Project, gitlab: FakeGitLab) -> None:
        old = start(project, gitlab, 1001, store=ARTIFACT).job()
        old.must("pin")
        old.must("build")
        end(gitlab, 1001, "build", old)
        rollback = start(project, gitlab, 1002, store=ARTIFACT).job()
        assert old.digest() in rollback.must("verify", "--pipeline", "1001").out

    def test_after_they_expired_a_deploy_stops_and_nothing_is_resolved(self, project: Project, gitlab: FakeGitLab) -> None:
        pipeline = start(project, gitlab, store=ARTIFACT)
        pin = pipeline.job()
        pin.must("pin")
        end(gitlab, 1001, "pin", pin, expire_in=60)
        pass_time(gitlab, 3600)
        project.registry.requests.clear()
        ran = pipeline.job().run("verify")
        assert ran.code == 2
        assert f"and CI artifacts of {gitlab.address}/4711)" in ran.err
        assert project.upstream_requests() == []

    def test_after_they_expired_a_retried_pin_job_pins_anew_as_its_guarantee_says(self, project: Project, gitlab: FakeGitLab) -> None:
        pipeline = start(project, gitlab, store=ARTIFACT)
        pin, retried = pipeline.job(), pipeline.job()
        pin.must("pin")
        end(gitlab, 1001, "pin", pin, expire_in=60)
        pass_time(gitlab, 3600)
        project.move_base("2")
        ran = retried.must("-v", "pin")
        assert "a pin job that is retried after its artifacts are gone pins anew" in ran.err
        assert retried.pins != pin.pins, "the documented limit of this store; generic-package has it not"

    def test_a_scope_that_is_no_pipeline_is_refused(self, project: Project, gitlab: FakeGitLab) -> None:
        ran = start(project, gitlab, store=ARTIFACT).job().run("pin", "--scope", "commit")
        assert ran.code == 2
        assert "error: expected a scope of one pipeline for the CI artifacts of" in ran.err
        assert "choose another store (--store stages-storage)" in ran.err

    def test_a_tier_that_keeps_artifacts_from_job_tokens_stops_the_retried_pin_job(self, project: Project, gitlab: FakeGitLab) -> None:
        gitlab.state.projects[4711].job_token_reads_artifacts = False
        pipeline = start(project, gitlab, store=ARTIFACT)
        pin, retried = pipeline.job(), pipeline.job()
        pin.must("pin")
        end(gitlab, 1001, "pin", pin)
        project.registry.requests.clear()
        ran = retried.run("pin")
        assert ran.code == 2
        assert "on GitLab Free a job token may not read them: set STAGEPIN_TOKEN" in ran.err
        assert project.upstream_requests() == []
