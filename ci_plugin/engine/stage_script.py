"""What a stage's container is told: one script that stops where a command fails, and before it the secrets the commands may read.

The script comes over the container's standard input and is nowhere else: not among its arguments, which the committed image keeps
(``container_config``) and ``docker inspect`` shows, not in its environment, not on a disk; and it may be longer than the 128 KiB that one
argument may have (execve(2)). The commands themselves find an empty standard input, and one pipe for output and errors: an engine reads
two of them in no order.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from ci_plugin.errors import InputError
from ci_plugin.ports import RunSettings

SECRETS_DIRECTORY = "/run/secrets"
_READ = """\
if command -v cat >/dev/null 2>&1; then stagepin=$(cat)
else while IFS= read -r line || [ -n "$line" ]; do stagepin="$stagepin
$line"; done; fi
case $stagepin in *'# stagepin: whole') ;; *) echo "expected all of the commands, found a part of them" >&2; exit 125 ;; esac
exec </dev/null 2>&1
eval "$stagepin"
"""
_CHOOSE = 'if command -v bash >/dev/null 2>&1; then exec bash -e -c "$0" bash; else exec /bin/sh -e -c "$0" sh; fi'
ENTRYPOINT = ("/bin/sh", "-c", _CHOOSE, _READ)
"""Reads the script to its end and becomes it, in bash where the image has one; a script without its last line is not begun."""
_LAST_LINE = "# stagepin: whole"
_STOP_AT_FAILURE = "case $? in 0) ;; *) exit ;; esac"
_SECRET_ID = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9._-]{1,255}", re.ASCII)
_PLAIN = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789 +/=_.,:;")
_PRINTED = 1024
"""Bytes that one printf writes: where that is a program, its argument stays short."""


def shell_script(commands: Sequence[str]) -> str:
    """One script that stops where a command fails.

    ``-e`` alone lets ``false && true`` pass, and ``&&`` between the commands would switch ``-e`` off inside them; so the status is looked
    at after each. The empty line keeps a trailing backslash or comment to its own command.
    """
    return "\n".join(f"{command}\n\n{_STOP_AT_FAILURE}" for command in commands)


def stage_input(commands: Sequence[str], secrets: Mapping[str, bytes]) -> bytes:
    """What the container reads: forget this text, write the secrets, run the commands."""
    lines = ["unset stagepin line", *(_write_secret(name, data) for name, data in secrets.items()), shell_script(commands), _LAST_LINE, ""]
    return "\n".join(lines).encode("utf-8", "surrogateescape")


def check_settings(settings: RunSettings) -> None:
    """Raises InputError for what no container can be given."""
    for name in settings.secrets:
        if not _SECRET_ID.fullmatch(name):
            message = f"expected the id of a secret to be of the characters [A-Za-z0-9._-], found {name[:100]!r}"
            raise InputError(message, hint="rename the secret")
    for mount in settings.mounts:
        if not mount.target.startswith("/") or not mount.target.strip("/") or ".." in mount.target.split("/"):
            message = f"expected a mount at an absolute path below the root, found {mount.target[:300]!r}"
            raise InputError(message, hint="write the whole path the commands see, such as /var/cache/apt")


def _write_secret(name: str, data: bytes) -> str:
    """A file of these bytes that root alone reads. Octal escapes are all a POSIX printf needs, and keep it from reading options."""
    pieces = [data[start : start + _PRINTED] for start in range(0, len(data), _PRINTED)]
    prints = "; ".join(f"printf '{''.join(_escaped(piece))}'" for piece in pieces) or ":"
    return f"(umask 377; {{ {prints}; }} >{SECRETS_DIRECTORY}/{name}) || exit"


def _escaped(data: bytes) -> Iterator[str]:
    return (chr(byte) if byte in _PLAIN else f"\\{byte:03o}" for byte in data)
