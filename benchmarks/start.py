"""How long the command takes to start, against the bare interpreter, and what ``pin`` imports."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.figures import Figure, compare
from benchmarks.jobs import STAGEPIN, Job, commit_project, werf_yaml
from benchmarks.servers import push_bases
from tests.fakes.registry import FakeRegistry

MOST = 3.0
FOREIGN = ("docker", "gitlab", "github", "gotpl", "jinja2", "requests")
"""Import names of the engine's, the forges' and the template libraries, and of what docker-py brings along."""
_IMPORT = re.compile(r"import time:\s*\d+ \|\s*\d+ \|\s*(\S+)")
_CONFIGURATIONS = {
    "werf.yaml": lambda base: werf_yaml([base]),
    "Dockerfile": lambda base: f"FROM {base}\nRUN echo hello\n",
}


def measure_start(directory: Path, runs: int) -> Iterator[Figure]:
    """``--version`` with its target, ``--help`` for information, and the imports of ``pin``."""
    bare = compare(lambda: _run(STAGEPIN, "--version"), lambda: _run(sys.executable, "-c", "pass"), 3 * runs)
    name = "`stagepin --version` against `python -c pass` (same interpreter, same options)"
    yield Figure(name, str(bare), f"< {MOST:g} x", bare.median < MOST, bare.as_numbers())

    isolated = compare(
        lambda: _run(sys.executable, "-I", STAGEPIN, "--version"), lambda: _run(sys.executable, "-I", "-c", "pass"), 3 * runs
    )
    yield Figure("the same with `python -I` on both sides", str(isolated), f"< {MOST:g} x", isolated.median < MOST, isolated.as_numbers())

    usage = compare(lambda: _run(STAGEPIN, "--help"), lambda: _run(sys.executable, "-c", "import click"), runs)
    yield Figure("`stagepin --help` against `import click`", str(usage), numbers=usage.as_numbers())
    for file in _CONFIGURATIONS:
        yield _imports_of_pin(directory / file, file)


def _imports_of_pin(directory: Path, file: str) -> Figure:
    with FakeRegistry() as registry:
        (base,) = push_bases(registry.address, 1, 1)
        project = commit_project(directory, file, _CONFIGURATIONS[file](f"{registry.address}/{base}"))
        imported = _IMPORT.findall(Job(project, python_options=("-X", "importtime")).run("pin").stderr)
    found = _foreign(imported)
    name = f"forge, engine and template libraries imported by `pin` with a plain {file}"
    return Figure(name, ", ".join(found) or "none", "none", not found and "urllib3" in imported, {"modules": len(imported), "found": found})


def _foreign(imported: Sequence[str]) -> list[str]:
    return sorted({name.partition(".")[0] for name in imported} & set(FOREIGN))


def _run(*command: str) -> None:
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
