"""``pin --keep``: what a retried job still builds, and verifies, when the base was deleted in its registry."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ci_plugin.values.digest import Digest
from tests.fakes.registry import FakeRegistry
from tests.scenarios.pipeline import BASE, Job, Project

CONFIG = "image: app\nfrom: BASE\nfromLatest: true\nshell:\n  install: [echo installed]\n"
TWO = CONFIG + "---\nimage: web\nfrom: BASE\nfromLatest: true\nshell:\n  install: [echo served]\n"
DOCKERFILE = "FROM BASE AS tools\nRUN echo tool\nFROM BASE\nCOPY --from=BASE /seed /seed\nRUN --mount=from=BASE,target=/m echo PINNED\n"


@pytest.fixture
def keep(project: Project) -> str:
    """The repository for copies."""
    return f"{project.registry.address}/group/app/bases"


def delete_base(project: Project, digest: str) -> None:
    """Upstream's clean-up: the tag moved on, and what nobody tags was collected."""
    project.move_base("2")
    project.registry.delete(BASE, Digest(digest))


def pinned_job(project: Project, *argv: str) -> tuple[Job, str]:
    """A pin job, and the digest it pinned the base to."""
    job = project.pipeline().job()
    job.must("pin", *argv)
    return job, job.pinned(project.base)


def copies_said(said: str) -> list[str]:
    return [line for line in said.splitlines() if "taken from the copy in" in line]


def test_a_build_takes_the_copy_and_says_so_once(project: Project, keep: str) -> None:
    project.commit(config=TWO)
    pin, digest = pinned_job(project, "--keep", keep)
    delete_base(project, digest)
    build = project.pipeline().job(artifacts_of=pin)
    said = build.must("build").err
    base = project.base.removesuffix(":latest")
    assert [
        line.endswith(f"base {base}@{digest} is gone from its registry; taken from the copy in {keep}") for line in copies_said(said)
    ] == [True]
    # Which place it was is no word of the record: the digest is what was pinned.
    assert build.built_on("app") == build.built_on("web") == digest
    assert build.record["images"]["app"]["platforms"]["linux/amd64"]["base"]["state"] == "pinned"
    assert keep not in (build.workspace / "build.json").read_text()
    assert f"{keep}@{digest}" in [str(reference) for reference in build.engine.pulled]


def test_without_a_copy_the_build_says_what_is_gone_and_what_to_do(project: Project) -> None:
    project.commit(config=CONFIG)
    pin, digest = pinned_job(project)
    delete_base(project, digest)
    ran = project.pipeline().job(artifacts_of=pin).run("build")
    assert ran.code == 1
    assert f"{project.base.removesuffix(':latest')}@{digest}" in ran.err
    assert "its registry deleted what was pinned" in ran.err
    assert "--keep REPO" in ran.err


def test_where_the_copy_is_gone_too_both_are_named(project: Project, keep: str) -> None:
    project.commit(config=CONFIG)
    pin, digest = pinned_job(project, "--keep", keep)
    delete_base(project, digest)
    project.registry.delete("group/app/bases", Digest(digest))
    ran = project.pipeline().job(artifacts_of=pin).run("build")
    assert ran.code == 1
    assert f"nor is there a copy in {keep}" in ran.err


def test_a_copy_that_cannot_be_had_is_not_called_gone(project: Project, keep: str) -> None:
    project.commit(config=CONFIG)
    pin, digest = pinned_job(project, "--keep", keep)
    delete_base(project, digest)
    project.registry.fail(path="/v2/group/app/bases/", status=503, times=None)
    ran = project.pipeline().job(artifacts_of=pin).run("build")
    assert ran.code == 3
    assert f"@{digest} is gone from its registry; of the copy that was kept: " in ran.err


def test_a_registry_that_is_down_is_not_passed_over_for_the_copy(project: Project, keep: str) -> None:
    project.commit(config=CONFIG)
    pin, _ = pinned_job(project, "--keep", keep)
    project.registry.fail(path=f"/v2/{BASE}/", status=503, times=None)
    ran = project.pipeline().job(artifacts_of=pin).run("build")
    assert ran.code == 3
    assert copies_said(ran.err) == []


