"""Builds against the engine's own command line, with the same end state on both sides: an image of a name in the engine.

Every turn is another commit (a file's content counts up), so that neither side has what it would have to make.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from benchmarks.figures import Figure, Ratio, compare
from benchmarks.jobs import STAGEPIN, JobFailed
from benchmarks.servers import Counted
from ci_plugin.demo.rig import Rig, push_base
from ci_plugin.registry.manifests import ACCEPT
from tests.fakes.git_repository import GitRepository

_BASE = "bench/build-base"
_DOCKER = "/usr/bin/docker"
"""Debian's, of the engine's version: it speaks BuildKit by itself. A newer one wants a plugin for it."""
_FILES = 5000
_WORK = "i=0; while [ $i -lt {} ]; do sha256sum /bin/busybox > /dev/null; i=$((i+1)); done; echo {} > /{}"
"""Some seconds of a processor's work, as steps of builds do it, and a file."""
_TURNS = 300
IMAGES = 100
_RAW_REQUESTS = """\
import socket, sys, threading
address, accept, connections, paths = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4:]
host, _, port = address.rpartition(":")
def ask(mine):
    connection = socket.create_connection((host, int(port)))
    stream = connection.makefile("rb")
    for path in mine:
        connection.sendall(f"GET {path} HTTP/1.1\\r\\nHost: {address}\\r\\nAccept: {accept}\\r\\n\\r\\n".encode())
        length = 0
        while (line := stream.readline()) not in (b"\\r\\n", b""):
            name, _, value = line.partition(b":")
            length = int(value) if name.lower() == b"content-length" else length
        stream.read(length)
threads = [threading.Thread(target=ask, args=(paths[number::connections],)) for number in range(connections)]
for thread in threads: thread.start()
for thread in threads: thread.join()
"""


@dataclass
class _Project:
    """A project directory that is built by both sides; ``numbers`` gives every turn a content of its own."""

    repository: GitRepository
    docker_host: str
    numbers: Iterator[int] = field(default_factory=count)

    def turn(self, path: str | None, build: Callable[[], None]) -> Callable[[], object]:
        """Commit another content of ``path``, then build."""

        def work() -> None:
            if path is not None:
                self.repository.write(path, f"{next(self.numbers)}\n")
                self.repository.commit()
            build()

        return work

    def stagepin(self, *arguments: str) -> None:
        _run([STAGEPIN, *arguments], self.repository.directory, {"DOCKER_HOST": self.docker_host})

    def docker(self, *arguments: str, buildkit: bool = True) -> None:
        environment = {"DOCKER_HOST": self.docker_host, "DOCKER_BUILDKIT": "1" if buildkit else "0"}
        _run([_DOCKER, *arguments], self.repository.directory, environment)


def measure_building(directory: Path, rig: Rig, registry: Counted, runs: int) -> Iterator[Figure]:
    """A Dockerfile against BuildKit's own client, shell stages against the classic builder, and a big build where nothing changed."""
    push_base(rig.docker_host, rig.registry_address, _BASE, "latest", "1")
    base = f"{rig.registry_address}/{_BASE}:latest"
    yield from _measure_dockerfile(directory / "dockerfile", rig, base, runs)
    yield from _measure_stages(directory / "stages", rig, base, runs)
    yield _measure_unchanged(directory / "unchanged", rig, base, registry, runs)


def _measure_dockerfile(directory: Path, rig: Rig, base: str, runs: int) -> Iterator[Figure]:
    steps = [_WORK.format(_TURNS, "cold", "cold-made"), _WORK.format(_TURNS, "src", "src-made")]
    text = f"FROM {base}\nCOPY cold /cold\nRUN {steps[0]}\nCOPY src /src\nRUN {steps[1]}\n"
    project = _make_project(directory, rig, {"Dockerfile": text, "cold": "0\n", **{f"src/{n % 50}/{n}": f"{n}\n" for n in range(_FILES)}})

    def ours(path: str | None) -> Callable[[], object]:
        return project.turn(path, lambda: project.stagepin("build"))

    def theirs(path: str | None) -> Callable[[], object]:
        return project.turn(path, lambda: project.docker("build", "--network", "none", "--quiet", "--tag", "bench:theirs", "."))

    what = "a Dockerfile image to :local against `docker build` with BuildKit"
    yield _figure(f"{what}, cold", compare(ours("cold"), theirs("cold"), runs), 1.1)
    yield _figure(f"{what}, one changed file", compare(ours("src/1/1"), theirs("src/1/1"), runs), 1.2)
    project.stagepin("build")
    project.docker("build", "--network", "none", "--quiet", "--tag", "bench:theirs", ".")
    yield _figure(f"{what}, nothing changed", compare(ours(None), theirs(None), runs), 0.5)


