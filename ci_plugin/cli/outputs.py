"""What a run leaves for the CI: the files GitHub names, written only where it names them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ci_plugin.errors import InputError, Location

if TYPE_CHECKING:
    from ci_plugin.cli.wiring import Session
    from ci_plugin.records.build_record import BuildRecord, ImageRecord


def write_outputs(session: Session, values: Mapping[str, str]) -> None:
    """Append ``name=value`` outputs to ``$GITHUB_OUTPUT``, where there is one. Raises InputError where it cannot be written."""
    if session.environ.get("GITHUB_OUTPUT"):
        from ci_plugin.reports.ci_outputs import github_outputs

        _append(session, "GITHUB_OUTPUT", github_outputs(values))


def write_summary(session: Session, title: str, record: BuildRecord, images: Mapping[str, ImageRecord]) -> None:
    """Append a table of images to ``$GITHUB_STEP_SUMMARY``, where there is one."""
    append_summary(session, lambda: _summary(title, record, images))


def append_summary(session: Session, make: Callable[[], str]) -> None:
    """Append Markdown to ``$GITHUB_STEP_SUMMARY``, where there is one; it is made only then, and holds no secret."""
    if session.environ.get("GITHUB_STEP_SUMMARY"):
        _append(session, "GITHUB_STEP_SUMMARY", session.redactor.redact(make()).encode("utf-8", "backslashreplace"))


def image_references(images: Mapping[str, ImageRecord]) -> dict[str, str]:
    """Image name → ``repository@digest``, of those that are in a registry."""
    return {name: str(image.reference) for name, image in images.items() if image.reference}


def as_json(value: object) -> str:
    """One line of JSON."""
    return json.dumps(value, separators=(",", ":"))


def _append(session: Session, variable: str, data: bytes) -> None:
    name = session.environ[variable]
    try:
        with Path(name).open("ab") as file:
            file.write(data)
    except OSError as error:
        raise InputError(
            f"expected to append to the file ${variable} names, found: {error.strerror}",
            hint="the runner makes that file; do not change the variable",
            where=Location(name),
        ) from None


def _summary(title: str, record: BuildRecord, images: Mapping[str, ImageRecord]) -> str:
    from ci_plugin.reports.ci_outputs import SummaryRow, step_summary
    from ci_plugin.reports.images import image_rows

    rows = [
        SummaryRow(row.name, row.digest, base.reference or base.state.value, base.state.value)
        if (base := row.platform.base if row.platform else None)
        else SummaryRow(row.name, row.digest, "-", "index")
        for row in image_rows(images)
    ]
    return step_summary(title, rows, [f"scope {record.scope}", f"pins {record.pins}", f"commit {record.commit}"])
