"""Directives of every kind in one file: pin, drift and doctor work on all of it; a plan or build refuses the images it cannot build."""

from __future__ import annotations

import pytest

from tests.scenarios.pipeline import Project

TOOL = "base/tool"


def _config(project: Project) -> str:
    tool = f"{project.registry.address}/{TOOL}:1"
    return (
        "project: app\nconfigVersion: 1\ndeploy: {namespace: x}\ncleanup: {}\n---\n"
        f"image: plain\nfrom: {project.base}\nfromLatest: true\n---\n"
        f"image: full\nfrom: {project.base}\nfromLatest: true\n"
        "git:\n- add: /src\n  to: /app\n  stageDependencies: {install: '*.lock'}\n"
        f"import:\n- from: {tool}\n  add: /tool\n  after: install\n- image: plain\n  add: /etc/passwd\n  before: setup\n"
        "mount: [{from: tmp_dir, to: /tmp/x}]\nsecrets: [{env: NPM}]\nnetwork: host\nplatform: [linux/amd64, linux/arm64]\n---\n"
        f"image: old\nfrom: {project.base}\nansible: {{install: [{{apt: {{name: x}}}}]}}\n"
    )


@pytest.fixture
def full(project: Project) -> Project:
    """A project with an image that can be built, one with directives of every kind, and one that never will."""
    for name, tag in (("base/alpine", "latest"), (TOOL, "1")):
        children = {platform: project.registry.put_image(name, platform=platform, seed=tag) for platform in ("linux/amd64", "linux/arm64")}
        project.registry.put_index(name, tag, children)
    project.write("werf.yaml", _config(project))
    project.write("src/a.lock", "1")
    project.commit()
    return project


def test_every_reference_is_pinned_also_that_of_an_import_and_for_every_platform(full: Project) -> None:
    job = full.pipeline().job()
    job.must("pin")
    pins = {pin["reference"]: pin for pin in job.pins["pins"]}
    base, tool = pins[full.base], pins[f"{full.registry.address}/{TOOL}:1"]
    assert sorted(base["platforms"]) == sorted(tool["platforms"]) == ["linux/amd64", "linux/arm64"]
    assert [(origin["kind"], origin["image"], origin["line"]) for origin in tool["origin"]] == [("import", "full", 18)]
    assert tool["inSignature"] is True
    assert job.pins["images"] == ["plain", "full", "old"]


def test_what_concerns_other_commands_is_said_once_by_a_run(full: Project) -> None:
    ran = full.pipeline().job().must("pin")
    assert ran.err.count("`deploy` is not read (werf.yaml:3:1): it concerns deploying") == 1
    assert ran.err.count("`cleanup` is not read (werf.yaml:4:1): it concerns cleaning up registries") == 1


def test_an_image_with_every_kind_of_directive_is_planned_for_each_platform(full: Project) -> None:
    job = full.pipeline().job()
    job.must("pin", "--platform", "linux/amd64,linux/arm64")
    platforms = ("--platform", "linux/amd64,linux/arm64")  # `plain`, which it takes files of, names none
    planned = job.must("plan", "full", *platforms, "--format", "json").document["images"]["full"]["platforms"]
    assert list(planned) == ["linux/amd64", "linux/arm64"]
    names = [stage["name"] for stage in planned["linux/amd64"]["stages"]]
    assert {"from", "gitArchive", "dependenciesAfterInstall", "dependenciesBeforeSetup"} <= set(names)


@pytest.mark.parametrize("command", ["plan", "build"])
def test_the_image_beside_it_is_planned_and_built(full: Project, command: str) -> None:
    job = full.pipeline().job()
    job.must("pin")
    job.must(command, "plain")


def test_ansible_cannot_be_built_and_the_way_out_is_said(full: Project) -> None:
    job = full.pipeline().job()
    job.must("pin")
    ran = job.run("build", "old")
    assert ran.code == 2
    assert "that it only reads: `ansible` (werf.yaml:31:1)" in ran.err
    assert "\n  next: `ansible`: write its tasks as commands under `shell`, or build that image elsewhere and name the result" in ran.err


def test_the_whole_file_is_refused_once_with_every_image(full: Project) -> None:
    job = full.pipeline().job()
    job.must("pin")
    ran = job.run("plan")
    assert ran.code == 2
    assert "found 1 directive of image 'old' that it only reads: `ansible` (werf.yaml:31:1)" in ran.err
    assert "\n  next: `ansible`: write its tasks" in ran.err
    assert "name the images that can be built: plain full" in ran.err


def test_drift_is_found_for_a_reference_of_an_import(full: Project) -> None:
    full.pipeline().job().must("pin")
    job = full.pipeline().job()
    reference = f"{full.registry.address}/{TOOL}:1"
    children = {platform: full.registry.put_image(TOOL, platform=platform, seed="2") for platform in ("linux/amd64", "linux/arm64")}
    full.registry.put_index(TOOL, "1", children)
    ran = job.must("drift")
    assert reference in ran.out
    assert "stages are not named, because this checkout cannot be planned with these pins: expected images that" in ran.err
