"""Dockerfile builds: by BuildKit, which asks for everything over a session (buildkit/), else by the classic builder with a tar.

``POST /build?version=2&remote=client-session``: the engine fetches the Dockerfile and the context from us apart, so that no file of ours is
in the context, asks for credentials, secrets and agents when it needs them, and applies no ignore file to what was chosen before.
docker-py has no parameter for it, so its transport is used directly, here and in ``connection.py``.
"""

from __future__ import annotations

import base64
import json
import secrets
import stat
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from ci_plugin.engine.buildkit_trace import BuildTrace
from ci_plugin.engine.connection import EngineConnection
from ci_plugin.engine.context import BuildContext, ContextEntry, keep_context
from ci_plugin.engine.failures import Failure, engine_errors, find_stream_error, kind_of, shorten, transfer_error
from ci_plugin.errors import Bug, InputError, StageFailed, StagepinError, Unavailable
from ci_plugin.ports import NO_BUILD_SETTINGS, BuildSettings, ContextFile, CredentialSource, OutputSink
from ci_plugin.values.digest import ImageId
from ci_plugin.values.platform import Platform

_OLDEST_BUILDKIT_API = (1, 39)
_DOCKERFILE = "Dockerfile"
_OWN_DOCKERFILE = ".stagepin.dockerfile"
_IGNORE_FILE = ".dockerignore"
_KEPT_LINES = 5000
_BUILDKIT_NETWORKS = (None, "default", "none", "host")


@dataclass(frozen=True, slots=True)
class BuildRequest:
    """What one build is asked for; ``dockerfile`` is the text. ``needs_buildkit`` names what of it the classic builder cannot build."""

    context: Iterable[ContextFile] = field(repr=False)
    dockerfile: str
    target: str | None
    build_args: Mapping[str, str] = field(repr=False)
    labels: Mapping[str, str]
    platform: Platform
    settings: BuildSettings = NO_BUILD_SETTINGS
    needs_buildkit: str | None = None

    def query(self) -> dict[str, Any]:
        """The request's parameters (Docker Engine API, ImageBuild); a list is a parameter that is repeated."""
        query: dict[str, Any] = {
            "buildargs": json.dumps(dict(self.build_args)),
            "labels": json.dumps(dict(self.labels)),
            "platform": str(self.platform),
        }
        query |= {"target": self.target} if self.target else {}
        query |= {"networkmode": self.settings.network} if self.settings.network else {}
        return query | ({"extrahosts": list(self.settings.add_hosts)} if self.settings.add_hosts else {})

    def refusal(self, has_buildkit: bool) -> InputError | None:
        """Why this engine cannot build it, said before anything is sent."""
        network = self.settings.network
        if has_buildkit:
            if network in _BUILDKIT_NETWORKS:
                return None
            message = f"expected the network of a Dockerfile's build to be none or host, found {network!r}, which BuildKit does not join"
            return InputError(message, hint="use `host`, or leave the network out")
        needs = self.needs_buildkit or next(iter(self._needs()), None)
        if needs is None:
            return None
        return InputError(
            f"expected an engine with BuildKit for {needs}, found one without", hint="use an engine of version 18.09 or newer"
        )

    def _needs(self) -> Iterator[str]:
        yield from (f"the secret {name!r}" for name in self.settings.secrets)
        yield from (f"the SSH agent {name!r}" for name in self.settings.ssh)


@contextmanager
def classic_body(request: BuildRequest, context: BuildContext) -> Iterator[tuple[str, Iterator[bytes]]]:
    """The name of the Dockerfile in the context, and the context's tar in pieces, for the classic builder.

    A file of the context with the very same text is used; else one of our own is added, under a name nothing has. Where the context has no
    ``.dockerignore``, one of ours hides both: this builder takes them out of the context after it read them, and hides nothing else by it.
    """
    data = request.dockerfile.encode()
    same = sorted(entry.path for entry in context.entries if _holds(entry, data))
    if same:
        yield same[0], context.tar()
        return
    names, name = {entry.path for entry in context.entries}, _OWN_DOCKERFILE
    while name in names:
        name += "_"
    own = [ContextFile(name, "100644", data)]
    if _IGNORE_FILE not in names:
        own.append(ContextFile(_IGNORE_FILE, "100644", f"{name}\n{_IGNORE_FILE}\n".encode()))
    with keep_context(own) as added:
        yield name, context.tar(added.entries)


def _holds(entry: ContextEntry, data: bytes) -> bool:
    return stat.S_ISREG(entry.mode) and entry.size == len(data) and entry.read(0, entry.size) == data


