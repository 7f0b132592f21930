"""``--no-publish``, ``--cache-repo``, ``--tag``: where a build finds stages, where new ones go, what else final images are called."""

from __future__ import annotations

import itertools
import json
import re

import pytest

from ci_plugin.values.digest import Digest
from tests.fakes.git_repository import GitRepository
from tests.fakes.registry import FakeRegistry, Request
from tests.scenarios.pipeline import STAGES, Job, Project

LIB = "image: lib\nfrom: BASE\nfromLatest: true\nshell:\n  install: [make lib]\n"
APP = "image: app\nfromImage: lib\nshell:\n  install: [make app]\n"
FAMILY = f"{LIB}---\n{APP}"
_pipelines = itertools.count(1001)


def writes(registry: FakeRegistry) -> list[Request]:
    return [request for request in registry.requests if request.method not in ("GET", "HEAD")]


def pinned(project: Project, config: str = FAMILY) -> Job:
    """A job that has pins, in a pipeline of its own."""
    project.commit(config=config)
    job = project.pipeline(str(next(_pipelines))).job()
    job.must("pin")
    project.registry.requests.clear()
    return job


def after(project: Project, job: Job, *, on_its_engine: bool = False) -> Job:
    """A later job of the same pipeline, in a checkout of the same project."""
    later = project.pipeline(job.environ["CI_PIPELINE_ID"]).job(artifacts_of=job, engine=job.engine if on_its_engine else None)
    for one in (job, later):
        GitRepository(one.directory).git("config", "remote.origin.url", "https://gitlab.example.com/group/app.git")
    return later


def tags_of(project: Project, repository: str = STAGES) -> dict[str, str]:
    return {tag: digest for (where, tag), digest in project.registry.tags.items() if where == repository}


class TestNoPublish:
    def test_it_builds_on_what_the_repository_has_and_writes_nothing_there(self, project: Project) -> None:
        ours = pinned(project)
        ours.must("build", "lib")
        project.registry.requests.clear()
        job = after(project, ours)
        ran = job.must("build", "--no-publish")
        assert "lib: stage" not in ran.err
        assert "app: stage install built in" in ran.err
        assert "not published, this engine alone has them: app" in ran.err
        assert writes(project.registry) == []
        assert (job.digest("lib"), job.record["published"]) == (ours.digest("lib"), False)
        app = job.record["images"]["app"]
        assert (app["reference"], app["digest"]) == (None, None)
        image = job.engine.find_image(app["platforms"]["linux/amd64"]["imageId"])
        assert image is not None
        assert job.built_on("app") == ours.digest("lib")

    def test_it_waits_for_no_election(self, project: Project) -> None:
        job = pinned(project)
        job.must("build", "--no-publish")
        assert 2.0 not in job.clock.slept

    def test_what_it_built_is_found_by_the_next_build_on_that_engine_and_by_no_other(self, project: Project) -> None:
        job = pinned(project)
        again = after(project, job, on_its_engine=True)
        job.must("build", "--no-publish")
        assert "stage install built" not in again.must("build", "--no-publish").err
        elsewhere = after(project, job)
        assert "stage install built" in elsewhere.must("build", "--no-publish").err

    def test_its_record_is_not_filed_and_cannot_be_deployed(self, project: Project) -> None:
        job = pinned(project)
        job.must("build", "--no-publish")
        assert "no build record of" in project.pipeline(job.environ["CI_PIPELINE_ID"]).job().must("fetch").err
        ran = job.run("verify")
        assert ran.code == 1
        assert f"expected 'app' in {project.stages}, found no reference: it was built without being published [record-published]" in ran.out
        assert "next: build (without --no-publish) and verify with the same --repo, so that what is deployed comes from there" in ran.out

    def test_where_nothing_is_new_the_record_is_as_good_as_any(self, project: Project) -> None:
        ours = pinned(project)
        ours.must("build")
        job = after(project, ours)
        job.must("build", "--no-publish")
        assert job.record["published"] is True
        job.must("verify")

    def test_in_an_engines_own_store_it_changes_nothing(self, project: Project) -> None:
        job = pinned(project)
        job.must("build", "--pin", "--repo", ":local", "--no-publish")
        assert job.record["published"] is False

    def test_the_fan_in_is_about_what_was_published(self, project: Project) -> None:
        ran = pinned(project).run("build", "--no-publish", "--require-built")
        assert ran.code == 2
        assert "expected --no-publish or --require-built, found both: the fan-in is about what was published" in ran.err


