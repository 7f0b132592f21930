"""``stagepin pin``: the scope's one pin set."""

from __future__ import annotations

import click

from ci_plugin.cli.options import ProjectOptions, ScopeOptions, project_options, scope_options
from ci_plugin.cli.outputs import write_outputs
from ci_plugin.cli.pins import describe_base, pin_once
from ci_plugin.cli.wiring import ProjectSession, Session
from ci_plugin.pins.pin_file import pin_checksum
from ci_plugin.reports.tables import format_table
from ci_plugin.services.pinning import PinPolicy


@click.command("pin", help="Adopt the scope's pins if they exist, else resolve every external reference once and record them.")
@scope_options
@project_options
@click.option("--locked", is_flag=True, help="Exit 1 if anything would have to be resolved.")
@click.pass_obj
def command(session: Session, scope: ScopeOptions, project: ProjectOptions, locked: bool) -> int:
    run = ProjectSession(session, scope, project)
    pins = pin_once(run, PinPolicy(locked=locked)).pins
    rows = [(str(pin.reference), str(pin.digest or "-"), ", ".join(map(str, pin.platforms)) or pin.reason or "-") for pin in pins.pins]
    run.console.result(format_table(("REFERENCE", "DIGEST", "PLATFORMS"), rows))
    for image in run.configuration:
        run.console.event(describe_base(image))
    run.console.event(f"pin file {run.workspace.pins_path}, checksum {pin_checksum(pins)}")
    write_outputs(run, {"pin-checksum": pin_checksum(pins)})
    return 0
