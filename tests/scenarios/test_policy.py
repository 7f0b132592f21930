"""Policy: how old pins may be, whose code they may be of, where a fork may write, which platforms must be there, where copies go."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ci_plugin.values.document import seal
from tests.fakes.git_repository import GitRepository
from tests.fakes.gitlab import FakeGitLab
from tests.fakes.registry import FakeRegistry, Request
from tests.scenarios.gitlab_pipeline import PACKAGE, start
from tests.scenarios.pipeline import BASE, PLAIN, Job, Pipeline, Project

CONFIG = "image: app\nfrom: BASE\nfromLatest: true\n"
FORK = {
    "CI_PIPELINE_SOURCE": "merge_request_event",
    "CI_MERGE_REQUEST_IID": "7",
    "CI_MERGE_REQUEST_SOURCE_PROJECT_ID": "99",
    "CI_MERGE_REQUEST_SOURCE_PROJECT_PATH": "mallory/app",
}
"""A merge request of a fork, in a pipeline that a member started in the project itself."""


def writes(registry: FakeRegistry) -> list[Request]:
    return [request for request in registry.requests if request.method not in ("GET", "HEAD")]


class TestAge:
    def test_pins_older_than_the_limit_stop_the_pin_job_and_are_never_made_anew(self, project: Project) -> None:
        project.commit(config=CONFIG)
        pipeline = project.pipeline()
        first = pipeline.job()
        first.must("pin", "--max-age", "12h")
        project.move_base("2")
        before = len(project.upstream_requests())
        late = pipeline.job()
        late.clock.advance(13 * 3600)
        ran = late.run("pin", "--max-age", "12h")
        assert ran.code == 1
        assert "error: expected the pins of pipeline:1001 to be at most 12h old, found them 13h old (2026-01-02T03:04:05Z)" in ran.err
        assert f"  at: stages storage {project.stages}\n" in ran.err
        assert "next: run a new pipeline, which pins anew; --max-age and `maxAge` in .stagepin.yaml set the limit" in ran.err
        assert len(project.upstream_requests()) == before
        assert late.must("pin", "--max-age", "1d")
        assert late.pins == first.pins

    def test_the_settings_say_it_for_every_pin_job_and_the_command_line_is_stronger(self, project: Project) -> None:
        project.write(".stagepin.yaml", "maxAge: 12h\n")
        project.commit(config=CONFIG)
        pipeline = project.pipeline()
        pipeline.job().must("pin")
        late = pipeline.job()
        late.clock.advance(13 * 3600)
        for command in (["pin"], ["build", "--pin"]):
            ran = late.run(*command)
            assert ran.code == 1
            assert "to be at most 12h old, found them 13h old" in ran.err
        late.must("pin", "--max-age", "14h")

    def test_a_deploy_that_is_run_again_later_needs_the_old_pins_and_gets_them(self, project: Project) -> None:
        project.write(".stagepin.yaml", "maxAge: 12h\n")
        project.commit(config=CONFIG)
        pipeline = project.pipeline()
        first = pipeline.job()
        first.must("pin")
        first.must("build")
        late = pipeline.job()
        late.clock.advance(30 * 24 * 3600)
        late.must("verify")

    @pytest.mark.parametrize("text", ["12", "12 h", "1w", "-1h", ""])
    def test_a_limit_that_is_none_is_a_usage_error(self, project: Project, text: str) -> None:
        project.commit(config=CONFIG)
        ran = project.pipeline().job().run("pin", "--max-age", text)
        assert ran.code == 2
        assert f"expected a duration such as 30m, 12h or 7d, found {text!r}" in ran.err

    def test_a_limit_of_nothing_is_told_that_it_must_be_more(self, project: Project) -> None:
        project.commit(config=CONFIG)
        ran = project.pipeline().job().run("pin", "--max-age", "0m")
        assert ran.code == 2
        assert "expected a duration of more than 0, such as 30m, 12h or 7d, found '0m'" in ran.err


class TestForksOnGitLab:
    """A fork's merge request in the project's own pipeline: the same identity, another's code."""

    @pytest.fixture
    def fork(self, project: Project) -> Pipeline:
        project.commit(config=CONFIG)
        pipeline = project.pipeline()
        pipeline.environ.update(FORK)
        return pipeline

    def test_its_pins_stay_in_the_workspace_and_say_whose_they_are(self, project: Project, fork: Pipeline) -> None:
        job = fork.job()
        ran = job.must("pin")
        assert job.pins["fork"] == "mallory/app"
        assert writes(project.registry) == []
        assert f"warning: this job runs the code of the fork mallory/app, which reads the stages storage {project.stages} and" in ran.err
        assert "kept in the workspace and in" not in ran.err
        later = fork.job(artifacts_of=job)
        assert "adopted from workspace" in later.must("pin").err
        assert fork.job().run("plan").code == 2

    def test_it_reads_what_the_project_built_and_files_no_record_there(self, project: Project, fork: Pipeline) -> None:
        ours = project.pipeline("1000").job()
        ours.must("pin")
        ours.must("build")
        project.registry.requests.clear()
        job = fork.job()
        job.must("pin")
        job.must("build")
        assert job.digest() == ours.digest()
        assert writes(project.registry) == []
        assert fork.job().run("fetch").code == 2

    def test_what_the_project_has_not_built_it_does_not_put_there(self, project: Project, fork: Pipeline) -> None:
        job = fork.job()
        job.must("pin")
        ran = job.must("build")
        assert "not published, this engine alone has them: app" in ran.err
        assert job.record["published"] is False
        image = job.record["images"]["app"]
        assert (image["reference"], image["digest"]) == (None, None)
        assert job.engine.find_image(image["platforms"]["linux/amd64"]["imageId"]) is not None
        assert writes(project.registry) == []
        assert fork.job(artifacts_of=job).run("verify", "--allow-fork").code == 1

    def test_what_its_own_settings_file_names_is_not_its_own(self, project: Project) -> None:
        project.write(".stagepin.yaml", f"repo: {project.stages}\nstore: stages-storage\nkeep: {project.stages}/bases\n")
        project.commit(config=CONFIG)
        pipeline = project.pipeline()
        pipeline.environ.update(FORK)
        ran = pipeline.job().must("pin")
        assert f"no copies are made in {project.stages}/bases: this job runs the code of the fork mallory/app" in ran.err
        assert writes(project.registry) == []

    def test_a_variable_that_is_set_for_the_whole_workflow_names_the_projects_own_repository(
        self, project: Project, fork: Pipeline
    ) -> None:
        fork.environ["STAGEPIN_REPO"] = f"{project.registry.address}/group/app/release-stages"
        job = fork.job()
        ran = job.must("pin")
        assert "or name a repository of the fork's own with --repo on the command line (variables and settings may name the" in ran.err
        assert "not published, this engine alone has them: app" in job.must("build").err
        job.must("pin", STAGEPIN_STORE="stages-storage")
        assert writes(project.registry) == []

    def test_a_store_of_the_forge_is_the_projects_own_whoever_names_it(self, project: Project) -> None:
        project.commit(config=CONFIG)
        with FakeGitLab() as gitlab:
            gitlab.add_project("group/app", 4711)
            fork = start(project, gitlab)
            fork.environ.update(FORK)
            fork.job().must("pin")
            fork.job().must("pin", "--store", PACKAGE, "--repo", f"{project.registry.address}/mallory/stages")
            assert gitlab.state.packages == []
        assert writes(project.registry) == []

    def test_a_repository_that_the_command_line_names_is_written(self, project: Project, fork: Pipeline) -> None:
        own = f"{project.registry.address}/mallory/stages"
        job, later = fork.job(), fork.job()
        job.must("pin", "--repo", own)
        job.must("build", "--repo", own)
        assert all("/v2/mallory/stages/" in request.path for request in writes(project.registry))
        later.must("fetch", "--repo", own)
        assert (later.pins, later.record) == (job.pins, job.record)

    def test_its_pins_are_refused_for_deploy_unless_they_are_allowed(self, project: Project, fork: Pipeline) -> None:
        own = f"{project.registry.address}/mallory/stages"
        job = fork.job()
        job.must("pin", "--repo", own)
        job.must("build", "--repo", own)
        ran = job.run("verify", "--repo", own, "--format", "json")
        assert ran.code == 1
        (finding,) = ran.document["findings"]
        assert finding["rule"] == "pins-fork"
        assert finding["message"] == "expected pins of the project's own code, found those of the fork mallory/app"
        assert "--allow-fork" in finding["hint"]
        job.must("verify", "--repo", own, "--allow-fork")

    def test_a_merge_request_of_the_project_itself_is_no_fork(self, project: Project, fork: Pipeline) -> None:
        job = fork.job()
        job.environ["CI_MERGE_REQUEST_SOURCE_PROJECT_ID"] = "4711"
        job.must("pin")
        assert "fork" not in job.pins
        job.must("build")
        job.must("verify")

    def test_one_whose_source_is_gone_counts_as_a_fork_and_says_why(self, project: Project, fork: Pipeline) -> None:
        job = fork.job()
        del job.environ["CI_MERGE_REQUEST_SOURCE_PROJECT_ID"]
        ran = job.must("pin")
        assert job.pins["fork"] == "unknown"
        reason = "CI_MERGE_REQUEST_SOURCE_PROJECT_ID is not set, as where the fork was deleted"
        assert f"warning: this job counts as one of a fork, because nothing says whose code it runs: {reason}" in ran.err

    def test_pins_it_left_in_a_shared_scope_are_refused_by_the_projects_own_jobs(self, project: Project, fork: Pipeline) -> None:
        job = fork.job()
        job.must("pin", "--repo", project.stages, STAGEPIN_SCOPE="train-7")
        ours = project.pipeline("1002").job()
        for command in ("pin", "plan", "build"):
            ran = ours.run(command, STAGEPIN_SCOPE="train-7")
            assert ran.code == 2
            assert "error: expected pins of the project's own code, found those of the fork mallory/app: its code decided what" in ran.err
            assert "next: take the CI artifact of this project's own pin job, or pin in a new scope" in ran.err
        assert not (ours.workspace / "pins.json").exists()


