"""What a Dockerfile's build finds around it, from the command line and the configuration to the finished image."""

from __future__ import annotations

import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from ci_plugin.demo.rig import Rig
from tests.e2e.test_buildkit import is_over
from tests.fakes.git_repository import GitRepository
from tests.functional.test_real_builds import SETTINGS, RealProject
from tests.scenarios.pipeline import PLAIN

TOKEN = "hunter2-of-the-build"
TEXT = "FROM BASE\nRUN --mount=type=secret,id=token,required=true cat /run/secrets/token; wc -c < /run/secrets/token > /length\n"


@pytest.fixture
def project(rig: Rig, tmp_path: Path, request: pytest.FixtureRequest) -> RealProject:
    name = request.node.originalname.removeprefix("test_").replace("_", "-")[:40].strip("-")
    real = RealProject(rig, name, GitRepository(tmp_path / "project"))
    real.write(".stagepin.yaml", SETTINGS)
    real.move_base("1")
    return real


def _everything_written(project: RealProject) -> str:
    return "".join(path.read_text(errors="replace") for path in (project.repository.directory / ".stagepin").rglob("*") if path.is_file())


def test_a_secret_of_the_command_line_is_used_and_shown_nowhere(project: RealProject) -> None:
    project.write("Dockerfile", TEXT)
    project.repository.commit()
    project.must("pin", "--repo", project.stages)
    ran = project.must("-v", "build", "--repo", project.stages, "--secret", "id=token,env=IT", IT=TOKEN)
    assert "| ***" in ran.err
    assert TOKEN not in ran.text
    assert "***" in _everything_written(project)
    assert TOKEN not in _everything_written(project)
    again = project.must("build", "--repo", project.stages, "--secret", "id=token,env=IT", IT="another value of it")
    assert "built in" not in again.err


def test_a_file_that_is_not_committed_is_told_with_the_way_to_bring_it(project: RealProject) -> None:
    project.write("Dockerfile", "FROM scratch\nCOPY made.txt /\n")
    project.repository.commit()
    ran = project.run("build", "--pin", "--repo", project.stages)
    assert ran.code == 1
    assert "made.txt" in ran.err
    assert "a file that is not committed comes into the build with --context-add" in ran.err
    (project.repository.directory / "made.txt").write_text("made")
    project.must("build", "--pin", "--repo", project.stages, "--context-add", "made.txt")


def test_a_secret_that_is_missing_is_asked_for_before_the_build(project: RealProject) -> None:
    project.write("werf.yaml", "project: p\nconfigVersion: 1\n---\nimage: app\ndockerfile: Dockerfile\nsecrets:\n- {id: token, env: IT}\n")
    project.write("Dockerfile", TEXT)
    project.repository.commit()
    project.must("pin", "--repo", project.stages)
    ran = project.run("build", "--repo", project.stages)
    assert ran.code == 2
    assert "expected a value in the environment variable IT for the secret 'token', found none" in ran.err
    assert "at: werf.yaml:7:" in ran.err
    project.must("build", "--repo", project.stages, IT=TOKEN)


def test_a_secret_nobody_named_is_exit_2(project: RealProject) -> None:
    project.write("Dockerfile", TEXT.replace("cat", "true; cat"))  # else it is in the engine's cache
    project.repository.commit()
    project.must("pin", "--repo", project.stages)
    ran = project.run("build", "--repo", project.stages)
    assert ran.code == 2
    assert "no secret 'token' was given to this build" in ran.err
    assert "--secret" in ran.err


def test_options_of_a_dockerfile_alone_are_refused_beside_a_configuration(project: RealProject) -> None:
    project.write("werf.yaml", "project: p\nconfigVersion: 1\n---\nimage: app\nfrom: BASE\n")
    project.repository.commit()
    ran = project.run("pin", "--repo", project.stages, "--secret", "id=token")
    assert ran.code == 2
    assert "expected --build-arg, --context-add, --secret and --ssh with a Dockerfile alone, found werf.yaml" in ran.err
    assert "write `args:`, `contextAddFiles:`, `secrets:` and `ssh:` at the image there" in ran.err


def test_hosts_and_facts_of_another_image_reach_the_build(project: RealProject) -> None:
    project.write(
        "werf.yaml",
        "project: p\nconfigVersion: 1\n---\nimage: lib\nfrom: BASE\nshell:\n  install: [echo lib > /lib-file]\n"
        "---\nimage: app\ndockerfile: Dockerfile\naddHost: ['there:192.0.2.7']\nnetwork: none\n"
        "dependencies:\n- image: lib\n  imports: [{type: ImageName, targetBuildArg: LIB}]\n",
    )
    project.write("Dockerfile", "FROM BASE\nARG LIB\nRUN echo lib is $LIB; grep there /etc/hosts\n")
    project.repository.commit()
    project.must("pin", "--repo", project.stages)
    ran = project.must("-v", "build", "--repo", project.stages)
    assert f"| lib is {project.stages}" in ran.err
    assert "192.0.2.7\tthere" in ran.err.replace(" ", "\t")


def _logged(project: RealProject) -> str:
    with suppress(FileNotFoundError):  # a file that is being replaced
        return _everything_written(project)
    return ""


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_a_build_that_is_interrupted_ends_in_the_engine(project: RealProject, sent: signal.Signals) -> None:
    step = f"echo it runs; sleep {4000 + sent}"
    project.write("Dockerfile", f"FROM BASE\nRUN {step}\n")
    project.repository.commit()
    command = [sys.executable, "-m", "ci_plugin", "build", "--repo", project.stages]
    environ = {**PLAIN, "DOCKER_HOST": project.rig.docker_host}
    with subprocess.Popen(
        command, cwd=project.repository.directory, env=environ, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    ) as build:
        while "\nit runs" not in _logged(project):
            with suppress(subprocess.TimeoutExpired):
                build.wait(0.1)
                pytest.fail(f"the build ended by itself: {build.stderr.read() if build.stderr else ''}")
        build.send_signal(sent)
        _, printed = build.communicate(timeout=30)
    assert build.returncode == 130, printed
    assert printed.splitlines()[-1] == "interrupted: run the same command again, it goes on from what is stored"
    assert is_over(str(4000 + sent))
