"""Local and CI are one: a clone on a laptop gets the pins CI used, and the same stage signatures from them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fakes.git_repository import GitRepository
from tests.scenarios.pipeline import PLAIN, Job, Project

CONFIG = "image: app\nfrom: BASE\nfromLatest: true\nshell:\n  install: [echo hello]\n"


def at_the_desk(project: Project, remote: str = "git@gitlab.example.com:group/app.git") -> Job:
    """A clone of the current commit on a laptop: no CI variables, a remote, docker's own engine."""
    directory = project.checkout(project.pipeline().commit)
    GitRepository(directory).git("remote", "add", "origin", remote)
    return Job(directory, {**PLAIN, "STAGEPIN_REPO": project.stages}, project.engine())


def signatures(job: Job, *argv: str) -> object:
    return job.must("plan", "--format", "json", *argv).document


@pytest.fixture
def pinned(project: Project) -> Job:
    project.commit(config=CONFIG)
    pin = project.pipeline("1001").job()
    pin.must("pin")
    project.move_base("2")
    return pin


def test_fetch_by_pipeline_gives_the_pins_ci_used(project: Project, pinned: Job) -> None:
    desk = at_the_desk(project)
    desk.must("fetch", "--pipeline", "1001")
    assert desk.pins == pinned.pins


def test_the_same_build_gives_the_same_signatures_and_the_same_image(project: Project, pinned: Job) -> None:
    ci = project.pipeline("1001").job(artifacts_of=pinned)
    ci.must("build")
    desk = at_the_desk(project)
    assert signatures(desk, "--pipeline", "1001") == signatures(ci)
    desk.must("build", "--pipeline", "1001")
    assert desk.digest() == ci.digest()


def test_a_clone_over_https_of_any_spelling_is_the_same_project(project: Project, pinned: Job) -> None:
    desk = at_the_desk(project, "https://me:secret@GitLab.example.com/Group/App")
    assert "secret" not in desk.must("fetch", "--pipeline", "1001").text
    assert desk.pins == pinned.pins


def test_a_clone_of_another_project_does_not_find_them(project: Project, pinned: Job) -> None:
    ran = at_the_desk(project, "git@gitlab.example.com:other/app.git").run("fetch", "--pipeline", "1001")
    assert ran.code == 2
    told = f"error: expected the pins of pipeline:1001 in stages storage {project.stages}, found none: "
    assert f"{told}no project known for gitlab.example.com/other/app in that repository\n" in ran.err
    assert "next: correct the remote (`git remote -v`) or name the repository and store the pin job used (--repo, --store)" in ran.err


def test_a_renamed_project_is_found_under_its_new_name_too(project: Project, pinned: Job) -> None:
    later = project.pipeline("1002").job()
    later.environ["CI_PROJECT_PATH"] = "group/renamed"
    later.must("pin")
    for path in ("group/app", "group/renamed"):
        desk = at_the_desk(project, f"git@gitlab.example.com:{path}.git")
        desk.must("fetch", "--pipeline", "1001")
        assert desk.pins == pinned.pins


def test_without_a_remote_the_answer_says_what_to_name(project: Project, pinned: Job) -> None:
    directory: Path = project.checkout(project.pipeline().commit)
    desk = Job(directory, {**PLAIN, "STAGEPIN_REPO": project.stages}, project.engine())
    for command in ("fetch", "verify"):
        ran = desk.run(command, "--pipeline", "1001")
        assert ran.code == 2
        assert "error: expected the pins of pipeline:1001" in ran.err
        assert ": this clone has no remote origin, which would say whose pipelines these are\n" in ran.err


def test_a_remote_that_is_a_directory_is_told_apart_from_none(project: Project, pinned: Job) -> None:
    ran = at_the_desk(project, "/srv/git/app.git").run("fetch", "--pipeline", "1001")
    assert ran.code == 2
    assert ": the remote origin of this clone is no address of a forge, which would say whose pipelines these are\n" in ran.err


@pytest.mark.parametrize("command", [["plan"], ["build"], ["explain", "app"]])
def test_pins_of_a_pipeline_that_are_not_found_are_not_made_at_a_desk(project: Project, pinned: Job, command: list[str]) -> None:
    tags = dict(project.registry.tags)
    desk = at_the_desk(project, "git@gitlab.example.com:other/app.git")
    ran = desk.run(*command, "--pipeline", "1001")
    assert ran.code == 2
    assert "expected the pins of pipeline:1001, found none" in ran.err
    assert project.registry.tags == tags
