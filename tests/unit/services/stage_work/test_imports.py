"""Imports: which files of another image are taken, what they are called then, and what is left out."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from tarfile import TarInfo
from typing import IO, Any

import pytest

from ci_plugin.config.parts import Selection
from ci_plugin.errors import AnswerIsNo, Gone, Location
from ci_plugin.services.stage_work.imports import ImportReader, Taken, merged
from ci_plugin.services.stage_work.spool import Spool
from ci_plugin.values.digest import ImageId

IMAGE = ImageId("sha256:" + "1" * 64)
WHERE = Location("werf.yaml", 7)


class ArchiveEngine:
    """Of an engine only ``read_files``, over archives by the path they were asked for."""

    def __init__(self, archives: Mapping[str, list[tuple[TarInfo, bytes]]]) -> None:
        self._archives = archives
        self.asked: list[str] = []

    @contextmanager
    def read_files(self, image: ImageId, path: str) -> Iterator[Iterator[tuple[TarInfo, IO[bytes] | None]]]:
        self.asked.append(path)
        if path not in self._archives:
            raise Gone(f"expected {path} in {image}, found nothing")
        yield ((member, io.BytesIO(data) if member.isreg() else None) for member, data in self._archives[path])


def entry(
    name: str, data: bytes = b"", kind: bytes = tarfile.REGTYPE, mode: int = 0o644, link: str = "", **values: Any
) -> tuple[TarInfo, bytes]:
    member = TarInfo(name)
    member.type, member.mode, member.linkname, member.size = kind, mode, link, len(data)
    member.uid, member.gid, member.mtime = values.get("uid", 0), values.get("gid", 0), 1000
    return member, data


def directory(name: str, mode: int = 0o755, **values: Any) -> tuple[TarInfo, bytes]:
    return entry(name, kind=tarfile.DIRTYPE, mode=mode, **values)


TREE = [
    directory("b", 0o700, uid=3),
    entry("b/one", b"1"),
    directory("b/empty", 0o2775),
    directory("b/lib"),
    entry("b/lib/a.so", b"so", mode=0o755),
    entry("b/lib/a.txt", b"txt"),
    entry("b/lib/a.link", kind=tarfile.SYMTYPE, link="a.so", mode=0o777),
    entry("b/su", b"root", mode=0o4755, uid=1000, gid=50),
]


class Reading:
    """One import, read."""

    def __init__(self, selection: Selection, archives: Mapping[str, list[tuple[TarInfo, bytes]]]) -> None:
        self.told: list[str] = []
        self.engine = ArchiveEngine(archives)
        with Spool() as spool:
            reader = ImportReader(self.engine, spool, self.told.append)  # type: ignore[arg-type]
            self.taken = reader.read(IMAGE, "image 'lib'", selection, WHERE)
            self.data = {item.file.path: item.file.open().read() for item in self.taken if item.file.kind == "file"}

    @property
    def paths(self) -> list[str]:
        return [item.file.path for item in self.taken]

    def __getitem__(self, path: str) -> Taken:
        return next(item for item in self.taken if item.file.path == path)


def test_of_a_directory_all_that_is_in_it_goes_below_the_target() -> None:
    found = Reading(Selection("/a/b", "/c"), {"/a/b": TREE})
    assert found.paths == ["/c", "/c/one", "/c/empty", "/c/lib", "/c/lib/a.so", "/c/lib/a.txt", "/c/lib/a.link", "/c/su"]
    assert found.data == {"/c/one": b"1", "/c/lib/a.so": b"so", "/c/lib/a.txt": b"txt", "/c/su": b"root"}


def test_permissions_owners_links_and_directories_are_those_of_the_source() -> None:
    found = Reading(Selection("/a/b", "/c"), {"/a/b": TREE})
    su, link, empty, top = (found[path].file for path in ("/c/su", "/c/lib/a.link", "/c/empty", "/c"))
    assert (su.permissions, su.owner, su.group, su.modified) == (0o4755, "1000", "50", 1000)
    assert (link.kind, link.target) == ("symlink", "a.so")
    assert (empty.kind, empty.permissions) == ("directory", 0o2775)
    assert (top.permissions, top.owner) == (0o700, "3")


def test_a_named_owner_and_group_are_those_of_everything() -> None:
    found = Reading(Selection("/a/b", "/c", owner="www", group="33"), {"/a/b": TREE})
    assert {(item.file.owner, item.file.group) for item in found.taken} == {("www", "33")}


def test_a_file_becomes_the_target() -> None:
    found = Reading(Selection("/usr/bin/tool", "/bin/other"), {"/usr/bin/tool": [entry("tool", b"x", mode=0o755)]})
    assert found.data == {"/bin/other": b"x"}


@pytest.mark.parametrize(
    ("include", "exclude", "paths"),
    [
        (("lib",), (), ["/c/lib", "/c/lib/a.so", "/c/lib/a.txt", "/c/lib/a.link"]),
        (("lib/*.so", "one"), (), ["/c/one", "/c/lib/a.so"]),
        (("**/*.so",), (), ["/c/lib/a.so"]),
        (("lib",), ("**/*.txt",), ["/c/lib", "/c/lib/a.so", "/c/lib/a.link"]),
        ((), ("lib", "empty", "su"), ["/c", "/c/one"]),
    ],
)
def test_globs_choose_below_the_source_directory(include: tuple[str, ...], exclude: tuple[str, ...], paths: list[str]) -> None:
    assert Reading(Selection("/a/b", "/c", include, exclude), {"/a/b": TREE}).paths == paths


@pytest.mark.parametrize("prefix", ["", "./", "/"])
def test_the_whole_root_keeps_every_path_and_the_root_is_not_written(prefix: str) -> None:
    tree = [directory(prefix or "/"), directory(f"{prefix}etc"), entry(f"{prefix}etc/conf", b"c")]
    found = Reading(Selection("/", "/", ("etc",)), {"/": tree})
    assert found.paths == ["/etc", "/etc/conf"]


def test_a_hard_link_to_a_taken_file_stays_one() -> None:
    tree = [entry("b/one", b"1"), entry("b/two", kind=tarfile.LNKTYPE, link="b/one")]
    found = Reading(Selection("/a/b", "/c"), {"/a/b": tree})
    assert (found["/c/two"].file.kind, found["/c/two"].file.target) == ("hardlink", "/c/one")


def test_of_hard_links_to_a_file_that_is_not_taken_the_first_becomes_the_file() -> None:
    links = [entry(f"b/{name}", kind=tarfile.LNKTYPE, link="b/one") for name in ("two", "three")]
    tree = [entry("b/one", b"content", mode=0o755), *links]
    found = Reading(Selection("/a/b", "/c", (), ("one",)), {"/a/b": tree, "/a/b/one": [entry("one", b"content", mode=0o755)]})
    assert found.data == {"/c/two": b"content"}
    assert found["/c/two"].file.permissions == 0o755
    assert (found["/c/three"].file.kind, found["/c/three"].file.target) == ("hardlink", "/c/two")
    assert found.engine.asked == ["/a/b", "/a/b/one"]


def test_devices_are_left_out_and_told() -> None:
    tree = [directory("dev"), entry("dev/null", kind=tarfile.CHRTYPE), entry("dev/pipe", kind=tarfile.FIFOTYPE)]
    found = Reading(Selection("/dev", "/d"), {"/dev": tree})
    assert found.paths == ["/d"]
    assert found.told == ["the import of /dev from image 'lib' leaves out /dev/null, /dev/pipe: no file, link or directory (werf.yaml:7)"]


def link(name: str, target: str) -> tuple[TarInfo, bytes]:
    return entry(name, kind=tarfile.SYMTYPE, link=target, mode=0o777)


def test_a_link_to_a_directory_gives_what_is_in_the_directory() -> None:
    archives = {"/srv/current": [link("current", "../var/now")], "/var/now": [link("now", "/a/b")], "/a/b": TREE}
    found = Reading(Selection("/srv/current", "/c", ("lib",), ("**/*.txt",)), archives)
    assert found.paths == ["/c/lib", "/c/lib/a.so", "/c/lib/a.link"]


@pytest.mark.parametrize("target", ["tool-1", "nowhere", "tool"], ids=["a file", "nothing", "itself"])
def test_any_other_link_is_taken_as_the_link_it_is(target: str) -> None:
    archives = {"/bin/tool": [link("tool", target)], "/bin/tool-1": [entry("tool-1", b"x")]}
    found = Reading(Selection("/bin/tool", "/bin/tool"), archives)
    assert [(item.file.path, item.file.kind, item.file.target) for item in found.taken] == [("/bin/tool", "symlink", target)]


def test_extended_attributes_are_not_taken_and_told() -> None:
    ping = entry("ping", b"x", mode=0o755)
    ping[0].pax_headers = {"SCHILY.xattr.security.capability": "bytes"}
    found = Reading(Selection("/bin/ping", "/bin/ping"), {"/bin/ping": [ping]})
    assert found.told == [
        "the import of /bin/ping from image 'lib' takes /bin/ping without extended attributes, such as capabilities (werf.yaml:7)"
    ]


def test_of_many_the_first_are_named() -> None:
    tree = [entry(f"dev/{number}", kind=tarfile.FIFOTYPE) for number in range(7)]
    (told,) = Reading(Selection("/dev", "/d"), {"/dev": [directory("dev"), *tree]}).told
    assert "leaves out /dev/0, /dev/1, /dev/2, /dev/3, /dev/4 and 2 more: " in told


def test_a_path_that_is_not_there_is_refused_at_the_imports_place() -> None:
    with pytest.raises(AnswerIsNo) as caught:
        Reading(Selection("/a/x", "/c"), {})
    assert caught.value.message == "expected /a/x in image 'lib' to import it, found nothing there"
    assert caught.value.hint == "check `add`, and that the stage of the source the import names makes it"
    assert caught.value.where == WHERE
    assert not isinstance(caught.value, Gone)


def test_globs_that_leave_nothing_are_told() -> None:
    found = Reading(Selection("/a/b", "/c", ("*.jar",)), {"/a/b": TREE})
    assert found.taken == ()
    assert found.told == ["the import of /a/b from image 'lib' takes nothing: includePaths and excludePaths leave none of it (werf.yaml:7)"]


def test_what_is_taken_is_the_same_whenever_the_source_was_made() -> None:
    later = [(TarInfo.frombuf(member.tobuf(), "utf-8", "surrogateescape"), data) for member, data in TREE]
    for member, _ in later:
        member.mtime = 2000
    before, after = (Reading(Selection("/a/b", "/c"), {"/a/b": tree}) for tree in (TREE, later))
    assert [item.content for item in before.taken] == [item.content for item in after.taken]


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"mode": 0o755}, "permissions"),
        ({"uid": 7}, "owner"),
        ({"gid": 7}, "group"),
    ],
)
def test_a_change_of_metadata_alone_is_a_change(change: dict[str, Any], what: str) -> None:
    before = Reading(Selection("/a/b", "/c"), {"/a/b": [entry("b/one", b"1")]})
    after = Reading(Selection("/a/b", "/c"), {"/a/b": [entry("b/one", b"1", **change)]})
    assert [item.content for item in before.taken] != [item.content for item in after.taken], what


def test_of_two_imports_at_one_path_the_later_stands_and_links_to_the_earlier_keep_its_content() -> None:
    tree = [entry("b/one", b"old"), entry("b/two", kind=tarfile.LNKTYPE, link="b/one")]
    first = Reading(Selection("/a/b", "/c"), {"/a/b": tree}).taken
    second = Reading(Selection("/a/b", "/c"), {"/a/b": [entry("b/one", b"new")]}).taken
    whole = {item.file.path: item for item in merged([first, second])}
    assert whole["/c/one"] == second[0]
    assert (whole["/c/two"].file.kind, whole["/c/two"].sha256) == ("file", first[0].sha256)


def test_a_link_comes_after_what_it_links_to_whatever_was_there_before() -> None:
    first = Reading(Selection("/a/b", "/c"), {"/a/b": [entry("b/two", b"old")]}).taken
    tree = [entry("b/one", b"1"), entry("b/two", kind=tarfile.LNKTYPE, link="b/one")]
    second = Reading(Selection("/a/b", "/c"), {"/a/b": tree}).taken
    assert [item.file.path for item in merged([first, second])] == ["/c/one", "/c/two"]
