"""What the REST API says about the state: one function per document of GitHub's OpenAPI description, nothing left out that it requires.

``api`` is the API's address without a slash at the end; pages for people are below ``https://github.com``.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from typing import Any

from tests.fakes.github_git import Commit, GitRepository, Person, TreeItem
from tests.fakes.github_state import Artifact, Comment, Job, Project, Run, text_of

Document = dict[str, Any]
WEB = "https://github.com"

_URLS = """archive_url={/archive_format}{/ref} assignees_url={/user} blobs_url=git/blobs{/sha} branches_url={/branch}
collaborators_url={/collaborator} comments_url={/number} commits_url={/sha} compare_url={base}...{head} contents_url={+path}
contributors_url deployments_url downloads_url events_url forks_url git_commits_url=git/commits{/sha} git_refs_url=git/refs{/sha}
git_tags_url=git/tags{/sha} hooks_url issue_comment_url=issues/comments{/number} issue_events_url=issues/events{/number}
issues_url={/number} keys_url={/key_id} labels_url={/name} languages_url merges_url milestones_url={/number}
notifications_url={?since,all,participating} pulls_url={/number} releases_url={/id} stargazers_url statuses_url={/sha}
subscribers_url subscription_url tags_url teams_url trees_url=git/trees{/sha}"""
_USER_URLS = """followers_url following_url{/other_user} gists_url{/gist_id} starred_url{/owner}{/repo} subscriptions_url organizations_url
repos_url events_url{/privacy} received_events_url"""
_COUNTS = ("forks_count", "stargazers_count", "watchers_count", "size", "open_issues_count", "forks", "open_issues", "watchers")
_ON, _OFF = ("has_issues", "has_projects", "has_wiki", "has_downloads"), ("has_pages", "has_discussions", "archived", "disabled")
_CREATED = "2026-01-01T00:00:00Z"


def user(api: str, login: str) -> Document:
    """``simple-user``; an app's login ends in ``[bot]``."""
    address = f"{api}/users/{login.replace('[', '%5B').replace(']', '%5D')}"
    id_ = int.from_bytes(login.encode()[:3], "big")
    links = {name.partition("{")[0]: f"{address}/{name.partition('_url')[0]}{name.partition('_url')[2]}" for name in _USER_URLS.split()}
    named = {"login": login, "id": id_, "node_id": f"U_{id_}", "avatar_url": f"{WEB}/avatar.png", "gravatar_id": ""}
    kind = "Bot" if login.endswith("[bot]") else "User"
    return {**named, **links, "url": address, "html_url": f"{WEB}/{login.partition('[')[0]}", "type": kind, "site_admin": False}


def public_user(api: str, login: str) -> Document:
    """``public-user``: who a token belongs to."""
    unknown = dict.fromkeys(("name", "company", "blog", "location", "email", "hireable", "bio"))
    counts = dict.fromkeys(("public_repos", "public_gists", "followers", "following"), 0)
    return {**user(api, login), **unknown, **counts, "created_at": _CREATED, "updated_at": _CREATED}


def minimal_repository(api: str, project: Project) -> Document:
    """``minimal-repository``: what other documents say about their project."""
    address = repository_url(api, project)
    links = {}
    for entry in _URLS.split():
        name, _, rest = entry.partition("=")
        path = name.removesuffix("_url") if not rest or rest.startswith("{") else ""
        links[name] = f"{address}/{path}{rest}"
    named = {"id": project.id, "node_id": f"R_{project.id}", "name": project.name, "full_name": project.full_name}
    page = {"private": project.private, "html_url": f"{WEB}/{project.full_name}", "description": None}
    return {**named, **page, **links, "owner": user(api, project.owner), "fork": project.fork_of is not None, "url": address}


def full_repository(api: str, project: Project, *, may_push: bool) -> Document:
    """``full-repository``: GET of the project itself."""
    page = f"{WEB}/{project.full_name}"
    cloned: Document = {"git_url": f"git://github.com/{project.full_name}.git", "ssh_url": f"git@github.com:{project.full_name}.git"}
    cloned |= {"clone_url": f"{page}.git", "svn_url": page, "mirror_url": None, "homepage": None, "language": None, "license": None}
    counts = dict.fromkeys(_COUNTS, 0) | {"subscribers_count": 0, "network_count": 0}
    switches = dict.fromkeys(_ON, True) | dict.fromkeys(_OFF, False)
    dates = {"pushed_at": _CREATED, "created_at": _CREATED, "updated_at": _CREATED}
    rights = {"permissions": {"admin": False, "maintain": False, "push": may_push, "triage": False, "pull": True}}
    about = {"visibility": "private" if project.private else "public", "default_branch": project.default_branch}
    return minimal_repository(api, project) | cloned | counts | switches | dates | rights | about


