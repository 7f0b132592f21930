"""Imports: read files of another image, choose among them, and say where they go.

Rules: ``add: /a/b`` with ``to: /c`` puts a file at ``/c``, and of a directory all that is in it below ``/c``, beside what is there. Globs
choose below ``add``; one that takes a directory takes all below it. A taken directory comes with its metadata (also ``to`` itself, unless
it is the root or globs were given); a directory above a taken file alone is made as any other that is missing. Links are taken as links; of
``add`` that is itself a link to a directory, the directory is taken. A hard link to a file that is taken too stays one, any other becomes
the file it is. Permissions come whole, owners by their numbers unless they were named. What is neither file nor link nor directory is left
out and told, and so are extended attributes (capabilities).
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from tarfile import TarInfo
from typing import IO

from ci_plugin.config.parts import Selection
from ci_plugin.config.selecting import Selector
from ci_plugin.errors import AnswerIsNo, Gone, Location
from ci_plugin.ports import Engine, LayerFile
from ci_plugin.services.stage_work.spool import Kept, Spool
from ci_plugin.values.canonical import Value
from ci_plugin.values.digest import ImageId

_ATTRIBUTE = "SCHILY.xattr."
"""What the name of a tar's extended attribute begins with."""
_MOST_TOLD = 5
_MOST_LINKS = 8


@dataclass(frozen=True, slots=True)
class Taken:
    """One path to write, and the sha256 of its bytes where it is a file."""

    file: LayerFile
    sha256: str = ""

    @property
    def content(self) -> Value:
        """What it is, without the time it was made: a rebuilt source whose files are equal gives equal values."""
        file = self.file
        return (file.path, file.kind, file.permissions, self.sha256, file.target, file.owner, file.group)


@dataclass(frozen=True, slots=True)
class ImportReader:
    """Reads imports into a spool; ``tell`` gets a sentence about what was left out."""

    engine: Engine
    spool: Spool
    tell: Callable[[str], None]

    def read(self, image: ImageId, source: str, files: Selection, where: Location) -> tuple[Taken, ...]:
        """What one import takes of an image; ``source`` names it in messages.

        Raises AnswerIsNo where the image has no such path. That globs leave nothing of it is told.
        """
        reading = _Reading(self, image, files, Selector(files, where))
        try:
            taken = tuple(reading.run())
        except Gone as error:
            if error is not reading.absent:
                raise
            hint = "check `add`, and that the stage of the source the import names makes it"
            raise AnswerIsNo(f"expected {files.add} in {source} to import it, found nothing there", hint=hint, where=where) from None
        import_ = f"the import of {files.add} from {source}"
        if reading.skipped:
            self.tell(f"{import_} leaves out {_listed(reading.skipped)}: no file, link or directory ({where})")
        if reading.attributed:
            self.tell(f"{import_} takes {_listed(reading.attributed)} without extended attributes, such as capabilities ({where})")
        if not taken:
            self.tell(f"{import_} takes nothing: includePaths and excludePaths leave none of it ({where})")
        return taken