def test_fetching_a_forks_pins_is_not_using_them(project: Project) -> None:
    project.commit(config=CONFIG)
    own, pipeline = f"{project.registry.address}/mallory/stages", project.pipeline()
    pipeline.environ.update(FORK)
    pipeline.job().must("pin", "--repo", own)
    pipeline.job().must("build", "--repo", own)
    ours = project.pipeline("1001").job()
    ours.must("fetch", "--repo", own)
    assert ours.pins["fork"] == "mallory/app"
    assert ours.run("build", "--repo", own).code == 2
    assert "pins-fork" in ours.run("verify", "--repo", own).out


def test_at_a_desk_whoever_asks_for_a_forks_pins_gets_them_and_hears_whose_they_are(project: Project) -> None:
    project.commit(config=CONFIG)
    own = f"{project.registry.address}/mallory/stages"
    pipeline = project.pipeline()
    pipeline.environ.update(FORK)
    job = pipeline.job()
    job.must("pin", "--repo", own)
    directory = project.checkout(pipeline.commit)
    GitRepository(directory).git("remote", "add", "origin", "git@gitlab.example.com:group/app.git")
    desk = Job(directory, {**PLAIN, "STAGEPIN_REPO": own}, project.engine())
    desk.must("fetch", "--pipeline", "1001")
    ran = desk.must("plan", "--pipeline", "1001")
    assert desk.pins == job.pins
    assert "warning: these pins were made by the code of the fork mallory/app: nothing of them may be deployed" in ran.err


