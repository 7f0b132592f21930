"""Builds: what is kept, what is refused, what a failure stops, and what a build costs where nothing changed."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from ci_plugin.errors import Bug
from ci_plugin.ports import Engine
from ci_plugin.values.digest import Digest
from tests.fakes.registry import Request
from tests.scenarios.pipeline import BASE, STAGES, Project, run

FROZEN = "image: app\nfrom: BASE\nshell:\n  install: [echo building]\n"
FOLLOWS = "image: app\nfrom: BASE\nfromLatest: true\nshell:\n  install: [echo building]\n"
FAMILY = (
    "image: lib\nfrom: BASE\nfromLatest: true\nshell:\n  install: [make lib]\n---\n"
    "image: app\nfromImage: lib\nshell:\n  install: [make app]\n---\n"
    "image: web\nfromImage: app\nshell:\n  install: [make web]\n---\n"
    "image: other\nfrom: BASE\nfromLatest: true\nshell:\n  install: [make other]\n"
)


class _NoEngine:
    """An engine nobody may ask for anything."""

    def __getattr__(self, name: str) -> Any:
        raise Bug(f"expected a build that needs no engine, found it asked to {name}")


def store_changed(project: Project, repository: str, tag: str, change: Callable[[Any], None]) -> None:
    """Push a copy of a tag's image whose ``config`` was changed over it."""
    _, data = project.registry.manifests[repository, project.registry.tags[repository, tag]]
    manifest = json.loads(data)
    image = json.loads(project.registry.blobs[manifest["config"]["digest"]])
    change(image["config"])
    blob = json.dumps(image).encode()
    manifest["config"] |= {"digest": str(Digest.of(blob)), "size": len(blob)}
    project.registry.blobs[str(Digest.of(blob))] = blob
    project.registry.put_manifest(repository, tag, json.dumps(manifest).encode(), manifest["mediaType"])


def test_without_from_latest_the_base_of_the_first_build_is_kept_and_the_record_says_which(project: Project) -> None:
    project.commit(config=FROZEN)
    first = project.pipeline("1001").job()
    first.must("pin")
    first.must("build")
    old = first.built_on()
    moved = project.move_base("2")
    second = project.pipeline("1002").job()
    second.must("pin")
    assert second.pinned(project.base) == str(moved)
    assert f"app    {project.stages}@{first.digest()}  kept  {old}" in second.must("build").out
    base = second.record["images"]["app"]["platforms"]["linux/amd64"]["base"]
    assert (base["state"], base["digest"]) == ("kept", old)
    assert second.digest() == first.digest()
    second.must("verify")


def test_with_from_latest_a_moved_base_rebuilds_in_the_next_pipeline(project: Project) -> None:
    project.commit(config=FOLLOWS)
    first = project.pipeline("1001").job()
    first.must("pin")
    first.must("build")
    moved = project.move_base("2")
    second = project.pipeline("1002").job()
    second.must("pin")
    second.must("build")
    assert second.built_on() == str(moved)
    assert second.digest() != first.digest()


def test_an_image_somebody_pushed_under_a_stages_tag_is_refused(project: Project) -> None:
    project.commit(config=FOLLOWS)
    job = project.pipeline().job()
    job.must("pin")
    job.must("build")
    (tag,) = job.record["images"]["app"]["tags"]
    project.registry.put_image(STAGES, tag, seed="not a stage")
    for command in (["build"], ["build", "--require-built"]):
        ran = project.pipeline().job(artifacts_of=job).run(*command)
        assert ran.code == 1
        assert f"expected the stage {tag} under its tag, found the image sha256:" in ran.err
        assert "somebody overwrote the tag; delete it in the repository, then build again" in ran.err


def test_a_stage_that_says_itself_it_is_on_another_base_than_it_is_named_for_is_refused(project: Project) -> None:
    project.commit(config=FOLLOWS)
    job = project.pipeline().job()
    job.must("pin")
    job.must("build")
    (tag,) = job.record["images"]["app"]["tags"]
    other = str(Digest.of(b"another base"))

    def relabel(config: Any) -> None:
        for name in ("stagepin.base", "org.opencontainers.image.base.digest"):
            config["Labels"][name] = config["Labels"][name].replace(job.built_on(), other)

    store_changed(project, STAGES, tag, relabel)
    for command in (["build"], ["build", "--require-built"]):
        ran = project.pipeline().job(artifacts_of=job).run(*command)
        assert ran.code == 1
        assert f"expected image 'app' on the base {job.built_on()} its stage signature names, found it built on {other}" in ran.err
        assert "next: somebody overwrote the tag; delete it in the repository, then build again" in ran.err


