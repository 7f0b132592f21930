"""Explain: why a stage has another signature than in an earlier record, in sentences that name what moved."""

from __future__ import annotations

import pytest

from tests.scenarios.pipeline import BASE, Job, Project
from tests.scenarios.pipeline import PLAIN as ENVIRONMENT

PLAIN = "image: app\nfrom: BASE\nfromLatest: true\nshell:\n  install: [make {command}]\n"


def record(project: Project, config: str, number: str = "1000", **files: str) -> Job:
    """What a pipeline built, its record in the store."""
    for path, text in files.items():
        project.write(path, text)
    project.commit(config=config)
    job = project.pipeline(number).job()
    job.must("pin")
    job.must("build")
    return job


def explained(project: Project, config: str, *options: str, number: str = "1001", against: str = "pipeline:1000") -> list[str]:
    """The sentences of a later pipeline about ``app``."""
    project.commit(config=config)
    job = project.pipeline(number).job()
    job.must("pin")
    job.clock.advance(720)
    return job.must(*options, "explain", "app", "--against", against).out.splitlines()


def test_a_base_that_moved_is_told_with_both_digests_who_pinned_it_and_when(project: Project) -> None:
    old = record(project, PLAIN.format(command="all")).pinned(project.base)
    new = str(project.move_base("2"))
    why = f"{project.base} moved from {{}}… to {{}}… (pinned by pipeline 1001, 12 minutes ago)"
    sentences = explained(project, PLAIN.format(command="all"))
    assert sentences[0] == f'stage "from" of "app" changed because {why.format(old[:19], new[:19])}'
    assert sentences[1:] == ['stage "install" of "app" changed because its parent, stage "from", changed']


def test_with_v_digests_are_whole(project: Project) -> None:
    old = record(project, PLAIN.format(command="all")).pinned(project.base)
    new = str(project.move_base("2"))
    assert f"moved from {old} to {new} (" in explained(project, PLAIN.format(command="all"), "-v")[0]


def test_a_base_that_moved_for_a_dockerfile(project: Project) -> None:
    project.write("Dockerfile", f"FROM {project.base}\nRUN make\n")
    project.commit()
    first = project.pipeline("1000").job()
    first.must("pin")
    first.must("build")
    name = first.pins["images"][0]
    old, new = first.pinned(project.base), str(project.move_base("2"))
    second = project.pipeline("1001").job()
    second.must("pin")
    (sentence,) = second.must("explain", name, "--against", "pipeline:1000", "--dockerfile", f"{name}=Dockerfile").out.splitlines()
    assert f"{project.base} moved from {old[:19]}… to {new[:19]}… (pinned by pipeline 1001, just now)" in sentence


def test_another_base_is_told_by_both_names(project: Project) -> None:
    record(project, PLAIN.format(command="all"))
    project.registry.put_image(BASE, "other")
    other = project.base.replace(":latest", ":other")
    sentence = explained(project, PLAIN.format(command="all").replace("BASE", other).replace("fromLatest: true\n", ""))[0]
    assert sentence == (f'stage "from" of "app" changed because its base is {other} now, it was {project.base}; base.digest was removed')


def test_commands_that_changed_and_stages_that_came_and_went(project: Project) -> None:
    record(project, PLAIN.format(command="all"))
    config = PLAIN.format(command="all").replace("install:", "beforeInstall: [make first]\n  setup:")
    assert explained(project, config) == [
        'stage "beforeInstall" of "app" is new',
        'stage "setup" of "app" is new',
        'stage "install" of "app" is gone',
    ]
    (sentence,) = explained(project, PLAIN.format(command="more"), number="1002")
    assert sentence == 'stage "install" of "app" changed because commands changed (now 1 item)'


def test_a_parent_that_is_gone_is_no_other_version_of_stagepin(project: Project) -> None:
    config = PLAIN.format(command="all") + "  setup: [make setup]\n"
    record(project, config)
    assert explained(project, config.replace("  install: [make all]\n", "")) == [
        'stage "setup" of "app" changed because its parent is stage "from" now, it was stage "install"',
        'stage "install" of "app" is gone',
    ]


def test_an_image_that_is_built_on_is_followed_to_the_base_that_moved(project: Project) -> None:
    config = "image: lib\nfrom: BASE\nfromLatest: true\n---\nimage: app\nfromImage: lib\nshell:\n  install: [make]\n"
    old = record(project, config).pinned(project.base)
    new = str(project.move_base("2"))
    assert explained(project, config)[0] == (
        'stage "from" of "app" changed because image "lib" changed: its stage "from" changed because '
        f"{project.base} moved from {old[:19]}… to {new[:19]}… (pinned by pipeline 1001, 12 minutes ago)"
    )


