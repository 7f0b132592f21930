from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from ci_plugin.errors import DocumentError, InputError, Location, Unavailable
from ci_plugin.pins.drift import DriftReport, DriftState, GitDrift
from ci_plugin.pins.pin_file import format_pin_file, parse_pin_file, pin_checksum
from ci_plugin.reports.drift import drift_document, drift_findings, drift_markdown, format_drift, headline
from ci_plugin.values.document import seal
from tests.unit.conveyor.project import NOW

DOCUMENTS = Path(__file__).parents[2] / "data" / "documents"
DATA = (DOCUMENTS / "pins-1-git.json").read_bytes()
PINS = parse_pin_file(DATA, "pins.json")
URL = "https://git.example.com/group/library.git"


def test_a_pin_file_with_other_repositories_stays_readable_for_ever_and_is_written_as_it_was() -> None:
    assert format_pin_file(PINS) == DATA
    assert pin_checksum(PINS) == json.loads(DATA)["checksum"]
    assert len(PINS.pins) == 1
    assert [(pin.url, pin.ref, pin.is_commit) for pin in PINS.git] == [
        (URL, "refs/heads/main", False),
        (URL, "refs/tags/v1", False),
        ("ssh://git@git.example.com/tools.git", "c0ffee0000000000000000000000000000000000", True),
    ]


def test_the_keys_of_a_git_pin_are_those_that_are_published() -> None:
    image, *others = json.loads(DATA)["pins"]
    assert image["kind"] == "image"
    assert [list(pin) for pin in others] == [["kind", "url", "ref", "commit", "resolvedAt", "origin"]] * 3


def test_a_set_gives_the_pin_of_a_ref_and_refuses_one_it_lacks() -> None:
    assert PINS.get_git(URL, "refs/tags/v1").commit == "2" * 40
    assert (PINS.covers_git(URL, "refs/tags/v1"), PINS.covers_git(URL, "refs/tags/v2")) == (True, False)
    with pytest.raises(InputError) as raised:
        PINS.get_git(URL, "refs/tags/v2", Location("werf.yaml", 3))
    assert raised.value.message == f"expected {URL} refs/tags/v2 among the 3 pins of pipeline:1001, found it missing"
    assert "same configuration" in raised.value.hint


def changed(index: int, key: str, to: object) -> bytes:
    document = json.loads(DATA)
    document["pins"][index][key] = to
    return seal({name: value for name, value in document.items() if name != "checksum"})


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (changed(1, "url", "https://user:word@h/x"), "expected the address of a git repository without credentials at pins[1].url"),
        (changed(1, "url", "HTTPS://H/x"), "expected the address of a git repository without credentials at pins[1].url"),
        (
            changed(1, "url", "ext::sh"),
            "expected the address of a git repository (https, http, ssh, git, user@host:path, or an absolute path) at pins[1].url",
        ),
        (changed(1, "ref", "main"), 'expected refs/heads/NAME, refs/tags/NAME or a full commit id at pins[1].ref, found "main"'),
        (changed(1, "commit", "c0ffee"), 'expected a full commit id (40 hex characters) at pins[1].commit, found "c0ffee"'),
        (changed(2, "ref", "refs/heads/main"), 'expected every ref of a repository once at pins[2].ref, found "refs/heads/main"'),
        (changed(2, "kind", "image"), 'expected pins of git repositories after those of images at pins[2].kind, found "image"'),
        (
            changed(1, "origin", [{"kind": "from", "image": "app", "file": "werf.yaml", "line": 1}]),
            "expected one of git at pins[1].origin[0].kind",
        ),
    ],
)
def test_a_wrong_git_pin_is_refused_with_the_path_of_what_is_wrong(data: bytes, message: str) -> None:
    with pytest.raises(DocumentError) as raised:
        parse_pin_file(data, "pins.json")
    assert raised.value.message.startswith(message)


class TestDrift:
    MAIN, TAG, TOOLS = PINS.git
    NEW = "9" * 40
    REPORT = DriftReport(
        replace(PINS, pins=()),
        (),
        NOW,
        (GitDrift(MAIN, NEW), GitDrift(TAG, None), GitDrift(TOOLS, None, Unavailable("it is late", hint="wait"))),
    )

    def test_a_moved_branch_matters_and_what_is_gone_or_unknown_does_not(self) -> None:
        assert [drift.state for drift in self.REPORT.git] == [DriftState.MOVED, DriftState.GONE, DriftState.UNKNOWN]
        assert self.REPORT.names_that_matter == (f"{URL} refs/heads/main",)
        assert headline(self.REPORT) == "1 of 3 pinned references moved, 1 gone, 1 unknown"

    def test_people_read_what_moved_where_to_and_whom_it_concerns(self) -> None:
        moved, gone, unknown = drift_findings(self.REPORT)
        pinned = "pinned to " + "1" * 40 + " at 2026-01-02T03:04:05Z in pipeline:1001"
        assert moved.message == f"{URL} refs/heads/main moved to {self.NEW}; {pinned}; used by app, web"
        assert gone.message.startswith(f"{URL} refs/tags/v1 is gone; pinned to {'2' * 40}")
        assert unknown.message.startswith(
            "ssh://git@git.example.com/tools.git c0ffee0000000000000000000000000000000000 gave no answer (it is late)"
        )
        assert [finding.rule for finding in (moved, gone, unknown)] == ["drift-git-moved", "drift-git-gone", "drift-git-unknown"]
        assert unknown.hint == "wait"
        assert moved.message in format_drift(self.REPORT)

    def test_machines_read_every_ref(self) -> None:
        document = drift_document(self.REPORT)
        assert (document["moved"], document["drift"]) == (True, [])
        git = document["git"]
        assert isinstance(git, list)
        assert git[0] == {
            "url": URL,
            "ref": "refs/heads/main",
            "pinned": "1" * 40,
            "current": self.NEW,
            "state": "moved",
            "matters": True,
            "images": ["app", "web"],
            "resolvedAt": "2026-01-02T03:04:05Z",
            "reason": "",
        }
        assert git[2]["reason"] == "it is late"

    def test_the_comment_has_a_row_for_what_moved_and_a_note_for_the_rest(self) -> None:
        text = drift_markdown(self.REPORT)
        assert f"`{URL} refs/heads/main`" in text
        assert "the repository has the branch or tag no more" in text

    def test_a_set_without_other_repositories_has_the_document_it_always_had(self) -> None:
        assert "git" not in drift_document(DriftReport(replace(PINS, git=()), (), NOW))
