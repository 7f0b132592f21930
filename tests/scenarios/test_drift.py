"""Drift: the base moved meanwhile. Nobody fails for it, and everybody can see whom it concerns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from ci_plugin.values.digest import Digest
from tests.fakes.git_repository import GitRepository
from tests.fakes.github import FakeGitHub
from tests.fakes.github_state import Project as GitHubProject
from tests.fakes.gitlab import FakeGitLab
from tests.fakes.gitlab_state import MergeRequest
from tests.fakes.registry import FakeRegistry
from tests.scenarios.pipeline import BASE, PLAIN, Job, Project

ONE = "image: app\nfrom: BASE\nfromLatest: true\n"


def drift(job: Job, *arguments: str) -> Mapping[str, Any]:
    """Reference without its registry → what the JSON says of it."""
    document = job.must("drift", "--format", "json", *arguments).document
    return {item["reference"].partition("/")[2]: item for item in document["drift"]}


def stages(item: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(stage["image"], stage["stage"]) for stage in item["stages"]]


def pinned(project: Project, config: str = ONE) -> Job:
    """The pin job of a pipeline, after it ran."""
    project.commit(config=config)
    job = project.pipeline().job()
    job.must("pin")
    return job


def test_a_base_that_moves_after_the_pin_changes_nothing_of_the_pipeline_and_is_told(project: Project) -> None:
    pin = pinned(project)
    build = project.pipeline().job(artifacts_of=pin)
    build.must("build")
    now = project.move_base("2")
    found = drift(project.pipeline().job(artifacts_of=build))[f"{BASE}:latest"]
    assert (found["pinned"], found["current"], found["state"]) == (pin.pinned(project.base), str(now), "moved")
    assert stages(found) == [("app", "from")]
    project.pipeline().job(artifacts_of=build).must("verify")


def test_the_stages_that_drift_names_are_those_the_next_pipeline_builds(project: Project) -> None:
    config = (
        "image: app\nfrom: BASE\nfromLatest: true\nshell:\n  install: [make]\n---\nimage: web\nfromImage: app\n---\n"
        "image: old\nfrom: BASE\nshell:\n  setup: [make]\n"
    )
    first = pinned(project, config)
    first.must("build")
    project.move_base("2")
    told = stages(drift(first)[f"{BASE}:latest"])
    next_one = project.pipeline("1002").job()
    next_one.must("build", "--pin")
    built = [
        (name, stage["name"])
        for name, image in next_one.record["images"].items()
        for stage in image["platforms"]["linux/amd64"]["stages"]
        if stage["built"]
    ]
    assert built == told == [("app", "from"), ("app", "install"), ("web", "from")]


def test_an_attestation_that_was_added_rebuilds_nothing(project: Project, registry: FakeRegistry) -> None:
    manifest = registry.put_image(BASE, seed="1")
    registry.put_index(BASE, "latest", {"linux/amd64": manifest})
    pin = pinned(project)
    now = registry.put_index(BASE, "latest", {"linux/amd64": manifest}, attestation=True)
    found = drift(pin, "--fail")[f"{BASE}:latest"]
    assert (found["state"], found["matters"], found["current"], found["stages"]) == ("unchanged", False, str(now), [])
    assert "with the same manifest for linux/amd64; " in pin.must("drift").out


def test_a_base_of_two_images_is_one_reference_however_it_is_written(project: Project, registry: FakeRegistry) -> None:
    """Three spellings: without tag, with it, and with the registry's default tag in a Dockerfile."""
    name = f"{registry.address}/{BASE}"
    project.write("Dockerfile", f"FROM {name}:latest\n")
    pin = pinned(
        project,
        f"image: api\nfrom: {name}\nfromLatest: true\n---\nimage: web\nfrom: {name}:latest\nfromLatest: true\n---\n"
        "image: box\ndockerfile: Dockerfile\nfromLatest: true\n",
    )
    before = len(project.upstream_requests())
    project.move_base("2")
    (found,) = drift(pin).values()
    assert found["images"] == ["api", "web", "box"]
    assert stages(found) == [("api", "from"), ("web", "from"), ("box", "dockerfile")]
    assert len(project.upstream_requests()) == before + 1


