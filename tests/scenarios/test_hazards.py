"""Hazards A to D of a base that moves: each without pins, where the fault happens, and with them, where it does not.

"Without pins" is every job on its own: it asks the registry anew what the tag means, as tools do that keep no pin file. Here that is a
scope of its own for each job.
"""

from __future__ import annotations

import json
from typing import Any

from ci_plugin.values.digest import Digest
from ci_plugin.values.reference import parse_reference
from tests.fakes.registry_client import make_client
from tests.scenarios.pipeline import BASE, STAGES, Job, Project

CONFIG = "image: app\nfrom: BASE\nfromLatest: true\nshell:\n  install: [echo building]\n"


def by_itself(job: Job, name: str, *argv: str) -> int:
    """Run a command as a job that knows nothing of its pipeline's other jobs."""
    code = job.run("pin", "--scope", name).code
    return code or job.run(*argv, "--scope", name).code


class TestHazardA:
    """The base moves between build and deploy."""

    def test_without_pins_the_deploy_job_finds_no_image(self, project: Project) -> None:
        project.commit(config=CONFIG)
        pipeline = project.pipeline()
        assert by_itself(pipeline.job(), "build-job", "build") == 0
        project.move_base("2")
        deploy = pipeline.job()
        assert by_itself(deploy, "deploy-job", "build", "--require-built") == 1
        assert "found 1 missing: app" in deploy.run("build", "--require-built", "--scope", "deploy-job").err

    def test_with_pins_the_deploy_job_ships_what_was_built(self, project: Project) -> None:
        project.commit(config=CONFIG)
        pipeline = project.pipeline()
        pin, build, deploy = (pipeline.job() for _ in range(3))
        pin.must("pin")
        build.must("build")
        project.move_base("2")
        ran = deploy.must("verify", "--env-file", "images.env")
        assert f"app             {project.stages}@{build.digest()}" in ran.out
        assert (deploy.directory / "images.env").read_text() == f"STAGEPIN_IMAGE_APP={project.stages}@{build.digest()}\n"
        assert deploy.must("build", "--require-built").code == 0


class TestHazardB:
    """The base moves after the deploy, and somebody presses retry or rolls back."""

    def test_without_pins_the_rollback_finds_no_image(self, project: Project) -> None:
        first = project.commit(config=CONFIG)
        assert by_itself(project.pipeline("1001").job(), "first", "build") == 0
        project.move_base("2")
        project.commit(config=CONFIG.replace("building", "changed"))
        assert by_itself(project.pipeline("1002").job(), "second", "build") == 0
        assert by_itself(project.pipeline("1001", commit=first).job(), "rollback", "build", "--require-built") == 1

    def test_with_pins_the_retried_deploy_and_the_rollback_get_the_old_image(self, project: Project) -> None:
        first = project.commit(config=CONFIG)
        old = project.pipeline("1001")
        build = old.job()
        build.must("pin")
        build.must("build")
        project.move_base("2")
        project.commit(config=CONFIG.replace("building", "changed"))
        new = project.pipeline("1002")
        later = new.job()
        later.must("pin")
        later.must("build")
        retried = project.pipeline("1001", commit=first).job()
        assert build.digest() in retried.must("verify").out
        rollback = new.job()
        assert build.digest() in rollback.must("verify", "--pipeline", "1001").out
        assert later.digest() != build.digest()


class TestHazardC:
    """The tag moves between the question "which digest?" and the pull."""

    def test_without_pins_a_stage_named_for_one_base_holds_another(self, project: Project) -> None:
        client, tag = make_client(), parse_reference(project.base)
        asked = client.resolve([tag])[tag]
        project.move_base("2")
        pulled = client.find_manifest(tag)
        assert pulled is not None
        assert pulled.descriptor != asked

    def test_with_pins_a_stage_holds_the_base_it_is_named_for(self, project: Project) -> None:
        project.commit(config=CONFIG)
        job = project.pipeline().job()
        job.must("pin")
        pinned = job.pinned(project.base)
        moved = project.move_base("2")
        job.must("build")
        assert job.built_on() == pinned != str(moved)
        assert [str(reference) for reference in job.engine.pulled] == [f"{project.registry.address}/{BASE}@{pinned}"]
        config = config_of(project, job.digest())
        assert config["config"]["Labels"]["org.opencontainers.image.base.digest"] == pinned
        assert config["rootfs"]["diff_ids"][0] == layers_of(project, pinned)[0]


class TestHazardD:
    """Two build jobs of one pipeline run in parallel, or one is retried, while the base moves."""

    def test_without_pins_one_pipeline_ships_two_bases(self, project: Project) -> None:
        project.commit(config=CONFIG + "---\nimage: web\nfrom: BASE\nfromLatest: true\n")
        pipeline = project.pipeline()
        app, web = pipeline.job(), pipeline.job()
        assert by_itself(app, "app-job", "build", "app") == 0
        project.move_base("2")
        assert by_itself(web, "web-job", "build", "web") == 0
        assert app.built_on("app") != web.built_on("web")

    def test_with_pins_both_jobs_use_one_base(self, project: Project) -> None:
        project.commit(config=CONFIG + "---\nimage: web\nfrom: BASE\nfromLatest: true\n")
        pipeline = project.pipeline()
        pin, app, web, again = (pipeline.job() for _ in range(4))
        pin.must("pin")
        app.must("build", "app")
        project.move_base("2")
        web.must("build", "web")
        again.must("build", "app")
        assert app.built_on("app") == web.built_on("web") == pin.pinned(project.base)
        assert again.digest("app") == app.digest("app")


def config_of(project: Project, digest: str, repository: str = STAGES) -> Any:
    manifest = json.loads(project.registry.manifests[repository, digest][1])
    return json.loads(project.registry.blobs[manifest["config"]["digest"]])


def layers_of(project: Project, digest: str) -> list[str]:
    assert Digest(digest)
    config = config_of(project, digest, BASE)
    return list(config["rootfs"]["diff_ids"])
