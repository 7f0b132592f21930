"""The package store's own decisions, over packages in memory: who wins, what is uploaded, what is never concluded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest

from ci_plugin.errors import Unavailable
from ci_plugin.forge.package_store import PackageFile, PackageStore
from ci_plugin.retry import RetryPolicy
from ci_plugin.values.digest import Digest
from ci_plugin.values.pipeline import PipelineId, Scope, ScopeKey
from tests.fakes.clock import FakeClock

KEY = ScopeKey(PipelineId("gitlab", "gitlab.example.com", "4711", "group/app", "1001"), Scope("pipeline:1001"))


@dataclass
class MemoryPackages:
    """Implements ``package_store.Packages``; ``before`` is called with the name of every method before it acts."""

    files: list[tuple[PackageFile, bytes]] = field(default_factory=list)
    before: Callable[[str], None] = lambda _: None
    name: str = "gitlab.example.com/4711"
    stale: list[Sequence[PackageFile]] = field(default_factory=list)
    """What the next listings show instead of what is there."""
    deleted: set[str] = field(default_factory=set)
    """Names that listings leave out and a lagging replica still reads."""
    loses_files: bool = False

    def list_files(self, version: str) -> Sequence[PackageFile]:
        self.before("list")
        assert version == KEY.short_hash
        return self.stale.pop(0) if self.stale else [file for file, _ in self.files if file.name not in self.deleted]

    def upload(self, version: str, file_name: str, data: bytes) -> None:
        self.before("upload")
        self.add(file_name, data)
        self.before("uploaded")

    def find_file(self, version: str, file_name: str) -> bytes | None:
        self.before("find")
        return None if self.loses_files else next((data for file, data in reversed(self.files) if file.name == file_name), None)

    def add(self, file_name: str, data: bytes, *, sha256: str = "") -> None:
        """A file, whoever brings it."""
        self.files.append((PackageFile(len(self.files) + 1, file_name, sha256 or Digest.of(data).hex), data))


@pytest.fixture
def packages() -> MemoryPackages:
    return MemoryPackages()


@pytest.fixture
def store(packages: MemoryPackages) -> PackageStore:
    return PackageStore(packages, RetryPolicy(FakeClock().sleep))


def fail(packages: MemoryPackages, method: str, times: int) -> None:
    """The next calls of a method end with Unavailable."""
    left = [times]

    def act(called: str) -> None:
        if called == method and left[0]:
            left[0] -= 1
            raise Unavailable("expected an answer, found none")

    packages.before = act


def test_the_lowest_id_is_the_pins_in_whatever_order_they_are_listed(packages: MemoryPackages, store: PackageStore) -> None:
    for number in range(3):
        packages.add(f"pins-{number}.json", b"%d" % number)
    packages.files.reverse()
    assert store.find_pins(KEY) == b"0"


def test_the_highest_id_is_the_record(packages: MemoryPackages, store: PackageStore) -> None:
    for number in range(3):
        packages.add(f"build-{number}.json", b"%d" % number)
    packages.files.reverse()
    assert store.find_record(KEY) == b"2"


def test_no_two_uploads_have_one_name_even_of_the_same_bytes(packages: MemoryPackages, store: PackageStore) -> None:
    fail(packages, "uploaded", 1)
    packages.stale = [[], []]
    assert store.create_pins(KEY, b"same") == b"same"
    names = [file.name for file, _ in packages.files]
    assert len(names) == len(set(names)) == 2
    assert all(name.startswith(f"pins-{Digest.of(b'same').hex[:12]}-") for name in names)


def test_where_the_scope_has_pins_nothing_is_uploaded(packages: MemoryPackages, store: PackageStore) -> None:
    packages.add("pins-1.json", b"first")
    assert store.create_pins(KEY, b"second") == b"first"
    assert len(packages.files) == 1


def test_who_comes_first_between_the_look_and_the_upload_wins(packages: MemoryPackages, store: PackageStore) -> None:
    def overtake(called: str) -> None:
        if called == "upload":
            packages.add("pins-other.json", b"theirs")

    packages.before = overtake
    assert store.create_pins(KEY, b"ours") == b"theirs"


def test_a_listing_of_a_package_that_was_deleted_meanwhile_does_not_count(packages: MemoryPackages, store: PackageStore) -> None:
    packages.add("pins-deleted.json", b"deleted")
    (deleted,) = [file for file, _ in packages.files]
    packages.stale = [[], [deleted]]
    packages.deleted.add(deleted.name)
    assert store.create_pins(KEY, b"ours") == b"ours"
    assert packages.stale == []


def test_an_upload_that_failed_after_it_arrived_is_found_by_the_next_look(packages: MemoryPackages, store: PackageStore) -> None:
    fail(packages, "uploaded", 1)
    assert store.create_pins(KEY, b"ours") == b"ours"
    assert len(packages.files) == 1


def test_an_upload_that_succeeded_is_not_repeated_whatever_fails_afterwards(packages: MemoryPackages, store: PackageStore) -> None:
    fail(packages, "find", 4)
    assert store.create_pins(KEY, b"ours") == b"ours"
    assert len(packages.files) == 1


@pytest.mark.parametrize("method", ["list", "upload", "find"])
def test_what_stays_away_ends_with_unavailable(packages: MemoryPackages, store: PackageStore, method: str) -> None:
    fail(packages, method, 1000)
    with pytest.raises(Unavailable, match="expected an answer, found none"):
        store.create_pins(KEY, b"ours")


def test_a_record_that_is_there_already_is_not_uploaded_again(packages: MemoryPackages, store: PackageStore) -> None:
    for _ in range(2):
        assert store.put_record(KEY, b"record", b"pins")
    assert len(packages.files) == 2


def test_a_record_follows_its_pins_and_never_comes_first(packages: MemoryPackages, store: PackageStore) -> None:
    assert store.put_record(KEY, b"record", b"pins")
    assert [file.name.partition("-")[0] for file, _ in packages.files] == ["pins", "build"]


def test_a_record_of_other_pins_is_not_filed(packages: MemoryPackages, store: PackageStore) -> None:
    packages.add("pins-1.json", b"first")
    assert not store.put_record(KEY, b"record", b"others")
    assert len(packages.files) == 1


def test_a_record_whose_upload_failed_after_it_arrived_is_not_uploaded_again(packages: MemoryPackages, store: PackageStore) -> None:
    store.create_pins(KEY, b"pins")
    fail(packages, "uploaded", 1)
    assert store.put_record(KEY, b"record", b"pins")
    assert len(packages.files) == 2


def test_bytes_that_do_not_match_gitlabs_own_checksum_are_not_believed(packages: MemoryPackages, store: PackageStore) -> None:
    packages.add("pins-1.json", b"damaged", sha256="0" * 64)
    with pytest.raises(Unavailable, match=f"expected pins-1.json with sha256 {'0' * 64}, found {Digest.of(b'damaged').hex}"):
        store.find_pins(KEY)


def test_a_listed_file_that_cannot_be_read_is_never_absence(packages: MemoryPackages, store: PackageStore) -> None:
    packages.add("pins-1.json", b"there")
    packages.loses_files = True
    with pytest.raises(Unavailable, match=r"expected to read pins-1\.json, which the generic package on gitlab\.example\.com/4711 lists"):
        store.find_pins(KEY)
