"""GitHub's git database through PyGithub: ``ref_store.GitDatabase``, one request a method."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from urllib.parse import quote

from github.GitCommit import GitCommit
from github.GitRef import GitRef
from github.GitTree import GitTree
from github.InputGitTreeElement import InputGitTreeElement

from ci_plugin.errors import DocumentError, Location
from ci_plugin.forge.github_client import GitHubClient
from ci_plugin.values.document import LARGEST_DOCUMENT

_READ, _WRITE = "contents: read", "contents: write"
_REGULAR = "100644"
_ID = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?", re.ASCII)


class GitHubGitDatabase:
    """Objects and refs of one repository."""

    def __init__(self, client: GitHubClient) -> None:
        self._client = client
        self._repository = client.repository
        self._sizes: dict[str, int] = {}

    @property
    def name(self) -> str:
        """``host/owner/repository``."""
        return self._client.name

    def find_ref(self, ref: str) -> str | None:
        """The commit a ref names, None for a 404. Raises DocumentError where it names something else."""
        found = self._client.find(lambda: self._repository.get_git_ref(ref).object, _READ)
        if found is None:
            return None
        kind, commit = self._client.must(lambda: (found.type, found.sha), _READ)
        if kind != "commit":
            raise DocumentError(
                f"expected a commit under the ref, found a {kind}",
                hint="somebody else wrote this ref; delete it, then run the pin job again",
                where=Location(f"{self.name} refs/{ref}"),
            )
        return self._id(commit)

    def create_ref(self, ref: str, commit: str) -> bool:
        """Make the ref; False where GitHub refuses it (409, 422), which the caller proves by reading."""
        created = self._client.ask(lambda: self._repository.create_git_ref(f"refs/{ref}", commit), _WRITE, none_for=(409, 422))
        return created is not None

    def advance_ref(self, ref: str, commit: str) -> bool:
        """Move the ref forward; False where GitHub refuses it (409, 422)."""

        def move() -> bool:
            # PyGithub's lazy get_git_ref has the address to read from (git/ref/…), and this one is git/refs/….
            GitRef(self._client.requester, url=f"{self._repository.url}/git/refs/{quote(ref)}", completed=True).edit(commit, force=False)
            return True

        return bool(self._client.ask(move, _WRITE, none_for=(409, 422)))

    def find_tree(self, commit: str) -> str | None:
        """The tree of a commit."""
        tree = self._client.find(lambda: self._repository.get_git_commit(commit).tree.sha, _READ)
        return None if tree is None else self._id(tree)

    def find_files(self, tree: str) -> Mapping[str, str] | None:
        """The regular files at a tree's top, name → blob."""

        def read() -> dict[str, str]:
            files = [one for one in self._repository.get_git_tree(tree).tree if one.type == "blob" and one.mode == _REGULAR]
            self._sizes |= {one.sha: one.size for one in files if isinstance(one.size, int)}
            return {one.path: self._id(one.sha) for one in files}

        return self._client.find(read, _READ)

    def find_blob(self, blob: str) -> bytes | None:
        """A blob's bytes. Raises DocumentError, unread, for one that its tree says is too large to be a document."""
        if self._sizes.get(blob, 0) > LARGEST_DOCUMENT:
            raise DocumentError(
                f"expected a document of at most {LARGEST_DOCUMENT} bytes, found {self._sizes[blob]}",
                hint="somebody else wrote this ref; delete it, then run the pin job again",
                where=Location(f"{self.name} blob {blob}"),
            )

        def read() -> bytes:
            found = self._repository.get_git_blob(blob)
            return base64.b64decode(found.content) if found.encoding == "base64" else found.content.encode()

        return self._client.find(read, _READ)

    def write_blob(self, data: bytes) -> str:
        """Store bytes; returns the blob's id."""
        content = base64.b64encode(data).decode()
        return self._id(self._client.must(lambda: self._repository.create_git_blob(content, "base64").sha, _WRITE))

    def write_tree(self, files: Mapping[str, str]) -> str:
        """Store a tree of regular files, name → blob; returns its id."""
        elements = [InputGitTreeElement(name, _REGULAR, "blob", sha=blob) for name, blob in files.items()]
        return self._id(self._client.must(lambda: self._repository.create_git_tree(elements).sha, _WRITE))

    def write_commit(self, tree: str, parents: tuple[str, ...], message: str) -> str:
        """Store a commit; returns its id. GitHub names the token's owner as the author, which is the truth."""
        requester = self._client.requester
        over = [GitCommit(requester, attributes={"sha": parent}, completed=True) for parent in parents]
        of = GitTree(requester, attributes={"sha": tree}, completed=True)
        return self._id(self._client.must(lambda: self._repository.create_git_commit(message, of, over).sha, _WRITE))

    def _id(self, text: object) -> str:
        found = self._client.expect_text(text)
        return found if _ID.fullmatch(found) else self._client.expect_text(None)
