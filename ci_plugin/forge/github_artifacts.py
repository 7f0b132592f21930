"""CI artifacts of GitHub's workflow runs over REST: ``artifact_store.Artifacts``.

Read over REST and not as a runner reads them: after a re-run of failed jobs the runner's own service has lost sight of earlier attempts'
artifacts for days (facts/ci-platforms.md 1.2, download-artifact#486). Rules

- Of a run's artifacts those whose names begin with ``stagepin-`` are read, and those that are one unzipped file named as the document
  (upload-artifact v7, ``archive: false``). Oldest first, by creation and id.
- A download is a redirect to another host (docs.github.com, "Download an artifact"); it is followed once, without the token.
- What the listing calls expired is left out. A listed artifact that cannot be had is Unavailable, never absence.
- An artifact that a fork's code made is refused in every run but its own: such a run could write any pins it likes.
"""

from __future__ import annotations

import json
import posixpath
from collections.abc import Iterator
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

import requests
from github.Artifact import Artifact
from github.PaginatedList import PaginatedList

from ci_plugin import __version__
from ci_plugin.errors import DocumentError, InputError, Location, Unavailable
from ci_plugin.forge.archive import is_zip, read_member
from ci_plugin.forge.github_client import GitHubClient
from ci_plugin.forge.github_connection import open_session
from ci_plugin.forge.http import address_of, origin_of, unreachable
from ci_plugin.values.digest import Digest
from ci_plugin.values.document import LARGEST_DOCUMENT

if TYPE_CHECKING:
    from ci_plugin.forge.access import ForgeAccess

PREFIX = "stagepin-"
LARGEST_ARCHIVE = 64 * 1024 * 1024
"""Bytes, packed: both documents at their largest, and the logs beside them."""
_READ = "actions: read"


