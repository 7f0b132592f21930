"""Images for several platforms: pinned, built, published as one index, verified; apart in a matrix, and in ``:local``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from ci_plugin.conveyor.signature import index_signature
from ci_plugin.values.digest import Digest
from ci_plugin.values.manifest import DOCKER_INDEX, parse_manifest
from ci_plugin.values.platform import parse_platform
from tests.fakes.engine import FakeEngine
from tests.fakes.registry import FakeRegistry
from tests.fakes.registry_client import make_client
from tests.scenarios.pipeline import BASE, STAGES, Job, Project

AMD64, ARM64 = "linux/amd64", "linux/arm64"
BOTH = "image: app\nfrom: BASE\nfromLatest: true\nplatform: [linux/amd64, linux/arm64]\ndocker:\n  USER: app\n"
FAMILY = (
    f"{BOTH}---\nimage: web\nfromImage: app\nplatform: [linux/amd64, linux/arm64]\ndocker:\n  USER: web\n---\n"
    "image: tool\nfrom: BASE\nfromLatest: true\ndocker:\n  USER: tool\n"
)


def put_base(registry: FakeRegistry, seed: str = "1", *, attestation: bool = False) -> Mapping[str, Digest]:
    """The base's index and its manifests by platform."""
    children = {name: registry.put_image(BASE, None, seed=f"{seed} {name}", platform=name) for name in (AMD64, ARM64)}
    registry.put_index(BASE, "latest", children, attestation=attestation)
    return children


def build(project: Project, config: str = BOTH) -> Job:
    """A job that pinned and built."""
    project.commit(config=config)
    job = project.pipeline().job()
    job.must("pin")
    job.must("build")
    return job


def app(job: Job, name: str = "app") -> Any:
    """The record of one image."""
    return job.record["images"][name]


def stored(project: Project, digest: str) -> tuple[str, bytes]:
    """Media type and bytes of a manifest in the stages storage."""
    return project.registry.manifests[STAGES, digest]


def test_pins_hold_the_digest_of_every_platform_and_every_platform_is_built_on_its_own(project: Project) -> None:
    children = put_base(project.registry)
    job = build(project)
    (pin,) = job.pins["pins"]
    assert pin["platforms"] == {name: str(digest) for name, digest in children.items()}
    bases = {name: platform["base"]["digest"] for name, platform in app(job)["platforms"].items()}
    assert bases == pin["platforms"]
    job.must("verify")


def test_what_is_deployed_is_an_index_of_the_platforms_under_the_index_signature(project: Project) -> None:
    put_base(project.registry)
    job = build(project)
    image = app(job)
    signatures = {parse_platform(name): platform["signature"] for name, platform in image["platforms"].items()}
    assert image["tags"] == [index_signature(signatures)]
    assert image["reference"] == f"{project.stages}@{image['digest']}"
    # The engine's manifests are Docker's, and so is what lists them.
    assert (image["mediaType"], project.registry.tags[STAGES, image["tags"][0]]) == (DOCKER_INDEX, image["digest"])
    index = parse_manifest(stored(project, image["digest"])[1], DOCKER_INDEX)
    entries = {str(platform): str(descriptor.digest) for platform, descriptor in index.entries}
    assert entries == {name: platform["digest"] for name, platform in image["platforms"].items()}
    assert entries == {name: project.registry.tags[STAGES, platform["signature"]] for name, platform in image["platforms"].items()}


def test_people_see_the_index_and_every_platform(project: Project) -> None:
    put_base(project.registry)
    project.commit(config=BOTH)
    job = project.pipeline().job()
    job.must("pin")
    out = job.must("build").out
    image = app(job)
    assert f"app                {image['reference']}  -       -\n" in out
    for name, platform in image["platforms"].items():
        assert f"app ({name})  {project.stages}@{platform['digest']}  pinned  {platform['base']['digest']}\n" in f"{out}\n"
    assert (
        "app (linux/arm64): stage dockerInstructions built in" in project.pipeline("2").job().must("build", "--pin", "--repo", ":local").err
    )


def test_an_image_on_another_stands_on_the_same_platform_of_it(project: Project) -> None:
    put_base(project.registry)
    job = build(project, FAMILY)
    for name, platform in app(job, "web")["platforms"].items():
        assert platform["base"]["digest"] == app(job)["platforms"][name]["digest"]
    assert list(app(job, "tool")["platforms"]) == [AMD64]