OURS = {"id": 4711, "full_name": "group/app"}
THEIRS = {"id": 99, "full_name": "mallory/app"}


class TestPoisonedArtifactsOnGitHub:
    """A pull request of a fork leaves an artifact; a privileged workflow that its end starts takes it (T1)."""

    @pytest.fixture
    def poisoned(self, project: Project) -> Job:
        """The fork's job: it pins and builds in a repository of its own, in a scope whose key both jobs share."""
        project.commit(config=CONFIG)
        job = self.job(project, "2001", "pull_request", {"pull_request": {"number": 7, "head": {"repo": THEIRS}}})
        job.environ["STAGEPIN_SCOPE"] = "train-7"
        job.must("pin", "--repo", job.environ["STAGEPIN_REPO"])
        job.must("build", "--repo", job.environ["STAGEPIN_REPO"])
        assert job.pins["fork"] == "mallory/app"
        return job

    def job(self, project: Project, run_id: str, event: str, payload: object, *, artifacts_of: Job | None = None) -> Job:
        pipeline = project.pipeline(run_id)
        commit = pipeline.commit
        job = Pipeline(project, {}, commit).job(artifacts_of=artifacts_of)
        file = job.directory.parent / f"event-{run_id}.json"
        file.write_text(payload if isinstance(payload, str) else json.dumps(payload))
        job.environ = {
            **PLAIN,
            "GITHUB_ACTIONS": "true",
            "GITHUB_SERVER_URL": "https://github.com",
            "GITHUB_REPOSITORY": "group/app",
            "GITHUB_REPOSITORY_ID": "4711",
            "GITHUB_RUN_ID": run_id,
            "GITHUB_SHA": commit,
            "GITHUB_EVENT_NAME": event,
            "GITHUB_EVENT_PATH": str(file),
            "STAGEPIN_REPO": f"{project.registry.address}/stages-{run_id}",
            "STAGEPIN_SCOPE": "train-7",
        }
        return job

    def privileged(self, project: Project, poisoned: Job, head: object = THEIRS, event: str = "workflow_run") -> Job:
        payload = {"workflow_run": {"head_repository": head, "pull_requests": []}}
        job = self.job(project, "2002", event, payload, artifacts_of=poisoned)
        job.environ["STAGEPIN_REPO"] = poisoned.environ["STAGEPIN_REPO"]
        return job

    @staticmethod
    def forge(job: Job) -> None:
        """The fork's code writes pins and record as if they were the project's, checksums and all."""
        pins = {key: value for key, value in job.pins.items() if key not in ("checksum", "fork")}
        data = seal(pins)
        (job.workspace / "pins.json").write_bytes(data)
        record = {**job.record, "pins": json.loads(data)["checksum"]}
        del record["checksum"]
        (job.workspace / "build.json").write_bytes(seal(record))

    def rules(self, job: Job, *options: str) -> list[str]:
        ran = job.run("verify", "--format", "json", *options)
        assert ran.code == (1 if ran.document["findings"] else 0), ran.text
        return [finding["rule"] for finding in ran.document["findings"]]

    def test_pins_that_say_whose_they_are_do_not_ship(self, project: Project, poisoned: Job) -> None:
        assert self.rules(self.privileged(project, poisoned)) == ["pins-fork"]
        assert self.rules(self.privileged(project, poisoned, OURS)) == ["pins-fork"]
        assert self.rules(self.privileged(project, poisoned, event="push")) == ["pins-fork"]

    def test_pins_that_deny_it_do_not_ship_where_the_event_knows_better(self, project: Project, poisoned: Job) -> None:
        self.forge(poisoned)
        assert self.rules(self.privileged(project, poisoned)) == ["pins-fork"]
        assert self.rules(self.privileged(project, poisoned, None)) == ["pins-fork"]
        assert self.rules(self.privileged(project, poisoned), "--allow-fork") == []

    def test_nothing_the_fork_wrote_is_followed(self, project: Project, poisoned: Job) -> None:
        self.forge(poisoned)
        deploy = self.privileged(project, poisoned)
        project.registry.requests.clear()
        assert self.rules(deploy) == ["pins-fork"]
        assert project.registry.requests == []

    def test_twin_where_no_event_tells_a_forged_artifact_passes_and_the_second_channel_stops_it(
        self, project: Project, poisoned: Job
    ) -> None:
        own = poisoned.pins["checksum"]
        self.forge(poisoned)
        deploy = self.privileged(project, poisoned, event="workflow_dispatch")
        assert self.rules(deploy) == [], "the documented limit: nothing in this job says whose code wrote the artifact"
        ran = deploy.run("verify", "--pin-checksum", own)
        assert ran.code == 2
        assert "expected the pins whose checksum the pin job handed on" in ran.err

    def test_a_privileged_job_does_not_build_on_them_either(self, project: Project, poisoned: Job) -> None:
        for command in ("pin", "plan", "build"):
            ran = self.privileged(project, poisoned, OURS).run(command)
            assert ran.code == 2
            assert "found those of the fork mallory/app" in ran.err

    @pytest.mark.parametrize("payload", ["", "<html>", "[]", "{}", '{"workflow_run": {}}', '{"workflow_run": {"head_repository": 4711}}'])
    def test_an_event_that_does_not_tell_is_taken_for_a_forks(self, project: Project, poisoned: Job, payload: str) -> None:
        self.forge(poisoned)
        deploy = self.privileged(project, poisoned)
        Path(deploy.environ["GITHUB_EVENT_PATH"]).write_text(payload)
        assert self.rules(deploy) == ["pins-fork"]
        assert "warning: this job counts as one of a fork, because nothing says whose code it runs: " in deploy.run("verify").err

    def test_an_event_file_that_is_missing_stops_nothing_where_the_answer_is_not_in_it(self, project: Project) -> None:
        project.commit(config=CONFIG)
        job = self.job(project, "2003", "push", "garbage")
        job.must("pin")
        Path(job.environ["GITHUB_EVENT_PATH"]).unlink()
        ran = job.must("build")
        assert "fork" not in ran.err


