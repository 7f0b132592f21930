"""The source tree: the git repository at one commit, read through the ``git`` command.

Rules: nothing uncommitted is ever read; names travel NUL-terminated and objects under their full name; no ``GIT_*`` variable of the
caller reaches git (a leaked ``GIT_DIR`` would answer for another repository); nothing is asked for of history, so shallow clones do.
Paths are POSIX, relative to the project directory, which may lie below the top level; bytes that are no UTF-8 stand as
``surrogateescape``. Submodules are listed, but their files belong to another repository; Git LFS files are their pointers.
"""

from __future__ import annotations

import os
import posixpath
import re
import subprocess
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from ci_plugin.errors import InputError, Location, Unavailable
from ci_plugin.values.pipeline import parse_commit
from ci_plugin.values.tree import Listing, TreeEntry

_LINK, _SUBMODULE = "120000", "160000"
_MOST_LINKS = 8
_DEADLINE = 300.0
"""Seconds for one git command: a partial clone may fetch a blob over the network."""
_OPTIONS = (
    # Containers of CI run as another user than the one who cloned (git 2.35.2 and later then refuse to read).
    "-c",
    "safe.directory=*",
    # A hook the repository names would be run by every status-like command.
    "-c",
    "core.fsmonitor=false",
)
_REFUSALS = {
    "dubious ownership": "git config --global --add safe.directory {directory}",
    "unsafe repository": "git config --global --add safe.directory {directory}",
    "must be run in a work tree": "run stagepin in a clone with a working tree, not in a bare repository",
}
"""What git says (always in English, exit code 128 for everything) → what to do. Anything else: there is no repository."""
_SLUG = re.compile(r"[^a-z0-9]+", re.ASCII)
_SEPARATOR = re.compile(r"\.|_|__|-+", re.ASCII)


def open_source_tree(directory: Path, *, environ: Mapping[str, str] | None = None) -> GitTree:
    """The commit checked out in ``directory``. Raises InputError where there is no git, no repository, or no commit yet."""
    git = _Git(directory.absolute(), dict(os.environ if environ is None else environ))
    if not directory.is_dir():
        raise InputError(f"expected a project directory, found none at {directory}", hint="give an existing directory with -C")
    answer = git.run("rev-parse", "--show-toplevel", "--show-prefix", "HEAD^{commit}")
    said = _text(answer.stdout).split("\n")
    if not answer.returncode and len(said) == len(("top", "prefix", "commit", "")):
        return GitTree(git, Path(said[0]), directory, parse_commit(said[2]), said[1].rstrip("/"))
    return _open_step_by_step(git, directory)


def _open_step_by_step(git: _Git, directory: Path) -> GitTree:
    """The same in three commands: to say what is wrong, and for paths that hold a line break."""
    answer = git.run("rev-parse", "--show-toplevel")
    if answer.returncode:
        raise _no_repository(directory, _text(answer.stderr))
    top = Path(_line(answer.stdout))
    prefix = _line(git.run("rev-parse", "--show-prefix").stdout).rstrip("/")
    head = git.run("rev-parse", "--verify", "--quiet", "HEAD^{commit}")
    if head.returncode:
        raise InputError(
            f"expected a git commit, found a repository without one at {top}",
            hint="git add -A && git commit -m 'first commit'",
            where=Location(str(directory)),
        )
    return GitTree(git, top, directory, parse_commit(_line(head.stdout)), prefix)


