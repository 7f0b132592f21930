"""References: the text that names an image, parsed once.

Grammar and Docker Hub normalisation: distribution/reference. ``alpine``, ``alpine:latest`` and ``docker.io/library/alpine`` are
one reference; ``localhost/a`` and ``host:5000/a`` name other registries. A reference with both a tag and a digest means the digest.
The parser takes no white space, no control character and no URL; what it refuses never reaches a network call.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace

from ci_plugin.values.digest import Digest

_DOMAIN_PART = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_REGISTRY = re.compile(rf"(?:{_DOMAIN_PART}(?:\.{_DOMAIN_PART})*|\[[0-9a-fA-F:]+\])(?::(\d{{1,5}}))?", re.ASCII)
_PATH_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_PATH = re.compile(rf"{_PATH_PART}(?:/{_PATH_PART})*", re.ASCII)
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", re.ASCII)
_IMAGE_ID = re.compile(r"[0-9a-f]{64}", re.ASCII)
_LONGEST_NAME = 255
_DOCKER_HUB_NAMES = {"docker.io", "index.docker.io", "registry-1.docker.io"}


@dataclass(frozen=True, slots=True, order=True)
class Repository:
    """A registry and the path of one repository in it, normalised."""

    registry: str
    path: str

    def __str__(self) -> str:
        return f"{self.registry}/{self.path}"

    def at(self, digest: Digest) -> Reference:
        """``registry/path@sha256:…``."""
        return Reference(self, None, digest)

    def tagged(self, tag: str) -> Reference:
        """``registry/path:tag``."""
        return Reference(self, tag, None)


@dataclass(frozen=True, slots=True)
class Reference:
    """A repository with a tag, a digest or both; ``spelling`` is what the user wrote and is no part of equality."""

    repository: Repository
    tag: str | None
    digest: Digest | None
    spelling: str = field(default="", compare=False)

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{self.repository}{tag}{digest}"

    @property
    def target(self) -> str:
        """What a manifest request asks for: the digest, else the tag."""
        return str(self.digest) if self.digest else str(self.tag)

    def at(self, digest: Digest) -> Reference:
        """The same repository by digest; the spelling is kept."""
        return replace(self, tag=None, digest=digest)


def parse_repository(text: str) -> Repository:
    """A repository without tag or digest, such as ``registry.example.com/group/app``. Raises ValueError."""
    reference = parse_reference(text)
    if reference.digest or ":" in text.rpartition("/")[2]:
        raise ValueError(f"expected a repository without tag or digest, found {text[:300]!r}")
    return reference.repository


def parse_reference(text: str) -> Reference:
    """A normalised reference; the tag defaults to ``latest`` where there is no digest. Raises ValueError with what was expected."""
    if not text or any(character.isspace() or not character.isprintable() for character in text):
        raise ValueError(f"expected an image reference such as alpine:3.20, found {text[:300]!r}")
    if "://" in text:
        raise ValueError(f"expected an image reference without {text.partition('://')[0]}://, found {text[:300]!r}")
    if _IMAGE_ID.fullmatch(text):
        raise ValueError(f"expected an image reference such as alpine:3.20, found {text!r}, which is how an image ID looks")
    rest, at, digest_text = text.partition("@")
    digest = Digest(digest_text) if at else None
    head, slash, last = rest.rpartition("/")
    last, colon, tag = last.partition(":")
    if colon and not _TAG.fullmatch(tag):
        raise ValueError(f"expected a tag of at most 128 characters [A-Za-z0-9_.-], found {tag[:150]!r} in {text[:300]!r}")
    repository = _parse_name(head + slash + last, text)
    return Reference(repository, tag if colon else None if digest else "latest", digest, spelling=text)


def is_scratch(text: str) -> bool:
    """``scratch`` is a word, not a reference: no registry is ever asked for it."""
    return text == "scratch"


def _parse_name(name: str, text: str) -> Repository:
    first, slash, path = name.partition("/")
    if not slash or not (_is_registry(first) or first != first.lower()):
        first, path = "docker.io", name
    match = _REGISTRY.fullmatch(first)
    if not match or (match[1] and not 0 < int(match[1]) < 65536):
        raise ValueError(f"expected a registry such as registry.example.com:5000, found {first[:150]!r} in {text[:300]!r}")
    registry = first.lower()
    if not _is_registry(registry):
        raise ValueError(f"expected a repository of lower-case letters, or a registry with a dot or port, found {first[:150]!r}")
    if registry in _DOCKER_HUB_NAMES:
        registry, path = "docker.io", path if "/" in path else f"library/{path}"
    if not _PATH.fullmatch(path) or len(registry) + 1 + len(path) > _LONGEST_NAME:
        raise ValueError(
            f"expected a repository of lower-case letters, digits and single separators (at most {_LONGEST_NAME} characters), "
            f"found {path[:150]!r} in {text[:300]!r}"
        )
    return Repository(registry, path)


def _is_registry(part: str) -> bool:
    return "." in part or ":" in part or part == "localhost"