class TestPlatforms:
    def test_an_index_that_is_being_completed_is_waited_for_and_that_is_said_once(self, project: Project) -> None:
        registry = project.registry
        arm = registry.put_image(BASE, platform="linux/arm64")
        registry.put_index(BASE, "latest", {"linux/arm64": arm})
        project.commit(config=CONFIG)
        both = {"linux/arm64": arm, "linux/amd64": registry.put_image(BASE, platform="linux/amd64")}

        def complete(_request: Request) -> None:
            if [request.method for request in project.upstream_requests()].count("HEAD") == 3:
                registry.put_index(BASE, "latest", both)

        registry.on_request = complete
        job = project.pipeline().job()
        ran = job.must("pin")
        assert ran.err.count(f"{project.base} has no linux/amd64 yet: asking again for up to 10 s") == 1
        assert job.clock.slept == [1, 2]
        assert job.pins["pins"][0]["platforms"] == {"linux/amd64": str(both["linux/amd64"])}

    @pytest.mark.parametrize(("seconds", "slept"), [(0, []), (5, [1, 2, 2]), (100, [1, 2, 4, 8, 16, 30, 30, 9])])
    def test_the_wait_is_as_long_as_the_settings_say(self, project: Project, seconds: int, slept: list[float]) -> None:
        project.registry.put_index(BASE, "latest", {"linux/arm64": project.registry.put_image(BASE, platform="linux/arm64")})
        project.write(".stagepin.yaml", f"registries: {{waitForPlatforms: {seconds}}}\n")
        project.commit(config=CONFIG)
        job = project.pipeline().job()
        ran = job.run("pin")
        assert ran.code == 2
        assert f"expected {project.base} for linux/amd64, found it for linux/arm64" in ran.err
        assert job.clock.slept == slept


