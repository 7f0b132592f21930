"""Pin once on GitLab, through the command line: pins in generic packages, which have one winner, and in job artifacts, which have less."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.fakes.gitlab import FakeGitLab, Request
from tests.fakes.gitlab_state import REPORTER
from tests.scenarios.gitlab_pipeline import ARTIFACT, CONFIG, PACKAGE, end, pass_time, start
from tests.scenarios.pipeline import PLAIN, Project


@pytest.fixture
def gitlab() -> Iterator[FakeGitLab]:
    with FakeGitLab() as running:
        running.add_project("group/app", 4711)
        yield running


@pytest.fixture(autouse=True)
def committed(project: Project) -> None:
    project.commit(config=CONFIG)


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
