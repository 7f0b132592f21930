"""Who we are to another repository: the mapping's ``basicAuth``, else what its url holds; else git asks the user's helpers and agents."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ci_plugin.config.parts import GitRemote, SecretValue
from ci_plugin.errors import InputError, Location
from ci_plugin.values.git_address import GitAddress


@dataclass(frozen=True, slots=True)
class Login:
    """A user and a password for one site, such as ``https://git.example.com``, and for no other."""

    site: str
    user: str = field(repr=False)
    password: str = field(repr=False)


class Logins:
    """Finds logins. ``learn`` is told every password before it is used, so that none is ever printed."""

    def __init__(self, environ: Mapping[str, str], directory: Path, learn: Callable[[str], object]) -> None:
        self._environ = environ
        self._directory = directory
        self._learn = learn

    def find(self, remote: GitRemote, address: GitAddress) -> Login | None:
        """The login, or None where git has to find one by itself. Raises InputError for a secret that is not there or cannot be sent."""
        user, password = address.user, address.password
        if remote.user is not None and remote.password is not None:
            user, password = remote.user, self._read(remote.password, address)
        if not user and not password:
            return None
        self._learn(password or user)
        if not address.site:
            raise InputError(
                f"expected `basicAuth` for an https address, found it for {address.url}",
                hint="ssh takes keys from the user's agent or ~/.ssh; leave basicAuth out",
                where=Location(address.url),
            )
        if any(character in user + password for character in "\n\r\0"):
            message = f"expected a user and a password of one line for {address.url}, found a line break in them"
            raise InputError(message, hint="give the token alone", where=Location(address.url))
        return Login(address.site, user, password)

    def _read(self, secret: SecretValue, address: GitAddress) -> str:
        if secret.value is not None:
            return secret.value
        if secret.env is not None:
            found = self._environ.get(secret.env)
            if not found:
                message = f"expected the password for {address.url} in the environment variable {secret.env}, found it unset or empty"
                raise InputError(message, hint=f"set {secret.env} as a masked variable of this job", where=Location(address.url))
            return found
        return self._read_file(secret.src or "", address)

    def _read_file(self, path: str, address: GitAddress) -> str:
        home = self._environ.get("HOME")
        place = Path(home, path[2:]) if path.startswith("~/") and home else self._directory / path
        try:
            password = place.read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, ValueError) as error:
            password, reason = "", (error.strerror or "") if isinstance(error, OSError) else "it is no text"
        else:
            reason = "it is empty"
        if not password:
            message = f"expected the password for {address.url} in the file {path}, found: {reason}"
            raise InputError(message, hint="write the file in an earlier step of this job", where=Location(path))
        return password
