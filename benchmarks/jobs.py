"""Jobs of one pipeline, as CI runs them: the installed command in a process of its own, in a clone of its own, in a clean environment."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.fakes.git_repository import GitRepository

STAGEPIN = str(Path(sys.executable).with_name("stagepin"))
NO_ENGINE = "unix:///nonexistent/docker.sock"
_GITLAB = {
    "CI": "true",
    "GITLAB_CI": "true",
    "CI_SERVER_HOST": "gitlab.example.com",
    "CI_PROJECT_ID": "4711",
    "CI_PROJECT_PATH": "group/app",
}


class JobFailed(Exception):
    """A job that had to succeed did not; its output is the message."""


@dataclass(frozen=True, slots=True)
class Job:
    """A clone of a project in a job of pipeline ``pipeline``; ``repo`` is empty where no stages storage is set."""

    directory: Path
    repo: str = ""
    docker_host: str = NO_ENGINE
    pipeline: str = "1001"
    python_options: Sequence[str] = field(default=())

    @property
    def pins(self) -> Path:
        """Where the pin file of this job is."""
        return self.directory / ".stagepin" / "pins.json"

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run ``stagepin`` with these arguments. Raises JobFailed unless it exits 0."""
        command = [sys.executable, *self.python_options, STAGEPIN] if self.python_options else [STAGEPIN]
        done = subprocess.run(
            [*command, *arguments], cwd=self.directory, env=self._environment(), capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise JobFailed(f"expected `stagepin {' '.join(arguments)}` to exit 0, found {done.returncode}:\n{done.stdout}{done.stderr}")
        return done

    def _environment(self) -> dict[str, str]:
        own = {"PATH": os.environ["PATH"], "HOME": str(self.directory.parent), "DOCKER_HOST": self.docker_host}
        return {**own, **_GITLAB, "CI_PIPELINE_ID": self.pipeline, **({"STAGEPIN_REPO": self.repo} if self.repo else {})}


def commit_project(directory: Path, file: str, text: str) -> Path:
    """A git repository with this one file committed; returns ``directory``."""
    repository = GitRepository(directory)
    repository.write(file, text)
    repository.write(".gitignore", ".stagepin/\n")
    repository.commit()
    return directory


def clone(project: Path, directory: Path, pins: Path | None = None) -> Path:
    """The next job's checkout; with ``pins`` it has the pin file as a CI artifact. Returns ``directory``."""
    shutil.copytree(project, directory, ignore=shutil.ignore_patterns(".stagepin"))
    if pins is not None:
        (directory / ".stagepin").mkdir()
        shutil.copy(pins, directory / ".stagepin" / "pins.json")
    return directory


def werf_yaml(bases: Sequence[str], *, builds: bool = False) -> str:
    """A plain configuration: one image per base, its base followed; with ``builds`` each also has a command to run."""
    documents = ["project: bench\nconfigVersion: 1\n"]
    for number, base in enumerate(bases):
        shell = f'shell:\n  install:\n    - echo "{number}" > /number\n' if builds else ""
        documents.append(f"image: image{number:02}\nfrom: {base}\nfromLatest: true\n{shell}")
    return "---\n".join(documents)
