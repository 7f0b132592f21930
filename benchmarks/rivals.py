"""Wall time of ``pin`` beside other tools that look digests up; of one that is not on PATH the figure says so, and fails nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from benchmarks.figures import Figure, compare
from benchmarks.pinning import REFERENCES

Rival = Callable[[str, Path, Sequence[str]], Sequence[Sequence[str]]]
"""Program, a directory to write to, references → the commands that look up all of them."""


def measure_rivals(
    directory: Path, references: Sequence[str], pin: Callable[[], object], floor: Callable[[], object], runs: int
) -> Iterator[Figure]:
    """``pin`` of these references against each rival, in turns, each in its own processes; and ``floor``, what no ``pin`` can be below."""
    directory.mkdir(parents=True)
    for words, program, commands, target in _RIVALS:
        name = f"wall time: `pin` of {REFERENCES} references against {words}"
        found = shutil.which(program)
        if found is None:
            yield Figure(name, "not on PATH", target=_target(target), numbers={"program": None})
            continue
        look_up = partial(_run_all, commands(found, directory, references), directory)
        ratio = compare(pin, look_up, runs)
        reached = None if target is None else ratio.median <= target
        yield Figure(name, f"{ratio}, {ratio.in_seconds}", _target(target), reached, {"program": program, **ratio.as_numbers()})
        if target is None:
            ratio = compare(floor, look_up, runs)
            yield Figure(
                f"wall time: the imports of every `pin` alone against {words}", f"{ratio}, {ratio.in_seconds}", numbers=ratio.as_numbers()
            )


def _kbld(program: str, directory: Path, references: Sequence[str]) -> Sequence[Sequence[str]]:
    """One process; "cold" is always: kbld keeps nothing but the lock file, which it is not given to read."""
    resources = directory / "images.yml"
    resources.write_text("---\n".join(f"image: {reference}\n" for reference in references))
    return [[program, "-f", str(resources), "--lock-output", str(directory / "lock.yml")]]


def _crane(program: str, _directory: Path, references: Sequence[str]) -> Sequence[Sequence[str]]:
    return [[program, "digest", reference] for reference in references]


def _skopeo(program: str, _directory: Path, references: Sequence[str]) -> Sequence[Sequence[str]]:
    command = [program, "inspect", "--tls-verify=false", "--no-tags", "--format", "{{.Digest}}"]
    return [[*command, f"docker://{reference}"] for reference in references]


_RIVALS: Sequence[tuple[str, str, Rival, float | None]] = (
    ("`crane digest` in a loop", "crane", _crane, 1.0),
    ("`skopeo inspect` in a loop", "skopeo", _skopeo, 1.0),
    ("`kbld`, cold", "kbld", _kbld, None),
)
"""Words for people, program, its commands, the largest ratio that is wanted; None where it is for information.

kbld is, because no ``pin`` can be as fast: what it imports takes as long as kbld takes in all (docs/benchmarks.md).
"""


def _target(target: float | None) -> str:
    return "-" if target is None else f"<= {target:g} x"


def _run_all(commands: Sequence[Sequence[str]], home: Path) -> None:
    environment: Mapping[str, str] = {"PATH": os.environ["PATH"], "HOME": str(home)}
    for command in commands:
        subprocess.run(command, env=environment, check=True, capture_output=True)
