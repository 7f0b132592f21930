"""The README says what the command line says."""

from __future__ import annotations

import re
import subprocess
import sys

from ci_plugin.cli.main import COMMANDS
from ci_plugin.services.verifying import RULES
from tests.e2e.own_source import ROOT
from tests.unit.conveyor.test_unbuilt import DOCKERFILE_FATES, REFUSED, STAPEL_FATES


def _section(title: str) -> str:
    text = (ROOT / "README.md").read_text("utf-8")
    found = re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert found, f"README.md has no section '## {title}'"
    return found[1]


def _table_of_commands() -> dict[str, str]:
    """Name → what the table says about it, in the table's order: rows such as ``| `pin` | adopt … |`` in the section Commands."""
    rows = re.finditer(r"^\| *`(?:stagepin )?(?P<name>[a-z]+)\b[^|]*\| *(?P<says>[^|]*?) *\|", _section("Commands"), re.MULTILINE)
    return {row["name"]: row["says"] for row in rows}


def test_the_table_of_commands_names_the_commands_there_are_in_the_order_of_the_help() -> None:
    assert list(_table_of_commands()) == list(COMMANDS)


def test_the_table_of_commands_begins_each_row_with_the_line_of_the_help() -> None:
    table = _table_of_commands()
    assert {name: line for name, line in COMMANDS.items() if not table.get(name, "").startswith(line)} == {}


def test_help_shows_every_command_with_its_line() -> None:
    shown = subprocess.run([sys.executable, "-m", "ci_plugin", "--help"], check=True, capture_output=True, text=True).stdout
    words = " ".join(shown.split())
    assert [name for name, line in COMMANDS.items() if f"{name} {line}" not in words] == []


def test_every_rule_of_verify_is_documented_in_its_own_words() -> None:
    text = (ROOT / "docs" / "verify.md").read_text("utf-8")
    rows = dict(re.findall(r"^\| `([a-z-]+)` \| (.*) \|$", text, re.MULTILINE))
    assert rows == RULES


def test_what_readme_and_docs_call_not_built_is_what_is_refused() -> None:
    refused = {name for name, (fate, _) in (*STAPEL_FATES.items(), *DOCKERFILE_FATES.items()) if fate == REFUSED}
    in_readme = re.search(r"^Not built: (.*?)\.", _section("What it reads"), re.MULTILINE)
    text = (ROOT / "docs" / "configuration.md").read_text("utf-8")
    in_docs = re.search(r"^\*Only read\* is (.*?) alone:", text, re.MULTILINE)
    assert in_readme
    assert in_docs
    assert set(re.findall(r"`(\w+)`", in_readme[1])) == set(re.findall(r"`(\w+)`", in_docs[1])) == refused
