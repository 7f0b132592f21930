"""Other git repositories from the command line: pinned once, built at the pinned commit, told of when they move, and no login shown."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ci_plugin.values.digest import ImageId
from tests.fakes.canary import make_canary
from tests.fakes.git_repository import GitRepository
from tests.fakes.git_server import GitServer, git_server
from tests.scenarios.pipeline import Job, Project

PASSWORD = make_canary("library-token")
LOGIN = {"LIBRARY_TOKEN": PASSWORD.text}


@pytest.fixture
def library(tmp_path: Path) -> GitRepository:
    repository = GitRepository(tmp_path / "srv" / "library")
    repository.write("src/code", "one\n")
    repository.write("README", "x\n")
    repository.commit()
    return repository


@pytest.fixture
def git(library: GitRepository) -> Iterator[GitServer]:
    with git_server(library.directory.parent) as running:
        running.users["ci"] = PASSWORD.text
        yield running


def move(library: GitRepository, text: str = "two\n") -> str:
    library.write("src/code", text)
    return library.commit("moved")


def configure(project: Project, git: GitServer, what: str = "branch: main") -> None:
    project.commit(
        config="image: app\nfrom: BASE\ngit:\n"
        f"- url: {git.address('library')}\n  {what}\n  add: /src\n  to: /opt/library\n"
        "  basicAuth: {username: ci, password: {env: LIBRARY_TOKEN}}\n"
        "  stageDependencies: {install: [code]}\nshell:\n  install: [make]\n"
    )


def pinned_job(project: Project, number: str = "1001") -> Job:
    job = project.pipeline(number).job()
    job.must("pin", **LOGIN)
    return job


def signatures(job: Job) -> dict[str, str]:
    stages = job.must("plan", "--format", "json", **LOGIN).document["images"]["app"]["platforms"]["linux/amd64"]["stages"]
    return {stage["name"]: stage["signature"] for stage in stages}


def commits(job: Job) -> list[tuple[str, str, str]]:
    return [(pin["url"], pin["ref"], pin["commit"]) for pin in job.pins["pins"] if pin["kind"] == "git"]


def test_a_branch_that_moves_in_a_pipeline_changes_nothing_in_it_and_the_next_one_takes_it(
    project: Project, git: GitServer, library: GitRepository
) -> None:
    configure(project, git)
    first = library.git("rev-parse", "HEAD").strip()
    pin = pinned_job(project)
    assert commits(pin) == [(git.address("library"), "refs/heads/main", first)]
    assert git.listed == 1
    second = move(library)
    later = project.pipeline("1001").job(artifacts_of=pin)
    assert signatures(later) == signatures(pin)
    following = pinned_job(project, "1002")
    assert commits(following) == [(git.address("library"), "refs/heads/main", second)]
    before, after = signatures(pin), signatures(following)
    assert {name for name in before if before[name] != after[name]} == {"install", "gitLatestPatch"}


def test_the_image_holds_the_files_of_the_pinned_commit(project: Project, git: GitServer, library: GitRepository) -> None:
    configure(project, git)
    pin = pinned_job(project)
    move(library)
    build = project.pipeline().job(artifacts_of=pin)
    build.must("build", **LOGIN)
    image = ImageId(build.record["images"]["app"]["platforms"]["linux/amd64"]["imageId"])
    with build.engine.read_files(image, "/opt/library") as members:
        files = {member.name: data.read() for member, data in members if data}
    assert files == {"library/code": b"one\n"}
    verify = project.pipeline().job(artifacts_of=build)
    git.requests.clear()
    verify.must("verify")
    assert git.requests == [], "a deploy job asks no other repository"


def test_a_job_that_only_adopts_pins_asks_no_repository(project: Project, git: GitServer) -> None:
    configure(project, git)
    pin = pinned_job(project)
    git.requests.clear()
    later = project.pipeline().job(artifacts_of=pin)
    later.must("pin", "--locked")
    fetched = project.pipeline().job()
    fetched.must("fetch")
    assert fetched.pins == pin.pins
    assert git.requests == []


def test_locked_refuses_where_a_branch_would_have_to_be_resolved(project: Project, git: GitServer) -> None:
    configure(project, git)
    ran = project.pipeline().job().run("pin", "--locked", **LOGIN)
    assert ran.code == 1
    assert "expected the pins of pipeline:1001 to exist, found none: 2 references would have to be resolved" in ran.err


def test_pins_that_lack_a_repository_are_refused_in_the_pin_job(project: Project, git: GitServer) -> None:
    configure(project, git)
    pin = pinned_job(project)
    (pin.directory / "werf.yaml").write_text((pin.directory / "werf.yaml").read_text().replace("branch: main", "branch: other"))
    GitRepository.at(pin.directory).commit()
    again = Job(pin.directory, {**pin.environ, "STAGEPIN_SCOPE": "train"}, pin.engine, pin.clock)
    (pin.workspace / "pins.json").unlink()
    ran = again.run("pin", **LOGIN)
    assert ran.code == 2
    assert "expected the branch other in" in ran.err
    assert "write `branch: main`" in ran.err


def test_drift_tells_a_branch_that_moved(project: Project, git: GitServer, library: GitRepository) -> None:
    configure(project, git)
    pin = pinned_job(project)
    assert "none of 2 pinned references moved" in pin.must("drift", **LOGIN).out
    second = move(library)
    told = pin.must("drift", **LOGIN)
    assert f"{git.address('library')} refs/heads/main moved to {second}" in told.out
    failed = pin.run("drift", "--fail", **LOGIN)
    assert (failed.code, "refs/heads/main" in failed.err) == (1, True)
    git.faults = [500] * 50
    unknown = pin.must("drift", "--format", "json", **LOGIN).document
    assert [entry["state"] for entry in unknown["git"]] == ["unknown"]
    assert unknown["moved"] is False


def test_a_tag_a_commit_and_the_default_branch_are_taken_too(project: Project, git: GitServer, library: GitRepository) -> None:
    library.git("tag", "--annotate", "--message", "x", "v1")
    first = library.git("rev-parse", "HEAD").strip()
    move(library)
    for what, ref in (("tag: v1", "refs/tags/v1"), (f"commit: {first}", first)):
        configure(project, git, what)
        job = pinned_job(project, str(len(what)))
        assert commits(job) == [(git.address("library"), ref, first)]
        assert signatures(job)
    configure(project, git, "owner: root")
    ran = project.pipeline("3").job().run("pin", **LOGIN)
    assert ran.code == 2
    assert "expected the branch master in" in ran.err


def test_a_commit_that_is_gone_stops_the_build_with_the_answer_no(project: Project, git: GitServer, library: GitRepository) -> None:
    configure(project, git)
    pin = pinned_job(project)
    library.git("checkout", "--quiet", "--orphan", "new")
    library.commit("another history")
    library.git("branch", "--force", "main")
    library.git("reflog", "expire", "--expire=now", "--all")
    library.git("gc", "--quiet", "--prune=now")
    ran = project.pipeline().job(artifacts_of=pin).run("plan", **LOGIN)
    assert ran.code == 1
    assert "found refs/heads/main without it: its history was written anew" in ran.err


def test_no_login_shows_in_anything_that_is_printed_or_kept(project: Project, git: GitServer) -> None:
    configure(project, git)
    job = project.pipeline().job()
    texts = [job.run("-v", *argv, **LOGIN).text for argv in (["pin"], ["plan"], ["build"], ["drift"], ["explain", "app"])]
    git.users["ci"] = "another"
    texts += [job.run("-v", "drift", **LOGIN).text, project.pipeline("2").job().run("-v", "pin", **LOGIN).text]
    assert any("Authentication failed" in text for text in texts)
    for text in texts:
        PASSWORD.assert_hidden(text)
    PASSWORD.assert_hidden_below(job.directory)
    for _, data in project.registry.manifests.values():
        PASSWORD.assert_hidden(data)
    for data in project.registry.blobs.values():
        PASSWORD.assert_hidden(data)
