"""``stagepin demo``: the hazards without and with stagepin, on a real engine, registry and git repository."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

import click

from ci_plugin.cli.interrupt import interrupted_once
from ci_plugin.cli.wiring import Session
from ci_plugin.demo.story import tell_story
from ci_plugin.demo.telling import Teller


@click.command("demo", help="Show what goes wrong when a base image moves, without and with stagepin, on a real engine and registry.")
@click.option("--directory", metavar="DIR", help="Keep pin files, records and job logs here; new or empty. (default: a temporary one)")
@click.pass_obj
def command(session: Session, directory: str | None) -> int:
    path = Path(directory).absolute() if directory else Path(tempfile.mkdtemp(prefix="stagepin-demo-"))
    session.console.event(f"starting a registry, and an engine where none is reachable, below {path}; all takes about half a minute")
    tell = Teller(session.console.result, sys.stdout.encoding or "ascii")
    with interrupted_once():
        tell_story(path, session.environ, tell, _program())
    return 0


def _program() -> str:
    """How this stagepin is called from any directory."""
    beside = Path(sys.executable).with_name("stagepin")
    if not beside.exists():
        return f"{sys.executable} -m ci_plugin"
    return "stagepin" if shutil.which("stagepin") == str(beside) else str(beside)