class TestKeep:
    def test_copies_are_named_in_the_pins_and_made_before_them(self, project: Project) -> None:
        keep = f"{project.registry.address}/group/bases"
        project.commit(config=CONFIG)
        job = project.pipeline().job()
        job.must("pin", "--keep", keep)
        assert job.pins["keep"] == keep
        wrote = [request.path for request in writes(project.registry)]
        copied = [index for index, path in enumerate(wrote) if "/v2/group/bases/" in path]
        stored = [index for index, path in enumerate(wrote) if "/manifests/stagepin-" in path and "/group/app/stages/" in path]
        assert copied
        assert max(copied) < min(stored)
        assert ("group/bases", job.pinned(project.base)) in project.registry.manifests

    def test_adopted_pins_stay_as_they_are_and_that_is_said(self, project: Project) -> None:
        keep = f"{project.registry.address}/group/bases"
        project.commit(config=CONFIG)
        pipeline = project.pipeline()
        pipeline.job().must("pin")
        ran = pipeline.job().must("pin", "--keep", keep)
        assert (
            f"warning: the pins of pipeline:1001 were made without --keep {keep}, and stay as they are: no copies are made of them"
            in ran.err
        )
        other = project.pipeline("1002")
        other.job().must("pin", "--keep", keep)
        ran = other.job().must("pin", "--keep", f"{keep}2")
        assert f"were made without --keep {keep}2, and stay as they are: their copies are in {keep}" in ran.err
        assert "were made without" not in other.job().must("pin").err

    def test_a_copy_that_went_away_is_made_again_by_the_pin_job_that_runs_again(self, project: Project) -> None:
        project.write(".stagepin.yaml", f"keep: {project.registry.address}/group/bases\n")
        project.commit(config=CONFIG)
        pipeline = project.pipeline()
        pipeline.job().must("pin")
        kept = [key for key in project.registry.manifests if key[0] == "group/bases"]
        for key in kept:
            del project.registry.manifests[key]
        project.registry.tags = {key: value for key, value in project.registry.tags.items() if key[0] != "group/bases"}
        pipeline.job().must("pin")
        assert [key for key in project.registry.manifests if key[0] == "group/bases"] == kept

    def test_where_the_copies_are_and_how_many_is_said(self, project: Project) -> None:
        keep = f"{project.registry.address}/group/bases"
        project.commit(config=CONFIG)
        assert f"copies of the pinned bases kept in {keep}: 1\n" in project.pipeline().job().must("pin", "--keep", keep).err

    @pytest.mark.parametrize(
        ("keep", "message"),
        [
            (":local", "expected a registry's repository for the copies, found ':local': an engine's own store keeps none"),
            ("me:hunter2@registry.example.com/x", "expected a repository without user and password, found one with them; docker's"),
        ],
    )
    def test_what_can_hold_no_copies_is_told_why_on_both_ways_in(self, project: Project, keep: str, message: str) -> None:
        project.commit(config=CONFIG)
        told = project.pipeline().job().run("pin", "--keep", keep)
        project.write(".stagepin.yaml", f"keep: '{keep}'\n")
        project.commit()
        for ran in (told, project.pipeline().job().run("pin")):
            assert ran.code == 2
            assert f"error: {message}" in ran.err
            assert "hunter2" not in ran.text
        assert project.registry.requests == []

    def test_a_repository_that_is_none_is_refused_before_anything_is_asked(self, project: Project) -> None:
        project.commit(config=CONFIG)
        ran = project.pipeline().job().run("pin", "--keep", "registry.example.com/bases:1")
        assert ran.code == 2
        assert "error: expected a repository without tag or digest, found 'registry.example.com/bases:1'" in ran.err
        assert "next: correct --keep, such as registry.example.com/group/bases" in ran.err
        assert project.registry.requests == []


