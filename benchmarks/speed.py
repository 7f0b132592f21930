"""Wall time against a floor measured in the same run: for information, because it depends on the machine and its load."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.figures import Figure, compare
from benchmarks.jobs import STAGEPIN, Job
from benchmarks.pinning import INDEXES, REFERENCES, make_pin_project

_CONNECTIONS = 16
"""As many as the registry client has."""
_RAW = """\
import sys
from concurrent.futures import ThreadPoolExecutor
import urllib3
address, accept, count, connections = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
pool = urllib3.PoolManager(maxsize=connections)
def ask(number):
    return pool.request("HEAD", f"http://{address}/v2/base/image{number:02}/manifests/latest", headers={"Accept": accept}).status
with ThreadPoolExecutor(connections) as threads:
    assert set(threads.map(ask, range(count))) == {200}
"""


def measure_speed(directory: Path, address: str, unchanged: Job, runs: int) -> Iterator[Figure]:
    """``pin`` against as many raw HEADs of the real registry at ``address``; a ``build`` of what is built against its start alone."""
    from ci_plugin.registry.manifests import ACCEPT

    job = Job(make_pin_project(directory / "pin", address))

    def pin() -> None:
        job.pins.unlink(missing_ok=True)
        job.run("pin")

    raw = [sys.executable, "-c", _RAW, address, ACCEPT, str(REFERENCES), str(_CONNECTIONS)]
    ratio = compare(pin, lambda: subprocess.run(raw, check=True), runs)
    name = f"wall time: `pin` of {REFERENCES} references ({INDEXES} indexes) against a process with {REFERENCES} raw urllib3 HEADs"
    yield Figure(name, str(ratio), numbers=ratio.as_numbers())

    start = [STAGEPIN, "build", "--help"]
    ratio = compare(lambda: unchanged.run("build"), lambda: subprocess.run(start, check=True, stdout=subprocess.DEVNULL), runs)
    yield Figure("wall time: `build` where nothing changed against the start of `build --help`", str(ratio), numbers=ratio.as_numbers())
