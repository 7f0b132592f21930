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
        "https://gitlab-ci-token:secret@gitlab.example.com:8443/group/app/",
        "http://GitLab.example.com/group/app",
        "git://gitlab.example.com/group/app.git",
    ],
)
def test_every_form_of_address_names_the_same_project(url: str) -> None:
    assert parse_remote(url) == RemoteAddress("gitlab.example.com", "group/app")


@pytest.mark.parametrize(
    "url", ["", "/srv/git/app.git", "../app", "file:///srv/git/app.git", "C:\\git\\app", "https://", "https://[bad/app"]
)
def test_what_is_no_address_of_a_forge_names_none(url: str) -> None:
    assert parse_remote(url) is None


def test_no_password_survives() -> None:
    assert "secret" not in repr(parse_remote("https://oauth2:secret@gitlab.example.com/group/app.git"))
