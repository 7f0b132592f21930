"""What ``pin`` of many references costs: requests as the server saw them, anonymous, with a token server, and in the next job."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.figures import Figure
from benchmarks.jobs import Job, clone, commit_project, werf_yaml
from benchmarks.servers import Counted, CountedFake, Requests, push_bases, push_many
from tests.fakes.registry import FakeRegistry

REFERENCES = 20
INDEXES = 8
MANY = 1000
REPOSITORIES = 50
"""Of the ``MANY`` references. One token request names at most 50 repositories (registry/auth.py), so one token serves them all."""

FILING = 12
FILING_FIRST = 17


def measure_pinning(directory: Path, relay: Counted) -> Iterator[Figure]:
    """The figures of ``pin``: from the fake registry, and from the real one behind ``relay``."""
    with FakeRegistry() as fake:
        yield from _pin_and_hand_on(directory / "fake", CountedFake(fake), "fake registry")
    with FakeRegistry() as fake:
        yield _pin_with_token(directory / "token", fake)
    with FakeRegistry() as one, FakeRegistry() as other:
        yield _pin_from_two(directory / "two", one, other)
    with FakeRegistry() as bases, FakeRegistry() as storage:
        yield from _pin_into_storage(directory / "storage", bases, storage)
    yield from _pin_and_hand_on(directory / "real", relay, "real registry")


def measure_many(directory: Path, names: Sequence[str], relay: Counted) -> Iterator[Figure]:
    """The same for ``MANY`` references: from the fake registry, anonymous and with tokens, and from the real one, which has ``names``."""
    with FakeRegistry() as fake:
        job = Job(make_many_project(directory / "fake", fake.address, push_many_bases(fake.address)))
        yield _pin_many(job, CountedFake(fake), "fake registry", expected_overhead=0)
        fake.require_token()
        job.pins.unlink()
        yield _pin_many(job, CountedFake(fake), "fake registry, with tokens", expected_overhead=1)
    yield _pin_many(Job(make_many_project(directory / "real", relay.address, names)), relay, "real registry", expected_overhead=0)


def push_many_bases(address: str) -> Sequence[str]:
    """``MANY`` references in ``REPOSITORIES`` repositories; ``2 * INDEXES`` of them name ``INDEXES`` indexes."""
    return push_many(address, REPOSITORIES, MANY // REPOSITORIES, INDEXES)


def make_many_project(directory: Path, address: str, names: Sequence[str]) -> Path:
    """A project that follows these references of a registry."""
    return commit_project(directory, "werf.yaml", werf_yaml([f"{address}/{name}" for name in names]))


def make_pin_project(directory: Path, address: str) -> Path:
    """A project that follows ``REFERENCES`` bases of this registry; the bases are pushed first."""
    names = push_bases(address, REFERENCES, INDEXES)
    return commit_project(directory, "werf.yaml", werf_yaml([f"{address}/{name}" for name in names]))


def _pin_and_hand_on(directory: Path, registry: Counted, where: str) -> Iterator[Figure]:
    job = Job(make_pin_project(directory / "pin", registry.address))
    registry.requests()
    job.run("pin")
    yield _pin_figure(f"pin {REFERENCES} references, {INDEXES} of them indexes ({where})", registry.requests(), expected_overhead=0)

    following = Job(clone(job.directory, directory / "next", pins=job.pins))
    following.run("pin", "--locked")
    following.run("plan")
    asked = registry.requests()
    name, target = f"`pin` and `plan` in a job that has the pin file ({where})", "0 requests"
    yield Figure(name, f"{len(asked)} requests", target, len(asked) == 0, {"requests": len(asked)})


def _pin_with_token(directory: Path, fake: FakeRegistry) -> Figure:
    registry = CountedFake(fake)
    job = Job(make_pin_project(directory, registry.address))
    fake.require_token()
    registry.requests()
    job.run("pin")
    name = "the same behind a token server: the challenge costs one HEAD more and one token"
    return _pin_figure(name, registry.requests(), expected_overhead=1)


def _pin_many(job: Job, registry: Counted, where: str, *, expected_overhead: int) -> Figure:
    registry.requests()
    job.run("pin")
    name = f"pin {MANY} references of {REPOSITORIES} repositories, {2 * INDEXES} of them to {INDEXES} indexes ({where})"
    return _pin_figure(name, registry.requests(), references=MANY, expected_overhead=expected_overhead)


def _pin_from_two(directory: Path, *fakes: FakeRegistry) -> Figure:
    """Half of the references on each of two registries with token servers of their own: one token each."""
    registries = [CountedFake(fake) for fake in fakes]
    names = [(registry.address, name) for registry in registries for name in push_bases(registry.address, REFERENCES // 2, 0)]
    job = Job(commit_project(directory, "werf.yaml", werf_yaml([f"{address}/{name}" for address, name in names])))
    for fake, registry in zip(fakes, registries, strict=True):
        fake.require_token()
        registry.requests()
    job.run("pin")
    asked = [registry.requests().overhead for registry in registries]
    name = f"{REFERENCES // 2} references on each of two registries behind token servers"
    measured = " and ".join(f"{count} token" for count in asked)
    return Figure(name, measured, "<= 1 /v2/ or token per registry", max(asked) <= 1, {"overhead": asked})


def _pin_figure(name: str, asked: Requests, *, expected_overhead: int, references: int = REFERENCES) -> Figure:
    heads, gets, overhead = asked.manifest_heads, asked.gets_by_digest, asked.overhead
    other = len(asked) - heads - gets - overhead
    # A 401 answers a HEAD, which is then sent again: one more, whatever the number of references.
    wanted = (references + expected_overhead, INDEXES, expected_overhead, 0)
    target = f"{wanted[0]} HEAD, {INDEXES} GET by digest, <= 1 /v2/ or token, 0 other"
    numbers = {"references": references, "indexes": INDEXES, "head": heads, "get": gets, "overhead": overhead, "other": other}
    measured = f"{heads} HEAD, {gets} GET by digest, {overhead} /v2/ or token, {other} other"
    return Figure(name, measured, target, (heads, gets, overhead, other) == wanted, numbers)


def _pin_into_storage(directory: Path, bases: FakeRegistry, storage: FakeRegistry) -> Iterator[Figure]:
    """The price of keeping the pins for jobs that have no artifact: a constant, whatever the number of references."""
    counted, kept = CountedFake(bases), CountedFake(storage)
    project = make_pin_project(directory / "pin", counted.address)
    repo = f"{kept.address}/group/app"
    counted.requests()
    for pipeline, name, constant in (("1001", "first", FILING_FIRST), ("1002", "every later", FILING)):
        Job(clone(project, directory / pipeline), repo, pipeline=pipeline).run("pin")
        filing = len(kept.requests())
        words = f"filing the pins in the stages storage, {name} pipeline of a project (constant)"
        yield Figure(words, f"{filing} requests", f"<= {constant}", filing <= constant, {"requests": filing})
    counted.requests()
    Job(clone(project, directory / "next"), repo).run("pin", "--locked")
    asked, upstream = kept.requests(), counted.requests()
    name = "`pin` in a job without the file: adopts it from the stages storage"
    measured = f"{len(asked)} requests to the storage, {len(upstream)} to the bases' registry"
    yield Figure(name, measured, "0 to the bases' registry", len(upstream) == 0, {"storage": len(asked), "bases": len(upstream)})
