"""Addresses of other git repositories: which are taken, and what of them is a credential.

Rules: https, http, ssh, git, the short ``user@host:path`` of ssh, and file only by an absolute path. Nothing that git or ssh would take for
an option or a program (``ext::``, ``-oProxyCommand=…``), and no control character. The name before an ssh host is kept, because it says
which service is meant; what stands before an http host is a credential.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_URL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?:(?P<user>[^/@]*(?:@[^/@]*)*)@)?(?P<host>[^/@]*)(?P<path>.*)", re.DOTALL)
_HOST = re.compile(r"(?:[A-Za-z0-9_](?:[A-Za-z0-9._-]*)|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?", re.ASCII)
_SHORT = re.compile(r"(?:[A-Za-z0-9._][^@/:]*@)?(?:[A-Za-z0-9_][A-Za-z0-9._-]*|\[[0-9A-Fa-f:.]+\]):(?![-:]|//).+", re.ASCII)
_SCHEMES = ("https", "http", "ssh", "git", "file")
_EXPECTED = "expected the address of a git repository (https, http, ssh, git, user@host:path, or an absolute path)"


@dataclass(frozen=True, slots=True)
class GitAddress:
    """``url`` is without credentials; ``user`` and ``password`` are what an http address had of them, decoded."""

    url: str
    user: str = field(default="", repr=False)
    password: str = field(default="", repr=False)

    @property
    def scheme(self) -> str:
        """``https``, ``http``, ``ssh``, ``git`` or ``file``."""
        if self.url.startswith("/"):
            return "file"
        return self.url.partition("://")[0] if "://" in self.url else "ssh"

    @property
    def path(self) -> str:
        """Where a repository of this machine lies."""
        return self.url.removeprefix("file://")

    @property
    def site(self) -> str:
        """``https://host:port``: where a credential of this address may go, and nowhere else. Empty for what is no http address."""
        if self.scheme not in ("http", "https"):
            return ""
        return "/".join(self.url.split("/")[:3])


def parse_git_address(text: str) -> GitAddress:
    """The address of a repository. Raises ValueError, which shows no credential, for one that is not taken."""
    if any(ord(character) < ord(" ") or ord(character) == 127 for character in text):
        raise ValueError(f"{_EXPECTED}, found one with a control character")
    if text.startswith("/"):
        return GitAddress(text)
    if " " in text and not text.startswith("file:"):
        raise ValueError(f"{_EXPECTED}, found one with a space")
    if found := _URL.fullmatch(text):
        return _parse_url(found)
    if "://" not in text and _SHORT.fullmatch(text):
        return GitAddress(text)
    raise ValueError(f"{_EXPECTED}, found {_shown(text)}")


def _shown(text: str) -> str:
    """What of a wrong address is no credential: all before the last ``@`` may be a part of one."""
    return repr(text.rpartition("@")[2][:100])


def _parse_url(found: re.Match[str]) -> GitAddress:
    scheme, user, host, path = found["scheme"].lower(), found["user"] or "", found["host"].lower(), found["path"]
    if scheme not in _SCHEMES:
        raise ValueError(f"{_EXPECTED}, found the transport {scheme!r}")
    if scheme == "file":
        if user or host or not path.startswith("/"):
            raise ValueError(f"{_EXPECTED}, found a file: address without an absolute path")
        return GitAddress(f"file://{path}")
    if not _HOST.fullmatch(host) or len(path) < len("/x") or path.startswith("/-") or user.startswith("-"):
        raise ValueError(f"{_EXPECTED}, found {_shown(f'{scheme}://{host}{path}')}")
    name, _, password = user.partition(":")
    if scheme in ("http", "https"):
        return GitAddress(f"{scheme}://{host}{path}", _decoded(name), _decoded(password))
    return GitAddress(f"{scheme}://{f'{name}@' if name else ''}{host}{path}")


def _decoded(text: str) -> str:
    if not text:
        return ""
    from urllib.parse import unquote  # here: every command reads addresses, few hold what is decoded

    return unquote(text)
