"""Pin file and build record in a git ref of the project on GitHub: ``ports.PinStore`` over its git database.

``refs/stagepin/<12 hex>`` names a commit whose tree holds ``pins.json`` and, in a later commit, ``build.json``; both can be read with
``git show``. Creating a ref that exists is refused (201, then 422 "Reference already exists"), and a ref moves by fast-forward only: so
the first pins stay, whoever races. Clones do not fetch the ref, and no workflow starts on it.

Rules: what a reply said or whether it came at all is never trusted; the ref is read again. A ref that exists and whose commit cannot be
read yet is a replica lagging behind, which is Unavailable, never absence.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from ci_plugin.errors import DocumentError, Location, Unavailable
from ci_plugin.retry import RetryPolicy
from ci_plugin.values.document import LARGEST_DOCUMENT
from ci_plugin.values.pipeline import ScopeKey

PINS_FILE = "pins.json"
RECORD_FILE = "build.json"
_LAG_SECONDS = 5.0


class GitDatabase(Protocol):
    """GitHub's REST API "Git database" of one repository, one request a method. Raises AccessDenied, Unavailable; 404 is None.

    Ids are those of git objects, 40 hex characters. ``ref`` is the name below ``refs/``, such as ``stagepin/0123456789ab``.
    """

    @property
    def name(self) -> str:
        """``host/owner/repository``, for messages."""
        ...

    def find_ref(self, ref: str) -> str | None:
        """The commit a ref names."""
        ...

    def create_ref(self, ref: str, commit: str) -> bool:
        """Make the ref; False where it exists already."""
        ...

    def advance_ref(self, ref: str, commit: str) -> bool:
        """Move the ref forward; False where the commit does not descend from what the ref names now."""
        ...

    def find_tree(self, commit: str) -> str | None:
        """The tree of a commit."""
        ...

    def find_files(self, tree: str) -> Mapping[str, str] | None:
        """File name → blob, of a tree's top."""
        ...

    def find_blob(self, blob: str) -> bytes | None:
        """A blob's bytes."""
        ...

    def write_blob(self, data: bytes) -> str:
        """Store bytes; returns the blob's id."""
        ...

    def write_tree(self, files: Mapping[str, str]) -> str:
        """Store a tree of regular files, name → blob; returns its id."""
        ...

    def write_commit(self, tree: str, parents: tuple[str, ...], message: str) -> str:
        """Store a commit; returns its id."""
        ...


class GitRefStore:
    """The pins and records kept as refs of one repository."""

    def __init__(self, database: GitDatabase, retry: RetryPolicy) -> None:
        self._git = database
        self._retry = retry

    @property
    def name(self) -> str:
        """``git ref on HOST/OWNER/REPOSITORY``."""
        return f"git ref on {self._git.name}"

    @property
    def guarantee(self) -> str:
        """What may be relied on."""
        return (
            "create-if-absent: of any number of pin jobs one wins and all adopt it, over re-runs of failed and of all jobs; "
            "kept until somebody deletes the ref"
        )

    @property
    def lag(self) -> float:
        """GitHub answers reads from replicas."""
        return _LAG_SECONDS

    def find_pins(self, key: ScopeKey) -> bytes | None:
        """The pin file, or None. Raises DocumentError where the ref holds something else, Unavailable where it cannot be read yet."""
        return self._retry.run(lambda: self._pins(key, self._git.find_ref(_ref(key))))

    def create_pins(self, key: ScopeKey, document: bytes) -> bytes:
        """Create the ref unless it exists, then read what it holds. Raises Unavailable where that cannot be read."""
        _expect_small(document, PINS_FILE, Location(self.name))
        written: list[str] = []

        def attempt() -> bytes:
            # Every try begins by looking: an earlier one of ours may have arrived although its reply did not.
            found = self._pins(key, self._git.find_ref(_ref(key)))
            if found is not None:
                return found
            if not written:
                written.append(self._write({PINS_FILE: self._git.write_blob(document)}, (), f"stagepin: pins of {key.scope}"))
            created = self._git.create_ref(_ref(key), written[0])
            winner = self._git.find_ref(_ref(key))
            pins = self._pins(key, winner)
            if pins is None:
                did = "creating it" if created else "being refused to create it"
                raise self._lagging(key, f"expected refs/{_ref(key)} on {self._git.name} after {did}, found none yet")
            return pins

        return self._retry.run(attempt)

    def find_record(self, key: ScopeKey) -> bytes | None:
        """The build record, or None where the scope has none."""
        return self._retry.run(lambda: self._file(key, self._git.find_ref(_ref(key)), RECORD_FILE))

    def put_record(self, key: ScopeKey, document: bytes, pins: bytes) -> bool:
        """File the record in a commit on top of the pins'; False where the ref holds other pins."""
        _expect_small(document, RECORD_FILE, Location(self.name))
        if self.create_pins(key, pins) != pins:
            return False
        self._retry.run(lambda: self._advance(key, document))
        return True

    def _advance(self, key: ScopeKey, document: bytes) -> None:
        tip = self._git.find_ref(_ref(key))
        files = None if tip is None else self._files(tip)
        if tip is None or files is None or PINS_FILE not in files:
            raise self._lagging(key)
        record = self._git.write_blob(document)
        if files.get(RECORD_FILE) == record:
            return
        commit = self._write({PINS_FILE: files[PINS_FILE], RECORD_FILE: record}, (tip,), f"stagepin: build record of {key.scope}")
        if not self._git.advance_ref(_ref(key), commit):
            message = f"expected to move refs/{_ref(key)} on {self._git.name} forward, found that another job was first"
            raise Unavailable(message, hint="run the job again")

    def _write(self, files: Mapping[str, str], parents: tuple[str, ...], message: str) -> str:
        return self._git.write_commit(self._git.write_tree(files), parents, message)

    def _pins(self, key: ScopeKey, commit: str | None) -> bytes | None:
        pins = self._file(key, commit, PINS_FILE)
        if pins is None and commit is not None:
            where = Location(f"{self._git.name} refs/{_ref(key)}")
            hint = "somebody else wrote this ref; delete it, then run the pin job again"
            raise DocumentError(f"expected a pin set of stagepin, found no {PINS_FILE} in the ref", hint=hint, where=where)
        return pins

    def _file(self, key: ScopeKey, commit: str | None, name: str) -> bytes | None:
        if commit is None:
            return None
        files = self._files(commit)
        if files is None:
            raise self._lagging(key)
        if name not in files:
            return None
        data = self._git.find_blob(files[name])
        if data is None:
            raise self._lagging(key)
        _expect_small(data, name, Location(f"{self._git.name} refs/{_ref(key)}"))
        return data

    def _files(self, commit: str) -> Mapping[str, str] | None:
        tree = self._git.find_tree(commit)
        return None if tree is None else self._git.find_files(tree)

    def _lagging(self, key: ScopeKey, message: str = "") -> Unavailable:
        message = message or f"expected to read what refs/{_ref(key)} on {self._git.name} names, found it not there yet"
        return Unavailable(message, hint="GitHub's replicas lag behind each other; run the job again")


def _expect_small(data: bytes, name: str, where: Location) -> None:
    if len(data) > LARGEST_DOCUMENT:
        message = f"expected a {name} of at most {LARGEST_DOCUMENT} bytes, found {len(data)}"
        raise DocumentError(message, hint="split the configuration into several projects, or delete what somebody else wrote", where=where)


def _ref(key: ScopeKey) -> str:
    return f"stagepin/{key.short_hash}"
