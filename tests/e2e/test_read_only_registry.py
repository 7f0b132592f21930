"""A registry that is read-only for its maintenance: what is said, and that a later run does what is left."""

from __future__ import annotations

import io
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

from ci_plugin.cli.main import main
from ci_plugin.cli.wiring import Outside, connect_docker
from ci_plugin.demo.rig import Rig, push_base, start_registry
from ci_plugin.forge.clock import SystemClock
from tests.fakes.git_repository import GitRepository
from tests.scenarios.pipeline import META, PLAIN, Ran


def test_a_build_in_its_maintenance_may_be_tried_again(rig: Rig, tmp_path: Path) -> None:
    project = GitRepository(tmp_path / "project")

    def run(*argv: str) -> Ran:
        out, err = io.StringIO(), io.StringIO()
        environ = {**PLAIN, "DOCKER_HOST": rig.docker_host}
        with redirect_stdout(out), redirect_stderr(err):
            code = main(["-C", str(project.directory), *argv], Outside(environ, SystemClock(), connect_docker))
        return Ran(code, out.getvalue(), err.getvalue())

    with start_registry(tmp_path / "registry") as registry:
        base, stages = f"{registry.address}/base", f"{registry.address}/stages"
        push_base(rig.docker_host, registry.address, "base", "latest", "1")
        project.write("werf.yaml", f"{META}image: app\nfrom: {base}:latest\nshell:\n  install: [echo installed]\n")
        project.write(".stagepin.yaml", "settle: 0\n")
        project.commit()
        assert run("pin", "--repo", stages, "--scope", "one").code == 0
    with start_registry(tmp_path / "registry", address=registry.address, read_only=True):
        ran = run("build", "--repo", stages, "--scope", "one")
        assert ran.code == 3, ran.text
        assert f"push {stages}:" in ran.err
    with start_registry(tmp_path / "registry", address=registry.address):
        assert run("build", "--repo", stages, "--scope", "one").code == 0