class GitTree:
    """One commit of one repository, seen from the project directory; implements ``ports.SourceTree``."""

    def __init__(self, git: _Git, top: Path, directory: Path, commit: str, prefix: str) -> None:
        self._git = git
        self._prefix = prefix
        self._commit = commit
        self._listing: Listing | None = None
        self._remote_url: str | None = None
        self._by_path: dict[str, TreeEntry] = {}
        self.top = top
        """The top level of the working tree, an absolute path."""
        self.directory = directory
        """The project directory, as it was given."""

    @property
    def commit(self) -> str:
        """The full commit id, 40 or 64 hex characters."""
        return self._commit

    def commit_date(self) -> int:
        """When the commit was made, seconds since 1970: the committer's date, as werf takes it."""
        return int(self._git.expect("show", "--no-patch", "--no-show-signature", "--format=%ct", self._commit))

    def listing(self) -> Listing:
        """Every committed file below the project directory; empty where the commit holds none of it."""
        if self._listing is None:
            self._listing = Listing.of(self._list())
            self._by_path = {entry.path: entry for entry in self._listing}
        return self._listing

    def find_file(self, path: str) -> bytes | None:
        """A committed file's bytes; a link is followed while it stays in the project. None: not committed, or not a file."""
        self.listing()
        for _ in range(_MOST_LINKS):
            path = posixpath.normpath(path)
            entry = self._by_path.get(path)
            if entry is None or entry.mode == _SUBMODULE:
                return None
            data = self.read([entry])[entry.blob]
            if entry.mode != _LINK:
                return data
            path = posixpath.join(posixpath.dirname(path), data.decode("utf-8", "surrogateescape"))
        return None

    def read(self, entries: Collection[TreeEntry]) -> Mapping[str, bytes]:
        """Blob id → bytes, by one ``cat-file --batch``; a link's bytes are its target. Raises InputError for a submodule."""
        for entry in entries:
            if entry.mode == _SUBMODULE:
                raise InputError(
                    f"expected a file, found the submodule {entry.path!r}, whose files are committed in another repository",
                    hint="leave it out (.dockerignore), or commit its files here",
                )
        blobs = sorted({entry.blob for entry in entries})
        if not blobs:
            return {}
        answer = self._git.run("cat-file", "--batch", stdin="".join(f"{blob}\n" for blob in blobs).encode("ascii"))
        found = dict(_parse_batch(answer.stdout))
        missing = [entry for entry in entries if entry.blob not in found]
        if missing:
            raise InputError(
                f"expected {missing[0].path!r} in the git repository, found its blob {missing[0].blob} missing",
                hint="clone without --filter, or repair the clone with: git fetch --refetch",
                where=Location(missing[0].path),
            )
        return found

    def uncommitted(self, paths: Collection[str]) -> Sequence[str]:
        """Which of these files and directories differ from the commit (changed, removed, new), sorted; for telling people only."""
        if not paths:
            return ()
        changed = {*self._names("diff", "--name-only", "-z", "--relative", *_PLAIN_DIFF, self._commit, "--", ".")}
        self.listing()
        if any(path not in self._by_path for path in paths):
            # A directory is asked about: what is new in it is in no diff.
            changed |= {*self._names("ls-files", "--others", "--exclude-standard", "-z")}
        return tuple(sorted(path for path in set(paths) if self._differs(posixpath.normpath(path), changed)))

    def changes(self) -> Sequence[str]:
        """Every path of the project whose file differs from the commit: changed, removed, or new and not ignored; sorted."""
        tracked = self._names("diff", "--name-only", "-z", "--relative", *_PLAIN_DIFF, self._commit, "--", ".")
        return tuple(sorted({*tracked, *self._names("ls-files", "--others", "--exclude-standard", "-z")}))

    def remote_name(self) -> str:
        """A name for the project: the last part of origin's address (never its credentials), else the directory's; a valid image name."""
        last = re.split(r"[/:\\]", self.remote_url().rstrip("/"))[-1].removesuffix(".git")
        return _slug(last) or _slug(self.directory.absolute().resolve().name) or "app"

    def remote_url(self) -> str:
        """The address of the remote ``origin`` as it is configured, which may hold credentials; empty where there is none."""
        if self._remote_url is None:
            self._remote_url = _line(self._git.run("config", "--get", "remote.origin.url").stdout)
        return self._remote_url

    def _list(self) -> Iterator[TreeEntry]:
        tree = f"{self._commit}:{self._prefix}"
        listed = self._git.run("ls-tree", "-r", "-z", "--full-tree", tree)
        if listed.returncode and self._git.run("rev-parse", "--verify", "--quiet", tree).returncode:
            return
        answer = listed.stdout if not listed.returncode else self._git.expect("ls-tree", "-r", "-z", "--full-tree", tree)
        for record in answer.split(b"\0")[:-1]:
            header, _, path = record.partition(b"\t")
            mode, _, blob = header.decode("ascii").split(" ")
            yield TreeEntry(_text(path), mode, blob)

    def _names(self, *arguments: str) -> Iterator[str]:
        return (_text(name) for name in self._git.expect(*arguments).split(b"\0")[:-1])

    def _differs(self, path: str, changed: set[str]) -> bool:
        if path == ".":
            return bool(changed)
        # A file that git ignores is in no list of changes, but it is there and not committed.
        is_new_file = path not in self._by_path and (self.directory / path).is_file()
        return path in changed or is_new_file or any(name.startswith(f"{path}/") for name in changed)


