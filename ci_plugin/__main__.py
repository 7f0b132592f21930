"""``python -m ci_plugin`` is the command ``stagepin``."""

import os
import sys

from ci_plugin import __version__


def main() -> int:
    """Run one command; returns the exit code.

    ``--version`` alone is answered here: click by itself takes longer to import than three bare interpreters take to start
    (docs/benchmarks.md), and CI jobs print the version first. What it prints is what ``--version`` of cli/main.py prints.
    """
    if sys.argv[1:] == ["--version"]:
        print(f"stagepin {__version__}")
        return 0
    from ci_plugin.cli.interrupt import interrupted_once
    from ci_plugin.cli.main import INTERRUPTED
    from ci_plugin.cli.main import main as run

    with interrupted_once():
        code = run()
    if code == INTERRUPTED:
        # Threads that wait for the engine must not keep a cancelled job; ending the process is what makes the engine stop a build.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code


if __name__ == "__main__":
    sys.exit(main())
