from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from ci_plugin.errors import AccessDenied, Gone, StagepinError, Unavailable
from ci_plugin.pins.drift import Drift, DriftReport
from ci_plugin.pins.pin_set import Origin, Pin
from ci_plugin.reports.drift import RULES, drift_document, drift_findings, drift_markdown, drift_marker, format_drift, headline
from ci_plugin.values.digest import Digest
from ci_plugin.values.pipeline import PipelineId, Scope
from ci_plugin.values.platform import DEFAULT_PLATFORM, Platform
from tests.fakes.source_tree import COMMIT
from tests.unit.conveyor.project import ARM64, NOW, make_pin, make_pins

ALPINE = "docker.io/library/alpine:latest"
PIN = make_pin("alpine")
NEW = Digest.of(b"new")
STAGES = {"app": ("from", "install"), "web": ("from",)}
WHEN = f"pinned to {PIN.digest} at 2026-01-02T03:04:05Z in pipeline:1001; used by app"


def moved(
    pin: Pin = PIN, platforms: Mapping[Platform, Digest | None] | None = None, stages: Mapping[str, tuple[str, ...]] | None = STAGES
) -> Drift:
    now = dict.fromkeys(pin.platforms, NEW) if platforms is None else platforms
    return Drift(pin, NEW, now, stages=stages)


def unchanged(pin: Pin = PIN) -> Drift:
    return Drift(pin, pin.digest, pin.platforms, stages={})


def failed(error: StagepinError, pin: Pin = PIN) -> Drift:
    return Drift(pin, None, {}, error)


def report(*drifts: Drift) -> DriftReport:
    return DriftReport(make_pins(*(drift.pin for drift in drifts)), drifts, NOW)


class TestSentences:
    @staticmethod
    def sentence(drift: Drift) -> str:
        (finding,) = drift_findings(report(drift))
        return finding.message

    def test_a_move_says_from_what_to_what_since_when_and_by_whom_it_matters(self) -> None:
        (finding,) = drift_findings(report(moved()))
        assert finding.message == (
            f"{ALPINE} moved to {NEW}; {WHEN}; the next scope gives another stage signature to app (from, install), web (from)"
        )
        assert (finding.rule, finding.severity.value, str(finding.where)) == ("drift-moved", "info", "werf.yaml:4")
        assert finding.hint == "nothing to do in this scope, it keeps its pins; a new pipeline builds on the new image"

    def test_stages_that_nobody_could_tell_are_left_out(self) -> None:
        assert self.sentence(moved(stages=None)) == f"{ALPINE} moved to {NEW}; {WHEN}"

    def test_a_frozen_base_that_moved_changes_no_stage_signature(self) -> None:
        frozen = replace(PIN, in_signature=False)
        assert self.sentence(moved(frozen, stages={})).endswith("; no stage signature changes: what is built already is kept")

    def test_an_index_that_moved_alone_rebuilds_nothing(self) -> None:
        (finding,) = drift_findings(report(moved(platforms=dict(PIN.platforms), stages={})))
        assert (
            finding.message == f"{ALPINE} moved to {NEW}, with the same manifest for linux/amd64, linux/arm64; {WHEN}; nothing is rebuilt"
        )
        assert (finding.rule, finding.hint) == ("drift-index", "nothing to do")

    def test_a_lost_platform_and_one_that_stayed_are_named(self) -> None:
        text = self.sentence(moved(platforms={DEFAULT_PLATFORM: PIN.platforms[DEFAULT_PLATFORM], ARM64: None}))
        assert f"moved to {NEW}, no longer for linux/arm64, with the same manifest for linux/amd64; " in text

    @pytest.mark.parametrize(
        ("error", "rule", "says", "hint"),
        [
            (
                Gone("not found"),
                "drift-gone",
                "is gone (not found)",
                "build what this scope still needs before its pinned digest is collected",
            ),
            (AccessDenied("no", hint="log in"), "drift-denied", "may not be read (no)", "log in"),
            (Unavailable("late", hint="wait"), "drift-unknown", "gave no answer (late)", "wait"),
        ],
        ids=["gone", "denied", "unknown"],
    )
    def test_no_answer_says_which_and_why(self, error: StagepinError, rule: str, says: str, hint: str) -> None:
        (finding,) = drift_findings(report(failed(error)))
        assert (finding.rule, finding.message) == (rule, f"{ALPINE} {says}; {WHEN}")
        assert finding.hint.startswith(hint)

    def test_what_was_pinned_without_a_digest_says_so(self) -> None:
        pin = replace(PIN, digest=None, platforms={}, in_signature=False, reason="absent")
        (finding,) = drift_findings(report(moved(pin, stages={})))
        assert finding.rule == "drift-unused"
        assert "; pinned to no digest at " in finding.message

    def test_a_scope_of_its_own_name_names_its_pipeline_too(self) -> None:
        train = report(moved())
        train = replace(train, pins=replace(train.pins, scope=Scope("release-7")))
        assert " in release-7 by pipeline 1001; " in drift_findings(train)[0].message

    def test_what_did_not_move_is_no_finding(self) -> None:
        assert drift_findings(report(unchanged())) == ()