def test_images_further_down_the_chain_are_concerned_too_and_those_beside_it_are_not(project: Project, registry: FakeRegistry) -> None:
    registry.put_image("base/other", "latest", seed="other")
    pin = pinned(
        project,
        "image: top\nfromImage: middle\n---\nimage: middle\nfromImage: bottom\n---\nimage: bottom\nfrom: BASE\nfromLatest: true\n---\n"
        f"image: beside\nfrom: {registry.address}/base/other\nfromLatest: true\n",
    )
    project.move_base("2")
    found = drift(pin)
    assert found[f"{BASE}:latest"]["images"] == ["bottom"]
    assert sorted(stages(found[f"{BASE}:latest"])) == [("bottom", "from"), ("middle", "from"), ("top", "from")]
    assert found["base/other:latest"]["state"] == "unchanged"


def test_a_base_that_is_gone_and_one_that_is_forbidden_stop_nobody(project: Project, registry: FakeRegistry) -> None:
    registry.put_image("base/other", "latest", seed="other")
    registry.put_image("base/third", "latest", seed="third")
    names = {"app": project.base, "other": f"{registry.address}/base/other", "third": f"{registry.address}/base/third"}
    pin = pinned(project, "---\n".join(f"image: {name}\nfrom: {base}\nfromLatest: true\n" for name, base in names.items()))
    registry.delete(BASE, Digest(pin.pinned(project.base)))
    registry.fail(status=401, path="/base/other/", times=None)
    registry.put_image("base/third", "latest", seed="moved")
    found = drift(pin)
    assert {name: item["state"] for name, item in found.items()} == {
        f"{BASE}:latest": "gone",
        "base/other:latest": "unknown",
        "base/third:latest": "moved",
    }
    assert stages(found["base/third:latest"]) == [("third", "from")]
    text = pin.must("drift").out
    assert f"{project.base} is gone (" in text
    assert f"{registry.address}/base/other:latest may not be read (" in text
    assert text.endswith("\n1 of 3 pinned references moved, 1 gone, 1 unknown\n")


def test_a_laptop_sees_the_drift_of_a_pipeline_and_keeps_its_own_workspace(project: Project) -> None:
    pin = pinned(project)
    now = project.move_base("2")
    directory = project.checkout(project.pipeline().commit)
    GitRepository(directory).git("remote", "add", "origin", "git@gitlab.example.com:group/app.git")
    laptop = Job(directory, PLAIN | {"STAGEPIN_REPO": project.stages}, project.engine())
    laptop.must("pin")
    own = laptop.pins
    (since_pipeline,) = drift(laptop, "--pipeline", "1001").values()
    assert (since_pipeline["pinned"], since_pipeline["current"]) == (pin.pinned(project.base), str(now))
    (since_own,) = drift(laptop).values()
    assert (since_own["pinned"], since_own["state"]) == (str(now), "unchanged")
    assert laptop.pins == own


