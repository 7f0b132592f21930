"""The artifact service that GitHub gives its runners (Twirp, JSON), and the blob host that holds the bytes, with Azure's block uploads.

Held to the vendor by ``tests/contract/test_github_artifact_client.py``: npm ``@actions/artifact`` uploads, lists and downloads here.

Rules: a job's runtime token names run and attempt. CreateArtifact takes the name for that attempt (409 where it is taken), the bytes
go to a signed address on the blob host, FinalizeArtifact compares size and hash and makes the artifact visible. Later attempts of the
same run list earlier attempts' artifacts, too. The blob host knows signatures only: an ``Authorization`` header is a 400, as at Azure.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from tests.fakes.github_git import Refused
from tests.fakes.github_http import Answer, Request, json_answer
from tests.fakes.github_state import Artifact, GitHubState, Project, Run, text_of

SERVICE = "/twirp/github.actions.results.api.v1.ArtifactService/"
READING = ("ListArtifacts", "GetSignedArtifactURL")
_CODES = {400: "invalid_argument", 401: "unauthenticated", 403: "permission_denied", 404: "not_found", 409: "already_exists"}
_NAMESPACE = uuid.UUID("5a9c3f0e-0000-4000-8000-000000000000")


class BlobHost:
    """Bytes by name behind signed addresses ``http://HOST/artifacts/NAME?…&sig=…``."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.requests: list[Request] = []
        self.blobs: dict[str, bytes] = {}
        self._blocks: dict[tuple[str, str], bytes] = {}
        self._signatures: set[tuple[str, str]] = set()
        self._given = 0

    def sign(self, name: str, rights: str) -> str:
        """An address for reading (``r``) or writing (``w``) that blob."""
        self._given += 1
        signature = hashlib.sha256(f"{name} {rights} {self._given}".encode()).hexdigest()
        self._signatures.add((name, signature))
        return f"{self.address}/artifacts/{name}?sp={rights}&sig={signature}"

    def offer(self, artifact: Artifact) -> str:
        """An address for reading an artifact's bytes."""
        self.blobs[artifact.blob] = artifact.data
        return self.sign(artifact.blob, "r")

    def expire(self) -> None:
        """No address given out so far works any more."""
        self._signatures.clear()

    def answer(self, request: Request) -> Answer:
        """As Azure's blob service answers."""
        name = request.path.removeprefix("/artifacts/")
        if request.authorization:
            return _xml_error(400, "InvalidAuthenticationInfo")
        if (name, request.query.get("sig", "")) not in self._signatures:
            return _xml_error(403, "AuthenticationFailed")
        if request.method == "PUT":
            return self._put(request, name) if request.query.get("sp") == "w" else _xml_error(403, "AuthorizationPermissionMismatch")
        if name not in self.blobs:
            return _xml_error(404, "BlobNotFound")
        return _blob_answer(self.blobs[name], request.headers.get("range", ""))

    def _put(self, request: Request, name: str) -> Answer:
        kind = request.query.get("comp")
        if kind == "block":
            self._blocks[name, request.query["blockid"]] = request.body
        elif kind == "blocklist":
            wanted = re.findall(r"<(?:Latest|Uncommitted|Committed)>([^<]+)</", request.body.decode())
            if any((name, block) not in self._blocks for block in wanted):
                return _xml_error(400, "InvalidBlockList")
            self.blobs[name] = b"".join(self._blocks[name, block] for block in wanted)
        elif kind is None:
            self.blobs[name] = request.body
        return Answer(201, {"ETag": '"0x1"', "x-ms-request-id": "fake", "x-ms-version": "2025-01-05"})


def _blob_answer(data: bytes, wanted: str) -> Answer:
    headers = {"Content-Type": "application/zip", "ETag": '"0x1"', "Accept-Ranges": "bytes", "x-ms-blob-type": "BlockBlob"}
    found = re.fullmatch(r"bytes=(\d+)-(\d*)", wanted)
    if not found:
        return Answer(200, headers, data)
    first, last = int(found[1]), min(int(found[2] or len(data) - 1), len(data) - 1)
    return Answer(206, {**headers, "Content-Range": f"bytes {first}-{last}/{len(data)}"}, data[first : last + 1])


def _xml_error(status: int, code: str) -> Answer:
    body = f'<?xml version="1.0" encoding="utf-8"?><Error><Code>{code}</Code><Message>{code}</Message></Error>'
    return Answer(status, {"Content-Type": "application/xml", "x-ms-error-code": code}, body.encode())


@dataclass(frozen=True, slots=True)
class _Place:
    """The attempt of a run that a request is about."""

    project: Project
    run: Run
    attempt: int


