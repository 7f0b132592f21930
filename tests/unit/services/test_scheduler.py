"""The scheduler: order by the graph, isolation of failures, the limit of jobs."""

from __future__ import annotations

import threading

import pytest

from ci_plugin.errors import AnswerIsNo, Unavailable
from ci_plugin.services.scheduler import run_graph

PATIENCE = 20.0
"""Seconds until a test that would hang fails instead."""


def test_work_begins_when_what_it_needs_is_done_and_not_level_by_level() -> None:
    grandchild_ran = threading.Event()

    def work(name: str) -> str:
        if name == "slow":
            assert grandchild_ran.wait(PATIENCE), "a level-by-level order never gets to the grandchild while its level's slow one runs"
        if name == "grandchild":
            grandchild_ran.set()
        return name

    outcome = run_graph({"slow": (), "quick": (), "child": ("quick",), "grandchild": ("child",)}, work, jobs=2)
    assert sorted(outcome.done) == ["child", "grandchild", "quick", "slow"]


def test_everything_is_called_once_after_all_it_needs() -> None:
    seen: list[str] = []
    needs = {"app": ("lib", "tools"), "lib": ("base",), "tools": ("base",), "base": ()}
    run_graph(needs, seen.append, jobs=1)
    assert sorted(seen) == sorted(needs)
    assert all(seen.index(need) < seen.index(name) for name, those in needs.items() for need in those)


def test_a_failure_stops_what_depends_on_it_and_names_its_cause() -> None:
    def work(name: str) -> str:
        if name == "lib":
            raise AnswerIsNo("expected lib to be built, found it broken")
        return name

    outcome = run_graph({"lib": (), "app": ("lib",), "web": ("app",), "other": ()}, work, jobs=2)
    assert outcome.done == {"other": "other"}
    assert list(outcome.failed) == ["lib"]
    assert outcome.skipped == {"app": "lib", "web": "lib"}


def test_two_failures_are_both_collected() -> None:
    def work(name: str) -> str:
        raise Unavailable(f"expected {name}, found no answer")

    outcome = run_graph({"a": (), "b": ()}, work, jobs=1)
    assert {name: error.message for name, error in outcome.failed.items()} == {
        "a": "expected a, found no answer",
        "b": "expected b, found no answer",
    }


def test_an_error_that_is_not_ours_comes_out() -> None:
    def work(name: str) -> str:
        raise ZeroDivisionError(name)

    with pytest.raises(ZeroDivisionError, match="a"):
        run_graph({"a": ()}, work, jobs=2)


@pytest.mark.parametrize("jobs", [1, 3])
def test_no_more_than_the_given_number_run_at_once(jobs: int) -> None:
    lock, full = threading.Lock(), threading.Barrier(jobs)
    running: list[str] = []
    most: list[int] = []

    def work(name: str) -> None:
        with lock:
            running.append(name)
            most.append(len(running))
        full.wait(PATIENCE)
        with lock:
            running.remove(name)

    run_graph({str(number): () for number in range(6)}, work, jobs)
    assert max(most) == jobs


def test_a_graph_without_work_is_done() -> None:
    outcome = run_graph({}, str, jobs=1)
    assert (outcome.done, outcome.failed, outcome.skipped) == ({}, {}, {})
