"""When to try again: the one retry policy, and the only home of tenacity.

Rules
- Only errors with ``temporary`` set are tried again (``ci_plugin.errors``); message texts are never looked at.
- The wait is the longer of a jittered exponential back-off and what the server asked for (``Unavailable.retry_after``).
- One deadline covers all tries together. Where the next wait would end after it, the last error comes out at once:
  nobody is served by sleeping first and failing then.
- The operation must be safe to repeat; a caller with several requests repeats them from the first one.

tenacity is imported after the first failure only: it costs as much start-up as the rest of the tool together.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from ci_plugin.errors import StagepinError, Unavailable

if TYPE_CHECKING:
    from tenacity import RetryCallState

Answer = TypeVar("Answer")
Tell = Callable[[float, StagepinError], None]


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how long: ``tries`` in all, first back-off and longest back-off in seconds, ``deadline`` in seconds for all tries.

    ``sleep`` takes seconds (``ports.Clock.sleep``; ports stands on the same floor, so only the function comes in).

    Six tries because a registry whose tag is being written may answer 500 to one read in five (research on distribution 2.8):
    fewer would fail too often by chance alone.
    """

    sleep: Callable[[float], None]
    deadline: float = 60.0
    tries: int = 6
    first_wait: float = 0.3
    longest_wait: float = 8.0
    tell: Tell | None = None
    """Called before each wait with its seconds and the error that is the reason."""

    def run(self, operation: Callable[[], Answer], *, started: float | None = None) -> Answer:
        """What ``operation`` returns, tried again after temporary errors; the last error where none succeeded.

        ``started`` (``time.monotonic``) lets several operations that run side by side share one deadline.
        """
        budget = _Budget(self.deadline, time.monotonic() if started is None else started)
        try:
            return budget.timed(operation)
        except StagepinError as error:
            if not error.temporary:
                raise
            last = error
        try:
            return self._again(operation, last, budget)
        except Unavailable as error:
            if error.retry_after is not None and error.retry_after >= self.deadline:
                asked = f"it asks to be left alone for {error.retry_after:.0f} s, longer than this run waits ({self.deadline:g} s in all)"
                error.hint = f"{error.hint}; {asked}" if error.hint else asked
            raise

    def _again(self, operation: Callable[[], Answer], first: StagepinError, budget: _Budget) -> Answer:
        from tenacity import Retrying, retry_if_exception

        pending = [first]

        def attempt() -> Answer:
            if pending:
                raise pending.pop()
            return budget.timed(operation)

        policy = Retrying(
            sleep=lambda seconds: budget.spend(seconds, self.sleep),
            before_sleep=self._tell,
            wait=self._wait,
            stop=lambda state: state.attempt_number >= self.tries or budget.is_over_after(state.upcoming_sleep),
            retry=retry_if_exception(lambda error: isinstance(error, StagepinError) and error.temporary),
            reraise=True,
        )
        return policy(attempt)

    def _tell(self, state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        if self.tell is not None and isinstance(error, StagepinError):
            self.tell(state.upcoming_sleep, error)

    def _wait(self, state: RetryCallState) -> float:
        backoff: float = min(self.longest_wait, self.first_wait * 2 ** (state.attempt_number - 1))
        jittered = backoff * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, keeps no secret
        error = state.outcome.exception() if state.outcome else None
        asked = error.retry_after if isinstance(error, Unavailable) else None
        return max(jittered, asked or 0.0)


class _Budget:
    """Seconds used of a deadline: real time, or what was slept and worked where the clock is not the real one."""

    def __init__(self, deadline: float, started: float) -> None:
        self._deadline = deadline
        self._started = started
        self._spent = 0.0

    def timed(self, operation: Callable[[], Answer]) -> Answer:
        begun = time.monotonic()
        try:
            return operation()
        finally:
            self._spent += time.monotonic() - begun

    def spend(self, seconds: float, sleep: Callable[[float], None]) -> None:
        sleep(seconds)
        self._spent += seconds

    def is_over_after(self, seconds: float) -> bool:
        """Whether the deadline would have passed after another wait of these seconds."""
        return max(self._spent, time.monotonic() - self._started) + seconds >= self._deadline
