"""action.yml and the command line agree, and scripts/action turns inputs into arguments and never into code."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.own_source import ROOT

SCRIPT = ROOT / "scripts" / "action"
ACTION: dict[str, Any] = yaml.safe_load((ROOT / "action.yml").read_text("utf-8"))
COMMANDS = ("pin", "build", "verify", "fetch", "drift")
OPTIONS = {"repo": COMMANDS, "scope": COMMANDS, "store": COMMANDS, "pin-checksum": COMMANDS, "env-file": ("pin", "verify")}
OUTPUTS = {"images", "any", "pin-checksum", "record-checksum", "verified", "drift"}


def _help(*command: str) -> str:
    return subprocess.run([sys.executable, "-m", "ci_plugin", *command, "--help"], check=True, capture_output=True, text=True).stdout


_RECORDER = """\
#!{python}
import json, os, sys
settings = {{name: value for name, value in os.environ.items() if name.startswith("STAGEPIN_")}}
json.dump([sys.argv[1:], settings], open({seen!r}, "w"))
"""


@dataclass(frozen=True)
class Seen:
    """How the step ended, and what stagepin got where it was called."""

    code: int
    log: str
    arguments: list[str]
    settings: dict[str, str]


def _run_action(tmp_path: Path, **inputs: str) -> Seen:
    """Run the action's script with a stagepin that writes down how it was called; ``inputs`` with underscores for dashes."""
    recorder, seen = tmp_path / "stagepin", tmp_path / "seen"
    recorder.write_text(_RECORDER.format(python=sys.executable, seen=str(seen)), "utf-8")
    recorder.chmod(0o755)
    given = {"executable": str(recorder), **{name.replace("_", "-"): value for name, value in inputs.items()}}
    values = {name: given.get(name, _default(name)) for name in ACTION["inputs"]}
    environment = {f"INPUT_{name.replace('-', '_').upper()}": value for name, value in values.items()}
    done = subprocess.run(["bash", SCRIPT], env={"PATH": "/usr/bin:/bin", **environment}, cwd=tmp_path, capture_output=True, text=True)
    arguments, settings = json.loads(seen.read_text("utf-8")) if seen.exists() else ([], {})
    return Seen(done.returncode, done.stdout + done.stderr, arguments, settings)


def _default(name: str) -> str:
    return str(ACTION["inputs"][name]["default"])


def test_every_input_that_is_an_option_is_an_option_of_the_commands_that_take_it() -> None:
    for command in COMMANDS:
        text = _help(command)
        for option, takers in OPTIONS.items():
            assert (f"--{option}" in text) == (command in takers), (command, option)


def test_every_option_and_output_is_declared_in_the_action() -> None:
    assert set(OPTIONS) < set(ACTION["inputs"])
    assert set(ACTION["outputs"]) == OUTPUTS
    for name, output in ACTION["outputs"].items():
        assert output["value"] == f"${{{{ steps.stagepin.outputs.{name} }}}}"


def test_every_output_is_written_by_stagepin_under_exactly_this_name() -> None:
    source = "".join(file.read_text("utf-8") for file in (ROOT / "ci_plugin" / "cli").rglob("*.py"))
    assert {name for name in OUTPUTS if f'"{name}"' in source} == OUTPUTS


def test_no_input_reaches_a_shell_but_through_the_environment() -> None:
    (step,) = ACTION["runs"]["steps"]
    assert "${{" not in step["run"]
    used = set(re.findall(r"inputs\.([\w-]+)", " ".join(step["env"].values())))
    assert used == set(ACTION["inputs"])


def test_inputs_become_the_arguments_of_one_command(tmp_path: Path) -> None:
    seen = _run_action(tmp_path, command="build", images="app\n web  api", working_directory="sub", args="--pin\n--jobs\na b")
    assert seen.arguments == ["-C", "sub", "build", "--pin", "--jobs", "a b", "--", "app", "web", "api"], seen.log
    assert seen.settings == {}


def test_repository_and_scope_become_settings_and_not_options_that_would_ask_for_another_pipelines_pins(tmp_path: Path) -> None:
    seen = _run_action(tmp_path, command="pin", repo="r.example.com/app", scope="commit", store="git-ref", pin_checksum="sha256:ab")
    assert seen.arguments == ["-C", ".", "pin"]
    settings = {"REPO": "r.example.com/app", "SCOPE": "commit", "STORE": "git-ref", "PIN_CHECKSUM": "sha256:ab"}
    assert seen.settings == {f"STAGEPIN_{name}": value for name, value in settings.items()}


def test_text_with_quotes_dollars_and_semicolons_stays_text(tmp_path: Path) -> None:
    nasty = "$(touch owned); `touch owned` \"'* \\"
    seen = _run_action(tmp_path, scope=nasty, args=nasty)
    assert seen.arguments == ["-C", ".", "build", nasty]
    assert seen.settings == {"STAGEPIN_SCOPE": nasty}
    assert not (tmp_path / "owned").exists()


def test_image_names_are_not_expanded_as_file_patterns(tmp_path: Path) -> None:
    assert _run_action(tmp_path, images="*").arguments[-2:] == ["--", "*"]


def test_verify_writes_the_file_it_was_asked_for(tmp_path: Path) -> None:
    assert _run_action(tmp_path, command="verify", env_file="images.env").arguments == ["-C", ".", "verify", "--env-file", "images.env"]


@pytest.mark.parametrize(
    ("inputs", "complaint"),
    [
        ({"command": "freeze"}, "Expected the input 'command' to be pin, build, verify, fetch or drift, found 'freeze'."),
        ({"env_file": "x"}, "Expected the input 'env-file' with the commands pin and verify only, found it with 'build'."),
        ({"pin_checksum": ""}, "Expected the pin job's checksum in the input 'pin-checksum', found nothing"),
        ({"command": "pin", "images": "app"}, "Expected the input 'images' with build or verify only, found it with 'pin'"),
        ({"executable": "/nowhere/stagepin"}, "Expected an executable named '/nowhere/stagepin' (input 'executable'), found none."),
    ],
    ids=["command", "env-file", "pin-checksum", "images", "executable"],
)
def test_an_input_that_makes_no_sense_is_refused_on_the_run_page(tmp_path: Path, inputs: dict[str, str], complaint: str) -> None:
    seen = _run_action(tmp_path, **inputs)
    assert (seen.code, seen.arguments) == (2, [])
    assert f"::error title=stagepin::{complaint}" in seen.log


def test_an_input_with_line_breaks_cannot_give_the_runner_commands(tmp_path: Path) -> None:
    seen = _run_action(tmp_path, command="x\n::add-mask::y\r\n::stop-commands::100%")
    (line,) = seen.log.splitlines()
    assert "found 'x%0A::add-mask::y%0D%0A::stop-commands::100%25'." in line
