"""One git command at a time, in a clean environment: English texts, no question, no pager, no ``GIT_*`` variable of the caller."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from ci_plugin.errors import InputError, Location, Unavailable

DEADLINE = 300.0
"""Seconds for one git command: a partial clone may fetch a blob over the network."""
_OPTIONS = (
    # A path is a name, whatever characters it holds.
    "--literal-pathspecs",
    # Containers of CI run as another user than the one who cloned (git 2.35.2 and later then refuse to read).
    "-c",
    "safe.directory=*",
    # A hook the repository names would be run by every status-like command.
    "-c",
    "core.fsmonitor=false",
)


class Git:
    """Runs git on one repository: where ``git_dir`` is None the one git finds from ``directory``, else exactly that one."""

    def __init__(self, directory: Path, environ: Mapping[str, str], git_dir: Path | None = None, *, is_bare: bool = False) -> None:
        self.directory = directory
        self._environ = environ
        place = [] if git_dir is None else [f"--git-dir={git_dir}", *([] if is_bare else [f"--work-tree={directory}"])]
        self._command = ["git", "--no-pager", "-C", str(directory), *place, *_OPTIONS]
        kept = {name: value for name, value in environ.items() if not name.startswith(("GIT_", "LC_", "LANG"))}
        self.environment = kept | {
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_NO_REPLACE_OBJECTS": "1",
            "GIT_OPTIONAL_LOCKS": "0",
            "GIT_TERMINAL_PROMPT": "0",
            "LC_ALL": "C",
        }

    def inside(self, directory: Path) -> Git:
        """Git on the repository whose working tree is exactly ``directory``, and on no other above it."""
        return Git(directory, self._environ, directory / ".git")

    def command(self, *arguments: str) -> list[str]:
        """The whole command line."""
        return [*self._command, *arguments]

    def run(self, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        """What git answered, whatever its exit code. Raises InputError where there is no git, Unavailable past the deadline."""
        try:
            return subprocess.run(
                self.command(*arguments),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                env=self.environment,
                timeout=DEADLINE,
                check=False,
            )
        except FileNotFoundError:
            raise no_git() from None
        except subprocess.TimeoutExpired:
            raise too_slow(arguments) from None

    def expect(self, *arguments: str) -> bytes:
        """The standard output of a command that has to succeed. Raises InputError with git's own words."""
        answer = self.run(*arguments)
        if answer.returncode:
            said = text(answer.stderr).strip() or f"exit code {answer.returncode}"
            raise InputError(
                f"expected git {arguments[0]} to succeed, found: {said[:500]}",
                hint="check the clone with: git fsck",
                where=Location(str(self.directory)),
            )
        return answer.stdout

    def names(self, *arguments: str) -> tuple[str, ...]:
        """The NUL-terminated names a command that has to succeed prints."""
        return tuple(text(self.expect(*arguments)).split("\0")[:-1])


def no_git() -> InputError:
    """The error where the machine has no git."""
    return InputError("expected the git command, found none in PATH", hint="install git (apt-get install git, apk add git)")


def too_slow(arguments: Sequence[str]) -> Unavailable:
    """The error where a git command says nothing for longer than ``DEADLINE``."""
    return Unavailable(f"expected git {arguments[0]} to end within {DEADLINE:.0f} seconds", hint="run the job again")


def text(data: bytes) -> str:
    """Names and messages as git gives them; bytes that are no UTF-8 stand as ``surrogateescape``."""
    return data.decode("utf-8", "surrogateescape")


def line(data: bytes) -> str:
    """An answer of one line, without its end."""
    return text(data).removesuffix("\n")