class TestCacheRepo:
    @pytest.fixture
    def cache(self, project: Project) -> str:
        """A repository in which the project's images were built before."""
        job = pinned(project)
        repository = f"{project.registry.address}/main/stages"
        job.must("build", "--repo", repository)
        return repository

    def test_what_a_cache_has_is_copied_and_not_built(self, project: Project, cache: str) -> None:
        job = pinned(project)
        ran = job.must("build", "--cache-repo", cache)
        assert "stage install built" not in ran.err
        (signature,) = job.record["images"]["app"]["tags"]
        assert f"stage install ({signature}) is taken from {cache}" in ran.err
        assert not [request for request in writes(project.registry) if "/v2/main/stages/" in request.path]
        assert job.record["images"]["app"]["reference"].startswith(f"{project.stages}@")
        assert job.digest() == tags_of(project, "main/stages")[signature]
        job.must("verify")
        assert job.engine.pulled == []

    def test_every_digest_its_record_names_has_a_tag_in_the_own_repository(self, project: Project, cache: str) -> None:
        job = pinned(project)
        job.must("build", "--cache-repo", cache)
        for image in job.record["images"].values():
            for stage in image["platforms"]["linux/amd64"]["stages"]:
                tags = [tag for tag, digest in tags_of(project).items() if digest == stage["digest"]]
                assert stage["signature"] in tags
                assert any(re.fullmatch(f"{stage['signature']}-[0-9a-f]{{8}}", tag) for tag in tags)

    def test_after_that_the_cache_is_not_needed(self, project: Project, cache: str) -> None:
        job = pinned(project)
        job.must("build", "--cache-repo", cache)
        project.registry.requests.clear()
        again = after(project, job)
        again.must("build", "--cache-repo", cache)
        assert project.requests_for("/v2/main/stages/") == []
        assert again.digest() == job.digest()

    def test_a_new_stage_is_built_on_a_cached_one(self, project: Project, cache: str) -> None:
        job = pinned(project, f"{LIB}---\n{APP.replace('make app', 'make another')}")
        ran = job.must("build", "--cache-repo", cache)
        assert "lib: stage" not in ran.err
        assert "app: stage install built in" in ran.err
        job.must("verify")

    def test_the_plan_says_where_a_cached_stage_is(self, project: Project, cache: str) -> None:
        job = pinned(project)
        assert f"cached in {cache}" in job.must("plan", "--cache-repo", cache).out
        platform = job.must("plan", "--cache-repo", cache, "--format", "json").document["images"]["app"]["platforms"]["linux/amd64"]
        assert (platform["state"], platform["cacheRepo"]) == ("cached", cache)
        assert writes(project.registry) == []
        job.must("build", "--cache-repo", cache)
        assert f"cached in {cache}" not in job.must("plan", "--cache-repo", cache).out
        assert "cacheRepo" not in job.must("plan", "--cache-repo", cache, "--format", "json").out

    def test_the_variable_and_the_settings_name_caches_too(self, project: Project, cache: str) -> None:
        none = f"{project.registry.address}/none"
        job = pinned(project)
        assert f"is taken from {cache}" in job.must("build", STAGEPIN_CACHE_REPO=f"{none} {cache}").err
        project.write(".stagepin.yaml", f"cacheRepos: [{cache}]\nrepo: {project.registry.address}/third\n")
        settled = pinned(project)
        settled.must("pin", "--repo", f"{project.registry.address}/third")
        assert f"is taken from {cache}" in settled.must("build", "--repo", f"{project.registry.address}/third").err
        other = after(project, settled)
        asked = other.must("plan", "--repo", f"{project.registry.address}/fourth", "--cache-repo", none).out
        assert "missing" in asked, "the command line stands for the settings"

    def test_into_an_engines_own_store_the_stage_is_pulled(self, project: Project, cache: str) -> None:
        job = pinned(project)
        again = after(project, job, on_its_engine=True)
        ran = job.must("build", "--pin", "--repo", ":local", "--cache-repo", cache)
        assert "stage install built" not in ran.err
        assert job.engine.find_image(job.record["images"]["app"]["platforms"]["linux/amd64"]["imageId"]) is not None
        project.registry.requests.clear()
        again.must("build", "--pin", "--repo", ":local", "--cache-repo", cache)
        assert project.requests_for("/v2/main/stages/") == []

    def test_with_no_publish_it_is_pulled_too(self, project: Project, cache: str) -> None:
        job = pinned(project)
        ran = job.must("build", "--no-publish", "--cache-repo", cache)
        assert "stage install built" not in ran.err
        assert "not published, this engine alone has them: lib, app" in ran.err
        assert writes(project.registry) == []

    def test_a_cache_that_cannot_be_read_is_told_once_and_the_build_goes_on(self, project: Project, cache: str) -> None:
        project.registry.fail(path="/v2/main/stages/", status=403, times=None)
        job = pinned(project)
        ran = job.must("build", "--cache-repo", cache)
        assert ran.err.count(f"the cache repository {cache} is not asked any more in this run: expected to be let in") == 1
        assert "app: stage install built in" in ran.err

    def test_another_image_under_a_stages_name_in_a_cache_is_not_taken(self, project: Project, cache: str) -> None:
        job = pinned(project)
        for tag in tags_of(project, "main/stages"):
            project.registry.put_image("main/stages", tag, seed="not a stage")
        ran = job.must("build", "--cache-repo", cache)
        assert f"is not taken from {cache}: expected the stage" in ran.err
        assert "app: stage install built in" in ran.err

    def test_a_stage_whose_layers_a_cache_lost_is_built(self, project: Project, cache: str) -> None:
        job = pinned(project)
        for (repository, _), (_, data) in list(project.registry.manifests.items()):
            for layer in json.loads(data).get("layers", []) if repository == "main/stages" else []:
                project.registry.collect_blob(Digest(layer["digest"]))
        project.move_base("1")
        ran = job.must("build", "--cache-repo", cache)
        assert f"is not taken from {cache}: expected blob" in ran.err
        assert "app: stage install built in" in ran.err

    @pytest.mark.parametrize(
        ("name", "found"),
        [(":local", "expected a registry's repository to take stages from, found ':local'"), ("a.example/b:1", "without tag or digest")],
    )
    def test_a_name_that_is_no_repository_is_refused(self, project: Project, name: str, found: str) -> None:
        ran = pinned(project).run("build", "--cache-repo", name)
        assert ran.code == 2
        assert found in ran.err
        assert "next: write a repository such as registry.example.com/group/app" in ran.err


