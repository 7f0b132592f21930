"""The port PinStore over GitHub's git refs, through PyGithub and HTTP: the common contract, races, faults at every request, lag."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from ci_plugin.errors import Unavailable
from ci_plugin.forge.access import ForgeAccess
from ci_plugin.forge.github import GitHub
from ci_plugin.forge.ref_store import GitRefStore
from ci_plugin.retry import RetryPolicy
from tests.contract.pin_store_suite import KEY, NewStore, PinStoreSuite
from tests.fakes.github import FakeGitHub, Project
from tests.fakes.github_openapi import problems

RACERS = 16
CREATE_REQUESTS = 10
RECORD_REQUESTS = 19


@pytest.fixture
def fake() -> Iterator[FakeGitHub]:
    with FakeGitHub(record=True) as running:
        yield running
    assert problems(running.exchanges) == []


@pytest.fixture
def project(fake: FakeGitHub) -> Project:
    made = fake.add_project("group/app")
    made.commit_files({"README.md": b"hello"})
    return made


@pytest.fixture
def new_store(fake: FakeGitHub, project: Project) -> NewStore:
    token = fake.add_token("ghs_canary", contents="write")

    def make() -> GitRefStore:
        access = ForgeAccess("github", fake.url, "127.0.0.1", "group/app", token, True)
        return GitRefStore(GitHub(access).git_database(), RetryPolicy(fake.clock.sleep))

    return make


class TestGitRefStore(PinStoreSuite):
    """The contract every store keeps."""


def test_of_sixteen_pin_jobs_at_once_one_wins_and_all_adopt_it(new_store: NewStore) -> None:
    barrier = Barrier(RACERS)

    def pin(number: int) -> bytes:
        store = new_store()
        barrier.wait(10)
        return store.create_pins(KEY, f'"pins of job {number}"'.encode())

    with ThreadPoolExecutor(RACERS) as pool:
        adopted = set(pool.map(pin, range(RACERS)))
    assert adopted == {new_store().find_pins(KEY)}


def test_how_many_requests_it_takes(fake: FakeGitHub, new_store: NewStore) -> None:
    new_store().create_pins(KEY, b'"pins"')
    assert len(fake.requests) == CREATE_REQUESTS
    fake.requests.clear()
    new_store().find_pins(KEY)
    assert len(fake.requests) == 4
    fake.requests.clear()
    new_store().put_record(KEY, b'"record"', b'"pins"')
    assert len(fake.requests) == RECORD_REQUESTS - CREATE_REQUESTS + 2


FAULTS: dict[str, dict[str, object]] = {
    "never arrives": {"drop": True},
    "loses its reply": {"lose_reply": True},
    "is answered by half": {"cut": True},
    "meets a 502": {"status": 502},
    "meets the rate limit": {"status": 429, "headers": {"Retry-After": "2"}},
    "is answered by a proxy": {"status": 200, "body": b"<html>login</html>"},
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("skip", range(CREATE_REQUESTS))
def test_whichever_request_fails_once_the_pins_are_created_once(skip: int, fault: str, fake: FakeGitHub, new_store: NewStore) -> None:
    fake.fail(skip=skip, **FAULTS[fault])
    assert new_store().create_pins(KEY, b'"mine"') == b'"mine"'
    assert new_store().create_pins(KEY, b'"later"') == b'"mine"'


@pytest.mark.parametrize("fault", ["never arrives", "loses its reply", "meets a 502"])
@pytest.mark.parametrize("skip", range(RECORD_REQUESTS))
def test_whichever_request_fails_once_the_record_is_filed(skip: int, fault: str, fake: FakeGitHub, new_store: NewStore) -> None:
    fake.fail(skip=skip, **FAULTS[fault])
    assert new_store().put_record(KEY, b'"record"', b'"mine"')
    assert (new_store().find_pins(KEY), new_store().find_record(KEY)) == (b'"mine"', b'"record"')


@pytest.mark.parametrize("skip", range(3, 7))
def test_a_writer_that_never_hears_back_stops_and_the_next_job_adopts_or_creates(skip: int, fake: FakeGitHub, new_store: NewStore) -> None:
    fake.fail(lose_reply=True, times=None, skip=skip)
    with pytest.raises(Unavailable, match=r"expected an answer from 127\.0\.0\.1:\d+, found: no connection, or one that was cut"):
        new_store().create_pins(KEY, b'"mine"')
    assert len(fake.clock.slept) == 5
    fake._faults.clear()
    winner = new_store().create_pins(KEY, b'"next"')
    assert winner in (b'"mine"', b'"next"')
    assert new_store().find_pins(KEY) == winner


@pytest.mark.parametrize("reads", range(1, 11))
def test_reads_that_lag_behind_the_writes_are_waited_for(reads: int, fake: FakeGitHub, new_store: NewStore) -> None:
    fake.lag(reads=reads)
    assert new_store().create_pins(KEY, b'"mine"') == b'"mine"'
    fake.catch_up()
    assert new_store().find_pins(KEY) == b'"mine"'


def test_a_rivals_ref_that_no_read_shows_stops_the_job_and_never_gives_it_its_own(fake: FakeGitHub, new_store: NewStore) -> None:
    fake.lag(seconds=3600)
    with pytest.raises(
        Unavailable, match=r"expected refs/stagepin/\w{12} on 127\.0\.0\.1/group/app after creating it, found none yet|refused to create"
    ):
        new_store().create_pins(KEY, b'"rival"')
    with pytest.raises(Unavailable, match=r"after being refused to create it, found none yet"):
        new_store().create_pins(KEY, b'"mine"')
    fake.catch_up()
    assert new_store().find_pins(KEY) == b'"rival"'


def test_the_ref_is_outside_branches_and_tags_and_git_shows_what_is_in_it(project: Project, new_store: NewStore) -> None:
    new_store().put_record(KEY, b'"record"', b'"pins"')
    (name,) = (ref for ref in project.git.refs if not ref.startswith("refs/heads/"))
    assert name == f"refs/stagepin/{KEY.short_hash}"
