"""Rounds of an election between two builders with engines of their own and one registry, with stalls where a writer can stall.

In every round both builders have made another image of one stage and put it up. A builder that stalls does so between looking for the
name and writing it, the only place where a stall matters. Time is the test's own (``Turns``), so a settle time costs nothing and "longer
than the settle time" is exact.

The long form, over a real registry and two real engines with two data roots, in real time with the settle time scaled down::

    python -m tests.scenarios.elections --rounds 1000 --settle 0.2
"""

from __future__ import annotations

import argparse
import random
import re
import secrets
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

from ci_plugin.demo.rig import busybox_rootfs, start_engine, start_registry
from ci_plugin.engine.docker_engine import DockerEngine
from ci_plugin.ports import Engine, ImageChange, Registry, StoredStage
from ci_plugin.registry.stages_storage import RegistryStagesStorage
from ci_plugin.services.election import Election
from ci_plugin.values.digest import Digest, ImageId
from ci_plugin.values.platform import DEFAULT_PLATFORM
from ci_plugin.values.reference import Reference, Repository
from tests.fakes.registry_client import make_client, no_credentials

_NAME = re.compile(r"[0-9a-f]{64}")


class Time:
    """Implements ``ports.Clock`` and is a monotonic clock; it passes only where somebody lets it."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> datetime:
        return datetime(2026, 1, 2, tzinfo=UTC) + timedelta(seconds=int(self.seconds))

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds

    def monotonic(self) -> float:
        return self.seconds


class Turns(Time):
    """Time shared by threads of which one runs at a time: when all sleep, it passes to the first that wakes."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self._awake = count
        self._wakes: dict[object, float] = {}
        self._changed = threading.Condition()

    def sleep(self, seconds: float) -> None:
        me = object()
        with self._changed:
            self._wakes[me] = self.seconds + seconds
            self._awake -= 1
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._awake and min(self._wakes, key=self._wakes.__getitem__) is me)
            self._awake += 1
            self.seconds = self._wakes.pop(me)

    def leave(self) -> None:
        """This thread has ended."""
        with self._changed:
            self._awake -= 1
            self._changed.notify_all()


class RealTime(Time):
    """Time that passes by itself."""

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    def monotonic(self) -> float:
        return time.monotonic()


class Stalling:
    """A registry as one builder reaches it: ``before_naming`` is called between the look for a stage's name and the PUT of it."""

    def __init__(self, inner: Registry) -> None:
        self._inner = inner
        self.before_naming: Callable[[], None] = lambda: None

    def put_manifest(self, reference: Reference, data: bytes, media_type: str, restore: Callable[[], object] | None = None) -> Digest:
        if reference.tag and _NAME.fullmatch(reference.tag):
            self.before_naming()
        return self._inner.put_manifest(reference, data, media_type, restore)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


@dataclass
class Builder:
    """A build job: its own engine and client, and what its build was told of stalls."""

    name: str
    repository: Repository
    engine: Engine
    told: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.registry = Stalling(make_client())
        self.storage = RegistryStagesStorage(self.repository, cast(Registry, self.registry), self.engine)

    def image(self, base: ImageId) -> ImageId:
        """This builder's own build of a stage: no two builds give the same bytes."""
        return self.engine.derive(base, ImageChange(labels={"built-by": self.name, "build": secrets.token_hex(4)})).id

    def election(self, clock: Time, settle: float) -> Election:
        """The election of one run."""
        return Election(self.storage, clock, settle, stalled=lambda signature, _: self.told.append(signature), monotonic=clock.monotonic)


Builders = tuple[Builder, Builder]


@dataclass(frozen=True, slots=True)
class Job:
    """When a builder looks for the stage's name, and how long it stalls before it writes it; seconds."""

    start: float
    stall: float


@dataclass(frozen=True, slots=True)
class Round:
    """What a round came to: the digest each builder's record would name, and whether a builder said that records may differ."""

    signature: str
    digests: tuple[Digest, Digest]
    is_told: bool

    @property
    def is_one(self) -> bool:
        """Whether both records name one digest."""
        return self.digests[0] == self.digests[1]


