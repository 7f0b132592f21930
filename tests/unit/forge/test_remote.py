"""Addresses of remotes, in all the forms git takes."""

from __future__ import annotations

import pytest

from ci_plugin.forge.remote import RemoteAddress, parse_remote


@pytest.mark.parametrize(
    "url",
    [
        "git@gitlab.example.com:group/app.git",
        "gitlab.example.com:group/app",
        "ssh://git@gitlab.example.com:2222/group/app.git",
        "https://gitlab.example.com/group/app.git",
        "https://gitlab-ci-token:secret@GitLab.example.com:443/group/app/",
        "git://gitlab.example.com/group/app.git",
    ],
)
def test_every_form_of_address_names_the_same_project(url: str) -> None:
    assert parse_remote(url) == RemoteAddress("gitlab.example.com", "group/app")


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://me:secret@gitlab.example.com:8443/group/app", "gitlab.example.com:8443"),
        ("https://[::1]:8443/group/app", "[::1]:8443"),
        ("ssh://git@gitlab.example.com:8443/group/app", "gitlab.example.com"),
        ("git://gitlab.example.com:9418/group/app", "gitlab.example.com"),
    ],
)
def test_the_port_is_kept_where_it_is_the_forges_own(url: str, host: str) -> None:
    assert parse_remote(url) == RemoteAddress(host, "group/app")


def test_a_clone_without_tls_is_known_as_one() -> None:
    assert parse_remote("http://GitLab.example.com/group/app") == RemoteAddress("gitlab.example.com", "group/app", is_plain=True)
    assert parse_remote("HTTP://127.0.0.1:8080/group/app") == RemoteAddress("127.0.0.1:8080", "group/app", is_plain=True)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "https://gitlab.example.com:port/group/app",
        "https://gitlab.example.com:99999/group/app",
        "/srv/git/app.git",
        "../app",
        "file:///srv/git/app.git",
        "C:\\git\\app",
        "https://",
        "https://[bad/app",
    ],
)
def test_what_is_no_address_of_a_forge_names_none(url: str) -> None:
    assert parse_remote(url) is None


def test_no_password_survives() -> None:
    assert "secret" not in repr(parse_remote("https://oauth2:secret@gitlab.example.com/group/app.git"))
