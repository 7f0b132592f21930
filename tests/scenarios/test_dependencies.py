"""What an image is told of another one: into variables and build arguments, recorded, verified, and made anew when it is no longer true."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ci_plugin.values.document import seal
from tests.scenarios.pipeline import STAGES, Job, Project
from tests.scenarios.test_verify import edit_record, refused

FACTS = ("ImageName", "ImageTag", "ImageRepo", "ImageID", "ImageDigest")
LIB = "image: lib\nfrom: BASE\nfromLatest: true\nshell:\n  install: [make lib]\n---\n"
APP = (
    "image: app\nfrom: BASE\nfromLatest: true\ndependencies:\n- image: lib\n  before: install\n  imports:\n"
    + "".join(f"  - {{type: {fact}, targetEnv: LIB_{fact}}}\n" for fact in FACTS)
    + "shell:\n  install: [make app]\n"
)


@pytest.fixture
def built(project: Project) -> Job:
    """A job that pinned and built both."""
    project.commit(config=LIB + APP)
    job = project.pipeline().job()
    job.must("pin")
    job.must("build")
    return job


def expected(job: Job) -> dict[str, str]:
    lib = job.record["images"]["lib"]["platforms"]["linux/amd64"]
    repository = job.environ["CI_REGISTRY_IMAGE"]
    facts = (f"{repository}:{lib['signature']}", lib["signature"], repository, lib["imageId"], lib["digest"])
    return {f"LIB_{fact}": value for fact, value in zip(FACTS, facts, strict=True)}


def environment(project: Project, digest: str) -> dict[str, str]:
    manifest = json.loads(project.registry.manifests[STAGES, digest][1])
    config = json.loads(project.registry.blobs[manifest["config"]["digest"]])["config"]
    return dict(item.split("=", 1) for item in config["Env"])


def test_every_fact_is_in_the_image_and_in_the_record_and_is_verified(project: Project, built: Job) -> None:
    assert environment(project, built.digest()).items() >= expected(built).items()
    platform = built.record["images"]["app"]["platforms"]["linux/amd64"]
    assert {item[2]: item[3] for item in platform["dependencies"]} == expected(built)
    assert {(item[0], item[1]) for item in platform["dependencies"]} == {("lib", fact) for fact in FACTS}
    assert "dependencies" not in built.record["images"]["lib"]["platforms"]["linux/amd64"]
    built.must("verify")


def test_a_dockerfile_gets_them_as_build_arguments(project: Project) -> None:
    project.write("Dockerfile", f"FROM {project.base}\nARG LIB_DIGEST\nRUN echo $LIB_DIGEST\n")
    told = "dependencies:\n- image: lib\n  imports:\n  - {type: ImageDigest, targetBuildArg: LIB_DIGEST}\n"
    project.commit(config=f"{LIB}image: app\ndockerfile: Dockerfile\n{told}")
    job = project.pipeline().job()
    job.must("build", "--pin")
    assert job.engine.builds[-1].build_args["LIB_DIGEST"] == job.digest("lib")
    assert job.record["images"]["app"]["platforms"]["linux/amd64"]["dependencies"] == [
        ["lib", "ImageDigest", "LIB_DIGEST", job.digest("lib")]
    ]
    job.must("verify")


def test_where_nothing_changed_nothing_is_built_again(project: Project, built: Job) -> None:
    again = project.pipeline().job()
    again.must("build")
    assert again.engine.ran == []
    assert again.record["images"] == {name: unbuilt(image) for name, image in built.record["images"].items()}


def unbuilt(image: Any) -> Any:
    """A record's image as a job has it that built nothing."""
    for platform in image["platforms"].values():
        for stage in platform["stages"]:
            stage.update(built=False, seconds=0)
    return image


def test_an_image_that_was_told_of_one_that_is_gone_is_made_anew_and_verifies(project: Project, built: Job) -> None:
    for key in [key for key in project.registry.tags if key[1].startswith(built.record["images"]["lib"]["tags"][0])]:
        del project.registry.tags[key]
    again = project.pipeline().job(artifacts_of=built)
    again.must("build")
    assert again.digest("lib") != built.digest("lib")
    assert environment(project, again.digest()).items() >= expected(again).items()
    again.must("verify")
    third = project.pipeline().job()
    third.must("build")
    assert third.engine.ran == []
    assert third.digest() == again.digest()


def test_a_digest_in_local_is_refused_where_it_is_asked_for(project: Project) -> None:
    project.commit(config=LIB + APP)
    job = project.pipeline().job()
    ran = job.run("build", "--pin", "--repo", ":local")
    assert (ran.code, job.engine.ran) == (2, []), "nothing is built before it is told"
    assert "error: expected an image that has a digest for ImageDigest, found one in :local, where none has\n  at: werf.yaml:" in ran.err
    assert "next: take ImageID there, or build into a registry: `--repo REPOSITORY`" in ran.err


def test_in_local_names_are_those_of_the_engines_own_store(project: Project) -> None:
    project.commit(config=LIB + APP.replace("  - {type: ImageDigest, targetEnv: LIB_ImageDigest}\n", ""))
    job = project.pipeline().job()
    job.must("build", "--pin", "--repo", ":local")
    (name, tag, repository, image) = (item[3] for item in job.record["images"]["app"]["platforms"]["linux/amd64"]["dependencies"])
    assert name == f"{repository}:{tag}"
    found = job.engine.find_image(name)
    assert found is not None
    assert (str(found.id), repository.split("/")[0]) == (image, "stagepin.local")


def test_a_value_that_is_not_that_of_the_recorded_image_is_a_finding(built: Job) -> None:
    def other_lib(record: Any) -> None:
        record["images"]["lib"]["platforms"]["linux/amd64"]["signature"] = "0" * 64

    rewrite(built, other_lib)
    ran = built.run("verify", "--format", "json", "app")
    assert ran.code == 1
    (*others, finding) = sorted(ran.document["findings"], key=lambda finding: "ImageTag" in finding["message"])
    assert finding["rule"] == "dependency-values"
    assert [(other["rule"], "ImageName" in other["message"]) for other in others] == [("dependency-values", True)]
    assert finding["message"] == f"expected 'app' to have ImageTag {'0' * 64} of 'lib' in LIB_ImageTag, found {expected_tag(built)}"
    assert finding["hint"] == (
        "the other image was built anew after this one: build again in this scope, which makes anew what was told of it"
    )


def expected_tag(job: Job) -> str:
    """What the image itself was told."""
    told = job.record["images"]["app"]["platforms"]["linux/amd64"]["dependencies"]
    return next(str(item[3]) for item in told if item[1] == "ImageTag")


def rewrite(job: Job, change: Any) -> None:
    record = job.record
    change(record)
    (job.workspace / "build.json").write_bytes(seal({key: value for key, value in record.items() if key != "checksum"}))


def test_a_record_that_says_other_values_than_the_image_is_a_finding(built: Job) -> None:
    edit_record(built, lambda _, platform: platform.pop("dependencies"))
    finding = refused(built)
    assert finding["rule"] == "image-labels"
    assert finding["message"].startswith("expected 'app' to be labelled as told nothing of other images, found ImageName ")
