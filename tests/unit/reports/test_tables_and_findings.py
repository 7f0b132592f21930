from __future__ import annotations

import fcntl
import io
import os
import struct
import termios

import pytest

from ci_plugin.errors import Location
from ci_plugin.reports.findings import findings_document, format_findings
from ci_plugin.reports.tables import format_table, shorten_hashes, terminal_width
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


HEADERS = ["REFERENCE", "DIGEST", "PLATFORMS"]
ROW = ["docker.io/library/alpine:3", DIGEST, "linux/amd64"]
SHORT = "sha256:" + "a" * 12 + "…"


def table(*rows: list[str], width: int | None) -> list[str]:
    return format_table(HEADERS, rows, width).splitlines()


def test_where_nobody_counts_columns_digests_are_whole() -> None:
    assert table(ROW, width=None)[1] == f"docker.io/library/alpine:3  {DIGEST}  linux/amd64"


def test_a_table_that_fits_is_as_wide_as_it_is() -> None:
    whole = table(ROW, width=None)
    widest = max(map(len, whole))
    assert table(ROW, width=widest) == whole
    assert table(ROW, width=widest - 1) != whole


def test_on_a_terminal_digests_are_shortened_before_anything_else() -> None:
    assert table(ROW, width=80) == [
        "REFERENCE                   DIGEST                PLATFORMS",
        f"docker.io/library/alpine:3  {SHORT}  linux/amd64",
    ]


def test_the_words_of_the_last_column_go_on_in_further_lines() -> None:
    assert table([*ROW[:2], "linux/amd64, linux/arm64, linux/s390x"], ROW, width=80) == [
        "REFERENCE                   DIGEST                PLATFORMS",
        f"docker.io/library/alpine:3  {SHORT}  linux/amd64, linux/arm64,",
        f"{' ' * 50}linux/s390x",
        f"docker.io/library/alpine:3  {SHORT}  linux/amd64",
    ]


def test_what_still_does_not_fit_is_a_block_for_each_row_with_whole_digests_where_they_fit() -> None:
    long = f"registry.example.com/{'group/' * 6}app:3"
    assert table([long, DIGEST, "linux/amd64, linux/arm64"], ROW, width=82) == [
        f"REFERENCE  {long}",
        f"DIGEST     {DIGEST}",
        "PLATFORMS  linux/amd64, linux/arm64",
        "",
        "REFERENCE  docker.io/library/alpine:3",
        f"DIGEST     {DIGEST}",
        "PLATFORMS  linux/amd64",
    ]
    assert f"DIGEST     {SHORT}" in table([long, DIGEST, "linux/amd64, linux/arm64"], width=80)


@pytest.mark.parametrize("width", [1, 20, 40, 60, 80, 100, 120, 200])
def test_a_line_is_wider_than_the_terminal_only_where_a_cell_cannot_be_wrapped(width: int) -> None:
    lines = table([*ROW[:2], "linux/amd64, " * 12 + "linux/s390x"], width=width)
    assert max(map(len, lines)) <= max(width, len("REFERENCE  ") + len(ROW[0]))
    assert " ".join(lines).count("linux/amd64") == 12


def test_a_table_without_rows_is_its_headers_at_any_width() -> None:
    assert table(width=5) == ["REFERENCE  DIGEST  PLATFORMS"]


def test_stage_signatures_are_shortened_as_digests_are_and_no_longer_hexadecimal_is() -> None:
    assert shorten_hashes("b" * 64) == "b" * 12 + "…"
    assert shorten_hashes("b" * 65) == "b" * 65
    assert shorten_hashes("b" * 40) == "b" * 40


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("told", "expected"), [("80", 80), ("", None), ("0", None), ("-5", None), ("wide", None), ("²", None)])
def test_a_terminal_is_as_wide_as_columns_says_or_as_it_says_itself(told: str, expected: int | None) -> None:
    assert terminal_width({"COLUMNS": told}, Terminal()) == expected, "this stream has no terminal behind it that could say"


def test_a_real_terminal_says_its_width() -> None:
    leader, follower = os.openpty()
    try:
        fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 93, 0, 0))
        with os.fdopen(follower, "w") as stream:
            assert terminal_width({}, stream) == 93
            assert terminal_width({"COLUMNS": "70"}, stream) == 70
    finally:
        os.close(leader)


def test_a_pipe_has_no_width_whatever_columns_says() -> None:
    assert terminal_width({"COLUMNS": "80"}, io.StringIO()) is None


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
