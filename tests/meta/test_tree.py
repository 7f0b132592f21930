"""The repository reads the same on every machine."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from tests.e2e.own_source import ROOT

_MACHINE_PATH = re.compile(rf"(?<![\w.$]){re.escape(str(ROOT))}(?=/)|/(?:home|Users)/[a-z]\w+/|/root/\.\w|[A-Z]:\\Users")


def _files() -> list[Path]:
    """The files that are committed or about to be."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]


def test_no_file_names_a_path_of_the_machine_it_was_written_on() -> None:
    found = []
    for file in _files():
        if file == Path(__file__):
            continue
        text = file.read_bytes().decode("utf-8", "replace")
        found += [f"{file.relative_to(ROOT)}: {match[0]}" for match in _MACHINE_PATH.finditer(text)]
    assert found == []


def test_every_script_is_executable_and_stops_at_the_first_error() -> None:
    scripts = [file for file in _files() if file.parent in (ROOT / "scripts", ROOT / ".ci")]
    assert scripts
    for script in scripts:
        assert script.stat().st_mode & 0o111, script.name
        assert "\nset -euo pipefail\n" in script.read_text("utf-8"), script.name
