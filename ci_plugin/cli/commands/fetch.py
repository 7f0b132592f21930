"""``stagepin fetch``: pin file and build record of a scope, from the stages storage into the workspace."""

from __future__ import annotations

from dataclasses import replace

import click

from ci_plugin.cli.options import ScopeOptions, scope_options
from ci_plugin.cli.outputs import write_outputs
from ci_plugin.cli.wiring import ScopedSession, Session
from ci_plugin.pins.pin_file import pin_checksum
from ci_plugin.records.record_file import record_checksum
from ci_plugin.services.fetching import find_record
from ci_plugin.services.pinning import fetch_pins


@click.command("fetch", help="Bring pin file and build record of a scope from the stages storage into the workspace.")
@scope_options
@click.pass_obj
def command(session: Session, scope: ScopeOptions) -> int:
    run = ScopedSession(session, scope)
    # Bringing a fork's pins is not using them: the command that uses them says no.
    asking = replace(run.asking, any_commit=run.scope_options.is_scope_from_command_line, fork=None)
    store = run.pin_store
    pins = fetch_pins(asking, run.workspace, store, run.clock).pins
    run.console.event(f"pins of {pins.scope} fetched to {run.workspace.pins_path}")
    outputs = {"pin-checksum": pin_checksum(pins)}
    found = find_record(asking, run.workspace, store, refresh=True)
    if found is None:
        run.console.event(f"no build record of {pins.scope} yet")
    else:
        run.console.event(f"build record of {pins.scope} fetched to {run.workspace.record_path}")
        outputs["record-checksum"] = record_checksum(found.record)
    write_outputs(run, outputs)
    return 0
