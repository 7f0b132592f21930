"""``stagepin config``: the configuration as it is understood: rendered, listed, or rewritten in the newest dialect."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ci_plugin.cli.options import ProjectOptions, ScopeOptions, project_options
from ci_plugin.cli.project import ProjectSession
from ci_plugin.cli.wiring import Session
from ci_plugin.config.listing import ListedImage, list_images
from ci_plugin.errors import InputError, Location

if TYPE_CHECKING:
    from ci_plugin.config.migrate import Migration


@click.group("config", help="Render, list or migrate the configuration. Asks no registry and needs no pins.")
def command() -> None:
    """The group; each subcommand reads the configuration and builds nothing."""


@command.command("render", help="Print the configuration after its templates; with -v also what they read (names, never values).")
@click.pass_obj
def render(session: Session) -> int:
    from ci_plugin.config.rendering import render_configuration

    run = ProjectSession(session, ScopeOptions(), ProjectOptions())
    rendered = render_configuration(run.source, run.options.config)
    run.check_committed(rendered.files)
    run.console.result(rendered.text)
    run.console.detail(f"files read: {', '.join(rendered.files)}", files=list(rendered.files))
    run.console.detail(f"environment read: {', '.join(rendered.environment) or 'nothing'}", environment=list(rendered.environment))
    return 0


@command.command("list", help="Show images with kind, base and references, and where each stands.")
@project_options
@click.option("--format", "format_", type=click.Choice(["table", "json"]), default="table", help="How the list is written to stdout.")
@click.pass_obj
def list_(session: Session, project: ProjectOptions, format_: str) -> int:
    from ci_plugin.cli.pins import describe_base
    from ci_plugin.config.platforms import choose_platforms

    run = ProjectSession(session, ScopeOptions(), project)
    images = list_images(run.configuration, run.source, lambda image: choose_platforms(image, run.platforms))
    run.console.result(_as_json(images) if format_ == "json" else _as_table(images, run.console.width))
    for listed in images:
        for operand in listed.unresolved:
            run.console.warning(f"{listed.image.name}: {operand.spelling} ({operand.location}) cannot be told: {operand.reason}")
        if format_ == "table":
            for remote in listed.remotes:
                run.console.event(f"{listed.image.name}: {remote}")
            run.console.event(describe_base(listed.image))
    run.tell_unbuilt()
    return 0


@command.command("migrate", help="Rewrite an older dialect in the newest; comments and templates stay, and what is built stays the same.")
@click.option("--write", is_flag=True, help="Write the files, all of them or none, instead of printing them.")
@click.pass_obj
def migrate_(session: Session, write: bool) -> int:
    from ci_plugin.config.migrate import migrate

    run = ProjectSession(session, ScopeOptions(), ProjectOptions())
    migration = migrate(run.source, run.tree.remote_name(), run.options.config)
    run.check_committed(migration.read)
    for remark in migration.remarks:
        (run.console.warning if remark.kind in ("by-hand", "drift") else run.console.event)(f"{_KINDS[remark.kind]}: {remark}")
    if not write:
        run.console.result(_as_text(migration))
    if not migration.is_whole:
        run.console.warning("nothing is written: some of it has to be done by hand, as listed")
        return 1
    if write:
        _write(run, migration)
    return 0


_KINDS = {
    "edited": "rewritten",
    "by-hand": "by hand",
    "meaning": "means something else now",
    "no-counterpart": "no counterpart",
    "drift": "drifts",
}


def _as_text(migration: Migration) -> str:
    """The configuration; changed templates follow it, each below a line with its path."""
    others = [f"# {path}\n{text}" for path, text in migration.texts.items() if path != migration.main]
    return "\n".join([migration.text, *others])


def _write(run: ProjectSession, migration: Migration) -> None:
    """Every file or none: they are compared first, and put back where one of them cannot be written. Raises InputError."""
    from ci_plugin.forge.workspace import write_whole

    files = {run.directory / path: text.encode() for path, text in migration.texts.items()}
    if not files:
        run.console.event(f"{migration.main} is in the newest dialect already")
        return
    before = {run.directory / path: data for path, data in migration.read.items()}
    for path, data in before.items():
        if not path.is_file() or path.read_bytes() != data:
            message = "expected the file as it was read, found another on disk"
            raise InputError(message, hint="commit your change, then migrate again", where=Location(str(path)))
    written: dict[Path, bytes] = {}
    try:
        for path, data in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, data)
            written[path] = data
    except BaseException:
        _put_back(written, before)
        raise
    run.console.event(f"written: {', '.join(migration.texts)}")
    if migration.main != migration.old:
        gone = " ".join((migration.old, *migration.moved))
        run.console.event(f"{migration.main} is what is read from now on; next: git add {' '.join(migration.texts)} && git rm {gone}")


def _put_back(written: Mapping[Path, bytes], before: Mapping[Path, bytes]) -> None:
    from ci_plugin.forge.workspace import write_whole

    for path in written:
        if path in before:
            write_whole(path, before[path])
        else:
            path.unlink(missing_ok=True)


def _as_table(images: Sequence[ListedImage], width: int | None) -> str:
    from ci_plugin.reports.tables import format_table

    rows: list[tuple[str, ...]] = []
    for listed in images:
        facts = (listed.image.name, listed.kind, listed.base)
        uses = [(use.kind, use.reference, str(use.location)) for use in listed.references]
        uses += [("unresolved", operand.spelling, str(operand.location)) for operand in listed.unresolved]
        uses += [(f"add-{remote.kind}", remote.spelling, str(remote.location)) for remote in listed.remotes]
        rows += [(*facts, *use) for use in uses or [("", "", str(listed.image.location))]]
    return format_table(("IMAGE", "KIND", "BASE", "USE", "REFERENCE", "WHERE"), rows, width)


def _as_json(images: Sequence[ListedImage]) -> str:
    document = {
        listed.image.name: {
            "kind": listed.kind,
            "references": [
                {
                    "reference": use.reference,
                    "spelling": use.spelling,
                    "file": use.location.file,
                    "line": use.location.line,
                    "kind": use.kind,
                }
                for use in listed.references
            ],
            "unresolved": [
                {
                    "spelling": operand.spelling,
                    "reason": operand.reason,
                    "file": operand.location.file,
                    "line": operand.location.line,
                }
                for operand in listed.unresolved
            ],
            "remotes": [
                {
                    "kind": remote.kind,
                    "spelling": remote.spelling,
                    "held": remote.is_held,
                    "file": remote.location.file,
                    "line": remote.location.line,
                }
                for remote in listed.remotes
            ],
        }
        for listed in images
    }
    return json.dumps({"images": document}, indent=2)
