"""Markdown that holds foreign text, for step summaries and comments: templates whose values are escaped, and code spans.

Within a code span neither HTML nor links, images, mentions and references to issues are read (CommonMark 0.31, 6.1).
"""

from __future__ import annotations

import re
from importlib.resources import files
from typing import TYPE_CHECKING

from ci_plugin.reports.neutral import neutral

if TYPE_CHECKING:
    from markupsafe import Markup

_LONGEST_TEXT = 200


def render_markdown(template: str, **values: object) -> str:
    """A template of this directory with these values; ``| code`` in it makes a code span, all else is escaped as HTML."""
    # Imported here: only the run that writes Markdown waits for it.
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True)
    environment.filters["code"] = code_span
    return environment.from_string(files("ci_plugin.reports").joinpath(template).read_text("utf-8")).render(**values)


def code_span(text: str) -> Markup:
    """A code span of at most 200 characters, fenced by more backticks than it holds (CommonMark 0.31, 6.1); ``|`` would end a table cell.

    Entities would be shown as such within it, so nothing else is escaped.
    """
    from markupsafe import Markup

    text = neutral(text)
    text = (text[:_LONGEST_TEXT] + "…" if len(text) > _LONGEST_TEXT else text).replace("|", "¦").replace("\t", " ").strip()
    if not text:
        return Markup("-")
    fence = "`" * (max((len(run) for run in re.findall("`+", text)), default=0) + 1)
    space = " " if "`" in text else ""
    return Markup(f"{fence}{space}{text}{space}{fence}")  # noqa: S704 (a code span holds any text)
