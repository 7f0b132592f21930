"""What a job hands to the next one: GitHub's output file, dotenv files, and the step summary.

Nothing is written here; callers append or replace the files the CI names.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ci_plugin.errors import InputError
from ci_plugin.reports.markdown import render_markdown

_OUTPUT_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*", re.ASCII)
_ENV_VALUE = re.compile(r"[A-Za-z0-9_.:/@-]+", re.ASCII)
_NO_VARIABLE = re.compile(r"[^A-Z0-9]", re.ASCII)


@dataclass(frozen=True, slots=True)
class SummaryRow:
    """One image in the step summary; all four are shown as they are, as code."""

    name: str
    digest: str
    base: str
    state: str


def github_outputs(values: Mapping[str, str]) -> bytes:
    """The lines to append to ``$GITHUB_OUTPUT``: ``name<<delimiter``, value, delimiter. Raises ValueError for a name GitHub does not take.

    The delimiter is random and in no value: a predictable one lets a value end early and set other outputs (CVE-2022-35954).
    """
    for name in values:
        if not _OUTPUT_NAME.fullmatch(name):
            raise ValueError(f"expected an output name [A-Za-z_][A-Za-z0-9_-]*, found {name[:100]!r}")
    delimiter = _delimiter(values)
    text = "".join(f"{name}<<{delimiter}\n{value}\n{delimiter}\n" for name, value in values.items())
    return text.encode("utf-8", "backslashreplace")


def env_file(images: Mapping[str, str]) -> str:
    """``STAGEPIN_IMAGE_<NAME>=repository@digest`` a line, sorted by name; for ``artifacts:reports:dotenv`` and for a shell's ``source``.

    Raises InputError for two images whose names give one variable, and for a value with other characters than ``[A-Za-z0-9_.:/@-]``.
    """
    names: dict[str, str] = {}
    lines = []
    for image, reference in sorted(images.items()):
        variable = "STAGEPIN_IMAGE_" + _NO_VARIABLE.sub("_", image.upper())
        if variable in names:
            raise InputError(
                f"expected every image to have a variable of its own, found {variable} for both {names[variable]!r} and {image!r}",
                hint="rename one of the two images, or name the images to write",
            )
        if not _ENV_VALUE.fullmatch(reference):
            raise InputError(
                f"expected repository@digest for image {image!r}, found other characters than [A-Za-z0-9_.:/@-] in {reference[:300]!r}",
                hint="images in the engine's own store have no such reference; give a repository with --repo",
            )
        names[variable] = image
        lines.append(f"{variable}={reference}\n")
    return "".join(lines)


def step_summary(title: str, rows: Sequence[SummaryRow], notes: Sequence[str] = ()) -> str:
    """Markdown for ``$GITHUB_STEP_SUMMARY``: a heading, a table of images, a list of notes; foreign text stands in code spans."""
    return render_markdown("summary.md.j2", title=title, rows=rows, notes=notes)


def _delimiter(values: Mapping[str, str]) -> str:
    while True:
        delimiter = f"stagepin-{secrets.token_hex(16)}"
        if not any(delimiter in value for value in values.values()):
            return delimiter
