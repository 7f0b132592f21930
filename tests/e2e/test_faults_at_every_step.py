"""A build that is struck at every step, by the end of the job, of the engine or of the registry: nothing is half done, and it converges.

One build after another goes on from what the one before it stored, and is struck one step later; the last one is left alone.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from ci_plugin.demo.rig import Rig, RunningEngine, RunningRegistry, ask_engine, push_base, start_engine, start_registry
from ci_plugin.pins.pin_file import parse_pin_file
from ci_plugin.records.record_file import parse_record_file
from ci_plugin.values.manifest import LARGEST_CONFIG
from ci_plugin.values.reference import Repository
from tests.fakes.gate import Gate, Held
from tests.fakes.git_repository import GitRepository
from tests.fakes.printed import await_line
from tests.fakes.registry_client import make_client
from tests.scenarios.pipeline import META, PLAIN

SECONDS = 90.0
SECRET = "hidden-value-of-the-test"
NOWHERE = "unix:///nonexistent/docker.sock"
WAITS = 'if test "$(cat /run/secrets/armed)" = {}; then echo it runs; sleep 300; fi'
CONFIG = (
    META
    + """artifact: tools
from: BASE
fromLatest: true
shell:
  install: [mkdir /out && echo tool > /out/tool]
---
image: app
from: BASE
fromLatest: true
git:
- add: /src
  to: /app
import:
- {artifact: tools, add: /out, to: /opt, after: install}
secrets:
- {id: armed, env: ARMED}
- {id: token, env: TOKEN}
shell:
  beforeInstall: [test -s /run/secrets/token, WAITS]
  setup: [cat /app/page /opt/tool > /made]
---
image: web
dockerfile: Dockerfile
dependencies:
- image: app
  imports: [{type: ImageDigest, targetBuildArg: APP}]
