"""One stage on top of an image: run commands in a container, commit it with a changed config.

The rules of the commit, from moby ``daemon/commit.go`` (``merge``), measured on 20.10.24 and held by tests/contract:

- what the JSON config leaves empty is filled from the *container's* config: so it is the parent's whole config with our changes, and the
  shell line we run is the container's Entrypoint with an empty Cmd, which an explicit ``[]`` keeps out of the image;
- ``changes=`` is never used: it goes through the Dockerfile parser, which expands variables and refuses newlines;
- a container's labels would enter the image, so ours are found by their name, ``stagepin-<random>``, and carry none.

The commands see the image's environment and nothing of ours: no variable, no mount, no socket, no credential.
"""

from __future__ import annotations

import codecs
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from typing import Any

from ci_plugin.engine.connection import EngineConnection
from ci_plugin.engine.failures import Failure, engine_errors, kind_of
from ci_plugin.errors import AnswerIsNo, StageFailed, StagepinError, Unavailable
from ci_plugin.ports import EngineImage, ImageChange, OutputSink
from ci_plugin.values.digest import ImageId

CONTAINER_PREFIX = "stagepin-"
_SHELL = 'if command -v bash >/dev/null 2>&1; then exec bash -e -c "$0" bash; else exec /bin/sh -e -c "$0" sh; fi'
_STOP_AT_FAILURE = "case $? in 0) ;; *) exit ;; esac"
_KEPT_LINES = 5000
"""Lines of output an error carries: the last ones."""


def shell_script(commands: Sequence[str]) -> str:
    """One script that stops where a command fails.

    ``-e`` alone lets ``false && true`` pass, and ``&&`` between the commands would switch ``-e`` off inside them; so the status is looked
    at after each. The empty line keeps a trailing backslash or comment to its own command.
    """
    return "\n".join(f"{command}\n\n{_STOP_AT_FAILURE}" for command in commands)


def changed_config(config: Mapping[str, Any], change: ImageChange) -> dict[str, Any]:
    """The config to commit: the parent's, whole, with the changes; empty lists where the engine would fill in the container's own."""
    changed = {
        **config,
        "Env": _added_env(config.get("Env") or (), change.env),
        "Labels": {**(config.get("Labels") or {}), **change.labels},
    }
    changed["Entrypoint"] = list(config.get("Entrypoint") or ()) if change.entrypoint is None else list(change.entrypoint)
    changed["Cmd"] = list(config.get("Cmd") or ()) if change.cmd is None else list(change.cmd)
    if change.volumes:
        changed["Volumes"] = {**(config.get("Volumes") or {}), **{path: {} for path in change.volumes}}
    if change.expose:
        changed["ExposedPorts"] = {
            **(config.get("ExposedPorts") or {}),
            **{port: {} for text in change.expose for port in exposed_ports(text)},
        }
    if change.workdir:
        changed["WorkingDir"] = change.workdir
    if change.user:
        changed["User"] = change.user
    if change.healthcheck:
        changed["Healthcheck"] = {"Test": list(change.healthcheck)}
    return changed


def exposed_ports(text: str) -> tuple[str, ...]:
    """``80`` → ``80/tcp``; ``8000-8002/udp`` → three ports. What is no port goes through as it is: the engine says what it thinks of it."""
    ports, _, protocol = text.partition("/")
    first, _, last = ports.partition("-")
    suffix = f"/{protocol.lower() or 'tcp'}"
    if first.isdigit() and last.isdigit() and int(first) <= int(last) <= 65535:
        return tuple(f"{port}{suffix}" for port in range(int(first), int(last) + 1))
    return (ports + suffix,)