@pytest.mark.parametrize(
    ("drifts", "line"),
    [
        ((), "no reference is pinned"),
        ((unchanged(),), "none of 1 pinned references moved"),
        ((moved(), unchanged()), "1 of 2 pinned references moved"),
        (
            (moved(replace(PIN, platforms={}, in_signature=False), stages={}),),
            "1 of 1 pinned references moved, 1 that no stage is built on",
        ),
        ((failed(Gone("x")), failed(Unavailable("x")), failed(AccessDenied("x"))), "none of 3 pinned references moved, 1 gone, 2 unknown"),
    ],
    ids=["no pins", "none", "one", "unused", "no answer"],
)
def test_the_headline_counts(drifts: tuple[Drift, ...], line: str) -> None:
    assert headline(DriftReport(make_pins(), drifts, NOW)) == line


def test_the_text_is_a_table_of_all_sentences_of_some_and_the_headline() -> None:
    other = make_pin("other")
    text = format_drift(report(moved(), unchanged(other), failed(Gone("not found"), make_pin("third"))))
    table, sentences = text.split("\n\n")
    rows = [re.split(r"  +", line) for line in table.split("\n")]
    assert rows[0] == ["REFERENCE", "STATE", "PINNED", "NOW", "IMAGES"]
    assert rows[1] == [ALPINE, "moved", str(PIN.digest), str(NEW), "app"]
    assert rows[2] == ["docker.io/library/other:latest", "unchanged", str(other.digest), str(other.digest), "app"]
    assert rows[3][1] == "gone"
    assert rows[3][3] == "-"
    assert [line.partition(" ")[0] for line in sentences.split("\n")] == [ALPINE, "docker.io/library/third:latest", "1"]


def test_without_pins_there_is_the_headline_alone() -> None:
    assert format_drift(report()) == "no reference is pinned"


def test_the_table_is_as_wide_as_its_terminal_and_the_sentences_keep_whole_digests() -> None:
    whole, narrow = format_drift(report(moved())), format_drift(report(moved()), 80)
    assert max(len(line) for line in whole.partition("\n\n")[0].splitlines()) > 80
    assert max(len(line) for line in narrow.partition("\n\n")[0].splitlines()) <= 80
    assert whole.partition("\n\n")[2] == narrow.partition("\n\n")[2]


class TestDocument:
    def test_a_move_in_full(self) -> None:
        document = drift_document(report(moved(stages={"app": ("from",), "web": ("from",)})))
        (drift,) = cast(list[dict[str, Any]], document.pop("drift"))
        (finding,) = cast(list[dict[str, Any]], document.pop("findings"))
        pipeline = {"forge": "gitlab", "host": "gitlab.example.com", "projectId": "4711", "project": "group/app", "id": "1001"}
        times = {"pinnedAt": "2026-01-02T03:04:05Z", "askedAt": "2026-01-02T03:04:05Z"}
        assert document == {"scope": "pipeline:1001", "pipeline": pipeline, "commit": COMMIT, **times, "moved": True}
        assert drift == {
            "reference": ALPINE,
            "pinned": str(PIN.digest),
            "current": str(NEW),
            "platforms": {str(name): {"pinned": str(digest), "current": str(NEW)} for name, digest in PIN.platforms.items()},
            "state": "moved",
            "matters": True,
            "images": ["app"],
            "stages": [{"image": "app", "stage": "from"}, {"image": "web", "stage": "from"}],
            "resolvedAt": "2026-01-02T03:04:05Z",
            "reason": "",
        }
        assert set(finding) == {"rule", "severity", "message", "where", "hint"}

    def test_no_answer_has_no_digest_no_stages_and_a_reason(self) -> None:
        document = drift_document(report(failed(Gone("not found"))))
        (drift,) = cast(list[dict[str, Any]], document["drift"])
        assert (drift["state"], drift["current"], drift["stages"], drift["reason"]) == ("gone", None, None, "not found")
        assert drift["platforms"]["linux/amd64"]["current"] is None
        assert document["moved"] is False


