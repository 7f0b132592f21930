"""One stage on top of an image: run its commands in a container or write its files into one, and commit that with a changed config.

What the commit can say and what not is ``image_config``'s to know. ``changes=`` is never used: it goes through the Dockerfile parser,
which expands variables and refuses newlines. A container's labels would enter the image, so ours have a name instead.

The commands see the image's environment and nothing of ours: no variable, no socket, no credential, and of mounts and secrets those that
were asked for. Where something is mounted on a path the image lacks, an empty directory stays; what is in it does not.
"""

from __future__ import annotations

import codecs
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import replace
from http import HTTPStatus
from typing import Any

from ci_plugin.engine.connection import EngineConnection
from ci_plugin.engine.containers import Containers
from ci_plugin.engine.failures import Failure, engine_errors, kind_of, shorten, status_of
from ci_plugin.engine.files import ImageFiles
from ci_plugin.engine.image_config import CONFIG_COMMENT, STAGE_COMMENT, changed_config, exceeds_commit
from ci_plugin.engine.rewrites import Rewriter
from ci_plugin.engine.stage_script import ENTRYPOINT, SECRETS_DIRECTORY, check_settings, stage_input
from ci_plugin.errors import AnswerIsNo, InputError, StageFailed, StagepinError, Unavailable
from ci_plugin.ports import NO_SETTINGS, EngineImage, FileChanges, ImageChange, MountedDirectory, OutputSink, PathChange, RunSettings
from ci_plugin.values.digest import ImageId

_KEPT_LINES = 5000
"""Lines of output an error carries: the last ones."""
_KINDS: dict[int, Any] = {0: "changed", 1: "added", 2: "removed"}
_MOUNT_TYPES = {"fresh": "volume", "kept": "volume", "host": "bind"}
_LOOK_SECONDS = 2.0
"""After so long a script that is not taken may be one that nobody will take."""


