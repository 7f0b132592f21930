"""CI jobs as a runner would run them: each a process of its own, in a fresh clone, with the forge's variables and nothing else.

A job gets what one earlier job of its pipeline left as CI artifact, if it says so, and leaves its own below ``artifacts/``; its output
is a file below ``logs/``. The clone is removed when the job ends.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from ci_plugin.errors import InputError, Unavailable

BY_HAND, STAGEPIN = "without", "with"
_PROGRAMS = {
    BY_HAND: ("hand-made", [sys.executable, "-u", "-m", "ci_plugin.demo.handmade"]),
    STAGEPIN: ("stagepin", [sys.executable, "-m", "ci_plugin"]),
}
_ARTIFACTS = (".stagepin/pins.json", ".stagepin/build.json", "stagepin.env", "base.env")
_KEPT_VARIABLES = ("PATH", "TMPDIR", "PYTHONPATH", "LD_LIBRARY_PATH")
"""What a program needs to start here; all else of the caller's environment stays out, as it would in CI."""
_DEADLINE = 120.0
"""Seconds for one job; the slowest takes about five."""


@dataclass(frozen=True, slots=True)
class Job:
    """One job to run: ``side`` is without or with stagepin, ``arguments`` are the command's, ``needs`` is whose CI artifact it gets."""

    side: str
    name: str
    pipeline: str
    arguments: tuple[str, ...]
    needs: str | None = None
    variables: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Finished:
    """How a job ended: exit code, all it printed, the file that holds it, the directory of the CI artifact it left."""

    job: Job
    exit_code: int
    output: str
    log: Path
    artifact: Path

    @property
    def complaint(self) -> str:
        """The first line that begins with ``error:``, else the last one that is not empty."""
        lines = [line for line in self.output.splitlines() if line.strip()]
        return next((line for line in lines if line.startswith("error:")), lines[-1] if lines else "no output")

    def said(self, prefix: str) -> str:
        """The rest of the first line that begins so, else nothing."""
        return next((line.removeprefix(prefix) for line in self.output.splitlines() if line.startswith(prefix)), "")


@dataclass(frozen=True, slots=True)
class _Started:
    job: Job
    process: subprocess.Popen[bytes]
    clone: Path
    log: Path
    head: int


class Runner:
    """Runs the jobs of one project below ``directory``: ``project``, a git repository, is cloned for each."""

    def __init__(self, directory: Path, project: Path) -> None:
        self._directory = directory
        self._project = project
        self._count = 0
        self.logs = directory / "logs"
        self.logs.mkdir()
        (directory / "home").mkdir()

    def run(self, *jobs: Job) -> list[Finished]:
        """Start these jobs at once, wait for all; how each ended, in the same order. Raises Unavailable where one never ends."""
        started: list[_Started] = []
        try:
            for job in jobs:
                started.append(self._start(job))
            return [self._finish(item) for item in started]
        finally:
            for item in started:
                if item.process.poll() is None:
                    item.process.kill()
                    item.process.wait()
                shutil.rmtree(item.clone, ignore_errors=True)

    def artifact(self, pipeline: str, name: str) -> Path:
        """Where the job of this name leaves its CI artifact."""
        return self._directory / "artifacts" / f"pipeline-{pipeline}" / name

    def expire(self, pipeline: str) -> None:
        """Delete every CI artifact of a pipeline, as a forge does after some days."""
        shutil.rmtree(self._directory / "artifacts" / f"pipeline-{pipeline}", ignore_errors=True)

    def _start(self, job: Job) -> _Started:
        self._count += 1
        title, program = _PROGRAMS[job.side]
        clone = self._directory / "clones" / f"{self._count:02}" / "app"
        git(self._directory, "clone", "--quiet", "--depth=1", self._project.as_uri(), str(clone))
        if job.needs is not None:
            shutil.copytree(self.artifact(job.pipeline, job.needs), clone, dirs_exist_ok=True)
        log = self.logs / f"{self._count:02}-{job.name}-{job.side}-stagepin.log"
        head = f"# pipeline {job.pipeline}, job {job.name}, {job.side} stagepin\n$ {title} {' '.join(job.arguments)}\n"
        log.write_text(head)
        with log.open("ab") as out:
            process = self._spawn([*program, *job.arguments], clone, self._environment(job), out)
        return _Started(job, process, clone, log, len(head))

    @staticmethod
    def _spawn(command: list[str], clone: Path, environ: Mapping[str, str], out: IO[bytes]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(command, cwd=clone, env=environ, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT)

    def _environment(self, job: Job) -> dict[str, str]:
        kept = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
        job_variables = {"CI_PIPELINE_ID": job.pipeline, "CI_JOB_NAME": job.name, **job.variables}
        return {**kept, "HOME": str(self._directory / "home"), "LC_ALL": "C.UTF-8", **job_variables}

    def _finish(self, started: _Started) -> Finished:
        begin = time.monotonic()
        try:
            code = started.process.wait(_DEADLINE)
        except subprocess.TimeoutExpired:
            waited = f"{time.monotonic() - begin:.0f} seconds"
            raise Unavailable(f"expected the job {started.job.name} to end, found it running after {waited} (log: {started.log})") from None
        output = started.log.read_text("utf-8", "backslashreplace")[started.head :]
        with started.log.open("a") as log:
            log.write(f"# exit code {code}\n")
        artifact = self.artifact(started.job.pipeline, started.job.name)
        self._keep(started.clone, artifact)
        return Finished(started.job, code, output, started.log, artifact)

    @staticmethod
    def _keep(clone: Path, artifact: Path) -> None:
        for name in _ARTIFACTS:
            if (clone / name).is_file():
                (artifact / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(clone / name, artifact / name)


def git(directory: Path, *arguments: str) -> str:
    """Run git in an environment of its own, in ``directory``; returns what it printed.

    Raises InputError without git, Unavailable with what it said.
    """
    person = {f"GIT_{who}_{what}": value for who in ("AUTHOR", "COMMITTER") for what, value in _PERSON.items()}
    environ = {"PATH": os.environ.get("PATH", ""), "HOME": str(directory), "GIT_CONFIG_NOSYSTEM": "1", "LC_ALL": "C.UTF-8", **person}
    try:
        done = subprocess.run(["git", *arguments], cwd=directory, env=environ, capture_output=True, text=True)
    except FileNotFoundError:
        raise InputError("expected the program git, found none on PATH", hint="install it (Debian package git)") from None
    if done.returncode:
        raise Unavailable(f"expected git {arguments[0]} to work, found: {done.stderr.strip()}", hint="run it by hand to see more")
    return done.stdout


_PERSON = {"NAME": "Ann", "EMAIL": "ann@example.com"}
