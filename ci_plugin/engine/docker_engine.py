"""The Docker engine as ``ports.Engine``, over docker-py's low-level client.

An image is only ever found by its ID or by ``repository@digest``, so that a stale local tag decides nothing; every stream is read to
its end and an error in it is an error (docker-py lets a failed push and a failed pull pass, docker-py#2226, #3161).
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from ci_plugin.engine.archives import RootfsArchive
from ci_plugin.engine.builds import Builder, BuildRequest
from ci_plugin.engine.commits import Committer
from ci_plugin.engine.connection import EngineConnection
from ci_plugin.engine.containers import Containers
from ci_plugin.engine.failures import checked, engine_errors
from ci_plugin.engine.files import ImageFiles
from ci_plugin.engine.rewrites import Rewriter
from ci_plugin.errors import Bug, Gone, InputError, StagepinError, Unavailable
from ci_plugin.ports import (
    NO_BUILD_SETTINGS,
    NO_SETTINGS,
    BuildSettings,
    ContextFile,
    CredentialSource,
    EngineImage,
    FileChanges,
    ImageChange,
    OutputSink,
    PathChange,
    RunSettings,
)
from ci_plugin.retry import RetryPolicy
from ci_plugin.values.digest import Digest, ImageId
from ci_plugin.values.platform import Platform, parse_platform
from ci_plugin.values.reference import Reference, parse_reference

if TYPE_CHECKING:
    from tarfile import TarInfo


class DockerEngine:
    """Implements ``ports.Engine``; connects at the first call. May be shared between threads.

    ``docker_host``: such as ``unix:///var/run/docker.sock``; None means ``DOCKER_HOST`` of ``environ``, else the default socket.
    ``credentials`` is asked for the registry of a pull or push, and its answer goes to that registry alone. ``retry``: pulls and pushes are
    tried again; a registry that takes the same layers from two builders at once may answer one of them 500 (distribution 2.8).
    ``api_version``: ``auto``, or an older one to speak.
    """

    def __init__(
        self,
        docker_host: str | None,
        *,
        credentials: CredentialSource,
        environ: Mapping[str, str] | None = None,
        retry: RetryPolicy | None = None,
        api_version: str = "auto",
    ) -> None:
        self._connection = EngineConnection(docker_host, os.environ if environ is None else environ, api_version)
        self._credentials = credentials
        self._retry = retry or RetryPolicy(lambda _seconds: None, tries=1)
        self._containers = Containers(self._connection)
        self._committer = Committer(self._connection, self._containers)
        self._files = ImageFiles(self._connection, self._containers)
        self._builder = Builder(self._connection, credentials)
        self._pushing: set[Reference] = set()

    def close(self) -> None:
        """Close the connection; the next call opens it again."""
        self._connection.close()

    def native_platform(self) -> Platform:
        """The platform this engine runs without emulation. Raises InputError where there is no engine."""
        with engine_errors("say its version"):
            answer = self._connection.api.version()
        return parse_platform(f"{answer['Os']}/{answer['Arch']}")

    def find_image(self, name: str) -> EngineImage | None:
        """An image by ID, ``name:tag`` or ``name@digest``; None where the engine has none."""
        import docker.errors

        with engine_errors(f"find {name}"):
            try:
                api: Any = self._connection.api  # the stubs leave this method untyped
                return _image(api.inspect_image(name))
            except docker.errors.NotFound:
                return None

    def pull(self, reference: Reference) -> EngineImage:
        """Make ``repository@digest`` present and prove it. Raises Gone, AccessDenied, Unavailable."""
        if reference.digest is None:
            raise Bug(f"expected a reference with a digest to pull, found {reference}")
        wanted = reference.at(reference.digest)
        return self._find_digest(wanted) or self._retry.run(lambda: self._pull(wanted))

    def _pull(self, wanted: Reference) -> EngineImage:
        doing = f"pull {wanted}"
        with engine_errors(doing):
            api = self._connection.api
            events = api.pull(str(wanted.repository), wanted.target, stream=True, decode=True, auth_config=self._auth(wanted))
            for _ in checked(events, doing):
                pass
        if found := self._find_digest(wanted):
            return found
        raise Unavailable(f"expected the engine to have {wanted} after the pull, found it without that digest", hint="run again")

    def import_rootfs(self, archive: Path | None, platform: Platform, labels: Mapping[str, str]) -> EngineImage:
        """An image of one layer whose diff_id is the sha256 of the decompressed tar; for None that of a tar of no files.

        Files are for whatever platform they are said to be for; an engine says its own, and what it said is written anew.
        Raises InputError for an archive nobody can read or a platform this engine cannot import for, Unavailable.
        """
        rootfs = RootfsArchive(archive)
        imported = self._import(rootfs, platform)
        if imported.diff_ids != (rootfs.diff_id,):
            found = ", ".join(map(str, imported.diff_ids))
            raise Unavailable(
                f"expected one layer {rootfs.diff_id} after the import, found {found}", hint="look at the engine's log; run again"
            )
        if not imported.platform.serves(platform):
            imported = self._for_platform(imported, platform)
        # Labels by a commit: `changes` of the import would put them through the Dockerfile parser.
        return self.derive(imported.id, ImageChange(labels=labels)) if labels else imported

    def _for_platform(self, imported: EngineImage, platform: Platform) -> EngineImage:
        rewriter = Rewriter(self._connection)
        try:
            return self._get_image(rewriter.rewrite(str(imported.id), imported.config, platform=platform))
        except InputError as error:
            raise InputError(
                f"expected an engine that imports for {platform}, found one that makes {imported.platform} of it: {error.message}",
                hint=f"use a runner of {platform}, or a base image from a registry",
            ) from error
        finally:
            rewriter.drop(str(imported.id))

    def derive(
        self,
        parent: ImageId,
        change: ImageChange,
        commands: Sequence[str] = (),
        output: OutputSink | None = None,
        *,
        settings: RunSettings = NO_SETTINGS,
        changed: Callable[[Sequence[PathChange]], None] | None = None,
    ) -> EngineImage:
        """A child image: the commands run as root in one shell that stops at the first failure, then the config is changed.

        ``cmd=()`` and ``entrypoint=()`` empty them; None keeps the parent's. ``changed`` is told after commands that succeeded, sorted by
        path, with the directories something was done in, as ``docker diff`` has it. Raises StageFailed with the output, AnswerIsNo,
        InputError for settings no container can have, Unavailable.
        """
        return self._get_image(self._committer.derive(self._get_image(parent), change, commands, output, settings, changed))

    def put_files(self, parent: ImageId, changes: FileChanges, change: ImageChange) -> EngineImage:
        """A child image of one layer with these changes, or of none where they change nothing; needs no shell.

        Links among the parents of a written path are followed, within the image. What is removed is only what is there, a file or a link:
        a directory in its place stays. Raises InputError for an unknown owner and for names that mean removal in a layer, Unavailable.
        """
        return self._get_image(self._committer.put_files(self._get_image(parent), changes, change))

    @contextmanager
    def read_files(self, image: ImageId, path: str) -> Iterator[Iterator[tuple[TarInfo, IO[bytes] | None]]]:
        """The members at a path, with the bytes of files; names begin with the path's last part, of ``/`` with nothing.

        A link at the path itself is one member, a link; links among its parents are followed, within the image. What the engine adds to
        every container is left out. Raises Gone where the image has nothing there, Unavailable.
        """
        with self._files.read(self._get_image(image), path) as members:
            yield members

    def remove_leftovers(self) -> Sequence[str]:
        """Remove the containers of runs that ended without removing them; their names. Raises nothing."""
        return self._containers.remove_leftovers()

    def build(
        self,
        context: Iterable[ContextFile],
        dockerfile: str,
        *,
        target: str | None,
        build_args: Mapping[str, str],
        labels: Mapping[str, str],
        platform: Platform,
        output: OutputSink,
        needs_buildkit: str | None = None,
        settings: BuildSettings = NO_BUILD_SETTINGS,
    ) -> EngineImage:
        """Build this Dockerfile text. Raises StageFailed with the output, InputError, Gone, AccessDenied, Unavailable."""
        network = self._committer.network_mode()
        if settings.network is None and network != "default":
            settings = replace(settings, network=network)
        request = BuildRequest(context, dockerfile, target, build_args, labels, platform, settings, needs_buildkit)
        return self._get_image(self._builder.build(request, output))

    def tag(self, image: ImageId, reference: Reference) -> None:
        """Name an image ``repository:tag``. Raises Gone where the engine has no such image."""
        with engine_errors(f"tag {image}"):
            self._connection.api.tag(str(image), str(reference.repository), _tag(reference))

    def untag(self, reference: Reference) -> None:
        """Remove the name only: the image stays, even if it was its last name; absent is fine."""
        name = f"{reference.repository}:{_tag(reference)}"
        image = self.find_image(name)
        if image is None:
            return
        # The engine deletes an image with its last name unless it has a child (moby, imageDeleteHelper); what was just published would be
        # downloaded again to build on. So it gets a child for as long as this takes.
        child = self._committer.derive(image, ImageChange())
        try:
            self._remove(name)
        finally:
            self._remove(str(child))

    def create_volume(self, name: str, labels: Mapping[str, str]) -> Mapping[str, str]:
        """Make a volume of labels unless there is one; the engine creates under a lock by name and answers with what is there."""
        with engine_errors(f"create the volume {name}"):
            created: dict[str, Any] = self._connection.api.create_volume(name, labels=dict(labels))
        return created.get("Labels") or {}

    def find_volume(self, name: str) -> Mapping[str, str] | None:
        """The labels of a volume, or None."""
        import docker.errors

        with engine_errors(f"find the volume {name}"):
            try:
                found: dict[str, Any] = self._connection.api.inspect_volume(name)
            except docker.errors.NotFound:
                return None
        return found.get("Labels") or {}

    def stop(self) -> None:
        """Remove the containers of running stages, have the engine give up its builds, and take away the names of what is being pushed."""
        self._containers.stop()
        self._builder.stop()
        # A name is there for its push alone; whoever gave it will not take it away any more, and no prune takes an image that has one.
        for reference in tuple(self._pushing):
            with suppress(StagepinError):
                self.untag(reference)

    def push(self, reference: Reference) -> Digest:
        """Push ``repository:tag``; the manifest digest the registry took. Raises AccessDenied, Gone, Unavailable."""
        self._pushing.add(reference)
        try:
            return self._retry.run(lambda: self._push(reference))
        finally:
            self._pushing.discard(reference)

    def _push(self, reference: Reference) -> Digest:
        doing, digest = f"push {reference}", None
        with engine_errors(doing):
            api = self._connection.api
            events = api.push(str(reference.repository), _tag(reference), stream=True, decode=True, auth_config=self._auth(reference))
            for event in checked(events, doing):
                aux = event.get("aux")
                digest = aux.get("Digest", digest) if isinstance(aux, Mapping) else digest
        if digest is None:
            raise Unavailable(f"expected the engine to {doing} and name the digest, found none", hint="run again")
        return Digest(digest)

    def _remove(self, name: str) -> None:
        import docker.errors

        with engine_errors(f"remove {name}"), suppress(docker.errors.NotFound):
            self._connection.api.remove_image(name, force=True, noprune=True)

    def _import(self, rootfs: RootfsArchive, platform: Platform) -> EngineImage:
        with engine_errors("import a root filesystem"):
            api: Any = self._connection.api
            response = api._post(
                api._url("/images/create"),
                params={"fromSrc": "-", "platform": str(platform)},
                data=rootfs.chunks(),
                headers={"Content-Type": "application/tar"},
                timeout=None,
            )
            api._raise_for_status(response)
            events = [json.loads(line) for line in response.text.splitlines() if line.strip()]
            *_, last = checked(events, "import a root filesystem")
        return self._get_image(ImageId(str(last["status"])))

    def _get_image(self, image: ImageId) -> EngineImage:
        found = self.find_image(str(image))
        if found is None:
            raise Gone(f"expected the engine to have the image {image}, found none", hint="was it pruned meanwhile? run again")
        return found

    def _find_digest(self, wanted: Reference) -> EngineImage | None:
        found = self.find_image(str(wanted))
        return found if found and any(parse_reference(text) == wanted for text in found.repo_digests) else None

    def _auth(self, reference: Reference) -> dict[str, Any]:
        """What this registry is told, never None: docker-py would look into its own configuration."""
        found = self._credentials(reference.repository.registry)
        if found is None:
            return {}
        server = {"serveraddress": reference.repository.registry}
        if found.identity_token:
            return {"identitytoken": found.identity_token, **server}
        return {"username": found.user, "password": found.secret, **server}


def _tag(reference: Reference) -> str:
    if reference.tag is None:
        raise Bug(f"expected a reference with a tag, found {reference}")
    return reference.tag


def _image(document: Mapping[str, Any]) -> EngineImage:
    config = document.get("Config") or {}
    variant = document.get("Variant") or ""
    return EngineImage(
        id=ImageId(str(document["Id"])),
        repo_digests=tuple(document.get("RepoDigests") or ()),
        diff_ids=tuple(Digest(str(item)) for item in (document.get("RootFS") or {}).get("Layers") or ()),
        platform=parse_platform("/".join(filter(None, (document["Os"], document["Architecture"], variant)))),
        labels=dict(config.get("Labels") or {}),
        config=config,
    )