def run_round(builders: Builders, images: tuple[StoredStage, StoredStage], settle: float, jobs: tuple[Job, Job]) -> Round:
    """Both put up an image they have published already, at the times of their jobs."""
    clock, signature = Turns(2), secrets.token_hex(32)

    def put_up(number: int) -> Digest:
        try:
            builder, job = builders[number], jobs[number]
            builder.registry.before_naming = lambda: clock.sleep(job.stall)
            election = builder.election(clock, settle)
            clock.sleep(job.start)
            stored = election.publish_stored(signature, images[number])
            return _digest(election.adopt({signature: stored})[signature])
        finally:
            clock.leave()

    return _round(builders, signature, put_up)


def race(builders: Builders, bases: Sequence[ImageId], settle: float, stalls: tuple[float, float]) -> Round:
    """Both build, push and put up a stage in threads of their own, in real time: both look before either writes."""
    signature, clock = secrets.token_hex(32), RealTime()
    both_looked = threading.Barrier(2)

    def build(number: int) -> Digest:
        builder = builders[number]
        election = builder.election(clock, settle)

        def stall() -> None:
            both_looked.wait(60)
            clock.sleep(stalls[number])

        builder.registry.before_naming = stall
        try:
            stored = election.publish(signature, builder.image(bases[number]))
            return _digest(election.adopt({signature: stored})[signature])
        except BaseException:
            both_looked.abort()
            raise

    return _round(builders, signature, build)


def _round(builders: Builders, signature: str, work: Callable[[int], Digest]) -> Round:
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(work, range(2))
    return Round(signature, (first, second), any(signature in builder.told for builder in builders))


def _digest(stage: StoredStage) -> Digest:
    if stage.descriptor is None:
        raise TypeError("expected a stage with a manifest")
    return stage.descriptor.digest


def check(round_: Round, repository: Repository) -> str:
    """What is wrong with a round, or nothing: records differ only where a builder says so, and whatever is recorded can be pulled."""
    if not round_.is_one and not round_.is_told:
        return f"{round_.signature}: {round_.digests} differ, and nobody said so"
    client = make_client()
    for digest in set(round_.digests):
        manifest = client.find_manifest(repository.at(digest))
        if manifest is None or any(
            client.get_blob(repository, blob, 1 << 30) is None for blob in (manifest.get_config(), *manifest.layers)
        ):
            return f"{round_.signature}: {digest} cannot be pulled"
    return ""


def main() -> int:
    """The long form; prints how many rounds ended how, and ends with 1 where a promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=1000)
    parser.add_argument("--settle", type=float, default=0.2, help="seconds")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    chance, faults, one, told = random.Random(options.seed), [], 0, 0  # noqa: S311 - a choice, not a secret
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="stagepin-")))
        registry = stack.enter_context(start_registry(directory / "registry"))
        repository = Repository(registry.address, "elections")
        builders, bases = [], []
        (directory / "rootfs.tar").write_bytes(busybox_rootfs("elections"))
        for name in ("one", "two"):
            host = stack.enter_context(start_engine(directory / name)).docker_host
            engine = DockerEngine(host, credentials=no_credentials, environ={})
            stack.callback(engine.close)
            builders.append(Builder(name, repository, engine))
            bases.append(engine.import_rootfs(directory / "rootfs.tar", DEFAULT_PLATFORM, {}).id)
        for number in range(options.rounds):
            # A stall on one side at a time: of two that stall alike, neither is late.
            longest = options.settle * (2 if number % 10 == 0 else 0.5)
            stall = chance.uniform(0, longest)
            stalls = (stall, 0.0) if chance.random() < 0.5 else (0.0, stall)
            ended = race((builders[0], builders[1]), bases, options.settle, stalls)
            one, told = one + ended.is_one, told + ended.is_told
            if fault := check(ended, repository):
                faults.append(fault)
    print(f"{options.rounds} rounds: {one} with one digest, {told} told that they may differ, {len(faults)} broken")
    for fault in faults:
        print(fault)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
