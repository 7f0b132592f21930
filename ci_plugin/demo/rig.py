"""A private engine and a private registry on loopback, for the demo, the tests and the benchmarks.

Everything they write stays below the directory they are given (and one short directory for sockets where its path is too long), and
nothing is left when they stop: no process, no mount. The programs are Debian's ``dockerd`` and ``docker-registry``; nothing is downloaded.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlencode, urlsplit

from ci_plugin.demo.rootfs import busybox_rootfs
from ci_plugin.errors import InputError, Unavailable
from ci_plugin.values.digest import Digest

__all__ = [
    "Rig",
    "RunningEngine",
    "RunningRegistry",
    "ask_engine",
    "busybox_rootfs",
    "find_engine",
    "open_rig",
    "push_base",
    "start_engine",
    "start_registry",
]

DEFAULT_DOCKER_HOST = "unix:///var/run/docker.sock"
_START_SECONDS = 60.0
_STOP_SECONDS = 30.0
_LONGEST_RUN_DIRECTORY = 60
"""Characters: containerd's and our socket below it must stay within the 107 bytes of a unix socket's path (unix(7))."""

_REGISTRY_CONFIG = """\
version: 0.1
log: {{level: error, accesslog: {{disabled: true}}}}
storage:
  filesystem: {{rootdirectory: {store}}}
  delete: {{enabled: true}}
  maintenance: {{readonly: {{enabled: {read_only}}}}}
http: {{addr: "{address}"}}
"""


class _Running:
    """A process of ours that is stopped once, also by leaving a ``with`` block."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """The process id of the server."""
        return self._process.pid

    def stop(self) -> None:
        """SIGTERM, wait, SIGKILL; a second call does nothing."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self._process.wait()


class RunningRegistry(_Running):
    """A registry on loopback; ``address`` is ``127.0.0.1:PORT``, plain HTTP."""

    def __init__(self, process: subprocess.Popen[bytes], address: str) -> None:
        super().__init__(process)
        self.address = address


class RunningEngine(_Running):
    """An engine of our own; ``docker_host`` is ``unix://…``."""

    def __init__(self, process: subprocess.Popen[bytes], run: Path, data: Path) -> None:
        super().__init__(process)
        self._run, self._data = run, data
        self.docker_host = f"unix://{run}/docker.sock"

    def stop(self) -> None:
        """Stop it and all it started, unmount what it mounted, so that its directory can be removed."""
        super().stop()
        self._end_children()
        _unmount_below(self._run, self._data)
        shutil.rmtree(self._run, ignore_errors=True)

    def kill(self) -> None:
        """SIGKILL, for the tests of an engine that dies; ``stop`` still has to follow."""
        self._process.kill()
        self._process.wait()

    def _end_children(self) -> None:
        # A killed dockerd leaves its containerd, shims and containers behind; a shim must not outlive the container it would report.
        shims = _processes_naming(f"{self._run}/exec/")
        below = [int(file.read_text()) for file in self._run.glob("exec/containerd/daemon/*/moby/*/init.pid")]
        for pid in [*below, *shims]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        _wait_until(lambda: not _processes_naming(f"{self._run}/exec/"), _STOP_SECONDS)


@dataclass(frozen=True, slots=True)
class Rig:
    """Where the engine and the registry are; ``owns_engine`` says whether the engine is a private one."""

    docker_host: str
    registry_address: str
    owns_engine: bool


@contextmanager
def open_rig(directory: Path, environ: Mapping[str, str]) -> Iterator[Rig]:
    """A rig until the block ends: a reachable engine of this machine if there is one, else a private one; always a private registry.

    An engine reached over TCP is not used: it may be on another machine, where our loopback is not. Raises InputError, Unavailable.
    """
    directory.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        found = find_engine(environ)
        usable = found if found and found.startswith("unix://") else None
        host = usable or stack.enter_context(start_engine(directory / "engine")).docker_host
        registry = stack.enter_context(start_registry(directory / "registry"))
        yield Rig(host, registry.address, owns_engine=usable is None)


def find_engine(environ: Mapping[str, str]) -> str | None:
    """The ``DOCKER_HOST`` (or the default socket) of an engine that answers, or None."""
    host = environ.get("DOCKER_HOST") or DEFAULT_DOCKER_HOST
    return host if _answers(lambda: _engine_connection(host, 5), "/_ping") else None


def start_registry(
    directory: Path, *, search_path: str | None = None, address: str | None = None, read_only: bool = False
) -> RunningRegistry:
    """A registry that keeps its store below ``directory``, deletion enabled, on a free port; returns when it answers.

    ``address`` is for one that comes back, so that what was pushed to it keeps its name; its configuration is ``directory/config.yml``.
    Raises InputError where ``docker-registry`` is not installed, Unavailable where it does not come up.
    """
    program = _get_program("docker-registry", "docker-registry", search_path)
    directory.mkdir(parents=True, exist_ok=True)
    # A port that was free may be taken before the registry binds it, by anybody: then another one is tried.
    for _ in range(5):
        chosen = address or f"127.0.0.1:{_free_port()}"
        config = directory / "config.yml"
        store = json.dumps(str(directory / "store"))
        config.write_text(_REGISTRY_CONFIG.format(store=store, address=chosen, read_only=str(read_only).lower()))
        process = _start([program, "serve", str(config)], directory / "registry.log")
        if _comes_up(process, lambda: http.client.HTTPConnection(chosen, timeout=5), "/v2/"):  # noqa: B023 - called at once
            return RunningRegistry(process, chosen)
    raise Unavailable(_failure("docker-registry", directory / "registry.log"), hint="read the log and start it again")


