"""``python -m benchmarks``: measure every figure, print the table, exit 1 where a target is missed.

Nothing is written but standard output, and ``--json FILE`` where asked for; what the rig needs is in a temporary directory.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.building import measure_building
from benchmarks.configuration import measure_configuration
from benchmarks.figures import Figure, format_figures
from benchmarks.jobs import JobFailed
from benchmarks.pinning import measure_many, measure_pinning, push_many_bases
from benchmarks.planning import measure_planning
from benchmarks.servers import relay_to
from benchmarks.speed import measure_speed
from benchmarks.start import measure_start
from benchmarks.unchanged import measure_unchanged, prepare_real
from benchmarks.upkeep import measure_upkeep
from ci_plugin.demo.rig import Rig, open_rig
from ci_plugin.errors import StagepinError


def measure(directory: Path, rig: Rig, runs: int) -> Iterator[Figure]:
    """Every figure, in the order of the table."""
    yield from measure_start(directory / "start", runs)
    yield from measure_configuration(directory / "configuration", runs)
    yield from measure_planning(directory / "planning", runs)
    with relay_to(rig.registry_address) as relay:
        yield from measure_pinning(directory / "pinning", relay)
        many = push_many_bases(rig.registry_address)
        yield from measure_many(directory / "many", many, relay)
        yield from measure_upkeep(directory / "upkeep", relay)
        built = prepare_real(directory / "built", rig, relay)
        yield from measure_unchanged(directory / "unchanged", built, relay)
        yield from measure_speed(directory / "speed", rig.registry_address, many, built, runs)
        yield from measure_building(directory / "building", rig, relay, runs)


def main(argv: Sequence[str]) -> int:
    """0 where every target is reached, 1 where one is missed or a job failed, else the exit code of what stopped the rig."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--runs", type=int, default=9, help="pairs behind every ratio (default: 9)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures for machines too")
    options = parser.parse_args(argv)
    try:
        with tempfile.TemporaryDirectory(prefix="stagepin-bench-") as text:
            directory = Path(text)
            with open_rig(directory / "rig", os.environ) as rig:
                figures = list(measure(directory, rig, options.runs))
    except StagepinError as error:
        print(f"{error.message}; {error.hint}", file=sys.stderr)
        return error.exit_code
    except JobFailed as error:
        print(error, file=sys.stderr)
        return 1
    print(format_figures(figures))
    if options.json:
        options.json.write_text(json.dumps([_as_document(figure) for figure in figures], indent=2) + "\n")
    missed = [figure.name for figure in figures if figure.is_reached is False]
    print(f"\n{len(missed)} of {sum(figure.is_reached is not None for figure in figures)} targets missed")
    return 1 if missed else 0


def _as_document(figure: Figure) -> dict[str, object]:
    return {"name": figure.name, "reached": figure.is_reached, "target": figure.target, **figure.numbers}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
