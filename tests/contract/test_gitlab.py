"""The adapter for GitLab, through python-gitlab, against the fake: rights, faults, foreign answers, and where the token goes."""

from __future__ import annotations

import dataclasses
import json
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from ci_plugin.errors import AccessDenied, AnswerIsNo, InputError, StagepinError, Unavailable
from ci_plugin.forge.gitlab import GitLab
from ci_plugin.forge.gitlab_client import GitLabClient
from ci_plugin.forge.package_store import Packages
from ci_plugin.retry import RetryPolicy
from tests.fakes.certificates import Authority
from tests.fakes.clock import FakeClock
from tests.fakes.gitlab import FakeGitLab
from tests.fakes.gitlab_access import access_to, open_gitlab
from tests.fakes.registry import FakeRegistry

PATH = ".stagepin/pins.json"
VERSION = "0123456789ab"


@pytest.fixture
def gitlab() -> Iterator[FakeGitLab]:
    with FakeGitLab() as running:
        project = running.add_project()
        running.add_pipeline(project)
        yield running


@pytest.fixture
def job_token(gitlab: FakeGitLab) -> str:
    return gitlab.add_job_token(gitlab.state.projects[4711])


@pytest.fixture
def bot_token(gitlab: FakeGitLab) -> str:
    return gitlab.add_access_token()


@pytest.fixture
def packages(gitlab: FakeGitLab, job_token: str) -> Packages:
    return open_gitlab(gitlab, job_token).packages()


def run_python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def session_over_https(gitlab: FakeGitLab, token: str) -> requests.Session:
    """What python-gitlab sends its requests with, for a server this test has not: nothing is sent."""
    access = dataclasses.replace(access_to(gitlab, token), url="https://gitlab.example.com/api/v4", host="gitlab.example.com")
    return GitLabClient(access).api.session


class TestTheLibrary:
    def test_it_is_not_loaded_until_gitlab_is_asked_for_something(self) -> None:
        heavy = "{'gitlab', 'requests', 'urllib3'} & set(sys.modules)"
        assert run_python(f"import sys, ci_plugin.forge.gitlab; print(sorted({heavy}))") == "[]"

    def test_where_it_is_not_installed_the_command_that_installs_it_is_named(self) -> None:
        code = (
            "import sys; sys.modules['gitlab'] = None\n"
            "from ci_plugin.forge.gitlab import GitLab\n"
            "from ci_plugin.forge.access import ForgeAccess\n"
            "from ci_plugin.errors import InputError\n"
            "access = ForgeAccess('gitlab', 'https://gitlab.example.com/api/v4', 'gitlab.example.com', '1', '', False)\n"
            "try:\n    GitLab(access).packages()\n"
            "except InputError as error:\n    print(error.message, '|', error.hint)"
        )
        expected = "expected the library python-gitlab to speak to gitlab.example.com, found no module gitlab"
        hint = "install it beside stagepin: pip install 'python-gitlab>=6' (or in stagepin's checkout: pip install '.[gitlab]')"
        assert run_python(code) == f"{expected} | {hint}"