def test_an_image_for_one_platform_is_what_it_always_was(project: Project) -> None:
    put_base(project.registry)
    job = build(project, FAMILY)
    tool = app(job, "tool")
    (platform,) = tool["platforms"].values()
    assert (tool["digest"], tool["tags"]) == (platform["digest"], [platform["signature"]])
    asked = project.pipeline("1002").job()
    asked.must("pin", "--platform", "linux/arm64")
    asked.must("build", "--platform", "linux/arm64")
    alone = app(asked)
    assert alone["digest"] == alone["platforms"][ARM64]["digest"] == app(job)["platforms"][ARM64]["digest"]
    assert alone["tags"] == [alone["platforms"][ARM64]["signature"]]


def test_where_nothing_changed_it_costs_one_request_for_the_index_and_two_for_every_platform(project: Project) -> None:
    put_base(project.registry)
    first = build(project)
    again = project.pipeline("1001").job(artifacts_of=first)
    before = len(project.registry.requests)
    again.must("build")
    platforms = app(first)["platforms"].values()
    asked = [str(request) for request in project.registry.requests[before:] if "/manifests/stagepin-" not in request.path]
    ids = [platform["imageId"] for platform in platforms]
    about_images = [text for text in asked if "/manifests/" in text or text.rpartition("/")[2] in ids]
    assert sorted(about_images) == sorted(
        [
            *(f"GET /v2/{STAGES}/manifests/{tag}" for tag in (app(first)["tags"][0], *(platform["signature"] for platform in platforms))),
            *(f"GET /v2/{STAGES}/blobs/{image_id}" for image_id in ids),
        ]
    )
    assert again.engine.pulled == []
    assert app(again)["digest"] == app(first)["digest"]


def test_a_new_attestation_beside_the_same_manifests_rebuilds_nothing(project: Project) -> None:
    put_base(project.registry)
    first = build(project)
    put_base(project.registry, attestation=True)
    second = project.pipeline("1002").job()
    second.must("pin")
    assert second.pins["pins"][0]["digest"] != first.pins["pins"][0]["digest"]
    assert "stage" not in second.must("build").err.replace("stages storage", "").replace("stagepin", "").replace("group/app/stages", "")
    assert second.engine.pulled == []
    assert app(second)["digest"] == app(first)["digest"]
    second.must("verify")


def test_a_base_that_moved_for_one_platform_rebuilds_that_platform_alone(project: Project) -> None:
    children = dict(put_base(project.registry))
    first = build(project)
    children[ARM64] = project.registry.put_image(BASE, None, seed="moved", platform=ARM64)
    project.registry.put_index(BASE, "latest", children)
    second = project.pipeline("1002").job()
    second.must("pin")
    second.must("build")
    was, now = app(first), app(second)
    assert now["platforms"][AMD64]["digest"] == was["platforms"][AMD64]["digest"]
    assert now["platforms"][ARM64]["base"]["digest"] == str(children[ARM64])
    assert now["digest"] != was["digest"]
    assert now["tags"] != was["tags"]


