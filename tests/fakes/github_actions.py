"""The REST API's other half: workflow runs, attempts, jobs and artifacts, and the comments of pull requests."""

from __future__ import annotations

from collections.abc import Callable

from tests.fakes import github_documents as documents
from tests.fakes.github_git import Refused
from tests.fakes.github_http import Answer, json_answer
from tests.fakes.github_rest import REPOSITORY, Call, Route, page
from tests.fakes.github_state import Artifact, Comment, Run


def list_runs(call: Call) -> Answer:
    query = call.request.query
    wanted = [run for run in call.project.runs.values() if query.get("event", run.event) == run.event]
    wanted = [run for run in wanted if query.get("head_sha", run.head_sha) == run.head_sha]
    wanted = [run for run in wanted if query.get("branch", run.head_branch) == run.head_branch]
    newest_first = sorted(wanted, key=lambda run: -run.id)
    return page(call, [_run_document(call, run, run.attempt) for run in newest_first], "workflow_runs")


def get_run(call: Call) -> Answer:
    run = _run(call)
    return json_answer(200, _run_document(call, run, run.attempt))


def get_attempt(call: Call) -> Answer:
    run, number = _run(call), call.number("attempt_number")
    if not 1 <= number <= run.attempt:
        raise Refused(404, "Not Found")
    return json_answer(200, _run_document(call, run, number))


def list_jobs(call: Call) -> Answer:
    """``filter=latest``, the default, gives the newest try of each job; ``all`` every try."""
    run = _run(call)
    every = [job for job in call.project.jobs.values() if job.run == run.id]
    jobs = every if call.request.query.get("filter") == "all" else call.project.latest_jobs(run.id)
    return page(call, [documents.job(call.api, call.project, job) for job in jobs], "jobs")


def get_job(call: Call) -> Answer:
    number = call.number("job_id")
    if number not in call.project.jobs:
        raise Refused(404, "Not Found")
    return json_answer(200, documents.job(call.api, call.project, call.project.jobs[number]))


def list_attempt_jobs(call: Call) -> Answer:
    run, number = _run(call), call.number("attempt_number")
    if not 1 <= number <= run.attempt:
        raise Refused(404, "Not Found")
    jobs = call.project.latest_jobs(run.id, number)
    return page(call, [documents.job(call.api, call.project, job) for job in jobs], "jobs")


def rerun_all(call: Call) -> Answer:
    return _rerun(call, call.project.rerun_all)


def rerun_failed(call: Call) -> Answer:
    return _rerun(call, call.project.rerun_failed)


def _rerun(call: Call, begin: Callable[[int], Run]) -> Answer:
    run = _run(call)
    if run.status != "completed":
        raise Refused(403, "This workflow is already running")
    begin(run.id)
    return json_answer(201, {})


def list_artifacts(call: Call) -> Answer:
    return _artifact_page(call, call.project.artifacts(name=call.request.query.get("name")))


def list_run_artifacts(call: Call) -> Answer:
    return _artifact_page(call, call.project.artifacts(_run(call).id, call.request.query.get("name")))


def _artifact_page(call: Call, newest_first: list[Artifact]) -> Answer:
    artifacts = newest_first[::-1] if call.request.query.get("direction") == "asc" else newest_first
    return page(call, [documents.artifact(call.api, call.project, one) for one in artifacts], "artifacts")


def get_artifact(call: Call) -> Answer:
    return json_answer(200, documents.artifact(call.api, call.project, _artifact(call)))


def download_artifact(call: Call) -> Answer:
    """An address on the blob host, good for a minute."""
    artifact = _artifact(call)
    if call.parameters["archive_format"] != "zip":
        raise Refused(404, "Not Found")
    if call.project.is_expired(artifact):
        raise Refused(410, "Artifact has expired")
    return Answer(302, {"Location": call.sign_blob(artifact)})


def delete_artifact(call: Call) -> Answer:
    call.project.delete_artifact(call.number("artifact_id"))
    return Answer(204)


