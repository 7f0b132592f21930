"""Git objects and refs as GitHub keeps them: real ids (sha1 of the real encoding), refs that are created once and move forward only.

Rules: an object that another one names must be there; a ref is refused where it exists, and moves only to a descendant unless forced.
The texts of the refusals are GitHub's; clients must not decide by them, and our tests do not.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

SHA = re.compile(r"[0-9a-f]{40}")
_MODES = {"100644": "blob", "100755": "blob", "120000": "blob", "040000": "tree", "160000": "commit"}


class Refused(Exception):
    """GitHub says no: the status, the message of its error document, and the entries of ``errors`` (validation errors only)."""

    def __init__(self, status: int, message: str, errors: Sequence[Mapping[str, str]] | None = None) -> None:
        super().__init__(f"{status} {message}")
        self.status = status
        self.message = message
        self.errors = errors


@dataclass(frozen=True, slots=True)
class Person:
    """Author or committer; ``date`` as in ``2026-01-02T03:04:05Z`` and ``seconds`` the same since 1970."""

    name: str
    email: str
    date: str
    seconds: int

    def encode(self) -> str:
        """As a commit object holds it."""
        return f"{self.name} <{self.email}> {self.seconds} +0000"


@dataclass(frozen=True, slots=True)
class TreeItem:
    """One entry of a tree object."""

    mode: str
    name: str
    sha: str

    @property
    def kind(self) -> str:
        """``blob``, ``tree`` or ``commit``."""
        return _MODES[self.mode]


@dataclass(frozen=True, slots=True)
class Commit:
    """What a commit object says."""

    tree: str
    parents: tuple[str, ...]
    message: str
    author: Person
    committer: Person


@dataclass(slots=True)
class GitRepository:
    """Objects by id and refs by full name (``refs/heads/main``)."""

    objects: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    trees: dict[str, tuple[TreeItem, ...]] = field(default_factory=dict)
    commits: dict[str, Commit] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)

    def copy(self) -> GitRepository:
        """The same, to stay as it is now."""
        return GitRepository(dict(self.objects), dict(self.trees), dict(self.commits), dict(self.refs))

    def kind(self, sha: str) -> str | None:
        """What the object is, or None where there is none."""
        return self.objects[sha][0] if sha in self.objects else None

    def write_blob(self, data: bytes) -> str:
        """Store bytes; the blob's id."""
        return self._store("blob", data)

    def find_blob(self, sha: str) -> bytes:
        """A blob's bytes; 404 where it is unknown, 422 where that cannot be an id."""
        if not SHA.fullmatch(sha):
            raise Refused(422, "The sha parameter must be exactly 40 characters and contain only [0-9a-f].")
        return self._find(sha, "blob")

    def write_tree(self, items: Sequence[TreeItem]) -> str:
        """Store a tree; its id. Every entry must be there (but another repository's commit)."""
        for item in items:
            if item.kind != "commit" and self.kind(item.sha) != item.kind:
                raise Refused(422, f"tree.sha {item.sha} is not a valid {item.kind}")
        ordered = sorted(items, key=lambda item: item.name + ("/" if item.kind == "tree" else ""))
        data = b"".join(f"{item.mode.lstrip('0')} {item.name}\0".encode() + bytes.fromhex(item.sha) for item in ordered)
        sha = self._store("tree", data)
        self.trees[sha] = tuple(ordered)
        return sha

    def write_files(self, files: Mapping[str, TreeItem | None], base: str | None = None) -> str:
        """Store the trees of these paths, on top of ``base``; None removes a path. Returns the top tree's id."""
        top: dict[str, TreeItem] = {item.name: item for item in self.trees[base]} if base else {}
        below: dict[str, dict[str, TreeItem | None]] = {}
        for path, item in files.items():
            name, _, rest = path.partition("/")
            if rest:
                below.setdefault(name, {})[rest] = item
            elif item is None:
                top.pop(name, None)
            else:
                top[name] = TreeItem(item.mode, name, item.sha)
        for name, rest_of in below.items():
            known = top.get(name)
            top[name] = TreeItem("040000", name, self.write_files(rest_of, known.sha if known and known.kind == "tree" else None))
        return self.write_tree(list(top.values()))

    def find_tree(self, name: str) -> str:
        """The id of the tree that a tree, a commit or a branch name means; 404 otherwise."""
        sha = next((self.refs[ref] for ref in (name, f"refs/heads/{name}", f"refs/tags/{name}") if ref in self.refs), name)
        sha = self.commits[sha].tree if sha in self.commits else sha
        self._find(sha, "tree")
        return sha

    def walk(self, tree: str, prefix: str = "") -> list[tuple[str, TreeItem]]:
        """Every entry below, with its path."""
        found: list[tuple[str, TreeItem]] = []
        for item in self.trees[tree]:
            found.append((prefix + item.name, item))
            if item.kind == "tree":
                found += self.walk(item.sha, f"{prefix}{item.name}/")
        return found

    def write_commit(self, commit: Commit) -> str:
        """Store a commit; its id."""
        if self.kind(commit.tree) != "tree":
            raise Refused(422, "Tree SHA does not exist")
        if any(self.kind(parent) != "commit" for parent in commit.parents):
            raise Refused(422, "Parent SHA does not exist or is not a commit object")
        lines = [f"tree {commit.tree}", *(f"parent {parent}" for parent in commit.parents)]
        lines += [f"author {commit.author.encode()}", f"committer {commit.committer.encode()}", "", commit.message]
        sha = self._store("commit", "\n".join(lines).encode())
        self.commits[sha] = commit
        return sha

    def find_commit(self, sha: str) -> Commit:
        """What a commit says; 404 where it is unknown."""
        self._find(sha, "commit")
        return self.commits[sha]

    def create_ref(self, ref: str, sha: str) -> None:
        """Make a ref; 422 where it exists, is no name, or names nothing."""
        if not ref.startswith("refs/"):
            raise Refused(422, "Reference name must start with 'refs/'.")
        if ref.count("/") < 2 or re.search(r"\.\.|//|[\s~^:?*\[\\\x7f]|/$|\.lock$|@\{|/\.", ref):
            raise Refused(422, f"{ref} is not a valid ref name.")
        if sha not in self.objects:
            raise Refused(422, "Object does not exist")
        if ref in self.refs:
            raise Refused(422, "Reference already exists")
        if any(one.startswith(f"{ref}/") or ref.startswith(f"{one}/") for one in self.refs):
            raise Refused(422, "Reference update failed")
        self.refs[ref] = sha

    def update_ref(self, ref: str, sha: str, *, force: bool) -> None:
        """Move a ref; 422 where it is not there, names nothing, or would not move forward."""
        if ref not in self.refs:
            raise Refused(422, "Reference does not exist")
        if sha not in self.objects:
            raise Refused(422, "Object does not exist")
        if not force and not self.descends(sha, self.refs[ref]):
            raise Refused(422, "Update is not a fast forward")
        self.refs[ref] = sha

    def delete_ref(self, ref: str) -> None:
        """Remove a ref; 422 where it is not there."""
        if self.refs.pop(ref, None) is None:
            raise Refused(422, "Reference does not exist")

    def descends(self, sha: str, ancestor: str) -> bool:
        """Whether a commit is, or has among its ancestors, that one."""
        waiting, seen = [sha], {sha}
        while waiting:
            one = waiting.pop()
            if one == ancestor:
                return True
            parents = set(self.commits[one].parents if one in self.commits else ()) - seen
            seen |= parents
            waiting += parents
        return False

    def _store(self, kind: str, data: bytes) -> str:
        sha = hashlib.sha1(f"{kind} {len(data)}\0".encode() + data, usedforsecurity=False).hexdigest()
        self.objects[sha] = (kind, data)
        return sha

    def _find(self, sha: str, kind: str) -> bytes:
        if self.kind(sha) != kind:
            raise Refused(404, "Not Found")
        return self.objects[sha][1]
