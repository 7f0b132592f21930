"""``stagepin drift``: exit codes, the three formats, what it leaves for the CI, and what it leaves alone."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ci_plugin.values.digest import Digest
from ci_plugin.values.document import seal
from tests.fakes.registry import FakeRegistry
from tests.functional.test_outputs import on_github, outputs
from tests.scenarios.pipeline import BASE, Job, Project

CONFIG = "image: app\nfrom: BASE\nfromLatest: true\nshell:\n  install: [make]\n---\nimage: web\nfromImage: app\n"
_PROGRAM = """
import json, sys
from ci_plugin.cli.main import main
code = main(sys.argv[1:])
print(json.dumps([code, sorted({name.partition(".")[0] for name in sys.modules})]))
"""


@pytest.fixture
def job(project: Project) -> Job:
    """A job that has pinned."""
    project.commit(config=CONFIG)
    job = project.pipeline().job()
    job.must("pin")
    return job


class TestExitCodes:
    def test_nothing_moved(self, job: Job, project: Project) -> None:
        ran = job.must("drift", "--fail")
        assert ran.out.endswith("\nnone of 1 pinned references moved\n")

    def test_a_move_is_information(self, job: Job, project: Project) -> None:
        pinned, now = job.pinned(project.base), project.move_base("2")
        ran = job.must("drift")
        assert f"{project.base} moved to {now}; pinned to {pinned} at 2026-01-02T03:04:05Z in pipeline:1001; used by app; " in ran.out
        assert "; the next scope gives another stage signature to app (from, install), web (from)\n" in ran.out
        assert ran.out.endswith("\n1 of 1 pinned references moved\n")
        assert ran.err == "pins of pipeline:1001 from workspace\n"

    def test_with_fail_it_is_a_no_that_says_what_to_do(self, job: Job, project: Project) -> None:
        project.move_base("2")
        ran = job.run("drift", "--fail")
        assert ran.code == 1
        assert f"error: expected no pinned reference to have moved, found {project.base}\n" in ran.err
        assert "  next: run a new pipeline, which pins anew and is built on them; without --fail this is information\n" in ran.err
        assert ran.out.endswith("\n1 of 1 pinned references moved\n")

    def test_with_fail_what_is_gone_has_not_moved(self, job: Job, project: Project, server: FakeRegistry) -> None:
        server.delete(BASE, Digest(job.pinned(project.base)))
        assert " is gone (" in job.must("drift", "--fail").out

    def test_where_no_registry_answers_the_run_may_be_tried_again(self, job: Job, server: FakeRegistry) -> None:
        server.fail(status=503, path=f"/{BASE}/", times=None)
        ran = job.run("drift")
        assert ran.code == 3
        assert "error: expected an answer for one of 1 pinned references at least, found none: expected the digest of" in ran.err

    def test_without_pins_it_stops_and_resolves_nothing(self, project: Project) -> None:
        project.commit(config=CONFIG)
        ran = project.pipeline().job().run("drift")
        assert ran.code == 2
        assert "error: expected the pins of pipeline:1001, found none" in ran.err
        assert project.upstream_requests() == []

    def test_a_comment_needs_a_merge_request_and_says_so_before_anything_is_asked(self, job: Job, server: FakeRegistry) -> None:
        server.requests.clear()
        ran = job.run("drift", "--comment")
        assert ran.code == 2
        assert "error: expected a merge or pull request to comment on, found none for this job\n" in ran.err
        assert "run it in a merge request pipeline (rules: - if: $CI_PIPELINE_SOURCE == 'merge_request_event')" in ran.err
        assert server.requests == []


class TestWhatItAsks:
    def test_one_head_for_the_reference_and_nothing_for_a_plan_where_nothing_moved(self, job: Job, project: Project) -> None:
        project.registry.requests.clear()
        job.must("drift")
        assert [str(request) for request in project.registry.requests] == [f"HEAD /v2/{BASE}/manifests/latest"]

    def test_no_file_of_the_workspace_is_written(self, job: Job, project: Project) -> None:
        project.move_base("2")
        before = {path: path.read_bytes() for path in job.workspace.iterdir()}
        job.must("drift")
        assert {path: path.read_bytes() for path in job.workspace.iterdir()} == before
        fetched = project.pipeline().job()
        assert "pins of pipeline:1001 from stages storage" in fetched.must("drift").err
        assert not fetched.workspace.exists()

    def test_a_job_without_a_checkout_names_the_images_alone(self, job: Job, project: Project, tmp_path: Path) -> None:
        project.move_base("2")
        bare = Job(tmp_path / "bare", job.environ, job.engine)
        bare.directory.mkdir()
        shutil.copytree(job.workspace, bare.workspace)
        ran = bare.must("drift", "--format", "json")
        (drift,) = ran.document["drift"]
        assert (drift["state"], drift["matters"], drift["images"], drift["stages"]) == ("moved", True, ["app"], None)
        assert "no checkout here: images are named as the pin file has them, stages are not" in ran.err

    def test_where_nothing_moved_no_configuration_is_read(self, job: Job, tmp_path: Path) -> None:
        (job.directory / "empty").mkdir()
        bare = tmp_path / "bare"
        shutil.copytree(job.workspace, bare / ".stagepin")
        for directory in (job.directory / "empty", bare):
            ran = job.must("-C", str(directory), "drift", "--format", "json")
            assert ran.document["drift"][0]["stages"] == []
            assert ran.err == "pins of pipeline:1001 from workspace\n"

    def test_a_checkout_that_cannot_be_planned_with_these_pins_names_the_images_alone_and_says_why(
        self, job: Job, project: Project, server: FakeRegistry
    ) -> None:
        project.move_base("2")
        project.commit(config=f"image: app\nfrom: {server.address}/base/new\nfromLatest: true\n")
        other = project.pipeline("1002").job()
        ran = other.must("drift", "--pipeline", "1001", "--format", "json")
        assert ran.document["drift"][0]["stages"] is None
        assert "warning: stages are not named, because this checkout cannot be planned with these pins: expected " in ran.err
        assert "among the 1 pins of pipeline:1001, found it missing" in ran.err

    def test_a_directory_without_a_configuration_names_the_images_alone(self, job: Job, project: Project) -> None:
        project.move_base("2")
        (job.directory / "empty").mkdir()
        ran = job.run("-C", str(job.directory / "empty"), "drift")
        assert ran.code == 0, ran.text
        assert "warning: stages are not named, because this checkout cannot be planned with these pins: " in ran.err

    def test_the_text_imports_no_library_for_forges_engines_or_markdown(self, job: Job, project: Project) -> None:
        project.move_base("2")
        command = [sys.executable, "-c", _PROGRAM, "-C", str(job.directory), "drift"]
        done = subprocess.run(command, env=job.environ, capture_output=True, text=True, check=True)
        code, names = json.loads(done.stdout.splitlines()[-1])
        assert (code, set(names) & {"docker", "gotpl", "jinja2", "gitlab", "github", "requests", "tenacity"}) == (0, set())


class TestFormats:
    def test_json_has_findings_and_every_reference(self, job: Job, project: Project) -> None:
        pinned, now = job.pinned(project.base), project.move_base("2")
        document = job.must("drift", "--format", "json").document
        (finding,), (drift,) = document["findings"], document["drift"]
        assert set(finding) == {"rule", "severity", "message", "where", "hint"}
        assert (finding["rule"], finding["severity"], finding["where"]) == ("drift-moved", "info", "werf.yaml:5")
        assert (drift["reference"], drift["pinned"], drift["current"]) == (project.base, pinned, str(now))
        assert [(stage["image"], stage["stage"]) for stage in drift["stages"]] == [("app", "from"), ("app", "install"), ("web", "from")]
        assert document["moved"] is True

    def test_markdown_is_the_comment_without_its_marker(self, job: Job, project: Project) -> None:
        now = project.move_base("2")
        text = job.must("drift", "--format", "markdown").out
        assert text.startswith("### stagepin: 1 of 1 pinned references moved\n")
        assert f"| `{now}` | `app` | `app (from, install), web (from)` |\n" in text
        assert "<!--" not in text

    @pytest.mark.parametrize("format_", ["text", "json", "markdown"])
    def test_a_name_that_looks_like_a_command_gives_the_runner_none(self, project: Project, format_: str) -> None:
        job = project.pipeline(commit=project.commit(config=CONFIG)).job()
        job.must("pin")
        path = job.workspace / "pins.json"
        document = json.loads(path.read_bytes())
        document["pins"][0]["origin"][0]["image"] = "::error::x\n::add-mask::y ##[error]z"
        path.write_bytes(reseal(document))
        project.move_base("2")
        out = job.must("drift", "--format", format_).out
        assert not re.search(r"^\s*::", out, re.MULTILINE)
        if format_ != "json":
            assert "##[" not in out


def reseal(document: dict[str, object]) -> bytes:
    """A pin file whose checksum is right again."""
    return seal({key: value for key, value in document.items() if key != "checksum"})


class TestForTheCi:
    @pytest.fixture
    def github(self, project: Project) -> Job:
        """A job on GitHub that has pinned."""
        project.commit(config=CONFIG)
        job = on_github(project.pipeline().job())
        job.must("pin")
        outputs(job)
        return job

    def test_the_output_says_whether_a_move_matters(self, github: Job, project: Project) -> None:
        github.must("drift")
        assert outputs(github) == {"drift": "false"}
        project.move_base("2")
        github.must("drift")
        assert outputs(github) == {"drift": "true"}

    def test_the_step_summary_gets_the_markdown_without_secrets(self, github: Job, project: Project) -> None:
        project.move_base("2")
        file = Path(github.environ["GITHUB_STEP_SUMMARY"])
        file.write_text("before\n")
        github.must("drift", SOME_SECRET="install")
        text = file.read_text()
        assert text.startswith("before\n### stagepin: 1 of 1 pinned references moved\n")
        assert "`app (from, ***), web (from)`" in text

    def test_a_run_that_fails_for_the_move_has_written_both_before(self, github: Job, project: Project) -> None:
        project.move_base("2")
        assert github.run("drift", "--fail").code == 1
        assert outputs(github) == {"drift": "true"}
        assert "1 of 1 pinned references moved" in Path(github.environ["GITHUB_STEP_SUMMARY"]).read_text()

    def test_outside_github_no_summary_is_made(self, job: Job, project: Project) -> None:
        project.move_base("2")
        files = set(job.directory.iterdir())
        job.must("drift")
        assert set(job.directory.iterdir()) == files