class TestMarkdown:
    def test_it_has_a_heading_a_table_of_moves_and_a_list_of_the_rest(self) -> None:
        other, third = make_pin("other"), make_pin("third")
        text = drift_markdown(report(moved(), failed(Gone("x"), other), unchanged(third)))
        assert text == (
            "### stagepin: 1 of 3 pinned references moved, 1 gone\n\n"
            f"Pinned in `pipeline:1001` from commit `{COMMIT}`, asked again at 2026-01-02T03:04:05Z. "
            "This scope keeps its pins; a new one pins anew.\n\n"
            "| reference | pinned | now | images | stages that change |\n| --- | --- | --- | --- | --- |\n"
            f"| `{ALPINE}` | `{PIN.digest}` | `{NEW}` | `app` | `app (from, install), web (from)` |\n\n"
            "- `docker.io/library/other:latest`: the registry has the reference no more\n"
        )

    def test_where_nothing_moved_it_says_so(self) -> None:
        text = drift_markdown(report(unchanged()))
        assert text.startswith("### stagepin: none of 1 pinned references moved\n\nPinned in ")
        assert "|" not in text

    def test_stages_that_nobody_could_tell_are_not_called_none(self) -> None:
        assert "| `not known` |" in drift_markdown(report(moved(stages=None)))
        assert "| `none` |" in drift_markdown(report(moved(replace(PIN, in_signature=False), stages={})))

    @pytest.mark.parametrize(
        "name",
        [
            "@org/team",
            "<img src=x onerror=y>",
            "a|b",
            "x\n/close\n### y",
            "`a`",
            "--> <script>",
            "![x](https://evil.example.com)",
            "\u202eabc",
        ],
    )
    def test_foreign_text_is_code_within_one_line(self, name: str) -> None:
        pin = replace(PIN, origin=(Origin("from", name, "werf.yaml", 1),))
        harmless = drift_markdown(report(moved(replace(PIN, origin=(Origin("from", "x", "werf.yaml", 1),)), stages={"x": ("from",)})))
        text = drift_markdown(report(moved(pin, stages={name: ("from",)})))
        assert len(text.split("\n")) == len(harmless.split("\n"))
        row = next(line for line in text.split("\n") if line.startswith(f"| `{ALPINE}`"))
        assert row.count("|") == 6
        outside = re.sub(r"(`+)(?!`).*?(?<!`)\1(?!`)", "", row)
        assert outside == "|  |  |  |  |  |"

    def test_a_comment_of_a_thousand_moves_stays_within_what_a_forge_takes(self) -> None:
        long = "a" * 200
        pins = [replace(make_pin(f"{long}/{number}"), origin=(Origin("from", long, "werf.yaml", 1),)) for number in range(1000)]
        text = drift_markdown(report(*(moved(pin, stages={long: ("from",)}) for pin in pins)))
        assert len(text) < 65536
        assert text.endswith("\nAnd 950 more: see the job's log.\n")


class TestMarker:
    PROJECT = PipelineId("gitlab", "gitlab.example.com", "4711", "group/app", "1001")

    def test_it_is_the_same_for_every_pipeline_and_name_of_a_project(self) -> None:
        assert drift_marker(self.PROJECT, ".", None) == drift_marker(replace(self.PROJECT, id="2002", project="moved/app"), ".", None)
        assert re.fullmatch(r"<!-- stagepin:drift:[0-9a-f]{12} -->", drift_marker(self.PROJECT, ".", None))

    @pytest.mark.parametrize(
        "change",
        [
            lambda project: (replace(project, project_id="4712"), ".", None),
            lambda project: (replace(project, host="other.example.com"), ".", None),
            lambda project: (project, "services/api", None),
            lambda project: (project, ".", "other.yaml"),
        ],
        ids=["project", "host", "directory", "configuration"],
    )
    def test_it_is_another_for_another(self, change: Callable[[PipelineId], tuple[PipelineId, str, str | None]]) -> None:
        assert drift_marker(*change(self.PROJECT)) != drift_marker(self.PROJECT, ".", None)


def test_every_rule_is_documented_in_its_own_words() -> None:
    text = (Path(__file__).parents[3] / "docs" / "drift.md").read_text("utf-8")
    assert dict(re.findall(r"^\| `(drift-[a-z-]+)` \| (.*) \|$", text, re.MULTILINE)) == RULES