class Builder:
    """Builds on one engine. ``credentials``: asked for the registries BuildKit asks for, each for itself alone."""

    def __init__(self, connection: EngineConnection, credentials: CredentialSource) -> None:
        self._connection = connection
        self._credentials = credentials
        self._running: set[str] = set()

    def build(self, request: BuildRequest, output: OutputSink) -> ImageId:
        """The built image's ID. Raises StageFailed with the output, InputError for the Dockerfile, Gone, AccessDenied, Unavailable."""
        has_buildkit = self._connection.api_version >= _OLDEST_BUILDKIT_API
        if refusal := request.refusal(has_buildkit):
            raise refusal
        log = _Log(output)
        with keep_context(request.context) as context:
            build = self._build_with_buildkit if has_buildkit else self._build_classic
            build(request, context, log)
        if not log.image_id:
            raise Unavailable("expected the ID of the built image, found the build's end", hint="look at the engine's log; run again")
        return log.image_id

    def stop(self) -> None:
        """Tell the engine to give up the builds that run; raises nothing."""
        for name in tuple(self._running):
            with suppress(StagepinError), engine_errors("stop a build"):
                api: Any = self._connection.api
                api._post(api._url("/build/cancel"), params={"id": name}).close()

    def _build_classic(self, request: BuildRequest, context: BuildContext, log: _Log) -> None:
        # The classic builder takes any local image as a cache (CVE-2024-24557).
        with classic_body(request, context) as (name, body):
            self._follow({**request.query(), "dockerfile": name, "rm": "1", "forcerm": "1", "nocache": "1"}, log, body)
        if log.error:
            raise self._failed(log, shorten(log.error).replace(name, _DOCKERFILE), ())

    def _build_with_buildkit(self, request: BuildRequest, context: BuildContext, log: _Log) -> None:
        from ci_plugin.engine.buildkit.session import build_session

        name = secrets.token_hex(16)
        query = {**request.query(), "version": "2", "remote": "client-session", "dockerfile": _DOCKERFILE, "buildid": name}
        with ExitStack() as stack:
            own = stack.enter_context(keep_context([ContextFile(_DOCKERFILE, "100644", request.dockerfile.encode())]))
            methods = self._methods(request.settings, context, own)
            with engine_errors("open a session for a build"):
                session = stack.enter_context(build_session(self._connection, methods, f"{context.key}{own.key}"))
            self._running.add(name)
            stack.callback(self._running.discard, name)
            self._follow({**query, "session": session.id}, log)
            if log.error and isinstance(session.error, StagepinError):
                raise session.error
            if session.error:
                raise Bug(f"expected to answer the engine's questions during a build, found {session.error!r}") from session.error
            if log.error:
                raise self._failed(log, shorten(log.error), session.refusals)

    def _methods(self, settings: BuildSettings, context: BuildContext, own: BuildContext) -> dict[str, Any]:
        from ci_plugin.engine.buildkit.files import by_components, directories
        from ci_plugin.engine.buildkit.services import build_secrets, health, registry_auth
        from ci_plugin.engine.buildkit.ssh import agent_forwarding

        ordered = sorted(context.entries, key=lambda entry: by_components(entry.path))
        return {
            **health(),
            **directories({"context": ordered, "dockerfile": own.entries}),
            **registry_auth(self._credentials),
            **build_secrets(settings.secrets),
            **agent_forwarding(settings.ssh),
        }

    def _follow(self, query: Mapping[str, Any], log: _Log, body: Iterator[bytes] | None = None) -> None:
        api: Any = self._connection.api
        headers = {"X-Registry-Config": base64.urlsafe_b64encode(b"{}").decode()}
        headers |= {} if body is None else {"Content-Type": "application/x-tar"}
        with engine_errors("build a Dockerfile"):
            response = api._post(api._url("/build"), params=query, data=body, headers=headers, stream=True, timeout=None)
            api._raise_for_status(response)
            for event in api._stream_helper(response, decode=True):
                log.take(event)
        log.finish()

    def _failed(self, log: _Log, text: str, refusals: Iterable[str]) -> StagepinError:
        if not self._connection.is_alive():
            return Unavailable(
                f"expected the engine to finish a build, found it gone: {text}", hint="is the engine still running? run again"
            )
        asked = "".join(f"; {refusal}" for refusal in refusals)
        if _is_users_step(text):
            hint = f"mend the Dockerfile; the output is above{asked}"
            return StageFailed(f"expected the build to succeed, found: {text}", output=log.text, hint=hint)
        if asked:
            hint = "give it: `secrets` and `ssh` in the configuration, --secret and --ssh for a Dockerfile alone"
            return InputError(f"expected a build that has what its Dockerfile asks for, found: {asked.removeprefix('; ')}", hint=hint)
        match kind_of(text):
            case Failure.UNKNOWN:
                hint = "mend the Dockerfile; a file that is not committed comes into the build with --context-add (`contextAddFiles`)"
                return StageFailed(f"expected the build to succeed, found: {text}", output=log.text, hint=hint)
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
        """All that the failing step printed, or where no step failed the last lines of everything."""
        failed = self._trace.failed
        return "\n".join([failed.name, *failed.lines, f"ERROR: {failed.error}"] if failed else self._kept)

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
    return "use an engine of version 18.09 or newer" if "requires BuildKit" in text else "mend the Dockerfile"
