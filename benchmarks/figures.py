"""What a measurement is: a figure with its target, and samples that are compared as ratios, never as seconds."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from ci_plugin.reports.tables import format_table


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the result. ``is_reached`` is None where there is no target; ``numbers`` is the same for machines."""

    name: str
    measured: str
    target: str = "-"
    is_reached: bool | None = None
    numbers: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Ratio:
    """How many times as long one thing took as another: median, smallest and largest over the pairs of one run.

    ``seconds`` and ``floor_seconds``: the medians of what was compared, for information.
    """

    median: float
    smallest: float
    largest: float
    seconds: float
    floor_seconds: float

    def __str__(self) -> str:
        return f"{self.median:.2f} x ({self.smallest:.2f}-{self.largest:.2f})"

    @property
    def in_seconds(self) -> str:
        """Both sides, such as ``0.21 s and 0.10 s``."""
        return f"{self.seconds:.3f} s and {self.floor_seconds:.3f} s"

    def as_numbers(self) -> dict[str, object]:
        """For ``Figure.numbers``; rounded, because the third digit is noise."""
        ratio = {"median": round(self.median, 2), "min": round(self.smallest, 2), "max": round(self.largest, 2)}
        return {**ratio, "seconds": round(self.seconds, 3), "floor_seconds": round(self.floor_seconds, 3)}


def compare(work: Callable[[], object], floor: Callable[[], object], runs: int) -> Ratio:
    """The ratio of ``work`` to ``floor``, run in turns so that a busy machine slows both; one unmeasured turn goes ahead."""
    pairs = [(_seconds(work), _seconds(floor)) for _ in range(runs + 1)][1:]
    ratios = sorted(took / least for took, least in pairs)
    seconds, floor_seconds = (statistics.median(side) for side in zip(*pairs, strict=True))
    return Ratio(statistics.median(ratios), ratios[0], ratios[-1], seconds, floor_seconds)


def format_figures(figures: Sequence[Figure]) -> str:
    """The table for people."""
    answers = {True: "yes", False: "NO", None: "-"}
    rows = [(figure.name, figure.measured, figure.target, answers[figure.is_reached]) for figure in figures]
    return format_table(("FIGURE", "MEASURED", "TARGET", "REACHED"), rows)


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
