"""The objects of one repository: a commit's entries, and blobs one after another with never more than one of them in memory."""

from __future__ import annotations

import os
import select
import subprocess
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import IO

from ci_plugin.errors import Unavailable
from ci_plugin.git.command import DEADLINE, Git, no_git, text, too_slow
from ci_plugin.values.tree import Listing, TreeEntry

_CHUNK, _LEAST = 1 << 20, 1 << 16
"""Bytes asked for at once, at most and at least."""
_LEAST_PIPE = 4096
"""Bytes that go into a pipe nobody reads yet, whatever the system's limits are (pipe(7), pipe-user-pages-soft)."""


def list_files(git: Git, tree: str) -> Listing | None:
    """Every file of a tree-ish such as ``<commit>:<directory>``; None where the repository has no such tree.

    Raises InputError where git fails for another reason.
    """
    listed = git.run("ls-tree", "-r", "-z", "--full-tree", tree)
    if listed.returncode and git.run("rev-parse", "--verify", "--quiet", tree).returncode:
        return None
    return _parse_listing(listed.stdout if not listed.returncode else git.expect("ls-tree", "-r", "-z", "--full-tree", tree))


def _parse_listing(output: bytes) -> Listing:
    """``<mode> <type> <id>TAB<path>NUL`` each, by the bytes of the path, which is the order of text that is UTF-8."""
    has_submodules = output.startswith(b"160000 ") or b"\x00160000 " in output
    try:
        records = output.decode("utf-8").split("\0")
    except UnicodeDecodeError:
        return Listing.of(_parse_entry(record) for record in text(output).split("\0")[:-1])
    records.pop()
    return Listing.of(map(_parse_entry, records)) if has_submodules else Listing.of_records(records)


def _parse_entry(record: str) -> TreeEntry:
    header, _, path = record.partition("\t")
    mode, _, blob = header.split(" ")
    return TreeEntry(path, mode, blob)


def read_blobs(git: Git, blobs: Iterable[str]) -> Generator[tuple[str, bytes | None], None, None]:
    """Each of these objects in their order with its bytes, None where the repository lacks it; one process for all of them.

    Raises Unavailable where git says nothing for longer than its deadline, or ends before its answer does.
    """
    asked = list(blobs)
    with _requests("".join([f"{blob}\n" for blob in asked]).encode("ascii")) as requests, _started(git, requests) as output:
        answers = _Answers(output)
        for _ in asked:
            fields = answers.line().split(" ")
            yield fields[0], answers.data(int(fields[2])) if len(fields) == len(("id", "type", "size")) else None


def _requests(lines: bytes) -> IO[bytes]:
    """A file that holds these lines: nobody has to write while answers are read."""
    if len(lines) <= _LEAST_PIPE:
        reader, writer = os.pipe()
        os.write(writer, lines)
        os.close(writer)
        return os.fdopen(reader, "rb")
    import tempfile  # here: it takes longer to import than git takes for the few files of most commands

    requests = tempfile.TemporaryFile()  # noqa: SIM115 - whoever asked closes it
    requests.write(lines)
    requests.seek(0)
    return requests


@contextmanager
def _started(git: Git, requests: IO[bytes]) -> Iterator[IO[bytes]]:
    """``cat-file --batch`` over these requests; it is ended with the block, whatever was read of it."""
    command = git.command("cat-file", "--batch", "--buffer")
    try:
        process = subprocess.Popen(command, stdin=requests, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=git.environment)
    except FileNotFoundError:
        raise no_git() from None
    try:
        if process.stdout is not None:
            yield process.stdout
    finally:
        process.kill()
        if process.stdout is not None:
            process.stdout.close()
        process.wait()


class _Answers:
    """What ``cat-file --batch`` writes: ``<id> <type> <size>LF<data>LF`` for an object, ``<id> missingLF`` for none."""

    def __init__(self, output: IO[bytes]) -> None:
        self._descriptor = output.fileno()
        self._poll = select.poll()
        self._poll.register(output, select.POLLIN)
        self._chunk, self._position = b"", 0

    def line(self) -> str:
        """The next header."""
        header = b""
        while (end := self._chunk.find(b"\n", self._position)) < 0:
            header += self._chunk[self._position :]
            self._fill(_CHUNK)
        header += self._chunk[self._position : end]
        self._position = end + 1
        return header.decode("ascii")

    def data(self, size: int) -> bytes:
        """The next ``size`` bytes; the line break after them is taken too."""
        whole = BytesIO()  # gives its bytes without a copy of them
        for piece in self._take(size):
            whole.write(piece)
        _ = [*self._take(1)]
        return whole.getvalue()

    def _take(self, size: int) -> Iterator[bytes]:
        while size > 0:
            if self._position == len(self._chunk):
                self._fill(min(max(size, _LEAST), _CHUNK))
            piece = self._chunk[self._position : self._position + size]
            self._position += len(piece)
            size -= len(piece)
            yield piece

    def _fill(self, size: int) -> None:
        if not self._poll.poll(DEADLINE * 1000):
            raise too_slow(("cat-file",))
        self._chunk, self._position = os.read(self._descriptor, size), 0
        if not self._chunk:
            message = "expected git cat-file to give every object, found its answer cut short"
            raise Unavailable(message, hint="check the clone with: git fsck")
