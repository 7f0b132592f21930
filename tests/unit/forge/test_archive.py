"""Archives that somebody else made: list C of the bad inputs (58 to 76), none of which may leave a trace or a member."""

from __future__ import annotations

import gzip
import io
import stat
import struct
import tarfile
import warnings
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ci_plugin.errors import DocumentError
from ci_plugin.forge.archive import LARGEST_TOTAL, MOST_MEMBERS, is_zip, read_member

PINS = b'{"schemaVersion": 1}\n'
NAME = "pins.json"
LIMIT = 1024


def zip_of(*members: tuple[str | zipfile.ZipInfo, bytes], method: int = zipfile.ZIP_DEFLATED, pins: bool = True) -> bytes:
    """An archive of these members after a good pin file."""
    data = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(data, "w", method) as archive:
        warnings.simplefilter("ignore")  # zipfile warns of duplicate names, which are what some of these are about
        for name, content in ((NAME, PINS), *members) if pins else members:
            archive.writestr(name, content)
    return data.getvalue()


def info(name: str, mode: int = 0, *, system: int = 3) -> zipfile.ZipInfo:
    made = zipfile.ZipInfo(name)
    made.create_system = system
    made.external_attr = mode << 16
    return made


def raw(name: bytes) -> bytes:
    """An archive whose second member has exactly these bytes as its name."""
    placeholder = b"x" * len(name)
    return zip_of((placeholder.decode(), b"")).replace(placeholder, name)


def patched(data: bytes, mark: bytes, offset: int, form: str, value: int) -> bytes:
    """One field after the last ``mark`` changed: ``offset`` bytes behind it."""
    at = data.rindex(mark) + offset
    return data[:at] + struct.pack(form, value) + data[at + struct.calcsize(form) :]


LOCAL, CENTRAL, END = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"


def both(data: bytes, local: int, central: int, form: str, value: int) -> bytes:
    return patched(patched(data, LOCAL, local, form, value), CENTRAL, central, form, value)


def overlapping() -> bytes:
    """Fifield's quoted overlap: two entries of the directory, one of whose members holds the other's header in its packed bytes."""
    data = zip_of((NAME, PINS), method=zipfile.ZIP_STORED, pins=False)
    end = data.index(CENTRAL)
    entry = data[end : data.index(END)]
    twice = entry + entry.replace(NAME.encode(), b"nips.json")
    return data[:end] + twice + struct.pack("<4s4H2LH", END, 0, 0, 2, 2, len(twice), end, 0)


def nested() -> bytes:
    """A member's packed bytes hold a whole second member that the directory knows as well."""
    inner = zip_of(("inner.json", b"{}"), method=zipfile.ZIP_STORED, pins=False)
    inner_member, inner_entry = inner[: inner.index(CENTRAL)], inner[inner.index(CENTRAL) : inner.index(END)]
    outer = zip_of((NAME, inner_member), method=zipfile.ZIP_STORED, pins=False)
    end = outer.index(CENTRAL)
    offset = outer.index(inner_member)
    entries = outer[end : outer.index(END)] + inner_entry[:42] + struct.pack("<L", offset) + inner_entry[46:]
    return outer[:end] + entries + struct.pack("<4s4H2LH", END, 0, 0, 2, 2, len(entries), end, 0)


