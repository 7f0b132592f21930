"""The REST API of the fake GitHub: which path does what on the state, and which right it needs.

Refusals as GitHub's: a token nobody knows is 401, a private project that a token may not see is 404, a right that is missing is 403,
anything a path names and that is not there is 404, what cannot be done is 422, all with GitHub's error document.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from tests.fakes import github_documents as documents
from tests.fakes.github_git import Commit, Person, Refused, TreeItem
from tests.fakes.github_http import DOCS, Answer, Request, error_answer, json_answer
from tests.fakes.github_state import Artifact, GitHubState, Project, Token

SignBlob = Callable[[Artifact], str]
"""Gives the address, on another host, where an artifact's bytes can be had for a while."""


@dataclass(frozen=True, slots=True)
class Call:
    """One request after the project, the token and the path's parameters were found."""

    request: Request
    api: str
    state: GitHubState
    project: Project
    token: Token | None
    parameters: dict[str, str]
    sign_blob: SignBlob

    @property
    def login(self) -> str:
        """Who calls."""
        return self.token.login if self.token else "ghost"

    @property
    def fields(self) -> dict[str, Any]:
        """The body's document; 400 where it is none."""
        try:
            document = self.request.json
        except ValueError:
            raise Refused(400, "Problems parsing JSON") from None
        if not isinstance(document, dict):
            raise Refused(400, "Body should be a JSON object")
        return document

    def field(self, name: str, kind: type = str) -> Any:
        """A field the body must have; 422 otherwise."""
        value = self.fields.get(name)
        if not isinstance(value, kind):
            raise Refused(422, f'Invalid request.\n\n"{name}" wasn\'t supplied.')
        return value

    def number(self, name: str) -> int:
        """A number in the path; 404 where it is none."""
        text = self.parameters[name]
        if not text.isdecimal():
            raise Refused(404, "Not Found")
        return int(text)


Handler = Callable[[Call], Answer]


@dataclass(frozen=True, slots=True)
class Route:
    """``path`` as in GitHub's OpenAPI description; ``right`` such as ``contents:read``, several with ``|`` where any will do."""

    method: str
    path: str
    right: str
    handler: Handler

    def match(self, method: str, path: str) -> dict[str, str] | None:
        """The path's parameters, or None where this is not the route."""
        pattern = re.sub(r"\\\{(ref|path)\\\}", r"(?P<\1>.+)", re.escape(self.path))
        found = re.fullmatch(re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[^/]+)", pattern), path)
        return found.groupdict() if found and method == self.method else None


