"""The long run: ``python -m tests.model --steps 100000``; see docs/pin-once-model.md.

Every world gets all short stories and then at least so many API calls of random ones. Exit code 1 with the shortest story where a rule
breaks; ``--world NAME --tape HEX`` plays one tape again.
"""

from __future__ import annotations

import argparse
import secrets
import sys
import time
from collections.abc import Callable, Sequence

from tests.model.crew import Crew
from tests.model.exhaustive import Enumeration
from tests.model.rules import Violation
from tests.model.search import play, search
from tests.model.simulation import MOST_JOBS
from tests.model.worlds import WORLDS, World

_COLUMNS = ("world", "short stories", "their API calls", "random stories", "their API calls", "violations", "calls/s")
_HEADING = f"| {' | '.join(_COLUMNS)} |\n{'|---' * len(_COLUMNS)}|"


def main(arguments: Sequence[str]) -> int:
    """0 where no rule breaks."""
    options = _parse(arguments)
    chosen = [options.world] if options.world else list(WORLDS)
    with Crew(MOST_JOBS) as crew:
        try:
            if options.tape is not None:
                print(f"{play(crew, WORLDS[options.world](), bytes.fromhex(options.tape))} API calls, no rule broken")
                return 0
            print(f"seed {options.seed}\n{_HEADING}")
            return max(_run(crew, name, WORLDS[name], options.seed, options.steps) for name in chosen)
        except Violation as violation:
            print(violation)
            return 1


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.model", description="the model test of pin once, at length")
    parser.add_argument("--steps", type=int, default=100_000, help="API calls of random stories in each world, at least")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6), help="decides the random stories")
    parser.add_argument("--world", choices=WORLDS, help="one world only")
    parser.add_argument("--tape", help="hex of a tape to play again in that world")
    options = parser.parse_args(arguments)
    if options.tape is not None and not options.world:
        parser.error("expected --world with --tape, found none")
    return options


def _run(crew: Crew, name: str, make: Callable[[], World], seed: int, steps: int) -> int:
    begun = time.perf_counter()
    short = Enumeration(crew, make, thorough=True).run()
    found = search(crew, make, seed, steps)
    rate = (short.steps + found.steps) / (time.perf_counter() - begun)
    counts = f"{short.simulations:,} | {short.steps:,} | {found.simulations:,} | {found.steps:,} | {int(bool(found.story))}"
    print(f"| {name} | {counts} | {rate:,.0f} |", flush=True)
    if found.story:
        print(f"--world '{name}' --tape {found.tape.hex()}\n{found.story}")
    return int(bool(found.story))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
