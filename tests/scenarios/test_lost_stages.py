"""Stages of which the registry lost something: made anew where they are needed, and every later run converges."""

from __future__ import annotations

import json

from ci_plugin.values.digest import Digest
from tests.scenarios.pipeline import STAGES, Job, Project

CONFIG = "image: app\nfrom: BASE\nfromLatest: true\nshell:\n  install: [make {}]\n  setup: [test {}]\n"


def built(project: Project, install: int = 1, setup: int = 1) -> Job:
    """A job of a pipeline of its own that pinned and built."""
    project.commit(config=CONFIG.format(install, setup))
    job = project.pipeline(f"{install}{setup}").job()
    job.must("build", "--pin")
    return job


def stage_digest(job: Job, name: str) -> str:
    stages = job.record["images"]["app"]["platforms"]["linux/amd64"]["stages"]
    return next(str(stage["digest"]) for stage in stages if stage["name"] == name)


def lose(project: Project, digest: str, *, what: str) -> None:
    """The registry loses the config of a stage, or its last layer; the manifest stays."""
    manifest = json.loads(project.registry.manifests[STAGES, digest][1])
    blob = manifest["config"] if what == "config" else manifest["layers"][-1]
    del project.registry.blobs[blob["digest"]]


def test_an_image_whose_config_is_lost_is_built_anew(project: Project) -> None:
    job = built(project)
    lose(project, job.digest(), what="config")
    again = project.pipeline("11").job()
    again.must("build")
    assert again.digest() != job.digest()
    again.must("verify")
    third = project.pipeline("11").job()
    third.must("build")
    assert (third.digest(), third.engine.ran) == (again.digest(), [])


def test_a_parent_whose_layers_are_lost_is_built_anew_and_named_again(project: Project) -> None:
    job = built(project)
    lose(project, stage_digest(job, "install"), what="layer")
    after = built(project, setup=2)
    assert [commands for _, commands in after.engine.ran] == [("make 1",), ("test 2",)]
    assert stage_digest(after, "install") != stage_digest(job, "install")
    after.must("verify")
    third = built(project, setup=3)
    assert [commands for _, commands in third.engine.ran] == [("test 3",)]
    assert stage_digest(third, "install") == stage_digest(after, "install")


def test_a_parent_whose_manifest_is_lost_is_built_anew(project: Project) -> None:
    job = built(project)
    project.registry.delete(STAGES, Digest(stage_digest(job, "install")))
    after = built(project, setup=2)
    assert [commands for _, commands in after.engine.ran] == [("make 1",), ("test 2",)]
    after.must("verify")


def test_an_image_that_another_one_begins_with_is_built_anew_where_its_layers_are_lost(project: Project) -> None:
    lib = "image: lib\nfrom: BASE\nfromLatest: true\nshell:\n  install: [make lib]\n---\n"
    app = "image: {}\nfromImage: lib\nfromCacheVersion: {}\nshell:\n  install: [make {}]\n"
    project.commit(config=lib + app.format("app", 1, "app"))
    job = project.pipeline("1").job()
    job.must("build", "--pin")
    lose(project, job.digest("lib"), what="layer")
    project.commit(config=lib + app.format("app", 2, "app") + "---\n" + app.format("web", 3, "web"))
    again = project.pipeline("2").job()
    ran = again.must("build", "--pin", "--jobs", "4")
    assert [commands for _, commands in again.engine.ran].count(("make lib",)) == 1
    assert again.digest("lib") != job.digest("lib")
    assert again.built_on("app") == again.built_on("web") == again.digest("lib")
    assert "lib: stage install built in" in ran.err
    again.must("verify")
