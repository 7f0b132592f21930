"""One suite for files into and out of images (``Engine.put_files``, ``read_files``), on the fake and on a real engine."""

from __future__ import annotations

import io
import json
import stat
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from ci_plugin.demo.rig import start_engine
from ci_plugin.engine.docker_engine import DockerEngine
from ci_plugin.errors import Bug, Gone, InputError, Unavailable
from ci_plugin.ports import Engine, EngineImage, FileChanges, ImageChange, LayerFile
from ci_plugin.values.digest import ImageId
from ci_plugin.values.reference import Reference
from tests.contract.engine_sites import AMD64, Site
from tests.fakes.engine import FakeEngine
from tests.fakes.registry_client import no_credentials

PASSWD = b"root:x:0:0:root:/root:/bin/sh\nweb:x:1001:1002::/:/bin/false\n"
GROUP = b"root:x:0:\nstaff:x:50:\nhuge:x:4000000000:\n"
ODD_NAMES = [
    "new\nline",
    "-rf",
    "--help",
    " blank ",
    "quote'\"$x`",
    "back\\slash",
    "ünïcode-\N{CAT FACE}",
    b"not-utf8-\xff\xfe".decode("utf-8", "surrogateescape"),
    "*?[a]",
    "a" * 255,
    "tab\tbell\x07",
]


@dataclass(frozen=True)
class Seen:
    """A path as an image has it: ``text`` is a file's content or a link's target."""

    kind: str
    permissions: int = 0o755
    text: bytes = b""
    owner: tuple[int, int] = (0, 0)
    modified: int = 0


def directory(path: str, permissions: int = 0o755, owner: str | None = None) -> LayerFile:
    return LayerFile(path, "directory", permissions, owner=owner)


def file(path: str, data: bytes = b"x", permissions: int = 0o644, owner: str | None = None, group: str | None = None) -> LayerFile:
    return LayerFile(path, "file", permissions, len(data), lambda: io.BytesIO(data), owner=owner, group=group, modified=1_700_000_000)


def link(path: str, target: str) -> LayerFile:
    return LayerFile(path, "symlink", 0o777, target=target)


def look(engine: Engine, image: ImageId, path: str) -> dict[str, Seen]:
    """What is at a path and below, by names from its last part on."""
    with engine.read_files(image, path) as members:
        return {member.name: _seen(member, data.read() if data else b"") for member, data in members}


def put(site: Site, parent: EngineImage, *written: LayerFile, removed: tuple[str, ...] = (), emptied: tuple[str, ...] = ()) -> EngineImage:
    return site.engine.put_files(parent.id, FileChanges(removed, emptied, written), ImageChange())


def _seen(member: tarfile.TarInfo, data: bytes) -> Seen:
    kind = "directory" if member.isdir() else "symlink" if member.issym() else "hardlink" if member.islnk() else "file"
    text = member.linkname.encode("utf-8", "surrogateescape") if member.islnk() or member.issym() else data
    modified = int(member.mtime) if kind == "file" else 0
    return Seen(kind, 0o777 if member.issym() else stat.S_IMODE(member.mode), text, (member.uid, member.gid), modified)


def names(found: Mapping[str, Seen]) -> list[str]:
    return sorted(found)


@pytest.fixture
def empty(site: Site) -> EngineImage:
    """``scratch``: no shell, no file."""
    return site.engine.import_rootfs(None, AMD64, {})


@pytest.fixture
def base(site: Site, tmp_path: Path) -> EngineImage:
    """Some directories, files and links, and no shell."""
    return site.engine.import_rootfs(_archive(tmp_path / "base.tar"), AMD64, {})


def _archive(path: Path) -> Path:
    entries: list[tuple[str, bytes | str | None]] = [
        ("app", None),
        ("app/one", b"1"),
        ("app/two", b"2"),
        ("app/deep", None),
        ("app/deep/er", None),
        ("app/deep/er/three", b"3"),
        ("etc", None),
        ("etc/passwd", PASSWD),
        ("etc/group", GROUP),
        ("link", "app"),
        ("absolute", "/app/deep"),
        ("outside", "../../../../../../etc"),
        ("dangling", "/nowhere/at/all"),
        ("loop", "loop"),
    ]
    with tarfile.open(path, "w") as tar:
        for name, content in entries:
            tar.addfile(*_member(name, content))
    return path


