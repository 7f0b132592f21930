"""What planning costs on a repository of many files, against git's own listing of it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.figures import Figure, Ratio, compare
from ci_plugin.config.load import load_configuration
from ci_plugin.config.source import Source
from ci_plugin.conveyor.plan import make_plan
from ci_plugin.engine.archives import diff_id_of
from ci_plugin.git import open_source_tree
from ci_plugin.pins.pin_set import PinSet
from ci_plugin.project_files import DirectoryFiles
from ci_plugin.values.pipeline import PipelineId, Scope
from tests.fakes.git_repository import GitRepository

FILES, IMAGES, MAPPINGS = 50_000, 10, 3
MOST = 3.0
_DIRECTORIES = 100


def measure_planning(directory: Path, runs: int) -> Iterator[Figure]:
    """``plan`` of images with git mappings: the work alone, in a process that runs already, and that process's start beside it."""
    repository = _make_repository(directory)
    listing = _process(["git", "-C", str(repository), "ls-tree", "-r", "-z", "HEAD"])
    what = f"plan of {IMAGES} images with {MAPPINGS} mappings each, {FILES} files"
    yield _figure(f"{what}, against one `git ls-tree -r`", compare(lambda: _plan(repository), listing, runs), MOST)


def _plan(repository: Path) -> None:
    """Everything between the configuration's text and the last stage signature; each time from nothing, as a new process has it."""
    tree = open_source_tree(repository, environ=os.environ)
    source = Source(tree.find_file, list, {}, "", (), tree.commit)
    configuration = load_configuration(source, "bench")
    pins = PinSet("bench", Scope("local"), PipelineId("local", "", "", "", ""), tree.commit, datetime.now(UTC), (), ())
    plan = make_plan(configuration, pins, DirectoryFiles(tree, repository, diff_id_of))
    assert sum(len(planned.stages) for planned in plan) == 3 * IMAGES


def _make_repository(directory: Path) -> Path:
    """One commit; the files lie in a hundred directories, each mapping takes one of them, plainly or by patterns."""
    repository = GitRepository(directory)
    documents = ["project: bench\nconfigVersion: 1\n"]
    for image in range(IMAGES):
        first = image * MAPPINGS
        documents.append(
            f"image: image{image}\nfrom: scratch\ngit:\n- {{add: /dir{first}, to: /a}}\n"
            f"- {{add: /dir{first + 1}, to: /b, includePaths: ['**/*.txt']}}\n- {{add: /dir{first + 2}, to: /c, excludePaths: [x]}}\n"
        )
    text = "---\n".join(documents).encode()
    stream = [b"commit refs/heads/main\ncommitter A <a@example.com> 1700000000 +0000\ndata 1\nx\n"]
    stream.append(b"M 100644 inline werf.yaml\ndata %d\n%s\n" % (len(text), text))
    for number in range(FILES):
        path = b"dir%d/sub%d/file%d.txt" % (number % _DIRECTORIES, number // _DIRECTORIES % 25, number)
        stream.append(b"M 100644 inline %s\ndata %d\n%d\n" % (path, len(str(number)), number))
    command = ["git", "-C", str(directory), "fast-import", "--quiet"]
    subprocess.run(command, input=b"".join(stream), check=True, capture_output=True)
    repository.git("reset", "--hard", "--quiet")
    return directory


def _process(command: list[str]) -> Callable[[], object]:
    return lambda: subprocess.run(command, check=True, capture_output=True)


def _figure(name: str, ratio: Ratio, most: float) -> Figure:
    return Figure(f"wall time: {name}", f"{ratio}, {ratio.in_seconds}", f"<= {most:g} x", ratio.median <= most, ratio.as_numbers())
