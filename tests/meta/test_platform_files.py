"""The files of both CI platforms: the platforms' own schemas accept them, and the GitLab template keeps what it promises."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

import ci_plugin
from tests.e2e.own_source import ROOT

TEMPLATE = ROOT / "templates" / "stagepin.yml"
EXAMPLE_WORKFLOW = ROOT / "examples" / "github-workflow.yml"
TYPES = {"string": str, "array": list, "boolean": bool, "number": int}


def _template() -> tuple[dict[str, Any], str]:
    """The inputs of the template, and the text of its jobs: two YAML documents in one file."""
    header, jobs = TEMPLATE.read_text("utf-8").split("\n---\n")
    return yaml.safe_load(header)["spec"]["inputs"], jobs


def _jobs() -> dict[str, Any]:
    """The jobs with every input at its default, as GitLab puts them together."""
    inputs, text = _template()
    for name, declared in inputs.items():
        default = declared["default"]
        text = text.replace(f"$[[ inputs.{name} ]]", default if isinstance(default, str) else json.dumps(default))
    jobs: dict[str, Any] = yaml.safe_load(text)
    return jobs


def _run(*command: str | Path) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_platforms_schemas_and_an_audit_accept_the_action_and_the_examples() -> None:
    _run(ROOT / ".ci" / "platform-files")


def test_gitlabs_schema_accepts_the_jobs_of_the_template(tmp_path: Path) -> None:
    jobs = tmp_path / "jobs.yml"
    jobs.write_text(json.dumps(_jobs()), "utf-8")
    program = Path(sys.executable).with_name("check-jsonschema")
    _run(program, "--builtin-schema", "vendor.gitlab-ci", "--data-transform", "gitlab-ci", jobs)


def test_every_input_of_the_template_says_what_it_is_and_has_a_default_of_its_type() -> None:
    inputs, _ = _template()
    for name, declared in inputs.items():
        assert declared["description"].endswith("."), name
        assert isinstance(declared["default"], TYPES[declared["type"]]), name


def test_the_template_uses_the_inputs_it_declares_and_no_others() -> None:
    inputs, jobs = _template()
    assert set(re.findall(r"\$\[\[ inputs\.([\w-]+) \]\]", jobs)) == set(inputs)


def test_the_template_names_this_version() -> None:
    inputs, _ = _template()
    assert inputs["version"]["default"] == ci_plugin.__version__


def _set_up(tmp_path: Path, path: str) -> subprocess.CompletedProcess[str]:
    """What every job runs first, with every input at its default, in a job whose PATH is ``path``."""
    (set_up,) = _jobs()[".stagepin"]["before_script"]
    return subprocess.run(["/bin/bash", "-eo", "pipefail", "-c", set_up], cwd=tmp_path, env={"PATH": path}, capture_output=True, text=True)


def test_a_job_without_stagepin_and_without_the_input_install_stops_and_asks_no_package_index(tmp_path: Path) -> None:
    inputs, _ = _template()
    assert inputs["install"]["default"] == ""
    done = _set_up(tmp_path, str(tmp_path))
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "error: expected the command stagepin in this job, found none",
        "  next: say in the template's input 'install' how it is installed, or name an 'image' that has it",
    ]


def test_a_job_image_that_has_stagepin_needs_no_input(tmp_path: Path) -> None:
    (tmp_path / "stagepin").write_text("#!/bin/sh\n", "utf-8")
    (tmp_path / "stagepin").chmod(0o755)
    assert _set_up(tmp_path, str(tmp_path)).returncode == 0


def test_nothing_that_is_copied_from_here_installs_stagepin_by_its_name_from_a_package_index() -> None:
    files = [ROOT / "README.md", ROOT / ".gitlab-ci.example.yml", ROOT / "action.yml", ROOT / "scripts" / "action"]
    files += [file for folder in ("docs", "templates", "examples") for file in (ROOT / folder).rglob("*") if file.is_file()]
    named = re.compile(r"""pip3? install (?:-\S+ )*[\\"']*stagepin\b(?:\[[\w,]+\])?+(?! @ )""")
    assert named.search('pip install --quiet "stagepin[gitlab]==0.1.0"')
    assert named.search("pip install stagepin\n")
    assert {str(file): found[0] for file in files if (found := named.search(file.read_text("utf-8")))} == {}


def test_the_deploy_job_takes_no_artifacts_so_that_their_expiry_cannot_stop_it() -> None:
    assert _jobs()[".stagepin-verify"]["needs"] == [{"job": "stagepin-build", "artifacts": False}]


def test_the_build_job_takes_the_pin_file_from_the_pin_job() -> None:
    jobs = _jobs()
    assert jobs["stagepin-build"]["needs"] == [{"job": "stagepin-pin", "artifacts": True}]
    assert jobs["stagepin-pin"]["artifacts"]["paths"] == [".stagepin/pins.json"]


def test_the_pin_job_is_never_cut_off_and_is_retried_where_that_may_help() -> None:
    job = _jobs()["stagepin-pin"]
    assert job["interruptible"] is False
    assert job["retry"]["exit_codes"] == [3]


def test_the_example_workflows_deploy_job_downloads_no_artifact() -> None:
    workflow = yaml.safe_load(EXAMPLE_WORKFLOW.read_text("utf-8"))
    used = [step.get("uses", "").partition("@")[0] for step in workflow["jobs"]["deploy"]["steps"]]
    assert used == ["actions/checkout", "OWNER/stagepin", ""]
