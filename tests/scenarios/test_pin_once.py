"""Pin once: whatever jobs do, retry, lose or race, all jobs of a scope read the same pins."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

from ci_plugin.values.digest import Digest
from tests.fakes.registry import OCI_MANIFEST, FakeRegistry, Request
from tests.scenarios.pipeline import STAGES, Job, Project

CONFIG = "image: app\nfrom: BASE\nfromLatest: true\n"


def test_a_retried_pin_job_adopts_the_pins_of_the_first(project: Project) -> None:
    project.commit(config=CONFIG)
    pipeline = project.pipeline()
    first, retried = pipeline.job(), pipeline.job()
    first.must("pin")
    project.move_base("2")
    before = len(project.upstream_requests())
    ran = retried.must("pin")
    assert f"pins of pipeline:1001 adopted from stages storage {project.stages}" in ran.err
    assert retried.pins == first.pins
    assert len(project.upstream_requests()) == before


def test_a_job_that_has_the_pin_file_asks_no_registry_what_a_tag_means(project: Project) -> None:
    project.commit(config=CONFIG)
    pipeline = project.pipeline()
    pin = pipeline.job()
    pin.must("pin")
    project.registry.requests.clear()
    pipeline.job(artifacts_of=pin).must("pin", "--locked")
    assert project.registry.requests == []
    pipeline.job(artifacts_of=pin).must("plan")
    assert project.upstream_requests() == project.requests_for("/manifests/stagepin-") == []
    pipeline.job(artifacts_of=pin).must("pin")
    assert project.upstream_requests() == []
    assert {request.method for request in project.registry.requests} <= {"GET", "HEAD"}


def test_a_pin_job_that_has_the_pin_file_sees_to_it_that_the_storage_has_it_too(project: Project) -> None:
    project.commit(config=CONFIG)
    pipeline = project.pipeline()
    pin = pipeline.job()
    pin.must("pin", "--store", "workspace")
    project.move_base("2")
    again, later = pipeline.job(artifacts_of=pin), pipeline.job()
    assert f"kept in the workspace and in the stages storage {project.stages}" in again.must("pin").err
    later.must("fetch")
    assert later.pins == again.pins == pin.pins
    assert project.upstream_requests()[1:] == []


def test_a_pin_file_beside_which_the_storage_has_another_set_is_refused_and_both_are_named(project: Project) -> None:
    project.commit(config=CONFIG)
    pipeline = project.pipeline()
    lone, pin = pipeline.job(), pipeline.job()
    lone.must("pin", "--store", "workspace")
    project.move_base("2")
    pin.must("pin")
    ran = lone.run("pin")
    assert ran.code == 2
    ours, theirs = lone.pins["checksum"], pin.pins["checksum"]
    told = f"error: expected the pins {ours} in the stages storage {project.stages} too, found {theirs}: the scope pipeline:1001 has two"
    assert told in ran.err
    assert f"next: remove {lone.workspace / 'pins.json'} and run `stagepin pin` again, which takes those of the store" in ran.err
    assert lone.must("pin", "--locked")
    (lone.workspace / "pins.json").unlink()
    lone.must("pin")
    assert lone.pins == pin.pins


def test_a_job_whose_workspace_was_lost_gets_the_pins_from_the_storage(project: Project) -> None:
    project.commit(config=CONFIG)
    pipeline = project.pipeline()
    pin, build = pipeline.job(), pipeline.job()
    pin.must("pin")
    project.move_base("2")
    build.must("build")
    assert build.pins == pin.pins
    assert build.built_on() == pin.pinned(project.base)


def test_a_pin_job_that_is_late_adopts_what_was_created_while_it_resolved(project: Project) -> None:
    winner, loser = racing_jobs(project, lambda request: request.method == "HEAD" and "/base/" in request.path)
    assert loser.pins == winner.pins


def test_where_the_registry_keeps_tags_the_second_writer_adopts_the_first(project: Project) -> None:
    project.registry.immutable_tags = True
    winner, loser = racing_jobs(project, lambda request: request.method == "PUT" and "/manifests/stagepin-" in request.path)
    assert loser.pins == winner.pins


def test_after_two_pin_jobs_wrote_every_later_job_reads_one_of_them(project: Project) -> None:
    first, second = racing_jobs(project, lambda request: request.method == "PUT" and "/manifests/stagepin-" in request.path)
    pipeline = project.pipeline()
    read = [later.pins for later in (pipeline.job(), pipeline.job()) if later.must("fetch")]
    assert read == [second.pins, second.pins]
    assert first.pins != second.pins, "the documented limit: a registry has no compare-and-set, so one pin job writes at a time"


def racing_jobs(project: Project, when: Callable[[Request], bool]) -> tuple[Job, Job]:
    """Two pin jobs of one pipeline; the first one's pins appear in the storage at the second one's request that ``when`` chooses."""
    project.commit(config=CONFIG)
    pipeline = project.pipeline()
    first, second = pipeline.job(), pipeline.job()
    first.must("pin")
    (tag, digest), *_ = [item for item in project.registry.tags.items() if is_scope(item[0][1])]
    document = project.registry.manifests[STAGES, digest][1]
    project.registry.delete(STAGES, Digest(digest))
    project.move_base("2")

    moments: list[Request] = []

    def appear(request: Request) -> None:
        if when(request) and not moments:
            moments.append(request)
            project.registry.put_manifest(STAGES, tag[1], document, OCI_MANIFEST)

    project.registry.on_request = appear
    second.must("pin")
    assert moments
    return first, second


def test_only_a_storage_that_was_read_or_written_is_said_to_hold_the_pins(project: Project) -> None:
    project.commit(config=CONFIG)
    job = project.pipeline().job()
    assert f"kept in the workspace and in the stages storage {project.stages}" in job.must("pin").err
    ran = job.must("pin", "--locked", "--repo", f"{project.registry.address}/elsewhere")
    assert "pins of pipeline:1001 adopted from workspace" in ran.err
    assert "elsewhere" not in ran.err


def test_a_second_configuration_in_a_scope_is_refused_when_it_pins_and_not_when_it_builds(project: Project) -> None:
    project.write("one/Dockerfile", f"FROM {project.base}\n")
    project.write("two/Dockerfile", f"FROM {project.registry.address}/base/another\n")
    project.commit()
    pipeline = project.pipeline()
    pipeline.job().must("pin", "--dockerfile", "one=one/Dockerfile")
    ran = pipeline.job().run("pin", "--dockerfile", "two=two/Dockerfile")
    assert ran.code == 2
    assert f"error: expected {project.registry.address}/base/another:latest among the 1 pins of pipeline:1001, found it missing" in ran.err
    assert "  at: two/Dockerfile:1:6\n" in ran.err
    assert "then pin in a new scope" in ran.err


def is_scope(tag: str) -> bool:
    """Whether it is the tag of a scope's pins: 12 hex characters, and not the project's."""
    return re.fullmatch("stagepin-[0-9a-f]{12}", tag) is not None


class TestForeignPins:
    def test_another_pipelines_pin_file_is_refused(self, project: Project) -> None:
        project.commit(config=CONFIG)
        old = project.pipeline("1000").job()
        old.must("pin")
        job = project.pipeline("1001").job(artifacts_of=old)
        for command in ("pin", "build", "plan", "verify"):
            ran = job.run(command)
            assert ran.code == 2
            assert "expected pins of scope pipeline:1001, found scope pipeline:1000: they belong to another job" in ran.err
            assert "pins.json" in ran.err
            assert "next: remove" in ran.err

    def test_another_projects_pin_file_is_refused(self, project: Project) -> None:
        project.commit(config=CONFIG)
        other = project.pipeline("1001", project_id="99").job()
        other.must("pin")
        ran = project.pipeline("1001").job(artifacts_of=other).run("build")
        assert ran.code == 2
        assert "expected pins of project id 4711, found project id 99" in ran.err

    def test_another_commits_pins_are_refused_in_a_pipeline(self, project: Project) -> None:
        project.commit(config=CONFIG)
        pin = project.pipeline().job()
        pin.must("pin")
        project.write("README", "changed")
        project.commit()
        ran = project.pipeline().job(artifacts_of=pin).run("build")
        assert ran.code == 2
        assert "expected pins of commit" in ran.err

    def test_a_pin_file_is_refused_even_where_the_storage_has_the_right_one(self, project: Project) -> None:
        project.commit(config=CONFIG)
        foreign, pin = project.pipeline("1000").job(), project.pipeline("1001").job()
        foreign.must("pin")
        pin.must("pin")
        assert project.pipeline("1001").job(artifacts_of=foreign).run("build").code == 2

    def test_fetch_replaces_a_foreign_file_by_the_right_one(self, project: Project) -> None:
        project.commit(config=CONFIG)
        foreign, pin = project.pipeline("1000").job(), project.pipeline("1001").job()
        foreign.must("pin")
        pin.must("pin")
        job = project.pipeline("1001").job(artifacts_of=foreign)
        job.must("fetch")
        assert job.pins == pin.pins


class TestScopes:
    def test_a_tag_pipeline_ships_what_the_branch_pipeline_of_the_same_commit_tested(self, project: Project) -> None:
        project.commit(config=CONFIG)
        main = project.pipeline("1001").job()
        main.must("pin", "--scope", "commit")
        main.must("build", "--scope", "commit")
        project.move_base("2")
        tag = project.pipeline("1002").job()
        tag.must("pin", STAGEPIN_SCOPE="commit")
        ran = tag.must("verify", STAGEPIN_SCOPE="commit")
        assert tag.pins == main.pins
        assert main.digest() in ran.out

    def test_a_release_train_of_several_commits_shares_one_base(self, project: Project) -> None:
        project.commit(config=CONFIG)
        first = project.pipeline("1001").job()
        first.must("pin", STAGEPIN_SCOPE="train-7")
        project.move_base("2")
        project.commit(config=CONFIG + "shell:\n  setup: [echo later]\n")
        second = project.pipeline("1002").job()
        second.must("pin", STAGEPIN_SCOPE="train-7")
        second.must("build", STAGEPIN_SCOPE="train-7")
        assert second.built_on() == first.pinned(project.base)
        third = project.pipeline("1003").job()
        third.must("pin")
        assert third.pinned(project.base) != first.pinned(project.base)

    def test_a_child_pipeline_shares_the_parents_pins_where_the_scope_is_handed_on(self, project: Project) -> None:
        project.commit(config=CONFIG)
        parent = project.pipeline("1001").job()
        parent.must("pin")
        project.move_base("2")
        child = project.pipeline("1002").job()
        child.environ["CI_PIPELINE_SOURCE"] = "parent_pipeline"
        child.must("build", STAGEPIN_SCOPE="pipeline:1001")
        assert child.pins == parent.pins

    def test_a_child_pipeline_without_a_scope_is_told_what_to_add(self, project: Project) -> None:
        project.commit(config=CONFIG)
        child = project.pipeline("1002").job()
        child.environ["CI_PIPELINE_SOURCE"] = "parent_pipeline"
        ran = child.run("pin")
        assert ran.code == 2
        assert "expected the scope of the top pipeline in a GitLab child pipeline, found none" in ran.err
        assert 'STAGEPIN_SCOPE: "pipeline:$CI_PIPELINE_ID"' in ran.err
        assert project.registry.requests == []


def test_one_base_written_three_ways_is_one_pin(project: Project) -> None:
    name, digest = project.base.removesuffix(":latest"), project.move_base("1")
    project.commit(
        config=f"image: app\nfrom: BASE\nfromLatest: true\n---\nimage: web\nfrom: {name}\n---\nimage: old\nfrom: {name}:latest\n"
    )
    job = project.pipeline().job()
    job.must("pin")
    assert [pin["reference"] for pin in job.pins["pins"]] == [project.base]
    assert [origin["image"] for origin in job.pins["pins"][0]["origin"]] == ["app", "web", "old"]
    assert job.pinned(project.base) == str(digest)
    assert [str(request) for request in project.upstream_requests()] == ["HEAD /v2/base/alpine/manifests/latest"]


def test_a_job_that_needs_pins_and_finds_none_stops_without_asking_upstream(project: Project) -> None:
    project.commit(config=CONFIG)
    for command in (["build"], ["build", "--require-built"], ["plan"], ["verify"], ["explain", "app"]):
        ran = project.pipeline().job().run(*command)
        assert ran.code == 2
        assert "found none (looked in " in ran.err
        assert f"and stages storage {project.stages})" in ran.err
        assert "next: run `stagepin pin` in an earlier job of this scope" in ran.err
    assert project.upstream_requests() == []


def test_locked_pins_answer_no_where_anything_would_have_to_be_resolved(project: Project) -> None:
    project.commit(config=CONFIG)
    pipeline = project.pipeline()
    job = pipeline.job()
    ran = job.run("pin", "--locked")
    assert ran.code == 1
    assert "expected the pins of pipeline:1001 to exist, found none: 1 references would have to be resolved" in ran.err
    assert project.upstream_requests() == []
    job.must("pin")
    assert pipeline.job().must("pin", "--locked").code == 0


def test_a_reference_that_pin_did_not_see_is_never_resolved_by_build(project: Project) -> None:
    project.commit(config=CONFIG)
    pipeline = project.pipeline()
    pipeline.job().must("pin", STAGEPIN_SCOPE="train")
    project.registry.put_image("base/other", "latest", seed="9")
    project.commit(config=f"image: app\nfrom: {project.registry.address}/base/other\n")
    ran = project.pipeline().job().run("build", STAGEPIN_SCOPE="train")
    assert ran.code == 2
    assert f"expected {project.registry.address}/base/other:latest among the 1 pins of train, found it missing" in ran.err
    assert "at: werf.yaml:5" in ran.err
    assert project.requests_for("/base/other/") == []


def test_the_storage_holds_pins_and_record_as_files_any_oci_tool_can_fetch(project: Project, registry: FakeRegistry) -> None:
    project.commit(config=CONFIG)
    job = project.pipeline().job()
    job.must("pin")
    job.must("build")
    (digest,) = [value for key, value in registry.tags.items() if is_scope(key[1])]
    layers = json.loads(registry.manifests[STAGES, digest][1])["layers"]
    files = {layer["annotations"]["org.opencontainers.image.title"]: json.loads(registry.blobs[layer["digest"]]) for layer in layers}
    assert files == {"pins.json": job.pins, "build.json": job.record}


def test_pins_that_came_by_ci_artifact_alone_are_filed_with_the_record_they_led_to(project: Project) -> None:
    project.commit(config=CONFIG)
    pipeline = project.pipeline()
    pin = pipeline.job()
    pin.must("pin", CI_REGISTRY_IMAGE="")
    project.move_base("2")
    build, deploy = pipeline.job(artifacts_of=pin), pipeline.job()
    build.must("build")
    assert build.built_on() == pin.pinned(project.base)
    deploy.must("verify")
    assert deploy.pins == pin.pins


def test_on_one_engine_the_pins_of_a_pipeline_are_kept_by_the_engine_itself(project: Project) -> None:
    project.commit(config=CONFIG)
    pipeline, engine = project.pipeline(), project.engine()
    pin = pipeline.job(engine=engine)
    ran = pin.must("pin", "--repo", ":local")
    assert "kept in the workspace and in the engine's own store (:local)" in ran.err
    project.move_base("2")
    build = pipeline.job(engine=engine)
    build.must("build", "--repo", ":local")
    again = pipeline.job(engine=engine)
    again.must("fetch", "--repo", ":local")
    assert build.pins == again.pins == pin.pins
    assert again.record == build.record
    assert pipeline.job().run("build", "--repo", ":local").code == 2
