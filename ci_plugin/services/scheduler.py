"""Run named work over a dependency graph: as soon as what it needs is done, never level by level.

A failure stops what depends on it and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from graphlib import TopologicalSorter
from typing import Generic, TypeVar

from ci_plugin.errors import StagepinError
from ci_plugin.threads import thread_pool

_T = TypeVar("_T")


@dataclass(slots=True)
class Outcome(Generic[_T]):
    """What became of every name: a result, an error, or the name of what it needed that failed."""

    done: dict[str, _T] = field(default_factory=dict)
    failed: dict[str, StagepinError] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)


def run_graph(needs: Mapping[str, Collection[str]], work: Callable[[str], _T], jobs: int) -> Outcome[_T]:
    """Call ``work(name)`` for every name, at most ``jobs`` at once, each after all it needs. Collects StagepinErrors, raises others."""
    outcome: Outcome[_T] = Outcome()
    sorter = TopologicalSorter(needs)
    sorter.prepare()
    running: dict[Future[_T], str] = {}
    with thread_pool(jobs) as pool:
        while sorter.is_active():
            for name in sorter.get_ready():
                blocked = next((need for need in needs[name] if need not in outcome.done), None)
                if blocked is None:
                    running[pool.submit(work, name)] = name
                else:
                    outcome.skipped[name] = outcome.skipped.get(blocked, blocked)
                    sorter.done(name)
            if running:
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    name = running.pop(future)
                    _collect(outcome, name, future)
                    sorter.done(name)
    return outcome


def _collect(outcome: Outcome[_T], name: str, future: Future[_T]) -> None:
    try:
        outcome.done[name] = future.result()
    except StagepinError as error:
        outcome.failed[name] = error
