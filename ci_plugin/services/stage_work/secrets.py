"""Secrets and SSH agents of a build, read where they are used and nowhere kept.

Rules: a value is learned by whoever redacts output before anything is done with it; no message holds one; an empty secret is an error,
because a CI variable that does not reach a job is empty.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ci_plugin.config.parts import Secret, SecretValue
from ci_plugin.errors import InputError, Location

AgentReader = Callable[[str], Mapping[str, str]]
"""What ``ssh`` says → agent sockets' paths by id; raises InputError where there is none."""

LARGEST_SECRET = 500 * 1024
"""Bytes; BuildKit's own limit (session/secrets/secretsprovider)."""
_AGENT_VARIABLE = "SSH_AUTH_SOCK"


def read_secrets(
    secrets: Sequence[Secret], environ: Mapping[str, str], directory: Path, learn: Callable[[str], None] = lambda _secret: None
) -> dict[str, bytes]:
    """The bytes of these secrets by id; ``src`` is relative to ``directory``, ``~`` is ``HOME``.

    Raises InputError, at the secret's place, for one that is missing, empty or larger than ``LARGEST_SECRET``.
    """
    found: dict[str, bytes] = {}
    for secret in secrets:
        data = _read(secret, environ, directory)
        learn(data.decode("utf-8", "surrogateescape"))
        if len(data) > LARGEST_SECRET:
            raise _error(secret, f"a value of at most {LARGEST_SECRET // 1024} KiB", f"{len(data)} bytes", "split it, or use a mount")
        found[secret.id] = data
    return found


def _read(secret: Secret, environ: Mapping[str, str], directory: Path) -> bytes:
    match secret.source:
        case SecretValue(env=str(name)):
            if value := environ.get(name):
                return value.encode("utf-8", "surrogateescape")
            hint = f"set {name}; on a forge, is the variable protected and this branch not?"
            raise _error(secret, f"a value in the environment variable {name}", "none", hint)
        case SecretValue(src=str(path)):
            return _read_file(secret, path, _place(path, environ, directory))
        case SecretValue(value=str(value)):
            return value.encode("utf-8", "surrogateescape")
    raise _error(secret, "env, src or value", "none of them", "write one of the three")


def _read_file(secret: Secret, path: str, place: Path) -> bytes:
    try:
        data = place.read_bytes()
    except OSError as error:
        raise _error(secret, f"a file {path}", error.strerror or type(error).__name__, "the step that makes it must run before") from None
    if not data:
        raise _error(secret, f"a value in the file {path}", "it empty", "the step that makes it must run before")
    return data


def _place(path: str, environ: Mapping[str, str], directory: Path) -> Path:
    home = environ.get("HOME")
    return Path(home, path[2:]) if path.startswith("~/") and home else directory / path


def _error(secret: Secret, expected: str, found: str, hint: str) -> InputError:
    return InputError(f"expected {expected} for the secret {secret.id!r}, found {found}", hint=hint, where=secret.location)


def no_agents(text: str) -> Mapping[str, str]:
    """Where nobody said how agents are found, there must be none."""
    raise InputError(f"expected no SSH agents in this build, found {text!r}")


def find_agents(text: str, environ: Mapping[str, str], where: Location | None = None) -> dict[str, str]:
    """``default`` or ``ID=SOCKET``, one a line → the paths of agents' sockets by id; an id alone is the agent of ``SSH_AUTH_SOCK``.

    Raises InputError where there is no socket, also for a private key's file: a key is given to an agent.
    """
    return {name.strip() or "default": _find_agent(path.strip(), environ, where) for name, _, path in _entries(text)}


def _entries(text: str) -> list[tuple[str, str, str]]:
    return [line.partition("=") for line in text.splitlines() if line.strip()]


def _find_agent(named: str, environ: Mapping[str, str], where: Location | None) -> str:
    path = named or environ.get(_AGENT_VARIABLE, "")
    hint = "start one and give it the key: eval $(ssh-agent); ssh-add KEY"
    if not path:
        raise InputError(f"expected an SSH agent in {_AGENT_VARIABLE}, found none", hint=hint, where=where)
    if not Path(path).is_socket():
        found = "a file, which would be a key" if Path(path).is_file() else "none"
        raise InputError(f"expected an SSH agent's socket at {path}, found {found}", hint=hint, where=where)
    return path
