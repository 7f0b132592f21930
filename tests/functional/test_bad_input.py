"""Every row of what people get wrong: the exit code, what was expected and found, where, and what to do."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ci_plugin.errors import InputError
from ci_plugin.ports import Engine
from ci_plugin.values.document import seal
from ci_plugin.values.platform import parse_platform
from tests.fakes.engine import FakeEngine
from tests.fakes.registry import Fault
from tests.fakes.registry_client import make_client
from tests.scenarios.pipeline import BASE, META, PLAIN, Job, Project, Ran, run

CONFIG = "image: app\nfrom: BASE\nfromLatest: true\n"


def refused(ran: Ran, code: int, message: str, *, at: str = "", hint: str) -> None:
    """The one shape of a refusal on stderr."""
    assert ran.code == code, ran.text
    assert f"error: {message}" in ran.err
    assert (f"\n  at: {at}\n" in ran.err) if at else True
    assert f"\n  next: {hint}" in ran.err
    assert "Traceback" not in ran.err


CONFIGURATIONS = {
    "unknown directive": ("image: app\nform: BASE\n", "expected a known directive, found `form`", "werf.yaml:5:1", "did you mean `from`?"),
    "two base directives": (
        "image: web\nfrom: BASE\n---\nimage: app\nfrom: BASE\nfromImage: web\n",
        "expected one base for image 'app', found `from` (line 8) and `fromImage` (line 9)",
        "werf.yaml:9:1",
        "keep one of them",
    ),
    "no base directive": (
        "image: app\nfromCacheVersion: 1\n",
        "expected a base for image 'app', found none",
        "werf.yaml:4:1",
        "add one of `from`, ",
    ),
    "a cycle": (
        "image: app\nfromImage: web\n---\nimage: web\nfromImage: app\n",
        "expected images that end at an external base, found a cycle: app -> web -> app",
        "werf.yaml:8:1",
        "give one of them another base",
    ),
    "an image built on itself": (
        "image: app\nfromImage: app\n",
        "expected another image, found 'app' itself",
        "werf.yaml:5:1",
        "name another image",
    ),
    "a missing image": (
        "image: app\nfromImage: wep\n---\nimage: web\nfrom: BASE\n",
        "expected the name of an image, found 'wep'",
        "werf.yaml:5:1",
        "did you mean 'web'?",
    ),
    "no reference": (
        "image: app\nfrom: Alpine Linux\n",
        "expected an image reference such as alpine:3.20, found 'Alpine Linux'",
        "werf.yaml:5:1",
        "write name:tag, or name@sha256:<64 hex>",
    ),
    "an address as reference": (
        "image: app\nfrom: https://example.com/app\n",
        "expected an image reference without https://, found 'https://example.com/app'",
        "werf.yaml:5:1",
        "write name:tag, or name@sha256:<64 hex>",
    ),
    "no image at all": ("", "expected at least one image, found none", "werf.yaml", "add `image: NAME` and `from: BASE`"),
}


@pytest.mark.parametrize("row", CONFIGURATIONS)
@pytest.mark.parametrize("command", ["pin", "build"])
def test_a_wrong_configuration(project: Project, row: str, command: str) -> None:
    config, message, at, hint = CONFIGURATIONS[row]
    project.write("werf.yaml", META.removesuffix("---\n") + (f"---\n{config.replace('BASE', project.base)}" if config else ""))
    project.commit()
    options = ["build", "--pin"] if command == "build" else ["pin"]
    refused(project.pipeline().job().run(*options), 2, message, at=at, hint=hint)
    assert project.registry.requests == []


DOCKERFILES = {
    "unknown instruction": (
        "FROM BASE\nRUNN ls\n",
        "expected a Dockerfile instruction, found 'RUNN ls'",
        "Dockerfile:2:1",
        "did you mean RUN?",
    ),
    "no FROM": ("RUN ls\n", "expected a FROM, found none", "Dockerfile:1:1", "begin with FROM and a base image"),
    "no reference": (
        "FROM http://example.com/app\n",
        "expected an image reference without http://, found 'http://example.com/app'",
        "Dockerfile:1:6",
        "write name:tag, or name@sha256:<64 hex>",
    ),
}


@pytest.mark.parametrize("row", DOCKERFILES)
def test_a_wrong_dockerfile(project: Project, row: str) -> None:
    text, message, at, hint = DOCKERFILES[row]
    project.write("Dockerfile", text.replace("BASE", project.base))
    project.commit()
    refused(project.pipeline().job().run("pin"), 2, message, at=at, hint=hint)


def test_the_older_dialect_names_its_own_directives(project: Project) -> None:
    project.write("dappfile.yml", f"dimg: app\nfromImage: lib\n---\ndimg: lib\nfrom: {project.base}\n")
    project.commit()
    refused(
        project.pipeline().job().run("pin"),
        2,
        "expected a known directive, found `fromImage`",
        at="dappfile.yml:2:1",
        hint="did you mean `fromDimg`?",
    )


def test_nothing_to_build(project: Project) -> None:
    project.write("README", "nothing")
    project.commit()
    message = "expected one of werf.yaml, werf.yml, dappfile.yml, dappfile.yaml, Dockerfile in the commit, found none"
    refused(project.pipeline().job().run("pin"), 2, message, hint="git add one of them, or say --dockerfile NAME=PATH")


def test_no_git_repository(project: Project, tmp_path: Path) -> None:
    project.commit(config=CONFIG)
    empty = tmp_path / "empty"
    empty.mkdir()
    job = Job(empty, project.pipeline().job().environ, FakeEngine())
    ran = job.run("pin")
    assert ran.code == 2
    assert "error: expected a git repository" in ran.err
    assert "\n  next: " in ran.err


def test_an_image_that_is_not_in_the_configuration(project: Project) -> None:
    project.commit(config=CONFIG)
    job = project.pipeline().job()
    job.must("pin")
    for command in (["build", "ap"], ["plan", "ap"], ["explain", "ap"]):
        refused(job.run(*command), 2, "expected the name of an image, found 'ap'", hint="did you mean 'app'?")


REGISTRIES: dict[str, tuple[dict[str, Any], int, str, str]] = {
    "refuses with 401": ({"status": 401}, 2, "found status 401", "next: "),
    "refuses with 403": ({"status": 403}, 2, "found status 403", "next: "),
    "answers HTML": (
        {"status": 200, "body": b"<html>sign in</html>", "headers": {"Content-Type": "text/html"}},
        3,
        "answered text/html (status 200), expected a registry",
        "next: is this address a registry?",
    ),
    "answers HTML with 404": (
        {"status": 404, "body": b"<html>", "headers": {"Content-Type": "text/html"}},
        3,
        "answered text/html (status 404), expected a registry",
        "next: is this address a registry?",
    ),
    "is overloaded": ({"status": 429, "headers": {"Retry-After": "1"}}, 3, "found status 429", "next: "),
    "fails": ({"status": 500}, 3, "found status 500", "next: "),
    "hangs up": ({"hang_up": True}, 3, "expected an answer from", "next: "),
}


@pytest.mark.parametrize("row", REGISTRIES)
def test_a_registry_that_gives_no_digest(project: Project, row: str) -> None:
    fault, code, found, following = REGISTRIES[row]
    project.commit(config=CONFIG)
    project.registry._faults.append(Fault(**fault, path=f"/v2/{BASE}/", times=None))
    job = project.pipeline().job()
    ran = job.run("pin")
    assert ran.code == code, ran.text
    assert ran.err.startswith("error: ")
    assert "expected " in ran.err
    assert found in ran.err
    assert "\n  at: werf.yaml:5:1\n" in ran.err
    assert project.registry.address in ran.err
    assert following in ran.err
    assert not (job.workspace / "pins.json").exists()


def test_a_registry_that_is_down(project: Project) -> None:
    project.write("werf.yaml", META + "image: app\nfrom: 127.0.0.1:1/base/alpine\nfromLatest: true\n")
    project.commit()
    job = project.pipeline().job()
    message = "expected an answer from 127.0.0.1:1, found: connection refused"
    refused(job.run("pin"), 3, message, at="werf.yaml:5:1", hint="is 127.0.0.1:1 up and reachable from this machine?")


def test_a_base_that_does_not_exist(project: Project) -> None:
    project.write("werf.yaml", META + f"image: app\nfrom: {project.registry.address}/base/alpnie\nfromLatest: true\n")
    project.commit()
    message = f"expected {project.registry.address}/base/alpnie:latest in its registry, found nothing"
    hint = "check the spelling of the repository and tag, and that it was pushed"
    refused(project.pipeline().job().run("pin"), 2, message, at="werf.yaml:5:1", hint=hint)


def test_a_base_that_is_missing_and_enters_no_signature_is_a_warning_until_it_must_be_built(project: Project) -> None:
    project.write("werf.yaml", META + f"image: app\nfrom: {project.registry.address}/base/alpnie\n")
    project.commit()
    job = project.pipeline().job()
    ran = job.must("pin")
    reference = f"{project.registry.address}/base/alpnie:latest"
    assert f"warning: {reference} is not pinned (only a stage that must be built on it will stop): expected" in ran.err
    hint = "mend the reference or the access to it, then pin in a new scope"
    refused(job.run("build"), 2, f"expected a digest for {reference}, found none", at="werf.yaml:5", hint=hint)


def _truncated(data: bytes) -> bytes:
    return data[: len(data) // 2]


def _edited(data: bytes) -> bytes:
    return data.replace(b'"kind": "from"', b'"kind": "copy-from"')


def _newer(data: bytes) -> bytes:
    return data.replace(b'"schemaVersion": 1', b'"schemaVersion": 2')


def _foreign(data: bytes) -> bytes:
    body = {key: value for key, value in json.loads(data).items() if key != "checksum"}
    return seal({**body, "pipeline": {**body["pipeline"], "projectId": "1"}})


PIN_FILES: dict[str, tuple[Callable[[bytes], bytes], str, str]] = {
    "truncated": (_truncated, "expected a whole JSON document, found ", "delete the file and run `stagepin fetch`"),
    "empty": (lambda _: b"", "expected a whole JSON document, found 0 bytes that are none", "delete the file and run `stagepin fetch`"),
    "edited": (_edited, "expected checksum sha256:", "delete it and run `stagepin fetch`; never edit it by hand"),
    "newer": (
        _newer,
        "expected schemaVersion 1, found 2: it was written by a newer stagepin",
        "use the same or a newer stagepin in this job",
    ),
    "foreign": (_foreign, "expected pins of project id 4711, found project id 1: they belong to another job", "remove "),
}


@pytest.mark.parametrize("row", PIN_FILES)
def test_a_pin_file_that_is(project: Project, row: str) -> None:
    change, message, hint = PIN_FILES[row]
    project.commit(config=CONFIG)
    job = project.pipeline().job()
    job.must("pin")
    file = job.workspace / "pins.json"
    file.write_bytes(change(file.read_bytes()))
    project.registry.requests.clear()
    for command in ("pin", "plan", "build", "verify"):
        refused(job.run(command), 2, message, at=str(file), hint=hint)
    assert project.upstream_requests() == []


def test_commands_on_a_base_without_a_shell_name_the_image_and_its_stage(project: Project) -> None:
    project.commit(config="image: app\nfrom: scratch\nshell:\n  install: [make]\n")
    ran = project.pipeline().job().run("build", "--pin")
    message = "stage 'install' of image 'app': expected a base that can run commands, found an image without /bin/sh"
    refused(ran, 1, message, at="werf.yaml:4:8", hint="use a base that has a shell, or drop the commands of this image's stages")


def test_a_failing_shell_command_shows_its_whole_output(project: Project) -> None:
    project.commit(config=CONFIG + "shell:\n  install: [make]\n")
    job = project.pipeline().job()
    job.must("pin")
    lines = [f"line {number} of the output" for number in range(200)]
    job.engine.fail("make", 2, "\n".join(lines))
    ran = job.run("build")
    message = "stage 'install' of image 'app': expected the stage's commands to succeed, found exit code 2"
    refused(ran, 1, message, at="werf.yaml:4:8", hint="mend the command; its output is above")
    assert [line for line in ran.err.splitlines() if line.startswith("  | ")] == [f"  | {line}" for line in lines]
    assert (job.workspace / "logs" / "app-install.log").read_text().splitlines() == lines


def test_a_failing_instruction_of_a_dockerfile_shows_its_output(project: Project) -> None:
    project.write("Dockerfile", f"FROM {project.base}\nRUN echo trying; false\n")
    project.commit()
    ran = project.pipeline().job().run("build", "--pin")
    assert ran.code == 1
    assert "  | trying\n" in ran.err
    assert "error: stage 'dockerfile' of image '" in ran.err


def test_no_engine(project: Project) -> None:
    project.commit(config=CONFIG)
    job = project.pipeline().job()
    job.must("pin")

    class Unreachable:
        def __getattr__(self, name: str) -> Any:
            raise InputError("expected an engine", hint="start one")

    engine: Engine = Unreachable()
    refused(run(["-C", str(job.directory), "build"], job.environ, engine, job.clock), 2, "expected an engine", hint="start one")


def test_a_default_platform_the_engine_cannot_run(project: Project) -> None:
    project.commit(config=CONFIG)
    job = project.pipeline().job(engine=FakeEngine(make_client(), parse_platform("linux/arm64")))
    job.must("pin")
    message = "expected an engine that runs linux/amd64 (the default platform), found one that runs linux/arm64"
    hint = "choose: `--platform linux/arm64` builds for this engine; `--platform linux/amd64` emulates, if the engine can"
    refused(job.run("build"), 2, message, hint=hint)
    assert job.engine.pulled == []


def test_an_index_that_lacks_the_platform(project: Project) -> None:
    child = project.registry.put_image(BASE, platform="linux/arm64")
    project.registry.put_index(BASE, "latest", {"linux/arm64": child})
    project.commit(config=CONFIG)
    message = f"expected {project.base} for linux/amd64, found it for linux/arm64"
    refused(project.pipeline().job().run("pin"), 2, message, at="werf.yaml:5:1", hint="choose another base or platform (`--platform`)")


def test_no_pins_where_pins_are_needed(project: Project) -> None:
    project.commit(config=CONFIG)
    job = project.pipeline().job()
    for command in ("build", "plan", "verify"):
        message = "expected the pins of pipeline:1001, found none (looked in "
        refused(job.run(command), 2, message, hint="run `stagepin pin` in an earlier job of this scope and hand .stagepin/pins.json on")
    assert project.upstream_requests() == []


def test_ci_without_a_repository(project: Project) -> None:
    project.commit(config=CONFIG)
    job = project.pipeline().job()
    job.environ["CI_REGISTRY_IMAGE"] = ""
    ran = job.must("pin")
    assert "warning: no repository is set, so the pins are kept in the workspace alone" in ran.err
    message = "expected a repository for the stages storage, found none in this CI job"
    refused(job.run("build"), 2, message, hint="set --repo or STAGEPIN_REPO (on GitLab CI_REGISTRY_IMAGE is the default)")
    assert job.engine.pulled == []


def test_a_repository_that_is_none(project: Project) -> None:
    project.commit(config=CONFIG)
    ran = project.pipeline().job().run("pin", "--repo", "registry.example.com/App")
    refused(ran, 2, "expected a repository of lower-case letters", hint="correct --repo, STAGEPIN_REPO or `repo` in .stagepin.yaml")


def test_a_scope_that_is_none(project: Project) -> None:
    project.commit(config=CONFIG)
    for scope, message in (
        ("a b", "expected a scope of 1-128 characters"),
        ("local", "expected a scope that later jobs share, found 'local' in CI"),
    ):
        assert f"error: {message}" in project.pipeline().job().run("pin", "--scope", scope).err
    assert "expected an id after 'pipeline:', found nothing" in project.pipeline().job().run("build", STAGEPIN_SCOPE="pipeline:").err


def test_both_scope_and_pipeline(project: Project) -> None:
    project.commit(config=CONFIG)
    ran = project.pipeline().job().run("verify", "--scope", "a", "--pipeline", "1")
    assert ran.code == 2
    assert "expected --scope or --pipeline, found both" in ran.err


@pytest.mark.parametrize(
    "argv", [["bild"], ["pin", "--nope"], ["explain"], ["--log-format", "xml", "pin"], ["build", "--jobs", "0"], ["pin", "--platform", "x"]]
)
def test_a_wrong_command_line(project: Project, argv: list[str]) -> None:
    project.commit(config=CONFIG)
    ran = run(argv, PLAIN, FakeEngine(), project.pipeline().job().clock)
    assert ran.code == 2
    assert ran.out == ""
    assert "Error: " in ran.err


def test_a_command_of_ours_that_fails_by_our_mistake_ends_with_4(project: Project) -> None:
    project.commit(config=CONFIG)
    job = project.pipeline().job()
    job.must("pin")

    class Broken:
        def __getattr__(self, name: str) -> Any:
            raise ZeroDivisionError("a slip")

    engine: Engine = Broken()
    ran = run(["-C", str(job.directory), "build"], job.environ, engine, job.clock)
    refused(ran, 4, "stagepin made a mistake: ZeroDivisionError: a slip", hint="run again with -v and report what it prints")


def test_an_interrupted_command_ends_with_130(project: Project) -> None:
    project.commit(config=CONFIG)
    job = project.pipeline().job()
    job.must("pin")

    class Interrupted:
        def __getattr__(self, name: str) -> Any:
            raise KeyboardInterrupt

    engine: Engine = Interrupted()
    ran = run(["-C", str(job.directory), "build"], job.environ, engine, job.clock)
    assert ran.code == 130
    assert ran.err.endswith("interrupted: run the same command again, it goes on from what is stored\n")