class TestTag:
    def test_a_final_image_gets_the_tags_of_the_templates(self, project: Project) -> None:
        job = pinned(project)
        ran = job.must(
            "build", "--tag", "{image}-{ref}", "--tag", "{image}.{commit}", "--tag", "{image}_{scope}", CI_COMMIT_REF_NAME="feature/x"
        )
        commit = job.record["commit"]
        for image in ("lib", "app"):
            expected = [f"{image}-feature-x", f"{image}.{commit}", f"{image}_pipeline-{job.environ['CI_PIPELINE_ID']}"]
            assert job.record["images"][image]["tags"][1:] == expected
            assert {tags_of(project)[tag] for tag in expected} == {job.digest(image)}
            assert f"{image}: tagged {project.stages}:{image}-feature-x, {project.stages}:{image}.{commit}" in ran.err
        job.must("verify")

    def test_an_image_that_is_not_deployed_gets_none(self, project: Project) -> None:
        job = pinned(project, f"artifact: lib\n{LIB.partition(chr(10))[2]}---\n{APP.replace('fromImage', 'fromImageArtifact')}")
        job.must("build", "--tag", "release")
        assert tags_of(project)["release"] == job.digest("app")

    def test_where_no_variable_names_the_ref_it_is_the_branch_that_is_checked_out(self, project: Project) -> None:
        job = pinned(project)
        GitRepository(job.directory).git("checkout", "--quiet", "-b", "topic/(a)+b")
        job.must("build", "--tag", "{image}-{ref}")
        assert job.record["images"]["app"]["tags"][1:] == ["app-topic-a-b"]

    def test_of_named_images_only_those_get_one_and_not_what_they_are_built_on(self, project: Project) -> None:
        job = pinned(project)
        job.must("build", "app", "--tag", "release")
        assert tags_of(project)["release"] == job.digest("app")
        assert len(job.record["images"]["lib"]["tags"]) == 1

    def test_a_tag_moves_to_what_was_built_last_and_is_not_written_where_it_is(self, project: Project) -> None:
        job = pinned(project)
        job.must("build", "--tag", "{image}")
        first = job.digest()
        project.registry.requests.clear()
        after(project, job).must("build", "--tag", "{image}")
        assert not [request for request in writes(project.registry) if "/manifests/app" in request.path]
        second = pinned(project, f"{LIB}---\n{APP.replace('make app', 'make another')}")
        second.must("build", "--tag", "{image}")
        assert tags_of(project)["app"] == second.digest() != first

    def test_the_variable_names_several_and_the_fan_in_sets_them_without_an_engine(self, project: Project) -> None:
        job = pinned(project)
        job.must("build")
        job.engine.dead = True
        job.must("build", "--require-built", STAGEPIN_TAG="{image}-a {image}-b")
        assert job.record["images"]["app"]["tags"][1:] == ["app-a", "app-b"]

    def test_in_an_engines_own_store_it_is_a_name_there(self, project: Project) -> None:
        job = pinned(project)
        ran = job.must("build", "--pin", "--repo", ":local", "--tag", "{image}-dev")
        (name,) = re.findall(r"app: tagged (stagepin\.local/\S+:app-dev)", ran.err)
        image = job.engine.find_image(name)
        assert image is not None
        assert str(image.id) == job.record["images"]["app"]["platforms"]["linux/amd64"]["imageId"]
        assert job.record["images"]["app"]["tags"][1:] == ["app-dev"]

    def test_with_no_publish_what_the_repository_has_is_named_in_the_engine_too(self, project: Project) -> None:
        job = pinned(project)
        job.must("build")
        again = after(project, job)
        project.registry.requests.clear()
        ran = again.must("build", "--no-publish", "--tag", "{image}-try")
        (name,) = re.findall(r"app: tagged (stagepin\.local/\S+:app-try)", ran.err)
        assert again.engine.find_image(name) is not None
        assert writes(project.registry) == []

    @pytest.mark.parametrize(
        ("template", "message", "hint"),
        [
            (
                "{image}-{branch}",
                "expected {image}, {commit}, {ref}, {scope} in --tag, found '{branch}' in '{image}-{branch}'",
                "no formats",
            ),
            ("{image}{", "expected a tag of 1 to 128 characters", "the part after the colon"),
            ("app:{image}", "that begins with none of .-, found 'app:lib' (7 characters)", "the repository is --repo"),
            (
                "-{image}",
                "expected a tag of 1 to 128 characters [A-Za-z0-9_.-] that begins with none of .-, found '-lib'",
                "after the colon",
            ),
            ("{image}" + "x" * 128, "(131 characters)", "after the colon"),
            ("release", "gives 'lib' and 'app' the same, release", "write {image} into the template: --tag '{image}-{ref}'"),
            ("stagepin-{image}", "expected a tag of your own, found 'stagepin-lib'", "put a word of your own before it"),
            ("a" * 61 + "{image}", "expected a tag of your own, found 'aa", "put a word of your own before it"),
            (
                "{image}-{ref}",
                "expected a branch or tag for {ref} in --tag '{image}-{ref}', found none: HEAD is detached",
                "write {commit}",
            ),
        ],
    )
    def test_a_template_that_gives_no_tag_is_refused_before_anything_is_built(
        self, project: Project, template: str, message: str, hint: str
    ) -> None:
        job = pinned(project, FAMILY.replace("lib", "bab") if template.startswith("aaa") else FAMILY)
        ran = job.run("build", "--tag", template)
        assert ran.code == 2
        assert message in ran.err
        assert hint in ran.err
        assert job.engine.ran == []

    def test_tags_that_fail_are_told_and_the_others_are_set_and_recorded(self, project: Project) -> None:
        job = pinned(project)
        project.registry.fail(method="PUT", path="/manifests/app-one", status=403, times=None)
        ran = job.run("build", "--tag", "{image}-one", "--tag", "{image}-two")
        assert ran.code == 2
        assert "error: tag app-one of image 'app' is not set: expected to be let in by" in ran.err
        assert f"app: tagged {project.stages}:app-two" in ran.err
        assert job.record["images"]["app"]["tags"][1:] == ["app-two"]
        assert job.record["images"]["lib"]["tags"][1:] == ["lib-one", "lib-two"]