def _member(name: str, content: bytes | str | None) -> tuple[tarfile.TarInfo, io.BytesIO | None]:
    member = tarfile.TarInfo(name)
    member.mode = 0o640
    if content is None:
        member.type, member.mode, member.uid, member.gid = tarfile.DIRTYPE, 0o750, 7, 8
    elif isinstance(content, str):
        member.type, member.linkname = tarfile.SYMTYPE, content
    else:
        member.size = len(content)
        return member, io.BytesIO(content)
    return member, None


class TestWriting:
    def test_files_directories_and_links_stand_in_an_image_without_a_shell(self, site: Site, empty: EngineImage) -> None:
        written = [file("/app/run", b"#!x", 0o755), directory("/app/kept", 0o1777), link("/app/link", "../run")]
        child = put(site, empty, *written)
        assert look(site.engine, child.id, "/app") == {
            "app": Seen("directory"),
            "app/run": Seen("file", 0o755, b"#!x", modified=1_700_000_000),
            "app/kept": Seen("directory", 0o1777),
            "app/link": Seen("symlink", 0o777, b"../run"),
        }
        assert child.diff_ids[:-1] == empty.diff_ids

    def test_a_hard_link_is_the_file_it_names(self, site: Site, empty: EngineImage) -> None:
        child = put(site, empty, file("/a/one", b"same"), LayerFile("/a/two", "hardlink", 0o644, target="/a/one"))
        found = look(site.engine, child.id, "/a")
        assert found["a/one"].text == b"same"
        assert found["a/two"] in (found["a/one"], Seen("hardlink", 0o644, b"a/one"))
        assert look(site.engine, child.id, "/a/two")["two"].text == b"same"

    def test_parents_that_are_there_keep_their_metadata_and_missing_ones_are_roots(self, site: Site, base: EngineImage) -> None:
        found = look(site.engine, put(site, base, file("/app/new/er/x"), file("/app/deep/y")).id, "/app")
        assert found["app"] == found["app/deep"] == Seen("directory", 0o750, owner=(7, 8))
        assert found["app/new"] == found["app/new/er"] == Seen("directory", 0o755)
        assert found["app/one"].text == b"1"

    def test_directories_are_made_where_nothing_is_and_others_stay_as_they_are(self, site: Site, base: EngineImage) -> None:
        wanted = [directory(path, 0o700, "web") for path in ("/app", "/app/new", "/app/new/er", "/app/two", "/srv")]
        changes = FileChanges(("/app/two",), (), [file("/app/new/er/x"), file("/app/two/y")], wanted)
        child = site.engine.put_files(base.id, changes, ImageChange())
        found = look(site.engine, child.id, "/app")
        assert found["app"] == Seen("directory", 0o750, owner=(7, 8))
        made = Seen("directory", 0o700, owner=(1001, 0))
        assert found["app/new"] == found["app/new/er"] == found["app/two"] == look(site.engine, child.id, "/srv")["srv"] == made

    def test_a_directory_that_is_written_gets_the_metadata_it_is_written_with(self, site: Site, base: EngineImage) -> None:
        found = look(site.engine, put(site, base, directory("/app/deep", 0o700, "web")).id, "/app/deep")
        assert found["deep"] == Seen("directory", 0o700, owner=(1001, 0))
        assert "deep/er/three" in found

    def test_a_file_and_a_directory_replace_each_other(self, site: Site, base: EngineImage) -> None:
        found = look(site.engine, put(site, base, file("/app/deep", b"now"), directory("/app/one"), file("/app/one/in", b"in")).id, "/app")
        assert names(found) == ["app", "app/deep", "app/one", "app/one/in", "app/two"]
        assert found["app/deep"].text == b"now"

    def test_a_link_is_replaced_by_what_is_written_in_its_place(self, site: Site, base: EngineImage) -> None:
        child = put(site, base, file("/link", b"file"), directory("/absolute"), link("/app/one", "two"))
        assert look(site.engine, child.id, "/link")["link"].text == b"file"
        assert look(site.engine, child.id, "/absolute") == {"absolute": Seen("directory")}
        assert look(site.engine, child.id, "/app/one")["one"] == Seen("symlink", 0o777, b"two")
        assert look(site.engine, child.id, "/app/deep")["deep/er/three"].text == b"3"

    @pytest.mark.parametrize("removed", [(), ("/app/one",)], ids=["unforeseen", "foreseen"])
    def test_a_file_in_the_way_of_a_path_becomes_a_directory(self, site: Site, base: EngineImage, removed: tuple[str, ...]) -> None:
        child = put(site, base, file("/app/one/a/b", b"deep"), file("/app/z"), removed=removed)
        found = look(site.engine, child.id, "/app")
        assert found["app/one"] == found["app/one/a"] == Seen("directory")
        assert found["app/one/a/b"].text == b"deep"
        assert found["app"] == Seen("directory", 0o750, owner=(7, 8))

    def test_links_among_the_parents_are_followed_within_the_image(self, site: Site, base: EngineImage) -> None:
        child = put(site, base, file("/link/a", b"a"), file("/absolute/b", b"b"), file("/outside/c", b"c"))
        assert {"app/a", "app/deep/b"} <= set(look(site.engine, child.id, "/app"))
        assert look(site.engine, child.id, "/etc/c")["c"].text == b"c"
        assert look(site.engine, child.id, "/link")["link"].kind == "symlink"

    def test_a_link_to_nothing_among_the_parents_becomes_a_directory(self, site: Site, base: EngineImage) -> None:
        found = look(site.engine, put(site, base, file("/dangling/a", b"a")).id, "/dangling")
        assert found["dangling"] == Seen("directory")
        assert found["dangling/a"].text == b"a"

    def test_names_of_any_bytes_and_length_survive(self, site: Site, empty: EngineImage) -> None:
        paths = [f"/odd/{name}" for name in ODD_NAMES] + ["/long" + "/part" * 200 + "/x"]
        child = put(site, empty, *(file(path, path.encode("utf-8", "surrogateescape")) for path in paths), link("/odd/l", ODD_NAMES[7]))
        found = look(site.engine, child.id, "/odd")
        assert {f"odd/{name}" for name in ODD_NAMES} | {"odd", "odd/l"} == set(found)
        assert all(found[f"odd/{name}"].text == f"/odd/{name}".encode("utf-8", "surrogateescape") for name in ODD_NAMES)
        assert found["odd/l"].text == b"not-utf8-\xff\xfe"
        assert look(site.engine, child.id, paths[-1])["x"].text == paths[-1].encode()

    def test_a_path_of_any_bytes_can_be_read_and_removed_again(self, site: Site, base: EngineImage) -> None:
        odd = [name[:245] for name in ODD_NAMES]
        removed = tuple(path for name in odd for path in (f"/app/{name}", f"/app/in {name}/{name}"))
        first = put(site, base, *(file(path) for path in removed))
        for name in odd:
            assert names(look(site.engine, first.id, f"/app/{name}")) == [name]
        emptied = tuple(f"/app/in {name}" for name in odd)
        second = put(site, first, removed=removed, emptied=emptied)
        assert look(site.engine, second.id, "/app") == look(site.engine, base.id, "/app")

    def test_a_file_of_many_chunks_arrives_whole(self, site: Site, empty: EngineImage) -> None:
        data = bytes(range(256)) * 20_000
        assert look(site.engine, put(site, empty, file("/big", data)).id, "/big")["big"].text == data

    def test_nothing_to_change_adds_no_layer(self, site: Site, base: EngineImage) -> None:
        child = site.engine.put_files(base.id, FileChanges(removed=("/app/never",)), ImageChange(labels={"a": "b"}))
        assert child.diff_ids == base.diff_ids
        assert child.labels["a"] == "b"

    def test_the_config_changes_with_the_files(self, site: Site) -> None:
        change = ImageChange(labels={"a": "b"}, env={"A": "1"}, cmd=("serve",), user="nobody", workdir="/app")
        parent = site.start()
        child = site.engine.put_files(parent.id, FileChanges(written=[file("/app/x")]), change)
        assert child.labels == {**parent.labels, "a": "b"}
        assert child.config["Cmd"] == ["serve"]
        assert (child.config["User"], child.config["WorkingDir"]) == ("nobody", "/app")
        assert not child.config.get("Entrypoint")

    def test_what_is_written_below_a_volume_of_the_image_is_in_the_image(self, site: Site, base: EngineImage) -> None:
        parent = site.engine.derive(base.id, ImageChange(volumes=("/app", "/data"), author="somebody"))
        child = put(site, parent, file("/app/new", b"n"), file("/data/x", b"d"), removed=("/app/one",))
        assert child.config["Volumes"] == {"/app": {}, "/data": {}}
        plain = site.engine.derive(child.id, ImageChange(removed_volumes=("/app", "/data")))
        assert {"app/new", "app/two"} <= set(look(site.engine, plain.id, "/app"))
        assert "app/one" not in look(site.engine, plain.id, "/app")
        assert look(site.engine, plain.id, "/data")["data/x"].text == b"d"
        assert child.diff_ids[:-1] == base.diff_ids


