"""What a start costs: a command imports the libraries it uses and no others."""

from __future__ import annotations

import json
import subprocess
import sys

from tests.scenarios.pipeline import Project

HEAVY = {"docker", "gotpl", "jinja2", "gitlab", "github", "tenacity", "requests"}
_PROGRAM = """
import json, sys
from ci_plugin.cli.main import main
code = main(sys.argv[1:])
print(json.dumps([code, sorted({name.partition(".")[0] for name in sys.modules})]))
"""


def modules_after(project: Project, *argv: str) -> set[str]:
    """The top-level modules a process has imported after one command that succeeded."""
    job = project.pipeline().job()
    command = [sys.executable, "-c", _PROGRAM, "-C", str(job.directory), *argv]
    done = subprocess.run(command, env=job.environ, capture_output=True, text=True, check=True)
    code, names = json.loads(done.stdout.splitlines()[-1])
    assert code == 0, done.stderr
    return set(names)


def test_pin_of_a_plain_configuration_imports_no_forge_docker_or_template_library(project: Project) -> None:
    project.commit(config="image: app\nfrom: BASE\nfromLatest: true\n")
    names = modules_after(project, "pin")
    assert names & HEAVY == set()
    assert {"urllib3", "yaml"} <= names


def test_pin_of_a_dockerfile_imports_no_yaml_either(project: Project) -> None:
    project.write("Dockerfile", f"FROM {project.base}\n")
    project.commit()
    assert modules_after(project, "pin") & (HEAVY | {"yaml"}) == set()


def test_a_job_that_has_the_pin_file_imports_no_http_even_where_a_stages_storage_is_set(project: Project) -> None:
    project.commit(config="image: app\nfrom: BASE\nfromLatest: true\n")
    job = project.pipeline().job()
    job.must("pin")
    command = [sys.executable, "-c", _PROGRAM, "-C", str(job.directory), "pin", "--locked"]
    done = subprocess.run(command, env=job.environ, capture_output=True, text=True, check=True)
    code, names = json.loads(done.stdout.splitlines()[-1])
    assert code == 0, done.stderr
    assert set(names) & {"urllib3", "http", "ssl", "concurrent"} == set()


def test_version_imports_neither_network_nor_yaml(project: Project) -> None:
    project.commit()
    assert modules_after(project, "--version") & (HEAVY | {"urllib3", "yaml", "http", "ssl", "concurrent"}) == set()


def test_verify_needs_no_docker_git_or_template_library(project: Project) -> None:
    project.commit(config="image: app\nfrom: BASE\nfromLatest: true\n")
    job = project.pipeline().job()
    job.must("build", "--pin")
    assert modules_after(project, "verify") & HEAVY == set()


def test_a_build_where_nothing_changed_imports_no_docker(project: Project) -> None:
    project.commit(config="image: app\nfrom: BASE\nfromLatest: true\n")
    job = project.pipeline().job()
    job.must("build", "--pin")
    assert modules_after(project, "build") & HEAVY == set()
