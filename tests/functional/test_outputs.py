"""What a run leaves for people and machines: log formats, JSON shapes, the files a forge names; and no secret in any of them."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from ci_plugin.values.credentials import Credentials
from tests.fakes.engine import FakeEngine
from tests.fakes.registry_client import make_client
from tests.scenarios.pipeline import Job, Project, Ran

ROOT = Path(__file__).parents[2]
CONFIG = "image: app\nfrom: BASE\nfromLatest: true\nshell:\n  install: [make]\n---\nimage: tools/cli\nfrom: BASE\nfinal: false\n"
CANARY = "canary-7f3a9c-do-not-print"


@pytest.fixture
def job(project: Project) -> Job:
    project.commit(config=CONFIG)
    return project.pipeline().job()


def on_github(job: Job) -> Job:
    """The same runner on GitHub; the repository is said, for ghcr.io is not on loopback."""
    files = {name: str(job.directory / name) for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")}
    job.environ = {
        **{name: value for name, value in job.environ.items() if not name.startswith(("CI", "GITLAB"))},
        "CI": "true",
        "GITHUB_ACTIONS": "true",
        "GITHUB_SERVER_URL": "https://github.com",
        "GITHUB_REPOSITORY": "group/app",
        "GITHUB_REPOSITORY_ID": "4711",
        "GITHUB_RUN_ID": "1001",
        "STAGEPIN_REPO": job.environ["CI_REGISTRY_IMAGE"],
        **files,
    }
    return job


def outputs(job: Job) -> dict[str, str]:
    """What GitHub reads from the output file; it is emptied."""
    file = Path(job.environ["GITHUB_OUTPUT"])
    text = file.read_text()
    file.write_text("")
    found = re.findall(r"^([A-Za-z-]+)<<(\S+)\n(.*?)\n\2\n", text, re.MULTILINE | re.DOTALL)
    return {name: value for name, _, value in found}


def events(ran: Ran) -> list[Any]:
    """stderr, one JSON object a line."""
    return [json.loads(line) for line in ran.err.splitlines()]


class TestLog:
    def test_every_line_of_the_json_log_is_an_object(self, job: Job) -> None:
        ran = job.must("--log-format", "json", "build", "--pin")
        assert all({"time", "level", "event"} <= set(event) for event in events(ran))
        assert [event["level"] for event in events(ran)] == ["info"] * len(events(ran))
        assert "pinned for pipeline:1001, references: 1" in [event["event"] for event in events(ran)]

    def test_an_error_in_the_json_log_has_exit_code_place_and_hint(self, project: Project) -> None:
        project.commit(config="image: app\nform: BASE\n")
        ran = project.pipeline().job().run("pin", STAGEPIN_LOG_FORMAT="json")
        (event,) = events(ran)
        assert (event["level"], event["exitCode"], event["where"]) == ("error", 2, "werf.yaml:5:1")
        assert event["hint"] == "did you mean `from`?"
        assert event["event"].startswith("expected a known directive, found `form`")

    def test_the_output_of_a_failed_command_stands_in_the_json_log(self, job: Job) -> None:
        job.engine.fail("make", 1, "one\ntwo")
        ran = job.run("--log-format", "json", "build", "--pin")
        assert ran.code == 1
        assert [event["event"] for event in events(ran) if event.get("output")] == ["one", "two"]

    def test_quiet_leaves_the_result_alone(self, job: Job) -> None:
        ran = job.must("-q", "build", "--pin")
        assert ran.err == ""
        assert ran.out.splitlines()[-1].startswith("app    ")

    def test_quiet_still_shows_why_a_command_failed(self, job: Job) -> None:
        job.engine.fail("make", 1, "one\ntwo")
        ran = job.run("-q", "build", "--pin")
        assert ran.code == 1
        assert "  | one\n  | two\n" in ran.err
        assert ran.err.count("  | one\n") == 1

    def test_verbose_shows_output_as_it_comes_and_only_once(self, job: Job) -> None:
        job.engine.fail("make", 1, "one\ntwo")
        ran = job.run("-v", "build", "--pin")
        assert ran.code == 1
        assert ran.err.count("  | one\n") == 1

    def test_the_whole_output_of_a_failed_command_is_not_folded_away(self, job: Job) -> None:
        job.engine.fail("make", 1, "one")
        for verbosity in ([], ["-v"]):
            ran = job.run(*verbosity, "build", "--pin")
            assert "  | one" in ran.err
            assert "section_start:" not in ran.err
            assert "error: stage 'install' of image 'app'" in ran.err
        (job.workspace / "pins.json").unlink()
        on_github(job)
        for verbosity in ([], ["-v"]):
            ran = job.run(*verbosity, "build", "--pin")
            assert "  | one" in ran.err
            assert "::group::" not in ran.err

    def test_what_a_stage_printed_is_a_section_of_its_own(self, job: Job) -> None:
        job.engine.fail("make", 0, "one")
        ran = job.must("-v", "build", "--pin")
        folded = ran.err.partition("section_start:")[2].partition("section_end:")[0]
        assert "stagepin-app-install[collapsed=true]" in folded
        assert "app: stage install built in" in folded
        assert "  | one" in folded

    def test_an_error_is_an_annotation_on_github(self, project: Project) -> None:
        project.commit(config="image: app\nform: BASE\n")
        ran = on_github(project.pipeline().job()).run("pin")
        assert "::error file=werf.yaml,line=5::expected a known directive, found `form`" in ran.err


class TestShapes:
    """DESIGN.md §5: keys are exactly these."""

    def test_plan(self, job: Job) -> None:
        job.must("pin")
        plan = job.must("plan", "--format", "json").document
        assert list(plan) == ["images"]
        for image in plan["images"].values():
            assert list(image) == ["platforms"]
            for platform in image["platforms"].values():
                assert list(platform) == ["signature", "state", "stages"]
                assert all(list(stage) == ["name", "signature", "state"] for stage in platform["stages"])
                assert platform["stages"][-1]["signature"] == platform["signature"]

    def test_pin_file(self, job: Job) -> None:
        job.must("pin")
        top = ["schemaVersion", "tool", "scope", "pipeline", "commit", "createdAt", "images", "pins", "checksum"]
        assert list(job.pins) == top
        assert job.pins["pipeline"] == {
            "forge": "gitlab",
            "host": "gitlab.example.com",
            "projectId": "4711",
            "project": "group/app",
            "id": "1001",
        }
        keys = ["kind", "reference", "digest", "mediaType", "size", "platforms", "inSignature", "resolvedAt", "origin"]
        assert [list(pin) for pin in job.pins["pins"]] == [keys]

    def test_build_record(self, job: Job) -> None:
        job.must("build", "--pin")
        record = job.record
        top = ["schemaVersion", "scope", "pipeline", "commit", "repo", "pins", "complete", "published", "images", "checksum"]
        assert list(record) == top
        assert record["pins"] == job.pins["checksum"]
        assert list(record["images"]) == ["app"]
        image = record["images"]["app"]
        assert list(image) == ["reference", "digest", "mediaType", "tags", "platforms"]
        platform = image["platforms"]["linux/amd64"]
        assert list(platform) == ["signature", "digest", "imageId", "builtBy", "base", "stages"]
        assert platform["builtBy"] == {"scope": "pipeline:1001", "commit": record["commit"]}
        assert list(platform["base"]) == ["reference", "digest", "state", "diffIds"]
        assert all(list(stage) == ["name", "signature", "digest", "built", "seconds", "inputs"] for stage in platform["stages"])
        assert [stage["name"] for stage in platform["stages"]] == ["from", "install"]
        assert platform["stages"][-1]["digest"] == image["digest"] == platform["digest"]

    def test_both_files_satisfy_the_published_schemas(self, job: Job) -> None:
        for repo in (":local", job.environ["CI_REGISTRY_IMAGE"]):
            job.must("build", "--pin", "--repo", repo)
            for name, document in (("pins-1", job.pins), ("build-1", job.record)):
                schema = json.loads((ROOT / "ci_plugin" / "schemas" / f"{name}.json").read_text())
                jsonschema.Draft202012Validator(schema).validate(document)

    def test_every_recorded_digest_carries_a_tag_of_ours(self, job: Job, project: Project) -> None:
        job.must("build", "--pin")
        tagged = {digest for (repository, _), digest in project.registry.tags.items() if repository == "group/app/stages"}
        platform = job.record["images"]["app"]["platforms"]["linux/amd64"]
        assert {stage["digest"] for stage in platform["stages"]} <= tagged


class TestGithub:
    def test_outputs_are_those_the_action_promises(self, job: Job) -> None:
        promised = set(yaml.safe_load((ROOT / "action.yml").read_text())["outputs"])
        on_github(job).must("pin")
        pin = outputs(job)
        assert pin == {"pin-checksum": job.pins["checksum"]}
        job.must("build")
        build = outputs(job)
        assert json.loads(build["images"]) == {"app": job.record["images"]["app"]["reference"]}
        assert (build["any"], build["pin-checksum"], build["record-checksum"]) == ("true", pin["pin-checksum"], job.record["checksum"])
        job.must("build")
        assert outputs(job)["any"] == "false"
        job.must("verify")
        verify = outputs(job)
        assert (verify["verified"], json.loads(verify["images"])) == ("true", json.loads(build["images"]))
        job.must("fetch")
        assert set(outputs(job)) == {"pin-checksum", "record-checksum"}
        job.must("drift")
        drift = outputs(job)
        assert drift["drift"] == "false"
        assert set(build) | set(verify) | set(drift) == promised

    def test_a_refused_verify_says_so_and_hands_on_no_image(self, job: Job, project: Project) -> None:
        on_github(job).must("build", "--pin")
        outputs(job)
        project.registry.manifests.pop(("group/app/stages", job.digest()))
        assert job.run("verify").code == 1
        verify = outputs(job)
        assert (verify["verified"], verify["images"]) == ("false", "{}")

    def test_the_step_summary_names_every_image(self, job: Job) -> None:
        on_github(job).must("build", "--pin")
        text = Path(job.environ["GITHUB_STEP_SUMMARY"]).read_text()
        assert job.digest() in text
        assert "scope pipeline:1001" in text
        job.must("verify")
        assert "stagepin verify: verified" in Path(job.environ["GITHUB_STEP_SUMMARY"]).read_text()

    def test_an_output_file_that_cannot_be_written_is_said(self, job: Job) -> None:
        ran = on_github(job).run("pin", GITHUB_OUTPUT="/nonexistent/out")
        assert ran.code == 2
        assert "expected to append to the file $GITHUB_OUTPUT names, found: No such file or directory" in ran.err


class TestSecrets:
    def test_no_secret_stands_in_any_output_or_file(self, project: Project) -> None:
        project.registry.require_basic("robot", CANARY)
        project.write("werf.yaml", self._config(project))
        project.commit()
        job = project.pipeline().job()
        job.environ |= {
            "CI_REGISTRY": project.registry.address,
            "CI_REGISTRY_USER": "robot",
            "CI_REGISTRY_PASSWORD": CANARY,
            "API_TOKEN": CANARY,
            "CACHE": "1",
            "MODE": "visible-but-never-stored",
        }
        job.engine = FakeEngine(make_client(lambda _host: Credentials("robot", CANARY)))
        job.engine.fail("leak", 0, f"token {CANARY} and {base64.b64encode(CANARY.encode()).decode()}")
        commands = (["-v", "pin"], ["-v", "plan"], ["-v", "build"], ["-v", "explain", "app"], ["-v", "verify", "--recompute"], ["doctor"])
        texts = [job.must(*command).text for command in commands]
        job.engine.fail("leak", 1, f"token {CANARY}")
        ran = job.run("build", CACHE="2")
        assert ran.code == 1
        assert "token ***" in ran.err
        texts.append(ran.text)
        texts += [file.read_text("utf-8", "surrogateescape") for file in job.workspace.rglob("*") if file.is_file()]
        texts += [
            data.decode("latin-1") for (repository, _), (_, data) in project.registry.manifests.items() if repository != "base/alpine"
        ]
        for text in texts:
            assert CANARY not in text
            assert base64.b64encode(CANARY.encode()).decode() not in text
            assert "visible-but-never-stored" not in text
        assert sum("***" in text for text in texts) >= 2

    @staticmethod
    def _config(project: Project) -> str:
        return (
            "project: app\nconfigVersion: 1\n---\n"
            f'image: app\nfrom: {project.base}\nfromLatest: true\nfromCacheVersion: "{{{{ env "CACHE" }}}}{{{{ env "MODE" }}}}"\n'
            "shell:\n  install: [leak]\n"
            'docker:\n  ENV: {MODE: "{{ env "MODE" }}"}\n'
        )

    def test_a_secret_in_a_build_argument_is_not_printed(self, project: Project) -> None:
        project.write("Dockerfile", f"FROM {project.base}\nARG API_TOKEN\nRUN leak\n")
        project.commit()
        job = project.pipeline().job()
        job.engine.fail("leak", 1, f"token {CANARY}")
        ran = job.run("-v", "build", "--pin", "--build-arg", "API_TOKEN", API_TOKEN=CANARY)
        assert ran.code == 1
        assert "token ***" in ran.err
        ran = job.run("-v", "build", "--pin", "--build-arg", f"API_TOKEN={CANARY}")
        files = "".join(file.read_text() for file in job.workspace.rglob("*") if file.is_file())
        assert CANARY not in ran.text + files


def test_a_reader_that_goes_away_is_no_mistake_of_ours(project: Project) -> None:
    project.commit(config=CONFIG)
    job = project.pipeline().job()
    reads, writes = os.pipe()
    os.close(reads)
    command = [sys.executable, "-m", "ci_plugin", "-C", str(job.directory), "pin"]
    ran = subprocess.run(command, env=job.environ, stdout=writes, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writes)
    assert ran.returncode == 130
    assert "Traceback" not in ran.stderr
    assert "mistake" not in ran.stderr
