"""Waits for what another process writes into a file, without asking again and again."""

from __future__ import annotations

import subprocess
import threading
from pathlib import Path

_SECONDS = 60.0


def await_line(log: Path, wanted: str) -> None:
    """Return when ``log``, which need not exist yet, has a line of that text; fails when it does not come."""
    command = ["tail", "--lines=+1", "--follow=name", "--retry", str(log)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as tail:
        timer = threading.Timer(_SECONDS, tail.kill)
        timer.start()
        try:
            assert tail.stdout is not None
            assert any(line.rstrip("\n") == wanted for line in tail.stdout), f"{log} never had the line {wanted!r}"
        finally:
            timer.cancel()
            tail.kill()
