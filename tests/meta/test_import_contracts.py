"""The floors of the house hold: see pyproject.toml, [tool.importlinter]."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

from tests.e2e.own_source import ROOT


def test_imports_point_down_only_and_nothing_below_the_adapters_does_io() -> None:
    program = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([program, "--no-cache"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_contributing_draws_the_floors_of_the_contract() -> None:
    contract = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"][0]
    assert "```\n" + "\n".join(contract["layers"]) + "\n```" in (ROOT / "CONTRIBUTING.md").read_text("utf-8")
