"""Each command over each dialect: a lone Dockerfile, several, werf.yaml, dappfile.yml; stdout, JSON, files, exit code."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path
from typing import Any

import pytest

from ci_plugin.values.digest import Digest
from tests.fakes.registry import FakeRegistry, make_image
from tests.scenarios.pipeline import BASE, META, PLAIN, STAGES, Job, Project

SHA = re.compile(r"sha256:[0-9a-f]{64}")


@pytest.fixture
def bases(server: FakeRegistry) -> dict[str, str]:
    """Two more images, and where they are."""
    server.put_image("base/tool", "1", seed="tool")
    server.put_image("base/mount", "latest", seed="mount")
    return {"TOOL": f"{server.address}/base/tool:1", "MOUNT": f"{server.address}/base/mount"}


DOCKERFILE = """\
FROM BASE AS builder
RUN echo building
FROM BASE
COPY --from=builder /out /out
COPY --from=TOOL /tool /tool
RUN --mount=from=MOUNT,target=/m echo mounted
COPY app.txt /app.txt
"""


def dockerfile(project: Project, bases: dict[str, str], text: str = DOCKERFILE) -> str:
    for name, reference in {"BASE": project.base, **bases}.items():
        text = text.replace(name, reference)
    return text


def lone_dockerfile(project: Project, bases: dict[str, str]) -> Job:
    project.write("Dockerfile", dockerfile(project, bases))
    project.write("app.txt", "one")
    project.commit()
    job = project.pipeline().job()
    job.environ["CI_PROJECT_NAME"] = "app"
    return job


class TestLoneDockerfile:
    def test_pin_records_every_reference_where_it_stands(self, project: Project, bases: dict[str, str]) -> None:
        job = lone_dockerfile(project, bases)
        ran = job.must("pin")
        pins = {pin["reference"]: pin for pin in job.pins["pins"]}
        assert sorted(pins) == sorted([project.base, bases["TOOL"], f"{bases['MOUNT']}:latest"])
        assert [(origin["kind"], origin["line"]) for origin in pins[project.base]["origin"]] == [("from", 1), ("from", 3)]
        assert [(origin["kind"], origin["file"], origin["line"]) for origin in pins[bases["TOOL"]]["origin"]] == [
            ("copy-from", "Dockerfile", 5)
        ]
        assert [origin["kind"] for origin in pins[f"{bases['MOUNT']}:latest"]["origin"]] == ["mount-from"]
        assert all(pin["inSignature"] and list(pin["platforms"]) == ["linux/amd64"] for pin in pins.values())
        assert re.search(rf"^{re.escape(project.base)} +{SHA.pattern} +linux/amd64$", ran.out, re.MULTILINE)
        assert ": base follows the registry" in ran.err

    def test_build_replaces_every_reference_by_its_digest(self, project: Project, bases: dict[str, str]) -> None:
        job = lone_dockerfile(project, bases)
        job.must("build", "--pin")
        (build,) = job.engine.builds
        named = re.findall(r"(?:FROM |from=)([^\s,]+)", build.dockerfile)
        outside = [name for name in named if name != "builder"]
        assert len(outside) == 4
        assert all(re.fullmatch(rf"{re.escape(project.registry.address)}/base/[a-z]+@{SHA.pattern}", name) for name in outside)
        assert build.paths == ("app.txt",)
        assert {f"{reference.repository.path}" for reference in job.engine.pulled} == {"base/alpine", "base/tool", "base/mount"}
        job.must("verify")
        job.must("verify", "--recompute")

    def test_a_change_of_any_pinned_image_or_file_moves_the_signature_and_nothing_else_does(
        self, project: Project, bases: dict[str, str]
    ) -> None:
        def signature(job: Job) -> str:
            job.must("pin")
            (image,) = job.must("plan", "--format", "json").document["images"].values()
            return str(image["platforms"]["linux/amd64"]["signature"])

        job = lone_dockerfile(project, bases)
        first = signature(job)
        project.write("README", "not in the image")
        project.commit()
        assert signature(project.pipeline("2").job()) == first
        project.registry.put_image("base/tool", "1", seed="moved")
        assert signature(project.pipeline("3").job()) != first
        project.registry.put_image("base/tool", "1", seed="tool")
        assert signature(project.pipeline("4").job()) == first
        project.write("app.txt", "two")
        project.commit()
        assert signature(project.pipeline("5").job()) != first

    def test_outside_ci_one_build_pins_and_keeps_everything_in_the_engine(self, project: Project, bases: dict[str, str]) -> None:
        job = lone_dockerfile(project, bases)
        job.environ = dict(PLAIN)
        job.must("build")
        assert job.pins["scope"] == "local"
        (image,) = job.record["images"].values()
        assert (image["reference"], image["digest"], job.record["repo"], job.record["published"]) == (None, None, None, False)
        assert SHA.fullmatch(image["platforms"]["linux/amd64"]["imageId"])
        assert project.requests_for(f"/v2/{STAGES}/") == []
        built = len(job.engine.builds)
        project.move_base("2")
        job.must("build")
        assert len(job.engine.builds) == built

    def test_local_pins_older_than_a_day_are_made_anew(self, project: Project, bases: dict[str, str]) -> None:
        job = lone_dockerfile(project, bases)
        job.environ = dict(PLAIN)
        job.must("pin")
        old = job.pinned(project.base)
        moved = project.move_base("2")
        job.clock.advance(24 * 3600)
        job.must("pin")
        assert job.pinned(project.base) == old
        job.clock.advance(1)
        job.must("pin")
        assert job.pinned(project.base) == str(moved)

    def test_build_arguments_enter_the_signature_and_reach_the_engine(self, project: Project) -> None:
        project.write("Dockerfile", f"ARG TAG=latest\nFROM {project.registry.address}/{BASE}:$TAG\nARG MODE\nRUN echo $MODE\n")
        project.commit()
        project.registry.put_image(BASE, "edge", seed="edge")
        job = project.pipeline().job()
        job.must("build", "--pin", "--build-arg", "TAG=edge", "--build-arg", "MODE", MODE="fast")
        assert [pin["reference"] for pin in job.pins["pins"]] == [f"{project.registry.address}/{BASE}:edge"]
        assert job.engine.builds[0].build_args["MODE"] == "fast"
        ran = job.run("build", "--build-arg", "MODE")
        assert ran.code == 2
        assert "expected a value for --build-arg MODE, found none in the environment" in ran.err

    def test_files_that_are_not_committed_are_inputs_only_where_they_are_named(self, project: Project, bases: dict[str, str]) -> None:
        project.write("Dockerfile", f"FROM {project.base}\nCOPY . /app\n")
        project.commit()
        job = project.pipeline().job()
        (job.directory / "dist").mkdir()
        (job.directory / "dist" / "app.js").write_text("built")
        job.must("build", "--pin")
        job.must("build", "--context-add", "dist")
        assert [build.paths for build in job.engine.builds] == [("Dockerfile",), ("Dockerfile", "dist/app.js")]
        ran = job.run("build", "--context-add", "gone")
        assert ran.code == 2
        assert "expected a file or directory 'gone' to add to the context" in ran.err

    def test_an_edited_file_that_is_not_committed_stops_a_job(self, project: Project, bases: dict[str, str]) -> None:
        job = lone_dockerfile(project, bases)
        (job.directory / "Dockerfile").write_text("FROM other\n")
        ran = job.run("pin")
        assert ran.code == 2
        assert "in this CI job, found uncommitted changes to Dockerfile" in ran.err


class TestSeveralDockerfiles:
    OPTIONS = ("--dockerfile", "api=services/api/Dockerfile,context=services/api", "--dockerfile", "web=web.Dockerfile,target=dev")

    def test_every_image_has_its_own_name_context_and_target(self, project: Project) -> None:
        project.write("services/api/Dockerfile", f"FROM {project.base}\nCOPY main.py /\n")
        project.write("services/api/main.py", "print()")
        project.write("web.Dockerfile", f"FROM {project.base} AS dev\nRUN echo dev\nFROM dev\nRUN echo prod\n")
        project.commit()
        job = project.pipeline().job()
        job.must("pin", *self.OPTIONS)
        assert job.pins["images"] == ["api", "web"]
        assert len(job.pins["pins"]) == 1
        plan = job.must("plan", "--format", "json", *self.OPTIONS).document
        assert list(plan["images"]) == ["api", "web"]
        job.must("build", *self.OPTIONS, "--jobs", "1")
        assert [(build.target, build.paths) for build in job.engine.builds] == [(None, ("main.py",)), ("dev", ())]
        ran = job.must("verify")
        assert f"api             {project.stages}@{job.digest('api')}\n" in ran.out
        assert f"web             {project.stages}@{job.digest('web')}\n" in ran.out

    @pytest.mark.parametrize("option", ["api", "api=", "=Dockerfile", "api=Dockerfile,nope=1", "api=../Dockerfile"])
    def test_an_option_that_says_something_else_is_refused(self, project: Project, option: str) -> None:
        project.commit()
        ran = project.pipeline().job().run("pin", "--dockerfile", option)
        assert ran.code == 2
        assert "error: expected " in ran.err
        assert "\n  next: " in ran.err

    def test_a_build_of_other_dockerfiles_than_were_pinned_does_not_pass_for_the_whole(self, project: Project) -> None:
        for name in ("api", "web"):
            project.write(f"{name}/Dockerfile", f"FROM {project.base}\n")
        project.commit()
        both = ["--dockerfile", "api=api/Dockerfile", "--dockerfile", "web=web/Dockerfile"]
        job = project.pipeline().job()
        job.must("pin", *both)
        job.must("build", *both)
        whole = job.record
        ran = job.must("build", *both[:2])
        assert "warning: web: pinned for pipeline:1001, and not in this job's configuration: the build record will be partial" in ran.err
        assert not job.record["complete"]
        deploy = project.pipeline().job()
        deploy.must("verify")
        assert deploy.record == whole

    def test_a_build_argument_that_nothing_declares_is_told(self, project: Project) -> None:
        project.write("Dockerfile", f"ARG TAG=latest\nFROM {project.base}\nARG MODE\n")
        project.commit()
        given = [part for name in ("MOED", "MODE", "TAG", "http_proxy") for part in ("--build-arg", f"{name}=x")]
        ran = project.pipeline().job().must("pin", *given)
        assert ran.err.count("warning: --build-arg ") == 1
        assert "warning: --build-arg MOED: no ARG MOED in the Dockerfiles that are built; nothing reads it" in ran.err

    def test_a_build_argument_without_a_name_is_refused(self, project: Project) -> None:
        project.write("Dockerfile", f"FROM {project.base}\n")
        project.commit()
        ran = project.pipeline().job().run("pin", "--build-arg", "=x")
        assert ran.code == 2
        assert "error: expected --build-arg NAME or NAME=VALUE, found no name: '='" in ran.err
        assert "next: write --build-arg NAME=VALUE" in ran.err

    def test_a_dockerfile_that_is_not_committed_is_named(self, project: Project) -> None:
        project.commit()
        ran = project.pipeline().job().run("pin", "--dockerfile", "api=api/Dockerfile")
        assert ran.code == 2
        assert "expected the Dockerfile api/Dockerfile of image 'api' in the commit, found none" in ran.err
        assert "next: git add api/Dockerfile" in ran.err


WERF = """\
artifact: tools
from: BASE
shell:
  install: [echo tools]
