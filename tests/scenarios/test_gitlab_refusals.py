"""A GitLab that does not answer rightly, through the command line: the exit code, the way out, and never a fresh resolve."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.fakes.gitlab import FakeGitLab, Request
from tests.fakes.gitlab_state import REPORTER
from tests.scenarios.gitlab_pipeline import CONFIG, start
from tests.scenarios.pipeline import Pipeline, Project, Ran


@pytest.fixture
def gitlab() -> Iterator[FakeGitLab]:
    with FakeGitLab() as running:
        running.add_project("group/app", 4711)
        yield running


@pytest.fixture(autouse=True)
def committed(project: Project) -> None:
    project.commit(config=CONFIG)


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
        expected = f"an answer from {gitlab.address}" if "drop" in fault else f"the packages of {gitlab.address}/4711"
        assert f"error: expected {expected}, found" in ran.err
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
