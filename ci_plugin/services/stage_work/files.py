"""SYNC: make the mapped files of an image those of the commit, starting from what the parent's listing says git put there.

Rules (DESIGN.md §6.3): nothing is asked of git's history, so a parent from an unrelated branch and a shallow clone do; one layer holds the
difference; where there is none, only the config changes. The listing of a stage is what *git* put there, also where the commands of that
stage wrote over one of these files: the next SYNC writes such a file when git has another one, and leaves it alone until then. The files no
user stage writes are therefore always exactly those of the commit; the others are the user's, and a finding says so.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter

from ci_plugin.conveyor.stage import RunCommands
from ci_plugin.errors import AnswerIsNo, Gone
from ci_plugin.ports import Engine, FileChanges, ImageChange, LayerFile, PathChange, SourceTree, StagesStorage
from ci_plugin.services.stage_work.spool import Kept, Spool
from ci_plugin.values.canonical import sha256_hex
from ci_plugin.values.digest import ImageId
from ci_plugin.values.finding import Finding, Severity
from ci_plugin.values.image_listing import ImageListing, MappedFile, parse_image_listing
from ci_plugin.values.tree import TreeEntry

SourceTrees = Callable[[str], SourceTree]
"""The key of a repository (``image_listing.OWN``: the project's) → its files at the commit that is built from."""

WRITES_TRACKED = "stage-writes-tracked"
"""The rule a user stage breaks that writes mapped files outside its ``stageDependencies``."""

_LINK, _EXECUTABLE = "120000", "100755"
_MOST_TOLD = 5


class Listings:
    """The listings of one run: each is kept in the storage once."""

    def __init__(self, storage: StagesStorage) -> None:
        self._storage = storage
        self._names: dict[str, str] = {}
        self._lock = threading.Lock()

    def keep(self, listing: ImageListing) -> str:
        """Keep a listing; the name by which a later run finds it."""
        data = listing.to_document()
        key = sha256_hex(data)
        with self._lock:
            known = self._names.get(key)
        if known is None:
            known = self._storage.put_document(data)
            with self._lock:
                self._names[key] = known
        return known

    def get(self, name: str) -> ImageListing:
        """The listing of that name; no name is the empty one. Raises Gone where it is absent or no listing: that stage is lost."""
        if not name:
            return ImageListing()
        try:
            data = self._storage.find_document(name)
            listing = parse_image_listing(data) if data is not None else None
            found = "nothing" if listing is None else f"{len(listing)} files"
        except (AnswerIsNo, ValueError, TypeError) as error:
            listing, found = None, f"something else: {error}"
        if listing is None:
            raise Gone(f"expected the listing {name} in the storage, found {found}", hint="the stage it belongs to is built anew")
        return listing


@dataclass(frozen=True, slots=True)
class Git:
    """Where SYNC takes bytes from. ``modified`` gives the time all files get, seconds since 1970, that of the commit.

    One time for all is what makes a changed file's time change (Python takes a stale ``.pyc`` where time and size are the same).
    """

    sources: SourceTrees
    modified: Callable[[], int] = int


def sync_files(files: ImageListing, before: ImageListing, parent: ImageId, change: ImageChange | None, git: Git, engine: Engine) -> ImageId:
    """The child of ``parent``, which holds ``before``, that holds ``files``: one layer, or where they are the same only ``change``.

    Without a ``change`` and a difference it is the parent itself.
    """
    difference = files.change_from(before)
    if not difference.written and not difference.removed:
        return engine.derive(parent, change).id if change else parent
    # What git never made alone, such as /tmp or /opt, is not git's to remove when its last file of git's is gone.
    emptied = tuple(path for path in difference.emptied if path.count("/") > 1)
    modified = git.modified()
    with Spool() as spool:
        written = [_layer_file(file, kept, modified) for file, kept in _read(difference.written, git.sources, spool)]
        made = tuple(_directories(difference.written, before, modified))
        return engine.put_files(parent, FileChanges(difference.removed, emptied, written, made), change or ImageChange()).id


def _directories(written: Sequence[MappedFile], before: ImageListing, modified: int) -> Iterator[LayerFile]:
    """The directories that files with an owner bring along; what was there before git came is not git's to give away."""
    seen = set(before.directories)
    for file in written:
        for path in file.owned_directories:
            if path not in seen:
                seen.add(path)
                yield LayerFile(path, "directory", 0o755, owner=file.owner, group=file.group, modified=modified)


def _read(files: Sequence[MappedFile], sources: SourceTrees, spool: Spool) -> Iterator[tuple[MappedFile, Kept]]:
    """Every file with its bytes, of which those of one file at a time are in memory."""
    for repository, some in groupby(sorted(files, key=attrgetter("repository")), attrgetter("repository")):
        mapped = list(some)
        entries = [TreeEntry(file.source, file.mode, file.blob) for file in mapped]
        for file, (_, data) in zip(mapped, sources(repository).read_each(entries), strict=True):
            yield file, spool.keep(io.BytesIO(data))


def _layer_file(file: MappedFile, kept: Kept, modified: int) -> LayerFile:
    if file.mode == _LINK:
        with kept.open() as data:
            target = data.read().decode("utf-8", "surrogateescape")
        return LayerFile(file.path, "symlink", 0o777, target=target, owner=file.owner, group=file.group, modified=modified)
    permissions = 0o755 if file.mode == _EXECUTABLE else 0o644
    return LayerFile(file.path, "file", permissions, kept.size, kept.open, owner=file.owner, group=file.group, modified=modified)


def tracked_writes(work: RunCommands, changes: Sequence[PathChange]) -> tuple[str, ...]:
    """The mapped files outside ``depended`` that the commands changed, sorted."""
    mapped: Mapping[str, MappedFile] = work.files.by_path if work.files else {}
    return tuple(sorted({change.path for change in changes if change.path in mapped and change.path not in work.depended}))


def tracked_finding(image: str, stage: str, paths: Sequence[str]) -> Finding:
    """What is told once of a stage whose commands write what git put there: its change in git would not run the stage again."""
    left = f" and {len(paths) - _MOST_TOLD} more" if len(paths) > _MOST_TOLD else ""
    count = "1 file" if len(paths) == 1 else f"{len(paths)} files"
    message = (
        f"stage {stage!r} of image {image!r} writes {count} from git that it does not depend on: {', '.join(paths[:_MOST_TOLD])}{left}; "
        "when git changes one of them, the stage's version of it is lost"
    )
    hint = f"add the paths to `git.stageDependencies.{stage}`, or write elsewhere; instead of chown give the mapping `owner` and `group`"
    return Finding(WRITES_TRACKED, Severity.WARNING, message, None, hint)