def start_engine(directory: Path, *, search_path: str | None = None) -> RunningEngine:
    """An engine with its own store, containerd and socket below ``directory`` and no network of its own; returns when it answers.

    Raises InputError where ``dockerd`` is not installed, Unavailable where it does not come up.
    """
    program = _get_program("dockerd", "docker.io", search_path)
    data = directory.absolute() / "data"
    data.mkdir(parents=True, exist_ok=True)
    long = len(str(directory.absolute())) > _LONGEST_RUN_DIRECTORY
    run = Path(tempfile.mkdtemp(prefix="stagepin-")) if long else directory.absolute() / "run"
    run.mkdir(exist_ok=True)
    (run / "daemon.json").write_text("{}")  # else /etc/docker/daemon.json would be read
    command = [program, "--config-file", f"{run}/daemon.json", "--data-root", str(data), "--exec-root", f"{run}/exec"]
    command += ["--pidfile", f"{run}/docker.pid", "--host", f"unix://{run}/docker.sock"]
    command += ["--bridge=none", "--iptables=false", "--ip6tables=false"]
    log = directory / "engine.log"
    engine = RunningEngine(_start(command, log), run, data)
    if not _comes_up(engine._process, lambda: _engine_connection(engine.docker_host, 5), "/_ping"):
        engine.stop()
        raise Unavailable(_failure("dockerd", log), hint="dockerd needs root (or a privileged container); or set DOCKER_HOST")
    return engine


def push_base(docker_host: str, address: str, repository: str, tag: str, version: str) -> Digest:
    """Push a busybox root filesystem marked ``version`` as ``address/repository:tag``; a second call with another version moves the tag.

    Returns the manifest digest. The engine keeps no name of it, so that whoever needs the image has to pull it.
    """
    name = f"{address}/{repository}"
    changes = [("changes", 'CMD ["sh"]'), ("changes", "ENV BASE=yes")]
    query = urlencode([("fromSrc", "-"), ("repo", name), ("tag", tag), *changes])
    ask_engine(docker_host, "POST", f"/images/create?{query}", busybox_rootfs(version))
    events = ask_engine(docker_host, "POST", f"/images/{name}/push?tag={tag}", headers={"X-Registry-Auth": "e30="})
    ask_engine(docker_host, "DELETE", f"/images/{name}:{tag}?noprune=1")
    return next(Digest(event["aux"]["Digest"]) for event in events if "Digest" in event.get("aux", {}))


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def _engine_connection(docker_host: str, seconds: float) -> http.client.HTTPConnection:
    address = urlsplit(docker_host)
    if address.scheme == "unix":
        return _UnixConnection(address.path, seconds)
    return http.client.HTTPConnection(address.hostname or "", address.port or 2375, timeout=seconds)


def ask_engine(docker_host: str, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> list[Any]:
    """One request to the engine's HTTP API; the JSON documents of its answer, one per line. Raises Unavailable, for errors in them too."""
    connection = _engine_connection(docker_host, 120)
    try:
        connection.request(method, path, body=body, headers=dict(headers or {}))
        response = connection.getresponse()
        text = response.read().decode()
    except OSError as error:
        raise Unavailable(f"expected an answer of the engine at {docker_host}, found {error}", hint="is it running?") from None
    finally:
        connection.close()
    events = [json.loads(line) for line in text.splitlines() if line]
    failed = next((event["error"] for event in events if isinstance(event, dict) and "error" in event), None)
    if failed or response.status >= 300:
        raise Unavailable(f"expected the engine to {method} {path.partition('?')[0]}, found {failed or text[:300]}")
    return events


def _get_program(name: str, package: str, search_path: str | None) -> str:
    found = shutil.which(name, path=_search_path() if search_path is None else search_path)
    if not found:
        raise InputError(f"expected the program {name}, found none on PATH", hint=f"install it (Debian package {package})")
    return found


def _search_path() -> str:
    return f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


def _start(command: list[str], log: Path) -> subprocess.Popen[bytes]:
    # The environment is ours alone: proxies would send loopback traffic away, REGISTRY_… would change the configuration.
    environ = {"PATH": _search_path(), "HOME": str(log.parent), "LC_ALL": "C"}
    with log.open("ab") as out:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=environ, start_new_session=True)


def _comes_up(process: subprocess.Popen[bytes], connect: Callable[[], http.client.HTTPConnection], path: str) -> bool:
    _wait_until(lambda: process.poll() is not None or _answers(connect, path), _START_SECONDS)
    return process.poll() is None and _answers(connect, path)


def _answers(connect: Callable[[], http.client.HTTPConnection], path: str) -> bool:
    connection = connect()
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _wait_until(condition: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _failure(program: str, log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return f"expected {program} to answer within {_START_SECONDS:.0f} seconds, found: {lines[-1] if lines else 'no output'} (log: {log})"


def _processes_naming(text: str) -> list[int]:
    """Processes with ``text`` in their command line: containerd and its shims carry the run directory, which is ours alone."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and text.encode() in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
    return found


def _unmount_below(*directories: Path) -> None:
    """Unmount these (the engine mounts its data root on itself) and all below, deepest first, even if a dying container holds them."""
    prefixes = tuple(f"{directory}/" for directory in directories)
    points = [line.split(" ")[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for point in sorted((point for point in points if f"{point}/".startswith(prefixes)), reverse=True):
        subprocess.run(["umount", "--lazy", point], check=False, capture_output=True, env={"PATH": _search_path()})