class TestOwners:
    def test_names_are_those_of_the_image_and_numbers_are_taken_as_they_are(self, site: Site, base: EngineImage) -> None:
        written = [file("/o/a", owner="web", group="staff"), file("/o/b", owner="0", group="3000000"), file("/o/c", owner="4000000000")]
        found = look(site.engine, put(site, base, *written, file("/o/d", group="huge")).id, "/o")
        assert [found[f"o/{name}"].owner for name in "abcd"] == [(1001, 50), (0, 3_000_000), (4_000_000_000, 0), (0, 4_000_000_000)]

    @pytest.mark.parametrize(
        ("owner", "group", "told"), [("nobody", None, "the user 'nobody' in /etc/passwd"), (None, "web", "the group 'web'")]
    )
    def test_a_name_the_image_does_not_know_is_refused(
        self, site: Site, base: EngineImage, owner: str | None, group: str | None, told: str
    ) -> None:
        with pytest.raises(InputError, match=f"expected {told}") as caught:
            put(site, base, file("/x", owner=owner, group=group))
        assert str(base.id) in caught.value.message
        assert caught.value.hint.startswith("give the number instead, or create the ")

    def test_an_image_without_accounts_takes_numbers_alone(self, site: Site, empty: EngineImage) -> None:
        assert look(site.engine, put(site, empty, file("/x", owner="1000", group="7")).id, "/x")["x"].owner == (1000, 7)
        with pytest.raises(InputError, match="expected the user 'root' in /etc/passwd of the image"):
            put(site, empty, file("/x", owner="root"))

    def test_accounts_behind_a_link_are_read(self, site: Site, base: EngineImage) -> None:
        parent = put(site, base, file("/usr/lib/passwd", b"far:x:77:77:::\n"), link("/etc/passwd", "../usr/lib/passwd"))
        assert look(site.engine, put(site, parent, file("/x", owner="far")).id, "/x")["x"].owner == (77, 0)

    def test_a_number_no_system_has_is_refused(self, site: Site, base: EngineImage) -> None:
        with pytest.raises(InputError, match="expected the number of a user to be at most 4294967294, found 4294967295"):
            put(site, base, file("/x", owner="4294967295"))


