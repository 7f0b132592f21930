"""What policy lets through, over the command line: registries, and the context a job really has (lists B and E of the threats)."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ci_plugin.values.document import seal
from tests.fakes.registry import FakeRegistry
from tests.scenarios.pipeline import META, PLAIN, Job, Project, Ran

CONFIG = "image: app\nfrom: BASE\nfromLatest: true\n"
METADATA = "169.254.169.254/latest/meta-data"
"""What a reference of a stranger's would like the runner to ask."""
PLACES = {
    "from": ("werf.yaml", f"{META}image: app\nfrom: {METADATA}\n", "5:1"),
    "FROM": ("Dockerfile", f"FROM BASE\nFROM {METADATA}\n", "2:6"),
    "a stage nobody ships": ("Dockerfile", f"FROM {METADATA} AS x\nFROM BASE\nCOPY --from=x /a /a\n", "1:6"),
    "FROM of the builder's platform": (
        "Dockerfile",
        f"FROM --platform=$BUILDPLATFORM {METADATA} AS x\nFROM BASE\nCOPY --from=x /a /a\n",
        "1:32",
    ),
    "COPY --from": ("Dockerfile", f"FROM BASE\nCOPY --from={METADATA} /a /a\n", "2:13"),
    "RUN --mount": ("Dockerfile", f"FROM BASE\nRUN --mount=from={METADATA},target=/m true\n", "2:18"),
    "# syntax": ("Dockerfile", f"# syntax={METADATA}\nFROM BASE\n", "1:10"),
    "an argument": ("Dockerfile", f"ARG BASE_IMAGE={METADATA}\nFROM $BASE_IMAGE\n", "2:6"),
}


def allow(project: Project, *prefixes: str) -> None:
    project.write(".stagepin.yaml", f"registries: {{allow: [{', '.join(prefixes)}]}}\n")


def refused(ran: Ran, message: str, at: str) -> None:
    assert ran.code == 2, ran.text
    assert f"error: {message}" in ran.err
    assert f"  at: {at}\n" in ran.err


class TestAllowedRegistries:
    @pytest.mark.parametrize("place", PLACES)
    def test_a_reference_elsewhere_is_refused_at_its_line_before_anybody_is_asked(self, project: Project, place: str) -> None:
        file, text, at = PLACES[place]
        allow(project, f"{project.registry.address}/base")
        project.write(file, text.replace("FROM BASE", f"FROM {project.base}"))
        project.commit()
        message = f"expected an image of one of the allowed registries ({project.registry.address}/base), found {METADATA}:latest"
        for command in (["pin"], ["build", "--pin"]):
            ran = project.pipeline().job().run(*command)
            refused(ran, message, f"{file}:{at}")
            assert "next: use an image from there, or add its registry to `registries: allow:` in .stagepin.yaml" in ran.err
        assert project.registry.requests == []

    def test_every_stranger_is_named_at_once(self, project: Project) -> None:
        allow(project, f"{project.registry.address}/base")
        project.write("Dockerfile", f"FROM {project.base}\nCOPY --from=a.example/x /a /a\nCOPY --from=b.example/y /b /b\n")
        project.commit()
        ran = project.pipeline().job().run("pin")
        refused(ran, "expected an image of one of the allowed registries", "Dockerfile:2:13")
        assert "and 1 more error:" in ran.err
        assert "Dockerfile:3:13: expected an image of one of the allowed registries" in ran.err

    def test_a_prefix_ends_where_a_part_of_the_path_ends(self, project: Project) -> None:
        allow(project, f"{project.registry.address}/bas", f"{project.registry.address}/base/alpine/more")
        project.commit(config=CONFIG)
        refused(project.pipeline().job().run("pin"), "expected an image of one of the allowed registries", "werf.yaml:5:1")
        assert project.registry.requests == []

    def test_an_empty_list_allows_our_own_repository_alone(self, project: Project) -> None:
        allow(project)
        own = project.registry.put_image("group/app/stages", "tool", seed="own")
        project.write("Dockerfile", f"FROM {project.stages}:tool\n")
        project.commit()
        job = project.pipeline().job()
        job.must("pin", "--keep", f"{project.registry.address}/group/bases")
        assert job.pinned(f"{project.stages}:tool") == str(own)
        job.must("build")
        job.must("verify")

    def test_pins_that_name_a_stranger_lead_no_job_there(self, project: Project) -> None:
        """The configuration is right; what came as CI artifact is not."""
        allow(project, f"{project.registry.address}/base")
        project.commit(config=CONFIG)
        job = project.pipeline().job()
        job.must("pin")
        body: dict[str, Any] = {key: value for key, value in job.pins.items() if key != "checksum"}
        body["pins"].append({**body["pins"][0], "reference": f"{METADATA}:latest"})
        (job.workspace / "pins.json").write_bytes(seal(body))
        for command in (["plan"], ["build"], ["explain", "app"]):
            refused(
                job.run(*command), f"expected an image of one of the allowed registries ({project.registry.address}/base)", "werf.yaml:5"
            )

    def test_a_record_of_a_stranger_leads_verify_nowhere(self, project: Project) -> None:
        allow(project, f"{project.registry.address}/base")
        project.commit(config=CONFIG)
        job = project.pipeline().job()
        job.must("pin")
        job.must("build", "--repo", f"{project.registry.address}/elsewhere")
        project.registry.requests.clear()
        ran = job.run("verify")
        refused(ran, "expected an image of one of the allowed registries", str(job.workspace / "build.json"))
        assert project.requests_for("/elsewhere/") == []
        job.must("verify", "--repo", f"{project.registry.address}/elsewhere")

    def test_a_prefix_that_is_none_is_named_with_its_line(self, project: Project) -> None:
        project.write(".stagepin.yaml", "registries:\n  allow:\n  - docker.io\n  - '*.example.com'\n")
        project.commit(config=CONFIG)
        ran = project.pipeline().job().run("pin")
        refused(ran, "expected a registry such as docker.io/library or registry.example.com, found '*.example.com'", ".stagepin.yaml:4:5")
        assert "next: write a host, or a host and the path its images are below; there are no wildcards" in ran.err

    def test_mirrors_need_no_entry_and_references_keep_their_name(self, project: Project) -> None:
        with FakeRegistry() as mirror:
            digest = mirror.put_image("hub/library/alpine", "latest", seed="m")
            project.write(
                ".stagepin.yaml", f"registries: {{allow: [docker.io/library], mirrors: {{docker.io: ['{mirror.address}/hub']}}}}\n"
            )
            project.commit(config="image: app\nfrom: alpine\nfromLatest: true\n")
            job = project.pipeline().job()
            job.must("pin")
            assert job.pinned("docker.io/library/alpine:latest") == str(digest)
            assert [str(request) for request in mirror.requests] == ["HEAD /v2/hub/library/alpine/manifests/latest"]


