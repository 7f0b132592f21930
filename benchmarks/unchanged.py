"""What ``plan`` and ``build`` cost where nothing changed: requests to the stages storage, without an engine."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.figures import Figure
from benchmarks.jobs import Job, clone, commit_project, werf_yaml
from benchmarks.servers import Counted, CountedFake, Requests, push_bases, push_stage
from ci_plugin.demo.rig import Rig, push_base
from ci_plugin.pins.pin_file import parse_pin_file
from ci_plugin.records.build_record import BaseRecord, BaseState, BuiltBy
from ci_plugin.records.stage_labels import Ancestor, StageLabels
from ci_plugin.values.digest import Digest
from tests.fakes.registry import FakeRegistry

IMAGES = 10
FILING = 6
"""Requests of a whole build beside those per image, the first time in a pipeline: look whether a record is filed (GET of the manifest),
then file it: GET of the manifest, HEAD, POST and PUT of the record, PUT of the manifest that names it."""
FILED = 2
"""The same in a retry: GET of the manifest and of the record, which names the same digests."""


def measure_unchanged(directory: Path, built: Job, relay: Counted) -> Iterator[Figure]:
    """The figures of ``plan`` and ``build``: with stages pushed as a build leaves them, then for ``built`` by a real engine."""
    with FakeRegistry() as fake:
        registry = CountedFake(fake)
        few, many = (_prepare_fake(directory / f"fake-{count}", registry, count) for count in (IMAGES // 2, IMAGES))
        yield from _measure(directory / "fake", few, many, registry, "fake registry")
    yield from _measure(directory / "real", None, built, relay, "real registry, built by a real engine")


def prepare_real(directory: Path, rig: Rig, registry: Counted) -> Job:
    """A project whose images a real ``stagepin build`` built and published; its job has no engine."""
    push_base(rig.docker_host, rig.registry_address, "bench/base", "latest", "1")
    project = commit_project(directory, "werf.yaml", werf_yaml([f"{registry.address}/bench/base:latest"] * IMAGES, builds=True))
    repo = f"{registry.address}/group/app"
    Job(project, repo, docker_host=rig.docker_host).run("build", "--pin")
    return Job(project, repo)


def _prepare_fake(directory: Path, registry: Counted, images: int) -> Job:
    """The same without an engine: the planned stages are pushed with the labels a build writes."""
    bases = push_bases(registry.address, images, 0)
    project = commit_project(directory, "werf.yaml", werf_yaml([f"{registry.address}/{base}" for base in bases], builds=True))
    job = Job(project, f"{registry.address}/group/app{images}")
    job.run("pin")
    pins = parse_pin_file(job.pins.read_bytes(), str(job.pins))
    planned = json.loads(job.run("plan", "--format", "json").stdout)["images"]
    for image, pin in zip(planned.values(), pins.pins, strict=True):
        base = BaseRecord(str(pin.reference), pin.digest, BaseState.PINNED, ())
        _push_stages(job.repo, image["platforms"]["linux/amd64"]["stages"], base, BuiltBy(str(pins.scope), pins.commit))
    return job


def _push_stages(repo: str, stages: Sequence[dict[str, str]], base: BaseRecord, built_by: BuiltBy) -> None:
    ancestors: tuple[Ancestor, ...] = ()
    for stage in stages:
        labels = StageLabels(stage["name"], stage["signature"], ancestors, base, built_by).to_labels()
        digest: Digest = push_stage(repo, stage["signature"], labels)
        ancestors = (*ancestors, Ancestor(stage["name"], stage["signature"], digest))


def _measure(directory: Path, few: Job | None, many: Job, registry: Counted, where: str) -> Iterator[Figure]:
    registry.requests()
    many.run("plan")
    yield _plan_figure(registry.requests(), where)
    many_job = _next_pipeline(many, directory / "many")
    registry.requests()
    many_job.run("build")
    first = registry.requests()
    many_job.run("build")
    again = registry.requests()
    yield _build_figure(f"nothing changed: `build` of {IMAGES} images, no engine, first of its pipeline ({where})", first, FILING)
    yield _build_figure(f"the same, retried: the record is filed already ({where})", again, FILED)
    if few is not None:
        few_job = _next_pipeline(few, directory / "few")
        registry.requests()
        few_job.run("build")
        yield _slope_figure(registry.requests(), first, where)


def _next_pipeline(job: Job, directory: Path) -> Job:
    """A job of a new pipeline of the same commit, which has pinned the same digests and filed no record yet."""
    following = Job(clone(job.directory, directory), job.repo, pipeline="1002")
    following.run("pin")
    return following


def _plan_figure(asked: Requests, where: str) -> Figure:
    heads, other = asked.manifest_heads, len(asked) - asked.manifest_heads
    name = f"nothing changed: `plan` of {IMAGES} images, no engine ({where})"
    numbers = {"images": IMAGES, "head": heads, "other": other}
    return Figure(name, f"{heads} HEAD, {other} other", f"{IMAGES} HEAD, 0 other", (heads, other) == (IMAGES, 0), numbers)


def _build_figure(name: str, asked: Requests, constant: int) -> Figure:
    most = 2 * IMAGES + constant
    rest = len(asked) - 2 * IMAGES
    measured = f"{len(asked)} requests = 2 x {IMAGES} + {rest}"
    return Figure(name, measured, f"<= 2 x {IMAGES} + {constant}", len(asked) <= most, {"images": IMAGES, "requests": len(asked)})


def _slope_figure(few: Requests, many: Requests, where: str) -> Figure:
    """Two sizes show that the rest is a constant and not hidden work per image."""
    each = (len(many) - len(few)) / (IMAGES - IMAGES // 2)
    name = f"requests of one more image ({IMAGES} against {IMAGES // 2} images, {where})"
    return Figure(name, f"{each:g}", "<= 2", each <= 2, {"per_image": each})