class TestRemoving:
    def test_removed_files_and_links_are_gone_and_nothing_else(self, site: Site, base: EngineImage) -> None:
        child = put(site, base, removed=("/app/one", "/link", "/app/deep/er/three"))
        assert names(look(site.engine, child.id, "/app")) == ["app", "app/deep", "app/deep/er", "app/two"]
        with pytest.raises(Gone):
            look(site.engine, child.id, "/link")
        assert look(site.engine, child.id, "/app")["app"] == Seen("directory", 0o750, owner=(7, 8))

    def test_a_directory_that_holds_nothing_more_goes_and_one_that_does_stays(self, site: Site, base: EngineImage) -> None:
        parent = put(site, base, file("/app/kept/mine"), file("/app/kept/theirs"))
        removed = ("/app/deep/er/three", "/app/kept/mine")
        child = put(site, parent, removed=removed, emptied=("/app/deep/er", "/app/deep", "/app/kept"))
        assert names(look(site.engine, child.id, "/app")) == ["app", "app/kept", "app/kept/theirs", "app/one", "app/two"]

    def test_of_nested_directories_those_with_something_left_stay(self, site: Site, base: EngineImage) -> None:
        parent = put(site, base, file("/app/deep/left"))
        child = put(site, parent, removed=("/app/deep/er/three",), emptied=("/app/deep/er", "/app/deep", "/app"))
        assert names(look(site.engine, child.id, "/app/deep")) == ["deep", "deep/left"]

    def test_a_directory_that_is_written_into_is_not_empty(self, site: Site, base: EngineImage) -> None:
        child = put(site, base, file("/app/deep/er/new"), removed=("/app/deep/er/three",), emptied=("/app/deep/er", "/app/deep"))
        found = look(site.engine, child.id, "/app/deep")
        assert names(found) == ["deep", "deep/er", "deep/er/new"]
        assert found["deep/er"] == Seen("directory", 0o750, owner=(7, 8))

    def test_an_empty_directory_nobody_named_is_somebodys(self, site: Site, base: EngineImage) -> None:
        parent = put(site, base, directory("/app/deep/er/cache"))
        child = put(site, parent, removed=("/app/deep/er/three",), emptied=("/app/deep/er", "/app/deep"))
        assert "deep/er/cache" in look(site.engine, child.id, "/app/deep")

    def test_a_directory_in_the_place_of_a_removed_file_stays(self, site: Site, base: EngineImage) -> None:
        parent = put(site, base, directory("/app/one"), file("/app/one/users"))
        child = put(site, parent, removed=("/app/one", "/app/two", "/app/deep/er/three/x"))
        assert {"app/one/users", "app/deep/er/three"} <= set(look(site.engine, child.id, "/app"))
        assert "app/two" not in look(site.engine, child.id, "/app")

    def test_removing_what_is_not_there_makes_nothing(self, site: Site, base: EngineImage) -> None:
        child = put(site, base, file("/app/new"), removed=("/app/never", "/no/such/path", "/dangling/x", "/loop/x"), emptied=("/no/such",))
        assert names(look(site.engine, child.id, "/app")) == sorted([*look(site.engine, base.id, "/app"), "app/new"])
        with pytest.raises(Gone):
            look(site.engine, child.id, "/no")

    def test_what_is_removed_and_written_is_what_was_written(self, site: Site, base: EngineImage) -> None:
        child = put(site, base, file("/app/one", b"new"), file("/app/deep", b"file"), removed=("/app/one", "/app/deep/er/three"))
        found = look(site.engine, child.id, "/app")
        assert (found["app/one"].text, found["app/deep"].text) == (b"new", b"file")

    def test_a_name_too_long_for_a_removal_is_refused(self, site: Site, base: EngineImage) -> None:
        parent = put(site, base, file("/app/" + "n" * 252))
        with pytest.raises(InputError, match="expected a name of at most 251 bytes for a file that an image's layer removes") as caught:
            put(site, parent, removed=("/app/" + "n" * 252,))
        assert "fromCacheVersion" in caught.value.hint
        assert put(site, parent, removed=("/app/" + "m" * 300,)).diff_ids == parent.diff_ids

    def test_a_removed_file_is_written_as_a_directory_of_files(self, site: Site, base: EngineImage) -> None:
        found = look(site.engine, put(site, base, file("/app/one/x", b"x"), removed=("/app/one",)).id, "/app/one")
        assert names(found) == ["one", "one/x"]

    def test_what_was_removed_is_gone_after_a_push_and_a_pull_too(self, site: Site, base: EngineImage) -> None:
        child = put(site, base, file("/app/deep/er", b"now a file"), removed=("/app/one", "/app/deep/er/three"), emptied=())
        pulled = _round_trip(site, child)
        assert look(site.engine, pulled.id, "/app") == look(site.engine, child.id, "/app")
        assert names(look(site.engine, pulled.id, "/app")) == ["app", "app/deep", "app/deep/er", "app/two"]

    @pytest.mark.parametrize("path", ["/app/.wh.one", "/app/.wh..wh..opq", "/.wh.dir/x"])
    def test_a_name_that_means_removal_in_a_layer_is_refused(self, site: Site, base: EngineImage, path: str) -> None:
        with pytest.raises(InputError, match="expected file names that an image's layer can hold") as caught:
            put(site, base, file(path))
        assert path in caught.value.message
        assert caught.value.hint == "rename it, or leave it out with excludePaths"

    @pytest.mark.parametrize("path", ["relative", "/a/../b", "/a//b", "/a/./b", "/a/"])
    def test_a_path_that_is_not_plain_is_our_mistake(self, site: Site, base: EngineImage, path: str) -> None:
        with pytest.raises(Bug, match="expected an absolute, plain path"):
            put(site, base, file(path))

    def test_a_file_below_a_file_that_is_written_too_is_refused(self, site: Site, base: EngineImage) -> None:
        with pytest.raises(InputError, match=r"expected a directory at '/a/b', below which '/a/b/c' is written") as caught:
            put(site, base, file("/a/b"), file("/a/b/c"))
        assert "two sources write one path" in caught.value.hint


