"""Git over the network: one command against one address, with one login, and what its failure means.

Rules: no question is ever asked; a password is in no argument and goes to no other site (a credential helper of ours, made for that site,
reads it from its environment); only the transports that addresses may have are spoken, after a redirect too. What the user's own git
configuration says about proxies, certificates, other addresses and credential helpers holds. git has one exit code for everything, so its
words (always English) are looked at, in one table.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from ci_plugin.errors import AccessDenied, InputError, Location, StagepinError, Unavailable
from ci_plugin.git.command import no_git, text
from ci_plugin.git.login import Login
from ci_plugin.values.git_address import GitAddress

DEADLINE = 900.0
"""Seconds for one command: the first fetch of a large repository whose server gives whole branches alone."""
_KEPT = re.compile(r"GIT_(?:SSH|SSH_COMMAND|SSH_VARIANT|ASKPASS|SSL_\w+|PROXY_SSL_\w+|CONFIG_(?:COUNT|GLOBAL|SYSTEM|(?:KEY|VALUE)_[0-9]+))")
"""Variables by which users say how git reaches their servers."""
_HELPER = r"""!f() { test "$1" = get && printf 'username=%s\npassword=%s\n' "$STAGEPIN_GIT_USER" "$STAGEPIN_GIT_PASSWORD"; }; f"""
_OPTIONS = (
    "protocol.version=2",
    "gc.auto=0",
    "maintenance.auto=false",
    "fetch.writeCommitGraph=false",
    "core.hooksPath=/dev/null",
    "core.askPass=",
    "http.lowSpeedLimit=1",
    "http.lowSpeedTime=60",
)
_ADDED = re.compile(r"Could not read from remote repository|Please make sure you have the correct|and the repository exists")
_Failure: TypeAlias = Callable[[GitAddress, str], StagepinError]


def run_git(
    arguments: Sequence[str],
    address: GitAddress,
    login: Login | None,
    environ: Mapping[str, str],
    *,
    git_dir: Path | None = None,
    kept_open: Sequence[int] = (),
) -> subprocess.CompletedProcess[bytes]:
    """What git answered, whatever its exit code. ``git_dir`` None: outside of any repository; ``kept_open``: descriptors git inherits.

    Raises InputError where there is no git, Unavailable past the deadline.
    """
    options = [part for option in (*_OPTIONS, *_login_options(login)) for part in ("-c", option)]
    command = ["git", "--no-pager", f"--git-dir={git_dir or os.devnull}", *options, *arguments]
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=_environment(environ, address, login),
            pass_fds=kept_open,
            start_new_session=True,  # no terminal: neither git nor ssh can ask there
        )
    except FileNotFoundError:
        raise no_git() from None
    with process:
        try:
            output, errors = process.communicate(timeout=DEADLINE)
        except subprocess.TimeoutExpired:
            _end(process)
            message = f"expected git {arguments[0]} of {address.url} to end within {DEADLINE:.0f} seconds"
            raise Unavailable(message, hint="run the job again", where=Location(address.url)) from None
        except BaseException:
            _end(process)
            raise
    return subprocess.CompletedProcess(command, process.returncode, output, errors)


def failure_of(address: GitAddress, stderr: bytes) -> StagepinError | None:
    """What kept git from talking to the repository; None where it talked, and refused what was asked for."""
    said = text(stderr)
    for words, make in _FAILURES:
        if words.search(said):
            return make(address, said)
    return None


def unknown_failure(address: GitAddress, stderr: bytes) -> Unavailable:
    """The error for words that are in no table: something outside failed."""
    return _unavailable(address, text(stderr))


def _login_options(login: Login | None) -> tuple[str, ...]:
    # The empty one forgets the user's helpers: the mapping says who we are.
    return () if login is None else ("credential.helper=", f"credential.{login.site}.helper={_HELPER}")


def _environment(environ: Mapping[str, str], address: GitAddress, login: Login | None) -> dict[str, str]:
    kept = {name: value for name, value in environ.items() if not name.startswith(("GIT_", "LC_", "LANG")) or _KEPT.fullmatch(name)}
    ours = {
        "GIT_ALLOW_PROTOCOL": "file" if address.scheme == "file" else "https:http:ssh:git",
        "GIT_TERMINAL_PROMPT": "0",
        "SSH_ASKPASS_REQUIRE": "never",
        "GCM_INTERACTIVE": "never",
        "LC_ALL": "C",
    }
    if login is None:
        return kept | ours
    asking = {name: value for name, value in kept.items() if name not in ("GIT_ASKPASS", "SSH_ASKPASS")}
    return asking | ours | {"STAGEPIN_GIT_USER": login.user, "STAGEPIN_GIT_PASSWORD": login.password}


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill git and what it started: a transport that is left alone would go on."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        process.kill()
    process.communicate()


def _denied(address: GitAddress, said: str) -> StagepinError:
    way = "set `basicAuth`, or a credential helper of git" if address.site else "give the job an ssh key that may read it (ssh-agent)"
    message = f"expected to be let into the git repository {address.url}, found: {_quoted(said)}"
    return AccessDenied(message, hint=way, where=Location(address.url))


def _absent(address: GitAddress, said: str) -> StagepinError:
    message = f"expected a git repository at {address.url}, found none, or one that whoever asks may not see: {_quoted(said)}"
    return InputError(message, hint="correct `url`, or give it credentials that may read it", where=Location(address.url))


def _untrusted(address: GitAddress, said: str) -> StagepinError:
    message = f"expected {address.url} to show that it is who it should be, found: {_quoted(said)}"
    way = "give git the CA's certificate (GIT_SSL_CAINFO)" if address.site else "add the host's key to ~/.ssh/known_hosts (ssh-keyscan)"
    return InputError(message, hint=way, where=Location(address.url))


def _foreign(address: GitAddress, said: str) -> StagepinError:
    message = f"expected {address.url} to be a repository of the user this job runs as, found: {_quoted(said)}"
    return InputError(message, hint=f"git config --global --add safe.directory {address.path}", where=Location(address.url))


def _forbidden(address: GitAddress, said: str) -> StagepinError:
    message = f"expected {address.url} to be reached by https, http, ssh or git, found: {_quoted(said)}"
    return InputError(message, hint="correct `url`; look for `insteadOf` in the git configuration", where=Location(address.url))


def _unavailable(address: GitAddress, said: str) -> Unavailable:
    message = f"expected an answer of the git repository {address.url}, found: {_quoted(said)}"
    return Unavailable(message, hint="run the job again; is its host reachable from here?", where=Location(address.url))


_FAILURES: tuple[tuple[re.Pattern[str], _Failure], ...] = (
    (re.compile(r"dubious ownership|unsafe repository"), _foreign),
    (re.compile(r"(?i)host key verification failed|certificate|SSL: |self.signed"), _untrusted),
    (re.compile(r"transport '[^']*' not allowed|remote helper|is not allowed|protocol '[^']*' is not supported"), _forbidden),
    (
        re.compile(
            r"Authentication failed|could not read (?:Username|Password)|returned error: 40[13]\b|Permission denied(?: \(|,)"
            r"|HTTP Basic: Access denied|terminal prompts disabled|Invalid username or"
        ),
        _denied,
    ),
    (
        re.compile(r"(?i)repository '.*' not found|repository not found|does not appear to be a git repository|returned error: 404\b"),
        _absent,
    ),
    (re.compile(r"(?i)access denied or repository not exported|project you were looking for could not be found|no such project"), _absent),
    (
        re.compile(
            r"(?i)could ?n.t resolve|could not resolve|name or service not known|failed to connect|could not connect|couldn't connect"
            r"|unable to connect|connection (?:refused|reset|timed out|closed)|timed out|no route to host|network is unreachable"
            r"|returned error: (?:429|5\d\d)\b|early EOF|hung up unexpectedly|RPC failed|empty reply|kex_exchange"
        ),
        _unavailable,
    ),
)
"""What git, curl and ssh say → what it means; the first that fits. "Could not read from remote repository" follows everything."""


def _quoted(said: str) -> str:
    """What git said, on one line, without a user in an address and without what it adds to everything."""
    lines = [line.removeprefix("fatal: ") for line in said.splitlines() if not line.startswith("warning: ")]
    told = [line for line in lines if line and not _ADDED.match(line)]
    return re.sub(r"(://)[^/@\s]*@", r"\1", "; ".join(told))[:300] or "nothing"
