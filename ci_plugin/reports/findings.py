"""Findings as text for people and as the JSON object of DESIGN.md §4."""

from __future__ import annotations

from collections.abc import Iterable

from ci_plugin.reports.neutral import neutral, neutral_lines
from ci_plugin.values.finding import Finding


def format_findings(findings: Iterable[Finding]) -> str:
    """Two or three lines for each finding, in their order, without a newline at the end; empty where there are none."""
    return "\n".join(_format(finding) for finding in findings)


def findings_document(findings: Iterable[Finding]) -> dict[str, list[dict[str, str | None]]]:
    """``{"findings": [{"rule", "severity", "message", "where", "hint"}]}``; ``where`` is ``file:line`` or null, ``hint`` may be empty."""
    return {
        "findings": [
            {
                "rule": finding.rule,
                "severity": finding.severity.value,
                "message": finding.message,
                "where": None if finding.where is None else str(finding.where),
                "hint": finding.hint,
            }
            for finding in findings
        ]
    }


def _format(finding: Finding) -> str:
    lines = [f"{finding.severity.value}: {neutral(finding.message)} [{neutral(finding.rule)}]"]
    if finding.where is not None:
        lines.append(f"  at: {neutral(str(finding.where))}")
    if finding.hint:
        first, *others = neutral_lines(finding.hint)
        lines += [f"  next: {first}", *(f"    {line}" for line in others)]
    return "\n".join(lines)