class TestReading:
    def test_a_file_is_one_member_of_its_own_name(self, site: Site, base: EngineImage) -> None:
        assert look(site.engine, base.id, "/app/one") == {"one": Seen("file", 0o640, b"1")}

    def test_a_directory_is_itself_and_all_below(self, site: Site, base: EngineImage) -> None:
        found = look(site.engine, base.id, "/app/deep/")
        assert found == {
            "deep": Seen("directory", 0o750, owner=(7, 8)),
            "deep/er": Seen("directory", 0o750, owner=(7, 8)),
            "deep/er/three": Seen("file", 0o640, b"3"),
        }

    def test_a_link_is_a_link_and_links_before_it_are_followed(self, site: Site, base: EngineImage) -> None:
        assert look(site.engine, base.id, "/link") == {"link": Seen("symlink", 0o777, b"app")}
        assert names(look(site.engine, base.id, "/link/deep")) == ["deep", "deep/er", "deep/er/three"]
        assert look(site.engine, base.id, "/outside/passwd")["passwd"].text == PASSWD

    @pytest.mark.parametrize("path", ["/never", "/app/never", "/app/one/below", "/dangling/x"])
    def test_what_is_not_there_is_gone(self, site: Site, base: EngineImage, path: str) -> None:
        with pytest.raises(Gone, match=f"expected {path} in the image, found nothing") as caught, site.engine.read_files(base.id, path):
            pass
        assert caught.value.hint == "correct the path"

    def test_the_root_is_the_images_own_files(self, site: Site, base: EngineImage) -> None:
        found = look(site.engine, base.id, "/")
        assert found["app/deep/er/three"].text == b"3"
        assert found["etc/passwd"].text == PASSWD
        assert found["."].kind == "directory"
        assert {"etc/hosts", ".dockerenv", "etc/resolv.conf", "etc/mtab"}.isdisjoint(found)

    def test_reading_may_end_early_and_leaves_nothing_open(self, site: Site) -> None:
        image = site.engine.import_rootfs(site.rootfs, AMD64, {})
        for _ in range(3):
            with site.engine.read_files(image.id, "/bin") as members:
                assert next(members)[0].isdir()
        with pytest.raises(StopIteration), site.engine.read_files(image.id, "/bin") as members:
            next(member for member, _ in members if member.name == "no such")

    def test_an_image_that_was_removed_is_gone(self, site: Site) -> None:
        with pytest.raises(Gone, match="expected the engine to have the image"), site.engine.read_files(ImageId.of(b"no"), "/"):
            pass


