"""``stagepin demo`` as a newcomer runs it: the whole story on the real parts, what it leaves behind, and what it does not."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import jsonschema
import pytest

from ci_plugin.demo.rig import Rig, ask_engine
from tests.e2e.own_source import ROOT

SCHEMAS = ROOT / "ci_plugin" / "schemas"
COMMAND = [sys.executable, "-m", "ci_plugin", "demo", "--directory"]


@dataclass(frozen=True, slots=True)
class Told:
    """One run of the demo."""

    directory: Path
    done: subprocess.CompletedProcess[str]
    before: str
    """What the engine held before."""

    def hazard(self, letter: str) -> str:
        """What was told about one hazard, in one line."""
        text = self.done.stdout.partition(f"Hazard {letter}:")[2]
        return " ".join(re.split(r"\nHazard |\nWhat it comes to", text)[0].split())


@pytest.fixture(scope="module")
def told(rig: Rig, tmp_path_factory: pytest.TempPathFactory) -> Told:
    directory = tmp_path_factory.mktemp("demo") / "story"
    before = _held_by(rig)
    done = subprocess.run([*COMMAND, str(directory)], env=_environment(rig.docker_host), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return Told(directory, done, before)


DIGEST = r"sha256:[0-9a-f]{8}…"
BUILT = rf"with ✓ build recorded (app@{DIGEST}), built on the pinned (base \d)"
KEY_LINES = {
    "A": [
        r"without ✗ deploy FAILS, exit code 1: .*? \| error: the registry has no image group/app-by-hand:[0-9a-f]{12}",
        rf"{BUILT}.* with ✓ deploy verified, deploys \1: exactly what was built",
    ],
    "B": [
        r"without ✓ deploy finds (app-by-hand:[0-9a-f]{12}) and deploys it.* without ✗ deploy-retry FAILS, exit code 1",
        rf"{BUILT}.* with ✓ deploy-retry fetches pins and record from the registry; verified, deploys \1: exactly what was built",
    ],
    "C": [
        r"without ✗ look inside WRONG: app-by-hand:[0-9a-f]{12} is named for base 3, but holds base 4",
        rf"{BUILT} with ✓ look inside holds \2, as its label org.opencontainers.image.base.digest says",
    ],
    "D": [
        r"without ✗ together WRONG: one pipeline, two images: app-by-hand:[0-9a-f]{12} on base 4, app-by-hand:[0-9a-f]{12} on base 5",
        rf"with ✓ build-1 recorded (app@{DIGEST}), .* with ✓ build-2 recorded \1, .* with ✓ together one pipeline, one image: \1 on base 4",
    ],
}


@pytest.mark.parametrize("letter", KEY_LINES)
def test_the_demo_shows_each_hazard_without_stagepin_and_its_absence_with_it(told: Told, letter: str) -> None:
    hazard = told.hazard(letter)
    assert [line for line in KEY_LINES[letter] if not re.search(line, hazard)] == [], hazard


def test_the_story_is_plain_text_that_fits_a_terminal(told: Told) -> None:
    story, _, places = told.done.stdout.partition("\nLook at:\n")
    assert [line for line in story.splitlines() if len(line) > 100] == []
    assert "\x1b" not in told.done.stdout + told.done.stderr
    assert re.findall(rf"  {re.escape(str(told.directory))}/\S+", places) != []


def test_every_file_the_story_points_to_is_there_and_keeps_to_its_schema(told: Told) -> None:
    places = told.done.stdout.partition("\nLook at:\n")[2]
    pins, record, logs = (Path(place) for place in re.findall(rf"{re.escape(str(told.directory))}/\S+", places))
    jsonschema.validate(json.loads(pins.read_text()), json.loads((SCHEMAS / "pins-1.json").read_text()))
    jsonschema.validate(json.loads(record.read_text()), json.loads((SCHEMAS / "build-1.json").read_text()))
    assert json.loads(record.read_text())["scope"] == "pipeline:1001"
    assert len(list(logs.iterdir())) > 20
    assert [log.name for log in logs.iterdir() if not re.search(r"^# exit code [01]\n\Z", log.read_text(), re.MULTILINE)] == []


def test_of_the_parts_nothing_is_left(told: Told, rig: Rig) -> None:
    assert sorted(entry.name for entry in told.directory.iterdir()) == ["app.git", "artifacts", "logs"]
    assert _processes_naming(str(told.directory)) == []
    assert _held_by(rig) == told.before


def test_an_interrupted_demo_stops_its_own_engine_and_registry(tmp_path: Path) -> None:
    directory = tmp_path / "story"
    environ = _environment(f"unix://{tmp_path}/no-engine-here.sock")
    with subprocess.Popen([*COMMAND, str(directory)], env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert any("The build jobs" in line for line in process.stdout), process.stderr.read()
        assert _processes_naming(str(directory / "rig")) != []
        process.send_signal(signal.SIGINT)
        rest, said = process.communicate(timeout=120)

    assert process.returncode == 130, rest + said
    assert "interrupted" in said
    assert _processes_naming(str(directory)) == []
    assert str(directory) not in Path("/proc/self/mountinfo").read_text()
    assert not (directory / "rig").exists()


def test_a_directory_that_holds_something_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("precious")

    done = subprocess.run([*COMMAND, str(tmp_path)], env=_environment(""), capture_output=True, text=True, timeout=60)

    assert done.returncode == 2
    assert "error: expected a new or an empty directory, found files in it\n" in done.stderr
    assert "next: give another one with --directory, or leave it out\n" in done.stderr
    assert [entry.name for entry in tmp_path.iterdir()] == ["mine"]


def _held_by(rig: Rig) -> str:
    """Every image, intermediate ones too, and every container of the engine."""
    (images,), (containers,) = (ask_engine(rig.docker_host, "GET", f"/{kind}/json?all=1") for kind in ("images", "containers"))
    return "\n".join(sorted(item["Id"] for item in [*images, *containers]))


def _environment(docker_host: str) -> Mapping[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    return {**kept, "HOME": "/nonexistent", "LC_ALL": "C.UTF-8", "DOCKER_HOST": docker_host}


def _processes_naming(text: str) -> list[str]:
    found = []
    for entry in Path("/proc").iterdir():
        try:
            command = (entry / "cmdline").read_bytes().decode(errors="replace").replace("\0", " ")
        except OSError:
            continue
        if entry.name.isdigit() and text in command and int(entry.name) != os.getpid():
            found.append(command)
    return found