def test_every_platform_has_its_own_sentences(project: Project) -> None:
    children = {name: project.registry.put_image(BASE, None, seed=name, platform=name) for name in ("linux/amd64", "linux/arm64")}
    project.registry.put_index(BASE, "latest", children)
    config = PLAIN.format(command="all").replace(
        "shell:\n  install: [make all]", "platform: [linux/amd64, linux/arm64]\ndocker:\n  USER: a"
    )
    record(project, config)
    moved = project.registry.put_image(BASE, None, seed="moved", platform="linux/arm64")
    project.registry.put_index(BASE, "latest", {**children, "linux/arm64": moved})
    sentences = explained(project, config)
    assert sentences[0].startswith(f'stage "from" of "app" (linux/arm64) changed because {project.base} moved from ')
    assert sentences[1:] == ['stage "dockerInstructions" of "app" (linux/arm64) changed because its parent, stage "from", changed']


@pytest.mark.parametrize("against", ["pipeline:999", "scope:train", f"commit:{'0' * 40}"])
def test_a_scope_without_a_record_is_named(project: Project, against: str) -> None:
    job = record(project, PLAIN.format(command="all"))
    ran = job.run("explain", "app", "--against", against)
    assert ran.code == 2
    assert f"expected the build record of {against.removeprefix('scope:')}, found none (looked in " in ran.err


def test_what_is_compared_with_leaves_the_workspace_as_it_was(project: Project) -> None:
    record(project, PLAIN.format(command="all"))
    project.commit(config=PLAIN.format(command="all"))
    job = project.pipeline("1001").job()
    job.must("pin")
    assert job.must("explain", "app", "--against", "pipeline:1000").out == "app: every stage signature is the recorded one\n"
    assert not (job.workspace / "build.json").exists()


def test_without_a_record_to_compare_with_the_workspaces_own_is_looked_at(project: Project) -> None:
    project.commit(config=PLAIN.format(command="all"))
    job = project.pipeline().job()
    job.environ = dict(ENVIRONMENT)
    job.must("build", "--repo", ":local")
    assert "changed since" not in job.must("explain", "app", "--repo", ":local").err
    config = job.directory / "werf.yaml"
    config.write_text(config.read_text().replace("make all", "make more"))
    says = f"`stagepin explain app --against {job.workspace}/build.json` says why"
    assert f"changed since the build record of local: install; {says}" in job.must("explain", "app", "--repo", ":local").err
    (job.workspace / "build.json").write_bytes(b"{}")
    assert "not compared with the build record in the workspace: " in job.must("explain", "app", "--repo", ":local").err


def test_a_stage_that_did_not_change_is_told_alone(project: Project) -> None:
    record(project, PLAIN.format(command="all"))
    project.commit(config=PLAIN.format(command="more"))
    job = project.pipeline("1001").job()
    job.must("pin")
    argv = ["explain", "app", "--against", "pipeline:1000", "--stage"]
    assert job.must(*argv, "from").out == "app: stage from has the recorded signature\n"
    assert job.must(*argv, "install").out == 'stage "install" of "app" changed because commands changed (now 1 item)\n'


def test_a_platform_the_record_does_not_have_is_new_and_an_image_it_does_not_have_an_error(project: Project) -> None:
    children = {name: project.registry.put_image(BASE, None, seed=name, platform=name) for name in ("linux/amd64", "linux/arm64")}
    project.registry.put_index(BASE, "latest", children)
    config = "image: app\nfrom: BASE\ndocker:\n  USER: a\n"
    record(project, config)
    both = project.pipeline("1001").job()
    argv = ["--platform", "linux/amd64,linux/arm64"]
    both.must("pin", *argv)
    assert both.must("explain", "app", *argv, "--against", "pipeline:1000").out == '"app" for linux/arm64 is new\n'
    ran = both.run("explain", "app", "--platform", "linux/arm64", "--against", "pipeline:1000")
    assert ran.code == 2
    assert "expected 'app' for linux/arm64 in stages storage " in ran.err
    assert ", found linux/amd64\n" in ran.err
    assert "next: compare with the record of a build that had this image" in ran.err