@pytest.mark.engine
class TestRealEngine:
    def test_a_path_through_links_never_leaves_the_image(self, real: Site, tmp_path: Path) -> None:
        outside = tmp_path / "outside"
        outside.mkdir()
        with tarfile.open(tmp_path / "evil.tar", "w") as tar:
            tar.addfile(*_member("app", str(outside)))
        parent = real.engine.import_rootfs(tmp_path / "evil.tar", AMD64, {})
        child = put(real, parent, file("/app/x", b"in the image"))
        assert list(outside.iterdir()) == []
        assert look(real.engine, child.id, "/app")["app/x"].text == b"in the image"

    def test_a_layer_with_a_removal_is_what_other_tools_read(self, real: Site, docker_host: str, base_of_real: EngineImage) -> None:
        import docker

        child = put(real, base_of_real, file("/app/new"), removed=("/app/one",), emptied=())
        client = docker.APIClient(docker_host, version="auto")
        try:
            saved = io.BytesIO(b"".join(client.get_image(str(child.id))))
        finally:
            client.close()
        assert _layer_names(saved) == ["app", "app/.wh.one", "app/new"]

    def test_no_container_stays_after_reading_and_writing(self, real: Site, docker_host: str, base_of_real: EngineImage) -> None:
        import docker

        put(real, base_of_real, file("/x"))
        with pytest.raises(InputError):
            put(real, base_of_real, file("/x", owner="unknown"))
        with real.engine.read_files(base_of_real.id, "/app") as members:
            next(members)
        client = docker.APIClient(docker_host, version="auto")
        try:
            assert client.containers(all=True, filters={"name": "^/?stagepin-"}) == []
        finally:
            client.close()

    def test_content_that_is_shorter_than_said_ends_the_stage(self, real: Site, base_of_real: EngineImage) -> None:
        torn = LayerFile("/x", "file", 0o644, 10, lambda: io.BytesIO(b"12345"))
        with pytest.raises(Bug, match="expected 10 bytes of /x, found 5"):
            put(real, base_of_real, torn)

    def test_the_copy_without_volumes_leaves_no_image_behind_that_nothing_needs(self, real: Site, base_of_real: EngineImage) -> None:
        parent = real.engine.derive(base_of_real.id, ImageChange(volumes=("/data",), env={"A": "1"}, author="somebody"))
        child = put(real, parent, file("/data/x"))
        assert child.config["Env"] == parent.config["Env"]
        assert child.config["Volumes"] == {"/data": {}}


