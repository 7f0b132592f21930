"""How far a build is: live rows on a terminal, one line per event in a log, and with ``-v`` what stages print.

Safe to use from several threads.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from ci_plugin.reports.console import Console

_KEPT_LINES = 5000
"""Lines of one stage that are kept until it ends, the last ones: what came before is in its log file."""


@dataclass(slots=True)
class _Image:
    """One image: ``stage``, one of its ``stages``, runs since ``began``; empty where none does."""

    stages: Sequence[str]
    stage: str = ""
    began: float = 0.0
    lines: list[str] = field(default_factory=list)


class Progress:
    """Follows the images of one build; ``images`` is the names of the stages of each. ``now`` is a monotonic clock in seconds."""

    def __init__(self, console: Console, images: Mapping[str, Sequence[str]], now: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._images = {name: _Image(stages) for name, stages in images.items()}
        self._ended: set[str] = set()
        self._now = now
        self._lock = threading.Lock()
        self._began = now()

    @contextmanager
    def shown(self) -> Iterator[None]:
        """On a terminal the rows stand below everything that is printed within."""
        with self._console.live(self.rows):
            yield

    def stage_begun(self, image: str, stage: str) -> None:
        """A stage is being built."""
        with self._lock:
            state = self._images[image]
            state.stage, state.began, state.lines = stage, self._now(), []
        self._console.detail(f"{image}: stage {stage} begins")

    def stage_built(self, image: str, stage: str, seconds: float) -> None:
        """It is ready; what it printed is shown now where somebody asked for it."""
        lines = self._finish(image)
        told = f"{image}: stage {stage} built in {seconds:.1f} s"
        if not lines:
            self._console.event(told)
            return
        with self._console.section(f"stagepin-{image}-{stage}", told):
            for line in lines:
                self._console.build_output(line)

    def stage_reused(self, image: str, stage: str) -> None:
        """It was made of the same before: nothing ran."""
        self._finish(image)
        self._console.event(f"{image}: stage {stage} is as it was, what it takes has not changed")

    def image_ended(self, image: str) -> None:
        """It is ready, or will not be."""
        with self._lock:
            self._ended.add(image)
            self._images[image].stage = ""

    def add_line(self, image: str, line: str) -> None:
        """One line a stage printed, for ``-v``: where a log has sections it is kept for that of its stage, else shown as it comes."""
        if not self._console.has_sections:
            self._console.build_output(line if len(self._images) == 1 else f"{image}: {line}")
            return
        with self._lock:
            lines = self._images[image].lines
            lines.append(line)
            del lines[:-_KEPT_LINES]

    def rows(self) -> Sequence[str]:
        """One row for every image that is worked on, and one that counts."""
        with self._lock:
            running = [(name, state) for name, state in self._images.items() if state.stage]
            waiting = len(self._images) - len(self._ended) - len(running)
            width = max((len(name) for name, _ in running), default=0)
            now = self._now()
            rows = [
                f"  {name:<{width}}  [{state.stages.index(state.stage) + 1}/{len(state.stages)}] {state.stage}  {_time(now - state.began)}"
                for name, state in running
            ]
            return [*rows, f"  {len(self._ended)} of {len(self._images)} images ready, {waiting} waiting  {_time(now - self._began)}"]

    def _finish(self, image: str) -> list[str]:
        with self._lock:
            state = self._images[image]
            lines, state.lines = state.lines, []
            state.stage = ""
            return lines


def _time(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"
