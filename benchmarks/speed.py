"""Wall time against a floor measured in the same run.

The seconds beside the ratios are for information: they depend on the machine and its load.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from benchmarks.figures import Figure, Ratio, compare
from benchmarks.jobs import STAGEPIN, Job, clone
from benchmarks.pinning import INDEXES, MANY, REFERENCES, make_many_project, make_pin_project
from benchmarks.rivals import measure_rivals
from ci_plugin.registry.manifests import ACCEPT

MOST_OF_RAW = 1.5
SECOND_JOB_SECONDS = 0.15
"""What issue 3 asks of a second job, in seconds of the machine it was written on: shown, not judged."""
_CONNECTIONS = 16
"""As many as the registry client has."""
_LIBRARIES = "import click, urllib3, yaml"
"""What ``pin`` cannot do without: command line, HTTP, the configuration's language."""
_RAW_URLLIB3 = """\
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
_RAW_SOCKETS = """\
import socket, sys, threading
address, accept, connections, paths = sys.argv[1], sys.argv[2], int(sys.argv[3]), open(sys.argv[4]).read().split()
host, _, port = address.rpartition(":")
answered = []
def ask(mine):
    connection = socket.create_connection((host, int(port)))
    for path in mine:
        connection.sendall(f"HEAD {path} HTTP/1.1\\r\\nHost: {address}\\r\\nAccept: {accept}\\r\\n\\r\\n".encode())
        answer = b""
        while not answer.endswith(b"\\r\\n\\r\\n"):
            answer += connection.recv(65536)
        answered.append(answer[:12])
threads = [threading.Thread(target=ask, args=(paths[number::connections],)) for number in range(connections)]
for thread in threads: thread.start()
for thread in threads: thread.join()
assert answered == [b"HTTP/1.1 200"] * len(paths), answered
"""


def measure_speed(directory: Path, address: str, many: Sequence[str], unchanged: Job, runs: int) -> Iterator[Figure]:
    """``pin`` of few and of ``many`` references of the registry at ``address``, the job after it, and a ``build`` of what is built."""
    few = Job(make_pin_project(directory / "pin", address))
    raw = [sys.executable, "-c", _RAW_URLLIB3, address, ACCEPT, str(REFERENCES), str(_CONNECTIONS)]
    ratio = compare(_pinning(few), _process(raw), runs)
    yield _ratio_figure(
        f"`pin` of {REFERENCES} references ({INDEXES} indexes) against a process with {REFERENCES} raw urllib3 HEADs", ratio
    )
    references = [f"{address}/base/image{number:02}:latest" for number in range(REFERENCES)]
    yield from measure_rivals(directory / "rivals", references, _pinning(few), _process([sys.executable, "-c", _LIBRARIES]), runs)
    yield from _measure_second_job(few, directory / "second", runs)

    paths = directory / "paths.txt"
    paths.write_text("\n".join("/v2/{}/manifests/{}".format(*name.split(":")) for name in many))
    sockets = [sys.executable, "-c", _RAW_SOCKETS, address, ACCEPT, str(_CONNECTIONS), str(paths)]
    ratio = compare(_pinning(Job(make_many_project(directory / "many", address, many))), _process(sockets), runs)
    name = f"`pin` of {MANY} references against a process with {MANY} HEADs over {_CONNECTIONS} raw sockets"
    yield _ratio_figure(name, ratio, MOST_OF_RAW)

    ratio = compare(lambda: unchanged.run("build"), _process([STAGEPIN, "build", "--help"]), runs)
    yield _ratio_figure("`build` where nothing changed against the start of `build --help`", ratio)


def _measure_second_job(few: Job, directory: Path, runs: int) -> Iterator[Figure]:
    """The job after the pin job, which has the pin file; then what of its time the libraries alone take."""
    few.run("pin")
    following = Job(clone(few.directory, directory, pins=few.pins))
    bare = _process([sys.executable, "-c", "pass"])
    ratio = compare(lambda: following.run("pin"), bare, 3 * runs)
    name = f"`pin` in a job that has the pin file against `python -c pass` (issue 3: under {SECOND_JOB_SECONDS:g} s)"
    yield _ratio_figure(name, ratio)
    ratio = compare(_process([sys.executable, "-c", _LIBRARIES]), bare, 3 * runs)
    yield _ratio_figure(f"floor of every `pin`: `{_LIBRARIES}` against `python -c pass`", ratio)


def _pinning(job: Job) -> Callable[[], object]:
    def pin() -> None:
        job.pins.unlink(missing_ok=True)
        job.run("pin")

    return pin


def _process(command: Sequence[str]) -> Callable[[], object]:
    return lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def _ratio_figure(name: str, ratio: Ratio, most: float | None = None) -> Figure:
    reached = None if most is None else ratio.median <= most
    target = "-" if most is None else f"<= {most:g} x"
    return Figure(f"wall time: {name}", f"{ratio}, {ratio.in_seconds}", target, reached, ratio.as_numbers())
