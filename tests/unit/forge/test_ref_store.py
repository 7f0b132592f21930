"""The git ref as a store: the first ref stays, replies are not believed, lag is never absence."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from itertools import count
from typing import Any, TypeVar

import pytest

from ci_plugin.errors import AccessDenied, DocumentError, StagepinError, Unavailable
from ci_plugin.forge.ref_store import GitRefStore
from ci_plugin.retry import RetryPolicy
from ci_plugin.values.document import LARGEST_DOCUMENT
from ci_plugin.values.pipeline import PipelineId, Scope, ScopeKey
from tests.fakes.clock import FakeClock

KEY = ScopeKey(PipelineId("github", "github.com", "7", "group/app", "1001"), Scope("pipeline:1001"))
REF = f"stagepin/{KEY.short_hash}"
_T = TypeVar("_T")


class Database:
    """Implements ``GitDatabase`` in memory. ``before`` and ``after`` are called with the number of each call and its method's name."""

    name = "github.com/group/app"

    def __init__(self) -> None:
        self.objects: dict[str, Any] = {}
        self.refs: dict[str, str] = {}
        self.calls: list[str] = []
        self.hidden: set[str] = set()
        """Ids and refs that reads do not see."""
        self.before: Callable[[int, str], None] = lambda number, method: None
        self.after: Callable[[int, str], None] = lambda number, method: None
        self._numbers = count(1)

    def _run(self, method: str, effect: Callable[[], _T]) -> _T:
        number = next(self._numbers)
        self.calls.append(method)
        self.before(number, method)
        answer = effect()
        self.after(number, method)
        return answer

    def _store(self, content: object) -> str:
        id_ = hashlib.sha1(repr(content).encode(), usedforsecurity=False).hexdigest()
        self.objects[id_] = content
        return id_

    def find_ref(self, ref: str) -> str | None:
        return self._run("find_ref", lambda: None if ref in self.hidden else self.refs.get(ref))

    def create_ref(self, ref: str, commit: str) -> bool:
        return self._run("create_ref", lambda: self.refs.setdefault(ref, commit) is commit)

    def advance_ref(self, ref: str, commit: str) -> bool:
        def move() -> bool:
            _, parents, _ = self.objects[commit]
            if parents != (self.refs[ref],):
                return False
            self.refs[ref] = commit
            return True

        return self._run("advance_ref", move)

    def find_tree(self, commit: str) -> str | None:
        return self._run("find_tree", lambda: None if commit in self.hidden else self.objects[commit][0])

    def find_files(self, tree: str) -> Mapping[str, str] | None:
        return self._run("find_files", lambda: None if tree in self.hidden else dict(self.objects[tree]))

    def find_blob(self, blob: str) -> bytes | None:
        return self._run("find_blob", lambda: None if blob in self.hidden else self.objects[blob])

    def write_blob(self, data: bytes) -> str:
        return self._run("write_blob", lambda: self._store(data))

    def write_tree(self, files: Mapping[str, str]) -> str:
        return self._run("write_tree", lambda: self._store(tuple(sorted(files.items()))))

    def write_commit(self, tree: str, parents: tuple[str, ...], message: str) -> str:
        return self._run("write_commit", lambda: self._store((tree, parents, message)))


@pytest.fixture
def database() -> Database:
    return Database()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def store(database: Database, clock: FakeClock) -> GitRefStore:
    return GitRefStore(database, RetryPolicy(clock.sleep))


class Killed(BaseException):
    """The job is gone."""


def raise_once(error: BaseException, at: int) -> Callable[[int, str], None]:
    def act(number: int, method: str) -> None:
        if number == at:
            raise error

    return act


def test_pins_are_a_file_in_a_commit_without_parents(store: GitRefStore, database: Database) -> None:
    assert store.create_pins(KEY, b"pins") == b"pins"
    tree, parents, message = database.objects[database.refs[REF]]
    assert (parents, message) == ((), "stagepin: pins of pipeline:1001")
    assert [(name, database.objects[blob]) for name, blob in database.objects[tree]] == [("pins.json", b"pins")]


def test_a_record_comes_in_a_commit_on_top_and_leaves_the_pins_alone(store: GitRefStore, database: Database) -> None:
    store.create_pins(KEY, b"pins")
    first = database.refs[REF]
    assert store.put_record(KEY, b"record", b"pins")
    tree, parents, message = database.objects[database.refs[REF]]
    assert (parents, message) == ((first,), "stagepin: build record of pipeline:1001")
    assert [name for name, _ in database.objects[tree]] == ["build.json", "pins.json"]
    assert (store.find_pins(KEY), store.find_record(KEY)) == (b"pins", b"record")