class TestMatrix:
    """Each leg builds one platform; the last job, which has no engine, writes the index and the whole record."""

    @pytest.fixture
    def pin(self, project: Project) -> Job:
        put_base(project.registry)
        project.commit(config=BOTH)
        job = project.pipeline().job()
        job.must("pin")
        return job

    def leg(self, project: Project, pin: Job, platform: str) -> Job:
        job = project.pipeline().job(artifacts_of=pin, engine=FakeEngine(make_client(), parse_platform(platform)))
        ran = job.must("build", "--platform", platform)
        other = AMD64 if platform == ARM64 else ARM64
        assert (
            f"not for {other}: the build record will be partial; "
            "when every platform is built, `stagepin build --require-built` for all of them writes the whole one"
        ) in ran.err
        return job

    def test_legs_are_partial_and_the_fan_in_makes_the_index(self, project: Project, pin: Job) -> None:
        legs = {platform: self.leg(project, pin, platform) for platform in (AMD64, ARM64)}
        assert {job.record["complete"] for job in legs.values()} == {False}
        ran = legs[ARM64].run("verify")
        assert ran.code == 1
        assert "expected a complete build record, found a partial one with app" in ran.err
        last = project.pipeline().job(artifacts_of=pin)
        last.engine.dead = True
        last.must("build", "--require-built")
        assert last.record["complete"] is True
        built = {name: platform["digest"] for name, platform in app(last)["platforms"].items()}
        assert built == {platform: app(job)["digest"] for platform, job in legs.items()}
        assert stored(project, app(last)["digest"])[0] == DOCKER_INDEX
        last.must("verify")

    def test_the_fan_in_names_the_platform_that_is_missing(self, project: Project, pin: Job) -> None:
        self.leg(project, pin, AMD64)
        ran = project.pipeline().job(artifacts_of=pin).run("build", "--require-built")
        assert ran.code == 1
        assert "expected all 2 images to be built, found 1 missing: app (linux/arm64) (" in ran.err
        assert not [tag for repository, tag in project.registry.tags if repository == STAGES and "index" in tag]

    def test_platforms_that_were_named_when_pinning_make_legs_too(self, project: Project) -> None:
        put_base(project.registry)
        project.commit(config=BOTH.replace("platform: [linux/amd64, linux/arm64]\n", ""))
        pin = project.pipeline().job()
        pin.must("pin", "--platform", f"{AMD64},{ARM64}")
        assert self.leg(project, pin, ARM64).record["complete"] is False
        whole = project.pipeline().job(artifacts_of=pin)
        whole.must("build", "--platform", f"{AMD64},{ARM64}")
        assert whole.record["complete"] is True


class TestPlan:
    """The state of an index: cached only where all of it is there."""

    def states(self, job: Job) -> tuple[Any, dict[str, str]]:
        image = job.must("plan", "--format", "json").document["images"]["app"]
        return image["index"], {name: platform["state"] for name, platform in image["platforms"].items()}

    def test_everything_is_there(self, project: Project) -> None:
        put_base(project.registry)
        job = build(project)
        before = project.registry.count("HEAD")
        index, platforms = self.states(job)
        assert index == {"signature": app(job)["tags"][0], "state": "cached"}
        assert platforms == {AMD64: "cached", ARM64: "cached"}
        assert project.registry.count("HEAD") - before == 3

    def test_a_platform_or_the_index_is_missing(self, project: Project) -> None:
        put_base(project.registry)
        job = build(project)
        project.registry.delete(STAGES, Digest(app(job)["digest"]))
        assert self.states(job) == ({"signature": app(job)["tags"][0], "state": "missing"}, {AMD64: "cached", ARM64: "cached"})
        project.registry.delete(STAGES, Digest(app(job)["platforms"][ARM64]["digest"]))
        index, platforms = self.states(job)
        assert (index["state"], platforms) == ("missing", {AMD64: "cached", ARM64: "missing"})

    def test_an_index_that_lists_a_platform_which_is_gone_is_not_cached(self, project: Project) -> None:
        put_base(project.registry)
        job = build(project)
        project.registry.delete(STAGES, Digest(app(job)["platforms"][ARM64]["digest"]))
        index, platforms = self.states(job)
        assert (index["state"], platforms) == ("missing", {AMD64: "cached", ARM64: "missing"})

    def test_people_see_a_row_for_the_index(self, project: Project) -> None:
        put_base(project.registry)
        job = build(project)
        assert f"app    all          index               {app(job)['tags'][0]}  cached" in job.must("plan").out

    def test_one_platform_has_no_index(self, project: Project) -> None:
        put_base(project.registry)
        job = build(project, BOTH.replace("platform: [linux/amd64, linux/arm64]\n", ""))
        assert list(job.must("plan", "--format", "json").document["images"]["app"]) == ["platforms"]


def test_in_the_engines_own_store_there_is_no_index_but_an_image_for_every_platform(project: Project) -> None:
    put_base(project.registry)
    project.commit(config=BOTH)
    job = project.pipeline().job()
    out = job.must("build", "--pin", "--repo", ":local").out
    image = app(job)
    assert (image["reference"], image["digest"], image["mediaType"]) == (None, None, "")
    assert image["tags"] == [platform["signature"] for platform in image["platforms"].values()]
    for name, platform in image["platforms"].items():
        assert platform["digest"] is None
        found = job.engine.find_image(platform["imageId"])
        assert found is not None
        assert str(found.platform) == name
        assert f"app ({name})  {platform['imageId']}" in out