class TestWhereTheTokenGoes:
    def test_a_job_token_and_an_access_token_go_in_headers_of_their_own(self, gitlab: FakeGitLab, job_token: str, bot_token: str) -> None:
        for token in (job_token, bot_token):
            assert open_gitlab(gitlab, token).packages().list_files(VERSION) == []
        sent = [(request.headers.get("job-token"), request.headers.get("private-token")) for request in gitlab.requests]
        assert sent == [(job_token, None), (None, bot_token)]
        assert all("authorization" not in request.headers for request in gitlab.requests)

    @pytest.mark.parametrize("kind", ["job", "private"])
    def test_object_storage_on_another_host_never_sees_it(self, gitlab: FakeGitLab, job_token: str, bot_token: str, kind: str) -> None:
        token = job_token if kind == "job" else bot_token
        storage = gitlab.keep_objects_elsewhere()
        gitlab.state.add_job(gitlab.state.pipelines[1001], "pin", files={PATH: b'"of the job"'})
        opened = open_gitlab(gitlab, token)
        opened.packages().upload(VERSION, "pins-1.json", b'"of the package"')
        assert opened.packages().find_file(VERSION, "pins-1.json") == b'"of the package"'
        assert list(opened.artifacts().read_files("1001", PATH)) == [b'"of the job"']
        assert len(storage.requests) == 2
        for request in storage.requests:
            assert token not in str(request) + str(request.headers)
            assert not {"job-token", "private-token", "authorization"} & set(request.headers)

    def test_a_download_sent_elsewhere_without_object_storage_does_not_take_it_along(self, gitlab: FakeGitLab, packages: Packages) -> None:
        storage = gitlab.keep_objects_elsewhere()
        gitlab.fail(path="/packages?", status=302, headers={"Location": f"{storage.url}/login"})
        with pytest.raises(Unavailable, match=r"found status 403 from localhost:\d+, where the download was redirected to"):
            packages.list_files(VERSION)
        assert [str(request) for request in storage.requests] == ["GET /login"]
        assert "job-token" not in storage.requests[0].headers

    def test_a_next_page_on_another_host_is_not_asked_for(self, gitlab: FakeGitLab, packages: Packages) -> None:
        storage = gitlab.keep_objects_elsewhere()
        gitlab.fail(path="/packages?", headers={"Link": f'<{storage.url}/v4/packages?page=2>; rel="next"'})
        with pytest.raises(InputError, match=r"found its next page at http://localhost:\d+: the token is not sent there") as caught:
            packages.list_files(VERSION)
        assert caught.value.hint == "CI_API_V4_URL must be the forge's own address, as its runner sets it"
        assert storage.requests == []

    def test_a_server_that_calls_itself_otherwise_is_read_at_the_address_the_job_was_given(self, bot_token: str) -> None:
        with FakeGitLab(external_url="https://gitlab.inside.example") as gitlab:
            project = gitlab.add_project()
            token = gitlab.add_job_token(project)
            for number in range(120):
                gitlab.state.add_package_file(project, gitlab.state.users[0], "stagepin", VERSION, f"build-{number}.json", b"{}")
            assert len(open_gitlab(gitlab, token).packages().list_files(VERSION)) == 120

    @pytest.mark.parametrize("status", [301, 302, 307, 308])
    def test_an_upload_that_is_redirected_is_sent_nowhere_else(self, gitlab: FakeGitLab, packages: Packages, status: int) -> None:
        storage = gitlab.keep_objects_elsewhere()
        gitlab.fail(method="PUT", status=status, headers={"Location": f"{storage.url}/bucket"})
        with pytest.raises(InputError, match=rf"found a redirect \(status {status}\), which no write follows"):
            packages.upload(VERSION, "pins-1.json", b"{}")
        assert storage.requests == []

    @pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/x", "http://[", "gopher://x"])
    def test_a_redirect_to_no_web_address_is_refused(self, gitlab: FakeGitLab, packages: Packages, target: str) -> None:
        gitlab.fail(path="/packages?", status=302, headers={"Location": target})
        with pytest.raises(InputError, match=r"expected 127\.0\.0\.1:\d+ to redirect to an https or http address, found "):
            packages.list_files(VERSION)

    def test_a_redirect_from_https_to_http_is_not_followed(self, gitlab: FakeGitLab, bot_token: str) -> None:
        session: Any = session_over_https(gitlab, bot_token)
        response = requests.Response()
        response.request = session.prepare_request(requests.Request("GET", "https://gitlab.example.com/api/v4/projects/1"))
        response.url, response.status_code = "https://gitlab.example.com/api/v4/projects/1", 302
        response.headers["Location"] = "http://gitlab.example.com/api/v4/projects/1?sig=canary"
        with pytest.raises(InputError) as caught:
            session.get_redirect_target(response)
        expected = "expected gitlab.example.com to redirect to an https address, found 'http://gitlab.example.com'"
        assert caught.value.message == expected

    def test_what_stands_in_netrc_is_sent_nowhere(self, gitlab: FakeGitLab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "netrc").write_text("machine gitlab.example.com login me password secret\n", "utf-8")
        monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
        request = requests.Request("GET", "https://gitlab.example.com/api/v4/projects/1")
        assert "Authorization" in requests.Session().prepare_request(request).headers, "what requests would do"
        assert "Authorization" not in session_over_https(gitlab, "").prepare_request(request).headers

    def test_a_certificate_nobody_vouches_for_stops_it_until_its_authority_is_named(
        self, gitlab: FakeGitLab, bot_token: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        authority = Authority(tmp_path)
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(*authority.issue("server"))
        with FakeRegistry(tls) as server:  # any server with TLS: it knows no projects
            access = dataclasses.replace(access_to(gitlab, bot_token), url=f"https://{server.address}/api/v4")
            with pytest.raises(InputError, match=r"expected 127\.0\.0\.1:\d+ to have a certificate this machine trusts, found: ") as caught:
                GitLab(access).packages().list_files(VERSION)
            assert 'REQUESTS_CA_BUNDLE="$CI_SERVER_TLS_CA_FILE"' in caught.value.hint
            assert server.requests == []
            monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority.ca_file))
            monkeypatch.setenv("NO_PROXY", "*")
            with pytest.raises(AccessDenied, match="found status 404 with STAGEPIN_TOKEN"):
                GitLab(access).packages().list_files(VERSION)

    def test_redirects_in_a_circle_end(self, gitlab: FakeGitLab, packages: Packages) -> None:
        gitlab.fail(path="/projects/4711", status=302, headers={"Location": f"{gitlab.api_url}/projects/4711"}, times=None)
        with pytest.raises(Unavailable, match="found more than 5 redirects"):
            packages.list_files(VERSION)
        assert len(gitlab.requests) == 6

    @pytest.mark.parametrize("token", ["glpat-x\n", "two words", "schlüssel", "a\x00b"])
    def test_a_token_that_cannot_be_a_header_is_refused_and_not_shown(self, gitlab: FakeGitLab, token: str) -> None:
        with pytest.raises(InputError, match="expected a token of printable ASCII in STAGEPIN_TOKEN") as caught:
            open_gitlab(gitlab, token).packages()
        assert token not in caught.value.message + caught.value.hint
        assert gitlab.requests == []

    @pytest.mark.parametrize("fault", [{"status": 401}, {"status": 403}, {"status": 500}, {"drop": True}, {"cut": True}])
    def test_no_error_shows_it(self, gitlab: FakeGitLab, job_token: str, packages: Packages, fault: dict[str, object]) -> None:
        gitlab.fail(path="/packages?", **fault)
        with pytest.raises(StagepinError) as caught:
            packages.list_files(VERSION)
        assert job_token not in f"{caught.value.message} {caught.value.hint} {caught.value.where} {caught.value!r}"

    def test_the_address_must_be_that_of_an_api(self, gitlab: FakeGitLab, job_token: str) -> None:
        access = dataclasses.replace(access_to(gitlab, job_token), url=gitlab.url)
        with pytest.raises(InputError, match="expected the address of GitLab's API to end with /api/v4, found http://"):
            GitLab(access).packages()