def _measure_stages(directory: Path, rig: Rig, base: str, runs: int) -> Iterator[Figure]:
    """Five stages of one command each: four of one image, and one of an image built on it."""
    commands = [_WORK.format(_TURNS, number, f"stage{number}") for number in range(5)]
    names = ("beforeInstall", "install", "beforeSetup", "setup")
    stages = "".join(f"  {name}: [{json.dumps(command)}]\n" for name, command in zip(names, commands, strict=False))
    documents = [
        "project: bench\nconfigVersion: 1\n",
        f'image: first\nfrom: {base}\nfinal: false\nfromCacheVersion: {{{{ .Files.Get "cold" | trim | quote }}}}\nshell:\n{stages}',
        f"image: app\nfromImage: first\nshell:\n  install: [{json.dumps(commands[4])}]\n",
    ]
    dockerfile = "".join(f"RUN {command}\n" for command in commands)
    files = {"werf.yaml": "---\n".join(documents), "cold": "0\n", "classic/Dockerfile": f"FROM {base}\nARG COLD\n{dockerfile}"}
    project = _make_project(directory, rig, files)

    def ours(*arguments: str) -> Callable[[], object]:
        return project.turn("cold", lambda: project.stagepin("build", *arguments))

    def classic(name: str, *, push: bool) -> Callable[[], object]:
        def build() -> None:
            project.docker("build", "--network", "none", "--quiet", "--no-cache", "--tag", name, "classic", buildkit=False)
            if push:
                project.docker("push", "--quiet", name)

        return build

    what = "five shell stages"
    yield _figure(
        f"{what} to :local against five RUN lines in the classic builder", compare(ours(), classic("bench:c", push=False), runs), 1.2
    )
    remote = f"{rig.registry_address}/bench/classic:latest"
    ratio = compare(ours("--repo", f"{rig.registry_address}/bench/stages"), classic(remote, push=True), runs)
    yield _figure(f"{what} to a registry against building and pushing that", ratio, 1.2)


def _measure_unchanged(directory: Path, rig: Rig, base: str, registry: Counted, runs: int) -> Figure:
    """The floor: a process start, and the same requests by raw sockets, as many at once as the build asks."""
    documents = ["project: bench\nconfigVersion: 1\n"]
    documents += [f"image: image{number}\nfrom: {base}\nfromCacheVersion: {number}\n" for number in range(IMAGES)]
    project = _make_project(directory, rig, {"werf.yaml": "---\n".join(documents)})
    repo, asked = f"{rig.registry_address}/bench/unchanged", f"{registry.address}/bench/unchanged"
    build = ("build", "--jobs", "8", "--repo")
    project.stagepin(*build, repo)
    project.stagepin(*build, asked)
    registry.requests()
    project.stagepin(*build, asked)
    paths = [line.split(" ")[1] for line in registry.requests().lines if line.startswith(("GET ", "HEAD "))]
    raw = [sys.executable, "-c", _RAW_REQUESTS, rig.registry_address, ACCEPT, "8", *paths]

    def floor() -> None:
        _run([STAGEPIN, "build", "--help"], project.repository.directory, {})
        _run(raw, project.repository.directory, {})

    ratio = compare(lambda: project.stagepin(*build, repo), floor, runs)
    return _figure(f"`build` of {IMAGES} images where nothing changed against its start and {len(paths)} raw requests", ratio, 1.5)


def _make_project(directory: Path, rig: Rig, files: Mapping[str, str]) -> _Project:
    repository = GitRepository(directory)
    for path, text in files.items():
        repository.write(path, text)
    repository.write(".gitignore", ".stagepin/\n")
    repository.commit()
    return _Project(repository, rig.docker_host)


def _run(command: Sequence[str], directory: Path, environment: Mapping[str, str]) -> None:
    own = {"PATH": os.environ["PATH"], "HOME": str(directory.parent)}
    done = subprocess.run(command, cwd=directory, env={**own, **environment}, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise JobFailed(f"expected `{' '.join(command)[:200]}` to exit 0, found {done.returncode}:\n{done.stdout}{done.stderr}")


def _figure(name: str, ratio: Ratio, most: float) -> Figure:
    return Figure(f"wall time: {name}", f"{ratio}, {ratio.in_seconds}", f"<= {most:g} x", ratio.median <= most, ratio.as_numbers())
