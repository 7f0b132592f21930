"""The README says what the command line says."""

from __future__ import annotations

import re
import subprocess
import sys

from tests.e2e.own_source import ROOT


def _section(title: str) -> str:
    text = (ROOT / "README.md").read_text("utf-8")
    found = re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert found, f"README.md has no section '## {title}'"
    return found[1]


def test_the_table_of_commands_names_the_commands_there_are() -> None:
    listed = re.findall(r"^\| *`(?:stagepin )?([a-z]+)\b[^|]*\|", _section("Commands"), re.MULTILINE)
    help_text = subprocess.run([sys.executable, "-m", "ci_plugin", "--help"], check=True, capture_output=True, text=True).stdout
    offered = re.findall(r"^  ([a-z]+)  +\S", help_text.partition("Commands:\n")[2], re.MULTILINE)
    assert sorted(listed) == sorted(offered)