GITHUB = {
    **PLAIN,
    "CI": "true",
    "GITHUB_ACTIONS": "true",
    "GITHUB_SERVER_URL": "https://github.com",
    "GITHUB_REPOSITORY": "group/app",
    "GITHUB_REPOSITORY_ID": "4711",
    "GITHUB_RUN_ID": "1001",
}


class TestWhatIsSaidOfPlaces:
    """Which file, which store: the message names what is wrong, and nothing else."""

    @pytest.fixture
    def job(self, project: Project) -> Job:
        project.commit(config=CONFIG)
        return project.pipeline().job()

    def test_a_store_that_is_the_workspace_is_not_called_a_missing_repository(self, job: Job) -> None:
        ran = job.must("pin", "--store", "workspace")
        assert "warning: the store is the workspace, so the pins are kept in the workspace alone: hand .stagepin/pins.json on" in ran.err
        ran = job.run("fetch", "--store", "workspace")
        assert ran.code == 2
        assert "error: expected a store to fetch from, found the store workspace, which is where pins are fetched to" in ran.err
        assert "next: name another with --store, STAGEPIN_STORE or `store` in .stagepin.yaml" in ran.err
        (job.workspace / "pins.json").unlink()
        assert "pins.json; the store workspace is no other place)" in job.run("build", "--store", "workspace").err

    def test_local_pins_say_that_no_repository_gets_them(self, project: Project, job: Job) -> None:
        job.environ = {**PLAIN, "STAGEPIN_REPO": project.stages}
        assert "pins of the scope local stay in the workspace, whatever repository is set; --scope SCOPE makes" in job.must("pin").err
        assert project.requests_for("/app/stages/") == []

    def test_a_pin_job_with_fetched_pins_of_another_scope_is_sent_to_pin_again(self, project: Project, job: Job) -> None:
        job.must("pin")
        job.environ = dict(PLAIN)
        ran = job.run("pin")
        assert ran.code == 2
        assert (
            f"next: remove {job.workspace / 'pins.json'} and run `stagepin pin` again, or ask for that scope with `--scope pip" in ran.err
        )

    def test_an_env_file_that_cannot_be_written_stops_the_job_before_anything_is_pinned(self, project: Project, job: Job) -> None:
        ran = job.run("pin", "--env-file", "none/pins.env")
        assert ran.code == 2
        assert "next: make its directory first (mkdir -p)" in ran.err
        assert project.registry.requests == []
        assert not job.workspace.exists()

    def test_verify_needs_no_workspace_it_can_write(self, project: Project, job: Job) -> None:
        job.must("pin")
        job.must("build")
        deploy = project.pipeline().job()
        deploy.workspace.write_text("a file where the directory would be")
        assert deploy.run("verify").code == 2
        deploy.workspace.unlink()
        deploy.workspace.mkdir()
        # For root every directory can be written: a name that may not be replaced is refused to everybody.
        (deploy.workspace / ".gitignore").symlink_to("nowhere")
        assert deploy.run("fetch").code == 2
        ran = deploy.must("verify")
        assert job.digest() in ran.out
        assert "not kept in the workspace: expected a regular file to write to, found a symbolic link\n" in ran.err
        (deploy.workspace / ".gitignore").unlink()
        deploy.must("verify")
        assert (deploy.pins, deploy.record) == (job.pins, job.record)

    def test_certificates_that_are_none_are_blamed_on_their_file(self, project: Project) -> None:
        project.write(".stagepin.yaml", "registries: {ca: nope.pem}\n")
        project.write("Dockerfile", "FROM registry.invalid/base/alpine\n")
        project.commit()
        ran = project.pipeline().job().run("pin", "--store", "workspace")
        assert ran.code == 2
        assert "error: expected PEM certificates, found: No such file or directory" in ran.err
        assert re.search(r"  at: \S*nope\.pem\n", ran.err)

    def test_a_registry_that_is_asked_again_is_named_where_people_want_to_know(self, project: Project, job: Job) -> None:
        project.registry.fail(path="/v2/base/", status=503, times=1)
        ran = job.must("-v", "pin")
        assert re.search(rf"found status 503 from {project.registry.address}.*; trying again in 0\.[1-3] s\n", ran.err)
        project.registry.fail(path="/v2/base/", status=503, times=1)
        assert "trying again" not in project.pipeline("1002").job().must("pin").err

    def test_an_insecure_registry_is_a_host_and_no_address(self, project: Project) -> None:
        for value, message in (
            ("http://registry.internal:5000", "expected a registry such as docker.io/library or registry.example.com, found 'http://reg"),
            ("registry.internal/group", "expected a registry's host, found 'registry.internal/group'"),
        ):
            project.write(".stagepin.yaml", f"registries:\n  insecure: ['{value}']\n")
            project.commit(config=CONFIG)
            refused(project.pipeline().job().run("pin"), message, ".stagepin.yaml:2:14")


