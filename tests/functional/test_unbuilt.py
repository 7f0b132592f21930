"""What stagepin only reads is told once, in plain words; `plan` and `build` stop at it before they ask anybody."""

from __future__ import annotations

import json

import pytest

from tests.scenarios.pipeline import META, Job, Project

ANSIBLE = (
    "image: app\nfrom: BASE\nansible:\n  install:\n  - name: one\n---\n"
    "image: [x, y]\nfrom: BASE\nansible:\n  setup:\n  - name: two\n---\nimage: plain\nfrom: BASE\n"
)
TOLD = (
    "`ansible` (werf.yaml:6:1, werf.yaml:12:1) cannot be built here: `plan` and `build` refuse 'app', 'x', 'y' and what is made of it; "
    "write its tasks as commands under `shell`, or build that image elsewhere and name the result in `from`"
)


@pytest.fixture
def job(project: Project) -> Job:
    project.write("werf.yaml", META + ANSIBLE.replace("BASE", project.base))
    project.commit()
    return project.pipeline().job()


@pytest.mark.parametrize("command", [("config", "list"), ("config", "list", "--format", "json"), ("pin",)])
def test_it_is_a_warning_for_who_lists_and_pins(job: Job, command: tuple[str, ...]) -> None:
    ran = job.must(*command)
    assert ran.err.count(f"warning: {TOLD}") == 1
    assert "cannot be built" not in ran.out


def test_doctor_shows_it_and_does_not_fail_for_it(job: Job) -> None:
    checks = json.loads(job.must("doctor", "--format", "json").out)["checks"]
    (row,) = [check for check in checks if check["name"] == "directives"]
    assert (row["works"], row["answer"]) == (False, TOLD)


def test_doctor_says_nothing_of_directives_where_all_can_be_built(project: Project) -> None:
    project.commit(config=f"image: app\nfrom: {project.base}\n")
    assert '"directives"' not in project.pipeline().job().must("doctor", "--format", "json").out


@pytest.mark.parametrize("command", [("plan",), ("build", "--pin"), ("build",), ("explain", "app")])
def test_plan_and_build_stop_at_it_before_they_ask_anybody(job: Job, project: Project, command: tuple[str, ...]) -> None:
    ran = job.run(*command)
    assert ran.code == 2
    assert "found 1 directive of image 'app' that it only reads" in ran.err or "found 2 directives of 3 images (app, x, y)" in ran.err
    assert "write its tasks as commands under `shell`" in ran.err
    assert project.registry.requests == []


def test_an_image_that_can_be_built_is(job: Job) -> None:
    job.must("build", "--pin", "plain")


def test_a_row_of_doctor_is_one_line_whatever_is_wrong(project: Project) -> None:
    project.commit(config="image: app\nformat: x\nfoo: y\n")
    ran = project.pipeline().job().run("doctor")
    row = next(line for line in ran.out.splitlines() if line.startswith("configuration"))
    assert row.endswith("(and 2 more errors)")
    assert "expected a known directive, found `foo`" in ran.err
