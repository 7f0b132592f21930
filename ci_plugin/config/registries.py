"""Which registries a configuration may name: the prefixes of ``registries: allow:`` and the references they hold.

A prefix ends where a part of the path ends: ``registry.example.com/group`` holds ``registry.example.com/group/app`` and not
``registry.example.com/groups``. Nothing is asked here; the check comes before the first request (SSRF through a reference).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from ci_plugin.config.sections import Problems
from ci_plugin.errors import ConfigError, Location
from ci_plugin.values.reference import Reference, Repository, parse_repository

_PROBE = "a/a"
"""Two parts: Docker Hub puts ``library/`` before one."""


@dataclass(frozen=True, slots=True)
class RegistryPrefix:
    """A registry, or the repositories below a path of it (``path`` empty: all)."""

    registry: str
    path: str = ""

    def __str__(self) -> str:
        return f"{self.registry}/{self.path}" if self.path else self.registry

    def holds(self, repository: Repository) -> bool:
        """Whether the repository is this one or below it."""
        if repository.registry != self.registry:
            return False
        return not self.path or repository.path == self.path or repository.path.startswith(f"{self.path}/")


def parse_registry_prefix(text: str) -> RegistryPrefix:
    """``registry.example.com:5000``, ``docker.io/library``: a host, with or without a path. Raises ValueError."""
    host = text.partition("/")[0]
    try:
        place = parse_repository(f"{text}/{_PROBE}") if "." in host or ":" in host or host == "localhost" else None
    except ValueError:
        place = None
    if place is None:
        raise ValueError(f"expected a registry such as docker.io/library or registry.example.com, found {text[:150]!r}")
    return RegistryPrefix(place.registry, place.path.removesuffix(_PROBE).removesuffix("/"))


def check_allowed(
    places: Iterable[tuple[Reference, Location | None]], allowed: Sequence[RegistryPrefix], own: Collection[Repository]
) -> None:
    """Raise one ConfigError that names every reference outside the allowed registries; ``own`` repositories need no entry."""
    problems = Problems()
    for reference, where in places:
        with problems.collect():
            if reference.repository not in own and not is_allowed(reference.repository, allowed):
                names = ", ".join(map(str, allowed)) or "none"
                raise ConfigError(
                    f"expected an image of one of the allowed registries ({names}), found {reference}",
                    hint="use an image from there, or add its registry to `registries: allow:` in .stagepin.yaml",
                    where=where,
                )
    problems.raise_first()


def is_allowed(repository: Repository, allowed: Iterable[RegistryPrefix]) -> bool:
    """Whether one of the prefixes holds the repository."""
    return any(prefix.holds(repository) for prefix in allowed)
