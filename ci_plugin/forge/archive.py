"""One named file out of a zip archive that somebody else made: in memory, nothing is ever extracted.

Rules, from threats-and-faults T4 (GHSA-6q32-hq47-5qq3, GHSA-cxww-7g56-2vh6): an archive that a cautious tool would not unpack is refused
whole, whichever member is asked for, because nobody honest made it.

- It is a zip from its first byte to its last (APPNOTE.TXT 4.3): entries lie one behind the other without gap or overlap, then the central
  directory, then its end; no comment, no second disk, no zip64 (documents are small, so its fields could only lie).
- Every local header says what the central directory says; a data descriptor too.
- Members are regular files and directories, stored or deflated, not encrypted, without set-user-ID; names are relative, in UTF-8, without
  control characters, backslashes, drive letters, ``..``, and no two are one name to a file system that folds case.
- At most 10,000 members, 256 MiB in all when unpacked (declared), and 200 bytes out of one byte in.
"""

from __future__ import annotations

import re
import stat
import struct
import unicodedata
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from ci_plugin.errors import DocumentError, Location

MOST_MEMBERS = 10_000
LARGEST_TOTAL = 256 * 1024 * 1024
"""Bytes, unpacked."""
LARGEST_RATIO = 200
_RATIO_FROM = 1024 * 1024
_LONGEST_NAME = 1024
_STORED, _DEFLATED = 0, 8
_ENCRYPTED = 0x0001 | 0x0040 | 0x2000
_HAS_DESCRIPTOR = 0x0008
_KNOWN_FLAGS = 0x0006 | _HAS_DESCRIPTOR | 0x0800
"""Deflate's level, a data descriptor, names in UTF-8 (APPNOTE.TXT 4.4.4)."""
_REFUSED_EXTRAS = {0x0001: "zip64 sizes", 0x7075: "a second name", 0x9901: "encryption"}
_END = struct.Struct("<4s4H2LH")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")
_DESCRIPTOR = struct.Struct("<3L")
_DESCRIPTOR_MARK = b"PK\x07\x08"
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_DRIVE = re.compile(r"[A-Za-z]:")


def is_zip(data: bytes) -> bool:
    """Whether the bytes begin as a zip archive does; JSON never does."""
    return data.startswith((b"PK\x03\x04", b"PK\x05\x06"))


def read_member(data: bytes, name: str, *, limit: int, archive: str = "the archive") -> bytes | None:
    """The member of exactly that name, at most ``limit`` bytes of it; None where the archive has none.

    ``archive`` is what messages call it. Raises DocumentError for an archive nobody should trust.
    """
    try:
        members = list(_members(data))
        _check_together(members)
        wanted = next((member for member in members if member.name == name), None)
        return None if wanted is None else _unpack(data, wanted, limit)
    except _Refused as refusal:
        raise DocumentError(
            f"expected a zip archive as the CI makes it, found {refusal}",
            hint="do not unpack it; find out which job uploaded it, delete it, then run that job again",
            where=Location(archive),
        ) from None


class _Refused(ValueError):
    """What is wrong with the archive, in words."""


@dataclass(frozen=True, slots=True)
class _Member:
    """One entry; ``start`` and ``end`` are offsets of its packed bytes, sizes are in bytes."""

    name: str
    method: int
    crc: int
    packed: int
    size: int
    start: int

    @property
    def end(self) -> int:
        return self.start + self.packed


@dataclass(frozen=True, slots=True)
class _Entry:
    """One header of the central directory, and where the local one is."""

    flags: int
    method: int
    crc: int
    packed: int
    size: int
    name: bytes
    mode: int
    offset: int


def _members(data: bytes) -> Iterator[_Member]:
    """Every member, proved to tile the bytes before the central directory."""
    directory, count = _find_directory(data)
    entries = sorted(_entries(data, directory, count), key=lambda entry: entry.offset)
    position = 0
    for entry in entries:
        if entry.offset != position:
            raise _Refused(f"members that overlap or leave a gap at byte {min(entry.offset, position)}")
        member = _locate(data, entry, directory)
        position = _after(data, entry, member, directory)
        yield member
    if position != directory:
        raise _Refused(f"{directory - position} bytes that belong to no member")


def _find_directory(data: bytes) -> tuple[int, int]:
    """Offset of the central directory, and how many entries it has."""
    if not is_zip(data):
        raise _Refused("one that does not begin as one" if data else "no bytes")
    if len(data) < _END.size or data[-_END.size : -_END.size + 4] != b"PK\x05\x06":
        raise _Refused("one that was cut, or goes on behind its end")
    _, disk, first_disk, here, count, size, offset, comment = _END.unpack_from(data, len(data) - _END.size)
    if disk or first_disk or here != count or comment:
        raise _Refused("one of several disks, or with a comment")
    if count > MOST_MEMBERS:
        raise _Refused(f"{count} members or more, where {MOST_MEMBERS} are the most")
    if offset + size != len(data) - _END.size:
        raise _Refused("a directory that is not where its end says, or zip64 fields")
    return offset, count


def _entries(data: bytes, position: int, count: int) -> Iterator[_Entry]:
    end = len(data) - _END.size
    for _ in range(count):
        if position + _CENTRAL.size > end or data[position : position + 4] != b"PK\x01\x02":
            raise _Refused("a directory with fewer entries than it says")
        _, _, _, flags, method, _, _, crc, packed, size, name, extra, comment, disk, _, attributes, offset = _CENTRAL.unpack_from(
            data, position
        )
        position += _CENTRAL.size
        rest = data[position : position + name + extra + comment]
        position += name + extra + comment
        if disk or position > end:
            raise _Refused("an entry on another disk or behind the end")
        _check_extra(rest[name : name + extra])
        yield _Entry(flags, method, crc, packed, size, rest[:name], attributes >> 16, offset)
    if position != end:
        raise _Refused("a directory with more entries than it says")


