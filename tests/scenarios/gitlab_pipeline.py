"""GitLab pipelines for scenarios: jobs that reach a fake GitLab, and what it keeps of them when they end."""

from __future__ import annotations

from tests.fakes.clock import FakeClock
from tests.fakes.gitlab import FakeGitLab
from tests.fakes.gitlab_state import Job as ForgeJob
from tests.scenarios.pipeline import Job, Pipeline, Project

PACKAGE, ARTIFACT = "generic-package", "ci-artifact"
CONFIG = "image: app\nfrom: BASE\nfromLatest: true\n"


def start(project: Project, gitlab: FakeGitLab, number: int = 1001, *, store: str = PACKAGE, parent: int | None = None) -> Pipeline:
    """A pipeline of the current commit, known to this GitLab; its jobs keep pins in ``store``."""
    gitlab.add_pipeline(gitlab.state.projects[4711], number, parent=parent)
    pipeline = project.pipeline(str(number))
    address, _, port = gitlab.address.rpartition(":")
    pipeline.environ |= {"CI_SERVER_HOST": address, "CI_SERVER_PORT": port, "CI_SERVER_PROTOCOL": "http", "CI_API_V4_URL": gitlab.api_url}
    pipeline.environ |= {"CI_JOB_TOKEN": gitlab.add_job_token(gitlab.state.projects[4711]), "STAGEPIN_STORE": store}
    return pipeline


def end(gitlab: FakeGitLab, number: int, name: str, job: Job, *, expire_in: float | None = None) -> ForgeJob:
    """The job has ended, and GitLab keeps its ``.stagepin`` as artifacts."""
    files = {f".stagepin/{file.name}": file.read_bytes() for file in job.workspace.glob("*.json")}
    return gitlab.state.add_job(gitlab.state.pipelines[number], name, files=files, expire_in=expire_in)


def pass_time(gitlab: FakeGitLab, seconds: float) -> None:
    """By GitLab's clock, which artifacts expire by."""
    assert isinstance(gitlab.state.clock, FakeClock)
    gitlab.state.clock.advance(seconds)