def list_comments(call: Call) -> Answer:
    comments = call.project.comments_of(call.number("issue_number"))
    return page(call, [documents.comment(call.api, call.project, one) for one in comments])


def post_comment(call: Call) -> Answer:
    made = call.project.add_comment(call.number("issue_number"), call.login, call.fields.get("body", ""))
    document = documents.comment(call.api, call.project, made)
    return json_answer(201, document, {"Location": document["url"]})


def get_comment(call: Call) -> Answer:
    return json_answer(200, documents.comment(call.api, call.project, _comment(call)))


def patch_comment(call: Call) -> Answer:
    """Whoever may write may edit, others' comments too."""
    edited = call.project.edit_comment(_comment(call).id, call.fields.get("body", ""))
    return json_answer(200, documents.comment(call.api, call.project, edited))


def delete_comment(call: Call) -> Answer:
    del call.project.comments[_comment(call).id]
    return Answer(204)


def _run(call: Call) -> Run:
    number = call.number("run_id")
    if number not in call.project.runs:
        raise Refused(404, "Not Found")
    return call.project.runs[number]


def _run_document(call: Call, run: Run, attempt: int) -> documents.Document:
    head = call.state.projects.get(run.head_repository, call.project)
    return documents.run_attempt(call.api, call.project, run, attempt, head)


def _artifact(call: Call) -> Artifact:
    found = call.project.stored.get(call.number("artifact_id"))
    if found is None or not found.is_final:
        raise Refused(404, "Not Found")
    return found


def _comment(call: Call) -> Comment:
    number = call.number("comment_id")
    if number not in call.project.comments:
        raise Refused(404, "Not Found")
    return call.project.comments[number]


_RUNS, _RUN = f"{REPOSITORY}/actions/runs", f"{REPOSITORY}/actions/runs/{{run_id}}"
_ARTIFACTS, _ARTIFACT = f"{REPOSITORY}/actions/artifacts", f"{REPOSITORY}/actions/artifacts/{{artifact_id}}"
_COMMENTS, _COMMENT = f"{REPOSITORY}/issues/{{issue_number}}/comments", f"{REPOSITORY}/issues/comments/{{comment_id}}"
_MAY_READ, _MAY_WRITE = "issues:read|pull_requests:read", "issues:write|pull_requests:write"
ACTIONS_ROUTES = (
    Route("GET", _RUNS, "actions:read", list_runs),
    Route("GET", _RUN, "actions:read", get_run),
    Route("GET", f"{_RUN}/attempts/{{attempt_number}}", "actions:read", get_attempt),
    Route("GET", f"{_RUN}/attempts/{{attempt_number}}/jobs", "actions:read", list_attempt_jobs),
    Route("GET", f"{_RUN}/jobs", "actions:read", list_jobs),
    Route("GET", f"{REPOSITORY}/actions/jobs/{{job_id}}", "actions:read", get_job),
    Route("POST", f"{_RUN}/rerun", "actions:write", rerun_all),
    Route("POST", f"{_RUN}/rerun-failed-jobs", "actions:write", rerun_failed),
    Route("GET", f"{_RUN}/artifacts", "actions:read", list_run_artifacts),
    Route("GET", _ARTIFACTS, "actions:read", list_artifacts),
    Route("GET", _ARTIFACT, "actions:read", get_artifact),
    Route("DELETE", _ARTIFACT, "actions:write", delete_artifact),
    Route("GET", f"{_ARTIFACT}/{{archive_format}}", "actions:read", download_artifact),
)
COMMENT_ROUTES = (
    Route("GET", _COMMENTS, _MAY_READ, list_comments),
    Route("POST", _COMMENTS, _MAY_WRITE, post_comment),
    Route("GET", _COMMENT, _MAY_READ, get_comment),
    Route("PATCH", _COMMENT, _MAY_WRITE, patch_comment),
    Route("DELETE", _COMMENT, _MAY_WRITE, delete_comment),
)