class _Reading:
    """One import being read; ``absent`` is what says that ``add`` is not there."""

    def __init__(self, reader: ImportReader, image: ImageId, files: Selection, selector: Selector) -> None:
        self._reader, self._image, self._files, self._selector = reader, image, files, selector
        self._kept: dict[str, str] = {}
        """Path in the source of a taken file → its path in the image."""
        self.skipped: list[str] = []
        self.attributed: list[str] = []
        self.absent: Gone | None = None

    def run(self) -> Iterator[Taken]:
        links: list[TarInfo] = []
        is_there = False
        try:
            opened = self._reader.engine.read_files(self._image, self._files.add)
            with opened as members:
                is_there = True
                for member, data in members:
                    if not self._takes(member):
                        continue
                    if member.issym() and not self._relative(member.name) and (directory := self._directory_behind(member)):
                        self._files = replace(self._files, add=directory)
                        yield from self.run()
                    elif member.islnk():
                        links.append(member)
                    else:
                        yield from self._take(member, data)
        except Gone as error:
            self.absent = None if is_there else error
            raise
        for member in links:
            yield self._link(member)

    def _directory_behind(self, link: TarInfo) -> str | None:
        """The directory that ``add`` leads to, None where it leads to a file or nowhere."""
        path = self._files.add
        for _ in range(_MOST_LINKS):
            path = posixpath.normpath(posixpath.join(posixpath.dirname(path), link.linkname))
            try:
                with self._reader.engine.read_files(self._image, path) as members:
                    link, _ = next(members)
            except Gone:
                return None
            if not link.issym():
                break
        return path if link.isdir() else None

    def _takes(self, member: TarInfo) -> bool:
        path = self._relative(member.name)
        if member.isdir() and not path:
            return not self._files.include and self._files.to != "/"
        return self._selector.takes(path)

    def _take(self, member: TarInfo, data: IO[bytes] | None) -> Iterator[Taken]:
        path = self._relative(member.name)
        target = self._selector.target(path)
        if any(name.startswith(_ATTRIBUTE) for name in member.pax_headers):
            self.attributed.append(self._source(member.name))
        if member.isdir():
            yield Taken(self._file(target, "directory", member))
        elif member.issym():
            yield Taken(replace(self._file(target, "symlink", member), target=member.linkname))
        elif member.isreg() and data is not None:
            self._kept[path] = target
            yield self._keep(target, member, data)
        else:
            self.skipped.append(self._source(member.name))

    def _link(self, member: TarInfo) -> Taken:
        """A hard link: to the file as it is taken, else the file itself, and then later links are links to it."""
        target, linked = self._selector.target(self._relative(member.name)), self._relative(member.linkname)
        if linked in self._kept:
            return Taken(replace(self._file(target, "hardlink", member), target=self._kept[linked]))
        self._kept[linked] = target
        with self._reader.engine.read_files(self._image, self._source(member.linkname)) as members:
            for file, data in members:
                if data is not None:
                    return self._keep(target, file, data)
        raise Gone(f"expected the file {self._source(member.linkname)} of a hard link, found none")

    def _keep(self, target: str, member: TarInfo, data: IO[bytes]) -> Taken:
        kept: Kept = self._reader.spool.keep(data)
        return Taken(replace(self._file(target, "file", member), size=kept.size, open=kept.open), kept.sha256)

    def _file(self, target: str, kind: str, member: TarInfo) -> LayerFile:
        owner, group = self._files.owner, self._files.group
        return LayerFile(
            target,
            kind,  # type: ignore[arg-type]
            0o777 if kind == "symlink" else member.mode & 0o7777,
            owner=str(member.uid) if owner is None else owner,
            group=str(member.gid) if group is None else group,
            modified=int(member.mtime),
        )

    def _relative(self, name: str) -> str:
        """The path below ``add``; names in the archive begin with the last part of ``add``."""
        path = self._source(name)
        add = self._files.add.rstrip("/")
        return path[len(add) :].lstrip("/")

    def _source(self, name: str) -> str:
        """The absolute path in the source."""
        above = posixpath.dirname(self._files.add.rstrip("/")) or "/"
        return posixpath.normpath(posixpath.join(above, name.lstrip("/")))


def _listed(paths: Sequence[str]) -> str:
    return ", ".join(paths[:_MOST_TOLD]) + (f" and {len(paths) - _MOST_TOLD} more" if len(paths) > _MOST_TOLD else "")


def merged(imports: Iterable[Iterable[Taken]]) -> tuple[Taken, ...]:
    """All of them as one layer: of two at one path the later stands, and what was linked to the earlier one keeps its content."""
    whole: dict[str, Taken] = {}
    for taken in imports:
        files = {item.file.path: item for item in taken}
        for path, item in tuple(whole.items()):
            if item.file.kind == "hardlink" and item.file.target in files and path not in files:
                original = whole[item.file.target]
                whole[path] = replace(original, file=replace(original.file, path=path))
        for path, item in files.items():
            whole.pop(path, None)  # to its new place in the order: a link comes after what it links to
            whole[path] = item
    return tuple(whole.values())
