"""Dockerfile builds: one request with the context in its body, BuildKit where the engine has it, else the classic builder.

``POST /build?version=2`` works without a BuildKit session (measured on 20.10: cache and bind mounts, ``COPY --from=name@digest``, labels,
arguments, platform). Without a session there are no secrets, no SSH and no registry credentials: bases are pulled before (DESIGN.md §11.1).
docker-py has no parameter for it, so its transport is used directly, here and nowhere else.
"""

from __future__ import annotations

import base64
import json
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from ci_plugin.engine.buildkit_trace import BuildTrace
from ci_plugin.engine.connection import EngineConnection
from ci_plugin.engine.context import context_tar
from ci_plugin.engine.failures import Failure, engine_errors, find_stream_error, kind_of, shorten, transfer_error
from ci_plugin.errors import InputError, StageFailed, StagepinError, Unavailable
from ci_plugin.ports import ContextFile, OutputSink
from ci_plugin.values.digest import ImageId
from ci_plugin.values.platform import Platform

_OLDEST_BUILDKIT_API = (1, 39)
_DOCKERFILE_NAME = ".stagepin.dockerfile"
_KEPT_LINES = 5000


@dataclass(frozen=True, slots=True)
class BuildRequest:
    """What one build is asked for; ``dockerfile`` is the text, ``network`` is None for the engine's default.

    ``needs_buildkit`` names what of the text the classic builder cannot build.
    """

    context: tuple[ContextFile, ...]
    dockerfile: str
    target: str | None
    build_args: Mapping[str, str]
    labels: Mapping[str, str]
    platform: Platform
    network: str | None
    needs_buildkit: str | None = None

    def body(self) -> tuple[str, bytes]:
        """The name of the Dockerfile in the context, and the context's tar.

        A file of the context with the very same text is used; else one of our own is added, under a name nothing has.
        """
        data = self.dockerfile.encode()
        same = sorted(file.path for file in self.context if file.data == data and file.mode != "120000")
        if same:
            return same[0], context_tar(self.context)
        names, name = {file.path for file in self.context}, _DOCKERFILE_NAME
        while name in names:
            name += "_"
        return name, context_tar((*self.context, ContextFile(name, "100644", data)))

    def query(self, dockerfile: str, buildkit: bool) -> dict[str, str]:
        """The request's parameters (Docker Engine API, ImageBuild)."""
        query = {
            "dockerfile": dockerfile,
            "buildargs": json.dumps(dict(self.build_args)),
            "labels": json.dumps(dict(self.labels)),
            "platform": str(self.platform),
            "rm": "1",
            "forcerm": "1",
        }
        # The classic builder takes any local image as a cache (CVE-2024-24557).
        query |= {"version": "2"} if buildkit else {"nocache": "1"}
        query |= {"target": self.target} if self.target else {}
        return query | ({"networkmode": self.network} if self.network else {})


class Builder:
    """Builds on one engine."""

    def __init__(self, connection: EngineConnection) -> None:
        self._connection = connection

    def build(self, request: BuildRequest, output: OutputSink) -> ImageId:
        """The built image's ID. Raises StageFailed with the output, InputError for the Dockerfile, Gone, AccessDenied, Unavailable."""
        buildkit = self._connection.api_version >= _OLDEST_BUILDKIT_API
        if request.needs_buildkit and not buildkit:
            message = f"expected an engine with BuildKit for {request.needs_buildkit}, found one without"
            raise InputError(message, hint="use an engine of version 18.09 or newer")
        name, tar = request.body()
        log = _Log(output)
        with engine_errors("build a Dockerfile"):
            for event in self._events(request.query(name, buildkit), tar):
                log.take(event)
        log.finish()
        if log.error:
            raise self._failed(log, name)
        if not log.image_id:
            raise Unavailable("expected the ID of the built image, found the build's end", hint="look at the engine's log; run again")
        return log.image_id

    def _events(self, query: Mapping[str, str], body: bytes) -> Iterator[Any]:
        # The only use of docker-py's private parts: its transport (unix socket, TLS) and its stream reader.
        api: Any = self._connection.api
        headers = {"Content-Type": "application/x-tar", "X-Registry-Config": base64.urlsafe_b64encode(b"{}").decode()}
        response = api._post(api._url("/build"), params=query, data=body, headers=headers, stream=True, timeout=None)
        api._raise_for_status(response)
        yield from api._stream_helper(response, decode=True)

    def _failed(self, log: _Log, name: str) -> StagepinError:
        text = shorten(str(log.error)).replace(name, "Dockerfile")
        if not self._connection.is_alive():
            return Unavailable(
                f"expected the engine to finish a build, found it gone: {text}", hint="is the engine still running? run again"
            )
        if _is_users_step(text):
            hint = "mend the Dockerfile; the output is above"
            return StageFailed(f"expected the build to succeed, found: {text}", output=log.text, hint=hint)
        match kind_of(text):
            case Failure.UNKNOWN:
                return StageFailed(f"expected the build to succeed, found: {text}", output=log.text, hint="mend the Dockerfile")
            case Failure.INPUT:
                return InputError(f"expected a Dockerfile this engine can build, found: {text}", hint=_input_hint(text))
            case _:
                return transfer_error("build a Dockerfile", text)


class _Log:
    """What the events of one build say: lines for people, the image's ID, the error."""

    def __init__(self, output: OutputSink) -> None:
        self._output = output
        self._trace = BuildTrace()
        self._kept: deque[str] = deque(maxlen=_KEPT_LINES)
        self._rest = ""
        self.image_id: ImageId | None = None
        self.error: str | None = None

    @property
    def text(self) -> str:
        """The last lines of the output."""
        return "\n".join(self._kept)

    def take(self, event: Mapping[str, Any]) -> None:
        """One event. BuildKit: ``moby.image.id`` and ``moby.buildkit.trace``; classic: ``aux.ID`` and ``stream``."""
        aux = event.get("aux")
        if event.get("id") == "moby.buildkit.trace":
            # Only for people: progress that cannot be read must not fail a build that goes on.
            with suppress(ValueError):
                self._write(self._trace.lines(base64.b64decode(str(aux))))
        elif isinstance(aux, Mapping) and "ID" in aux:
            self.image_id = ImageId(str(aux["ID"]))
        elif "stream" in event:
            *whole, self._rest = (self._rest + str(event["stream"])).split("\n")
            self._write(whole)
        self.error = self.error or find_stream_error(event)

    def finish(self) -> None:
        """The lines that ended without a newline."""
        self._write([*self._trace.rest(), *([self._rest] if self._rest else [])])

    def _write(self, lines: Iterable[str]) -> None:
        for line in lines:
            self._kept.append(line)
            self._output(line)


def _is_users_step(text: str) -> bool:
    """A RUN that ended with an error, in the words of BuildKit 0.8 (engine 20.10), of later ones, and of the classic builder."""
    return "executor failed running [" in text or "did not complete successfully: exit code" in text or "returned a non-zero code" in text


def _input_hint(text: str) -> str:
    if "no active sessions" in text:
        return "secrets, SSH and a `# syntax=` line need a BuildKit session, which is not available here"
    if "requires BuildKit" in text:
        return "use an engine of version 18.09 or newer"
    return "mend the Dockerfile"
