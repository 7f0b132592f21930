"""Verify: one finding at a time, each provoked by exactly the change it is there for; and records of a matrix."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ci_plugin.services.verifying import RULES
from ci_plugin.values.digest import Digest
from ci_plugin.values.document import seal
from tests.fakes.registry import DOCKER_MANIFEST, OCI_INDEX
from tests.scenarios.pipeline import BASE, STAGES, Job, Project, Ran

CONFIG = 'image: app\nfrom: BASE\nfromLatest: true\nfromCacheVersion: "{{ env "VERSION" }}"\nshell:\n  install: [echo building]\n'
OTHER_DIGEST = str(Digest.of(b"another"))


@pytest.fixture
def built(project: Project) -> Job:
    """A job of pipeline 1001 that pinned and built."""
    project.commit(config=CONFIG)
    job = project.pipeline().job()
    job.environ["VERSION"] = "1"
    job.must("pin")
    job.must("build")
    return job


def build_for_both(project: Project) -> Job:
    """A job that pinned and built for amd64 and arm64."""
    children = {name: project.registry.put_image(BASE, None, seed=name, platform=name) for name in ("linux/amd64", "linux/arm64")}
    project.registry.put_index(BASE, "latest", children)
    project.commit(config="image: app\nfrom: BASE\nfromLatest: true\nplatform: [linux/amd64, linux/arm64]\ndocker:\n  USER: app\n")
    job = project.pipeline().job()
    job.must("pin")
    job.must("build")
    return job


def test_a_commit_that_is_no_full_id_is_refused_before_anything_is_compared(built: Job) -> None:
    ran = built.run("verify", "--commit", "HEAD~1")
    assert ran.code == 2
    assert "error: --commit: expected a full commit id (40 hex characters), found 'HEAD~1'" in ran.err
    assert "next: write it whole: `git rev-parse NAME` prints it" in ran.err


def rules(ran: Ran) -> list[str]:
    """The rules of the findings of ``verify --format json``; every finding has a message and a hint."""
    findings = ran.document["findings"]
    assert all(finding["message"].startswith("expected ") and finding["hint"] for finding in findings)
    assert all(set(finding) == {"rule", "severity", "message", "where", "hint"} for finding in findings)
    return [finding["rule"] for finding in findings]


def refused(job: Job, *options: str, **environ: str) -> Any:
    """The one finding of a verify that ends with 1."""
    ran = job.run("verify", "--format", "json", *options, **environ)
    assert ran.code == 1, ran.text
    assert rules(ran) == [ran.document["findings"][0]["rule"]]
    return ran.document["findings"][0]


def edit_record(job: Job, change: Callable[[Any, Any], None]) -> None:
    """Write another record, checksum and all: what a compromised or broken build job would leave. ``change`` gets image and platform."""
    record = job.record
    image = record["images"]["app"]
    change(image, image["platforms"]["linux/amd64"])
    (job.workspace / "build.json").write_bytes(seal({key: value for key, value in record.items() if key != "checksum"}))


def forge_image(project: Project, job: Job, change: Callable[[Any], None]) -> None:
    """Store a changed copy of the built image and let the record name it."""
    manifest = json.loads(project.registry.manifests[STAGES, job.digest()][1])
    config = json.loads(project.registry.blobs[manifest["config"]["digest"]])
    change(config)
    data = json.dumps(config).encode()
    manifest["config"] |= {"digest": str(Digest.of(data)), "size": len(data)}
    project.registry.blobs[str(Digest.of(data))] = data
    digest = project.registry.put_manifest(STAGES, None, json.dumps(manifest).encode(), DOCKER_MANIFEST)

    def name_it(image: Any, platform: Any) -> None:
        image |= {"digest": str(digest), "reference": f"{job.environ['CI_REGISTRY_IMAGE']}@{digest}"}
        platform |= {"digest": str(digest), "imageId": str(Digest.of(data))}

    edit_record(job, name_it)


def label(config: Any, name: str, change: Callable[[str], str]) -> None:
    labels = config["config"]["Labels"]
    labels[name] = change(labels[name])


def test_what_was_built_is_verified_from_the_storage_alone(project: Project, built: Job) -> None:
    project.move_base("2")
    before = len(project.upstream_requests())
    ran = project.pipeline().job().must("verify", "--format", "json")
    assert ran.document == {"findings": []}
    assert len(project.upstream_requests()) == before


class TestFindings:
    def test_pins_of_a_forks_code(self, project: Project, built: Job) -> None:
        body = {key: value for key, value in built.pins.items() if key != "checksum"}
        (built.workspace / "pins.json").write_bytes(seal({**body, "fork": "mallory/app"}))
        finding = refused(built)
        assert finding["rule"] == "pins-fork"
        assert finding["message"] == "expected pins of the project's own code, found those of the fork mallory/app"
        assert finding["hint"] == "deploy from a pipeline of the project's own code, or say --allow-fork where what a fork made may ship"

    def test_other_pins(self, project: Project, built: Job) -> None:
        pipeline = project.pipeline()
        project.registry.tags = {key: value for key, value in project.registry.tags.items() if not key[1].startswith("stagepin-")}
        again = pipeline.job()
        again.environ["VERSION"] = "1"
        again.clock.advance(60)
        again.must("pin")
        (again.workspace / "build.json").write_bytes((built.workspace / "build.json").read_bytes())
        finding = refused(again)
        assert finding["rule"] == "record-pins"
        expected = f"expected a record of the pins {again.pins['checksum']}, found one of {built.pins['checksum']}"
        assert finding["message"] == expected
        assert finding["hint"] == "build again in this scope"

    def test_another_commit(self, project: Project) -> None:
        first = project.commit(config=CONFIG)
        job = project.pipeline("1001").job()
        job.must("pin", STAGEPIN_SCOPE="train", VERSION="1")
        job.must("build", STAGEPIN_SCOPE="train", VERSION="1")
        project.write("README", "later")
        second = project.commit()
        deploy = project.pipeline("1002").job()
        finding = refused(deploy, STAGEPIN_SCOPE="train")
        assert finding["rule"] == "record-commit"
        assert finding["message"] == f"expected a record of commit {second}, found {first}"
        assert "for a rollback name the commit with --commit" in finding["hint"]
        deploy.must("verify", "--commit", first, STAGEPIN_SCOPE="train")

    def test_built_in_the_engines_own_store(self, project: Project) -> None:
        project.commit(config=CONFIG)
        job = project.pipeline().job()
        job.must("pin", VERSION="1")
        job.must("build", "--repo", ":local", VERSION="1")
        finding = refused(job)
        assert finding["rule"] == "record-published"
        assert "found no reference: it was built in :local" in finding["message"]

    def test_a_record_that_names_another_repository(self, built: Job) -> None:
        edit_record(built, lambda image, _: image.update(reference=f"registry.example.com/elsewhere@{image['digest']}"))
        finding = refused(built)
        assert finding["rule"] == "record-published"
        assert "found registry.example.com/elsewhere@sha256:" in finding["message"]

    def test_a_record_of_another_repository_than_the_deploy_names(self, project: Project, built: Job) -> None:
        finding = refused(built, STAGEPIN_REPO=f"{project.registry.address}/group/other")
        assert finding["rule"] == "record-published"
        assert f"expected 'app' in {project.registry.address}/group/other, found {project.stages}@sha256:" in finding["message"]

    def test_a_digest_that_is_gone(self, project: Project, built: Job) -> None:
        project.registry.delete(STAGES, Digest(built.digest()))
        finding = refused(built)
        assert finding["rule"] == "image-exists"
        assert finding["message"] == f"expected 'app' at {project.stages}@{built.digest()}, found it gone"
        assert "build again in this scope" in finding["hint"]

    def test_a_config_the_registry_lost(self, project: Project, built: Job) -> None:
        del project.registry.blobs[built.record["images"]["app"]["platforms"]["linux/amd64"]["imageId"]]
        finding = refused(built)
        assert finding["rule"] == "image-exists"
        assert finding["where"] == f"{project.stages}@{built.digest()}"

    def test_another_image_id(self, built: Job) -> None:
        edit_record(built, lambda _, platform: platform.update(imageId=OTHER_DIGEST))
        finding = refused(built)
        assert finding["rule"] == "image-config"
        assert f"expected 'app' to have the image ID {OTHER_DIGEST}, found sha256:" in finding["message"]
        assert finding["hint"].startswith("the image is not the recorded one: do not deploy it")

    def test_another_digest_for_the_platform_than_for_the_image(self, built: Job) -> None:
        edit_record(built, lambda _, platform: platform.update(digest=OTHER_DIGEST))
        finding = refused(built)
        assert finding["rule"] == "image-config"
        assert finding["message"] == f"expected 'app' for linux/amd64 at {OTHER_DIGEST}, as its record says, found {built.digest()}"

    def test_an_index_in_place_of_the_manifest(self, project: Project, built: Job) -> None:
        index = project.registry.put_index(STAGES, None, {"linux/amd64": Digest(built.digest())}, media_type=OCI_INDEX)
        edit_record(built, lambda image, _: image.update(digest=str(index), reference=f"{project.stages}@{index}"))
        finding = refused(built)
        assert finding["rule"] == "image-config"
        assert finding["message"].endswith("found an index")

    def test_another_platform(self, project: Project, built: Job) -> None:
        forge_image(project, built, lambda config: config.update(architecture="arm64"))
        finding = refused(built)
        assert finding["rule"] == "image-config"
        assert finding["message"] == "expected 'app' to be for linux/amd64, found linux/arm64"

    def test_something_that_is_no_image(self, project: Project, built: Job) -> None:
        project.registry.blobs[str(Digest.of(b"{}"))] = b"{}"
        config = {"mediaType": "application/vnd.oci.empty.v1+json", "digest": str(Digest.of(b"{}")), "size": 2}
        document = json.dumps({"schemaVersion": 2, "mediaType": DOCKER_MANIFEST, "config": config, "layers": []}).encode()
        digest = project.registry.put_manifest(STAGES, None, document, DOCKER_MANIFEST)
        edit_record(built, lambda image, _: image.update(digest=str(digest), reference=f"{project.stages}@{digest}"))
        edit_record(built, lambda _, platform: platform.update(imageId=str(Digest.of(b"{}"))))
        finding = refused(built)
        assert finding["rule"] == "image-config"
        assert "found something else" in finding["message"]

    @pytest.mark.parametrize("name", ["stagepin.signature", "stagepin.base", "org.opencontainers.image.base.digest"])
    def test_a_tampered_label(self, project: Project, built: Job, name: str) -> None:
        pinned = built.pinned(project.base)
        changes = {
            "stagepin.signature": lambda text: "0" * len(text),
            "stagepin.base": lambda text: text.replace(pinned, OTHER_DIGEST),
            "org.opencontainers.image.base.digest": lambda _: OTHER_DIGEST,
        }
        forge_image(project, built, lambda config: label(config, name, changes[name]))
        finding = refused(built)
        assert finding["rule"] == "image-labels"
        assert finding["message"].startswith("expected 'app' to be labelled with ")

    def test_no_labels_of_ours(self, project: Project, built: Job) -> None:
        forge_image(project, built, lambda config: config["config"].update(Labels=None))
        finding = refused(built)
        assert finding["rule"] == "image-labels"
        assert "expected 'app' to carry stagepin's labels" in finding["message"]

    def test_other_layers(self, project: Project, built: Job) -> None:
        forge_image(project, built, lambda config: config["rootfs"]["diff_ids"].__setitem__(0, OTHER_DIGEST))
        finding = refused(built)
        assert finding["rule"] == "base-layers"
        assert finding["message"].endswith(f"found {OTHER_DIGEST}")

    def test_a_base_that_was_not_pinned(self, project: Project, built: Job) -> None:
        pinned = built.pinned(project.base)

        def relabel(config: Any) -> None:
            label(config, "stagepin.base", lambda text: text.replace(pinned, OTHER_DIGEST))
            label(config, "org.opencontainers.image.base.digest", lambda _: OTHER_DIGEST)

        forge_image(project, built, relabel)
        edit_record(built, lambda _, platform: platform["base"].update(digest=OTHER_DIGEST))
        finding = refused(built)
        assert finding["rule"] == "base-pinned"
        assert finding["message"] == f"expected 'app' on {project.base} pinned to {pinned}, found it built on {OTHER_DIGEST}"

    def test_a_base_that_is_called_kept_though_its_digest_is_an_input(self, built: Job) -> None:
        edit_record(built, lambda _, platform: platform["base"].update(state="kept"))
        finding = refused(built)
        assert finding["rule"] == "base-pinned"
        assert finding["message"].startswith("expected 'app' on a pinned base, because its digest is an input of the stage signature")

    def test_another_configuration(self, built: Job) -> None:
        built.must("verify", "--recompute")
        finding = refused(built, "--recompute", VERSION="2")
        assert finding["rule"] == "signature-recomputed"
        assert "`stagepin explain app --against RECORD` says what changed" in finding["hint"]

    @pytest.mark.parametrize("is_lost", [False, True], ids=["another manifest", "one manifest less"])
    def test_an_index_that_does_not_hold_what_was_built(self, project: Project, is_lost: bool) -> None:
        job = build_for_both(project)
        children = {name: Digest(platform["digest"]) for name, platform in job.record["images"]["app"]["platforms"].items()}
        children["linux/arm64"] = project.registry.put_image(STAGES, platform="linux/arm64", seed="another")
        if is_lost:
            del children["linux/arm64"]
        index = project.registry.put_index(STAGES, None, children)
        edit_record(job, lambda image, _: image.update(digest=str(index), reference=f"{project.stages}@{index}"))
        finding = refused(job)
        assert finding["rule"] == "index-platforms"
        expected = job.record["images"]["app"]["platforms"]["linux/arm64"]["digest"]
        found = "linux/amd64" if is_lost else children["linux/arm64"]
        assert finding["message"] == f"expected the index of 'app' to have {expected} for linux/arm64, found {found}"

    def test_an_index_with_a_platform_that_was_not_built(self, project: Project) -> None:
        job = build_for_both(project)
        children = {name: Digest(platform["digest"]) for name, platform in job.record["images"]["app"]["platforms"].items()}
        children["linux/s390x"] = project.registry.put_image(STAGES, platform="linux/s390x", seed="smuggled")
        index = project.registry.put_index(STAGES, None, children)
        edit_record(job, lambda image, _: image.update(digest=str(index), reference=f"{project.stages}@{index}"))
        finding = refused(job)
        assert finding["rule"] == "index-platforms"
        assert finding["message"] == (
            f"expected the index of 'app' to be for linux/amd64, linux/arm64, found {children['linux/s390x']} for linux/s390x too"
        )

    def test_a_platform_of_an_index_that_is_gone(self, project: Project) -> None:
        job = build_for_both(project)
        digest = job.record["images"]["app"]["platforms"]["linux/arm64"]["digest"]
        project.registry.delete(STAGES, Digest(digest))
        finding = refused(job)
        assert finding["rule"] == "image-exists"
        assert finding["message"] == f"expected 'app' (linux/arm64) at {project.stages}@{digest}, found it gone"

    def test_a_platform_on_another_base_than_was_pinned(self, project: Project) -> None:
        job = build_for_both(project)
        edit_record(job, lambda image, _: image["platforms"]["linux/arm64"]["base"].update(diffIds=[OTHER_DIGEST]))
        messages = [finding["message"] for finding in job.run("verify", "--format", "json").document["findings"]]
        assert any(text.startswith(f"expected 'app' (linux/arm64) to begin with the base's layers {OTHER_DIGEST}") for text in messages)

    def test_a_checkout_that_builds_for_other_platforms(self, project: Project) -> None:
        job = build_for_both(project)
        job.must("verify", "--recompute")
        finding = refused(job, "--recompute", "--platform", "linux/amd64")
        assert finding["rule"] == "signature-recomputed"
        assert finding["message"] == (
            "expected 'app' to be built for linux/arm64, as its record says, found it built for linux/amd64 by this checkout"
        )
        assert finding["hint"] == "give verify the --platform that build had"

    def test_every_rule_has_a_test_here(self) -> None:
        text = Path(__file__).read_text() + Path(__file__).with_name("test_dependencies.py").read_text()
        assert [rule for rule in RULES if f'finding["rule"] == "{rule}"' not in text] == []


def test_a_base_whose_platform_is_the_engines_own_is_verified_against_the_index_it_was_built_on(project: Project) -> None:
    digests = {name: project.registry.put_image(BASE, None, seed=name, platform=name) for name in ("linux/amd64", "linux/arm64")}
    project.registry.put_index(BASE, "multi", digests)
    image = project.base.replace(":latest", ":multi")
    project.write("Dockerfile", f"FROM --platform=$BUILDPLATFORM {image}\nRUN echo built\n")
    project.commit()
    job = project.pipeline().job()
    job.must("build", "--pin")
    job.must("verify")


def test_a_refused_verify_leaves_no_env_file_and_prints_what_to_do(project: Project, built: Job) -> None:
    project.registry.delete(STAGES, Digest(built.digest()))
    ran = built.run("verify", "--env-file", "images.env")
    assert ran.code == 1
    assert ran.out.startswith("error: expected 'app' at ")
    assert "[image-exists]" in ran.out
    assert not (built.directory / "images.env").exists()


def test_a_registry_that_gives_no_answer_is_no_finding(project: Project, built: Job) -> None:
    project.registry.fail(status=503, path=f"/v2/{STAGES}/manifests/sha256", times=None)
    ran = built.run("verify", "--format", "json")
    assert ran.code == 3
    assert ran.out == ""


class TestMatrix:
    CONFIG = "image: app\nfrom: BASE\nfromLatest: true\n---\nimage: web\nfrom: BASE\nfromLatest: true\nshell:\n  setup: [make web]\n"

    def test_a_leg_writes_a_partial_record_that_is_not_taken_for_the_whole(self, project: Project) -> None:
        project.commit(config=self.CONFIG)
        leg = project.pipeline().job()
        leg.must("pin")
        leg.must("build", "app")
        assert leg.record["complete"] is False
        ran = leg.run("verify")
        assert ran.code == 1
        assert "expected a complete build record, found a partial one with app" in ran.err
        assert "next: run `stagepin build --require-built` after the last build job, or name the images" in ran.err
        leg.must("verify", "app")
        ran = leg.run("verify", "web")
        assert ran.code == 1
        assert "expected web in the build record, found app" in ran.err

    def test_the_fan_in_writes_the_whole_record_without_an_engine(self, project: Project) -> None:
        project.commit(config=self.CONFIG)
        pipeline = project.pipeline()
        pin, app, web, fan_in, deploy = (pipeline.job() for _ in range(5))
        pin.must("pin")
        app.must("build", "app")
        web.must("build", "web")
        assert pipeline.job().run("verify").code == 2, "no record is kept in the storage yet"
        fan_in.engine.dead = True
        fan_in.must("build", "--require-built")
        assert (fan_in.record["complete"], list(fan_in.record["images"])) == (True, ["app", "web"])
        assert [fan_in.digest("app"), fan_in.digest("web")] == [app.digest("app"), web.digest("web")]
        deploy.must("verify")
        pipeline.job(artifacts_of=app).must("verify")

    def test_the_fan_in_names_every_image_that_is_missing(self, project: Project) -> None:
        project.commit(config=self.CONFIG)
        pipeline = project.pipeline()
        pin, app, fan_in = (pipeline.job() for _ in range(3))
        pin.must("pin")
        app.must("build", "app")
        ran = fan_in.run("build", "--require-built")
        assert ran.code == 1
        assert "expected all 2 images to be built, found 1 missing: web (" in ran.err
        assert not (fan_in.workspace / "build.json").exists()

    def test_a_retried_build_that_built_nothing_leaves_the_kept_record_as_it_is(self, project: Project) -> None:
        project.commit(config=self.CONFIG)
        pipeline = project.pipeline()
        build, retried = pipeline.job(), pipeline.job()
        build.must("pin")
        build.must("build")
        kept = dict(project.registry.tags)
        assert "stays: it names the same digests" in retried.must("build").err
        assert project.registry.tags == kept

    def test_a_later_commit_of_a_release_train_replaces_the_record_of_the_same_digests(self, project: Project) -> None:
        project.commit(config=self.CONFIG)
        first = project.pipeline("1001").job()
        first.must("build", "--pin", STAGEPIN_SCOPE="train")
        project.write("README", "later")
        project.commit()
        pipeline = project.pipeline("1002")
        build, deploy = pipeline.job(), pipeline.job()
        build.must("build", STAGEPIN_SCOPE="train")
        assert build.digest("app") == first.digest("app")
        deploy.must("verify", STAGEPIN_SCOPE="train")