def bound_fields() -> dict[str, Callable[[Any], None]]:
    """What must be this job's own in pins it verifies: one change each."""
    return {
        "scope": lambda body: body.update(scope="pipeline:7"),
        "forge": lambda body: body["pipeline"].update(forge="github"),
        "host": lambda body: body["pipeline"].update(host="other.example"),
        "project id": lambda body: body["pipeline"].update(projectId="7"),
        "commit": lambda body: body.update(commit="c" * 40),
    }


@pytest.mark.parametrize("field", bound_fields())
def test_verify_names_the_field_that_is_not_this_jobs(project: Project, field: str) -> None:
    project.commit(config=CONFIG)
    job = project.pipeline().job()
    job.must("pin")
    job.must("build")
    body = {key: value for key, value in job.pins.items() if key != "checksum"}
    bound_fields()[field](body)
    (job.workspace / "pins.json").write_bytes(seal(body))
    ran = job.run("verify")
    assert ran.code == 2
    assert f"error: expected pins of {field} " in ran.err


def test_a_rerun_that_pins_anew_says_so_and_one_that_adopts_does_not(project: Project) -> None:
    project.commit(config="image: app\nfrom: BASE\nfromLatest: true\n")
    first, again = project.pipeline().job(), project.pipeline().job()
    loud = "warning: this re-run pins anew: no pins of an earlier attempt were found"
    assert loud not in first.must("pin", "--store", "workspace").err
    assert loud in again.must("pin", "--store", "workspace", GITHUB_RUN_ATTEMPT="2").err
    project.pipeline().job().must("pin", "--scope", "train")
    assert loud not in project.pipeline().job().must("pin", "--scope", "train", GITHUB_RUN_ATTEMPT="2").err