class TestPullRequest:
    """On a pull request, through the client, against GitHub's API on loopback."""

    @pytest.fixture
    def github(self) -> Iterator[FakeGitHub]:
        with FakeGitHub() as running:
            yield running

    @pytest.fixture
    def repository(self, github: FakeGitHub) -> GitHubProject:
        made = github.add_project("group/app")
        made.open_pull(7)
        return made

    @pytest.fixture
    def job(self, project: Project, github: FakeGitHub, repository: GitHubProject) -> Job:
        """A job of pull request 7, after the pins were made."""
        project.commit(config=ONE)
        pipeline = project.pipeline()
        environ = {
            **PLAIN,
            "CI": "true",
            "GITHUB_ACTIONS": "true",
            "GITHUB_SERVER_URL": github.url,
            "GITHUB_API_URL": github.url,
            "GITHUB_REPOSITORY": repository.full_name,
            "GITHUB_REPOSITORY_ID": str(repository.id),
            "GITHUB_RUN_ID": "1001",
            "GITHUB_SHA": pipeline.commit,
            "GITHUB_REF": "refs/pull/7/merge",
            "GITHUB_TOKEN": github.add_token(pull_requests="write"),
            "STAGEPIN_REPO": project.stages,
        }
        job = Job(project.checkout(pipeline.commit), environ, project.engine())
        job.must("pin")
        return job

    @staticmethod
    def comments(repository: GitHubProject) -> list[str]:
        return [comment.body for comment in repository.comments_of(7)]

    def test_the_first_move_begins_a_comment_and_later_runs_write_over_it(
        self, job: Job, project: Project, repository: GitHubProject
    ) -> None:
        repository.add_comment(7, "ada", "looks good")
        for seed in ("2", "3", "4"):
            now = project.move_base(seed)
            ran = job.must("drift", "--comment")
            theirs, ours = self.comments(repository)
            assert theirs == "looks good"
            assert str(now) in ours
            assert "### stagepin: 1 of 1 pinned references moved\n" in ours
        assert "comment written: http" in ran.err

    def test_nothing_moved_begins_none(self, job: Job, repository: GitHubProject) -> None:
        ran = job.must("drift", "--comment")
        assert "nothing moved and no earlier comment to update: none written" in ran.err
        assert self.comments(repository) == []

    def test_nothing_moved_any_more_brings_it_up_to_date(self, job: Job, project: Project, repository: GitHubProject) -> None:
        project.move_base("2")
        job.must("drift", "--comment")
        project.move_base("1")
        job.must("drift", "--comment")
        (ours,) = self.comments(repository)
        assert "### stagepin: none of 1 pinned references moved\n" in ours

    def test_another_pipeline_of_the_pull_request_writes_over_the_same_comment(
        self, job: Job, project: Project, repository: GitHubProject
    ) -> None:
        project.move_base("2")
        job.must("drift", "--comment")
        later = Job(project.checkout(project.pipeline().commit), {**job.environ, "GITHUB_RUN_ID": "1002"}, job.engine)
        later.must("pin")
        later.must("drift", "--comment")
        (ours,) = self.comments(repository)
        assert "Pinned in `pipeline:1002`" in ours

    def test_each_directory_of_a_repository_has_a_comment_of_its_own(self, project: Project, job: Job, repository: GitHubProject) -> None:
        for name in ("api", "web"):
            project.write(f"{name}/Dockerfile", f"FROM {project.base}\n")
        commit = project.commit()
        jobs = []
        for name in ("api", "web"):
            environ = {**job.environ, "STAGEPIN_SCOPE": f"{name}-1001", "GITHUB_SHA": commit}
            one = Job(project.checkout(commit) / name, environ, job.engine)
            one.must("pin")
            jobs.append(one)
        project.move_base("2")
        for one in jobs * 2:
            one.must("drift", "--comment")
        bodies = self.comments(repository)
        assert [f"Pinned in `{name}-1001 by pipeline 1001`" in body for name, body in zip(("api", "web"), bodies, strict=True)] == [
            True
        ] * 2

    @pytest.mark.parametrize("arguments", [(), ("--fail",)], ids=["information", "fail"])
    def test_a_token_that_may_not_comment_is_told_the_right_and_changes_no_exit_code(
        self, job: Job, project: Project, github: FakeGitHub, repository: GitHubProject, arguments: tuple[str, ...]
    ) -> None:
        github.revoke_token(job.environ["GITHUB_TOKEN"])
        github.add_token(pull_requests="read")
        project.move_base("2")
        ran = job.run("drift", "--comment", *arguments)
        assert ran.code == len(arguments), ran.text
        assert "warning: no comment was written: " in ran.err
        assert "give the job `permissions: pull-requests: write`; of a fork's pull request the token may only read" in ran.err
        assert "1 of 1 pinned references moved" in ran.out
        assert self.comments(repository) == []

    def test_a_lost_reply_does_not_make_a_second_comment(
        self, job: Job, project: Project, github: FakeGitHub, repository: GitHubProject
    ) -> None:
        project.move_base("2")
        github.fail(method="POST", path="/comments", lose_reply=True)
        job.must("drift", "--comment")
        assert len(self.comments(repository)) == 1

    def test_a_forge_that_does_not_answer_is_tried_again_by_running_again(
        self, job: Job, project: Project, github: FakeGitHub, repository: GitHubProject
    ) -> None:
        project.move_base("2")
        fault = github.fail(status=502, path="/comments", times=None)
        ran = job.run("drift", "--comment")
        assert ran.code == 3
        assert "1 of 1 pinned references moved" in ran.out
        fault.times = 0
        job.must("drift", "--comment")
        assert len(self.comments(repository)) == 1

    def test_no_secret_of_the_job_goes_into_the_comment(self, job: Job, project: Project, repository: GitHubProject) -> None:
        project.move_base("2")
        job.must("drift", "--comment", DEPLOY_PASSWORD=BASE)
        (ours,) = self.comments(repository)
        assert BASE not in ours
        assert "***" in ours

    def test_a_secret_that_looks_like_our_marker_does_not_repeat_the_comment(
        self, job: Job, project: Project, repository: GitHubProject
    ) -> None:
        project.move_base("2")
        for _ in range(2):
            job.must("drift", "--comment", DEPLOY_PASSWORD="stagepin")
        assert len(self.comments(repository)) == 1


