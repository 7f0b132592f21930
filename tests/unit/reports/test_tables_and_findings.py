from __future__ import annotations

from ci_plugin.errors import Location
from ci_plugin.reports.findings import findings_document, format_findings
from ci_plugin.reports.tables import format_table
from ci_plugin.values.finding import Finding, Severity

DIGEST = "sha256:" + "a" * 64
FINDINGS = [
    Finding("base-moved", Severity.ERROR, "expected a, found b", Location("werf.yaml", 4), "run\nstagepin drift"),
    Finding("x", Severity.INFO, "::error::\x1b"),
]


def test_columns_are_aligned_and_digests_whole() -> None:
    assert format_table(["IMAGE", "DIGEST"], [["app", DIGEST], ["frontend", ""]]).splitlines() == [
        "IMAGE     DIGEST",
        f"app       {DIGEST}",
        "frontend  -",
    ]


def test_a_table_without_rows_is_its_headers() -> None:
    assert format_table(["A", "B"], []) == "A  B"


def test_cells_are_neutral() -> None:
    assert format_table(["A"], [["::x\n\x1b"]]) == "A\n\\::x\\n\\x1b"


def test_findings_read_as_errors_do() -> None:
    assert format_findings(FINDINGS).splitlines() == [
        "error: expected a, found b [base-moved]",
        "  at: werf.yaml:4",
        "  next: run",
        "    stagepin drift",
        "info: \\::error::\\x1b [x]",
    ]
    assert format_findings([]) == ""


def test_findings_are_one_json_object() -> None:
    assert findings_document(FINDINGS) == {
        "findings": [
            {
                "rule": "base-moved",
                "severity": "error",
                "message": "expected a, found b",
                "where": "werf.yaml:4",
                "hint": "run\nstagepin drift",
            },
            {"rule": "x", "severity": "info", "message": "::error::\x1b", "where": None, "hint": ""},
        ]
    }