def repository_url(api: str, project: Project) -> str:
    """The project's address in the API."""
    return f"{api}/repos/{project.full_name}"


def blob(api: str, project: Project, sha: str, data: bytes) -> Document:
    """``blob``: base64 in lines of 60 characters, as GitHub breaks them."""
    text = base64.b64encode(data).decode()
    content = "".join(f"{text[at : at + 60]}\n" for at in range(0, len(text), 60))
    address = f"{repository_url(api, project)}/git/blobs/{sha}"
    return {"sha": sha, "node_id": f"B_{sha}", "size": len(data), "url": address, "content": content, "encoding": "base64"}


def tree(api: str, project: Project, sha: str, items: Iterable[tuple[str, TreeItem]]) -> Document:
    """``git-tree``."""
    address = f"{repository_url(api, project)}/git"
    return {
        "sha": sha,
        "url": f"{address}/trees/{sha}",
        "tree": [_tree_item(address, project.git, path, item) for path, item in items],
        "truncated": False,
    }


def _tree_item(address: str, git: GitRepository, path: str, item: TreeItem) -> Document:
    entry: Document = {"path": path, "mode": item.mode, "type": item.kind, "sha": item.sha, "url": f"{address}/{item.kind}s/{item.sha}"}
    return entry | ({"size": len(git.objects[item.sha][1])} if item.kind == "blob" else {})


def commit(api: str, project: Project, sha: str, said: Commit) -> Document:
    """``git-commit``."""
    address, page = f"{repository_url(api, project)}/git", f"{WEB}/{project.full_name}/commit"
    parents = [{"sha": one, "url": f"{address}/commits/{one}", "html_url": f"{page}/{one}"} for one in said.parents]
    named = {"sha": sha, "node_id": f"C_{sha}", "url": f"{address}/commits/{sha}", "html_url": f"{page}/{sha}", "message": said.message}
    people = {"author": _person(said.author), "committer": _person(said.committer)}
    unsigned = {"verified": False, "reason": "unsigned", "signature": None, "payload": None, "verified_at": None}
    return {
        **named,
        **people,
        "tree": {"sha": said.tree, "url": f"{address}/trees/{said.tree}"},
        "parents": parents,
        "verification": unsigned,
    }


def _person(person: Person) -> Document:
    return {"name": person.name, "email": person.email, "date": person.date}


def ref(api: str, project: Project, name: str) -> Document:
    """``git-ref`` of a full name such as ``refs/heads/main``."""
    address, sha = f"{repository_url(api, project)}/git", project.git.refs[name]
    kind = project.git.kind(sha)
    named = {"ref": name, "node_id": f"REF_{name}", "url": f"{address}/{name}"}
    return {**named, "object": {"sha": sha, "type": kind, "url": f"{address}/{kind}s/{sha}"}}


def artifact(api: str, project: Project, one: Artifact) -> Document:
    """``artifact``; nothing in it says which attempt it is from."""
    run = project.runs[one.run]
    address = f"{repository_url(api, project)}/actions/artifacts/{one.id}"
    of_run: Document = {"id": run.id, "repository_id": project.id, "head_repository_id": run.head_repository}
    of_run |= {"head_branch": run.head_branch, "head_sha": run.head_sha}
    dates = {"created_at": text_of(one.created_at), "expires_at": text_of(one.expires_at), "updated_at": text_of(one.created_at)}
    named = {"id": one.id, "node_id": f"A_{one.id}", "name": one.name, "size_in_bytes": len(one.data), "digest": one.digest}
    links = {"url": address, "archive_download_url": f"{address}/zip"}
    return {**named, **links, "expired": project.is_expired(one), **dates, "workflow_run": of_run}


