"""A registry that lets nobody write a tag twice: nothing of a build is lost for it."""

from __future__ import annotations

from tests.fakes.registry import FakeRegistry
from tests.scenarios.pipeline import Project

CONFIG = "image: app\nfrom: BASE\nshell:\n  install: [echo installed]\n"


def test_the_build_stands_and_says_where_its_record_is(project: Project, server: FakeRegistry) -> None:
    project.commit(config=CONFIG)
    server.immutable_tags = True
    pipeline = project.pipeline()
    pin = pipeline.job()
    pin.must("pin")
    build = pipeline.job(artifacts_of=pin)
    said = build.must("build").err
    assert "the build record is not kept in the stages storage" in said
    assert "the tag may not be written again" in said
    assert "hand .stagepin/build.json on as a CI artifact" in said
    # Handed on, it is as good as ever; without, verify says what is missing.
    pipeline.job(artifacts_of=build).must("verify")
    without = pipeline.job().run("verify")
    assert without.code == 2
    assert "build record" in without.err
    # And again: everything is there, so nothing is built and nothing is in the way.
    assert "built in" not in pipeline.job(artifacts_of=pin).must("build").err
