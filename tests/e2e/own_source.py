"""Our own source tree, as the platforms get it: copied as an action's checkout, or built into a wheel. No package index is asked."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
WHEELHOUSE = ROOT / ".cache" / "wheelhouse"
_PUBLISHED = ("action.yml", "pyproject.toml", "README.md", "LICENSE", "scripts", "ci_plugin")


def offline_pip() -> dict[str, str]:
    """The pip variables that make it install from the prepared wheels alone; fails the test where they were not prepared."""
    if not (WHEELHOUSE / ".complete").exists():
        pytest.fail("expected the wheels that `scripts/wheelhouse` collects, found none; `make test` does that", pytrace=False)
    return {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(WHEELHOUSE), "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_CONFIG_FILE": os.devnull}


def copy_source(to: Path) -> Path:
    """What a checkout of this repository holds, as far as the action needs it."""
    to.mkdir(parents=True)
    for name in _PUBLISHED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, to / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, to / name)
    return to


def build_wheel(work: Path) -> Path:
    """The wheel of this source tree, built in ``work`` with the declared build backend."""
    source = copy_source(work / "source")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(work / "wheel"), str(source)]
    subprocess.run(command, check=True, env={**os.environ, **offline_pip()})
    (wheel,) = (work / "wheel").glob("stagepin-*.whl")
    return wheel


def from_wheel(example: str, work: Path) -> str:
    """The text of the GitLab example, installing this source tree's wheel, which stands in for the project its address names."""
    text, count = re.subn(r"git\+https://\S+@[\d.]+", f"file://{build_wheel(work)}", example)
    assert count == 1, "expected one address of stagepin's project in the example"
    return text