def test_the_origin_is_taken_as_long_as_it_is_there(project: Project, keep: str) -> None:
    project.commit(config=CONFIG)
    pin, digest = pinned_job(project, "--keep", keep)
    project.move_base("2")
    build = project.pipeline().job(artifacts_of=pin)
    assert copies_said(build.must("build").err) == []
    assert [str(reference) for reference in build.engine.pulled] == [f"{project.base.removesuffix(':latest')}@{digest}"]


def test_a_dockerfile_names_what_was_pulled_and_keeps_its_signature(project: Project, keep: str) -> None:
    here = f"{project.base.removesuffix(':latest')}@{project.registry.tags[BASE, 'latest']}"
    project.write("Dockerfile", DOCKERFILE.replace("PINNED", here).replace("BASE", project.base))
    project.commit()
    pin, digest = pinned_job(project, "--keep", keep)
    pipeline = project.pipeline()
    planned = pipeline.job(artifacts_of=pin).must("plan").out
    delete_base(project, digest)
    build = pipeline.job(artifacts_of=pin)
    assert len(copies_said(build.must("build").err)) == 1
    (made,) = build.engine.builds
    copy = f"{keep}@{digest}"
    # The first stage is not reached; a command is nobody's reference.
    assert made.dockerfile == (
        f"FROM scratch AS tools\n\nFROM {copy}\nCOPY --from={copy} /seed /seed\nRUN --mount=from={copy},target=/m echo {here}\n"
    )
    (image,) = build.record["images"].values()
    platform = image["platforms"]["linux/amd64"]
    assert platform["signature"] in planned
    assert (platform["base"]["digest"], platform["base"]["state"]) == (digest, "pinned")
    assert platform["base"]["reference"] == project.base


def test_verify_needs_no_base(project: Project, keep: str) -> None:
    project.commit(config=CONFIG)
    pin, digest = pinned_job(project, "--keep", keep)
    built = project.pipeline().job(artifacts_of=pin)
    built.must("build")
    delete_base(project, digest)
    project.registry.delete("group/app/bases", Digest(digest))
    project.registry.requests.clear()
    project.pipeline().job(artifacts_of=built).must("verify")
    project.pipeline().job().must("verify", "--recompute")
    assert project.upstream_requests() == project.requests_for("/v2/group/app/bases/") == []


class TestMirrors:
    """Mirrors are asked before the registry a base was pinned at, and cost nothing when they fail."""

    @pytest.fixture
    def mirror(self) -> Iterator[FakeRegistry]:
        with FakeRegistry() as running:
            yield running

    def settings(self, project: Project, mirror: FakeRegistry) -> None:
        project.write(".stagepin.yaml", f"registries:\n  mirrors:\n    {project.registry.address}: [{mirror.address}/proxy]\n")

    def test_a_mirror_that_has_the_digest_is_taken(self, project: Project, mirror: FakeRegistry) -> None:
        self.settings(project, mirror)
        project.commit(config=CONFIG)
        digest = mirror.put_image(f"proxy/{BASE}", "latest", seed="1")
        pin, pinned = pinned_job(project)
        assert pinned == str(digest)
        build = project.pipeline().job(artifacts_of=pin)
        said = build.must("build").err
        assert [str(reference) for reference in build.engine.pulled] == [f"{mirror.address}/proxy/{BASE}@{digest}"]
        assert mirror.address not in (build.workspace / "build.json").read_text()
        assert copies_said(said) == []

    @pytest.mark.parametrize("status", [404, 403, 503])
    def test_one_that_fails_is_passed_over(self, project: Project, mirror: FakeRegistry, status: int) -> None:
        self.settings(project, mirror)
        project.commit(config=CONFIG)
        mirror.fail(status=status, body=b'{"errors": [{"code": "NAME_UNKNOWN"}]}', times=None)
        pin, digest = pinned_job(project)
        build = project.pipeline().job(artifacts_of=pin)
        build.must("build")
        assert [str(reference) for reference in build.engine.pulled] == [f"{project.base.removesuffix(':latest')}@{digest}"]