def run_attempt(api: str, project: Project, run: Run, attempt: int, head_repository: Project) -> Document:
    """``workflow-run`` as it is in that attempt."""
    is_current = attempt == run.attempt
    jobs = project.latest_jobs(run.id, attempt)
    ended = "failure" if any(job.conclusion not in ("success", "skipped") for job in jobs) else "success"
    state = {"status": run.status, "conclusion": run.conclusion} if is_current else {"status": "completed", "conclusion": ended}
    begun = {
        "created_at": text_of(run.starts[0]),
        "run_started_at": text_of(run.starts[attempt - 1]),
        "updated_at": text_of(run.starts[-1]),
    }
    named = {"id": run.id, "node_id": f"WR_{run.id}", "name": "CI", "display_title": "work", "path": ".github/workflows/ci.yml"}
    numbers = {"workflow_id": 1, "run_number": 1, "run_attempt": attempt, "check_suite_id": run.id, "check_suite_node_id": f"CS_{run.id}"}
    head: Document = {"head_branch": run.head_branch, "head_sha": run.head_sha, "event": run.event, "referenced_workflows": []}
    head |= {"pull_requests": _pulls(api, project, run), "head_commit": _head_commit(project, run)}
    people = {"actor": user(api, "ada"), "triggering_actor": user(api, "ada")}
    repositories = {"repository": minimal_repository(api, project), "head_repository": minimal_repository(api, head_repository)}
    return {**named, **numbers, **head, **people, **repositories, **state, **begun, **_run_links(api, project, run, attempt)}


def _run_links(api: str, project: Project, run: Run, attempt: int) -> Document:
    repository = repository_url(api, project)
    address = f"{repository}/actions/runs/{run.id}"
    links: Document = {f"{name}_url": f"{address}/{name}" for name in ("jobs", "logs", "artifacts", "cancel", "rerun")}
    links |= {"check_suite_url": f"{repository}/check-suites/{run.id}", "workflow_url": f"{repository}/actions/workflows/1"}
    links |= {"url": address, "html_url": f"{WEB}/{project.full_name}/actions/runs/{run.id}"}
    return links | {"previous_attempt_url": f"{address}/attempts/{attempt - 1}" if attempt > 1 else None}


def _head_commit(project: Project, run: Run) -> Document:
    said = project.git.commits.get(run.head_sha)
    person = {"name": "Ada", "email": "ada@example.com"}
    named = {"id": run.head_sha, "tree_id": said.tree if said else run.head_sha, "message": said.message if said else ""}
    return {**named, "timestamp": text_of(run.starts[0]), "author": person, "committer": person}


def _pulls(api: str, project: Project, run: Run) -> list[Document]:
    """GitHub leaves this list empty for a pull request from a fork."""
    if run.pull is None or run.head_repository != project.id:
        return []
    repository = {"id": project.id, "url": repository_url(api, project), "name": project.name}
    head = {"ref": run.head_branch, "sha": run.head_sha, "repo": repository}
    base = {
        "ref": project.default_branch,
        "sha": project.git.refs.get(f"refs/heads/{project.default_branch}", run.head_sha),
        "repo": repository,
    }
    address = f"{repository_url(api, project)}/pulls/{run.pull}"
    return [{"id": run.pull, "number": run.pull, "url": address, "head": head, "base": base}]


def job(api: str, project: Project, one: Job) -> Document:
    """``job``."""
    run = project.runs[one.run]
    address, page = f"{repository_url(api, project)}", f"{WEB}/{project.full_name}/actions/runs/{run.id}/job/{one.id}"
    named = {"id": one.id, "node_id": f"J_{one.id}", "name": one.name, "workflow_name": "CI", "labels": ["ubuntu-latest"], "steps": []}
    of_run = {"run_id": run.id, "run_attempt": one.attempt, "head_sha": run.head_sha, "head_branch": run.head_branch}
    links = {"run_url": f"{address}/actions/runs/{run.id}", "url": f"{address}/actions/jobs/{one.id}", "html_url": page}
    links |= {"check_run_url": f"{address}/check-runs/{one.id}"}
    runner = {"runner_id": 1, "runner_name": "GitHub Actions 1", "runner_group_id": 1, "runner_group_name": "GitHub Actions"}
    begun, ended = text_of(one.started_at), text_of(one.completed_at) if one.completed_at else None
    state = {"status": "completed" if one.conclusion else "in_progress", "conclusion": one.conclusion}
    return {**named, **of_run, **links, **runner, **state, "created_at": begun, "started_at": begun, "completed_at": ended}


def comment(api: str, project: Project, one: Comment) -> Document:
    """``issue-comment``."""
    address, page = f"{repository_url(api, project)}/issues", f"{WEB}/{project.full_name}/pull/{one.issue}#issuecomment-{one.id}"
    links = {"url": f"{address}/comments/{one.id}", "issue_url": f"{address}/{one.issue}", "html_url": page}
    dates = {"created_at": text_of(one.created_at), "updated_at": text_of(one.updated_at)}
    named = {"id": one.id, "node_id": f"IC_{one.id}", "user": user(api, one.login), "body": one.body}
    return {**named, **links, **dates, "author_association": "NONE", "performed_via_github_app": None}