def page(call: Call, items: Sequence[object], key: str | None = None) -> Answer:
    """One page of a list, with ``Link``; with ``key`` inside an object that counts all. Next pages are addressed by the project's id."""
    size = max(1, min(int(call.request.query.get("per_page", "30")), 100))
    number = max(1, int(call.request.query.get("page", "1")))
    last = max(1, -(-len(items) // size))
    shown = list(items[(number - 1) * size : number * size])
    links = [("prev", number - 1), ("next", number + 1), ("last", last), ("first", 1)]
    wanted = [(name, to) for name, to in links if 1 <= to <= last and (name in ("prev", "next") or to != number)]
    header = {"Link": ", ".join(f'<{_page_url(call, to)}>; rel="{name}"' for name, to in wanted)} if wanted else {}
    return json_answer(200, shown if key is None else {"total_count": len(items), key: shown}, header)


def _page_url(call: Call, number: int) -> str:
    path = re.sub(r"^/repos/[^/]+/[^/]+", f"/repositories/{call.project.id}", call.request.path)
    return f"{call.api}{quote(path)}?{urlencode({**call.request.query, 'page': number})}"


def get_repository(call: Call) -> Answer:
    may_push = call.token is not None and call.token.may("contents", "write")
    return json_answer(200, documents.full_repository(call.api, call.project, may_push=may_push))


def post_blob(call: Call) -> Answer:
    content, encoding = call.field("content"), call.fields.get("encoding", "utf-8")
    if encoding not in ("utf-8", "base64"):
        raise Refused(422, f"unknown encoding {encoding}")
    try:
        data = content.encode() if encoding == "utf-8" else base64.b64decode("".join(content.split()), validate=True)
    except binascii.Error:
        raise Refused(422, "content is not valid Base64") from None
    _refuse_empty(call.project)
    sha = call.project.git.write_blob(data)
    address = f"{documents.repository_url(call.api, call.project)}/git/blobs/{sha}"
    return json_answer(201, {"sha": sha, "url": address}, {"Location": address})


def get_blob(call: Call) -> Answer:
    sha = call.parameters["file_sha"]
    data = call.project.git.find_blob(sha)
    if "raw" in call.request.headers.get("accept", ""):
        return Answer(200, {"Content-Type": "application/vnd.github.raw; charset=utf-8"}, data)
    return json_answer(200, documents.blob(call.api, call.project, sha, data))


def post_tree(call: Call) -> Answer:
    _refuse_empty(call.project)
    git = call.project.git
    base = call.fields.get("base_tree")
    files = {entry.get("path", ""): _tree_item(call, entry) for entry in call.field("tree", list)}
    if any(not path or path.startswith("/") for path in files):
        raise Refused(422, "tree.path cannot start with a slash")
    sha = git.write_files(files, git.find_tree(base) if base else None)
    return _tree_answer(call, sha, 201)


def _tree_item(call: Call, entry: dict[str, Any]) -> TreeItem | None:
    if "content" in entry:
        return TreeItem(entry.get("mode", "100644"), "", call.project.git.write_blob(entry["content"].encode()))
    if entry.get("sha") is None:
        return None
    if entry.get("mode") not in ("100644", "100755", "040000", "160000", "120000"):
        raise Refused(422, "Must supply a valid tree.mode")
    return TreeItem(entry["mode"], "", entry["sha"])


def get_tree(call: Call) -> Answer:
    return _tree_answer(call, call.project.git.find_tree(call.parameters["tree_sha"]), 200)


def _tree_answer(call: Call, sha: str, status: int) -> Answer:
    git = call.project.git
    items = git.walk(sha) if "recursive" in call.request.query else [(item.name, item) for item in git.trees[sha]]
    document = documents.tree(call.api, call.project, sha, items)
    return json_answer(status, document, {"Location": document["url"]} if status == 201 else None)


def post_commit(call: Call) -> Answer:
    _refuse_empty(call.project)
    author = _person(call, "author")
    committer = _person(call, "committer") if "committer" in call.fields else author
    parents = tuple(call.fields.get("parents") or ())
    said = Commit(call.field("tree"), parents, call.field("message"), author, committer)
    sha = call.project.git.write_commit(said)
    document = documents.commit(call.api, call.project, sha, said)
    return json_answer(201, document, {"Location": document["url"]})


def _person(call: Call, role: str) -> Person:
    said = call.fields.get(role) or {}
    email = f"{call.login}@users.noreply.github.com"
    return call.project.person(said.get("name", call.login), said.get("email", email), said.get("date"))


def get_commit(call: Call) -> Answer:
    sha = call.parameters["commit_sha"]
    return json_answer(200, documents.commit(call.api, call.project, sha, call.project.git.find_commit(sha)))


def get_ref(call: Call) -> Answer:
    name = f"refs/{call.parameters['ref']}"
    if name not in call.project.git.refs:
        raise Refused(404, "Not Found")
    return json_answer(200, documents.ref(call.api, call.project, name))


def get_matching_refs(call: Call) -> Answer:
    prefix = f"refs/{call.parameters['ref']}"
    found = [documents.ref(call.api, call.project, name) for name in sorted(call.project.git.refs) if name.startswith(prefix)]
    return page(call, found)


def post_ref(call: Call) -> Answer:
    _refuse_empty(call.project)
    name = call.field("ref")
    call.project.git.create_ref(name, call.field("sha"))
    document = documents.ref(call.api, call.project, name)
    return json_answer(201, document, {"Location": document["url"]})


def patch_ref(call: Call) -> Answer:
    name = f"refs/{call.parameters['ref']}"
    call.project.git.update_ref(name, call.field("sha"), force=bool(call.fields.get("force", False)))
    return json_answer(200, documents.ref(call.api, call.project, name))


def delete_ref(call: Call) -> Answer:
    call.project.git.delete_ref(f"refs/{call.parameters['ref']}")
    return Answer(204)


def _refuse_empty(project: Project) -> None:
    if not project.git.refs:
        raise Refused(409, "Git Repository is empty.")


USER = "/user"
REPOSITORY = "/repos/{owner}/{repo}"
GIT = f"{REPOSITORY}/git"
GIT_ROUTES = (
    Route("GET", REPOSITORY, "metadata:read", get_repository),
    Route("POST", f"{GIT}/blobs", "contents:write", post_blob),
    Route("GET", f"{GIT}/blobs/{{file_sha}}", "contents:read", get_blob),
    Route("POST", f"{GIT}/trees", "contents:write", post_tree),
    Route("GET", f"{GIT}/trees/{{tree_sha}}", "contents:read", get_tree),
    Route("POST", f"{GIT}/commits", "contents:write", post_commit),
    Route("GET", f"{GIT}/commits/{{commit_sha}}", "contents:read", get_commit),
    Route("GET", f"{GIT}/ref/{{ref}}", "contents:read", get_ref),
    Route("GET", f"{GIT}/matching-refs/{{ref}}", "contents:read", get_matching_refs),
    Route("POST", f"{GIT}/refs", "contents:write", post_ref),
    Route("PATCH", f"{GIT}/refs/{{ref}}", "contents:write", patch_ref),
    Route("DELETE", f"{GIT}/refs/{{ref}}", "contents:write", delete_ref),
)


@dataclass(frozen=True, slots=True)
class RestApi:
    """Answers requests from a state; ``api`` is its own address, ``routes`` what it knows."""

    api: str
    routes: tuple[Route, ...]
    sign_blob: SignBlob

    def answer(self, request: Request, state: GitHubState) -> Answer:
        """The right answer, refusals included."""
        try:
            return self._answer(request, state)
        except Refused as refused:
            return error_answer(refused.status, refused.message, errors=refused.errors)

    def _answer(self, request: Request, state: GitHubState) -> Answer:
        token = _find_token(request, state)
        if (request.method, request.path) == ("GET", USER):
            return _get_user(self.api, token)
        project, path = self._find_project(request.path, state)
        if isinstance(project, str):
            return self._moved(request, state.projects[state.former_names[project]], path)
        if project is None or not _may_see(token, project):
            raise Refused(404, "Not Found")
        for route in self.routes:
            parameters = route.match(request.method, path)
            if parameters is not None:
                refusal = _refusal(route, token, project)
                return refusal or route.handler(Call(request, self.api, state, project, token, parameters, self.sign_blob))
        raise Refused(404, "Not Found")

    def _find_project(self, path: str, state: GitHubState) -> tuple[Project | str | None, str]:
        """The project (or the former name that redirects), and the path as the routes have it."""
        if found := re.match(r"/repositories/(\d+)(/.*)?$", path):
            project = state.projects.get(int(found[1]))
            return project, f"/repos/{project.full_name if project else '-/-'}{found[2] or ''}"
        found = re.match(r"/repos/([^/]+/[^/]+)(/.*)?$", path)
        if not found:
            return None, path
        name = found[1].lower()
        return state.find_project(name) or (name if name in state.former_names else None), path

    def _moved(self, request: Request, project: Project, path: str) -> Answer:
        rest = re.sub(r"^/repos/[^/]+/[^/]+", "", path)
        url = f"{self.api}/repositories/{project.id}{rest}"
        document = {"url": url, "documentation_url": DOCS}
        if request.method in ("GET", "HEAD"):
            return json_answer(301, {"message": "Moved Permanently", **document}, {"Location": url})
        return json_answer(307, {"message": "Temporary Redirect", **document}, {"Location": url})


def _get_user(api: str, token: Token | None) -> Answer:
    """Whose the token is; an app's, a job's own too, is nobody's."""
    if token is None:
        return error_answer(401, "Requires authentication")
    if token.is_app:
        return error_answer(403, "Resource not accessible by integration")
    return json_answer(200, documents.public_user(api, token.login))


def _find_token(request: Request, state: GitHubState) -> Token | None:
    """Who calls, None for nobody; 401 for a token nobody knows."""
    if not request.authorization:
        return None
    scheme, _, text = request.authorization.partition(" ")
    if scheme.lower() not in ("bearer", "token") or text not in state.tokens:
        raise Refused(401, "Bad credentials")
    return state.tokens[text]


def _may_see(token: Token | None, project: Project) -> bool:
    if not project.private:
        return True
    return token is not None and (token.projects is None or project.id in token.projects)


def _refusal(route: Route, token: Token | None, project: Project) -> Answer | None:
    """What GitHub says where a right is missing; what can be read by anybody needs none."""
    rights = [right.split(":") for right in route.right.split("|")]
    is_anonymous_read = not project.private and all(level == "read" for _, level in rights) and not route.path.endswith("{archive_format}")
    if is_anonymous_read or rights == [["metadata", "read"]]:
        return None
    if token is None:
        return error_answer(401, "Requires authentication")
    in_reach = token.projects is None or project.id in token.projects
    if (in_reach and any(token.may(name, level) for name, level in rights)) or (
        not project.private and all(r[1] == "read" for r in rights)
    ):
        return None
    if token.is_classic:
        return error_answer(404, "Not Found")
    kind = "integration" if token.is_app else "personal access token"
    accepted = "; ".join(f"{name}={level}" for name, level in rights)
    return error_answer(403, f"Resource not accessible by {kind}", {"X-Accepted-GitHub-Permissions": accepted})