@pytest.mark.parametrize("command", [["build"], ["build", "--require-built"]])
def test_an_index_of_other_images_is_never_trusted_but_replaced(project: Project, command: list[str]) -> None:
    put_base(project.registry)
    job = build(project)
    (tag,) = app(job)["tags"]
    other = project.registry.put_image(STAGES, platform=ARM64, seed="another")
    forged = project.registry.put_index(STAGES, tag, {AMD64: Digest(app(job)["platforms"][AMD64]["digest"]), ARM64: other})
    again = project.pipeline().job(artifacts_of=job)
    assert f"app: the index {forged} listed other images than this build has; replaced" in again.must(*command).err
    assert project.registry.tags[STAGES, tag] == app(again)["digest"] == app(job)["digest"]
    again.must("verify")


def test_a_platform_that_was_lost_is_built_anew_and_so_is_the_index(project: Project) -> None:
    put_base(project.registry)
    first = build(project)
    for stage in app(first)["platforms"][ARM64]["stages"]:
        project.registry.delete(STAGES, Digest(stage["digest"]))
    again = project.pipeline().job(artifacts_of=first)
    again.must("build")
    assert app(again)["platforms"][AMD64]["digest"] == app(first)["platforms"][AMD64]["digest"]
    assert app(again)["platforms"][ARM64]["digest"] != app(first)["platforms"][ARM64]["digest"]
    assert app(again)["tags"] == app(first)["tags"]
    again.must("verify")


def test_an_index_of_other_images_under_a_tag_that_is_written_once_is_told_with_the_way_out(project: Project) -> None:
    put_base(project.registry)
    job = build(project)
    (tag,) = app(job)["tags"]
    other = project.registry.put_image(STAGES, platform=ARM64, seed="another")
    forged = project.registry.put_index(STAGES, tag, {AMD64: Digest(app(job)["platforms"][AMD64]["digest"]), ARM64: other})
    project.registry.immutable_tags = True
    ran = project.pipeline().job(artifacts_of=job).run("build", "--require-built")
    assert ran.code == 1
    assert f"expected {project.stages}:{tag} to take the index {app(job)['digest']}, found that the tag may not be written again" in ran.err
    assert f"what has the tag ({forged}) lists other images than this build has: delete the tag there, then build again" in ran.err


def test_an_image_under_the_tag_of_an_index_is_refused(project: Project) -> None:
    put_base(project.registry)
    job = build(project)
    (tag,) = app(job)["tags"]
    project.registry.put_image(STAGES, tag, seed="another")
    ran = project.pipeline().job(artifacts_of=job).run("build")
    assert ran.code == 1
    assert f"expected an index at {project.stages}:{tag}, found an image of one platform" in ran.err


def test_a_failed_platform_stops_what_stands_on_it_and_no_other_platform(project: Project) -> None:
    put_base(project.registry)
    project.commit(config=FAMILY)
    job = project.pipeline().job()
    job.must("pin")
    children = {name: Digest(digest) for name, digest in job.pins["pins"][0]["platforms"].items()}
    project.registry.delete(BASE, children[ARM64])
    ran = job.run("build")
    assert ran.code == 1
    assert "web (linux/arm64): not built, it needs app (linux/arm64), which failed" in ran.err
    assert "web (linux/amd64): stage dockerInstructions built in" in ran.err
    assert not (job.workspace / "build.json").exists()


def test_a_base_that_lacks_one_of_the_platforms_is_refused_when_it_is_pinned(project: Project) -> None:
    project.registry.put_index(BASE, "latest", {AMD64: project.registry.put_image(BASE, seed="amd64")})
    project.commit(config=BOTH)
    ran = project.pipeline().job().run("pin")
    assert ran.code == 2
    assert f"expected {project.base} for linux/arm64, found it for linux/amd64" in ran.err


def test_a_base_for_one_platform_alone_is_refused_when_it_is_pinned_for_two(project: Project) -> None:
    project.commit(config=BOTH)
    ran = project.pipeline().job().run("pin")
    assert ran.code == 2
    assert f"expected {project.base} for linux/arm64, found it for linux/amd64" in ran.err


