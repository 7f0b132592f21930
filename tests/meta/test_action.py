"""action.yml and the command line agree, and scripts/action turns inputs into arguments and never into code."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.own_source import ROOT

SCRIPT = ROOT / "scripts" / "action"
ACTION: dict[str, Any] = yaml.safe_load((ROOT / "action.yml").read_text("utf-8"))
COMMANDS = ("pin", "build", "verify", "fetch")
OPTIONS = {"repo": COMMANDS, "scope": COMMANDS, "env-file": ("verify",)}
OUTPUTS = {"images", "any", "pin-checksum", "record-checksum", "verified"}


def _help(*command: str) -> str:
    return subprocess.run([sys.executable, "-m", "ci_plugin", *command, "--help"], check=True, capture_output=True, text=True).stdout


def _run_action(tmp_path: Path, **inputs: str) -> tuple[int, list[str], str]:
    """Exit code, the arguments stagepin got, and what the log shows; ``inputs`` with underscores for dashes."""
    recorder = tmp_path / "stagepin"
    recorder.write_text(f"#!{sys.executable}\nimport sys\nopen({str(tmp_path / 'seen')!r}, 'w').write('\\0'.join(sys.argv[1:]))\n", "utf-8")
    recorder.chmod(0o755)
    given = {"executable": str(recorder), **{name.replace("_", "-"): value for name, value in inputs.items()}}
    values = {name: given.get(name, _default(name)) for name in ACTION["inputs"]}
    environment = {f"INPUT_{name.replace('-', '_').upper()}": value for name, value in values.items()}
    done = subprocess.run(["bash", SCRIPT], env={"PATH": "/usr/bin:/bin", **environment}, cwd=tmp_path, capture_output=True, text=True)
    seen = tmp_path / "seen"
    return done.returncode, seen.read_text("utf-8").split("\0") if seen.exists() else [], done.stdout + done.stderr


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
    _, seen, log = _run_action(
        tmp_path,
        command="build",
        images="app\n web  api",
        repo="r.example.com/app",
        scope="commit",
        working_directory="sub",
        args="--pin\n--tag\na b",
    )
    expected = [
        "-C",
        "sub",
        "build",
        "--repo",
        "r.example.com/app",
        "--scope",
        "commit",
        "--pin",
        "--tag",
        "a b",
        "--",
        "app",
        "web",
        "api",
    ]
    assert seen == expected, log


def test_text_with_quotes_dollars_and_semicolons_stays_text(tmp_path: Path) -> None:
    nasty = "$(touch owned); `touch owned` \"'* \\"
    _, seen, _ = _run_action(tmp_path, scope=nasty, args=nasty)
    assert seen == ["-C", ".", "build", "--scope", nasty, nasty]
    assert not (tmp_path / "owned").exists()


def test_image_names_are_not_expanded_as_file_patterns(tmp_path: Path) -> None:
    _, seen, _ = _run_action(tmp_path, images="*")
    assert seen[-2:] == ["--", "*"]


def test_verify_writes_the_file_it_was_asked_for(tmp_path: Path) -> None:
    _, seen, _ = _run_action(tmp_path, command="verify", env_file="images.env")
    assert seen == ["-C", ".", "verify", "--env-file", "images.env"]


@pytest.mark.parametrize(
    ("inputs", "complaint"),
    [
        ({"command": "freeze"}, "Expected the input 'command' to be pin, build, verify or fetch, found 'freeze'."),
        ({"command": "build", "env_file": "x"}, "Expected the input 'env-file' with the command verify only, found it with 'build'."),
        ({"command": "pin", "images": "app"}, "Expected the input 'images' with build or verify only, found it with 'pin'"),
        ({"executable": "/nowhere/stagepin"}, "Expected an executable named '/nowhere/stagepin' (input 'executable'), found none."),
    ],
    ids=["command", "env-file", "images", "executable"],
)
def test_an_input_that_makes_no_sense_is_refused_on_the_run_page(tmp_path: Path, inputs: dict[str, str], complaint: str) -> None:
    code, seen, log = _run_action(tmp_path, **inputs)
    assert (code, seen) == (2, [])
    assert f"::error title=stagepin::{complaint}" in log
