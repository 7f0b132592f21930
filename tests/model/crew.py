"""Threads that take turns: exactly one of them, or the caller, runs at any time, and who comes next is said, never left to the system."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

_PATIENCE = 120.0
"""Seconds after which a simulation that stands still is called a deadlock."""


class _Member:
    """One thread, which waits for its turn and then for its next."""

    def __init__(self, number: int) -> None:
        self._turn = threading.Lock()
        self._turn.acquire()
        self.task: Callable[[], None] | None = None
        self._thread = threading.Thread(target=self._work, name=f"model job {number}", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Give it the turn; the caller has to wait or end right after."""
        self._turn.release()

    def wait(self) -> None:
        """Until somebody gives it the turn."""
        self._turn.acquire()

    def _work(self) -> None:
        while True:
            self.wait()
            task, self.task = self.task, None
            if task is None:
                return
            task()

    def dismiss(self) -> None:
        """End the thread, which must be waiting for a task."""
        self.wake()
        self._thread.join(_PATIENCE)


class Crew:
    """As many threads as a simulation has jobs at most; use it as a context manager, for many simulations one after the other."""

    def __init__(self, size: int) -> None:
        self._members = [_Member(number) for number in range(size)]
        self._caller = threading.Semaphore(0)
        self._is_broken = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for member in () if self._is_broken else self._members:
            member.dismiss()

    def begin(self, number: int, task: Callable[[], None]) -> None:
        """Give an idle thread a task and the turn. The task's last act is to give the turn on; the caller waits or ends right after."""
        self._members[number].task = task
        self._members[number].wake()

    def go_on(self, number: int) -> None:
        """Give the turn to a thread in the middle of its task; the caller waits or ends right after."""
        self._members[number].wake()

    def wait(self, number: int) -> None:
        """Called by thread ``number`` after it gave its turn away."""
        self._members[number].wait()

    def finish(self) -> None:
        """Give the turn back to the caller."""
        self._caller.release()

    def give_up(self) -> None:
        """The same after a mistake of the simulation: threads in the middle of a task are left where they are."""
        self._is_broken = True
        self.finish()

    def wait_for_all(self) -> None:
        """Called by the caller after it gave its turn away."""
        assert self._caller.acquire(timeout=_PATIENCE), "expected the simulation to go on, found that nobody has the turn"