def test_another_stage_under_a_stages_tag_is_refused(project: Project) -> None:
    project.commit(config=FAMILY)
    job = project.pipeline().job()
    job.must("pin")
    job.must("build")
    (app,), (other,) = (job.record["images"][name]["tags"] for name in ("app", "other"))
    project.registry.move_tag(STAGES, app, Digest(job.digest("other")))
    ran = project.pipeline().job(artifacts_of=job).run("build")
    assert ran.code == 1
    assert f"which is the stage {other}" in ran.err


def test_a_failed_image_stops_what_is_built_on_it_and_nothing_else(project: Project) -> None:
    project.commit(config=FAMILY)
    job = project.pipeline().job()
    job.must("pin")
    job.engine.fail("make lib", 7, "compiling\nundefined reference to main")
    ran = job.run("build")
    assert ran.code == 1
    assert "  | compiling\n  | undefined reference to main\n" in ran.err
    assert (
        "error: stage 'install' of image 'lib': expected the stage's commands to succeed, found exit code 7\n  at: werf.yaml:4" in ran.err
    )
    assert "app: not built, it needs lib, which failed" in ran.err
    assert "web: not built, it needs lib, which failed" in ran.err
    assert "other: stage install built in" in ran.err
    assert not (job.workspace / "build.json").exists()


def test_after_the_command_is_mended_the_build_goes_on_from_what_is_stored(project: Project) -> None:
    project.commit(config=FAMILY)
    job = project.pipeline().job()
    job.must("pin")
    job.engine.fail("make app")
    assert job.run("build").code == 1
    again = project.pipeline().job()
    ran = again.must("build")
    assert "lib: stage" not in ran.err
    assert "other: stage" not in ran.err
    assert "app: stage install built in" in ran.err
    assert again.record["complete"] is True


def test_the_settle_time_is_waited_once_for_images_that_nothing_is_built_on(project: Project) -> None:
    images = "\n---\n".join(f"image: app{number}\nfrom: BASE\nfromLatest: true\nshell:\n  install: [make {number}]" for number in range(4))
    project.commit(config=images)
    job = project.pipeline().job()
    job.must("pin")
    job.must("build")
    assert job.clock.slept.count(2.0) == 1


def test_nothing_is_waited_for_where_nothing_was_built(project: Project) -> None:
    project.commit(config=FAMILY)
    job = project.pipeline().job()
    job.must("pin")
    job.must("build")
    again = project.pipeline().job()
    again.must("build")
    assert 2.0 not in again.clock.slept


def test_another_builder_that_publishes_first_is_adopted_and_our_child_is_built_on_its_image(project: Project) -> None:
    project.commit(config="image: lib\nfrom: BASE\nfromLatest: true\n---\nimage: app\nfromImage: lib\nshell:\n  install: [make app]\n")
    pipeline = project.pipeline()
    pin, rival, ours = (pipeline.job() for _ in range(3))
    pin.must("pin")
    rival.must("build", "lib")
    theirs, (tag,) = rival.digest("lib"), rival.record["images"]["lib"]["tags"]
    del project.registry.tags[STAGES, tag]

    moments: list[Request] = []

    def publish_first(request: Request) -> None:
        if request.method == "PUT" and f"/manifests/{tag}-" in request.path:
            moments.append(request)
            project.registry.move_tag(STAGES, tag, Digest(theirs))

    project.registry.on_request = publish_first
    ours.must("build")
    assert len(moments) == 1
    assert ours.digest("lib") == theirs
    base = ours.record["images"]["app"]["platforms"]["linux/amd64"]["base"]
    assert (base["state"], base["digest"]) == ("image", theirs)
    ours.must("verify")


def test_a_rival_that_was_first_and_is_overwritten_within_the_settle_time_is_not_recorded(project: Project) -> None:
    project.commit(config=FOLLOWS)
    pipeline = project.pipeline()
    pin, first, second, ours = (pipeline.job() for _ in range(4))
    pin.must("pin")
    first.must("build")
    (tag,) = first.record["images"]["app"]["tags"]
    for key in [key for key in project.registry.tags if not key[1].startswith("stagepin-")]:
        del project.registry.tags[key]
    second.must("build")
    assert second.digest() != first.digest()
    for key in [key for key in project.registry.tags if not key[1].startswith("stagepin-")]:
        del project.registry.tags[key]
    asked: list[Request] = []

    def race(request: Request) -> None:
        if request.method == "GET" and request.path.endswith(f"/manifests/{tag}"):
            asked.append(request)
            # Absent at first (a GET twice), then the first rival's; a second rival, who looked before that, writes a moment later.
            if len(asked) == 3:
                project.registry.move_tag(STAGES, tag, Digest(first.digest()))
            if len(asked) == 4:
                project.registry.move_tag(STAGES, tag, Digest(second.digest()))

    project.registry.on_request = race
    ours.must("build")
    assert len(asked) == 4
    assert ours.digest() == second.digest()