class Committer:
    """Runs and commits on one engine."""

    def __init__(self, connection: EngineConnection, containers: Containers) -> None:
        self._connection = connection
        self._containers = containers
        self._files = ImageFiles(connection, containers)
        self._rewriter = Rewriter(connection)
        self._network: str | None = None

    def derive(
        self,
        parent: EngineImage,
        change: ImageChange,
        commands: Sequence[str] = (),
        output: OutputSink | None = None,
        settings: RunSettings = NO_SETTINGS,
        changed: Callable[[Sequence[PathChange]], None] | None = None,
    ) -> ImageId:
        """The ID of the committed child. Raises StageFailed, AnswerIsNo (no shell), InputError, Unavailable."""
        if not commands:
            with self._containers.unstarted(parent) as container:
                return self._commit(container, parent, change, CONFIG_COMMENT)
        check_settings(settings)
        with self._open(parent, settings) as container:
            self._run(container, parent, stage_input(commands, settings.secrets), settings, output or _drop)
            if changed:
                changed(self._changes(container))
            return self._commit(container, parent, change)

    def put_files(self, parent: EngineImage, changes: FileChanges, change: ImageChange) -> ImageId:
        """The ID of a child with these files. Raises InputError, Unavailable."""
        if not parent.config.get("Volumes"):
            with self._files.written(parent, changes) as container:
                return self._commit(container, parent, change)
        # What is written where the image declares a volume would go there, and not into the image.
        plain = {**parent.config, "Volumes": None}
        twin = replace(parent, id=self._rewriter.rewrite(str(parent.id), plain, author=self._author(str(parent.id))), config=plain)
        try:
            with self._files.written(twin, changes) as container:
                return self._commit(container, parent, change)
        finally:
            self._rewriter.drop(str(twin.id))

    def _commit(self, container: str, parent: EngineImage, change: ImageChange, comment: str = STAGE_COMMENT) -> ImageId:
        config = changed_config(parent.config, change)
        author = change.author or self._author(str(parent.id))
        with engine_errors("commit a stage"):
            api = self._connection.api
            answer = api.commit(container, message=comment, author=author or None, pause=False, conf=config)
        committed = str(answer["Id"])
        if not exceeds_commit(parent.config, change):
            return ImageId(committed)
        try:
            return self._rewriter.rewrite(committed, config, author=author, with_history=not change.clear_history)
        finally:
            self._rewriter.drop(committed)

    def _author(self, image: str) -> str:
        with engine_errors(f"look at {image}"):
            api: Any = self._connection.api
            return str(api.inspect_image(image).get("Author") or "")

    @contextmanager
    def _open(self, parent: EngineImage, settings: RunSettings) -> Iterator[str]:
        with ExitStack() as stack:
            try:
                container = stack.enter_context(self._containers.open(self._config(parent, settings)))
            except StagepinError as error:
                if status_of(error) != HTTPStatus.BAD_REQUEST or not settings.mounts:
                    raise
                hint = "create the directory on the engine's machine, or correct the mount"
                raise InputError(f"expected mounts this engine can make, found: {shorten(error.message)}", hint=hint) from error
            yield container

    def _config(self, parent: EngineImage, settings: RunSettings) -> dict[str, Any]:
        host: dict[str, Any] = {
            "NetworkMode": settings.network or self.network_mode(),
            # json-file: the output is read as the container's log, which some log drivers of an engine's default cannot give back
            "LogConfig": {"Type": "json-file"},
            "Mounts": [_mount(mount) for mount in settings.mounts],
        }
        if settings.secrets:
            host["Tmpfs"] = {SECRETS_DIRECTORY: "rw,noexec,nosuid,nodev,mode=0755"}
        config: dict[str, Any] = {"Image": str(parent.id), "Entrypoint": list(ENTRYPOINT), "Cmd": [], "HostConfig": host}
        config |= {"OpenStdin": True, "StdinOnce": True}
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

    def _run(self, container: str, parent: EngineImage, script: bytes, settings: RunSettings, output: OutputSink) -> None:
        kept: list[str] = []
        self._start(container, parent, script, settings)
        with engine_errors("run a stage's commands"):
            for line in split_lines(self._log(container)):
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

    def _log(self, container: str) -> Iterator[bytes]:
        """What a container prints, to its end."""
        last = b""
        with closing(self._connection.api.logs(container, stream=True, follow=True)) as log:
            for chunk in log:
                last = chunk
                yield chunk
        # Following loses a last line without its newline in one of four runs (measured on 20.10.24); the log itself has it.
        if not last or last.endswith(b"\n"):
            self._connection.api.wait(container, timeout=None)
            rest = self._connection.api.logs(container, tail=1)
            if not rest.endswith(b"\n"):
                yield rest

    def _start(self, container: str, parent: EngineImage, script: bytes, settings: RunSettings) -> None:
        try:
            attach = f"/containers/{container}/attach?stdin=1&stream=1"
            with engine_errors("start a container"), self._connection.upgraded(attach, "tcp", ()) as (stdin, _):
                self._connection.api.start(container)
                self._send(stdin, script, container)
        except StagepinError as error:
            raise _start_error(error, parent, settings) from error

    def _send(self, stdin: socket.socket, script: bytes, container: str) -> None:
        """Send the whole script, or what a container takes of it that ends before: its exit code then says why."""
        stdin.settimeout(_LOOK_SECONDS)
        left = memoryview(script)
        while left:
            try:
                left = left[stdin.send(left) :]
            except OSError as error:
                api: Any = self._connection.api
                if not api.inspect_container(container)["State"]["Running"]:
                    return
                if not isinstance(error, TimeoutError):
                    raise
        # Not only its sending half, which TLS has not: nothing is read here, and the engine reads what was sent.
        with suppress(OSError):
            stdin.shutdown(socket.SHUT_RDWR)

    def _changes(self, container: str) -> Sequence[PathChange]:
        with engine_errors("say what a stage's commands changed"):
            found: Any = self._connection.api.diff(container) or ()
        return sorted((PathChange(str(item["Path"]), _KINDS[int(item["Kind"])]) for item in found), key=lambda change: change.path)


def split_lines(chunks: Iterable[bytes]) -> Iterator[str]:
    """Chunks of bytes → lines without their newline; bytes that are no UTF-8 become U+FFFD."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    rest = ""
    for chunk in chunks:
        *whole, rest = (rest + decoder.decode(chunk)).split("\n")
        yield from (line.removesuffix("\r") for line in whole)
    if rest := rest + decoder.decode(b"", final=True):
        yield rest


def _mount(mount: MountedDirectory) -> dict[str, Any]:
    described: dict[str, Any] = {"Type": _MOUNT_TYPES[mount.kind], "Target": mount.target}
    if mount.name:
        described["Source"] = mount.name
    # Else the engine would fill an empty volume with what the image has there.
    return described if mount.kind == "host" else {**described, "VolumeOptions": {"NoCopy": True}}


def _start_error(error: StagepinError, parent: EngineImage, settings: RunSettings) -> StagepinError:
    text = error.message
    if "/bin/sh" in text and "no such file" in text:
        message = f"expected a base that can run commands, found an image without /bin/sh ({parent.id})"
        return AnswerIsNo(message, hint="use a base that has a shell, or drop the commands of this image's stages")
    if "exec format error" in text:
        return AnswerIsNo(
            f"expected an image this engine can run, found {parent.platform}",
            hint="use a runner of that platform, or register emulation (binfmt)",
        )
    if settings.network and status_of(error) == HTTPStatus.NOT_FOUND:
        message = f"expected the engine to have the network {settings.network!r}, found: {shorten(text)}"
        return InputError(message, hint="create the network before, or use none or host")
    # the engine calls everything about a start an internal error; what is left and is no known outside fault is about this container
    return error if kind_of(text) is not Failure.UNKNOWN else Unavailable(text, hint="look at the engine's log; run again")


def _drop(_line: str) -> None:
    """No sink was given."""
