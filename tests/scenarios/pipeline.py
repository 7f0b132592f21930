"""A pipeline simulator in domain words: a project, pipelines, jobs; a registry whose tags move between them.

Every job is a runner of its own: a fresh checkout of the commit, an empty engine, an empty workspace. What an earlier job made is there
only where its CI artifacts are handed on. A job runs the command line itself, against a registry over HTTP on loopback.

::

    pipeline = project.pipeline("1001")
    pin = pipeline.job("pin")
    pin.must("pin")
    project.move_base("2")
    pipeline.job("build", artifacts_of=pin).must("build")
"""

from __future__ import annotations

import io
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ci_plugin.cli.main import main
from ci_plugin.cli.wiring import Outside
from ci_plugin.ports import CredentialSource, Engine
from ci_plugin.values.digest import Digest
from tests.fakes.clock import FakeClock
from tests.fakes.engine import FakeEngine
from tests.fakes.git_repository import GitRepository
from tests.fakes.registry import FakeRegistry, Request
from tests.fakes.registry_client import make_client

BASE = "base/alpine"
STAGES = "group/app/stages"
META = "project: app\nconfigVersion: 1\n---\n"
PLAIN = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "GIT_CONFIG_NOSYSTEM": "1"}
"""An environment outside CI."""


@dataclass(frozen=True, slots=True)
class Ran:
    """How one command ended and what it printed."""

    code: int
    out: str
    err: str

    @property
    def text(self) -> str:
        """Everything that was printed."""
        return self.out + self.err

    @property
    def document(self) -> Any:
        """stdout as JSON."""
        return json.loads(self.out)


def run(argv: Sequence[str], environ: Mapping[str, str], engine: Engine, clock: FakeClock) -> Ran:
    """Run the command line in this process, on these parts."""

    def connect(_environ: Mapping[str, str], _credentials: CredentialSource) -> Engine:
        return engine

    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = main(argv, Outside(environ, clock, connect))
    return Ran(code, out.getvalue(), err.getvalue())


@dataclass
class Job:
    """One runner: ``directory`` is its checkout, ``engine`` its own engine, ``environ`` what the forge tells it."""

    directory: Path
    environ: dict[str, str]
    engine: FakeEngine
    clock: FakeClock = field(default_factory=FakeClock)

    def run(self, *argv: str, **environ: str) -> Ran:
        """Run ``stagepin argv`` here."""
        return run(["-C", str(self.directory), *argv], {**self.environ, **environ}, self.engine, self.clock)

    def must(self, *argv: str, **environ: str) -> Ran:
        """As ``run``, and it ends with 0."""
        ran = self.run(*argv, **environ)
        assert ran.code == 0, ran.text
        return ran

    @property
    def workspace(self) -> Path:
        """The directory that is handed on as CI artifact."""
        return self.directory / ".stagepin"

    @property
    def pins(self) -> Any:
        """The pin file."""
        return json.loads((self.workspace / "pins.json").read_bytes())

    @property
    def record(self) -> Any:
        """The build record."""
        return json.loads((self.workspace / "build.json").read_bytes())

    def pinned(self, reference: str) -> str:
        """The digest this job's pin file has for a normalised reference."""
        return next(str(pin["digest"]) for pin in self.pins["pins"] if pin["reference"] == reference)

    def built_on(self, image: str = "app") -> str:
        """The base digest the record names for an image."""
        return str(self.record["images"][image]["platforms"]["linux/amd64"]["base"]["digest"])

    def digest(self, image: str = "app") -> str:
        """The digest the record names for an image."""
        return str(self.record["images"][image]["digest"])


@dataclass
class Pipeline:
    """All jobs of one pipeline: one commit, one environment."""

    project: Project
    environ: dict[str, str]
    commit: str
    _jobs: int = 0

    def job(self, *, artifacts_of: Job | None = None, engine: FakeEngine | None = None) -> Job:
        """A fresh runner: a job, or the same job run again."""
        directory = self.project.checkout(self.commit)
        if artifacts_of:
            shutil.copytree(artifacts_of.workspace, directory / ".stagepin")
        return Job(directory, {**self.environ, "CI_COMMIT_SHA": self.commit}, engine or self.project.engine())


class Project:
    """A git repository, its base image and its stages storage in one registry."""

    def __init__(self, directory: Path, registry: FakeRegistry) -> None:
        self.registry = registry
        self._directory = directory
        self._repository = GitRepository(directory / "origin")
        self._checkouts = 0
        self.base = f"{registry.address}/{BASE}:latest"
        self.stages = f"{registry.address}/{STAGES}"
        self.move_base("1")

    def write(self, path: str, text: str | bytes) -> None:
        """A file of the next commit."""
        self._repository.write(path, text)

    def commit(self, *, config: str = "") -> str:
        """Commit everything; ``config`` becomes werf.yaml, ``BASE`` in it the base image."""
        if config:
            self.write("werf.yaml", META + config.replace("BASE", self.base))
        return self._repository.commit()

    def move_base(self, seed: str) -> Digest:
        """Somebody pushes another base under the same tag."""
        return self.registry.put_image(BASE, "latest", seed=seed)

    def engine(self) -> FakeEngine:
        """An empty engine that pulls from and pushes to the registry."""
        return FakeEngine(make_client())

    def checkout(self, commit: str) -> Path:
        """A fresh clone at a commit."""
        self._checkouts += 1
        directory = self._directory / f"checkout-{self._checkouts}"
        shutil.copytree(self._repository.directory, directory, symlinks=True)
        clone = GitRepository(directory)
        clone.git("checkout", "--quiet", "--detach", commit)
        return directory

    def pipeline(self, number: str = "1001", *, commit: str = "", project_id: str = "4711") -> Pipeline:
        """A GitLab pipeline of a commit (the current one)."""
        environ = {
            **PLAIN,
            "CI": "true",
            "GITLAB_CI": "true",
            "CI_SERVER_HOST": "gitlab.example.com",
            "CI_PROJECT_ID": project_id,
            "CI_PROJECT_PATH": "group/app",
            "CI_PIPELINE_ID": number,
            "CI_REGISTRY_IMAGE": self.stages,
        }
        return Pipeline(self, environ, commit or self._repository.git("rev-parse", "HEAD").strip())

    def requests_for(self, path: str) -> list[Request]:
        """The requests whose path holds this text."""
        return [request for request in self.registry.requests if path in request.path]

    def upstream_requests(self) -> list[Request]:
        """What was asked of the base image's repository."""
        return self.requests_for(f"/v2/{BASE}/")
