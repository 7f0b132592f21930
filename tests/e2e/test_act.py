"""The composite action and the example workflow, run by act on this machine: what a GitHub runner would do, wiring and all.

Two things differ from GitHub. actions/upload-artifact and actions/download-artifact are stood in for by two composite actions that
copy into a directory: their own code is not published with a package index and cannot be had offline. And act enforces neither
permissions nor concurrency, and knows no attempts; what stagepin does about attempts is tested elsewhere.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from ci_plugin.demo.rig import Rig
from tests.e2e.ci_project import BASE_DIGEST_LABEL, CiProject, make_project, read_labels
from tests.e2e.own_source import ROOT, copy_source, offline_pip

ACT = Path(sys.executable).with_name("act")
EXAMPLE = (ROOT / "examples" / "github-workflow.yml").read_text("utf-8")
CARRY = {
    "upload-artifact": 'mkdir -p "$CARRY/$NAME" && cp "$AT" "$CARRY/$NAME/"',
    "download-artifact": 'mkdir -p "$AT" && cp "$CARRY/$NAME"/* "$AT/"',
}


@pytest.fixture
def project(tmp_path: Path, rig: Rig) -> CiProject:
    return make_project(tmp_path, rig, "octo", "dockerfile", "https://github.com/octo/app.git")


def test_the_example_workflow_deploys_what_was_pinned_although_the_base_moves_between_its_jobs(project: CiProject, tmp_path: Path) -> None:
    pinned = project.move_base("first")
    witness = tmp_path / "needs.json"
    workflow = _move_base_before("build", "pin", _move_base_before("deploy", "pin, build", EXAMPLE)) + _witness(
        ["pin", "build", "deploy"], witness
    )

    log = run_workflow(project, tmp_path, workflow)

    needs: dict[str, Any] = json.loads(witness.read_text("utf-8"))
    assert {job: needs[job]["result"] for job in needs} == {"pin": "success", "build": "success", "deploy": "success"}
    assert len({needs[job]["outputs"]["pin-checksum"] for job in needs}) == 1
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", needs["pin"]["outputs"]["pin-checksum"])
    assert needs["build"]["outputs"]["record-checksum"] == needs["deploy"]["outputs"]["record-checksum"] != ""
    assert needs["build"]["outputs"]["any"] == "true"
    assert needs["deploy"]["outputs"]["verified"] == "true"
    (image,) = json.loads(needs["build"]["outputs"]["images"]).values()
    assert image.startswith(f"{project.repo}@sha256:")
    assert read_labels(image)[BASE_DIGEST_LABEL] == pinned
    assert project.current_base() != pinned
    assert image in _lines_of_the_deploy_step(log)


def test_the_action_names_what_is_wrong_with_an_input_on_the_run_page(project: CiProject, tmp_path: Path) -> None:
    workflow = EXAMPLE.replace("command: pin\n", "command: freeze\n")

    with pytest.raises(AssertionError) as refusal:
        run_workflow(project, tmp_path, workflow)

    assert "Expected the input 'command' to be pin, build, verify, fetch or drift, found 'freeze'." in str(refusal.value)


def run_workflow(project: CiProject, tmp_path: Path, workflow: str) -> str:
    """Run the push event through act with our own source as the action; returns the log."""
    file = project.directory / ".github" / "workflows" / "stagepin.yml"
    file.parent.mkdir(parents=True)
    file.write_text(workflow, "utf-8")
    project.commit()
    move_base = tmp_path / "move-base"
    move_base.write_text(_MOVE_BASE.format(python=sys.executable, rig=project.rig, name=project.name), "utf-8")
    move_base.chmod(0o755)
    command = [str(ACT), "push", "-P", "ubuntu-latest=-self-hosted", "--no-cache-server"]
    command += [f"--local-repository={ref}={path}" for ref, path in _actions(tmp_path / "actions").items()]
    environment = {
        "GITHUB_RUN_ID": "77",
        "GITHUB_REPOSITORY_ID": "4711",
        "STAGEPIN_REPO": project.repo,
        "DOCKER_HOST": project.rig.docker_host,
        "CARRY": str(tmp_path / "artifacts"),
        "MOVE_BASE": str(move_base),
        **offline_pip(),
    }
    for name, value in environment.items():
        command += ["--env", f"{name}={value}"]
    return project.run(*command)


_MOVE_BASE = """\
#!{python}
import sys
from ci_plugin.demo.rig import push_base
push_base({rig.docker_host!r}, {rig.registry_address!r}, "{name}/base", "latest", sys.argv[1])
"""


def _actions(directory: Path) -> dict[str, Path]:
    """``owner/name@ref`` as the example writes it → the local copy act is to take."""
    found = {match[1]: match[2] for match in re.finditer(r"uses: ([\w-]+/[\w-]+)@(\S+)", EXAMPLE)}
    actions = {f"OWNER/stagepin@{found['OWNER/stagepin']}": copy_source(directory / "stagepin")}
    for name, command in CARRY.items():
        stand_in = directory / name / "action.yml"
        stand_in.parent.mkdir()
        stand_in.write_text(_STAND_IN.format(name=name, command=command), "utf-8")
        actions[f"actions/{name}@{found[f'actions/{name}']}"] = stand_in.parent
    return actions


_STAND_IN = """\
name: {name}
description: Carries one file through a directory.
inputs: {{name: {{required: true}}, path: {{required: true}}, include-hidden-files: {{}}, if-no-files-found: {{}}}}
runs:
  using: composite
  steps:
    - shell: bash
      env: {{NAME: "${{{{ inputs.name }}}}", AT: "${{{{ inputs.path }}}}"}}
      run: {command}
"""


def _move_base_before(job: str, needs: str, workflow: str) -> str:
    """The workflow with one more job, after ``needs`` and before ``job``, in which the world goes on and the base's tag moves."""
    world = f"before-{job}"
    changed, count = re.subn(rf"(\n  {job}:\n    name: .*\n    needs: )\[?{needs}\]?\n", rf"\g<1>[{needs}, {world}]\n", workflow)
    assert count == 1
    return f"{changed}\n  {world}:\n    needs: [{needs}]\n    runs-on: ubuntu-latest\n    steps: [{{run: '$MOVE_BASE {world}'}}]\n"


def _witness(jobs: list[str], file: Path) -> str:
    """A last job that writes down what the others hand on."""
    step = f"{{env: {{NEEDS: '${{{{ toJSON(needs) }}}}'}}, run: 'printf %s \"$NEEDS\" > {file}'}}"
    return f"\n  witness:\n    needs: [{', '.join(jobs)}]\n    runs-on: ubuntu-latest\n    steps: [{step}]\n"


def _lines_of_the_deploy_step(log: str) -> str:
    return log.partition("Run Main Deploy")[2]