def _locate(data: bytes, entry: _Entry, directory: int) -> _Member:
    """The member behind an entry, after comparing both headers."""
    name = _check_entry(entry)
    if entry.offset + _LOCAL.size > directory:
        raise _Refused(f"an entry without a member: {name!r}")
    mark, _, flags, method, _, _, crc, packed, size, name_length, extra_length = _LOCAL.unpack_from(data, entry.offset)
    begin = entry.offset + _LOCAL.size
    start = begin + name_length + extra_length
    told = (crc, packed, size)
    later = bool(entry.flags & _HAS_DESCRIPTOR) and told == (0, 0, 0)
    same = (flags, method, data[begin : begin + name_length]) == (entry.flags, entry.method, entry.name)
    if mark != b"PK\x03\x04" or not same or not (later or told == (entry.crc, entry.packed, entry.size)):
        raise _Refused(f"a directory that says of {name!r} what its own header does not say")
    _check_extra(data[begin + name_length : start])
    if start + entry.packed > directory:
        raise _Refused(f"{name!r} reaching over the end")
    return _Member(name, entry.method, entry.crc, entry.packed, entry.size, start)


def _after(data: bytes, entry: _Entry, member: _Member, directory: int) -> int:
    """The offset behind a member and its data descriptor, whose mark is optional (APPNOTE.TXT 4.3.9.3)."""
    position = member.end
    if not entry.flags & _HAS_DESCRIPTOR:
        return position
    if data[position : position + 4] == _DESCRIPTOR_MARK:
        position += 4
    if position + _DESCRIPTOR.size > directory or _DESCRIPTOR.unpack_from(data, position) != (entry.crc, entry.packed, entry.size):
        raise _Refused(f"a directory that says of {member.name!r} what is not written behind it")
    return position + _DESCRIPTOR.size


def _check_entry(entry: _Entry) -> str:
    """The member's name, after making sure that it is a plain file or directory."""
    name = _check_name(entry.name)
    kind = stat.S_IFMT(entry.mode)
    if entry.flags & _ENCRYPTED:
        raise _Refused(f"an encrypted member: {name!r}")
    if entry.flags & ~_KNOWN_FLAGS or entry.method not in (_STORED, _DEFLATED):
        raise _Refused(f"a member packed in an unusual way: {name!r} (method {entry.method}, flags {entry.flags:#x})")
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise _Refused(f"a member that is neither file nor directory: {name!r} (mode {entry.mode:o})")
    if kind != stat.S_IFDIR and not name.endswith("/") and entry.mode & (stat.S_ISUID | stat.S_ISGID):
        raise _Refused(f"a member that sets user or group: {name!r} (mode {entry.mode:o})")
    if entry.method == _STORED and entry.packed != entry.size:
        raise _Refused(f"a stored member of two sizes: {name!r}")
    if entry.size > _RATIO_FROM and entry.size > entry.packed * LARGEST_RATIO:
        raise _Refused(f"{name!r} growing from {entry.packed} to {entry.size} bytes")
    return name


def _check_name(raw: bytes) -> str:
    try:
        name = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise _Refused(f"a name that is not UTF-8: {raw[:100]!r}") from None
    parts = name.removesuffix("/").split("/")
    if not name or len(raw) > _LONGEST_NAME:
        raise _Refused(f"a name of {len(raw)} bytes")
    if _CONTROL.search(name) or "\\" in name or _DRIVE.match(name) or any(part in ("", ".", "..") for part in parts):
        raise _Refused(f"a name that leads elsewhere or hides something: {name[:100]!r}")
    return name


def _check_extra(extra: bytes) -> None:
    """Extra fields (APPNOTE.TXT 4.5) may say when and who, not where, what else or how much."""
    position = 0
    while position < len(extra):
        if position + 4 > len(extra):
            raise _Refused("an extra field that was cut")
        kind, size = struct.unpack_from("<2H", extra, position)
        if kind in _REFUSED_EXTRAS:
            raise _Refused(f"an extra field with {_REFUSED_EXTRAS[kind]}")
        position += 4 + size
    if position != len(extra):
        raise _Refused("an extra field that was cut")


def _check_together(members: list[_Member]) -> None:
    seen: set[str] = set()
    for member in members:
        folded = unicodedata.normalize("NFKC", member.name.removesuffix("/")).casefold()
        if folded in seen:
            raise _Refused(f"two members of one name: {member.name!r}")
        seen.add(folded)
    total = sum(member.size for member in members)
    if total > LARGEST_TOTAL:
        raise _Refused(f"{total} bytes when unpacked, where {LARGEST_TOTAL} are the most")


def _unpack(data: bytes, member: _Member, limit: int) -> bytes:
    if member.size > limit:
        raise _Refused(f"{member.name!r} of {member.size} bytes, where {limit} are the most")
    packed = data[member.start : member.end]
    content = packed if member.method == _STORED else _inflate(packed, member)
    if len(content) != member.size or zlib.crc32(content) != member.crc:
        raise _Refused(f"{member.name!r} with another checksum than it should have")
    return content


def _inflate(packed: bytes, member: _Member) -> bytes:
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        # One byte more than announced is enough to see a lie, and no bomb goes off.
        content = stream.decompress(packed, member.size + 1)
    except zlib.error:
        raise _Refused(f"{member.name!r} whose packed bytes are damaged") from None
    if not stream.eof or stream.unused_data:
        raise _Refused(f"{member.name!r} of another size than it says")
    return content
