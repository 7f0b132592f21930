"""Registry credentials whose text form shows nothing."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Credentials:
    """A user name and secret for one registry; ``identity_token`` is set instead where a helper gave one (user ``<token>``)."""

    user: str = field(repr=False)
    secret: str = field(repr=False)
    identity_token: str = field(default="", repr=False)

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must show nowhere: the secret, and user and secret as a Basic header has them (RFC 7617)."""
        basic = base64.b64encode(f"{self.user}:{self.secret}".encode()).decode() if self.secret else ""
        return tuple(text for text in (self.secret, basic, self.identity_token) if text)
