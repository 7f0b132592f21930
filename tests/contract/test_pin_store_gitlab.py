"""The port PinStore over GitLab's generic packages, through python-gitlab, against the fake; and what only this store must stand."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from ci_plugin.errors import AccessDenied, DocumentError, InputError, Unavailable
from ci_plugin.values.document import LARGEST_DOCUMENT
from tests.contract.pin_store_suite import KEY, NewStore, PinStoreSuite
from tests.fakes.clock import FakeClock
from tests.fakes.gitlab import FakeGitLab, Request
from tests.fakes.gitlab_access import open_package_store
from tests.fakes.gitlab_state import REPORTER

GENERIC = "/packages/generic/stagepin/"
FILES = "/package_files"


@pytest.fixture
def gitlab() -> Iterator[FakeGitLab]:
    with FakeGitLab() as running:
        running.add_project()
        yield running


@pytest.fixture
def token(gitlab: FakeGitLab) -> str:
    return gitlab.add_job_token(gitlab.state.projects[4711])


def file_names(gitlab: FakeGitLab) -> list[str]:
    return [file.name for package in gitlab.state.packages for file in package.files]


class TestPackageStore(PinStoreSuite):
    @pytest.fixture
    def new_store(self, gitlab: FakeGitLab, token: str) -> NewStore:
        return lambda: open_package_store(gitlab, token)


class TestPackageStoreWithoutDuplicates(PinStoreSuite):
    @pytest.fixture
    def new_store(self, gitlab: FakeGitLab, token: str) -> NewStore:
        gitlab.state.projects[4711].allows_duplicates = False
        return lambda: open_package_store(gitlab, token)


class TestPackageStoreWithObjectStorage(PinStoreSuite):
    @pytest.fixture
    def new_store(self, gitlab: FakeGitLab, token: str) -> NewStore:
        gitlab.keep_objects_elsewhere()
        return lambda: open_package_store(gitlab, token)


@pytest.mark.parametrize("racing_creation_fails", [False, True])
def test_of_eight_pin_jobs_that_upload_at_one_time_one_wins_and_both_adopt_it(
    gitlab: FakeGitLab, token: str, racing_creation_fails: bool
) -> None:
    gitlab.racing_creation_fails = racing_creation_fails
    barrier = threading.Barrier(8, timeout=30)
    first_uploads: set[str] = set()

    def meet(request: Request) -> None:
        document = request.body.decode()
        if request.method == "PUT" and document not in first_uploads:
            first_uploads.add(document)
            barrier.wait()

    gitlab.on_request = meet
    adopted: dict[bytes, bytes] = {}

    def pin(document: bytes) -> None:
        adopted[document] = open_package_store(gitlab, token).create_pins(KEY, document)

    threads = [threading.Thread(target=pin, args=(document,)) for document in (b'"job %d"' % number for number in range(8))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(adopted) == 8
    assert len(set(adopted.values())) == 1
    assert open_package_store(gitlab, token).find_pins(KEY) in adopted.values()
    assert gitlab.count("PUT") == 8, "a 500 for a later creator is followed by a look, which finds the winner"


@pytest.mark.parametrize(
    "fault",
    [{"lose_reply": True}, {"status": 500, "commits": True}, {"status": 502, "commits": True}],
    ids=["the reply is lost", "500 after the commit", "502 after the commit"],
)
def test_an_upload_that_arrived_without_a_good_reply_is_found_and_not_repeated(
    gitlab: FakeGitLab, token: str, fault: dict[str, object]
) -> None:
    gitlab.fail(method="PUT", **fault)
    assert open_package_store(gitlab, token).create_pins(KEY, b'"ours"') == b'"ours"'
    assert gitlab.count("PUT") == 1


@pytest.mark.parametrize("fault", [{"drop": True}, {"status": 500}, {"status": 503}], ids=["reset", "500", "503"])
def test_an_upload_that_did_not_arrive_is_made_again_under_another_name(gitlab: FakeGitLab, token: str, fault: dict[str, object]) -> None:
    gitlab.fail(method="PUT", **fault)
    assert open_package_store(gitlab, token).create_pins(KEY, b'"ours"') == b'"ours"'
    uploads = [request.target for request in gitlab.requests if request.method == "PUT"]
    assert len(uploads) == len(set(uploads)) == 2


def test_an_upload_whose_reply_is_lost_and_which_a_replica_hides_changes_nothing(gitlab: FakeGitLab, token: str) -> None:
    gitlab.lag(reads=2)
    gitlab.fail(method="PUT", lose_reply=True)
    assert open_package_store(gitlab, token).create_pins(KEY, b'"ours"') == b'"ours"'
    assert open_package_store(gitlab, token).create_pins(KEY, b'"theirs"') == b'"ours"'
    assert len(file_names(gitlab)) == len(set(file_names(gitlab)))


def test_a_listing_that_does_not_show_the_upload_is_asked_for_again(gitlab: FakeGitLab, token: str) -> None:
    gitlab.lag(reads=3)
    clock = FakeClock()
    assert open_package_store(gitlab, token, clock).create_pins(KEY, b'"ours"') == b'"ours"'
    assert gitlab.count("PUT") == 1, "GitLab said that it took the upload: there is nothing to repeat"
    assert len(clock.slept) == 3


def test_a_listing_that_never_shows_the_upload_ends_with_unavailable(gitlab: FakeGitLab, token: str) -> None:
    gitlab.lag(reads=1000)
    with pytest.raises(
        Unavailable, match=r"expected pins-[0-9a-f]{12}-[0-9a-f]{8}\.json in the generic package on .*, found it not there"
    ) as caught:
        open_package_store(gitlab, token).create_pins(KEY, b'"ours"')
    assert caught.value.hint == "GitLab's replicas lag behind each other; run the job again"
    assert gitlab.count("PUT") == 1


def test_pins_that_are_listed_and_cannot_be_read_are_unavailable_and_never_absent(gitlab: FakeGitLab, token: str) -> None:
    open_package_store(gitlab, token).create_pins(KEY, b'"pins"')
    gitlab.fail(method="GET", path=GENERIC, status=404, times=None)
    with pytest.raises(Unavailable, match=r"expected to read pins-.*, which the generic package on .* lists, found it not there yet"):
        open_package_store(gitlab, token).find_pins(KEY)
    with pytest.raises(Unavailable):
        open_package_store(gitlab, token).create_pins(KEY, b'"others"')
    assert gitlab.count("PUT") == 1


def test_pins_that_can_be_read_a_little_later_are_read(gitlab: FakeGitLab, token: str) -> None:
    open_package_store(gitlab, token).create_pins(KEY, b'"pins"')
    gitlab.fail(method="GET", path=GENERIC, status=404, times=3)
    assert open_package_store(gitlab, token).find_pins(KEY) == b'"pins"'


def test_a_package_whose_files_cannot_be_listed_is_unavailable_and_never_absent(gitlab: FakeGitLab, token: str) -> None:
    open_package_store(gitlab, token).create_pins(KEY, b'"pins"')
    gitlab.fail(path=FILES, status=404, times=None)
    with pytest.raises(Unavailable, match=r"expected the files of the package stagepin .*, found none there"):
        open_package_store(gitlab, token).find_pins(KEY)


def test_a_damaged_download_is_not_believed(gitlab: FakeGitLab, token: str) -> None:
    open_package_store(gitlab, token).create_pins(KEY, b'"pins"')
    gitlab.fail(method="GET", path=GENERIC, change=bytes.upper, times=2)
    assert open_package_store(gitlab, token).find_pins(KEY) == b'"pins"'
    gitlab.fail(method="GET", path=GENERIC, change=bytes.upper, times=None)
    with pytest.raises(Unavailable, match=r"expected pins-.*\.json with sha256 [0-9a-f]{64}, found [0-9a-f]{64}"):
        open_package_store(gitlab, token).find_pins(KEY)


def test_a_download_that_is_cut_is_fetched_again(gitlab: FakeGitLab, token: str) -> None:
    open_package_store(gitlab, token).create_pins(KEY, b'"pins"')
    gitlab.fail(method="GET", path=GENERIC, cut=True, times=2)
    assert open_package_store(gitlab, token).find_pins(KEY) == b'"pins"'


def test_clean_up_of_duplicates_leaves_the_winner(gitlab: FakeGitLab, token: str) -> None:
    store = open_package_store(gitlab, token)
    store.create_pins(KEY, b'"first"')
    project = gitlab.state.projects[4711]
    for document in (b'"second"', b'"first"'):
        name = f"pins-{'0' * 12}-{len(file_names(gitlab)):08x}.json"
        gitlab.state.add_package_file(project, gitlab.state.users[0], "stagepin", KEY.short_hash, name, document)
    gitlab.state.clean_up_duplicates()
    assert store.find_pins(KEY) == b'"first"'
    assert store.create_pins(KEY, b'"third"') == b'"first"'


def test_the_winner_is_found_beyond_the_first_page(gitlab: FakeGitLab, token: str) -> None:
    store = open_package_store(gitlab, token)
    store.create_pins(KEY, b'"first"')
    project = gitlab.state.projects[4711]
    for number in range(250):
        gitlab.state.add_package_file(project, gitlab.state.users[0], "stagepin", KEY.short_hash, f"build-{number}.json", b"%d" % number)
    gitlab.state.packages[0].files.reverse()
    gitlab.requests.clear()
    assert store.find_pins(KEY) == b'"first"'
    assert store.find_record(KEY) == b"249"
    assert gitlab.count("GET", FILES) == 6


def test_a_package_that_is_deleted_takes_the_pins_with_it(gitlab: FakeGitLab, token: str) -> None:
    store = open_package_store(gitlab, token)
    store.create_pins(KEY, b'"first"')
    gitlab.state.packages[0].status = "pending_destruction"
    assert store.find_pins(KEY) is None
    assert store.create_pins(KEY, b'"second"') == b'"second"'


def test_packages_of_similar_names_are_passed_over(gitlab: FakeGitLab, token: str) -> None:
    project, somebody = gitlab.state.projects[4711], gitlab.state.users[0]
    for name in ("stagepin-other", "my-stagepin"):
        gitlab.state.add_package_file(project, somebody, name, KEY.short_hash, "pins-0.json", b'"foreign"')
    assert open_package_store(gitlab, token).find_pins(KEY) is None


def test_files_that_are_not_ours_in_the_package_are_passed_over(gitlab: FakeGitLab, token: str) -> None:
    gitlab.state.add_package_file(gitlab.state.projects[4711], gitlab.state.users[0], "stagepin", KEY.short_hash, "README.md", b"hello")
    store = open_package_store(gitlab, token)
    assert store.find_pins(KEY) is None
    assert store.create_pins(KEY, b'"pins"') == b'"pins"'


def test_a_project_that_the_token_may_not_see_is_not_an_empty_store(gitlab: FakeGitLab) -> None:
    stranger = gitlab.add_access_token(role=0)
    with pytest.raises(AccessDenied, match=r"expected the packages of .*, found status 404 with STAGEPIN_TOKEN"):
        open_package_store(gitlab, stranger).find_pins(KEY)


def test_a_registry_that_is_switched_off_is_explained(gitlab: FakeGitLab, token: str) -> None:
    gitlab.state.projects[4711].package_registry = False
    with pytest.raises(AccessDenied, match=r"expected the packages of .*, found status 403 with CI_JOB_TOKEN") as caught:
        open_package_store(gitlab, token).find_pins(KEY)
    assert "the project's package registry must be on (Settings > General > Visibility)" in caught.value.hint


def test_who_may_only_read_hears_which_role_is_missing_before_anything_is_repeated(gitlab: FakeGitLab) -> None:
    reporter = gitlab.add_job_token(gitlab.state.projects[4711], REPORTER)
    with pytest.raises(AccessDenied, match=r"expected .*/4711 to take the package stagepin [0-9a-f]{12}, found status 403") as caught:
        open_package_store(gitlab, reporter).create_pins(KEY, b'"pins"')
    assert "the token needs the role Developer or higher" in caught.value.hint
    assert "a job token has the role of whoever started the pipeline" in caught.value.hint
    assert gitlab.count("PUT") == 1


def test_a_protected_package_is_explained(gitlab: FakeGitLab, token: str) -> None:
    gitlab.state.projects[4711].protected_packages.add("stagepin")
    with pytest.raises(AccessDenied) as caught:
        open_package_store(gitlab, token).create_pins(KEY, b'"pins"')
    assert "the package stagepin not protected against this role" in caught.value.hint


def test_what_gitlab_will_not_take_is_an_error_of_input_with_its_reason(gitlab: FakeGitLab, token: str) -> None:
    body = b'{"message": "400 Bad request - File is too large"}'
    gitlab.fail(method="PUT", status=400, headers={"Content-Type": "application/json"}, body=body)
    with pytest.raises(InputError, match="found status 400: 400 Bad request - File is too large"):
        open_package_store(gitlab, token).create_pins(KEY, b'"pins"')


def test_a_file_larger_than_any_document_is_refused(gitlab: FakeGitLab, token: str) -> None:
    large = b" " * (LARGEST_DOCUMENT + 1)
    gitlab.state.add_package_file(gitlab.state.projects[4711], gitlab.state.users[0], "stagepin", KEY.short_hash, "pins-1.json", large)
    with pytest.raises(DocumentError, match=f"expected pins-1.json of at most {LARGEST_DOCUMENT} bytes, found {LARGEST_DOCUMENT + 1}"):
        open_package_store(gitlab, token).find_pins(KEY)


def test_the_store_names_its_place_and_promises_one_winner(gitlab: FakeGitLab, token: str) -> None:
    store = open_package_store(gitlab, token)
    assert store.name == f"generic package on {gitlab.address}/4711"
    assert store.guarantee.startswith("create-if-absent: of any number of pin jobs one wins and all adopt it")
    assert store.lag == 10.0
