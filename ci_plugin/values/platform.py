"""Platforms: ``os/architecture[/variant]`` as OCI and Docker write them, and which entry of an index serves one."""

from __future__ import annotations

import re
from dataclasses import dataclass

_PATTERN = re.compile(r"([a-z0-9]+)/([a-z0-9_-]+)(?:/([a-z0-9.]+))?", re.ASCII)
_DEFAULT_VARIANTS = {"arm64": "v8", "arm": "v7"}
_ALIASES = {"x86_64": "amd64", "x86-64": "amd64", "aarch64": "arm64", "i386": "386"}
_ALIASES_OF_VARIANTS = {"armhf": ("arm", "v7"), "armel": ("arm", "v6")}
"""Names that mean a variant, whatever is written behind them (containerd's ``platforms.Normalize``)."""


@dataclass(frozen=True, slots=True, order=True)
class Platform:
    """An operating system, an architecture and, where it matters, a variant (``linux/arm/v7``)."""

    os: str
    architecture: str
    variant: str = ""

    def __str__(self) -> str:
        return f"{self.os}/{self.architecture}" + (f"/{self.variant}" if self.variant else "")

    def serves(self, wanted: Platform) -> bool:
        """Whether an image of this platform is what ``wanted`` asks for; ``linux/arm64`` and ``linux/arm64/v8`` are one."""
        return (self.os, self.architecture, self._variant()) == (wanted.os, wanted.architecture, wanted._variant())

    def _variant(self) -> str:
        return self.variant or _DEFAULT_VARIANTS.get(self.architecture, "")


DEFAULT_PLATFORM = Platform("linux", "amd64")


def parse_platform(text: str) -> Platform:
    """``linux/amd64``, ``linux/arm64/v8``; raises ValueError with what was expected."""
    match = _PATTERN.fullmatch(text)
    if not match:
        raise ValueError(f"expected a platform such as linux/amd64 or linux/arm/v7, found {text[:100]!r}")
    written = (_ALIASES.get(match[2], match[2]), match[3] or "")
    architecture, variant = _ALIASES_OF_VARIANTS.get(match[2], written)
    return Platform(match[1], architecture, "" if _DEFAULT_VARIANTS.get(architecture) == variant else variant)