@pytest.fixture
def base_of_real(real: Site, tmp_path: Path) -> EngineImage:
    return real.engine.import_rootfs(_archive(tmp_path / "base.tar"), AMD64, {})


@pytest.mark.engine
def test_an_engine_killed_while_files_are_written_is_unavailable(tmp_path: Path) -> None:
    with start_engine(tmp_path / "engine") as own:
        engine = DockerEngine(own.docker_host, credentials=no_credentials, environ={})
        base = engine.import_rootfs(None, AMD64, {})
        killing = LayerFile("/x", "file", 0o644, 1 << 30, lambda: _Endless(own.kill))
        with pytest.raises(Unavailable) as caught:
            engine.put_files(base.id, FileChanges(written=[killing]), ImageChange())
        assert "is the engine still running" in caught.value.hint


@pytest.mark.engine
def test_an_engine_killed_while_files_are_read_is_unavailable(tmp_path: Path) -> None:
    with start_engine(tmp_path / "engine") as own:
        engine = DockerEngine(own.docker_host, credentials=no_credentials, environ={})
        base = engine.import_rootfs(None, AMD64, {})
        data = bytes(64 << 20)
        child = engine.put_files(base.id, FileChanges(written=[file("/d/big", data), file("/d/small")]), ImageChange())

        def read() -> None:
            with engine.read_files(child.id, "/d") as members:
                next(members)
                own.kill()
                for _, content in members:
                    assert content is not None
                    while content.read(1 << 20):
                        pass

        with pytest.raises(Unavailable):
            read()


def test_a_dead_fake_neither_writes_nor_reads() -> None:
    engine = FakeEngine()
    image = engine.import_rootfs(None, AMD64, {}).id
    engine.dead = True
    with pytest.raises(Unavailable):
        engine.put_files(image, FileChanges(), ImageChange())
    with pytest.raises(Unavailable), engine.read_files(image, "/"):
        pass


class _Endless(io.BytesIO):
    """Zeros; after 32 MiB something happens."""

    def __init__(self, happens: object) -> None:
        super().__init__()
        self._given, self._happens = 0, happens

    def read(self, size: int | None = -1, /) -> bytes:
        self._given += size or 0
        if self._given >= 32 << 20 and callable(self._happens):
            self._happens()
            self._happens = None
        return bytes(size or 0)


def _round_trip(site: Site, image: EngineImage) -> EngineImage:
    """The image after a push, forgotten here and pulled again."""
    name = site.repository.tagged("files")
    site.engine.tag(image.id, name)
    pinned: Reference = name.at(site.engine.push(name))
    return site.engine.pull(pinned)


def _layer_names(saved: io.BytesIO) -> list[str]:
    """The members of the last layer of a ``docker save``."""
    with tarfile.open(fileobj=saved) as tar:
        manifest, read = tar.extractfile("manifest.json"), tar.extractfile
        assert manifest is not None
        layer = read(json.load(manifest)[0]["Layers"][-1])
        assert layer is not None
        with tarfile.open(fileobj=layer) as inner:
            return sorted(inner.getnames())
