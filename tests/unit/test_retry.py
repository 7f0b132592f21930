"""The retry policy, on a clock that does not wait."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest

from ci_plugin.errors import AnswerIsNo, StagepinError, Unavailable
from ci_plugin.retry import RetryPolicy


def failing(*errors: Exception) -> tuple[Callable[[], str], list[int]]:
    """An operation that raises these errors in turn, then answers; and how often it was called."""
    calls: list[int] = []

    def operation() -> str:
        calls.append(1)
        if len(calls) <= len(errors):
            raise errors[len(calls) - 1]
        return "answer"

    return operation, calls


def test_an_answer_is_returned_without_waiting() -> None:
    waits: list[float] = []
    operation, calls = failing()
    assert RetryPolicy(waits.append).run(operation) == "answer"
    assert (len(calls), waits) == (1, [])


def test_temporary_errors_are_tried_again_with_growing_waits() -> None:
    waits: list[float] = []
    operation, calls = failing(*[Unavailable("busy")] * 5)
    assert RetryPolicy(waits.append).run(operation) == "answer"
    assert len(calls) == 6
    assert all(0.5 * 0.3 * 2**number <= wait <= 0.3 * 2**number for number, wait in enumerate(waits))


def test_the_last_error_comes_out_as_it_is() -> None:
    errors = [Unavailable(f"try {number}") for number in range(1, 7)]
    operation, calls = failing(*errors)
    with pytest.raises(Unavailable) as caught:
        RetryPolicy(lambda _: None).run(operation)
    assert caught.value is errors[5]
    assert len(calls) == 6


@pytest.mark.parametrize("error", [AnswerIsNo("no"), KeyError("a bug of ours")])
def test_other_errors_are_not_tried_again(error: Exception) -> None:
    operation, calls = failing(error)
    with pytest.raises(type(error)):
        RetryPolicy(lambda _: None).run(operation)
    assert len(calls) == 1


def test_a_lasting_error_after_a_temporary_one_ends_it() -> None:
    operation, calls = failing(Unavailable("busy"), AnswerIsNo("no"))
    with pytest.raises(AnswerIsNo):
        RetryPolicy(lambda _: None).run(operation)
    assert len(calls) == 2


def test_the_server_may_ask_for_a_longer_wait_but_not_for_a_shorter_one() -> None:
    waits: list[float] = []
    operation, _ = failing(Unavailable("busy", retry_after=20.0), Unavailable("busy", retry_after=0.0))
    RetryPolicy(waits.append).run(operation)
    assert waits[0] == 20.0
    assert waits[1] >= 0.3


def test_a_wait_beyond_the_deadline_is_not_begun() -> None:
    waits: list[float] = []
    operation, calls = failing(Unavailable("busy", retry_after=61.0))
    with pytest.raises(Unavailable):
        RetryPolicy(waits.append, 60.0).run(operation)
    assert (len(calls), waits) == (1, [])


@pytest.mark.parametrize(("hint", "before"), [("try again later", "try again later; "), ("", "")])
def test_a_wait_that_is_longer_than_the_deadline_is_named_in_the_hint(hint: str, before: str) -> None:
    operation, _ = failing(Unavailable("busy", hint=hint, retry_after=3600.0))
    with pytest.raises(Unavailable) as caught:
        RetryPolicy(lambda _: None, 60.0).run(operation)
    assert caught.value.hint == f"{before}it asks to be left alone for 3600 s, longer than this run waits (60 s in all)"


def test_an_error_after_waits_that_were_kept_names_none() -> None:
    operation, _ = failing(*[Unavailable("busy", hint="try again later", retry_after=1.0)] * 6)
    with pytest.raises(Unavailable) as caught:
        RetryPolicy(lambda _: None, 60.0).run(operation)
    assert caught.value.hint == "try again later"


def test_every_wait_is_told_with_its_seconds_and_its_reason() -> None:
    waits: list[float] = []
    told: list[tuple[float, str]] = []
    operation, _ = failing(Unavailable("first", retry_after=20.0), Unavailable("second"))
    RetryPolicy(waits.append, tell=lambda seconds, error: told.append((seconds, error.message))).run(operation)
    assert told == list(zip(waits, ["first", "second"], strict=True))


def test_the_last_error_is_nobodys_reason_to_wait() -> None:
    told: list[float] = []
    operation, _ = failing(*[Unavailable("busy")] * 6)
    with pytest.raises(Unavailable):
        RetryPolicy(lambda _: None, tell=lambda seconds, _error: told.append(seconds)).run(operation)
    assert len(told) == 5


def test_waits_together_stay_within_the_deadline() -> None:
    waits: list[float] = []
    operation, calls = failing(*[Unavailable("busy", retry_after=25.0)] * 6)
    with pytest.raises(Unavailable):
        RetryPolicy(waits.append, 60.0).run(operation)
    assert (len(calls), waits) == (3, [25.0, 25.0])


def test_a_shared_deadline_that_has_passed_leaves_one_try() -> None:
    operation, calls = failing(Unavailable("busy"))
    with pytest.raises(Unavailable):
        RetryPolicy(lambda _: None, 60.0).run(operation, started=float("-inf"))
    assert len(calls) == 1


def test_every_temporary_error_of_the_tree_is_tried_again() -> None:
    class Passing(StagepinError):
        temporary = True

    operation, calls = failing(Passing("for a moment"))
    assert RetryPolicy(lambda _: None).run(operation) == "answer"
    assert len(calls) == 2


def test_tenacity_is_loaded_by_a_failure_only() -> None:
    code = "import sys, ci_plugin.retry as r; r.RetryPolicy(print).run(int); sys.exit('tenacity' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