class Committer:
    """Runs and commits on one engine."""

    def __init__(self, connection: EngineConnection) -> None:
        self._connection = connection
        self._network: str | None = None
        self._running: set[str] = set()

    def stop(self) -> None:
        """Remove every container that runs now; the commands in it end with it."""
        for container in tuple(self._running):
            self._remove(container)

    def derive(self, parent: EngineImage, change: ImageChange, commands: Sequence[str], output: OutputSink | None) -> ImageId:
        """The ID of the committed child. Raises StageFailed, AnswerIsNo (no shell), Unavailable."""
        with self._container(parent, commands) as container:
            if commands:
                self._run(container, parent, output or _drop)
            with engine_errors("commit a stage"):
                answer = self._connection.api.commit(container, pause=False, conf=changed_config(parent.config, change))
        return ImageId(str(answer["Id"]))

    @contextmanager
    def _container(self, parent: EngineImage, commands: Sequence[str]) -> Iterator[str]:
        """A container that is removed in the end, whatever happened, with the anonymous volumes it was given."""
        config = self._container_config(parent, shell_script(commands))
        name = CONTAINER_PREFIX + secrets.token_hex(8)
        with engine_errors(f"create a container from {parent.id}"):
            api: Any = self._connection.api  # the stubs leave this method untyped
            container = str(api.create_container_from_config(config, name)["Id"])
        self._running.add(container)
        try:
            yield container
        finally:
            self._running.discard(container)
            self._remove(container)

    def _remove(self, container: str) -> None:
        # A second error here would hide the first; a dead engine leaves the container, to be found by its name.
        with suppress(StagepinError), engine_errors("remove a container"):
            self._connection.api.remove_container(container, v=True, force=True)

    def _container_config(self, parent: EngineImage, script: str) -> dict[str, Any]:
        config = {
            "Image": str(parent.id),
            "Entrypoint": ["/bin/sh", "-c", _SHELL, script],
            "Cmd": [],
            # json-file: the output is read as the container's log, which some log drivers of an engine's default cannot give back
            "HostConfig": {"NetworkMode": self.network_mode(), "LogConfig": {"Type": "json-file"}},
        }
        # Only where the image names them: what is empty in the config to commit is filled from here.
        if parent.config.get("User"):
            config["User"] = "0"
        if parent.config.get("Healthcheck"):
            config["Healthcheck"] = {"Test": ["NONE"]}
        return config

    def network_mode(self) -> str:
        """``default``, or ``none`` on an engine that was started without a bridge."""
        if self._network is None:
            with engine_errors("list its networks"):
                names = {network["Name"] for network in self._connection.api.networks()}
            self._network = "default" if "bridge" in names else "none"
        return self._network

    def _run(self, container: str, parent: EngineImage, output: OutputSink) -> None:
        kept: list[str] = []
        try:
            with engine_errors("start a container"):
                self._connection.api.start(container)
        except StagepinError as error:
            raise _start_error(error, parent) from error
        with engine_errors("run a stage's commands"):
            with closing(self._connection.api.logs(container, stream=True, follow=True)) as log:
                for line in split_lines(log):
                    kept.append(line)
                    output(line)
            status = int(self._connection.api.wait(container, timeout=None)["StatusCode"])
        if status:
            if not self._connection.is_alive():
                raise Unavailable(
                    "expected the engine to run a stage's commands, found it gone", hint="is the engine still running? run again"
                )
            hint = "mend the command; its output is above"
            text = "\n".join(kept[-_KEPT_LINES:])
            raise StageFailed(f"expected the stage's commands to succeed, found exit code {status}", output=text, hint=hint)


def split_lines(chunks: Iterable[bytes]) -> Iterator[str]:
    """Chunks of bytes → lines without their newline; bytes that are no UTF-8 become U+FFFD."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    rest = ""
    for chunk in chunks:
        *whole, rest = (rest + decoder.decode(chunk)).split("\n")
        yield from (line.removesuffix("\r") for line in whole)
    if rest := rest + decoder.decode(b"", final=True):
        yield rest


def _added_env(env: Iterable[str], added: Mapping[str, str]) -> list[str]:
    """The parent's variables in their order with new values in place, then the new ones."""
    kept = [f"{name}={added.get(name, value)}" for name, _, value in (item.partition("=") for item in env)]
    known = {item.partition("=")[0] for item in kept}
    return kept + [f"{name}={value}" for name, value in added.items() if name not in known]


def _start_error(error: StagepinError, parent: EngineImage) -> StagepinError:
    text = error.message
    if "/bin/sh" in text and "no such file" in text:
        message = f"expected a base that can run commands, found an image without /bin/sh ({parent.id})"
        return AnswerIsNo(message, hint="use a base that has a shell, or drop the commands of this image's stages")
    if "argument list too long" in text:
        return AnswerIsNo("expected commands of at most 128 KiB for one stage, found more", hint="put them into a committed script")
    if "exec format error" in text:
        return AnswerIsNo(
            f"expected an image this engine can run, found {parent.platform}",
            hint="use a runner of that platform, or register emulation (binfmt)",
        )
    # the engine calls everything about a start an internal error; what is left and is no known outside fault is about this container
    return error if kind_of(text) is not Failure.UNKNOWN else Unavailable(text, hint="look at the engine's log; run again")


def _drop(_line: str) -> None:
    """No sink was given."""