def test_the_same_record_again_makes_no_commit(store: GitRefStore, database: Database) -> None:
    store.put_record(KEY, b"record", b"pins")
    tip = database.refs[REF]
    assert store.put_record(KEY, b"record", b"pins")
    assert database.refs[REF] == tip


def calls_of(action: Callable[[GitRefStore], object]) -> int:
    database = Database()
    action(GitRefStore(database, RetryPolicy(FakeClock().sleep)))
    return len(database.calls)


CREATE = range(1, calls_of(lambda store: store.create_pins(KEY, b"mine")) + 1)
RECORD = range(1, calls_of(lambda store: store.put_record(KEY, b"record", b"mine")) + 1)


@pytest.mark.parametrize("at", CREATE)
@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_pin_job_killed_anywhere_leaves_one_set_for_the_next(at: int, moment: str, store: GitRefStore, database: Database) -> None:
    setattr(database, moment, raise_once(Killed(), at))
    with pytest.raises(Killed):
        store.create_pins(KEY, b"mine")
    database.before = database.after = lambda number, method: None
    had_begun = REF in database.refs
    winner = store.create_pins(KEY, b"next")
    assert winner == (b"mine" if had_begun else b"next")
    assert store.find_pins(KEY) == winner
    assert store.create_pins(KEY, b"third") == winner


def _kept(database: Database) -> list[bytes]:
    """The files that the ref holds."""
    tree = database.objects[database.refs[REF]][0]
    return [database.objects[blob] for _, blob in database.objects[tree]]


@pytest.mark.parametrize("at", CREATE)
@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_request_or_a_reply_lost_anywhere_is_made_up_for(at: int, moment: str, store: GitRefStore, database: Database) -> None:
    setattr(database, moment, raise_once(Unavailable("cut"), at))
    assert store.create_pins(KEY, b"mine") == b"mine"
    assert _kept(database) == [b"mine"]


@pytest.mark.parametrize("at", RECORD)
@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_record_survives_a_loss_anywhere_too(at: int, moment: str, store: GitRefStore, database: Database) -> None:
    setattr(database, moment, raise_once(Unavailable("cut"), at))
    assert store.put_record(KEY, b"record", b"mine")
    assert sorted(_kept(database)) == [b"mine", b"record"]


@pytest.mark.parametrize("at", CREATE)
def test_another_job_that_is_first_at_any_point_wins(at: int, store: GitRefStore, database: Database) -> None:
    def rival(number: int, method: str) -> None:
        if number == at and REF not in database.refs:
            tree = database._store((("pins.json", database._store(b"rival")),))
            database.refs[REF] = database._store((tree, (), "rival"))

    database.before = rival
    was_created = at > database_calls_until_created()
    assert store.create_pins(KEY, b"mine") == (b"mine" if was_created else b"rival")


def database_calls_until_created() -> int:
    database = Database()
    GitRefStore(database, RetryPolicy(FakeClock().sleep)).create_pins(KEY, b"mine")
    return database.calls.index("create_ref") + 1


def test_two_records_at_once_both_arrive_one_after_the_other(store: GitRefStore, database: Database, clock: FakeClock) -> None:
    store.create_pins(KEY, b"pins")
    rival = GitRefStore(database, RetryPolicy(clock.sleep))

    def meanwhile(number: int, method: str) -> None:
        if method == "advance_ref":
            database.before = lambda number, method: None
            rival.put_record(KEY, b"other", b"pins")

    database.before = meanwhile
    assert store.put_record(KEY, b"record", b"pins")
    assert store.find_record(KEY) == b"record"
    assert len(clock.slept) == 1