@dataclass(slots=True)
class ArtifactService:
    """Answers the runner's requests from the state; the bytes go through ``blobs``."""

    state: GitHubState
    blobs: BlobHost
    _tokens: dict[str, int] = field(default_factory=dict)

    def make_token(self, project: Project, run: Run, job: str) -> str:
        """A job's runtime token: an unsigned JWT that names the current attempt of its run and the job."""
        claims = {"scp": f"Actions.Results:{_run_id(project, run.id, run.attempt)}:{_job_id(project, run.id, run.attempt, job)}"}
        token = ".".join([_encoded({"alg": "none", "typ": "JWT"}), _encoded(claims), "unsigned"])
        self._tokens[token] = run.id
        return token

    def answer(self, request: Request) -> Answer:
        """The right answer, refusals included."""
        calls = {
            "CreateArtifact": self._create,
            "FinalizeArtifact": self._finalize,
            "ListArtifacts": self._list,
            "GetSignedArtifactURL": self._sign,
            "DeleteArtifact": self._delete,
        }
        call = calls.get(request.path.removeprefix(SERVICE))
        if call is None or request.method != "POST":
            return json_answer(404, {"code": "bad_route", "msg": "no handler for this path"})
        try:
            return json_answer(200, call(self._place(request), request.json))
        except Refused as refused:
            return json_answer(refused.status, {"code": _CODES[refused.status], "msg": refused.message})

    def _place(self, request: Request) -> _Place:
        run_id = self._tokens.get(request.authorization.removeprefix("Bearer "))
        if run_id is None:
            raise Refused(401, "the runtime token is not valid")
        project = next(one for one in self.state.projects.values() if run_id in one.runs)
        run = project.runs[run_id]
        for attempt in range(1, run.attempt + 1):
            if request.json.get("workflow_run_backend_id") == _run_id(project, run_id, attempt):
                return _Place(project, run, attempt)
        raise Refused(403, "the token is for another workflow run")

    def _create(self, place: _Place, said: Mapping[str, Any]) -> Mapping[str, object]:
        expires = datetime.fromisoformat(said["expires_at"]) if said.get("expires_at") else None
        made = place.project.reserve_artifact(place.run.id, place.attempt, said.get("name", ""), expires)
        return {"ok": True, "signed_upload_url": self.blobs.sign(made.blob, "w")}

    def _finalize(self, place: _Place, said: Mapping[str, Any]) -> Mapping[str, object]:
        reserved = place.project.find_reserved(place.run.id, place.attempt, said.get("name", ""))
        if reserved is None:
            raise Refused(404, "artifact not found")
        data = self.blobs.blobs.get(reserved.blob, b"")
        claimed = said.get("hash") or f"sha256:{hashlib.sha256(data).hexdigest()}"
        if int(said.get("size", 0)) != len(data) or claimed != f"sha256:{hashlib.sha256(data).hexdigest()}":
            raise Refused(400, "the artifact uploaded has another size or hash")
        return {"ok": True, "artifact_id": str(place.project.finalize_artifact(reserved, data).id)}

    def _list(self, place: _Place, said: Mapping[str, Any]) -> Mapping[str, object]:
        found = [one for one in place.project.artifacts(place.run.id, said.get("name_filter")) if not place.project.is_expired(one)]
        wanted = said.get("id_filter")
        return {"artifacts": [_described(place.project, one) for one in found if wanted in (None, str(one.id))]}

    def _sign(self, place: _Place, said: Mapping[str, Any]) -> Mapping[str, object]:
        found = self._final(place, said)
        if place.project.is_expired(found):
            raise Refused(404, "artifact not found")
        return {"name": found.name, "signed_url": self.blobs.offer(found)}

    def _delete(self, place: _Place, said: Mapping[str, Any]) -> Mapping[str, object]:
        found = self._final(place, said)
        place.project.delete_artifact(found.id)
        return {"ok": True, "artifact_id": str(found.id)}

    def _final(self, place: _Place, said: Mapping[str, Any]) -> Artifact:
        """The finished artifact of that name in the attempt the caller names."""
        named = place.project.artifacts(place.run.id, said.get("name", ""))
        found = next((one for one in named if one.attempt == place.attempt), None)
        if found is None:
            raise Refused(404, "artifact not found")
        return found


def _described(project: Project, one: Artifact) -> Mapping[str, object]:
    run, job = _run_id(project, one.run, one.attempt), _job_id(project, one.run, one.attempt)
    named = {"database_id": str(one.id), "name": one.name, "size": str(len(one.data)), "digest": one.digest}
    return {"workflow_run_backend_id": run, "workflow_job_run_backend_id": job, **named, "created_at": text_of(one.created_at)}


def _run_id(project: Project, run: int, attempt: int) -> str:
    return str(uuid.uuid5(_NAMESPACE, f"{project.id}/{run}/{attempt}"))


def _job_id(project: Project, run: int, attempt: int, job: str = "") -> str:
    return str(uuid.uuid5(_NAMESPACE, f"{project.id}/{run}/{attempt}/{job}"))


def _encoded(document: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(document).encode()).decode().rstrip("=")