def test_a_rival_that_overwrites_within_the_settle_time_is_adopted(project: Project) -> None:
    project.commit(config=FOLLOWS)
    pipeline = project.pipeline()
    pin, rival, ours = (pipeline.job() for _ in range(3))
    pin.must("pin")
    rival.must("build")
    theirs, (tag,) = rival.digest(), rival.record["images"]["app"]["tags"]
    for key in [key for key in project.registry.tags if "-" not in key[1]]:
        del project.registry.tags[key]

    def overwrite(request: Request) -> None:
        seen = project.requests_for(f"/manifests/{tag}")
        if any(one.method == "PUT" and one.path.endswith(tag) for one in seen[:-1]):
            project.registry.on_request = None
            project.registry.move_tag(STAGES, tag, Digest(theirs))

    project.registry.on_request = overwrite
    ours.must("build")
    assert ours.digest() == theirs


def test_where_nothing_changed_a_build_costs_two_requests_per_image_and_no_engine(project: Project) -> None:
    costs = {}
    for count in (2, 6):
        images = "\n---\n".join(
            f"image: app{number}\nfrom: BASE\nfromLatest: true\nshell:\n  install: [make {number}]" for number in range(count)
        )
        project.commit(config=images)
        job = project.pipeline(str(count)).job()
        job.must("pin")
        job.must("build")
        again = project.pipeline(str(count)).job(artifacts_of=job)
        project.registry.requests.clear()
        engine: Engine = _NoEngine()
        ran = run(["-C", str(again.directory), "build"], again.environ, engine, again.clock)
        assert ran.code == 0, ran.text
        assert again.record["images"].keys() == job.record["images"].keys()
        costs[count] = len(project.registry.requests)
    assert costs[6] - costs[2] <= 2 * (6 - 2)
    assert costs[2] - 2 * 2 <= 3


def test_where_nothing_changed_a_plan_costs_one_head_per_image(project: Project) -> None:
    project.commit(config=FAMILY)
    job = project.pipeline().job()
    job.must("pin")
    job.must("build")
    project.registry.requests.clear()
    job.must("plan")
    assert [request.method for request in project.registry.requests] == ["HEAD"] * 4


def test_the_base_that_was_pinned_is_built_even_if_the_upstream_registry_dropped_the_tag(project: Project) -> None:
    project.commit(config=FOLLOWS)
    job = project.pipeline().job()
    job.must("pin")
    del project.registry.tags[BASE, "latest"]
    job.must("build")


def test_a_pinned_base_that_was_deleted_upstream_is_said_to_be_gone(project: Project) -> None:
    project.commit(config=FOLLOWS)
    job = project.pipeline().job()
    job.must("pin")
    project.registry.delete(BASE, Digest(job.pinned(project.base)))
    ran = job.run("build")
    assert ran.code == 1
    assert job.pinned(project.base) in ran.err


@pytest.mark.parametrize("kind", ["shell", "dockerfile"])
def test_a_base_that_vanished_stops_only_what_must_be_built_on_it(project: Project, kind: str) -> None:
    project.write("Dockerfile", f"FROM {project.base}\n")
    project.commit(config=FROZEN if kind == "shell" else "image: app\ndockerfile: Dockerfile\n")
    first = project.pipeline("1001").job()
    first.must("build", "--pin")
    del project.registry.tags[BASE, "latest"]
    second = project.pipeline("1002").job()
    ran = second.must("build", "--pin")
    assert f"warning: {project.base} is not pinned" in ran.err
    assert second.pinned(project.base) == "None"
    base = second.record["images"]["app"]["platforms"]["linux/amd64"]["base"]
    assert (base["state"], base["digest"]) == ("kept", first.built_on())
    second.must("verify")
    project.write("Dockerfile", f"FROM {project.base}\nRUN echo changed\n")
    project.commit(config="image: app\nfrom: BASE\nfromCacheVersion: 2\n" if kind == "shell" else "image: app\ndockerfile: Dockerfile\n")
    third = project.pipeline("1003").job()
    ran = third.run("build", "--pin")
    assert ran.code == 2
    assert f"error: expected a digest for {project.base}, found none: " in ran.err
    assert "next: mend the reference or the access to it, then pin in a new scope" in ran.err


def test_two_images_of_equal_content_are_built_once_and_share_one_digest(project: Project) -> None:
    project.commit(config="image: [app, web]\nfrom: BASE\nfromLatest: true\nshell:\n  install: [make]\n")
    job = project.pipeline().job()
    job.must("build", "--pin", "--jobs", "1")
    assert job.digest("app") == job.digest("web")
    assert [commands for _, commands in job.engine.ran] == [("make",)]
    job.must("verify")


def test_a_registry_that_fails_now_and_then_is_asked_again(project: Project) -> None:
    project.commit(config=FOLLOWS)
    job = project.pipeline().job()
    for method in ("HEAD", "GET", "PUT"):
        project.registry.fail(status=500, method=method, times=2)
    job.must("build", "--pin")
    job.must("verify")