class TestLag:
    @pytest.mark.parametrize("what", ["find_tree", "find_files", "find_blob"])
    def test_what_a_ref_names_and_nobody_can_read_yet_is_no_absence(
        self, what: str, store: GitRefStore, database: Database, clock: FakeClock
    ) -> None:
        store.create_pins(KEY, b"pins")
        commit = database.refs[REF]
        tree = database.objects[commit][0]
        blob = database.objects[tree][0][1]
        database.hidden = {{"find_tree": commit, "find_files": tree, "find_blob": blob}[what]}
        actions: list[Callable[[], object]] = [lambda: store.find_pins(KEY), lambda: store.create_pins(KEY, b"mine")]
        for action in actions:
            with pytest.raises(Unavailable) as caught:
                action()
            message = f"expected to read what refs/{REF} on github.com/group/app names, found it not there yet"
            assert caught.value.message == message
            assert caught.value.hint == "GitHub's replicas lag behind each other; run the job again"
        assert len(clock.slept) == 10

    def test_a_read_that_comes_in_time_is_waited_for(self, store: GitRefStore, database: Database, clock: FakeClock) -> None:
        store.create_pins(KEY, b"pins")
        database.hidden = {database.refs[REF]}

        def appear(number: int, method: str) -> None:
            if len(clock.slept) == 3:
                database.hidden = set()

        database.before = appear
        assert store.find_pins(KEY) == b"pins"

    def test_a_ref_that_exists_and_that_nobody_shows_stops_the_job_and_nothing_is_resolved_again(
        self, store: GitRefStore, database: Database, clock: FakeClock
    ) -> None:
        rival = GitRefStore(database, RetryPolicy(clock.sleep))
        rival.create_pins(KEY, b"rival")
        database.hidden = {REF}
        with pytest.raises(Unavailable) as caught:
            store.create_pins(KEY, b"mine")
        assert caught.value.message == f"expected refs/{REF} on github.com/group/app after being refused to create it, found none yet"
        assert caught.value.exit_code == 3
        assert len(clock.slept) == 5
        database.hidden = set()
        assert store.find_pins(KEY) == b"rival"

    def test_a_ref_just_created_that_nobody_shows_stops_the_job(self, store: GitRefStore, database: Database) -> None:
        database.hidden = {REF}
        with pytest.raises(Unavailable, match=r"after (creating it|being refused to create it), found none yet"):
            store.create_pins(KEY, b"mine")
        assert database.calls.count("write_commit") == 1

    def test_a_reader_that_found_nothing_knows_how_long_to_wait(self, store: GitRefStore) -> None:
        assert store.lag == 5.0


class TestForeignContent:
    def test_a_ref_that_holds_something_else_is_refused_and_kept(self, store: GitRefStore, database: Database) -> None:
        tree = database._store((("README.md", database._store(b"hello")),))
        database.refs[REF] = commit = database._store((tree, (), "somebody's"))
        actions: list[Callable[[], object]] = [
            lambda: store.find_pins(KEY),
            lambda: store.create_pins(KEY, b"mine"),
            lambda: store.put_record(KEY, b"record", b"mine"),
        ]
        for action in actions:
            with pytest.raises(DocumentError) as caught:
                action()
            assert caught.value.message == "expected a pin set of stagepin, found no pins.json in the ref"
            assert str(caught.value.where) == f"github.com/group/app refs/{REF}"
            assert caught.value.hint == "somebody else wrote this ref; delete it, then run the pin job again"
        assert database.refs[REF] == commit

    def test_other_pins_refuse_the_record(self, store: GitRefStore, database: Database) -> None:
        store.create_pins(KEY, b"pins")
        tip = database.refs[REF]
        assert not store.put_record(KEY, b"record", b"others")
        assert (database.refs[REF], store.find_record(KEY)) == (tip, None)

    def test_a_document_too_large_is_neither_sent_nor_taken(self, store: GitRefStore, database: Database) -> None:
        large = b" " * (LARGEST_DOCUMENT + 1)
        for action in (lambda: store.create_pins(KEY, large), lambda: store.put_record(KEY, large, b"pins")):
            with pytest.raises(DocumentError, match=rf"of at most {LARGEST_DOCUMENT} bytes, found {LARGEST_DOCUMENT + 1}"):
                action()
        assert database.calls == []
        tree = database._store((("pins.json", database._store(large)),))
        database.refs[REF] = database._store((tree, (), "large"))
        with pytest.raises(DocumentError, match=r"expected a pins\.json of at most") as caught:
            store.find_pins(KEY)
        assert str(caught.value.where) == f"github.com/group/app refs/{REF}"


@pytest.mark.parametrize("error", [AccessDenied("no"), DocumentError("broken")])
def test_what_no_retry_mends_is_tried_once(error: StagepinError, store: GitRefStore, database: Database, clock: FakeClock) -> None:
    database.before = raise_once(error, 1)
    with pytest.raises(type(error)):
        store.create_pins(KEY, b"mine")
    assert (len(database.calls), clock.slept) == (1, [])


def test_the_store_says_what_it_is_and_what_it_promises(store: GitRefStore) -> None:
    assert store.name == "git ref on github.com/group/app"
    assert store.guarantee == (
        "create-if-absent: of any number of pin jobs one wins and all adopt it, over re-runs of failed and of all jobs; "
        "kept until somebody deletes the ref"
    )
