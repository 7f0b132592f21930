"""Other repositories: what their branches and tags mean now, and their files at a pinned commit.

Rules: what a ref means is asked for where pins are made, and nowhere else; files are those of a commit id alone. A commit is fetched once,
with nothing of its history, into a bare repository of ours, one for each url, under a lock that git holds too: jobs of one workspace wait
for each other. A commit counts as there when its own ref is, which git writes after it checked that all its objects came: a fetch that was
cut short is done again. Where a server gives no commit by its id, its branches and tags are fetched, whole at last.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from ci_plugin.errors import Gone, InputError, Location, StagepinError, Unavailable
from ci_plugin.git.command import Git, text
from ci_plugin.git.login import Login, Logins
from ci_plugin.git.transport import failure_of, run_git, unknown_failure
from ci_plugin.git.tree import CommitTree
from ci_plugin.values.canonical import sha256_hex
from ci_plugin.values.git_address import GitAddress, parse_git_address

if TYPE_CHECKING:
    from ci_plugin.config.parts import GitRemote
    from ci_plugin.ports import SourceTree
    from ci_plugin.retry import RetryPolicy

_LONGEST_WAIT = 1200.0
"""Seconds for which another job of this workspace may hold the lock."""
_PAUSE = 0.2
_PEELED = "^{}"
_WHOLE = "2147483647"
"""What git takes for all of the history, in a repository that has parts of it too."""
_BRANCHES = ("refs/heads/", "refs/tags/")


class RemoteRepositories:
    """Every other repository this run is about; implements ``services.resolving_git.GitRemotes``.

    ``directory`` gives the place of the fetched repositories when one is needed first; ``sleep`` waits for a lock, in seconds.
    """

    def __init__(
        self,
        directory: Callable[[], Path],
        logins: Logins,
        environ: Mapping[str, str],
        retry: RetryPolicy,
    ) -> None:
        self._directory = directory
        self._logins = logins
        self._environ = environ
        self._retry = retry
        self._trees: dict[tuple[str, str], CommitTree] = {}

    def list_refs(self, remote: GitRemote, refs: Collection[str] = ()) -> Mapping[str, str]:
        """Full ref → the commit it means now, of these refs or of all branches and tags; an absent one is not in it.

        An annotated tag means the commit it names. One request. Raises AccessDenied, InputError, Unavailable.
        """
        address = parse_git_address(remote.url)
        login = self._logins.find(remote, address)
        wanted = [pattern for ref in sorted(refs) for pattern in (ref, ref + _PEELED)]
        kinds = () if wanted else ("--heads", "--tags")

        def ask() -> bytes:
            answer = run_git(("ls-remote", "--quiet", *kinds, "--", address.url, *wanted), address, login, self._environ)
            if answer.returncode:
                raise failure_of(address, answer.stderr) or unknown_failure(address, answer.stderr)
            return answer.stdout

        rows = [row.partition("\t") for row in text(self._retry.run(ask)).split("\n")]
        found = {name: commit for commit, _, name in rows if name}
        names = refs or [name for name in found if name.startswith(_BRANCHES) and not name.endswith(_PEELED)]
        return {name: found.get(name + _PEELED, found[name]) for name in names if name in found}

    def tree(self, remote: GitRemote, ref: str, commit: str, where: Location) -> SourceTree:
        """The files of that commit, fetched where they are not here yet; ``ref``: where the pin found it.

        Raises Gone where the repository has the commit no more, AccessDenied, InputError, Unavailable.
        """
        address = parse_git_address(remote.url)
        key = (address.url, commit)
        if key not in self._trees:
            store = _Store(self._directory(), address, self._environ, commit)
            if not store.has():
                login = self._logins.find(remote, address)
                self._retry.run(lambda: _Fetch(store, login, self._retry.sleep).run(ref, where))
            self._trees[key] = CommitTree(store.git, commit, hint=f"remove {store.path} and run again")
        return self._trees[key]


class _Store:
    """The bare repository of one url, for commits of one length (git's object format)."""

    def __init__(self, directory: Path, address: GitAddress, environ: Mapping[str, str], commit: str) -> None:
        self.address, self.environ, self.commit = address, environ, commit
        self.is_sha256 = len(commit) == len("0" * 64)
        name = sha256_hex(("git", address.url))[:24]
        self.path = directory / f"{name}{'-sha256' if self.is_sha256 else ''}.git"
        self.ref = f"refs/stagepin/{commit}"
        self.git = Git(directory, environ, self.path, is_bare=True)

    def has(self) -> bool:
        """Whether the commit is here, whole."""
        return (self.path / "HEAD").is_file() and not self.git.run("rev-parse", "--verify", "--quiet", f"{self.ref}^{{tree}}").returncode


class _Fetch:
    """Brings one commit into its store, alone in the workspace."""

    def __init__(self, store: _Store, login: Login | None, sleep: Callable[[float], None]) -> None:
        self._store, self._login, self._sleep = store, login, sleep
        self._lock = -1

    def run(self, ref: str, where: Location) -> None:
        """Fetch it. Raises Gone where the repository lacks it, and what the transport raises."""
        store = self._store
        with _locked(store.path.with_suffix(".lock"), self._sleep) as self._lock:
            if store.has():
                return
            self._prepare()
            errors = b""
            for depth, *refs in self._ways(ref):
                errors = self._fetch(depth, refs)
                # Where it came with others, the commit gets its ref now.
                store.git.run("update-ref", store.ref, f"{store.commit}^{{commit}}")
                if store.has():
                    return
            raise self._lacking(ref, where, errors)

    def _ways(self, ref: str) -> Iterator[tuple[str, ...]]:
        """Depth and refs of fetches to try: by its id, as the tip of its ref, among all; last for servers without depth (dumb http)."""
        everything = ("+refs/heads/*:refs/stagepin/heads/*", "+refs/tags/*:refs/stagepin/tags/*")
        yield "1", f"+{self._store.commit}:{self._store.ref}"
        if ref != self._store.commit:
            yield "1", f"+{ref}:refs/stagepin/tips/{sha256_hex((ref,))[:16]}"
        yield _WHOLE, *everything
        yield "", *everything

    def _prepare(self) -> None:
        """An empty repository, or the one that is there without the locks of a git that was killed: ours is the only one that counts."""
        store = self._store
        store.path.mkdir(exist_ok=True)
        for left in (*store.path.glob("*.lock"), *store.path.glob("refs/**/*.lock")):
            left.unlink(missing_ok=True)
        kind = ("--object-format=sha256",) if store.is_sha256 else ()
        answer = self._run("init", "--quiet", "--bare", "--template=", *kind, str(store.path))
        if answer.returncode:
            message = f"expected to make a git repository in {store.path}, found: {text(answer.stderr).strip()[:300]}"
            raise InputError(message, hint=f"remove {store.path}, and check the free space and its owner", where=Location(str(store.path)))

    def _fetch(self, depth: str, refs: Sequence[str]) -> bytes:
        """What git said where it did not get everything; empty where it did. Raises where the repository cannot be talked to at all."""
        quiet = ("--quiet", "--no-tags", "--no-recurse-submodules", *([f"--depth={depth}"] if depth else []))
        answer = self._run("fetch", *quiet, "--", self._store.address.url, *refs)
        if answer.returncode and (failure := failure_of(self._store.address, answer.stderr)):
            raise failure
        return answer.stderr if answer.returncode else b""

    def _run(self, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        store = self._store
        return run_git(arguments, store.address, self._login, store.environ, git_dir=store.path, kept_open=(self._lock,))

    def _lacking(self, ref: str, where: Location, errors: bytes) -> StagepinError:
        store = self._store
        if errors:
            return unknown_failure(store.address, errors)
        if ref == store.commit:
            message = f"expected the commit {store.commit} in {store.address.url}, found it in none of its branches and tags"
            return InputError(message, hint="correct `commit`, or push it", where=where)
        message = f"expected the commit {store.commit} in {store.address.url}, found {ref} without it: its history was written anew"
        return Gone(message, hint="pin in a new scope, which takes what the ref means now", where=where)


@contextmanager
def _locked(path: Path, sleep: Callable[[float], None]) -> Iterator[int]:
    """The descriptor of an exclusive lock, which whoever inherits it holds too. Raises Unavailable where others hold it for too long."""
    import fcntl

    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    try:
        waited = 0.0
        while True:
            with suppress(BlockingIOError):
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            if waited >= _LONGEST_WAIT:
                message = f"expected another job of this workspace to end its fetch within {_LONGEST_WAIT:.0f} s, found {path} locked still"
                raise Unavailable(message, hint="end that job, or give this one a workspace of its own", where=Location(str(path)))
            sleep(_PAUSE)
            waited += _PAUSE
        yield descriptor
    finally:
        os.close(descriptor)