secrets:
- {id: armed, env: ARMED}
"""
).replace("WAITS", json.dumps(WAITS.format("app")))
DOCKERFILE = f"FROM BASE\nARG APP\nCOPY src/page /page\nRUN --mount=type=secret,id=armed {WAITS.format('web')}\n"


@dataclass
class Machine:
    """An engine and a registry that are killed and come back; jobs reach both through gates, by addresses that stay."""

    directory: Path
    engine: RunningEngine
    registry: RunningRegistry
    engine_gate: Gate = field(init=False)
    registry_gate: Gate = field(init=False)

    def end_engine(self, sent: signal.Signals) -> None:
        os.kill(self.engine.pid, sent)
        self.engine.stop()

    def start_engine(self) -> None:
        self.engine = start_engine(self.directory / "engine")

    def kill_registry(self) -> None:
        os.kill(self.registry.pid, signal.SIGKILL)
        self.registry.stop()

    def start_registry(self) -> None:
        self.registry = start_registry(self.directory / "registry", address=self.registry.address)


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    directory = tmp_path_factory.mktemp("faults")
    made = Machine(directory, start_engine(directory / "engine"), start_registry(directory / "registry"))
    try:
        with Gate.unix(directory / "gate.sock", lambda: made.engine.docker_host) as engine, Gate.tcp(made.registry.address) as registry:
            made.engine_gate, made.registry_gate = engine, registry
            yield made
    finally:
        made.engine.stop()
        made.registry.stop()


@dataclass
class Struck:
    """One project, built until it is whole; ``stages`` is its repository."""

    machine: Machine
    project: GitRepository
    stages: Repository
    temporary: Path
    held: Held | None = None
    converging: str = ""
    """What the build printed that was left alone."""

    @property
    def workspace(self) -> Path:
        return self.project.directory / ".stagepin"

    def start(self, *argv: str, armed: str = "", engine: str = "") -> subprocess.Popen[str]:
        environ = {**PLAIN, "DOCKER_HOST": engine or self.machine.engine.docker_host, "TMPDIR": str(self.temporary)}
        return subprocess.Popen(
            [sys.executable, "-m", "ci_plugin", "-v", argv[0], *([] if "--repo" in argv else ["--repo", str(self.stages)]), *argv[1:]],
            cwd=self.project.directory,
            env={**environ, "ARMED": armed or "nobody", "TOKEN": SECRET, "STAGEPIN_SCOPE": "release"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    def must(self, *argv: str, engine: str = "") -> str:
        job = self.start(*argv, engine=engine)
        printed = ended(job)
        assert job.returncode == 0, printed
        return printed

    @contextmanager
    def at(self, step: Step) -> Iterator[subprocess.Popen[str]]:
        """A build that has come to that step, where it waits."""
        gate = self.machine.registry_gate if step.server == "registry" else self.machine.engine_gate
        engine = self.machine.engine_gate.address if step.server == "engine" else self.machine.engine.docker_host
        self.held = held = gate.hold(step.request) if step.request else None
        with self.start("build", "--jobs", "4", armed=step.image, engine=engine) as job:
            try:
                if held:
                    held.wait()
                else:
                    await_line(self.workspace / "logs" / step.log, "it runs")
                yield job
            finally:
                if step.arrives:
                    self.pass_on()
                self.free()
                job.kill()

    def pass_on(self) -> None:
        """What is held arrives now."""
        if self.held:
            self.held.release()

    def free(self) -> None:
        """What is held never arrives, unless it did."""
        if self.held:
            self.held.drop()

    @property
    def record(self) -> Any:
        return json.loads((self.workspace / "build.json").read_bytes())


@dataclass(frozen=True)
class Step:
    """Where a build is struck: at a request of ``server``, or where a command of ``image`` runs, which its ``log`` tells.

    ``arrives``: the request reaches its server after the strike.
    """

    name: str
    server: str = ""
    request: str = ""
    arrives: bool = False
    image: str = ""
    log: str = ""

    def __str__(self) -> str:
        return self.name


PULLING = Step("a base is pulled", "registry", "GET /v2/base/.+/blobs/")
RUNNING = Step("a command runs", image="app", log="app-beforeInstall.log")
COMMITTING = Step("a stage is committed", "engine", r"POST /v1\.\d+/commit", arrives=True)
PUTTING = Step("git's files are put in", "engine", r"PUT /v1\.\d+/containers/.+/archive")
PUSHING = Step("layers are pushed", "registry", "PATCH /v2/.+/blobs/uploads/")
NAMING = Step("a pushed stage is named", "registry", r"PUT /v2/.+/manifests/[0-9a-f]{64} ")
NAMED = Step("a pushed stage was named", "registry", r"PUT /v2/.+/manifests/[0-9a-f]{64} ", arrives=True)
BUILDING = Step("BuildKit builds", image="web", log="web-dockerfile.log")
RECORDING = Step("the record is filed", "registry", "PUT /v2/.+/manifests/stagepin-")
EVERY_STEP = (PULLING, COMMITTING, NAMING, RUNNING, PUTTING, PUSHING, NAMED, BUILDING, RECORDING)


@pytest.fixture
def struck(machine: Machine, rig: Rig, tmp_path: Path, request: pytest.FixtureRequest) -> Struck:
    """Its base is in the registry and not in the engine."""
    name = request.node.name.removeprefix("test_").replace("_", "-")[:30].strip("-")
    base = machine.registry_gate.address, f"base/{name}"
    push_base(rig.docker_host, *base, "latest", name)
    project = GitRepository(tmp_path / "project")
    for path, text in {"werf.yaml": CONFIG, "Dockerfile": DOCKERFILE}.items():
        project.write(path, text.replace("BASE", "/".join(base)))
    project.write(".stagepin.yaml", "settle: 0\n")
    project.write("src/page", "a page\n")
    project.commit()
    (tmp_path / "tmp").mkdir()
    made = Struck(machine, project, Repository(machine.registry_gate.address, f"stages/{name}"), tmp_path / "tmp")
    made.must("pin", engine=NOWHERE)
    return made


def ended(job: subprocess.Popen[str]) -> str:
    """What it printed until it ended by itself."""
    return job.communicate(timeout=SECONDS)[1]


def names(machine: Machine) -> set[str]:
    """The containers there are."""
    (found,) = ask_engine(machine.engine.docker_host, "GET", "/containers/json?all=1")
    return {container["Names"][0].lstrip("/") for container in found}


def tagged(struck: Struck) -> list[str]:
    """The names of stages in the engine; each is there for its push alone."""
    (images,) = ask_engine(struck.machine.engine.docker_host, "GET", "/images/json")
    return [name for image in images for name in image["RepoTags"] or () if name.startswith(f"{struck.stages}:")]


def assert_every_tag_is_whole(stages: Repository) -> None:
    """Manifest, config and all layers, byte for byte."""
    client = make_client()
    for tag in tags(stages):
        manifest = client.find_manifest(stages.tagged(tag))
        assert manifest is not None, tag
        for blob in (manifest.get_config(), *manifest.layers):
            assert client.get_blob(stages, blob, max(blob.size, LARGEST_CONFIG)), tag


def tags(stages: Repository) -> Sequence[str]:
    connection = http.client.HTTPConnection(stages.registry, timeout=30)
    connection.request("GET", f"/v2/{stages.path}/tags/list")
    answer = json.loads(connection.getresponse().read())
    connection.close()
    return answer.get("tags") or []


def assert_nothing_is_half_done(struck: Struck) -> None:
    assert_every_tag_is_whole(struck.stages)
    parse_pin_file((struck.workspace / "pins.json").read_bytes(), "pins.json")
    if (record := struck.workspace / "build.json").exists():
        parse_record_file(record.read_bytes(), "build.json")
    assert {path.name for path in struck.workspace.iterdir()} <= {"pins.json", "build.json", "logs", ".gitignore"}


def assert_it_converges(struck: Struck) -> None:
    """The last build is left alone: everything is there, recorded, verified; nothing of the earlier ones is left."""
    struck.converging = struck.must("build", "--jobs", "4")
    assert_nothing_is_half_done(struck)
    assert (struck.record["complete"], struck.record["published"]) == (True, True)
    struck.must("verify", engine=NOWHERE)
    assert "built in" not in struck.must("build", engine=NOWHERE)
    assert names(struck.machine) == set()
    assert list(struck.temporary.iterdir()) == []
    assert_no_secret(struck)


def assert_no_secret(struck: Struck) -> None:
    for path in struck.workspace.rglob("*"):
        assert path.is_dir() or SECRET.encode() not in path.read_bytes(), path
    engine = struck.machine.engine.docker_host
    (images,) = ask_engine(engine, "GET", "/images/json?all=1")
    for image in images:
        assert SECRET not in json.dumps(ask_engine(engine, "GET", f"/images/{image['Id']}/json"))
        assert SECRET not in json.dumps(ask_engine(engine, "GET", f"/images/{image['Id']}/history"))


def test_a_job_that_is_cancelled(struck: Struck) -> None:
    for step in EVERY_STEP:
        with struck.at(step) as job:
            job.send_signal(signal.SIGTERM)
            printed = ended(job)
        assert job.returncode == 130, f"{step}: {printed}"
        assert printed.splitlines()[-1] == "interrupted: run the same command again, it goes on from what is stored", step
        assert names(struck.machine) == set(), step
        assert list(struck.temporary.iterdir()) == [], step
        assert tagged(struck) == [], step
        assert_nothing_is_half_done(struck)
    assert_it_converges(struck)


def test_a_job_that_is_killed(struck: Struck) -> None:
    left: set[str] = set()
    printed = ""
    for step in EVERY_STEP:
        with struck.at(step) as job:
            job.kill()
            printed += ended(job)
        assert_nothing_is_half_done(struck)
        left |= names(struck.machine)
    assert_it_converges(struck)
    printed += struck.converging
    assert left, "no step left a container behind, so nothing was proved of their removal"
    assert {name for name in left if f"removed the container {name}, which an interrupted run had left" in printed} == left


def test_a_run_that_goes_on_keeps_its_containers_beside_another(struck: Struck) -> None:
    with struck.at(RUNNING) as job:
        running = names(struck.machine)
        assert "stage from built in" in struck.must("build", "tools", "--repo", f"{struck.stages}-other")
        assert (names(struck.machine), job.poll()) == (running, None)
        assert len(running) == 1


def test_an_engine_that_dies(struck: Struck) -> None:
    machine = struck.machine
    for step in (PULLING, COMMITTING, RUNNING, PUTTING, PUSHING, BUILDING):
        with struck.at(step) as job:
            # Told to end, it gives up its pushes and ends containers first, which takes it ten seconds each.
            machine.end_engine(signal.SIGTERM if step is PUSHING else signal.SIGKILL)
            struck.free()
            printed = ended(job)
        assert job.returncode == 3, f"{step}: {printed}"
        assert "\n  next: " in printed, f"{step}: {printed}"
        machine.start_engine()
        assert_nothing_is_half_done(struck)
    with struck.at(NAMING) as job:
        machine.end_engine(signal.SIGTERM)
        machine.start_engine()
        struck.pass_on()
        printed = ended(job)
    assert job.returncode == 0, f"the engine was there again when it was needed: {printed}"
    assert_it_converges(struck)


def test_a_registry_that_dies(struck: Struck) -> None:
    machine = struck.machine
    for step in (PULLING, PUSHING, NAMING, RECORDING):
        comes_back = step in (PULLING, PUSHING)
        struck.project.write("src/page", f"as long as {step}\n")
        struck.project.commit()
        with struck.at(step) as job:
            machine.kill_registry()
            if comes_back:
                machine.start_registry()
            struck.free()
            printed = ended(job)
        if not comes_back:
            assert "\n  next: " in printed, f"{step}: {printed}"
            machine.start_registry()
        assert job.returncode in ((0, 3) if comes_back else (3,)), f"{step}: {printed}"
        assert_nothing_is_half_done(struck)
    assert_it_converges(struck)
