"""``stagepin pin``: the scope's one pin set."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import click

from ci_plugin.cli.options import PIN_CHECKSUM, DurationType, ProjectOptions, ScopeOptions, project_options, scope_options
from ci_plugin.cli.outputs import write_outputs
from ci_plugin.cli.pins import PinRequest, describe_base, pin_once
from ci_plugin.cli.project import ProjectSession
from ci_plugin.cli.wiring import Session
from ci_plugin.forge.workspace import check_writable, write_whole
from ci_plugin.pins.pin_file import pin_checksum
from ci_plugin.reports.tables import format_table


@click.command("pin", help="Adopt the scope's pins if they exist, else resolve every external reference once and record them.")
@scope_options
@project_options
@click.option("--locked", is_flag=True, help="Exit 1 if anything would have to be resolved.")
@click.option("--max-age", type=DurationType(), metavar="DURATION", help="Exit 1 if the scope's pins are older, such as 12h or 7d.")
@click.option("--keep", metavar="REPO", help="Copy every pinned base into this repository, so that nobody's clean-up can break a retry.")
@click.option("--env-file", metavar="FILE", help="Write STAGEPIN_PIN_CHECKSUM=sha256:… for the jobs that follow.")
@click.pass_obj
def command(
    session: Session,
    scope: ScopeOptions,
    project: ProjectOptions,
    locked: bool,
    max_age: timedelta | None,
    keep: str | None,
    env_file: str | None,
) -> int:
    run = ProjectSession(session, scope, project)
    if env_file:
        # Before pins are made and other jobs read them: a retry could not write it either.
        check_writable(run.directory / Path(env_file))
    pins = pin_once(run, PinRequest(locked=locked, max_age=max_age, keep=keep)).pins
    rows = [(str(pin.reference), str(pin.digest or "-"), ", ".join(map(str, pin.platforms)) or pin.reason or "-") for pin in pins.pins]
    rows += [(pin.name, pin.commit, "-") for pin in pins.git]
    run.console.result(format_table(("REFERENCE", "DIGEST", "PLATFORMS"), rows, run.console.width))
    for image in run.configuration:
        run.console.event(describe_base(image))
    run.tell_remotes(run.configuration)
    run.tell_unbuilt()
    run.console.event(f"pin file {run.workspace.pins_path}, checksum {pin_checksum(pins)}")
    if env_file:
        write_whole(run.directory / Path(env_file), f"{PIN_CHECKSUM}={pin_checksum(pins)}\n".encode())
        run.console.event(f"checksum written to {env_file}")
    write_outputs(run, {"pin-checksum": pin_checksum(pins)})
    return 0
