"""How a job reaches its forge's API: which address, which token, and where no token goes (E 111, 117)."""

from __future__ import annotations

import pytest

from ci_plugin.errors import InputError
from ci_plugin.forge.access import ForgeAccess, read_access, remote_access
from ci_plugin.forge.remote import RemoteAddress


def github(environ: dict[str, str], host: str = "github.com") -> ForgeAccess:
    return read_access(environ, "github", host, "group/app")


def gitlab(environ: dict[str, str], host: str = "gitlab.example.com") -> ForgeAccess:
    return read_access(environ, "gitlab", host, "4711")


def test_the_jobs_own_token_is_taken_where_there_is_no_other() -> None:
    access = github({"GITHUB_TOKEN": "ghs_job", "GITHUB_API_URL": "https://api.github.com", "GITHUB_RUN_ID": "1001"})
    assert access == ForgeAccess("github", "https://api.github.com", "github.com", "group/app", "ghs_job", True, "1001")
    assert access.token_name == "GITHUB_TOKEN"
    assert gitlab({"CI_JOB_TOKEN": "job", "CI_PIPELINE_ID": "7"}).token_name == "CI_JOB_TOKEN"


def test_our_own_variable_goes_first_and_is_no_jobs_token() -> None:
    access = github({"GITHUB_TOKEN": "ghs_job", "STAGEPIN_TOKEN": "ghp_mine"})
    assert (access.token, access.is_job_token, access.token_name) == ("ghp_mine", False, "STAGEPIN_TOKEN")


@pytest.mark.parametrize("environ", [{}, {"GITHUB_TOKEN": "", "STAGEPIN_TOKEN": ""}])
def test_an_empty_token_is_none(environ: dict[str, str]) -> None:
    access = github(environ)
    assert (access.token, access.is_job_token, access.token_name, access.pipeline) == ("", False, "", "")


def test_the_other_forges_token_is_never_taken() -> None:
    assert github({"CI_JOB_TOKEN": "gitlabs"}).token == ""
    assert gitlab({"GITHUB_TOKEN": "githubs"}).token == ""


def test_a_token_does_not_show_in_its_text_form() -> None:
    assert "canary" not in repr(github({"GITHUB_TOKEN": "canary"}))


@pytest.mark.parametrize("token", ["ghs_a\n", "ghs a", "\tghs", "ghs\0", "ghs_ü", "a\r\nX-Evil: 1"])
@pytest.mark.parametrize("name", ["GITHUB_TOKEN", "STAGEPIN_TOKEN"])
def test_what_cannot_be_a_token_is_refused_before_it_is_sent_and_not_shown(name: str, token: str) -> None:
    with pytest.raises(InputError, match=f"expected a token in {name}, found blanks, line ends or other characters") as caught:
        github({name: token})
    assert str(caught.value.where) == f"${name}"
    assert caught.value.hint == f"set {name} again, without a line end"
    assert token.strip() not in caught.value.message + caught.value.hint


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("github.com", "https://api.github.com"),
        ("octocorp.ghe.com", "https://api.octocorp.ghe.com"),
        ("github.example.com", "https://github.example.com/api/v3"),
    ],
)
def test_github_has_its_api_where_its_edition_has_it(host: str, url: str) -> None:
    assert github({}, host).url == url
    assert github({"GITHUB_API_URL": f"{url}/"}, host).url == url


def test_gitlab_has_its_api_below_its_own_address() -> None:
    assert gitlab({}).url == "https://gitlab.example.com/api/v4"
    assert gitlab({"CI_API_V4_URL": "https://gitlab.example.com/gitlab/api/v4"}).url == "https://gitlab.example.com/gitlab/api/v4"
    assert gitlab({}, "gitlab.example.com:8443").url == "https://gitlab.example.com:8443/api/v4"


@pytest.mark.parametrize(
    "url",
    [
        "http://api.github.com",
        "https://evil.example.com",
        "https://github.com.evil.example.com",
        "https://api.github.com@evil.example.com",
        "https://token@api.github.com",
        "https://evil.example.com/api.github.com",
        "https://notgithub.com",
        "https://api.api.github.com",
        "ftp://api.github.com",
        "api.github.com",
        "//api.github.com",
        "https://",
        "https://[api.github.com",
        "https://127.0.0.1",
    ],
)
def test_no_token_goes_to_another_host_or_without_tls(url: str) -> None:
    with pytest.raises(
        InputError, match=r"expected the API of github\.com over HTTPS, found .* in GITHUB_API_URL: no token is sent there"
    ) as caught:
        github({"GITHUB_TOKEN": "canary", "GITHUB_API_URL": url})
    assert caught.value.hint == "GITHUB_API_URL is set by the forge; do not override it"
    assert str(caught.value.where) == "$GITHUB_API_URL"
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
def test_on_this_machine_plain_http_will_do(host: str) -> None:
    assert github({"GITHUB_API_URL": f"http://{host}:8080"}, f"{host}:8080").url == f"http://{host}:8080"