class TestRefusals:
    @pytest.mark.parametrize("status", [401, 403, 404])
    def test_rights_that_are_missing_are_named_and_nothing_is_repeated(self, gitlab: FakeGitLab, packages: Packages, status: int) -> None:
        gitlab.fail(path="/packages?", status=status)
        with pytest.raises(AccessDenied) as caught:
            packages.list_files(VERSION)
        error = caught.value
        assert error.message == f"expected the packages of {gitlab.address}/4711, found status {status} with CI_JOB_TOKEN"
        assert "set STAGEPIN_TOKEN (a project access token, scope read_api)" in error.hint
        assert str(error.where) == f"{gitlab.api_url}/projects/4711"
        assert (error.exit_code, len(gitlab.requests)) == (2, 1)

    def test_a_job_without_any_token_hears_so(self, gitlab: FakeGitLab) -> None:
        with pytest.raises(AccessDenied, match=r"found status 404 without a token \(CI_JOB_TOKEN and STAGEPIN_TOKEN are empty\)"):
            open_gitlab(gitlab, "").packages().list_files(VERSION)

    def test_a_token_of_a_job_that_ended_is_refused(self, gitlab: FakeGitLab, job_token: str, packages: Packages) -> None:
        gitlab.revoke(job_token)
        with pytest.raises(AccessDenied, match="found status 401 with CI_JOB_TOKEN") as caught:
            packages.list_files(VERSION)
        assert "a job token has the role of whoever started the pipeline, ends with its job" in caught.value.hint

    def test_a_token_whose_scope_is_too_narrow_is_refused(self, gitlab: FakeGitLab) -> None:
        token = gitlab.add_access_token(scopes=("read_api",))
        packages = open_gitlab(gitlab, token).packages()
        assert packages.list_files(VERSION) == []
        with pytest.raises(AccessDenied, match="found status 403 with STAGEPIN_TOKEN"):
            packages.upload(VERSION, "pins-1.json", b"{}")

    def test_a_job_token_of_another_project_is_refused(self, gitlab: FakeGitLab) -> None:
        other = gitlab.add_job_token(gitlab.add_project("group/other", 4712))
        with pytest.raises(AccessDenied, match="found status 403 with CI_JOB_TOKEN") as caught:
            open_gitlab(gitlab, other).packages().list_files(VERSION)
        assert "works in its own project" in caught.value.hint

    @pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 504, 520])
    def test_what_may_pass_is_unavailable_and_not_repeated_by_the_library(
        self, gitlab: FakeGitLab, packages: Packages, status: int
    ) -> None:
        gitlab.fail(path="/packages?", status=status, times=None)
        with pytest.raises(Unavailable, match=f"expected the packages of .*/4711, found status {status}$") as caught:
            packages.list_files(VERSION)
        assert (caught.value.exit_code, len(gitlab.requests)) == (3, 1)

    @pytest.mark.parametrize(
        ("header", "asked"), [("7", 7.0), ("0", 0.0), (None, None), ("-1", None), ("soon", None), ("99999999999", None), ("²", None)]
    )
    def test_a_rate_limit_says_how_long_to_wait(
        self, gitlab: FakeGitLab, packages: Packages, header: str | None, asked: float | None
    ) -> None:
        gitlab.limit_rate(header)
        with pytest.raises(Unavailable, match="found status 429") as caught:
            packages.list_files(VERSION)
        assert (caught.value.retry_after, caught.value.hint) == (asked, "GitLab limits requests; run the job again later")
        assert len(gitlab.requests) == 1

    def test_the_one_retry_policy_waits_as_long_as_gitlab_asked(self, gitlab: FakeGitLab, packages: Packages) -> None:
        gitlab.limit_rate("7")
        clock = FakeClock()
        assert RetryPolicy(clock.sleep).run(lambda: packages.list_files(VERSION)) == []
        assert clock.slept == [7.0]


