from __future__ import annotations

import pytest

from ci_plugin.config.git_references import GitReference, git_key, list_git_references
from ci_plugin.config.load import load_configuration
from ci_plugin.config.model import Configuration
from ci_plugin.config.parts import GitRemote
from ci_plugin.errors import ConfigError, Location
from tests.unit.config.sources import META, source

HERE = Location("werf.yaml", 7)
URL = "https://git.example.com/lib.git"
COMMIT = "c0ffee" + "0" * 34


@pytest.mark.parametrize(
    ("remote", "ref"),
    [
        (GitRemote(URL), "refs/heads/master"),
        (GitRemote(URL, branch="feature/x-1"), "refs/heads/feature/x-1"),
        (GitRemote(URL, tag="v1.0"), "refs/tags/v1.0"),
        (GitRemote(URL, commit=COMMIT), COMMIT),
        (GitRemote(URL, commit=COMMIT.upper()), COMMIT),
        (GitRemote(URL, commit="a" * 64), "a" * 64),
    ],
)
def test_a_mapping_means_one_ref_of_one_repository(remote: GitRemote, ref: str) -> None:
    assert git_key(remote, HERE) == (URL, ref)


@pytest.mark.parametrize(
    ("remote", "message", "hint"),
    [
        (GitRemote(URL, commit="c0ffee"), "expected a full commit id (40 hex characters), found 'c0ffee'", "git rev-parse"),
        (GitRemote(URL, branch="a b"), "expected the name of a branch, found 'a b'", "correct it"),
        (GitRemote(URL, tag="*"), "expected the name of a tag, found '*'", "correct it"),
        (GitRemote("ext::sh"), "expected the address of a git repository", "correct `url`"),
    ],
)
def test_what_names_nothing_is_refused_with_its_place(remote: GitRemote, message: str, hint: str) -> None:
    with pytest.raises(ConfigError) as raised:
        git_key(remote, HERE)
    assert raised.value.message.startswith(message)
    assert hint in raised.value.hint
    assert raised.value.where == HERE


@pytest.mark.parametrize(
    "name",
    [
        "",
        "-x",
        "/x",
        "x/",
        ".x",
        "x.",
        "a..b",
        "a@{1}",
        "a~1",
        "a^",
        "a:b",
        "a?b",
        "a[b",
        "a\\b",
        "a//b",
        "a/.b",
        "a.lock",
        "a.lock/b",
        "a\n",
    ],
)
def test_names_that_git_takes_for_no_branch_are_none(name: str) -> None:
    with pytest.raises(ConfigError, match="expected the name of a tag"):
        git_key(GitRemote(URL, tag=name), HERE)


def configuration(text: str) -> Configuration:
    return load_configuration(source({"werf.yaml": META + text}), "app")


def test_every_mapping_of_every_image_is_listed_in_the_order_of_the_text() -> None:
    image = "image: {name}\nfrom: scratch\ngit:\n- {{to: /own}}\n- {{url: '{url}', {what}, to: /lib}}\n---\n"
    text = image.format(name="web", url=URL, what="branch: main") + image.format(
        name="app", url="https://u:word@git.example.com/lib.git", what="tag: v1"
    )
    found = list_git_references(configuration(text))
    assert [(use.image, use.url, use.ref, use.location.line) for use in found] == [
        ("web", URL, "refs/heads/main", 8),
        ("app", URL, "refs/tags/v1", 14),
    ]
    assert isinstance(found[0], GitReference)


def test_all_that_is_wrong_is_told_at_once() -> None:
    mappings = "image: web\nfrom: scratch\ngit:\n- {url: 'ext::sh', to: /a}\n- {url: 'https://h/x', commit: abc, to: /b}\n"
    with pytest.raises(ConfigError) as raised:
        list_git_references(configuration(mappings))
    assert [part.where.line for part in raised.value.parts if part.where] == [7, 8]