class TestMergeRequest:
    """On a merge request, through the client, against GitLab's API on loopback."""

    @pytest.fixture
    def gitlab(self) -> Iterator[FakeGitLab]:
        with FakeGitLab() as running:
            yield running

    @pytest.fixture
    def request_7(self, gitlab: FakeGitLab) -> MergeRequest:
        return gitlab.state.add_merge_request(gitlab.add_project("group/app", 4711), 7)

    @pytest.fixture
    def job(self, project: Project, gitlab: FakeGitLab, request_7: MergeRequest) -> Job:
        """A job of merge request !7 with a project access token, after the pins were made."""
        project.commit(config=ONE)
        job = project.pipeline().job()
        host, _, port = gitlab.address.partition(":")
        job.environ |= {
            "CI_SERVER_HOST": host,
            "CI_SERVER_PORT": port,
            "CI_SERVER_PROTOCOL": "http",
            "CI_API_V4_URL": gitlab.api_url,
            "CI_PIPELINE_SOURCE": "merge_request_event",
            "CI_MERGE_REQUEST_IID": "7",
            "CI_MERGE_REQUEST_PROJECT_ID": "4711",
            "CI_MERGE_REQUEST_SOURCE_PROJECT_ID": "4711",
            "CI_JOB_TOKEN": gitlab.add_job_token(gitlab.state.projects[4711]),
            "STAGEPIN_TOKEN": gitlab.add_access_token(),
        }
        job.must("pin")
        return job

    def test_the_first_move_begins_a_note_and_later_runs_write_over_it(
        self, job: Job, project: Project, gitlab: FakeGitLab, request_7: MergeRequest
    ) -> None:
        gitlab.state.add_note(request_7, gitlab.state.add_user("ada"), "looks good")
        for seed in ("2", "3", "1"):
            project.move_base(seed)
            ran = job.must("drift", "--comment")
        theirs, ours = request_7.notes
        assert theirs.body == "looks good"
        assert "### stagepin: none of 1 pinned references moved\n" in ours.body
        assert f"#note_{ours.id}\n" in ran.err

    def test_the_job_token_may_not_comment_and_the_right_is_named(
        self, job: Job, project: Project, gitlab: FakeGitLab, request_7: MergeRequest
    ) -> None:
        project.move_base("2")
        ran = job.must("drift", "--comment", STAGEPIN_TOKEN="")
        assert "warning: no comment was written: " in ran.err
        assert "set the masked variable STAGEPIN_TOKEN to a project access token with the scope api" in ran.err
        assert "1 of 1 pinned references moved" in ran.out
        assert request_7.notes == []

    def test_a_token_of_too_low_a_role_is_told_the_same(
        self, job: Job, project: Project, gitlab: FakeGitLab, request_7: MergeRequest
    ) -> None:
        project.move_base("2")
        ran = job.must("drift", "--comment", STAGEPIN_TOKEN=gitlab.add_access_token(scopes=("read_api",)))
        assert "warning: no comment was written: " in ran.err
        assert request_7.notes == []

    def test_in_a_forks_pipeline_the_number_counts_in_the_project_the_request_goes_to(
        self, job: Job, project: Project, gitlab: FakeGitLab, request_7: MergeRequest
    ) -> None:
        """A request of the same number in the fork is somebody else's."""
        others = gitlab.state.add_merge_request(gitlab.add_project("ada/app", 5000), 7)
        job.environ |= {"CI_PROJECT_ID": "5000", "CI_PROJECT_PATH": "ada/app", "CI_MERGE_REQUEST_SOURCE_PROJECT_ID": "5000"}
        job.workspace.joinpath("pins.json").unlink()
        job.must("pin")
        project.move_base("2")
        job.must("drift", "--comment")
        assert (len(request_7.notes), others.notes) == (1, [])

    def test_a_project_number_that_is_none_is_refused(self, job: Job) -> None:
        ran = job.run("drift", "--comment", CI_MERGE_REQUEST_PROJECT_ID="4711/../1")
        assert ran.code == 2
        assert "error: expected a number, found '4711/../1' in CI_MERGE_REQUEST_PROJECT_ID\n" in ran.err

    def test_a_lost_reply_does_not_make_a_second_note(
        self, job: Job, project: Project, gitlab: FakeGitLab, request_7: MergeRequest
    ) -> None:
        project.move_base("2")
        gitlab.fail(method="POST", path="/notes", lose_reply=True)
        job.must("drift", "--comment")
        assert len(request_7.notes) == 1
