"""What GitHub's event file says of a job that a pull request or another workflow run started: whose code it is, and its number.

Rules: the file is read only for events whose answer is in it. A fork is told by the repository's id, never by its name. Where the answer is
not to be had (no file, garbage, a fork that was deleted), the job counts as one of a fork, and ``doubt`` says why. Only the events in
``EVENTS`` are known to run other people's code; a workflow that checks such code out by itself on another event has to know what it does.
Payloads: docs.github.com, "Webhook events and payloads".
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

EVENTS = {
    "pull_request": ("pull_request", "head", "repo"),
    "pull_request_target": ("pull_request", "head", "repo"),
    "pull_request_review": ("pull_request", "head", "repo"),
    "pull_request_review_comment": ("pull_request", "head", "repo"),
    "workflow_run": ("workflow_run", "head_repository"),
}
"""Event name → where its payload holds the repository the code is from."""
UNKNOWN_FORK = "unknown"
_LARGEST_EVENT = 32 * 1024 * 1024
"""Bytes; GitHub sends at most 25 MB."""
_LONGEST_NAME = 200


@dataclass(frozen=True, slots=True)
class Event:
    """The payload of the event file, or (None) why there is none."""

    payload: Mapping[str, Any] | None = None
    fault: str = "nobody read the event file"


NO_EVENT = Event()


@dataclass(frozen=True, slots=True)
class Fork:
    """The fork whose code a job runs; empty for the project's own code. ``doubt``: why it is only taken for one."""

    name: str = ""
    doubt: str = ""


def load_event(environ: Mapping[str, str]) -> Event:
    """The event of this job; raises nothing: what cannot be read is a fault that only some jobs care about."""
    if environ.get("GITHUB_EVENT_NAME") not in EVENTS:
        return NO_EVENT
    path = environ.get("GITHUB_EVENT_PATH")
    if not path:
        return Event(fault="GITHUB_EVENT_PATH is not set")
    try:
        payload = json.loads(_read(Path(path)), object_pairs_hook=_without_duplicates)
    except OSError as error:
        return Event(fault=f"{path} cannot be read: {error.strerror}")
    except (ValueError, RecursionError):
        return Event(fault=f"{path} is no JSON document")
    return Event(payload, "") if isinstance(payload, dict) else Event(fault=f"{path} holds no JSON object")


def find_fork(name: str, event: Event, project_id: str, project: str) -> Fork:
    """The fork a GitHub job of the event ``name`` runs the code of. ``project_id`` is the repository's own id, or (act) its name."""
    if name not in EVENTS:
        return Fork()
    if event.payload is None:
        return Fork(UNKNOWN_FORK, event.fault)
    repository = _dig(event.payload, EVENTS[name])
    if not isinstance(repository, Mapping):
        return Fork(UNKNOWN_FORK, f"the event names no repository in {'.'.join(EVENTS[name])}, as where the fork was deleted")
    identity, full_name = repository.get("id"), repository.get("full_name")
    if str(identity) == project_id or (project_id == project.lower() and str(full_name).lower() == project_id):
        return Fork()
    readable = isinstance(full_name, str) and 0 < len(full_name) <= _LONGEST_NAME and full_name.isprintable()
    return Fork(str(full_name) if readable else f"repository {str(identity)[:20]!r}")


def find_pull_request(name: str, event: Event) -> int | None:
    """The number of the pull request the event is about, where it is about one."""
    payload: Mapping[str, Any] = event.payload or {}
    if name == "workflow_run":
        found = _dig(payload, ("workflow_run", "pull_requests"))
        number = _dig(found[0], ("number",)) if isinstance(found, list) and len(found) == 1 else None
    else:
        number = _dig(payload, ("pull_request", "number")) if name in EVENTS else None
    return number if isinstance(number, int) and not isinstance(number, bool) and number > 0 else None


def _dig(value: object, keys: tuple[str, ...]) -> object:
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _read(path: Path) -> bytes:
    # O_NONBLOCK: opening a FIFO that nobody writes to must not hang.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(0, "no regular file")
    with os.fdopen(descriptor, "rb") as file:
        data = file.read(_LARGEST_EVENT + 1)
    if len(data) > _LARGEST_EVENT:
        raise OSError(0, f"more than {_LARGEST_EVENT} bytes")
    return data


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return members
