"""``doctor`` says what each store would give where it runs and which right is missing; it writes nothing, and asks no more than it must."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.canary import make_canary
from tests.fakes.github import FakeGitHub
from tests.fakes.gitlab import FakeGitLab
from tests.fakes.gitlab_state import GUEST
from tests.fakes.registry import FakeRegistry
from tests.scenarios.pipeline import PLAIN, Job, Pipeline, Project

CONFIG = "image: app\nfrom: BASE\nfromLatest: true\n"
PINS = [".gitignore", "pins.json"]


@pytest.fixture
def github() -> Iterator[FakeGitHub]:
    with FakeGitHub() as running:
        running.add_project("group/app", id=4711).commit_files({"README.md": b"hello"})
        yield running


@pytest.fixture
def gitlab() -> Iterator[FakeGitLab]:
    with FakeGitLab() as running:
        running.add_pipeline(running.add_project("group/app", 4711), 1001)
        yield running


def on_github(project: Project, github: FakeGitHub, token: str | None, store: str = "") -> Job:
    hosted = github.state.projects[4711]
    commit = project.commit(config=CONFIG)
    run = hosted.start_run("pin", head_sha=commit)
    environ = {**PLAIN, "CI": "true", **github.job_environment(hosted, run.id, token=token)}
    environ |= {"STAGEPIN_REPO": project.stages, "STAGEPIN_STORE": store}
    job = Pipeline(project, environ, commit).job()
    job.clock = github.clock
    return job


def on_gitlab(project: Project, gitlab: FakeGitLab, token: str, store: str = "") -> Job:
    project.commit(config=CONFIG)
    job = project.pipeline().job()
    host, _, port = gitlab.address.partition(":")
    job.environ |= {"CI_SERVER_HOST": host, "CI_SERVER_PORT": port, "CI_SERVER_PROTOCOL": "http", "CI_API_V4_URL": gitlab.api_url}
    job.environ |= {"CI_JOB_TOKEN": token, "STAGEPIN_STORE": store}
    return job


def stores(job: Job, *argv: str, code: int = 0, **environ: str) -> dict[str, Any]:
    """Store → what the JSON says of it."""
    ran = job.run("doctor", "--format", "json", *argv, **environ)
    assert ran.code == code, ran.text
    return {store["name"]: store for store in ran.document["stores"]}


def readable(found: dict[str, Any]) -> list[str]:
    return [name for name, store in found.items() if store["readable"]]


class TestOnGitHub:
    def test_a_store_that_can_be_read_is_shown_with_its_promise_and_what_writing_needs(self, project: Project, github: FakeGitHub) -> None:
        job = on_github(project, github, github.add_token(contents="write", actions="read"), "git-ref")
        ran = job.must("doctor")
        assert re.search(r"^git-ref +yes +yes +no pins of pipeline:\d+ yet$", ran.out, re.MULTILINE)
        assert re.search(r"^stages-storage +no +yes +no pins of pipeline:\d+ yet$", ran.out, re.MULTILINE)
        assert re.search(r"^workspace +no +yes +none in the workspace yet$", ran.out, re.MULTILINE)
        assert "\ngit-ref\n  create-if-absent: of any number of pin jobs one wins" in ran.out
        assert "writing needs `permissions: {contents: write}` in the jobs that pin and build\n" in ran.out
        assert max(len(line) for line in ran.out.partition("STORE OF PINS")[2].partition("\n\n")[0].splitlines()) < 80

    def test_the_other_forges_store_is_named_as_that_and_is_no_failure(self, project: Project, github: FakeGitHub) -> None:
        found = stores(on_github(project, github, github.add_token(contents="read", actions="read")))
        assert readable(found) == ["stages-storage", "git-ref", "ci-artifact", "workspace"]
        assert found["generic-package"]["reason"] == "a store of GitLab; this is a job of GitHub"

    def test_the_other_forges_store_that_was_chosen_is_refused_as_pin_would(self, project: Project, github: FakeGitHub) -> None:
        found = stores(on_github(project, github, github.add_token(contents="read"), "generic-package"), code=1)
        assert found["generic-package"]["reason"].startswith("expected a job of ")

    def test_a_missing_right_is_named_and_stops_nobody_who_did_not_choose_that_store(self, project: Project, github: FakeGitHub) -> None:
        job = on_github(project, github, github.add_token(contents="read"))
        ran = job.must("doctor")
        assert "  cannot be read: expected the token in GITHUB_TOKEN to have the right 'actions: read' on group/app" in ran.out
        assert "\n  next: add to the job: `permissions: {actions: read}`" in ran.out
        assert "error:" not in ran.err

    def test_a_missing_right_to_the_chosen_store_is_the_answer_no(self, project: Project, github: FakeGitHub) -> None:
        job = on_github(project, github, github.add_token(contents="read"), "ci-artifact")
        ran = job.run("doctor")
        assert ran.code == 1
        assert re.search(r"^ci-artifact +yes +no +-$", ran.out, re.MULTILINE)
        assert ran.err.count("error: expected the token in GITHUB_TOKEN to have the right 'actions: read' on group/app") == 1

    def test_without_a_token_the_forge_is_not_asked_and_the_variables_are_named(self, project: Project, github: FakeGitHub) -> None:
        found = stores(on_github(project, github, None))
        expected = f"expected a token for {github.url.removeprefix('http://')}, found none in STAGEPIN_TOKEN and GITHUB_TOKEN"
        assert (found["git-ref"]["reason"], found["ci-artifact"]["reason"]) == (expected, expected)
        assert github.requests == []

    def test_what_a_store_holds_already_is_said(self, project: Project, github: FakeGitHub) -> None:
        job = on_github(project, github, github.add_token(contents="write", actions="read"), "git-ref")
        job.must("pin")
        scope = job.pins["scope"]
        (job.workspace / "pins.json").unlink()
        found = stores(job)
        assert found["git-ref"]["holds"] == f"pins of {scope}, references: 1"
        assert found["stages-storage"]["holds"] == f"no pins of {scope} yet"
        assert not (job.workspace / "pins.json").exists()

    def test_the_comments_of_the_pull_request_are_a_row_and_an_extra(self, project: Project, github: FakeGitHub) -> None:
        job = on_github(project, github, github.add_token(contents="read", pull_requests="write"))
        assert "\ncomments " not in job.must("doctor").out
        github.state.projects[4711].open_pull(7)
        ran = job.must("doctor", GITHUB_REF="refs/pull/7/merge", GITHUB_EVENT_NAME="push")
        assert re.search(r"^comments +yes +those of number 7 may be read; ", ran.out, re.MULTILINE)
        github.add_token(contents="read")
        ran = job.must("doctor", GITHUB_REF="refs/pull/7/merge", GITHUB_EVENT_NAME="push")
        assert re.search(
            r"^comments +no +expected the token in GITHUB_TOKEN to have the right 'pull-requests: read'", ran.out, re.MULTILINE
        )

    def test_nothing_is_written_anywhere(self, project: Project, github: FakeGitHub) -> None:
        job = on_github(project, github, github.add_token(contents="write", actions="write"), "git-ref")
        job.must("doctor")
        assert {request.method for request in project.registry.requests} <= {"HEAD", "GET"}
        assert {request.method for request in github.requests} <= {"HEAD", "GET"}
        assert not job.workspace.exists()

    def test_the_job_of_a_fork_is_told_that_it_only_reads(self, project: Project, github: FakeGitHub, tmp_path: Path) -> None:
        job = on_github(project, github, github.add_token(contents="read", actions="read"))
        event = tmp_path / "event.json"
        event.write_text(json.dumps({"pull_request": {"number": 7, "head": {"repo": {"id": 5, "full_name": "ada/app"}}}}))
        job.environ |= {"STAGEPIN_REPO": "", "GITHUB_EVENT_NAME": "pull_request", "GITHUB_EVENT_PATH": str(event)}
        ran = job.run("doctor")
        assert "this job runs the code of the fork ada/app: it reads the chosen store and writes nothing there\n" in ran.out


class TestOnGitLab:
    def test_the_job_token_is_enough_for_packages_and_artifacts(self, project: Project, gitlab: FakeGitLab) -> None:
        job = on_gitlab(project, gitlab, gitlab.add_job_token(gitlab.state.projects[4711]), "generic-package")
        found = stores(job)
        assert readable(found) == ["stages-storage", "generic-package", "ci-artifact", "workspace"]
        assert [name for name, store in found.items() if store["chosen"]] == ["generic-package"]
        assert "kept until a clean-up policy or somebody deletes the package" in found["generic-package"]["guarantee"]
        assert {request.method for request in gitlab.requests} <= {"HEAD", "GET"}

    def test_a_role_that_is_too_low_is_told_what_it_takes(self, project: Project, gitlab: FakeGitLab) -> None:
        job = on_gitlab(project, gitlab, gitlab.add_job_token(gitlab.state.projects[4711], GUEST), "generic-package")
        ran = job.run("doctor")
        assert ran.code == 1
        assert "with CI_JOB_TOKEN" in ran.err
        assert "the token needs the role Reporter or higher" in ran.err

    def test_a_gitlab_that_is_down_is_a_reason_and_not_an_end(self, project: Project, gitlab: FakeGitLab) -> None:
        job = on_gitlab(project, gitlab, gitlab.add_job_token(gitlab.state.projects[4711]))
        gitlab.fail(status=502, times=None)
        found = stores(job)
        assert readable(found) == ["stages-storage", "workspace"]
        assert "found status 502" in found["generic-package"]["reason"]

    def test_in_a_child_pipeline_nobody_knows_whose_pins_to_ask_for(self, project: Project, gitlab: FakeGitLab) -> None:
        job = on_gitlab(project, gitlab, gitlab.add_job_token(gitlab.state.projects[4711]))
        ran = job.run("doctor", CI_PIPELINE_SOURCE="parent_pipeline")
        assert ran.code == 1
        assert "no store was asked: expected the scope of the top pipeline in a GitLab child pipeline, found none" in ran.out
        assert gitlab.requests == []
        assert ran.err.count("error: ") == 1


class TestOutsideCi:
    def test_a_clone_from_nowhere_has_the_workspace_and_no_failure(self, project: Project) -> None:
        project.commit(config=CONFIG)
        job = project.pipeline().job()
        job.environ = dict(PLAIN)
        ran = job.must("doctor")
        assert re.search(r"^workspace +no +yes +none in the workspace yet$", ran.out, re.MULTILINE)
        assert "stages-storage\n  cannot be read: expected a repository for the stages storage, found none" in ran.out
        assert "git-ref\n  cannot be read: expected a job of GitLab or GitHub, or a clone from there, found neither" in ran.out
        assert "ci-artifact\n  cannot be read: expected a pipeline whose CI artifacts to read, found the scope local" in ran.out
        assert "the scope here is local: its pins stay in the workspace; --pipeline ID or --scope SCOPE names pins of a store\n" in ran.out

    def test_a_repository_that_is_named_is_asked(self, project: Project) -> None:
        project.commit(config=CONFIG)
        job = project.pipeline().job()
        job.environ = dict(PLAIN)
        assert stores(job, "--repo", project.stages)["stages-storage"]["holds"] == "nothing was asked for: the scope is local"
        project.registry.fail(status=403, path="/v2/group/app/stages/", times=None)
        found = stores(job, "--repo", project.stages, code=1)
        assert "found status 403" in found["stages-storage"]["reason"]

    def test_the_pins_of_a_pipeline_that_is_named_are_found(self, project: Project) -> None:
        project.commit(config=CONFIG)
        job = project.pipeline().job()
        job.must("pin")
        desk = project.pipeline().job()
        desk.environ = dict(PLAIN)
        found = stores(desk, "--repo", project.stages, "--pipeline", "1001")
        assert found["stages-storage"]["holds"] == "no pins of pipeline:1001 yet", "the clone has no remote: nobody knows the project"
        assert stores(job)["workspace"]["holds"] == "pins of pipeline:1001 in the workspace, references: 1"

    def test_the_engine_itself_is_a_store_where_it_is_chosen(self, project: Project) -> None:
        project.commit(config=CONFIG)
        job = project.pipeline().job()
        found = stores(job, "--repo", ":local")
        assert "create-if-absent on this one engine" in found["stages-storage"]["guarantee"]
        assert "writing needs the engine, as `build` does anyway\n" in job.must("doctor", "--repo", ":local").out

    def test_without_an_engine_every_row_about_its_own_store_says_so(self, project: Project) -> None:
        project.commit(config=CONFIG)
        job = project.pipeline().job()
        job.engine.dead = True
        ran = job.run("doctor", "--repo", ":local")
        assert ran.code == 1
        assert re.search(r"^stages storage +no +expected the engine to ", ran.out, re.MULTILINE)
        assert re.search(r"^engine +no +expected the engine to ", ran.out, re.MULTILINE)
        assert re.search(r"^stages-storage +yes +no +-$", ran.out, re.MULTILINE)
        assert "stages-storage\n  cannot be read: expected the engine to " in ran.out
        assert "to push to that repository" not in ran.out
        assert ran.err.count("error: ") == 1


class TestWhatIsDead:
    def test_a_job_that_pins_or_deploys_needs_no_engine(self, project: Project) -> None:
        project.commit(config=CONFIG)
        job = project.pipeline().job()
        job.engine.dead = True
        ran = job.must("doctor")
        assert re.search(r"^engine +no +expected the engine to .+ \(only `build` and `demo` need one\)$", ran.out, re.MULTILINE)
        assert "error:" not in ran.err

    def test_a_registry_that_is_down_is_asked_once_for_all_rows(self, project: Project) -> None:
        project.commit(config=CONFIG)
        project.registry.fail(status=502, times=None)
        asked = []
        for store in ("stages-storage", "workspace"):
            project.registry.requests.clear()
            ran = project.pipeline().job().run("doctor", STAGEPIN_STORE=store)
            assert ran.code == 1
            assert ran.err.count("error: ") == 1
            assert re.search(r"^stages storage +no +.*found status 502", ran.out, re.MULTILINE)
            assert re.search(r"^stages-storage\n(?:  .+\n)+?  cannot be read: .*found status 502", ran.out, re.MULTILINE)
            asked.append({request.path for request in project.registry.requests})
        assert [len(paths) for paths in asked] == [1, 1]


class TestSettings:
    def test_copies_registries_and_mirrors_are_rows_where_the_settings_have_them(self, project: Project) -> None:
        registry = project.registry.address
        project.write(
            ".stagepin.yaml",
            f"keep: {registry}/bases\nregistries:\n  allow: [{registry}/base]\n  mirrors: {{docker.io: [mirror.example.com/hub]}}\n",
        )
        project.commit(config=CONFIG)
        ran = project.pipeline().job().must("doctor")
        assert re.search(rf"^copies of bases +yes +{registry}/bases may be read; ", ran.out, re.MULTILINE)
        assert re.search(
            rf"^allowed registries +yes +{registry}/base; every reference of the configuration is within$", ran.out, re.MULTILINE
        )
        assert re.search(r"^mirrors +yes +docker\.io is asked at mirror\.example\.com/hub first$", ran.out, re.MULTILINE)

    def test_a_reference_that_is_not_allowed_is_the_answer_no(self, project: Project) -> None:
        project.write(".stagepin.yaml", "registries:\n  allow: [docker.io/library]\n")
        project.commit(config=CONFIG)
        ran = project.pipeline().job().run("doctor")
        assert ran.code == 1
        assert re.search(r"^allowed registries +no +expected ", ran.out, re.MULTILINE)

    def test_settings_that_are_broken_are_said_in_the_table_and_once_below_it(self, project: Project) -> None:
        project.write(".stagepin.yaml", "stroe: git-ref\n")
        project.commit(config=CONFIG)
        ran = project.pipeline().job().run("doctor")
        assert ran.code == 1
        assert re.search(r"^git +yes", ran.out, re.MULTILINE)
        assert re.search(r"^configuration +no +expected a known directive, found `stroe`", ran.out, re.MULTILINE)
        assert ran.err.count("error: ") == 1
        assert project.registry.requests == []
        assert "  at: .stagepin.yaml:1" in ran.err

    def test_a_chosen_store_that_holds_something_else_is_the_answer_no(self, project: Project, server: FakeRegistry) -> None:
        project.commit(config=CONFIG)
        job = project.pipeline().job()
        job.must("pin")
        tag = next(tag for repository, tag in server.tags if repository == "group/app/stages" and tag.startswith("stagepin-"))
        server.put_image("group/app/stages", tag)
        (job.workspace / "pins.json").unlink()
        ran = job.run("doctor")
        assert ran.code == 1
        assert "error: expected a pin set of stagepin, found " in ran.err


def test_no_token_shows_in_any_format(project: Project, gitlab: FakeGitLab) -> None:
    canary = make_canary("token", for_header=True)
    job = on_gitlab(project, gitlab, canary.text, "generic-package")
    for options in ([], ["--format", "json"]):
        ran = job.run("-v", "doctor", *options)
        assert ran.code == 1
        canary.assert_hidden(ran.text)


@pytest.mark.parametrize(
    ("module", "store", "line"),
    [("github", "git-ref", "pip install "), ("gitlab", "generic-package", "pip install ")],
)
def test_a_store_whose_library_is_not_installed_has_the_line_that_installs_it(
    project: Project, github: FakeGitHub, gitlab: FakeGitLab, module: str, store: str, line: str
) -> None:
    job = on_github(project, github, "t") if module == "github" else on_gitlab(project, gitlab, "t")
    code = f"import sys; sys.modules[{module!r}] = None\nfrom ci_plugin.cli.main import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "-C", str(job.directory), "doctor", "--format", "json"]
    done = subprocess.run(command, env={**job.environ, "DOCKER_HOST": "unix:///nonexistent"}, capture_output=True, text=True)
    found = {one["name"]: one for one in json.loads(done.stdout)["stores"]}
    assert line in found[store]["hint"]
    assert found["stages-storage"]["readable"]
    assert github.requests == gitlab.requests == []