def test_the_build_host_stage_of_a_dockerfile_has_one_base_for_all_platforms(project: Project) -> None:
    children = put_base(project.registry)
    project.write(
        "Dockerfile", f"FROM --platform=$BUILDPLATFORM {project.base} AS make\nRUN echo made\nFROM {project.base}\nCOPY --from=make /x /x\n"
    )
    project.commit()
    job = project.pipeline().job()
    job.must("pin", "--platform", f"{AMD64},{ARM64}")
    (pin,) = job.pins["pins"]
    assert pin["platforms"] == {name: str(digest) for name, digest in children.items()}
    plan = job.must("plan", "--platform", f"{AMD64},{ARM64}", "--format", "json").document["images"]
    (image,) = plan.values()
    assert image["platforms"][AMD64]["signature"] != image["platforms"][ARM64]["signature"]
    name = job.pins["images"][0]
    for platform in (AMD64, ARM64):
        shown = job.must("explain", name, "--platform", platform).out
        assert f"base.digest {project.base} by $BUILDPLATFORM" in shown
        assert str(children[platform]) in shown
        assert pin["digest"] in shown


@pytest.mark.parametrize("command", ["env-file", "outputs"])
def test_what_is_handed_on_names_the_index(project: Project, command: str) -> None:
    put_base(project.registry)
    job = build(project)
    if command == "env-file":
        job.must("verify", "--env-file", "images.env")
        assert (job.directory / "images.env").read_text() == f"STAGEPIN_IMAGE_APP={app(job)['reference']}\n"
    else:
        output, summary = job.directory / "output", job.directory / "summary"
        job.must("verify", GITHUB_OUTPUT=str(output), GITHUB_STEP_SUMMARY=str(summary))
        assert f'{{"app":"{app(job)["reference"]}"}}' in output.read_text()
        assert app(job)["digest"] in summary.read_text()
        assert all(platform["digest"] in summary.read_text() for platform in app(job)["platforms"].values())


def test_a_deploy_job_with_an_empty_workspace_verifies_every_platform(project: Project) -> None:
    put_base(project.registry)
    first = build(project)
    deploy = project.pipeline().job()
    deploy.must("fetch")
    assert deploy.record == first.record
    assert app(first)["reference"] in deploy.must("verify").out
    deploy.must("verify", "app")


class TestForeign:
    """An engine of another platform: what it makes all the same, and what is said where it cannot."""

    CONFIG = BOTH.replace("docker:", "shell:\n  install: [make all]\ndocker:")

    def test_a_failed_command_of_a_foreign_platform_says_what_is_missing(self, project: Project) -> None:
        put_base(project.registry)
        project.commit(config=self.CONFIG)
        job = project.pipeline().job()
        job.engine.fail("make all", 1, "exec /bin/sh: exec format error")
        job.must("pin")
        ran = job.run("build")
        assert ran.code == 1
        error = ran.err.partition("error: stage 'install' of image 'app (linux/arm64)'")[2]
        assert "this engine runs linux/amd64, and programs for linux/arm64 only where emulation of it is registered on its machine" in error
        assert (
            "build this platform in a job of its own on a machine that runs linux/arm64 (`stagepin build --platform linux/arm64`) "
            "and end with `stagepin build --require-built` for all platforms"
        ) in error

    def test_on_its_own_platform_nothing_is_said_of_another(self, project: Project) -> None:
        put_base(project.registry)
        project.commit(config=self.CONFIG)
        job = project.pipeline().job()
        job.engine.fail("make all")
        job.must("pin")
        ran = job.run("build", "--platform", AMD64)
        assert ran.code == 1
        assert "emulation" not in ran.err

    def test_a_default_platform_is_still_never_emulated(self, project: Project) -> None:
        put_base(project.registry)
        project.commit(config=BOTH.replace("platform: [linux/amd64, linux/arm64]\n", ""))
        job = project.pipeline().job(engine=FakeEngine(make_client(), parse_platform(ARM64)))
        job.must("pin")
        ran = job.run("build")
        assert ran.code == 2
        assert "expected an engine that runs linux/amd64 (the default platform), found one that runs linux/arm64" in ran.err