@pytest.mark.parametrize(
    ("host", "forge", "url"),
    [
        ("github.com", "github", "https://api.github.com"),
        ("ssh.github.com", "github", "https://api.github.com"),
        ("github.example.com", "github", "https://github.example.com/api/v3"),
        ("octocorp.ghe.com", "github", "https://api.octocorp.ghe.com"),
        ("gitlab.com", "gitlab", "https://gitlab.com/api/v4"),
        ("altssh.gitlab.com", "gitlab", "https://gitlab.com/api/v4"),
        ("git.example.com", "gitlab", "https://git.example.com/api/v4"),
    ],
)
def test_outside_ci_the_clones_remote_says_which_forge_to_ask(host: str, forge: str, url: str) -> None:
    access = remote_access({"STAGEPIN_TOKEN": "mine"}, RemoteAddress(host, "group/app"))
    assert (access.forge, access.url, access.project, access.pipeline) == (forge, url, "group/app", "")


@pytest.mark.parametrize(
    ("host", "token"), [("github.com", "ghp_mine"), ("octocorp.ghe.com", "ghp_mine"), ("github.evil.example", ""), ("git.example.com", "")]
)
def test_outside_ci_a_token_for_github_goes_to_no_host_that_only_calls_itself_so(host: str, token: str) -> None:
    access = remote_access({"GITHUB_TOKEN": "ghp_mine", "CI_JOB_TOKEN": "left over"}, RemoteAddress(host, "group/app"))
    assert access.token == token
    assert remote_access({"STAGEPIN_TOKEN": "for-it"}, RemoteAddress(host, "group/app")).token == "for-it"


@pytest.mark.parametrize(
    ("host", "chosen", "forge", "url"),
    [
        ("git.example.com", "github", "github", "https://git.example.com/api/v3"),
        ("git.example.com:8443", "gitlab", "gitlab", "https://git.example.com:8443/api/v4"),
        ("github-mirror.example.com", "gitlab", "gitlab", "https://github-mirror.example.com/api/v4"),
        ("github.com", "gitlab", "github", "https://api.github.com"),
        ("gitlab.com", "github", "gitlab", "https://gitlab.com/api/v4"),
    ],
)
def test_outside_ci_the_chosen_store_goes_before_the_hosts_name(host: str, chosen: str, forge: str, url: str) -> None:
    access = remote_access({"STAGEPIN_TOKEN": "mine"}, RemoteAddress(host, "group/app"), chosen)
    assert (access.forge, access.url, access.host, access.token) == (forge, url, host, "mine")


def test_the_protocol_of_the_server_is_taken_where_its_api_is_not_named() -> None:
    assert gitlab({"CI_SERVER_PROTOCOL": "http", "CI_API_V4_URL": ""}, "localhost:8080").url == "http://localhost:8080/api/v4"
    assert gitlab({"CI_SERVER_PROTOCOL": "https"}).url == "https://gitlab.example.com/api/v4"
    named = {"CI_SERVER_PROTOCOL": "http", "CI_API_V4_URL": "https://gitlab.example.com/api/v4"}
    assert gitlab(named).url == "https://gitlab.example.com/api/v4"


def test_a_server_without_tls_that_is_another_machine_gets_no_token() -> None:
    expected = (
        r"expected the API of gitlab\.example\.com over HTTPS, found http://gitlab\.example\.com in CI_SERVER_PROTOCOL: no token is sent"
    )
    with pytest.raises(InputError, match=expected):
        gitlab({"CI_SERVER_PROTOCOL": "http", "CI_JOB_TOKEN": "job"})


@pytest.mark.parametrize(
    ("remote", "url"),
    [
        (RemoteAddress("127.0.0.1:8080", "group/app", is_plain=True), "http://127.0.0.1:8080/api/v4"),
        (RemoteAddress("127.0.0.1:8080", "group/app"), "https://127.0.0.1:8080/api/v4"),
        (RemoteAddress("git.example.com", "group/app", is_plain=True), "https://git.example.com/api/v4"),
    ],
)
def test_outside_ci_plain_http_will_do_on_this_machine_alone(remote: RemoteAddress, url: str) -> None:
    assert remote_access({"STAGEPIN_TOKEN": "mine", "CI_SERVER_PROTOCOL": "left over"}, remote).url == url
