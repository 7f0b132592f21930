from __future__ import annotations

import pytest

from ci_plugin.values.git_address import GitAddress, parse_git_address


@pytest.mark.parametrize(
    ("text", "address", "scheme", "site"),
    [
        ("https://git.example.com/group/a.git", GitAddress("https://git.example.com/group/a.git"), "https", "https://git.example.com"),
        ("HTTPS://Git.Example.COM:8443/A", GitAddress("https://git.example.com:8443/A"), "https", "https://git.example.com:8443"),
        ("https://us%20er:p%40ss@h/x", GitAddress("https://h/x", "us er", "p@ss"), "https", "https://h"),
        ("https://token@h/x", GitAddress("https://h/x", "token"), "https", "https://h"),
        ("https://a@b@h/x", GitAddress("https://h/x", "a@b"), "https", "https://h"),
        ("http://[::1]:80/x", GitAddress("http://[::1]:80/x"), "http", "http://[::1]:80"),
        ("ssh://git:password@h:22/x", GitAddress("ssh://git@h:22/x"), "ssh", ""),
        ("git@h:group/a.git", GitAddress("git@h:group/a.git"), "ssh", ""),
        ("h:/srv/a", GitAddress("h:/srv/a"), "ssh", ""),
        ("git://h/a", GitAddress("git://h/a"), "git", ""),
        ("/srv/git/with space", GitAddress("/srv/git/with space"), "file", ""),
        ("file:///srv/a", GitAddress("file:///srv/a"), "file", ""),
    ],
)
def test_an_address_is_kept_without_its_credentials(text: str, address: GitAddress, scheme: str, site: str) -> None:
    found = parse_git_address(text)
    assert (found, found.scheme, found.site) == (address, scheme, site)
    assert parse_git_address(found.url) == GitAddress(found.url), "what is kept is an address itself, of nobody"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "relative/path",
        "../above",
        "ext::sh -c id",
        "ext::sh",
        "foo::https://h/x",
        "fd::3",
        "ftp://h/x",
        "-oProxyCommand=id",
        "--upload-pack=id",
        "git@-oProxyCommand=id:x",
        "-git@h:x",
        "git@h:-x",
        "ssh://-oProxyCommand=id/x",
        "ssh://-git@h/x",
        "ssh://git@h/-x",
        "https://h",
        "https://h/",
        "https:///x",
        "https://h h/x",
        "https://h/a b",
        "https://h/x\n",
        "/srv/a\x00",
        "file://host/x",
        "git@h:",
        "a//b:c",
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(
        ValueError, match=r"^expected the address of a git repository \(https, http, ssh, git, user@host:path, or an absolute path\)"
    ):
        parse_git_address(text)


@pytest.mark.parametrize(
    "text",
    [
        "https://user:s3cret/word@h/x",
        "foo::https://user:s3cret/word@h/x",
        "foo::https://user:s3cret@h/x",
        "ftp://user:s3cret@h/x",
        "https://user:s3cret@h",
        "s3cret@-h:x",
        "https://s3cret@h h/x",
    ],
)
def test_a_refusal_shows_no_credential(text: str) -> None:
    with pytest.raises(ValueError, match="expected the address") as raised:
        parse_git_address(text)
    assert "s3cret" not in str(raised.value)


def test_a_representation_shows_none_either() -> None:
    assert "s3cret" not in repr(parse_git_address("https://s3cret:s3cret@h/x"))
