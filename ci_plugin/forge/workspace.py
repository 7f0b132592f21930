"""The workspace: ``.stagepin/`` at the git top level, where pin file, build record and job logs lie between the steps of one job.

Rules: a file is written whole or not at all; only regular files in a real directory are read or replaced (a committed link must not
lead a write elsewhere); the directory ignores itself, so that it is never committed; documents above 16 MiB are refused unread.
What the documents mean is the business of pins/ and records/.
"""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path

from ci_plugin.errors import DocumentError, InputError, Location
from ci_plugin.values.document import LARGEST_DOCUMENT

DIRECTORY_NAME = ".stagepin"


class Workspace:
    """Reads and writes the documents of the scope at hand below ``top``, the git top level."""

    def __init__(self, top: Path) -> None:
        self.directory = top / DIRECTORY_NAME

    @property
    def pins_path(self) -> Path:
        """``.stagepin/pins.json``."""
        return self.directory / "pins.json"

    @property
    def record_path(self) -> Path:
        """``.stagepin/build.json``."""
        return self.directory / "build.json"

    @property
    def log_directory(self) -> Path:
        """``.stagepin/logs``; ``start_log`` makes it."""
        return self.directory / "logs"

    def read_pins(self) -> bytes | None:
        """The pin file's bytes, None where there is none. Raises DocumentError where it is no regular file or too large."""
        return self._read(self.pins_path)

    def read_record(self) -> bytes | None:
        """The build record's bytes, None where there is none. Raises DocumentError where it is no regular file or too large."""
        return self._read(self.record_path)

    def write_pins(self, data: bytes) -> None:
        """Replace the pin file. Raises InputError."""
        self._prepare(self.directory)
        write_whole(self.pins_path, data)

    def write_record(self, data: bytes) -> None:
        """Replace the build record. Raises InputError."""
        self._prepare(self.directory)
        write_whole(self.record_path, data)

    def open_directory(self, name: str) -> Path:
        """A directory of ours below ``.stagepin/``, made where there is none. Raises InputError, DocumentError for what is no directory."""
        self._prepare(self.directory)
        self._prepare(self.directory / name)
        return self.directory / name

    def start_log(self, image: str, stage: str) -> Path:
        """An empty job log to append to, ``IMAGE-STAGE.log``. Raises InputError."""
        self._prepare(self.directory)
        self._prepare(self.log_directory)
        # "+" is in no image name, so no two images share a log.
        path = self.log_directory / f"{image.replace('/', '+') or '+'}-{stage}.log"
        write_whole(path, b"")
        return path

    def _read(self, path: Path) -> bytes | None:
        if not _is_directory(self.directory):
            return None
        return read_document(path)

    def _prepare(self, directory: Path) -> None:
        try:
            directory.mkdir(exist_ok=True)
        except OSError as error:
            raise _refused(directory, error) from None
        _is_directory(directory)
        ignore = self.directory / ".gitignore"
        if not ignore.exists():
            write_whole(ignore, b"*\n")


def read_document(path: Path) -> bytes | None:
    """A regular file's bytes, None where nothing is there. Raises DocumentError for a link, FIFO, directory or more than 16 MiB."""
    try:
        # O_NONBLOCK: opening a FIFO that nobody writes to must not hang.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        if path.is_symlink():
            raise _no_regular_file(path, "a symbolic link") from None
        raise _refused(path, error) from None
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise _no_regular_file(path, _kind(status.st_mode))
    with os.fdopen(descriptor, "rb") as file:
        data = file.read(LARGEST_DOCUMENT + 1)
    if len(data) > LARGEST_DOCUMENT:
        raise DocumentError(
            f"expected a document of at most {LARGEST_DOCUMENT} bytes, found {status.st_size}",
            hint="remove the file; stagepin writes it again",
            where=Location(str(path)),
        )
    return data


def write_whole(path: Path, data: bytes) -> None:
    """Replace a file by these bytes, or leave it as it was; its directory has to exist. Raises InputError.

    The bytes go to a file beside it, reach the disk, and take the name in one step; whatever stops that removes the file beside it.
    """
    _refuse_special(path)
    temporary = path.with_name(f".{path.name[:100]}.{secrets.token_hex(8)}")
    try:
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise _refused(path, error) from None


def check_writable(path: Path) -> None:
    """Raise the InputError that ``write_whole`` would raise, as far as it can be known; nothing is left behind."""
    _refuse_special(path)
    probe = path.with_name(f".{path.name[:100]}.{secrets.token_hex(8)}")
    try:
        os.close(os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666))
        probe.unlink()
    except OSError as error:
        raise _refused(path, error) from None


def _refuse_special(path: Path) -> None:
    # Replacing /dev/stdout or a link would replace the name, not what it leads to.
    try:
        mode = path.lstat().st_mode
    except OSError:
        return
    if not stat.S_ISREG(mode):
        raise InputError(
            f"expected a regular file to write to, found {_kind(mode)}",
            hint="give the path of a file that may be replaced",
            where=Location(str(path)),
        )


def _is_directory(path: Path) -> bool:
    """False where nothing is there. Raises DocumentError for anything but a real directory."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return False
    except OSError as error:
        raise _refused(path, error) from None
    if not stat.S_ISDIR(mode):
        raise DocumentError(
            f"expected a directory of stagepin's own, found {_kind(mode)}",
            hint=f"remove it: rm {path}",
            where=Location(str(path)),
        )
    return True


def _no_regular_file(path: Path, kind: str) -> DocumentError:
    return DocumentError(
        f"expected a regular file, found {kind}",
        hint="remove it; stagepin writes the file again",
        where=Location(str(path)),
    )


def _kind(mode: int) -> str:
    kinds = {stat.S_IFLNK: "a symbolic link", stat.S_IFDIR: "a directory", stat.S_IFIFO: "a FIFO", stat.S_IFREG: "a file"}
    return kinds.get(stat.S_IFMT(mode), "a device or socket")


def _refused(path: Path, error: OSError) -> InputError:
    return InputError(
        f"expected {path} to be readable and writable, found: {error.strerror or type(error).__name__}",
        hint="make its directory first (mkdir -p)"
        if isinstance(error, FileNotFoundError)
        else "check the free space and the owner of this directory (df, ls -ld)",
        where=Location(str(path)),
    )