---
image: lib
fromImageArtifact: tools
shell:
  setup: [echo lib]
---
image: app
fromImage: lib
fromCacheVersion: "{{ env "CACHE" }}"
shell:
  beforeInstall: [echo one]
  install: [echo two]
  beforeSetup: [echo three]
  setup: [echo four]
docker:
  USER: nobody
  ENV: {MODE: fast}
---
image: empty
from: scratch
docker:
  CMD: ["/app"]
"""


class TestWerf:
    def test_plan_shows_all_stages_of_all_images_without_an_engine(self, project: Project) -> None:
        project.commit(config=WERF)
        job = project.pipeline().job()
        job.environ["CACHE"] = "1"
        job.engine.dead = True
        ran = job.must("pin")
        assert "tools: base frozen at first build (add fromLatest: true)" in ran.err
        assert "app: base is not a registry's image" in ran.err
        images = job.must("plan", "--format", "json").document["images"]
        stages = {name: [stage["name"] for stage in image["platforms"]["linux/amd64"]["stages"]] for name, image in images.items()}
        assert stages == {
            "tools": ["from", "install"],
            "lib": ["from", "setup"],
            "app": ["from", "beforeInstall", "install", "beforeSetup", "setup", "dockerInstructions"],
            "empty": ["from", "dockerInstructions"],
        }
        assert {image["platforms"]["linux/amd64"]["state"] for image in images.values()} == {"missing"}

    def test_the_record_names_what_may_be_deployed_and_what_it_was_built_on(self, project: Project) -> None:
        project.commit(config=WERF)
        job = project.pipeline().job()
        job.environ["CACHE"] = "1"
        job.must("build", "--pin")
        images = job.record["images"]
        assert list(images) == ["lib", "app", "empty"]
        states = {name: image["platforms"]["linux/amd64"]["base"]["state"] for name, image in images.items()}
        assert states == {"lib": "image", "app": "image", "empty": "scratch"}
        config = job.engine.find_image(images["app"]["platforms"]["linux/amd64"]["imageId"])
        assert config is not None
        assert (config.config["User"], config.config["Env"]) == ("nobody", ["MODE=fast"])
        job.must("verify", "--recompute")

    def test_plan_names_what_is_stored_and_what_is_missing(self, project: Project) -> None:
        project.commit(config=WERF)
        job = project.pipeline().job()
        job.environ["CACHE"] = "1"
        job.must("pin")
        job.must("build", "lib")
        states = {name: image["platforms"]["linux/amd64"]["state"] for name, image in self._plan(job).items()}
        assert states == {"tools": "cached", "lib": "cached", "app": "missing", "empty": "missing"}
        assert {image["platforms"]["linux/amd64"]["state"] for image in self._plan(job, "--repo", ":local").values()} == {"unknown"}

    @staticmethod
    def _plan(job: Job, *options: str) -> Any:
        return job.must("plan", "--format", "json", *options).document["images"]

    def test_a_root_filesystem_on_disk_is_a_base(self, project: Project, tmp_path: Path) -> None:
        project.commit(config="image: app\nfromArchive: rootfs.tar\nshell:\n  setup: [echo hi]\n")
        job = project.pipeline().job()
        ran = job.run("build", "--pin")
        assert ran.code == 2
        assert "expected a root filesystem archive at rootfs.tar, found no file" in ran.err
        layer = gzip.decompress(make_image(seed="rootfs").blobs[1])
        (job.directory / "rootfs.tar").write_bytes(layer)
        job.must("build")
        base = job.record["images"]["app"]["platforms"]["linux/amd64"]["base"]
        assert base == {"reference": "rootfs.tar", "digest": None, "state": "archive", "diffIds": [str(Digest.of(layer))]}
        job.must("verify")


class TestDapp:
    def test_the_older_dialect_is_pinned_planned_built_and_verified(self, project: Project) -> None:
        project.write(
            "dappfile.yml",
            f"artifact: tools\nfrom: {project.base}\n---\ndimg: lib\nfromDimgArtifact: tools\n---\n"
            'dimg: app\nfromDimg: lib\nfromCacheVersion: "{{ env "CACHE" }}"\nshell:\n  setup: [echo hi]\n',
        )
        project.commit()
        job = project.pipeline().job()
        job.environ["CACHE"] = "1"
        job.must("pin")
        assert list(job.must("plan", "--format", "json").document["images"]) == ["tools", "lib", "app"]
        job.must("build")
        assert list(job.record["images"]) == ["lib", "app"]
        job.must("verify")


class TestExplain:
    CONFIG = (
        'image: app\nfrom: BASE\nfromLatest: true\nfromCacheVersion: "{{ env "CACHE" }}"\n'
        "shell:\n  install: [echo one]\n  setup: [echo two]\n"
    )

    def test_the_inputs_of_every_stage_are_labelled_and_values_are_not_shown(self, project: Project) -> None:
        project.commit(config=self.CONFIG)
        job = project.pipeline().job()
        job.environ["CACHE"] = "a-very-special-value"
        job.must("pin")
        ran = job.must("explain", "app")
        assert re.search(rf"^from +base\.reference +[0-9a-f]{{64}} +{re.escape(project.base)}$", ran.out, re.MULTILINE)
        assert re.search(rf"^from +base\.digest +[0-9a-f]{{64}} +{job.pinned(project.base)}$", ran.out, re.MULTILINE)
        assert re.search(r"^from +fromCacheVersion +[0-9a-f]{64} +20 characters$", ran.out, re.MULTILINE)
        assert "a-very-special-value" not in ran.text
        assert "setup" not in job.must("explain", "app", "--stage", "install").out
        ran = job.run("explain", "app", "--stage", "instal")
        assert ran.code == 2
        assert "expected a stage of 'app', found 'instal'" in ran.err
        assert "it has: from, install, setup" in ran.err

    def test_why_it_rebuilt_is_said_exactly(self, project: Project) -> None:
        project.commit(config=self.CONFIG)
        first = project.pipeline("1001").job()
        first.must("build", "--pin", CACHE="1")
        old = first.pinned(project.base)
        new = str(project.move_base("2"))
        second = project.pipeline("1002").job()
        second.must("pin", CACHE="1")
        (second.directory / "old.json").write_bytes((first.workspace / "build.json").read_bytes())
        second.clock.advance(600)
        short = [f"{digest[:19]}…" for digest in (old, new)]
        moved = f'stage "from" of "app" changed because {project.base} moved from {{}} to {{}} (pinned by pipeline 1002, 10 minutes ago)'
        assert moved.format(old, new) in second.must("-v", "explain", "app", "--against", "old.json", CACHE="1").out
        ran = second.must("explain", "app", "--against", "old.json", CACHE="1")
        assert ran.out.splitlines() == [
            moved.format(*short),
            'stage "install" of "app" changed because its parent, stage "from", changed',
            'stage "setup" of "app" changed because its parent, stage "install", changed',
        ]
        ran = second.must("explain", "app", "--against", "old.json", "--stage", "from", CACHE="2")
        assert "fromCacheVersion changed (now 1 character)" in ran.out
        assert len(ran.out.splitlines()) == 1
        ran = first.must("explain", "app", "--against", ".stagepin/build.json", CACHE="1")
        assert ran.out == "app: every stage signature is the recorded one\n"

    def test_a_record_that_is_not_there_is_named(self, project: Project) -> None:
        project.commit(config=self.CONFIG)
        job = project.pipeline().job()
        job.must("pin", CACHE="1")
        ran = job.run("explain", "app", "--against", "nope.json", CACHE="1")
        assert ran.code == 2
        assert "expected a build record at nope.json, found no file" in ran.err


class TestFetch:
    def test_pins_and_record_of_another_pipeline_come_on_request(self, project: Project) -> None:
        project.commit(config="image: app\nfrom: BASE\n")
        old = project.pipeline("1000").job()
        old.must("pin")
        job = project.pipeline("1001").job()
        ran = job.must("fetch", "--pipeline", "1000")
        assert "no build record of pipeline:1000 yet" in ran.err
        old.must("build")
        job.must("fetch", "--pipeline", "1000")
        assert (job.pins, job.record) == (old.pins, old.record)

    def test_nothing_to_fetch_is_said_with_what_to_check(self, project: Project) -> None:
        project.commit(config="image: app\nfrom: BASE\n")
        job = project.pipeline().job()
        ran = job.run("fetch")
        assert ran.code == 2
        assert f"expected the pins of pipeline:1001 in stages storage {project.stages}, found none" in ran.err
        assert "check --scope, --pipeline and --repo against the pin job's" in ran.err
        job.environ["CI_REGISTRY_IMAGE"] = ""
        ran = job.run("fetch")
        assert ran.code == 2
        assert "expected a repository and a scope to fetch from, found no repository" in ran.err

    def test_a_deploy_job_needs_no_checkout(self, project: Project, tmp_path: Path) -> None:
        project.commit(config="image: app\nfrom: BASE\n")
        build = project.pipeline().job()
        build.must("build", "--pin")
        empty = tmp_path / "empty"
        empty.mkdir()
        deploy = Job(empty, build.environ, build.engine)
        assert build.digest() in deploy.must("verify").out
        assert json.loads((empty / ".stagepin" / "build.json").read_bytes()) == build.record


class TestDoctor:
    def test_everything_that_works_is_said_and_nothing_changes(self, project: Project) -> None:
        project.commit(config="image: app\nfrom: BASE\n")
        job = project.pipeline().job()
        ran = job.must("doctor")
        assert re.search(r"^forge +yes +gitlab, scope pipeline:1001$", ran.out, re.MULTILINE)
        assert re.search(r"^engine +yes +runs linux/amd64$", ran.out, re.MULTILINE)
        assert "a registry has no compare-and-set" in ran.out
        assert not job.workspace.exists()
        assert {request.method for request in project.registry.requests} <= {"HEAD", "GET"}

    def test_what_does_not_work_is_said_with_the_way_out(self, project: Project) -> None:
        project.commit(config="image: app\nform: BASE\n")
        job = project.pipeline().job()
        job.engine.dead = True
        ran = job.run("doctor")
        assert ran.code == 1
        assert re.search(r"^configuration +no +expected a known directive", ran.out, re.MULTILINE)
        assert re.search(r"^engine +no +expected the engine", ran.out, re.MULTILINE)
        assert "next: did you mean `from`?" in ran.err

    def test_a_reason_that_answers_several_questions_is_said_once(self, project: Project, tmp_path: Path) -> None:
        project.commit()
        job = project.pipeline().job()
        job.environ = {"HOME": str(tmp_path)}
        job.directory = tmp_path / "empty"
        job.directory.mkdir()
        ran = job.run("doctor")
        assert ran.code == 1
        assert ran.out.count("expected a git repository, found none") > 1
        assert ran.err.count("error: expected a git repository, found none") == 1


def test_a_repository_that_is_nearly_local_is_refused_with_the_right_spelling(project: Project) -> None:
    project.commit(config="image: app\nfrom: BASE\n")
    ran = project.pipeline().job().run("plan", "--repo", ":locl")
    assert ran.code == 2
    assert "error: expected a repository or :local, found ':locl'\n  next: did you mean :local?\n" in ran.err


def test_settings_in_the_repository_are_the_defaults(project: Project) -> None:
    project.write(".stagepin.yaml", f"repo: {project.registry.address}/mine\nscope: train\nsettle: 0\n")
    project.write("werf.yaml", META + f"image: app\nfrom: {project.base}\n")
    project.commit()
    job = project.pipeline().job()
    job.must("build", "--pin")
    assert job.pins["scope"] == "train"
    assert job.record["repo"] == f"{project.registry.address}/mine"
    assert 2.0 not in job.clock.slept
    other = project.pipeline().job()
    other.must("build", "--pin", "--repo", project.stages, STAGEPIN_SCOPE="from-environment")
    assert (other.pins["scope"], other.record["repo"]) == ("from-environment", project.stages)


def test_pin_and_require_built_together_are_refused(project: Project) -> None:
    project.commit(config="image: app\nfrom: BASE\nfromLatest: true\n")
    ran = project.pipeline().job().run("build", "--pin", "--require-built")
    assert ran.code == 2
    assert "expected --pin or --require-built, found both" in ran.err


def test_a_record_is_not_kept_beside_the_pins_of_another(project: Project) -> None:
    project.commit(config="image: app\nfrom: BASE\nfromLatest: true\n")
    pipeline = project.pipeline()
    alone = pipeline.job()
    alone.must("pin", "--repo", ":local")
    project.move_base("2")
    pipeline.job().must("pin")
    ran = alone.must("build")
    assert "the build record is not kept in the stages storage" in ran.err
    assert "it holds other pins of pipeline:1001" in ran.err
    assert pipeline.job().run("verify").code == 2, "no record is there"