def test_a_push_that_fails_for_good_ends_with_3_and_the_next_run_converges(project: Project) -> None:
    project.commit(config=FOLLOWS)
    job = project.pipeline().job()
    job.must("pin")
    fault = project.registry.fail(status=503, method="PUT", path=f"/v2/{STAGES}/manifests/", times=None)
    assert job.run("build").code == 3
    assert not (job.workspace / "build.json").exists()
    fault.times = 0
    job.must("build")
    job.must("verify")


def test_a_repository_that_may_not_be_written_is_said_by_pin_before_anything_is_built(project: Project) -> None:
    project.commit(config=FOLLOWS)
    project.registry.fail(status=403, method="PUT", path=f"/v2/{STAGES}/", times=None)
    project.registry.fail(status=403, method="POST", path=f"/v2/{STAGES}/", times=None)
    job = project.pipeline().job()
    ran = job.run("pin")
    assert ran.code == 2
    assert f"expected to be let in by {project.registry.address} anonymously (no credentials found for it), found status 403" in ran.err
    assert "\n  next: " in ran.err


@pytest.mark.parametrize(
    ("trigger", "instructions", "code"),
    [
        ("COPY . /app", "", 2),
        ("add --chown=1 src /app", "", 2),
        ("RUN --mount=target=/src make", "", 2),
        ("COPY . /app", "COPY . /all\n", 0),
        ("COPY --chown=1 --from=scratch /a /a", "", 0),
        ("RUN make", "", 0),
    ],
)
def test_a_base_that_takes_files_by_itself_is_refused_where_the_context_is_bounded(
    project: Project, trigger: str, instructions: str, code: int
) -> None:
    store_changed(project, BASE, "latest", lambda config: config.update(OnBuild=["ENV A=b", trigger]))
    project.write("src/main.py", "print()")
    project.write("Dockerfile", f"FROM {project.base}\n{instructions}")
    project.commit()
    ran = project.pipeline().job().run("build", "--pin")
    assert ran.code == code, ran.text
    if code:
        assert (
            f"expected a base that takes no files of the build context by itself, found {project.base.removesuffix(':latest')}@" in ran.err
        )
        assert f"with `ONBUILD {trigger}`" in ran.err
        assert "next: use a base without ONBUILD and write that instruction into the Dockerfile" in ran.err


@pytest.mark.parametrize(
    "trigger", ["COPY --from=nginx /a /a", "COPY --chown=1 --from=nginx:1 /a /a", "RUN --mount=type=bind,from=nginx,target=/n x"]
)
@pytest.mark.parametrize("instructions", ["", "COPY . /all\n"])
def test_a_base_whose_trigger_names_an_image_is_refused_because_nobody_pinned_it(project: Project, trigger: str, instructions: str) -> None:
    store_changed(project, BASE, "latest", lambda config: config.update(OnBuild=[trigger]))
    project.write("Dockerfile", f"FROM {project.base}\n{instructions}")
    project.commit()
    ran = project.pipeline().job().run("build", "--pin")
    assert ran.code == 2
    assert f"with `ONBUILD {trigger}`: nobody pinned nginx" in ran.err
    assert "next: use a base without that trigger and write the instruction into the Dockerfile, where its image is pinned" in ran.err


def test_a_trigger_may_name_a_stage_of_the_dockerfile(project: Project) -> None:
    store_changed(project, BASE, "latest", lambda config: config.update(OnBuild=["COPY --from=made /a /a"]))
    project.write("Dockerfile", f"FROM scratch AS made\nCOPY a /a\nFROM {project.base}\n")
    project.write("a", "a")
    project.commit()
    assert project.pipeline().job().run("build", "--pin").code == 0


def test_explain_says_why_the_whole_context_counts(project: Project) -> None:
    project.write("Dockerfile", f"FROM {project.base}\nCOPY . /all\n")
    project.commit()
    job = project.pipeline().job()
    job.must("pin")
    name = job.pins["images"][0]
    assert "committed files, the whole context: Dockerfile:2:1: COPY . reads the whole build context" in job.must("explain", name).out


def test_a_dockerfile_that_gives_an_image_of_another_platform_than_was_asked_for_is_refused(project: Project) -> None:
    project.registry.put_image(BASE, "arm", platform="linux/arm64")
    project.write("Dockerfile", f"FROM --platform=linux/arm64 {project.base.replace(':latest', ':arm')}\n")
    project.commit()
    ran = project.pipeline().job().run("build", "--pin")
    assert ran.code == 2, ran.text
    assert "expected the Dockerfile to give an image for linux/amd64, found one for linux/arm64" in ran.err
    assert "next: drop --platform from the last stage's FROM, or ask for `--platform linux/arm64`" in ran.err