_PLAIN_DIFF = ("--no-renames", "--no-ext-diff", "--no-textconv", "--no-color", "--ignore-submodules=dirty")


class _Git:
    """Runs git in one directory with a clean environment; texts come in English, no command asks or writes."""

    def __init__(self, directory: Path, environ: Mapping[str, str]) -> None:
        self._directory = directory
        kept = {name: value for name, value in environ.items() if not name.startswith(("GIT_", "LC_", "LANG"))}
        self._environment = kept | {
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_NO_REPLACE_OBJECTS": "1",
            "GIT_OPTIONAL_LOCKS": "0",
            "GIT_TERMINAL_PROMPT": "0",
            "LC_ALL": "C",
        }

    def run(self, *arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        """What git answered, whatever its exit code. Raises InputError where there is no git, Unavailable past the deadline."""
        command = ["git", "--no-pager", "-C", str(self._directory), *_OPTIONS, *arguments]
        try:
            return subprocess.run(command, input=stdin, capture_output=True, env=self._environment, timeout=_DEADLINE, check=False)
        except FileNotFoundError:
            raise InputError(
                "expected the git command, found none in PATH", hint="install git (apt-get install git, apk add git)"
            ) from None
        except subprocess.TimeoutExpired:
            raise Unavailable(f"expected git {arguments[0]} to end within {_DEADLINE:.0f} seconds", hint="run the job again") from None

    def expect(self, *arguments: str) -> bytes:
        """The standard output of a command that has to succeed. Raises InputError with git's own words."""
        answer = self.run(*arguments)
        if answer.returncode:
            said = _text(answer.stderr).strip() or f"exit code {answer.returncode}"
            raise InputError(
                f"expected git {arguments[0]} to succeed, found: {said[:500]}",
                hint="check the clone with: git fsck",
                where=Location(str(self._directory)),
            )
        return answer.stdout


def _no_repository(directory: Path, said: str) -> InputError:
    for words, hint in _REFUSALS.items():
        if words in said:
            message = f"expected a git repository that may be read, found: {said.strip()[:300]}"
            return InputError(message, hint=hint.format(directory=directory), where=Location(str(directory)))
    return InputError(
        f"expected a git repository, found none at {directory}",
        hint="git init && git add -A && git commit -m 'first commit'",
        where=Location(str(directory)),
    )


def _parse_batch(output: bytes) -> Iterator[tuple[str, bytes]]:
    """The objects of ``cat-file --batch``: ``<id> <type> <size>LF<data>LF`` each; ``<id> missingLF`` yields nothing."""
    position = 0
    while position < len(output):
        end = output.index(b"\n", position)
        fields = output[position:end].decode("ascii").split(" ")
        position = end + 1
        if len(fields) == 3:
            size = int(fields[2])
            yield fields[0], output[position : position + size]
            position += size + 1


def _slug(text: str) -> str:
    """A path part of a repository (distribution/reference): lower-case, single separators; empty where nothing is left."""
    kept = _SLUG.sub(lambda found: found[0] if _SEPARATOR.fullmatch(found[0]) else "-", text.lower())
    return kept.strip("._-")[:100].strip("._-")


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _line(data: bytes) -> str:
    return _text(data).removesuffix("\n")
