"""SYNC on a real engine: after every one of random steps the image holds exactly the commit's files, and what its commands made."""

from __future__ import annotations

import io
import json
import os
import random
import shutil
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from ci_plugin.cli.main import main
from ci_plugin.cli.wiring import Outside, connect_docker
from ci_plugin.demo.rootfs import busybox_rootfs
from ci_plugin.engine.docker_engine import DockerEngine
from ci_plugin.forge.clock import SystemClock
from ci_plugin.values.digest import ImageId
from tests.fakes.building import Found, files_of
from tests.fakes.git_repository import GitRepository
from tests.fakes.registry_client import no_credentials
from tests.scenarios.pipeline import PLAIN, Ran

STEPS = 20
NAMES = ("a", "b", "c", "deps", "ä b")
CONFIG = """project: sync-e2e
configVersion: 1
---
image: app
fromArchive: rootfs.tar
git:
- add: /src
  to: /app
  owner: nobody
  group: "65534"
  stageDependencies:
    install: [deps]
shell:
  install: ["ls -R /app/deps > /made 2>/dev/null || true"]
  setup: ["find /app | sort > /listed"]
"""


@pytest.fixture
def engine(docker_host: str) -> Iterator[DockerEngine]:
    found = DockerEngine(docker_host, credentials=no_credentials, environ={})
    yield found
    found.close()


class History:
    """A working tree that is changed at random, and every commit it ever had."""

    def __init__(self, directory: Path, seed: int) -> None:
        self.repository = GitRepository(directory)
        self.random = random.Random(seed)  # noqa: S311 - a test's own
        self.commits: list[str] = []
        for name, text in {"werf.yaml": CONFIG, ".gitignore": "/rootfs.tar\n/.stagepin\n", "src/kept": "kept"}.items():
            self.repository.write(name, text)
        (directory / "rootfs.tar").write_bytes(busybox_rootfs("sync"))
        self.commits.append(self.repository.commit())

    def step(self) -> str:
        """One more commit, of a change of the last tree or of an older one; or an older commit itself."""
        if self.random.random() < 0.4:
            self.repository.git("checkout", "--quiet", "--force", "--detach", self.random.choice(self.commits))
        if self.random.random() < 0.8:
            for _ in range(self.random.randint(1, 4)):
                self._change(self.repository.directory / "src" / Path(*self.random.choices(NAMES, k=self.random.randint(1, 3))))
        self.commits.append(self.repository.commit())
        return self.commits[-1]

    def _change(self, path: Path) -> None:
        for above in reversed(path.relative_to(self.repository.directory / "src").parents):
            place = self.repository.directory / "src" / above
            if place.is_symlink() or place.is_file():
                place.unlink()
        remove(path)
        match self.random.choice(["file", "file", "executable", "link", "directory", "nothing"]):
            case "nothing":
                return
            case "link":
                path.parent.mkdir(parents=True, exist_ok=True)
                path.symlink_to(self.random.choice(["kept", "../kept", "nowhere", "/etc"]))
            case "directory":
                path.mkdir(parents=True)
                (path / "inside").write_text(str(self.random.random()))
            case kind:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(str(self.random.randint(1, 3)))
                path.chmod(0o755 if kind == "executable" else 0o644)

    def expected(self) -> dict[str, Found]:
        """The files of the working tree, which is the commit, as they are to be in the image."""
        top, found = self.repository.directory / "src", {}
        for directory, names, files in os.walk(top):
            for name in (*names, *files):
                path = Path(directory, name)
                target = f"/app/{path.relative_to(top).as_posix()}"
                if path.is_symlink():
                    found[target] = Found("symlink", 0o777, os.fsencode(path.readlink()), 65534)
                elif path.is_file():
                    found[target] = Found("file", 0o755 if path.stat().st_mode & 0o100 else 0o644, path.read_bytes(), 65534)
        return found


def remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    elif path.is_symlink() or path.exists():
        path.unlink()


def run_here(directory: Path, docker_host: str, *argv: str) -> Ran:
    """The command line at a desk."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = main(["-C", str(directory), *argv], Outside({**PLAIN, "DOCKER_HOST": docker_host}, SystemClock(), connect_docker))
    return Ran(code, out.getvalue(), err.getvalue())


def test_twenty_random_steps_give_exactly_the_files_of_every_commit(engine: DockerEngine, docker_host: str, tmp_path: Path) -> None:
    history = History(tmp_path / "project", seed=20260102)
    for number in range(STEPS):
        commit = history.step()
        ran = run_here(tmp_path / "project", docker_host, "build", "--repo", ":local")
        assert ran.code == 0, f"step {number} ({commit}): {ran.text}"
        record = json.loads((tmp_path / "project" / ".stagepin" / "build.json").read_bytes())
        image = ImageId(record["images"]["app"]["platforms"]["linux/amd64"]["imageId"])
        found = files_of(engine, image, ("/app",))
        assert {path: item for path, item in found.items() if item.kind != "directory"} == history.expected(), f"step {number} ({commit})"
        directories = [path for path, item in found.items() if item.kind == "directory"]
        assert [path for path in directories if not any(other.startswith(f"{path}/") for other in found)] == []
        assert "warning" not in ran.err
