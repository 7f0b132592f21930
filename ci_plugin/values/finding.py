"""Findings: the one result type of checks and of verification."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from ci_plugin.errors import Location


class Severity(StrEnum):
    """How much a finding matters: an error makes the exit code 1."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


@dataclass(frozen=True, slots=True)
class Finding:
    """One statement about the world: ``rule`` is its stable name, ``hint`` the next step."""

    rule: str
    severity: Severity
    message: str
    where: Location | None = None
    hint: str = ""
