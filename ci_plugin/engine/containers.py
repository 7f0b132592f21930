"""Containers of ours: each has a name that says which process made it, and is removed in the end, whatever happened.

The name is ``stagepin-<place>-<pid>-<start>-<random>``: ``place``, 12 hex characters, stands for one boot of one machine and one process
namespace, ``start`` is when that process began (proc_pid_stat(5), field 22), so that a later process of that number is not taken for it.
A label would say more, and would enter the image. Rules of what is left behind (``is_left_behind``):

- a process of this very place that is gone needs its containers no more, whether they run or not;
- of another place nothing can be seen: what does not run is left behind after an hour, what runs after a day.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from ci_plugin.engine.connection import EngineConnection
from ci_plugin.engine.failures import engine_errors
from ci_plugin.errors import StagepinError
from ci_plugin.ports import EngineImage

CONTAINER_PREFIX = "stagepin-"
_NAME = re.compile(r"/?stagepin-([0-9a-f]{12})-(\d+)-(\d+)-[0-9a-f]{16}", re.ASCII)
_HOUR, _DAY = 3600.0, 86400.0


@dataclass(frozen=True, slots=True)
class Maker:
    """A process that makes containers; ``start`` is 0 where the system does not say when it began."""

    place: str
    pid: int
    start: int

    @classmethod
    def this(cls) -> Maker:
        """The process that asks."""
        pid = os.getpid()
        return cls(_place(), pid, _find_start(pid) or 0)

    def new_name(self) -> str:
        """A name nothing has."""
        return f"{CONTAINER_PREFIX}{self.place}-{self.pid}-{self.start}-{secrets.token_hex(8)}"

    def is_alive(self) -> bool:
        """Whether that process runs now; only for one of this place."""
        if self.start:
            return _find_start(self.pid) == self.start
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except OSError:
            return True
        return True


def parse_maker(name: str) -> Maker | None:
    """Who made a container of that name, or None where it is none of ours."""
    match = _NAME.fullmatch(name)
    return Maker(match[1], int(match[2]), int(match[3])) if match else None


def is_left_behind(maker: Maker, here: str, running: bool, age: float) -> bool:
    """Whether nobody needs a container any more; ``age`` in seconds since it was made."""
    if maker.place == here:
        return not maker.is_alive()
    return age > (_DAY if running else _HOUR)


class Containers:
    """Makes and removes containers on one engine; safe to share between threads."""

    def __init__(self, connection: EngineConnection) -> None:
        self._connection = connection
        self._open: set[str] = set()

    @contextmanager
    def open(self, config: Mapping[str, Any]) -> Iterator[str]:
        """The ID of a new container that is removed in the end, with the anonymous volumes it was given."""
        name = Maker.this().new_name()
        with engine_errors(f"create a container from {config['Image']}"):
            api: Any = self._connection.api  # the stubs leave this method untyped
            container = str(api.create_container_from_config(dict(config), name)["Id"])
        self._open.add(container)
        try:
            yield container
        finally:
            self._open.discard(container)
            self._remove(container)

    @contextmanager
    def unstarted(self, image: EngineImage) -> Iterator[str]:
        """A container only to write and read files of: it is never started, so its image needs no program."""
        config: dict[str, Any] = {"Image": str(image.id), "Entrypoint": ["stagepin"], "Cmd": [], "HostConfig": {"NetworkMode": "none"}}
        # Else the engine makes the image's working directory in it. Only where it has one: a commit fills what is empty from here.
        with self.open({**config, "WorkingDir": "/"} if image.config.get("WorkingDir") else config) as container:
            yield container

    def stop(self) -> None:
        """Remove every container that is open now; the commands in it end with it."""
        for container in tuple(self._open):
            self._remove(container)

    def remove_leftovers(self) -> list[str]:
        """Remove what ended runs of ours left behind; the names, sorted. Raises nothing."""
        removed: list[str] = []
        with suppress(StagepinError), engine_errors("list its containers"):
            for name, container in self._left_behind():
                if self._remove(container):
                    removed.append(name)
        return sorted(removed)

    def _left_behind(self) -> list[tuple[str, str]]:
        here, found = Maker.this().place, self._connection.api.containers(all=True, filters={"name": f"^/?{CONTAINER_PREFIX}"})
        made = [(container, maker) for container in found for maker in [_maker_of(container)] if maker]
        # Asked only where it matters: the engine's own clock, by which it wrote down when a container was made.
        now = self._now() if any(maker.place != here for _, maker in made) else 0.0
        return [
            (str(container["Names"][0]).lstrip("/"), str(container["Id"]))
            for container, maker in made
            if is_left_behind(maker, here, container.get("State") in ("running", "paused", "restarting"), now - float(container["Created"]))
        ]

    def _now(self) -> float:
        text = str(self._connection.api.info()["SystemTime"])
        return datetime.fromisoformat(re.sub(r"\.\d+", "", text).replace("Z", "+00:00")).timestamp()

    def _remove(self, container: str) -> bool:
        # A second error here would hide the first; a dead engine leaves the container, to be found by its name.
        with suppress(StagepinError), engine_errors("remove a container"):
            self._connection.api.remove_container(container, v=True, force=True)
            return True
        return False


def _maker_of(container: Mapping[str, Any]) -> Maker | None:
    names = container.get("Names") or [""]
    return parse_maker(str(names[0]))


def _place() -> str:
    """One boot of one machine, one process namespace; where the system tells neither, the machine's name."""
    parts = [_read("/proc/sys/kernel/random/boot_id") or platform.node()]
    with suppress(OSError):
        parts.append(str(Path("/proc/self/ns/pid").readlink()))
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]


def _find_start(pid: int) -> int | None:
    """When a process began, in clock ticks since boot; None where there is none, a zombie is none."""
    text = _read(f"/proc/{pid}/stat")
    # The name of the program, in parentheses, may hold anything.
    fields = text.rpartition(")")[2].split()
    return int(fields[19]) if len(fields) > 19 and fields[0] not in ("Z", "X") else None


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
