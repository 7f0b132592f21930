"""How a job reaches its forge's API: the address, the token, and whose project it is; a pure function of the environment.

Rules: ``STAGEPIN_TOKEN`` goes first, then the job's own token; what cannot be one is refused before it is sent. A token goes to the
forge's own host only: the API's address must be on the server's host (or ``api.`` before it, as github.com has it), over HTTPS unless that
host is this machine.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from ci_plugin.errors import InputError, Location
from ci_plugin.forge.remote import RemoteAddress

_API_VARIABLES = {"gitlab": "CI_API_V4_URL", "github": "GITHUB_API_URL"}
_JOB_TOKENS = {"gitlab": "CI_JOB_TOKEN", "github": "GITHUB_TOKEN"}
_PIPELINE_VARIABLES = {"gitlab": "CI_PIPELINE_ID", "github": "GITHUB_RUN_ID"}
_SSH_HOSTS = {"ssh.github.com": "github.com", "altssh.gitlab.com": "gitlab.com"}
"""Where both forges take SSH on port 443; their API is not there."""
_TOKEN = re.compile(r"[!-~]+", re.ASCII)


@dataclass(frozen=True, slots=True)
class ForgeAccess:
    """``url`` is the API's address without a slash at the end; ``project`` the project's id on GitLab, ``owner/name`` on GitHub.

    ``is_job_token``: the token is the job's own, which on GitLab goes in another header and may do less.
    """

    forge: str
    url: str
    host: str
    project: str
    token: str = field(repr=False)
    is_job_token: bool
    pipeline: str = ""
    """The id of the pipeline this job runs in; empty outside CI."""

    @property
    def token_name(self) -> str:
        """The variable the token came from, for messages; empty where there is none."""
        return "" if not self.token else _JOB_TOKENS[self.forge] if self.is_job_token else "STAGEPIN_TOKEN"


def read_access(environ: Mapping[str, str], forge: str, host: str, project: str) -> ForgeAccess:
    """The access to ``forge`` (``gitlab`` or ``github``) at ``host[:port]``.

    Raises InputError for an API address that the token must not go to, and for a token that is none.
    """
    token = _read_token(environ, "STAGEPIN_TOKEN")
    job_token = _read_token(environ, _JOB_TOKENS[forge])
    told = environ.get(_API_VARIABLES[forge], "")
    scheme = environ.get("CI_SERVER_PROTOCOL", "") if forge == "gitlab" else ""
    url = (told or _default_url(forge, host, scheme or "https")).rstrip("/")
    _check(url, host, _API_VARIABLES[forge] if told or not scheme else "CI_SERVER_PROTOCOL")
    pipeline = environ.get(_PIPELINE_VARIABLES[forge], "")
    return ForgeAccess(forge, url, host, project, token or job_token, is_job_token=not token and bool(job_token), pipeline=pipeline)


def remote_access(environ: Mapping[str, str], remote: RemoteAddress, forge: str = "") -> ForgeAccess:
    """Outside CI: the access to the forge a clone came from.

    ``forge`` is the one whose store was chosen, empty where the store says nothing of it: then a host with ``github`` in its name is
    GitHub's, any other GitLab's. Of github.com, ghe.com and gitlab.com everybody knows whose they are.

    ``GITHUB_TOKEN`` on somebody's machine is for GitHub's own hosts (so gh has it, cli.github.com/manual/gh_help_environment): a clone
    from anywhere else does not get it. ``STAGEPIN_TOKEN`` is for the host that is cloned from, whichever it is.
    """
    host = _SSH_HOSTS.get(remote.host, remote.host)
    is_githubs_own = _is_githubs_own(host)
    dropped = {"CI_JOB_TOKEN"} if is_githubs_own else {"CI_JOB_TOKEN", "GITHUB_TOKEN"}
    kept = {name: value for name, value in environ.items() if name not in dropped}
    # A clone over plain HTTP says where the API is on this machine alone: elsewhere a token needs TLS, whatever git does without.
    kept["CI_SERVER_PROTOCOL"] = "http" if remote.is_plain and _is_loopback(urlsplit(f"//{host}").hostname or "") else "https"
    return read_access(kept, _known_forge(host) or forge or ("github" if "github" in host else "gitlab"), host, remote.path)


def _known_forge(host: str) -> str:
    return "github" if _is_githubs_own(host) else "gitlab" if host == "gitlab.com" else ""


def _default_url(forge: str, host: str, scheme: str) -> str:
    if forge == "gitlab":
        return f"{scheme}://{host}/api/v4"
    # docs.github.com, "About the REST API": github.com and GitHub's own domain for enterprises have a host for it.
    return f"https://api.{host}" if _is_githubs_own(host) else f"https://{host}/api/v3"


def _is_githubs_own(host: str) -> bool:
    return host == "github.com" or host.endswith(".ghe.com")


def _read_token(environ: Mapping[str, str], name: str) -> str:
    token = environ.get(name, "")
    if token and not _TOKEN.fullmatch(token):
        raise InputError(
            f"expected a token in {name}, found blanks, line ends or other characters that no token has",
            hint=f"set {name} again, without a line end",
            where=Location(f"${name}"),
        )
    return token


def _check(url: str, host: str, variable: str) -> None:
    try:
        parts, server = urlsplit(url), urlsplit(f"//{host}").hostname or ""
        name, has_userinfo = parts.hostname or "", "@" in parts.netloc
    except ValueError:
        parts, name, server, has_userinfo = urlsplit(""), "", host, True
    is_secure = parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(name))
    if not is_secure or has_userinfo or name not in (server, f"api.{server}"):
        raise InputError(
            f"expected the API of {host} over HTTPS, found {parts.scheme or 'no scheme'}://{name} in {variable}: no token is sent there",
            hint=f"{variable} is set by the forge; do not override it",
            where=Location(f"${variable}"),
        )


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
