"""One run tells everything that is wrong: the configuration and all its Dockerfiles, each once, each with its place and the way out."""

from __future__ import annotations

import json

import pytest

from tests.scenarios.pipeline import META, Job, Project, Ran

WRONG = """image: api
dockerfile: Dockerfile
context: api
target: bild
---
image: web
dockerfile: web/Dockerfile
---
image: gone
dockerfile: nope/Dockerfile
---
image: twice
context: web
dockerfile: web/Dockerfile
---
image: app
fromImage: baze
import:
- image: nothere
  add: /x
  after: install
shell:
  install: [a, ~, [x]]
---
image: base
from: BASE
fromLatst: true
"""


@pytest.fixture
def job(project: Project) -> Job:
    project.write("api/Dockerfile", f"FROM {project.base} AS build\nFROM {project.base}\n")
    project.write("web/Dockerfile", f"FROM Foo:Bar::x\nRUNN x\nRUN y\nCOPPY y\nFROM {project.base}\nCOPY --from=0 / /\n")
    project.commit(config=WRONG.replace("BASE", project.base))
    return project.pipeline().job()


def places(ran: Ran) -> list[str]:
    """Every place that is told, in the order it is told."""
    lines = ran.err.splitlines()
    first = next(line.removeprefix("  at: ") for line in lines if line.startswith("  at: "))
    return [first, *(line.strip().partition(": ")[0] for line in lines if line.startswith("    "))]


@pytest.mark.parametrize("command", [("config", "list"), ("pin",), ("plan",), ("build", "--pin")])
def test_every_error_is_told_at_once_in_the_order_of_files_and_lines(job: Job, command: tuple[str, ...]) -> None:
    ran = job.run(*command)
    assert ran.code == 2
    assert places(ran) == [
        "werf.yaml:7:1",
        "werf.yaml:13:1",
        "werf.yaml:17:1",
        "werf.yaml:20:1",
        "werf.yaml:22:3",
        "werf.yaml:26:16",
        "werf.yaml:26:19",
        "werf.yaml:30:1",
        "web/Dockerfile:1:6",
        "web/Dockerfile:2:1",
        "web/Dockerfile:4:1",
    ]
    assert "error: expected a stage of api/Dockerfile as the target, found 'bild' (image 'api')" in ran.err
    assert "next: did you mean 'build'?" in ran.err
    assert (
        "expected the Dockerfile nope/Dockerfile of image 'gone' in the commit, found none (git add nope/Dockerfile, or correct" in ran.err
    )
    assert "found none (`dockerfile` counts from `context`: write `dockerfile: Dockerfile`)" in ran.err
    assert "expected the name of an image, found 'baze' (did you mean 'base'?)" in ran.err
    assert "expected the name of an image, found 'nothere'" in ran.err


def test_nobody_is_asked_before_all_is_right(job: Job, project: Project) -> None:
    assert job.run("build", "--pin").code == 2
    assert project.registry.requests == []


def test_an_unknown_target_of_a_lone_dockerfile_names_its_image(project: Project) -> None:
    project.write("Dockerfile", f"FROM {project.base} AS build\n")
    project.commit()
    ran = project.pipeline().job().run("config", "list", "--dockerfile", "app=Dockerfile,target=biuld")
    assert ran.code == 2
    assert "expected a stage of Dockerfile as the target, found 'biuld' (image 'app')" in ran.err
    assert "at: --dockerfile" in ran.err
    assert "did you mean 'build'?" in ran.err


@pytest.mark.parametrize("command", [("config", "list"), ("pin",)])
def test_what_can_never_be_an_image_ends_with_2_everywhere(project: Project, command: tuple[str, ...]) -> None:
    project.write("Dockerfile", f"FROM {project.base}\nCOPY --from=Foo:Bar::x / /\n")
    project.commit()
    ran = project.pipeline().job().run(*command)
    assert ran.code == 2
    assert "at: Dockerfile:2:13" in ran.err


def test_what_another_build_argument_would_tell_is_unresolved_for_the_list_and_stops_a_pin(project: Project) -> None:
    project.write("Dockerfile", f"ARG BASE\nARG OTHER\nFROM $BASE AS one\nFROM {project.base}\nCOPY --from=one / /\n")
    project.commit()
    job = project.pipeline().job()
    listed = json.loads(job.must("config", "list", "--format", "json").out)["images"]
    assert [item["spelling"] for image in listed.values() for item in image["unresolved"]] == ["$BASE"]
    ran = job.run("pin")
    assert (ran.code, places(ran)) == (2, ["Dockerfile:3:6"])
    job.must("config", "list", "--build-arg", f"BASE={project.base}")
    assert job.run("config", "list", "--build-arg", "BASE=A::b").code == 2


def test_the_configuration_is_not_read_for_what_another_build_argument_mends(project: Project) -> None:
    project.write("Dockerfile", f"ARG TAG=:x\nFROM {project.base}$TAG\n")
    project.commit()
    job = project.pipeline().job()
    ran = job.run("config", "list")
    assert (ran.code, places(ran)) == (2, ["Dockerfile:2:6"])
    job.must("config", "list", "--build-arg", "TAG=")


def test_a_configuration_of_dockerfiles_is_read_with_its_arguments(project: Project) -> None:
    project.write("Dockerfile", "ARG TAG=:x\nFROM alpine:$TAG\n")
    project.write("werf.yaml", META + "image: a\ndockerfile: Dockerfile\nargs:\n  TAG: '3'\n")
    project.commit()
    assert "docker.io/library/alpine:3" in project.pipeline().job().must("config", "list").out
