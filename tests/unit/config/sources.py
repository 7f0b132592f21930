"""Committed files in memory."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ci_plugin.config.source import Source

DATA = Path(__file__).parents[2] / "data" / "config"
META = "project: my-project\nconfigVersion: 1\n---\n"


def source(
    files: Mapping[str, str | bytes], environment: Mapping[str, str] | None = None, readable_env: tuple[str, ...] | None = None
) -> Source:
    """A source of these files; text is UTF-8."""
    data = {path: text.encode() if isinstance(text, str) else text for path, text in files.items()}
    return Source(data.get, lambda: sorted(data), environment or {}, "production", readable_env, "c" * 40)


def snippet(name: str) -> str:
    """A file of the tests' data."""
    return (DATA / name).read_text()
