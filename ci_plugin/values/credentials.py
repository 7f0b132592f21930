"""Registry credentials whose text form shows nothing."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Credentials:
    """A user name and secret for one registry; ``identity_token`` is set instead where a helper gave one (user ``<token>``)."""

    user: str = field(repr=False)
    secret: str = field(repr=False)
    identity_token: str = field(default="", repr=False)