class GitHubArtifacts:
    """The artifacts of one repository's runs."""

    def __init__(self, client: GitHubClient) -> None:
        self._client = client
        self._blobs = open_session(client.access, client.limits, LARGEST_ARCHIVE)

    @property
    def name(self) -> str:
        """``host/owner/repository``."""
        return self._client.name

    @property
    def life(self) -> str:
        """What GitHub keeps, and for how long."""
        return (
            "on GitHub they outlive a re-run of failed jobs, are lost by a re-run of all jobs, which then pins anew, "
            "and are kept 90 days at most (retention-days)"
        )

    def read_files(self, pipeline: str, path: str) -> Iterator[bytes]:
        """The file in each artifact of that run, oldest first. Raises AccessDenied, DocumentError, InputError, Unavailable."""
        if not pipeline.isdecimal():
            hint = "it is in the run's address: …/actions/runs/NUMBER"
            raise InputError(f"expected the number of a workflow run, found {pipeline[:50]!r}", hint=hint)
        for artifact in self._list(int(pipeline), posixpath.basename(path)):
            data = self._download(artifact)
            found = self._member(artifact, data, path)
            if found is not None:
                yield found

    def _list(self, run: int, file_name: str) -> list[Artifact]:
        url = f"{self._client.repository.url}/actions/runs/{run}/artifacts"

        def read() -> list[Artifact]:
            listed = PaginatedList(Artifact, self._client.requester, url, None, list_item="artifacts")
            ours = [one for one in listed if not one.expired and (one.name.startswith(PREFIX) or one.name == file_name)]
            return sorted((one for one in ours if self._is_of(one, run)), key=lambda one: (one.created_at, one.id))

        return self._client.find(read, _READ) or []

    def _is_of(self, artifact: Artifact, run: int) -> bool:
        """Whether the platform itself says that it is of this run. Raises DocumentError for a fork's in any run but its own.

        A fork that was deleted is nobody GitHub could name; that counts as one.
        """
        made_by = artifact.raw_data.get("workflow_run") or {}
        if made_by.get("id", run) != run:
            return False
        project, head = made_by.get("repository_id"), made_by.get("head_repository_id")
        if (project is None or project != head) and self._access.pipeline != str(run):
            found = f"an artifact of a fork (repository id {head})" if head else "an artifact of nobody knows whose code"
            raise DocumentError(
                f"expected pins and records that code of {self._access.project} made, found {found}",
                hint="a fork's run may write any pins it likes: pin in a run of this repository, and deploy that",
                where=self._where(artifact),
            )
        return True

    def _download(self, artifact: Artifact) -> bytes:
        size = artifact.size_in_bytes
        if size > LARGEST_ARCHIVE:
            raise self._refused(artifact, f"an archive of at most {LARGEST_ARCHIVE} bytes", f"{size} bytes")
        url = f"{self._client.repository.url}/actions/artifacts/{artifact.id}/zip"
        status, headers, body = self._client.must(lambda: self._client.requester.requestJson("GET", url), _READ)
        if status == 302 and headers.get("location"):
            return self._fetch(artifact, self._target(artifact, url, str(headers["location"])))
        if status < 400 or status in (404, 410):
            raise self._missing(artifact, f"status {status} from {self._access.host}")
        raise self._client.refusal(status, headers, _document(body), _READ)

    def _target(self, artifact: Artifact, asked: str, location: str) -> str:
        """The whole address a redirect means: HTTPS, or HTTP where the API itself is on this machine."""
        api = urlsplit(self._access.url)
        try:
            url = urljoin(f"{api.scheme}://{api.netloc}{asked}", location)
            scheme, host, _ = origin_of(url)
        except ValueError:
            url, scheme, host = location, "", ""
        if not host or scheme not in ("https", api.scheme):
            message = f"expected {self._access.host} to say where the bytes are over https, found {address_of(url)!r}"
            raise InputError(message, hint="is a proxy in the way? the address is GitHub's to give", where=self._where(artifact))
        return url

    def _fetch(self, artifact: Artifact, url: str) -> bytes:
        """The bytes behind a signed address on another host: one request without the token, and no further redirect."""
        try:
            response = self._blobs.get(url, headers={"User-Agent": f"stagepin/{__version__}"}, allow_redirects=False)
        except (requests.RequestException, ValueError) as error:
            raise unreachable(error, url) from None
        if response.status_code != 200:
            raise self._missing(artifact, f"status {response.status_code} from {address_of(url)}")
        return self._checked(artifact, response.content)

    def _checked(self, artifact: Artifact, data: bytes) -> bytes:
        """The bytes that GitHub took from the uploader; an older server tells no digest."""
        told = artifact.raw_data.get("digest")
        found = str(Digest.of(data))
        if told and told != found:
            raise Unavailable(
                f"expected the artifact {artifact.name} with the digest {str(told)[:80]}, found {found}",
                hint="the download was damaged; run the job again",
                where=self._where(artifact),
            )
        return data

    def _member(self, artifact: Artifact, data: bytes, path: str) -> bytes | None:
        """The document. upload-artifact leaves out the directories that all its files share, so it may lie at the top."""
        name = posixpath.basename(path)
        if is_zip(data):
            archive = str(self._where(artifact))
            for candidate in (path, name):
                found = read_member(data, candidate, limit=LARGEST_DOCUMENT, archive=archive)
                if found is not None:
                    return found
            return None
        if artifact.name == name and len(data) <= LARGEST_DOCUMENT:
            return data
        raise self._refused(artifact, f"a zip archive, or one file named {name}", f"{len(data)} bytes that are neither")

    def _missing(self, artifact: Artifact, found: str) -> Unavailable:
        return Unavailable(
            f"expected the artifact {artifact.name}, which the listing shows, found {found}",
            hint="run the job again; if it stays so, keep pins where they can be had: --store git-ref or stages-storage",
            where=self._where(artifact),
        )

    def _refused(self, artifact: Artifact, expected: str, found: str) -> DocumentError:
        hint = f"names that begin with {PREFIX} are stagepin's own: delete this artifact or upload it under another name"
        return DocumentError(f"expected {expected} in the artifact {artifact.name}, found {found}", hint=hint, where=self._where(artifact))

    def _where(self, artifact: Artifact) -> Location:
        return Location(f"{self.name} artifact {artifact.id} ({artifact.name})")

    @property
    def _access(self) -> ForgeAccess:
        return self._client.access


def _document(body: str) -> object:
    try:
        return json.loads(body)
    except ValueError:
        return None