class TestForeignAnswers:
    @pytest.mark.parametrize(
        "fault", [{"drop": True}, {"cut": True}, {"lose_reply": True}, {"headers": {"Content-Length": "100000"}, "cut": True}]
    )
    def test_a_connection_that_breaks_is_unavailable(self, gitlab: FakeGitLab, packages: Packages, fault: dict[str, object]) -> None:
        packages.upload(VERSION, "pins-1.json", b"{}")
        gitlab.fail(path="/packages?", **fault)
        with pytest.raises(
            Unavailable, match=r"expected an answer from 127\.0\.0\.1:\d+, found: no connection|found \d+ before the connection ended"
        ):
            packages.list_files(VERSION)

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"<html>Sign in</html>",
            b"null",
            b"7",
            b'"text"',
            b"[1]",
            b"[[]]",
            b'{"message": "hello"}',
            b"\xff\xfe",
            b'[{"name": "stagepin", "version": "0123456789ab"}]',
            b'[{"id": "1", "name": "stagepin", "version": "0123456789ab"}]',
            b'[{"id": true, "name": "stagepin", "version": "0123456789ab"}]',
            b"[" * 100_000,
        ],
    )
    def test_an_answer_that_makes_no_sense_is_unavailable(self, gitlab: FakeGitLab, packages: Packages, body: bytes) -> None:
        gitlab.fail(path="/packages?", change=lambda _: body)
        with pytest.raises(Unavailable, match="found an answer that makes no sense"):
            packages.list_files(VERSION)

    @pytest.mark.parametrize("entry", [{"id": 1}, {"id": None, "file_name": "x"}, {"id": 1, "file_name": 7}])
    def test_a_file_without_id_or_name_makes_no_sense(self, gitlab: FakeGitLab, packages: Packages, entry: dict[str, object]) -> None:
        packages.upload(VERSION, "pins-1.json", b"{}")
        gitlab.fail(path="/package_files", change=lambda _: json.dumps([entry]).encode())
        with pytest.raises(Unavailable, match="found an answer that makes no sense"):
            packages.list_files(VERSION)

    def test_a_file_without_a_checksum_is_taken_as_it_is(self, gitlab: FakeGitLab, packages: Packages) -> None:
        packages.upload(VERSION, "pins-1.json", b"{}")
        gitlab.fail(path="/package_files", change=lambda data: data.replace(b"file_sha256", b"something_else"))
        assert [(file.name, file.sha256) for file in packages.list_files(VERSION)] == [("pins-1.json", None)]

    @pytest.mark.parametrize("entries", [b"[]", b'[{"id": 1, "name": "stagepin", "version": "x"}]'])
    def test_pages_without_end_end(self, gitlab: FakeGitLab, packages: Packages, entries: bytes) -> None:
        again = f'<{gitlab.api_url}/projects/4711/packages?page=1>; rel="next"'
        entries = b"[" + b",".join([entries.strip(b"[]")] * (100 if len(entries) > 2 else 1)) + b"]"
        gitlab.fail(path="/packages?", headers={"Link": again}, change=lambda _: entries, times=None)
        with pytest.raises(Unavailable):
            packages.list_files(VERSION)

    def test_an_endless_body_is_not_read_to_its_end(self, gitlab: FakeGitLab, packages: Packages) -> None:
        gitlab.fail(path="/packages?", change=lambda _: b" " * (32 * 1024 * 1024 + 1))
        with pytest.raises(AnswerIsNo, match=r"expected at most 33554432 bytes from 127\.0\.0\.1:\d+, found more"):
            packages.list_files(VERSION)

    def test_where_nobody_listens_it_is_unavailable(self, gitlab: FakeGitLab, job_token: str) -> None:
        access = dataclasses.replace(access_to(gitlab, job_token), url="http://127.0.0.1:1/api/v4")
        with pytest.raises(Unavailable, match=r"expected an answer from 127\.0\.0\.1:1, found: no connection") as caught:
            GitLab(access).packages().list_files(VERSION)
        assert caught.value.hint == "is http://127.0.0.1:1 up and reachable from this machine?"
        assert str(caught.value.where) == "http://127.0.0.1:1/api/v4/projects/4711/packages"