def zip64() -> bytes:
    """Sizes that say "look into the zip64 field", which says something else."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive, archive.open(NAME, "w", force_zip64=True) as member:
        member.write(PINS)
    return data.getvalue()


def tar_with_hard_link() -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        link = tarfile.TarInfo(NAME)
        link.type, link.linkname = tarfile.LNKTYPE, "/etc/passwd"
        archive.addfile(link)
    return data.getvalue()


def bomb(size: int) -> bytes:
    return zip_of(("zeros", bytes(size)))


def many(count: int) -> bytes:
    return zip_of(*((f"m{number}", b"") for number in range(count)), method=zipfile.ZIP_STORED)


REFUSED: dict[str, tuple[Callable[[], bytes], str]] = {
    "58 parent directory": (
        lambda: zip_of(("../pins.json", b"x")),
        r"found a name that leads elsewhere or hides something: '../pins.json'",
    ),
    "58 parent inside": (lambda: zip_of(("a/../../b", b"x")), "leads elsewhere"),
    "58 here": (lambda: zip_of(("./pins.json", b"x")), "leads elsewhere"),
    "58 empty part": (lambda: zip_of(("a//b", b"x")), "leads elsewhere"),
    "59 absolute": (lambda: raw(b"/etc/passwd"), "leads elsewhere"),
    "59 drive": (lambda: zip_of(("C:pins", b"x")), "leads elsewhere"),
    "59 drive and backslash": (lambda: raw(b"C:\\pins"), "leads elsewhere"),
    "59 backslash": (lambda: raw(b"..\\pins"), "leads elsewhere"),
    "60 symbolic link": (
        lambda: zip_of((info("out", stat.S_IFLNK | 0o777), b"/tmp"), ("out/pins.json", b"x")),
        r"neither file nor directory: 'out' \(mode 120777\)",
    ),
    "60 symbolic link that says it is of MS-DOS": (lambda: zip_of((info("out", stat.S_IFLNK | 0o777, system=0), b"/tmp")), "neither file"),
    "61 hard link in a tar": (tar_with_hard_link, "found one that does not begin as one"),
    "62 two of one name, first good": (lambda: zip_of((NAME, b'{"evil": 1}')), "found two members of one name: 'pins.json'"),
    "63 other case": (lambda: zip_of(("PINS.JSON", b"x")), "two members of one name: 'PINS.JSON'"),
    "63 other case not ASCII": (lambda: zip_of(("straße", b"1"), ("STRASSE", b"2")), "two members of one name"),
    "63 composed and decomposed": (lambda: zip_of(("\u00e9", b"1"), ("e\u0301", b"2")), "two members of one name"),
    "63 file and directory": (lambda: zip_of((info("pins.json/", stat.S_IFDIR | 0o755), b"")), "two members of one name"),
    "64 bomb 1:1000": (lambda: bomb(4 * 1024 * 1024), r"found 'zeros' growing from \d+ to 4194304 bytes"),
    "64 overlapping": (overlapping, r"found members that overlap or leave a gap at byte 0"),
    "64 nested": (nested, r"overlap or leave a gap"),
    "65 other name": (
        lambda: patched(zip_of(("a.json", b"{}")), LOCAL, 30, "<B", ord("b")),
        "says of 'a.json' what its own header does not",
    ),
    "65 other size": (lambda: patched(zip_of(), CENTRAL, 24, "<L", 1), "says of 'pins.json' what its own header"),
    "65 other method": (lambda: patched(zip_of(), CENTRAL, 10, "<H", 0), "pins.json"),
    "65 no member there": (lambda: patched(zip_of(), CENTRAL, 42, "<L", 3), "overlap or leave a gap"),
    "65 hidden member": (lambda: hidden(), "bytes that belong to no member|overlap or leave a gap"),
    "65 bytes in front": (lambda: b"#!/bin/sh\n" + zip_of(), "does not begin as one"),
    "66 encrypted": (lambda: both(zip_of(), 6, 8, "<H", 1), "found an encrypted member: 'pins.json'"),
    "66 strong encryption": (lambda: both(zip_of(), 6, 8, "<H", 0x41), "encrypted"),
    "66 bzip2": (lambda: zip_of(("a", b"aaaa"), method=zipfile.ZIP_BZIP2), "packed in an unusual way: 'pins.json' .method 12"),
    "67 zip64 field": (zip64, "an extra field with zip64 sizes|says of"),
    "67 another disk": (lambda: patched(zip_of(), END, 4, "<H", 1), "found one of several disks"),
    "67 a directory on another disk": (lambda: patched(zip_of(), END, 6, "<H", 1), "found one of several disks"),
    "67 a member on another disk": (lambda: patched(zip_of(), CENTRAL, 34, "<H", 1), "found an entry on another disk"),
    "65 more entries than counted": (
        lambda: patched(patched(zip_of(("a", b"")), END, 8, "<H", 1), END, 10, "<H", 1),
        "found a directory with more entries than it says",
    ),
    "69 a member longer than the archive": (lambda: both(zip_of(), 18, 20, "<L", 1000), "found 'pins.json' reaching over the end"),
    "65 fewer entries than counted": (
        lambda: patched(patched(zip_of(), END, 8, "<H", 2), END, 10, "<H", 2),
        "found a directory with fewer entries than it says",
    ),
    "65 an entry without a member": (lambda: without_member(), "found an entry without a member: 'nips.json'"),
    "71 an extra field of two bytes": (lambda: zip_of((extra("a", None), b"")), "an extra field that was cut"),
    "67 two counts": (lambda: patched(zip_of(), END, 8, "<H", 0), "found one of several disks"),
    "67 a comment that is not there": (lambda: patched(zip_of(), END, 20, "<H", 5), "found one of several disks"),
    "67 zip64 count": (lambda: patched(patched(zip_of(), END, 8, "<H", 0xFFFF), END, 10, "<H", 0xFFFF), "65535 members or more"),
    "67 zip64 offset": (lambda: patched(zip_of(), END, 16, "<L", 0xFFFFFFFF), "not where its end says, or zip64 fields"),
    "67 zip64 size": (lambda: both(zip_of(), 22, 24, "<L", 0xFFFFFFFF), "growing from|more than|says of"),
    "68 checksum": (lambda: both(zip_of(), 14, 16, "<L", 7), "found 'pins.json' with another checksum than it should have"),
    "68 packed bytes": (lambda: damaged(), "damaged|another"),
    "68 size of a deflated member": (lambda: both(zip_of(), 22, 24, "<L", 3), "of another size than it says"),
    "68 size of a stored member": (lambda: both(zip_of(method=zipfile.ZIP_STORED), 22, 24, "<L", 3), "stored member of two sizes"),
    "69 cut in the end": (lambda: zip_of()[:-1], "cut, or goes on behind its end"),
    "69 cut in the directory": (lambda: zip_of()[:-30], "cut"),
    "69 cut in a member": (lambda: zip_of()[:35], "cut"),
    "69 four bytes": (lambda: b"PK\x03\x04", "cut"),
    "70 no bytes": (lambda: b"", "found no bytes"),
    "71 NUL": (lambda: raw(b"pins\0evil"), "hides something"),
    "71 line end": (lambda: raw(b"pins\nevil"), "hides something"),
    "71 escape": (lambda: raw(b"pins\x1b[2J"), "hides something"),
    "71 2 KiB": (lambda: zip_of(("n" * 2048, b"")), "a name of 2048 bytes"),
    "71 not UTF-8": (lambda: raw(b"pins\xff"), "a name that is not UTF-8"),
    "71 no name": (lambda: crafted(b""), "a name of 0 bytes"),
    "71 a second name in an extra field": (lambda: zip_of((extra("a", 0x7075), b"")), "an extra field with a second name"),
    "71 cut extra field": (lambda: zip_of((extra("a", 0x5455, length=9), b"")), "an extra field that was cut"),
    "72 character device": (lambda: zip_of((info("null", stat.S_IFCHR | 0o666), b"")), "neither file nor directory"),
    "72 block device": (lambda: zip_of((info("disk", stat.S_IFBLK | 0o666), b"")), "neither file nor directory"),
    "72 FIFO": (lambda: zip_of((info("pipe", stat.S_IFIFO | 0o666), b"")), "neither file nor directory"),
    "72 socket": (lambda: zip_of((info("sock", stat.S_IFSOCK | 0o666), b"")), "neither file nor directory"),
    "73 set-user-ID": (lambda: zip_of((info("sh", stat.S_IFREG | 0o4755), b"")), r"sets user or group: 'sh' \(mode 104755\)"),
    "73 set-group-ID": (lambda: zip_of((info("sh", stat.S_IFREG | 0o2755), b"")), "sets user or group"),
    "74 too many members": (lambda: many(MOST_MEMBERS), f"found {MOST_MEMBERS + 1} members or more, where {MOST_MEMBERS} are the most"),
    "75 gzip": (lambda: gzip.compress(PINS) + b"trailing", "does not begin as one"),
    "75 bytes behind": (lambda: zip_of() + b"trailing", "cut, or goes on behind its end"),
    "75 a comment": (lambda: commented(), "cut, or goes on behind its end"),
    "75 two archives": (lambda: zip_of() + zip_of(("b", b"")), "not where its end says"),
    "76 not zipped": (lambda: PINS, "does not begin as one"),
}


def crafted(name: bytes) -> bytes:
    """One member with a data descriptor that has no mark, under a name that zipfile would not write."""
    packed = zlib.compress(PINS)[2:-4]
    told = (zlib.crc32(PINS), len(packed), len(PINS))
    member = LOCAL + struct.pack("<5H3L2H", 20, 8, 8, 0, 0, 0, 0, 0, len(name), 0) + name + packed + struct.pack("<3L", *told)
    entry = CENTRAL + struct.pack("<6H3L5H2L", 20, 20, 8, 8, 0, 0, *told, len(name), 0, 0, 0, 0, 0, 0) + name
    return member + entry + struct.pack("<4s4H2LH", END, 0, 0, 1, 1, len(entry), len(member), 0)


def hidden() -> bytes:
    """A member that the directory does not name."""
    data = zip_of(("evil", b"x"))
    begin = data.rindex(CENTRAL)
    end = data.index(END)
    directory = data.index(CENTRAL)
    return data[:begin] + struct.pack("<4s4H2LH", END, 0, 0, 1, 1, begin - directory, directory, 0) + data[end + 22 :]


def damaged() -> bytes:
    data = bytearray(zip_of())
    data[30 + len(NAME)] ^= 0xFF
    return bytes(data)


def commented() -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr(NAME, PINS)
        archive.comment = b"hello"
    return data.getvalue()


def without_member() -> bytes:
    """A second entry whose member would begin where the directory does."""
    data = zip_of((NAME, PINS), method=zipfile.ZIP_STORED, pins=False)
    at = data.index(CENTRAL)
    entry = data[at : data.index(END)]
    entries = entry + entry.replace(NAME.encode(), b"nips.json")[:42] + struct.pack("<L", at) + b"nips.json"
    return data[:at] + entries + struct.pack("<4s4H2LH", END, 0, 0, 2, 2, len(entries), at, 0)


def extra(name: str, kind: int | None, length: int = 2) -> zipfile.ZipInfo:
    made = zipfile.ZipInfo(name)
    made.extra = b"ab" if kind is None else struct.pack("<2H", kind, length) + b"ab"
    return made


@pytest.fixture
def untouched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[tuple[str, bytes]]]:
    """The files below and beside the working directory, to compare before and after."""
    (tmp_path / "work").mkdir()
    (tmp_path / "canary").write_bytes(b"canary")
    monkeypatch.chdir(tmp_path / "work")
    return lambda: [(str(path), path.read_bytes() if path.is_file() else b"") for path in sorted(tmp_path.rglob("*"))]


@pytest.mark.parametrize("case", REFUSED)
def test_a_hostile_archive_is_refused_whole_and_leaves_no_trace(case: str, untouched: Callable[[], list[tuple[str, bytes]]]) -> None:
    make, message = REFUSED[case]
    data = make()
    before = untouched()
    with pytest.raises(DocumentError, match=message) as caught:
        read_member(data, NAME, limit=LIMIT, archive="github.com/group/app artifact 7 (stagepin-pins)")
    assert untouched() == before
    assert str(caught.value).startswith("expected a zip archive as the CI makes it, found ")
    assert str(caught.value.where) == "github.com/group/app artifact 7 (stagepin-pins)"
    assert caught.value.hint == "do not unpack it; find out which job uploaded it, delete it, then run that job again"
    assert caught.value.exit_code == 2


def test_what_a_million_members_would_need_is_refused_by_its_end_alone() -> None:
    end = struct.pack("<4s4H2LH", END, 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    with pytest.raises(DocumentError, match="65535 members or more"):
        read_member(LOCAL + bytes(100) + end, NAME, limit=LIMIT)


def test_members_that_are_too_large_together_are_refused_unread() -> None:
    size = LARGEST_TOTAL // 2 + 1
    entries, offset, central = b"", 0, b""
    for name in (b"a", b"b"):
        packed = size // 100
        header = struct.pack("<5H3L2H", 20, 0, 8, 0, 0, 0, packed, size, 1, 0)
        entries += LOCAL + header + name + bytes(packed)
        central += CENTRAL + struct.pack("<6H3L5H2L", 20, 20, 0, 8, 0, 0, 0, packed, size, 1, 0, 0, 0, 0, 0, offset) + name
        offset = len(entries)
    end = struct.pack("<4s4H2LH", END, 0, 0, 2, 2, len(central), len(entries), 0)
    with pytest.raises(DocumentError, match=f"found {2 * size} bytes when unpacked, where {LARGEST_TOTAL} are the most"):
        read_member(entries + central + end, NAME, limit=LIMIT)


def test_a_document_over_the_limit_is_refused_before_it_is_unpacked() -> None:
    with pytest.raises(DocumentError, match=r"found 'pins\.json' of 21 bytes, where 20 are the most"):
        read_member(zip_of(), NAME, limit=20)
    assert read_member(zip_of(), NAME, limit=21) == PINS


def test_a_bomb_that_lies_about_its_size_is_stopped_at_what_it_said() -> None:
    data = both(zip_of((NAME, bytes(1024 * 1024)), pins=False), 22, 24, "<L", 100)
    with pytest.raises(DocumentError, match=r"'pins\.json' of another size than it says"):
        read_member(data, NAME, limit=LIMIT)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_the_one_member_is_read_and_no_other(method: int) -> None:
    data = zip_of((info(".stagepin/", stat.S_IFDIR | 0o2775), b""), (".stagepin/pins.json", b"[]"), ("größe.txt", b"1"), method=method)
    assert read_member(data, NAME, limit=LIMIT) == PINS
    assert read_member(data, ".stagepin/pins.json", limit=LIMIT) == b"[]"
    assert read_member(data, "PINS.json", limit=LIMIT) is None
    assert read_member(data, "build.json", limit=LIMIT) is None


def test_an_empty_archive_has_no_member() -> None:
    data = zip_of(pins=False)
    assert is_zip(data)
    assert read_member(data, NAME, limit=LIMIT) is None


class _Unseekable(io.RawIOBase):
    """What a streaming writer sees: sizes come behind the data."""

    def __init__(self) -> None:
        self.data = b""

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.data += bytes(data)
        return len(data)


def streamed() -> bytes:
    out = _Unseekable()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(NAME, PINS)
        archive.writestr("build.json", b"{}")
    return out.data


def test_an_archive_written_as_a_stream_is_read() -> None:
    data = streamed()
    assert b"PK\x07\x08" in data
    assert read_member(data, NAME, limit=LIMIT) == PINS
    assert read_member(data, "build.json", limit=LIMIT) == b"{}"


def test_a_data_descriptor_needs_no_mark() -> None:
    assert read_member(crafted(NAME.encode()), NAME, limit=LIMIT) == PINS


def test_a_data_descriptor_that_says_something_else_is_refused() -> None:
    data = streamed()
    at = data.index(b"PK\x07\x08") + 4
    with pytest.raises(DocumentError, match=r"'pins\.json' what is not written behind it"):
        read_member(data[:at] + b"\0\0\0\0" + data[at + 4 :], NAME, limit=LIMIT)


def test_an_archive_cut_or_changed_anywhere_is_refused_or_still_says_the_same() -> None:
    data = zip_of(("build.json", b"{}"))
    for length in range(len(data)):
        with pytest.raises(DocumentError):
            read_member(data[:length], NAME, limit=LIMIT)
    for position in range(len(data)):
        changed = data[:position] + bytes([data[position] ^ 0x41]) + data[position + 1 :]
        try:
            assert read_member(changed, NAME, limit=LIMIT) in (PINS, None)
        except DocumentError:
            continue
