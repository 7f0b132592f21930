"""The second channel: the checksum the pin job hands on beside the pins, and what it catches that the pins themselves cannot.

Whoever may write CI artifacts in a pipeline, or the stages storage, can write pins whose own checksum is right. Without a second channel or
a signature that is not detected, and nobody claims so (SECURITY.md): the twin tests here say what then happens.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ci_plugin.values.digest import Digest
from ci_plugin.values.document import seal
from tests.fakes.registry import OCI_MANIFEST
from tests.scenarios.pipeline import BASE, STAGES, Job, Pipeline, Project

CONFIG = "image: app\nfrom: BASE\nfromLatest: true\n"
DOTENV = re.compile(r"STAGEPIN_PIN_CHECKSUM=(sha256:[0-9a-f]{64})\n")
NOT_THESE = "error: expected the pins whose checksum the pin job handed on, "


@pytest.fixture
def pipeline(project: Project) -> Pipeline:
    project.commit(config=CONFIG)
    return project.pipeline()


def pin(job: Job) -> str:
    """Pin, and what the dotenv report hands on."""
    job.must("pin", "--env-file", str(job.directory / "pins.env"))
    found = DOTENV.fullmatch((job.directory / "pins.env").read_text())
    assert found
    return found[1]


def rewrite(job: Job, change: Callable[[Any], None]) -> None:
    """Another job of the pipeline changes the pin file, checksum and all."""
    body = {key: value for key, value in job.pins.items() if key != "checksum"}
    change(body)
    (job.workspace / "pins.json").write_bytes(seal(body))


def refused_by_every_command(job: Job, checksum: str) -> None:
    for command in ("pin", "plan", "build", "verify"):
        ran = job.run(command, STAGEPIN_PIN_CHECKSUM=checksum)
        assert ran.code == 2, ran.text
        assert f"{NOT_THESE}{checksum}, found sha256:" in ran.err
        assert "next: somebody wrote other pins of this scope after the pin job: find out who, then run a new pipeline" in ran.err


class TestTheWayOfTheChecksum:
    def test_every_later_job_takes_it_from_the_environment(self, pipeline: Pipeline) -> None:
        first = pipeline.job()
        checksum = pin(first)
        assert checksum == first.pins["checksum"]
        build, deploy = pipeline.job(artifacts_of=first), pipeline.job()
        build.must("build", STAGEPIN_PIN_CHECKSUM=checksum)
        deploy.must("fetch", STAGEPIN_PIN_CHECKSUM=checksum)
        deploy.must("verify", STAGEPIN_PIN_CHECKSUM=checksum)
        deploy.must("verify", "--pin-checksum", checksum)

    def test_a_retried_pin_job_hands_on_the_same(self, project: Project, pipeline: Pipeline) -> None:
        first = pin(pipeline.job())
        project.move_base("2")
        assert pin(pipeline.job()) == first

    def test_a_report_that_cannot_be_written_stops_the_job_before_it_pins_and_leaves_what_was_there(
        self, pipeline: Pipeline, tmp_path: Path
    ) -> None:
        directory, link = tmp_path / "directory", tmp_path / "link"
        directory.mkdir()
        link.symlink_to(tmp_path / "elsewhere")
        for name, message in {
            directory: "expected a regular file to write to, found a directory",
            link: "expected a regular file to write to, found a symbolic link",
            tmp_path / "none" / "pins.env": "to be readable and writable, found: No such file or directory",
        }.items():
            job = pipeline.job()
            ran = job.run("pin", "--env-file", str(name))
            assert ran.code == 2
            assert message in ran.err
            assert not job.workspace.exists(), "no pins are made that nobody could be told of"
        assert sorted(path.name for path in tmp_path.iterdir() if not path.name.startswith(("checkout", "origin"))) == ["directory", "link"]

    def test_no_pins_no_report(self, project: Project, pipeline: Pipeline) -> None:
        job = pipeline.job()
        assert job.run("pin", "--locked", "--env-file", "pins.env").code == 1
        assert not (job.directory / "pins.env").exists()

    def test_an_empty_variable_is_none_and_a_broken_one_stops_every_command(self, pipeline: Pipeline) -> None:
        job = pipeline.job()
        pin(job)
        job.must("plan", STAGEPIN_PIN_CHECKSUM="")
        for command in (["pin"], ["plan"], ["build"], ["verify"], ["fetch"], ["explain", "app"], ["doctor"]):
            ran = job.run(*command, STAGEPIN_PIN_CHECKSUM="***")
            assert ran.code == 2
            assert "error: expected sha256:<64 hex> in $STAGEPIN_PIN_CHECKSUM, found '***'" in ran.err
            assert "  at: $STAGEPIN_PIN_CHECKSUM\n" in ran.err

    def test_an_option_that_lost_its_value_on_the_way_is_no_less_than_an_error(self, pipeline: Pipeline) -> None:
        job = pipeline.job()
        pin(job)
        ran = job.run("verify", "--pin-checksum", "")
        assert ran.code == 2
        assert "error: expected sha256:<64 hex> in --pin-checksum, found nothing" in ran.err

    def test_a_rollback_has_other_pins_than_this_pipeline_and_is_compared_where_it_says_so(self, project: Project) -> None:
        project.commit(config=CONFIG)
        old = project.pipeline("1000").job()
        before = pin(old)
        old.must("build")
        project.move_base("2")
        project.commit(config=CONFIG + "shell:\n  setup: [echo new]\n")
        new = project.pipeline("1001").job()
        now = pin(new)
        assert now != before
        rollback = project.pipeline("1001").job()
        rollback.must("fetch", "--pipeline", "1000", STAGEPIN_PIN_CHECKSUM=now)
        rollback.must("verify", "--pipeline", "1000", STAGEPIN_PIN_CHECKSUM=now)
        rollback.must("verify", "--pipeline", "1000", "--pin-checksum", before)
        ran = rollback.run("verify", "--pipeline", "1000", "--pin-checksum", now)
        assert ran.code == 2
        assert f"{NOT_THESE}{now}, found {before}" in ran.err

    def test_a_pin_job_that_finds_no_pins_of_that_checksum_makes_none(self, project: Project, pipeline: Pipeline) -> None:
        checksum = "sha256:" + "0" * 64
        ran = pipeline.job().run("pin", STAGEPIN_PIN_CHECKSUM=checksum)
        assert ran.code == 2
        assert f"expected the pins of pipeline:1001 whose checksum the pin job handed on, {checksum}, found none" in ran.err
        assert project.upstream_requests() == []


class TestPinsThatSomebodyWroteAfterThePinJob:
    def test_in_the_stages_storage(self, project: Project, pipeline: Pipeline) -> None:
        first = pipeline.job()
        checksum = pin(first)
        (tag,) = [
            name for where, name in project.registry.tags if where == STAGES and name.startswith("stagepin-") and "project" not in name
        ]
        project.registry.delete(STAGES, Digest(project.registry.tags[STAGES, tag]))
        project.move_base("2")
        pipeline.job().must("pin")
        for command in ("pin", "build", "fetch", "verify"):
            ran = pipeline.job().run(command, STAGEPIN_PIN_CHECKSUM=checksum)
            assert ran.code == 2
            assert f"{NOT_THESE}{checksum}, found sha256:" in ran.err

    def test_in_the_ci_artifact(self, pipeline: Pipeline) -> None:
        first = pipeline.job()
        checksum = pin(first)
        rewrite(first, lambda body: body["pins"][0].update(size=body["pins"][0]["size"] + 1))
        refused_by_every_command(pipeline.job(artifacts_of=first), checksum)

    def test_although_the_storage_has_the_right_ones(self, project: Project, pipeline: Pipeline) -> None:
        first = pipeline.job()
        checksum = pin(first)
        older = project.move_base("0")
        rewrite(first, lambda body: body["pins"][0].update(digest=str(older), platforms={"linux/amd64": str(older)}))
        job = pipeline.job(artifacts_of=first)
        refused_by_every_command(job, checksum)
        job.must("fetch", STAGEPIN_PIN_CHECKSUM=checksum)
        job.must("build", STAGEPIN_PIN_CHECKSUM=checksum)

    def test_twin_without_the_channel_an_older_base_passes_until_the_record_is_compared(self, project: Project, pipeline: Pipeline) -> None:
        """A downgrade to a real digest: the documented limit of pins that nobody vouches for."""
        first = pipeline.job()
        pin(first)
        first.must("build")
        older = project.move_base("0")
        rewrite(first, lambda body: body["pins"][0].update(digest=str(older), platforms={"linux/amd64": str(older)}))
        ran = pipeline.job(artifacts_of=first).run("verify", "--format", "json")
        assert ran.code == 1
        assert [finding["rule"] for finding in ran.document["findings"]] == ["record-pins", "base-pinned"]


def swap(body: Any) -> None:
    one, two = body["pins"]
    for key in ("digest", "platforms", "size"):
        one[key], two[key] = two[key], one[key]


def set_digest(digest: str) -> Callable[[Any], None]:
    return lambda body: body["pins"][0].update(digest=digest, platforms={"linux/amd64": digest})


class TestWhatThePinsRulesSeeByThemselves:
    """List B of the threats: pins with a right checksum and a wrong content, where no second channel came."""

    @pytest.fixture
    def pinned(self, project: Project) -> Job:
        project.registry.put_image("base/other", "latest", seed="other")
        project.commit(config=CONFIG + f"---\nimage: web\nfrom: {project.registry.address}/base/other\nfromLatest: true\n")
        job = project.pipeline().job()
        job.must("pin")
        return job

    def test_digests_swapped_between_two_images_are_in_neither_repository(self, project: Project, pinned: Job) -> None:
        bases = {project.base, f"{project.registry.address}/base/other:latest"}
        right = {pinned.pinned(base) for base in bases}
        rewrite(pinned, swap)
        assert {pinned.pinned(base) for base in bases} == right
        ran = pinned.run("build")
        assert ran.code == 1
        assert f"@{pinned.pinned(project.base)}" in ran.err
        assert pinned.engine.pulled == []
        assert not (pinned.workspace / "build.json").exists()

    @pytest.mark.parametrize("kind", ["config", "other repository", "made up"])
    def test_a_digest_that_is_no_manifest_of_that_repository_builds_nothing(self, project: Project, pinned: Job, kind: str) -> None:
        manifest = json.loads(project.registry.manifests[BASE, pinned.pinned(project.base)][1])
        digest = {
            "config": manifest["config"]["digest"],
            "other repository": pinned.pinned(f"{project.registry.address}/base/other:latest"),
            "made up": "sha256:" + "1" * 64,
        }[kind]
        rewrite(pinned, set_digest(digest))
        ran = pinned.run("build", "app")
        assert ran.code == 1, ran.text
        assert digest in ran.err
        assert pinned.engine.builds == []

    def test_the_child_in_place_of_the_index_is_the_same_base(self, project: Project) -> None:
        children = {"linux/amd64": project.registry.put_image(BASE, platform="linux/amd64", seed="i")}
        project.registry.put_index(BASE, "latest", children)
        project.commit(config=CONFIG)
        job = project.pipeline().job()
        job.must("pin")
        job.must("build")
        before = job.digest()
        rewrite(job, lambda body: body["pins"][0].update(digest=str(children["linux/amd64"])))
        job.must("build")
        assert job.digest() == before

    def test_a_wrong_size_or_media_type_is_no_input_of_anything(self, pinned: Job) -> None:
        pinned.must("build")
        before = pinned.digest()
        rewrite(pinned, lambda body: body["pins"][0].update(size=1, mediaType=OCI_MANIFEST))
        pinned.must("build")
        assert pinned.digest() == before

    def test_an_image_more_in_the_pins_is_ignored_and_one_less_stops(self, project: Project, pinned: Job) -> None:
        extra = {**pinned.pins["pins"][0], "reference": f"{project.registry.address}/base/extra:latest"}
        rewrite(pinned, lambda body: body["pins"].append(extra))
        pinned.must("plan")
        rewrite(pinned, lambda body: body["pins"].pop(0))
        ran = pinned.run("plan")
        assert ran.code == 2
        assert f"expected {project.base} among the 2 pins of pipeline:1001, found it missing" in ran.err

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda body: body.update(commit="b" * 40), f"found commit {'b' * 40}"),
            (lambda body: body.update(scope="pipeline:1002"), "expected pins of scope pipeline:1001, found scope pipeline:1002"),
            (lambda body: body["pipeline"].update(forge="github"), "expected pins of forge gitlab, found forge github"),
            (lambda body: body["pipeline"].update(host="evil.example"), "found host evil.example"),
            (lambda body: body["pipeline"].update(projectId="99"), "expected pins of project id 4711, found project id 99"),
            (lambda body: body.update(fork="mallory/app"), "found those of the fork mallory/app: its code decided what they are"),
        ],
        ids=["commit", "scope", "forge", "host", "project id", "fork"],
    )
    def test_every_bound_field_is_compared_with_what_the_forge_says(self, pinned: Job, change: Callable[[Any], None], message: str) -> None:
        rewrite(pinned, change)
        for command in ("pin", "plan", "build"):
            ran = pinned.run(command)
            assert ran.code == 2
            assert message in ran.err

    @pytest.mark.parametrize(
        ("field", "value"), [("id", "1"), ("project", "renamed/app")], ids=["the id beside the scope", "what the project is called"]
    )
    def test_what_is_there_for_people_decides_nothing(self, pinned: Job, field: str, value: str) -> None:
        rewrite(pinned, lambda body: body["pipeline"].update({field: value}))
        pinned.must("plan")

    def test_pins_from_the_future_stop_only_where_age_matters(self, pinned: Job) -> None:
        rewrite(pinned, lambda body: body.update(createdAt="2027-01-02T03:04:05Z"))
        pinned.must("plan")
        pinned.must("pin", "--locked")
        ran = pinned.run("pin", "--max-age", "7d")
        assert ran.code == 1
        assert "found them created 365d in the future, by this machine's clock (2027-01-02T03:04:05Z)" in ran.err

    @pytest.mark.parametrize("more", [b"x", b"{}", b"\x00"])
    def test_anything_after_the_document_is_refused_and_white_space_is_not(self, pinned: Job, more: bytes) -> None:
        file = pinned.workspace / "pins.json"
        data = file.read_bytes()
        file.write_bytes(b" " + data.replace(b"  ", b"\t") + b"\n\n")
        pinned.must("plan")
        file.write_bytes(data + more)
        ran = pinned.run("plan")
        assert ran.code == 2
        assert "expected a whole JSON document" in ran.err
