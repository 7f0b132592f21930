"""What the adapter reads and writes of one project on GitLab, against the fake: job artifacts, merge request notes, the project's id."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest

from ci_plugin.errors import AccessDenied, Unavailable
from ci_plugin.retry import RetryPolicy
from tests.fakes.clock import FakeClock
from tests.fakes.gitlab import FakeGitLab
from tests.fakes.gitlab_access import open_gitlab
from tests.fakes.gitlab_state import GUEST, REPORTER, Job

PATH = ".stagepin/pins.json"
MARKER = "<!-- stagepin drift -->"


@pytest.fixture
def gitlab() -> Iterator[FakeGitLab]:
    with FakeGitLab() as running:
        project = running.add_project()
        running.add_pipeline(project)
        running.state.add_merge_request(project, 7)
        yield running


@pytest.fixture
def job_token(gitlab: FakeGitLab) -> str:
    return gitlab.add_job_token(gitlab.state.projects[4711])


@pytest.fixture
def bot_token(gitlab: FakeGitLab) -> str:
    return gitlab.add_access_token()


def add_job(gitlab: FakeGitLab, files: dict[str, bytes] | None, **job: object) -> Job:
    name = str(job.pop("name", "pin"))
    return gitlab.state.add_job(gitlab.state.pipelines[1001], name, files=files, **job)  # type: ignore[arg-type]


class TestJobArtifacts:
    @pytest.fixture
    def read(self, gitlab: FakeGitLab, job_token: str) -> Callable[..., list[bytes]]:
        return lambda pipeline="1001": list(open_gitlab(gitlab, job_token).artifacts().read_files(pipeline, PATH))

    def test_every_try_of_every_job_is_read_oldest_first(self, gitlab: FakeGitLab, read: Callable[..., list[bytes]]) -> None:
        add_job(gitlab, {PATH: b"1"}, status="failed")
        add_job(gitlab, {PATH: b"2"}, status="canceled")
        add_job(gitlab, {PATH: b"3"})
        add_job(gitlab, {PATH: b"4"}, name="build")
        add_job(gitlab, None, name="lint")
        assert [job.retried for job in gitlab.state.jobs.values()] == [True, True, False, False, False]
        assert read() == [b"1", b"2", b"3", b"4"]

    def test_expired_and_erased_ones_are_left_out_and_locked_ones_are_not(
        self, gitlab: FakeGitLab, read: Callable[..., list[bytes]]
    ) -> None:
        add_job(gitlab, {PATH: b"expired"}, expire_in=60)
        add_job(gitlab, {PATH: b"erased"}).files = None
        add_job(gitlab, {PATH: b"kept for the latest pipeline"}, expire_in=60).is_locked = True
        add_job(gitlab, {PATH: b"young"}, expire_in=3600)
        advance(gitlab, 120)
        assert read() == [b"kept for the latest pipeline", b"young"]

    def test_where_all_have_expired_there_are_none(self, gitlab: FakeGitLab, read: Callable[..., list[bytes]]) -> None:
        add_job(gitlab, {PATH: b"expired"}, expire_in=60)
        advance(gitlab, 120)
        assert read() == []

    def test_archives_without_the_file_are_passed_over(self, gitlab: FakeGitLab, read: Callable[..., list[bytes]]) -> None:
        add_job(gitlab, {"report.xml": b"<x/>"}, name="test")
        assert read() == []
        assert gitlab.count("HEAD", "/artifacts") == 1, "that the archive itself can be read shows that the file is not in it"

    def test_without_artifacts_there_is_no_further_request(self, gitlab: FakeGitLab, read: Callable[..., list[bytes]]) -> None:
        add_job(gitlab, None)
        assert read() == []
        assert len(gitlab.requests) == 1

    def test_other_pipelines_are_not_read(self, gitlab: FakeGitLab, read: Callable[..., list[bytes]]) -> None:
        other = gitlab.add_pipeline(gitlab.state.projects[4711], 1002)
        gitlab.state.add_job(other, "pin", files={PATH: b"other"})
        assert read() == []
        assert read("1002") == [b"other"]

    def test_jobs_of_a_child_pipeline_and_its_bridge_are_not_the_parents(
        self, gitlab: FakeGitLab, read: Callable[..., list[bytes]]
    ) -> None:
        child = gitlab.add_pipeline(gitlab.state.projects[4711], 1002, parent=1001)
        gitlab.state.add_job(child, "pin", files={PATH: b"child"})
        assert read() == []

    def test_jobs_beyond_the_first_page_are_read(self, gitlab: FakeGitLab, read: Callable[..., list[bytes]]) -> None:
        add_job(gitlab, {PATH: b"oldest"})
        for _ in range(230):
            add_job(gitlab, None, name="again")
        assert read() == [b"oldest"]
        assert gitlab.count(path="/jobs?") == 3

    def test_a_tier_that_keeps_artifacts_from_job_tokens_is_not_taken_for_absence(
        self, gitlab: FakeGitLab, bot_token: str, read: Callable[..., list[bytes]]
    ) -> None:
        gitlab.state.projects[4711].job_token_reads_artifacts = False
        job = add_job(gitlab, {PATH: b"1"})
        with pytest.raises(AccessDenied, match=f"expected the artifacts of job {job.id}, found status 404 with CI_JOB_TOKEN") as caught:
            read()
        assert "on GitLab Free a job token may not read them: set STAGEPIN_TOKEN" in caught.value.hint
        assert list(open_gitlab(gitlab, bot_token).artifacts().read_files("1001", PATH)) == [b"1"]

    def test_a_version_that_lists_no_jobs_to_job_tokens_is_not_taken_for_absence(
        self, gitlab: FakeGitLab, read: Callable[..., list[bytes]]
    ) -> None:
        gitlab.state.projects[4711].job_token_lists_jobs = False
        with pytest.raises(
            AccessDenied, match=r"expected the jobs of pipeline 1001 of .*/4711, found status 404 with CI_JOB_TOKEN"
        ) as caught:
            read()
        assert "older versions of GitLab take no job token here" in caught.value.hint

    def test_a_pipeline_that_is_not_there_is_said(self, read: Callable[..., list[bytes]]) -> None:
        with pytest.raises(AccessDenied, match=r"expected the jobs of pipeline 999 of .*, found status 404") as caught:
            read("999")
        assert caught.value.hint.startswith("check the pipeline's id")

    @pytest.mark.parametrize("status", [403, 404, 503])
    def test_object_storage_that_fails_is_unavailable_and_never_absence(
        self, gitlab: FakeGitLab, read: Callable[..., list[bytes]], status: int
    ) -> None:
        gitlab.keep_objects_elsewhere().fails_with = status
        add_job(gitlab, {PATH: b"1"})
        with pytest.raises(Unavailable, match=rf"found status {status} from localhost:\d+, where the download was redirected to"):
            read()

    def test_what_lies_in_object_storage_counts_as_readable(self, gitlab: FakeGitLab, read: Callable[..., list[bytes]]) -> None:
        gitlab.keep_objects_elsewhere()
        add_job(gitlab, {"report.xml": b"<x/>"})
        assert read() == []

    def test_the_name_and_what_it_promises_are_said(self, gitlab: FakeGitLab, job_token: str) -> None:
        artifacts = open_gitlab(gitlab, job_token).artifacts()
        assert artifacts.name == f"{gitlab.address}/4711"
        assert "a pin job that is retried after its artifacts are gone pins anew" in artifacts.life


def advance(gitlab: FakeGitLab, seconds: float) -> None:
    clock = gitlab.state.clock
    assert isinstance(clock, FakeClock)
    before = clock.now()
    clock.advance(seconds)
    assert clock.now() - before == timedelta(seconds=seconds)


class TestMergeRequestNotes:
    def notes(self, gitlab: FakeGitLab) -> list[str]:
        return [note.body for note in gitlab.state.merge_requests[0].notes]

    def test_a_comment_is_written_once_and_then_updated_in_place(self, gitlab: FakeGitLab, bot_token: str) -> None:
        discussion = open_gitlab(gitlab, bot_token).discussion(7)
        assert discussion.find_comment(MARKER) is None
        first = discussion.put_comment(MARKER, f"{MARKER}\none")
        assert first == f"{gitlab.url}/group/app/-/merge_requests/7#note_301"
        assert open_gitlab(gitlab, bot_token).discussion(7).put_comment(MARKER, f"{MARKER}\ntwo") == first
        assert discussion.find_comment(MARKER) == first
        assert self.notes(gitlab) == [f"{MARKER}\ntwo"]

    def test_notes_of_others_and_of_the_system_are_left_alone(self, gitlab: FakeGitLab, bot_token: str) -> None:
        merge_request, somebody = gitlab.state.merge_requests[0], gitlab.state.add_user("mallory")
        gitlab.state.add_note(merge_request, somebody, f"look: {MARKER}")
        gitlab.state.add_note(merge_request, gitlab.state.users[0], f"changed {MARKER}", is_system=True)
        discussion = open_gitlab(gitlab, bot_token).discussion(7)
        assert discussion.find_comment(MARKER) is None
        discussion.put_comment(MARKER, f"{MARKER} ours")
        assert self.notes(gitlab) == [f"look: {MARKER}", f"changed {MARKER}", f"{MARKER} ours"]

    def test_of_several_of_ours_the_oldest_is_updated(self, gitlab: FakeGitLab, bot_token: str) -> None:
        bot = gitlab.state.tokens[bot_token].user
        for text in ("one", "two"):
            gitlab.state.add_note(gitlab.state.merge_requests[0], bot, f"{MARKER} {text}")
        open_gitlab(gitlab, bot_token).discussion(7).put_comment(MARKER, f"{MARKER} new")
        assert self.notes(gitlab) == [f"{MARKER} new", f"{MARKER} two"]

    def test_a_comment_commands_nothing(self, gitlab: FakeGitLab, bot_token: str) -> None:
        body = f"{MARKER}\n/merge\n  /close\n\t/assign @x\nsee a/b and https://x/y"
        open_gitlab(gitlab, bot_token).discussion(7).put_comment(MARKER, body)
        (note,) = self.notes(gitlab)
        assert note == f"{MARKER}\n\\/merge\n  \\/close\n\t\\/assign @x\nsee a/b and https://x/y"

    def test_it_is_found_among_many(self, gitlab: FakeGitLab, bot_token: str) -> None:
        discussion = open_gitlab(gitlab, bot_token).discussion(7)
        address = discussion.put_comment(MARKER, MARKER)
        for number in range(250):
            gitlab.state.add_note(gitlab.state.merge_requests[0], gitlab.state.users[0], f"comment {number}")
        assert discussion.find_comment(MARKER) == address

    def test_a_reply_that_is_lost_makes_no_second_comment(self, gitlab: FakeGitLab, bot_token: str) -> None:
        discussion = open_gitlab(gitlab, bot_token).discussion(7)
        gitlab.fail(method="POST", lose_reply=True)
        RetryPolicy(FakeClock().sleep).run(lambda: discussion.put_comment(MARKER, f"{MARKER} once"))
        assert self.notes(gitlab) == [f"{MARKER} once"]

    def test_a_job_token_is_refused_before_anything_is_sent(self, gitlab: FakeGitLab, job_token: str) -> None:
        with pytest.raises(AccessDenied) as caught:
            open_gitlab(gitlab, job_token).discussion(7)
        assert caught.value.message == "expected a token that may comment on the merge request !7, found CI_JOB_TOKEN, which may only read"
        assert caught.value.hint.startswith("set the masked variable STAGEPIN_TOKEN to a project access token with the scope api")
        assert gitlab.requests == []

    @pytest.mark.parametrize(("role", "scopes"), [(GUEST, ("api",)), (REPORTER, ("read_api",)), (0, ("api",))])
    def test_a_token_that_may_not_comment_is_told_what_it_lacks(self, gitlab: FakeGitLab, role: int, scopes: tuple[str, ...]) -> None:
        token = gitlab.add_access_token(role, scopes)
        with pytest.raises(AccessDenied, match=r"found status 40[34] with STAGEPIN_TOKEN") as caught:
            open_gitlab(gitlab, token).discussion(7).put_comment(MARKER, MARKER)
        assert "the scope api and the role Reporter or higher" in caught.value.hint
        assert self.notes(gitlab) == []

    def test_a_merge_request_that_is_not_there_is_said(self, gitlab: FakeGitLab, bot_token: str) -> None:
        with pytest.raises(AccessDenied, match="expected the comments of the merge request !8, found status 404"):
            open_gitlab(gitlab, bot_token).discussion(8).find_comment(MARKER)


class TestTheProjectsId:
    @pytest.mark.parametrize("path", ["group/app", "Group/App"])
    def test_it_is_found_by_path(self, gitlab: FakeGitLab, bot_token: str, path: str) -> None:
        assert open_gitlab(gitlab, bot_token, path).find_project_id(path) == "4711"
        assert str(gitlab.requests[0]).startswith("GET /api/v4/projects/" + path.replace("/", "%2F"))

    def test_a_project_the_token_does_not_see_has_none(self, gitlab: FakeGitLab, bot_token: str) -> None:
        assert open_gitlab(gitlab, bot_token, "group/none").find_project_id("group/none") is None

    def test_a_wrong_token_is_told(self, gitlab: FakeGitLab) -> None:
        with pytest.raises(AccessDenied, match="expected the project group/app, found status 401 with STAGEPIN_TOKEN"):
            open_gitlab(gitlab, "glpat-wrong", "group/app").find_project_id("group/app")
