"""A job that is cancelled: the process ends at once with 130, nothing of it goes on in the engine, and the next run converges."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import docker
import pytest

from ci_plugin.demo.rig import Rig, push_base
from tests.fakes.git_repository import GitRepository
from tests.fakes.printed import await_line
from tests.scenarios.pipeline import META, PLAIN

LOG = "project-dockerfile.log"
SECONDS = 30.0
"""Far below what the interrupted command would take, far above what ending takes."""

STAGES = META + "image: app\nfrom: BASE\nshell:\n  install: [echo it runs, sleep 300]\n  setup: [echo never]\n"
DOCKERFILE = "FROM BASE\nRUN echo it runs && sleep 300\n"


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize(("file", "text", "log"), [("werf.yaml", STAGES, "app-install.log"), ("Dockerfile", DOCKERFILE, LOG)])
def test_a_cancelled_build_ends_at_once_and_leaves_nothing_running(
    rig: Rig, tmp_path: Path, file: str, text: str, log: str, sent: signal.Signals
) -> None:
    push_base(rig.docker_host, rig.registry_address, "interrupt/base", "latest", "1")
    repository = GitRepository(tmp_path / "project")
    repository.write(file, text.replace("BASE", f"{rig.registry_address}/interrupt/base"))
    repository.commit()
    command = [sys.executable, "-m", "ci_plugin", "-v", "build", "--repo", f"{rig.registry_address}/interrupt/{sent.name.lower()}"]
    environ = {**PLAIN, "DOCKER_HOST": rig.docker_host}
    with subprocess.Popen(
        command, cwd=repository.directory, env=environ, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    ) as build:
        await_line(repository.directory / ".stagepin" / "logs" / log, "it runs")
        build.send_signal(sent)
        _, printed = build.communicate(timeout=SECONDS)
    assert build.returncode == 130, printed
    assert printed.splitlines()[-1] == "interrupted: run the same command again, it goes on from what is stored"
    assert not (repository.directory / ".stagepin" / "build.json").exists()
    client = docker.DockerClient(base_url=rig.docker_host)
    assert client.containers.list(all=True, filters={"name": "^/?stagepin-"}) == []
    client.close()
