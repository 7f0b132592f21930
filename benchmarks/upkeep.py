"""What keeping copies a second time and asking for drift cost: requests as the servers saw them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from benchmarks.figures import Figure
from benchmarks.jobs import Job, clone
from benchmarks.pinning import INDEXES, REFERENCES, make_pin_project
from benchmarks.servers import Counted, CountedFake, Requests, push_base
from ci_plugin.values.reference import parse_repository
from tests.fakes.registry import FakeRegistry
from tests.fakes.registry_client import make_client

MOVED = range(INDEXES - 2, INDEXES + 3)
"""The bases that are pushed again under their tags: two indexes and three images."""


def measure_upkeep(directory: Path, relay: Counted) -> Iterator[Figure]:
    """The figures of ``pin --keep`` and ``drift``: from fake registries, and from the real one behind ``relay``."""
    with FakeRegistry() as bases, FakeRegistry() as kept:
        yield from _keep_and_drift(directory / "fake", CountedFake(bases), CountedFake(kept), "fake registry")
    yield from _keep_and_drift(directory / "real", relay, relay, "real registry")


def _keep_and_drift(directory: Path, bases: Counted, kept: Counted, where: str) -> Iterator[Figure]:
    first = Job(make_pin_project(directory / "first", bases.address))
    keep = ("pin", "--keep", f"{kept.address}/group/kept")
    first.run(*keep)
    following = Job(clone(first.directory, directory / "next", pins=first.pins))
    _ask(bases, kept)
    following.run(*keep)
    yield _figure(f"`pin --keep` where the copies of {REFERENCES} bases are there ({where})", _ask(bases, kept), gets=0)

    following.run("drift")
    yield _figure(f"`drift` of {REFERENCES} references, none moved ({where})", _ask(bases, kept), gets=0)

    client = make_client()
    for number in MOVED:
        reference = parse_repository(f"{bases.address}/base/image{number:02}").tagged("latest")
        push_base(client, reference, f"moved {number}", is_index=number < INDEXES)
    _ask(bases, kept)
    following.run("drift")
    moved = sum(number < INDEXES for number in MOVED)
    yield _figure(f"the same, {len(MOVED)} moved, {moved} of them indexes ({where})", _ask(bases, kept), gets=moved)


def _ask(*registries: Counted) -> Requests:
    """The requests to all of them since the last call; one registry may stand in both places."""
    return Requests(tuple(line for registry in registries for line in registry.requests().lines))


def _figure(name: str, asked: Requests, *, gets: int) -> Figure:
    found = (asked.manifest_heads, asked.gets_by_digest, len(asked) - asked.manifest_heads - asked.gets_by_digest)
    wanted = (REFERENCES, gets, 0)
    words = [f"{heads} HEAD, {gets} GET by digest, {other} other" for heads, gets, other in (found, wanted)]
    return Figure(name, words[0], words[1], found == wanted, dict(zip(("head", "get", "other"), found, strict=True)))
