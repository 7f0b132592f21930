"""The base-image matrix that werf wrote down (../facts: fourteen cases), as a pipeline with pins meets it.

Where an engine has an image under the base's tag, its content is "S1"; the registry's is "S2" (or S1 after it moved). An engine's own image
of that name is never built on: it is found by its digest or not at all.
"""

from __future__ import annotations

import pytest

from ci_plugin.values.digest import Digest
from ci_plugin.values.reference import parse_reference
from tests.scenarios.pipeline import BASE, Job, Project

CONFIG = "image: app\nfrom: BASE\nfromLatest: {}\nshell:\n  install: [make]\n"
BOTH = pytest.mark.parametrize("latest", ["false", "true"])


def start(project: Project, latest: str, number: str = "1001") -> Job:
    project.commit(config=CONFIG.format(latest))
    return project.pipeline(number).job()


def have_locally(job: Job, project: Project, seed: str) -> Digest:
    """The runner's engine has an image of that content under the base's tag; the registry's tag is what it was."""
    before = project.registry.tags.get((BASE, "latest"))
    digest = project.move_base(seed)
    reference = parse_reference(f"{project.registry.address}/{BASE}:latest")
    image = job.engine.pull(reference.at(digest))
    job.engine.tag(image.id, reference)
    job.engine.pulled.clear()
    if before is not None:
        project.registry.tags[BASE, "latest"] = before
    return digest


def remove_upstream(project: Project) -> None:
    """The registry has no such tag."""
    project.registry.tags.pop((BASE, "latest"), None)


@BOTH
@pytest.mark.parametrize("is_local", [False, True])
def test_1_to_4_a_base_the_registry_does_not_have_is_never_taken_from_the_engine(project: Project, latest: str, is_local: bool) -> None:
    job = start(project, latest)
    if is_local:
        have_locally(job, project, "S1")
    remove_upstream(project)
    pinned, built = job.run("pin"), job.run("build")
    assert built.code == 2
    assert job.engine.ran == []
    assert (pinned.code == 2) is (latest == "true")
    if latest == "false":
        assert job.pinned(project.base) == "None"
        assert f"{project.base} is not pinned (only a stage that must be built on it will stop)" in pinned.err
        assert f"expected a digest for {project.base}, found none" in built.err


@BOTH
def test_5_and_6_what_the_engine_has_by_its_digest_is_not_pulled(project: Project, latest: str) -> None:
    job = start(project, latest)
    have_locally(job, project, "1")
    job.must("pin")
    job.must("build")
    assert job.engine.pulled == []
    assert job.built_on() == job.pinned(project.base)


@BOTH
def test_7_and_8_what_the_engine_lacks_is_pulled_by_its_pinned_digest(project: Project, latest: str) -> None:
    job = start(project, latest)
    job.must("pin")
    job.must("build")
    assert [str(reference.digest) for reference in job.engine.pulled] == [job.pinned(project.base)]


@BOTH
def test_9_and_10_a_stale_image_of_the_same_name_is_not_built_on(project: Project, latest: str) -> None:
    job = start(project, latest)
    stale = have_locally(job, project, "S1")
    job.must("pin")
    job.must("build")
    assert job.built_on() == job.pinned(project.base) != str(stale)


@BOTH
def test_11_and_12_a_base_that_did_not_move_rebuilds_nothing(project: Project, latest: str) -> None:
    first = start(project, latest)
    first.must("pin")
    first.must("build")
    second = project.pipeline("1002").job()
    second.must("pin")
    project.registry.requests.clear()
    second.must("build")
    assert second.engine.ran == []
    assert second.digest() == first.digest()
    assert project.upstream_requests() == []


def test_13_without_from_latest_a_moved_base_rebuilds_nothing(project: Project) -> None:
    first, second = _build_move_build(project, "false")
    assert second.engine.ran == []
    assert second.digest() == first.digest()
    assert second.built_on() == first.built_on()


def test_14_with_from_latest_a_moved_base_is_built_on_in_the_next_pipeline(project: Project) -> None:
    first, second = _build_move_build(project, "true")
    assert len(second.engine.ran) == 1
    assert second.built_on() == second.pinned(project.base) != first.built_on()


def _build_move_build(project: Project, latest: str) -> tuple[Job, Job]:
    first = start(project, latest)
    first.must("pin")
    first.must("build")
    project.move_base("S1")
    second = project.pipeline("1002").job()
    second.must("pin")
    second.must("build")
    return first, second


def test_another_cache_version_builds_on_the_base_of_today(project: Project) -> None:
    first = start(project, "false")
    first.must("pin")
    first.must("build")
    moved = project.move_base("S1")
    project.commit(config=CONFIG.format("false").replace("shell:", "fromCacheVersion: again\nshell:"))
    second = project.pipeline("1002").job()
    second.must("pin")
    second.must("build")
    assert second.built_on() == str(moved) != first.built_on()


def test_a_rebuilt_parent_rebuilds_its_children_and_scratch_has_no_base(project: Project) -> None:
    config = "image: lib\nfrom: BASE\nshell:\n  install: [{}]\n---\nimage: app\nfromImage: lib\ndocker:\n  USER: app\n---\n"
    config += "image: empty\nfrom: scratch\ndocker:\n  USER: app\n"
    project.commit(config=config.format("make"))
    first = project.pipeline("1001").job()
    first.must("pin")
    first.must("build")
    project.commit(config=config.format("make again"))
    second = project.pipeline("1002").job()
    second.must("pin")
    second.must("build")
    assert second.digest("app") != first.digest("app")
    assert second.digest("empty") == first.digest("empty")
    base = second.record["images"]["empty"]["platforms"]["linux/amd64"]["base"]
    assert (base["state"], base["reference"], base["digest"]) == ("scratch", None, None)


def test_a_tag_that_moves_between_resolve_and_pull_changes_nothing(project: Project) -> None:
    job = start(project, "true")
    job.must("pin")
    pinned = job.pinned(project.base)
    project.move_base("moved")
    job.must("build")
    assert job.built_on() == pinned
    assert [str(reference.digest) for reference in job.engine.pulled] == [pinned]


def test_a_re_run_of_an_old_pipeline_keeps_its_pin(project: Project) -> None:
    first = start(project, "true")
    first.must("pin")
    first.must("build")
    project.move_base("moved")
    again = project.pipeline("1001").job()
    again.must("pin", CI_JOB_ID="2")
    again.must("build")
    assert again.digest() == first.digest()
    assert again.engine.ran == []


def test_pins_that_expired_as_artifact_come_from_the_storage_and_corrupt_ones_stop_the_job(project: Project) -> None:
    first = start(project, "true")
    first.must("pin")
    without = project.pipeline("1001").job()
    without.must("build")
    assert without.pinned(project.base) == first.pinned(project.base)
    corrupt = project.pipeline("1001").job(artifacts_of=first)
    (corrupt.workspace / "pins.json").write_text("{}")
    ran = corrupt.run("build")
    assert ran.code == 2
    assert "pins.json" in ran.err