class TestContexts:
    """List E: what a job is told, and what it is not."""

    @pytest.fixture
    def job(self, project: Project) -> Job:
        project.commit(config=CONFIG)
        return project.pipeline().job()

    def on_github(self, job: Job, **environ: str) -> Job:
        job.environ = {**GITHUB, "STAGEPIN_REPO": job.environ["CI_REGISTRY_IMAGE"], **environ}
        return job

    def test_no_variables_at_all_are_a_desk(self, job: Job) -> None:
        job.environ = dict(PLAIN)
        job.must("pin")
        assert (job.pins["scope"], job.pins["pipeline"]["forge"]) == ("local", "local")
        assert "fork" not in job.pins

    def test_two_forges_at_once_are_refused_before_anything_is_asked(self, project: Project, job: Job) -> None:
        ran = job.run("pin", **GITHUB)
        assert ran.code == 2
        assert (
            "error: expected the variables of one forge, found both GitLab's and GitHub's: GITLAB_CI=true and GITHUB_ACTIONS=true"
            in ran.err
        )
        assert project.registry.requests == []

    @pytest.mark.parametrize("name", ["CI_JOB_TOKEN", "GITHUB_TOKEN", "STAGEPIN_TOKEN", "CI_REGISTRY_PASSWORD", "DOCKER_AUTH_CONFIG"])
    def test_an_empty_token_is_none(self, project: Project, job: Job, name: str) -> None:
        job.must("pin", **{name: ""})
        self.on_github(project.pipeline().job()).must("pin", **{name: ""})

    @pytest.mark.parametrize("branch", ["$(id)", "a b", "::error::x", "x" * 250, "refs/pull/1/merge", "\x1b]52;c;x\x07", "a\nb"])
    def test_what_a_branch_is_called_moves_nothing_and_is_not_printed(self, job: Job, branch: str) -> None:
        plain = job.must("pin")
        pins = job.pins
        names = ("CI_COMMIT_REF_NAME", "CI_COMMIT_BRANCH", "CI_MERGE_REQUEST_SOURCE_BRANCH_NAME", "GITHUB_REF_NAME")
        ran = job.must("pin", **dict.fromkeys(names, branch))
        assert (job.pins, ran.out) == (pins, plain.out)
        assert branch not in ran.text

    def test_the_attempt_is_no_part_of_the_key_and_need_not_be_told(self, project: Project, job: Job) -> None:
        self.on_github(job).must("pin", GITHUB_RUN_ATTEMPT="1")
        first = job.pins
        project.move_base("2")
        for attempt in ("2", "", "nonsense"):
            again = self.on_github(project.pipeline().job())
            again.must("pin", GITHUB_RUN_ATTEMPT=attempt)
            assert again.pins == first

    def test_a_shallow_clone_has_all_a_job_needs(self, project: Project, job: Job, tmp_path: Path) -> None:
        shallow = tmp_path / "shallow"
        clone = ["git", "clone", "--quiet", "--depth", "1", "--no-local", f"file://{tmp_path}/origin", str(shallow)]
        subprocess.run(clone, check=True, env=PLAIN, capture_output=True)
        other = Job(shallow, job.environ, project.engine())
        job.must("pin")
        job.must("build")
        other.must("pin")
        other.must("build")
        assert (other.pins, other.digest()) == (job.pins, job.digest())

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("{tmp}/none/output", "expected to append to the file $GITHUB_OUTPUT names, found: No such file or directory"),
            ("{tmp}", "expected to append to the file $GITHUB_OUTPUT names, found: Is a directory"),
            ("/proc/version", "expected to append to the file $GITHUB_OUTPUT names, found: "),
            ("/dev/full", "expected to append to the file $GITHUB_OUTPUT names, found: No space left on device"),
        ],
        ids=["missing directory", "directory", "read-only", "disk full"],
    )
    def test_an_output_file_that_cannot_be_written_is_told_and_the_pins_stand(
        self, project: Project, job: Job, tmp_path: Path, name: str, message: str
    ) -> None:
        file = name.format(tmp=tmp_path)
        ran = self.on_github(job, GITHUB_OUTPUT=file).run("pin")
        assert ran.code == 2
        assert message in ran.err
        assert f"  at: {file}\n" in ran.err
        assert "next: the runner makes that file; do not change the variable" in ran.err
        project.move_base("2")
        again = self.on_github(project.pipeline().job(), GITHUB_OUTPUT="")
        again.must("pin")
        assert again.pins == job.pins

    @pytest.mark.parametrize("payload", [None, b"", b"<html>", b"\x00\xff"], ids=["missing", "empty", "html", "binary"])
    def test_an_event_that_cannot_be_read_makes_a_pull_request_a_forks(self, project: Project, job: Job, payload: bytes | None) -> None:
        file = job.directory.parent / "event.json"
        if payload is not None:
            file.write_bytes(payload)
        self.on_github(
            job, GITHUB_EVENT_PATH=str(file), GITHUB_EVENT_NAME="pull_request", STAGEPIN_REPO="", GITHUB_SERVER_URL="https://g.example"
        )
        ran = job.must("pin")
        assert f"warning: this job counts as one of a fork, because nothing says whose code it runs: {file} " in ran.err
        assert job.pins["fork"] == "unknown"
        other = self.on_github(project.pipeline().job(), GITHUB_EVENT_PATH=str(file), GITHUB_EVENT_NAME="push")
        assert "fork" not in other.must("pin").err

    @pytest.mark.parametrize(
        "address", ["http://gitlab.example.com/api/v4", "https://evil.example/api/v4", "https://gitlab.example.com@evil.example"]
    )
    def test_a_token_goes_to_its_own_forge_over_https_alone(self, job: Job, address: str) -> None:
        ran = job.run("pin", "--store", "generic-package", CI_API_V4_URL=address, CI_JOB_TOKEN="glcbt-canary")
        assert ran.code == 2
        assert "error: expected the API of gitlab.example.com over HTTPS, found " in ran.err
        assert "no token is sent there" in ran.err
        assert "canary" not in ran.text
