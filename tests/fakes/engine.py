"""An engine in memory: images with real configs and layers, so that what it pushes passes every check made of a real engine's images.

It follows Docker's rules where they matter (tests/contract/test_engine.py holds both to one suite): an ID is the hash of the config, no two
builds give one ID, ``repository@digest`` is proved, a name is no proof. Its files are real (``image_files``); of commands it knows what
``shell`` says and what ``fail`` was told, and takes everything else for a success.
"""

from __future__ import annotations

import gzip
import io
import itertools
import json
import posixpath
import tarfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from ci_plugin.engine.accounts import Accounts
from ci_plugin.engine.archives import EMPTY_TAR, RootfsArchive
from ci_plugin.engine.context import context_tar
from ci_plugin.engine.image_config import CONFIG_COMMENT, STAGE_COMMENT, changed_config
from ci_plugin.engine.layers import check_changes, plan_layer
from ci_plugin.engine.stage_script import check_settings
from ci_plugin.errors import AnswerIsNo, Bug, Gone, InputError, StageFailed, StagepinError, Unavailable
from ci_plugin.ports import (
    NO_BUILD_SETTINGS,
    NO_SETTINGS,
    BuildSettings,
    ContextFile,
    EngineImage,
    FileChanges,
    ImageChange,
    OutputSink,
    PathChange,
    Registry,
    RunSettings,
)
from ci_plugin.values.digest import Digest, ImageId
from ci_plugin.values.manifest import DOCKER_MANIFEST, Manifest
from ci_plugin.values.platform import DEFAULT_PLATFORM, Platform, parse_platform
from ci_plugin.values.reference import Reference, parse_reference
from tests.fakes.image_files import ImageTree
from tests.fakes.shell import Shell

_CONFIG_TYPE = "application/vnd.docker.container.image.v1+json"
_LAYER_TYPE = "application/vnd.docker.image.rootfs.diff.tar.gzip"
_LARGEST_BLOB = 1 << 30
_commits = itertools.count(1)
"""Counted over all engines: two machines that run one command get two images, as with real engines."""


@dataclass(frozen=True, slots=True)
class FakeImage:
    """What the store keeps: the config's bytes, and the layers as (media type, blob)."""

    config: bytes
    layers: tuple[tuple[str, bytes], ...]

    @property
    def id(self) -> ImageId:
        return ImageId.of(self.config)

    @property
    def document(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.config)
        return document


@dataclass(frozen=True, slots=True)
class FakeBuild:
    """One call of ``build``."""

    dockerfile: str
    paths: tuple[str, ...]
    target: str | None
    build_args: Mapping[str, str]
    platform: Platform
    settings: BuildSettings = NO_BUILD_SETTINGS


class FakeEngine:
    """Implements ``ports.Engine``. ``ran`` and ``builds`` are what was asked of it; ``pulled`` what it really fetched."""

    def __init__(self, registry: Registry | None = None, platform: Platform = DEFAULT_PLATFORM) -> None:
        self._registry = registry
        self._platform = platform
        self._images: dict[ImageId, FakeImage] = {}
        self._names: dict[str, ImageId] = {}
        self._volumes: dict[str, dict[str, str]] = {}
        self._digests: dict[Reference, ImageId] = {}
        self._failures: dict[str, tuple[int, str]] = {}
        self._push_errors: list[StagepinError] = []
        self._lock = threading.RLock()
        self.dead = False
        self.on_push: Callable[[], None] = lambda: None
        """Called before every push: what happens on the machine meanwhile."""
        self.ran: list[tuple[ImageId, tuple[str, ...]]] = []
        self.settings: list[RunSettings] = []
        """What each entry of ``ran`` found around it."""
        self.put: list[tuple[ImageId, FileChanges]] = []
        self.leftovers: list[str] = []
        """Names of containers that ended runs left behind."""
        self.builds: list[FakeBuild] = []
        self.pulled: list[Reference] = []
        self.pushed: list[Reference] = []

    def fail(self, command: str, exit_code: int = 1, output: str = "") -> None:
        """From now on this command prints that and ends with that code."""
        self._failures[command] = (exit_code, output)

    def fail_push(self, error: StagepinError, times: int = 1) -> None:
        """The next pushes end with this error, after the blobs."""
        self._push_errors += [error] * times

    def remove(self, image: ImageId) -> None:
        """What ``docker rmi`` does on somebody's terminal."""
        with self._lock:
            self._images.pop(image, None)
            self._names = {name: held for name, held in self._names.items() if held != image}
            self._digests = {name: held for name, held in self._digests.items() if held != image}

    def native_platform(self) -> Platform:
        self._live("say its version")
        return self._platform

    def find_image(self, name: str) -> EngineImage | None:
        self._live(f"find {name}")
        with self._lock:
            image = self._images.get(self._id_of(name) or ImageId("sha256:" + "0" * 64))
            return self._view(image) if image else None

    def pull(self, reference: Reference) -> EngineImage:
        if reference.digest is None:
            raise Bug(f"expected a reference with a digest to pull, found {reference}")
        self._live(f"pull {reference}")
        wanted = reference.at(reference.digest)
        if found := self.find_image(str(wanted)):
            return found
        image = self._download(wanted, self._get_manifest(wanted))
        with self._lock:
            self.pulled.append(wanted)
            self._digests[wanted] = self._keep(image)
        return self._view(image)

    def import_rootfs(self, archive: Path | None, platform: Platform, labels: Mapping[str, str]) -> EngineImage:
        self._live("import a root filesystem")
        data = b"".join(RootfsArchive(archive).chunks())
        _check_tar(data)
        return self._commit(None, {"Labels": dict(labels)}, data, platform=platform)

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
        self._live("derive an image")
        base = self._get(parent)
        if not commands:
            return self._commit(base, changed_config(_config(base), change), None, change)
        check_settings(settings)
        if not _has_shell(base):
            message = f"expected a base that can run commands, found an image without /bin/sh ({parent})"
            raise AnswerIsNo(message, hint="use a base that has a shell, or drop the commands of this image's stages")
        self.ran.append((parent, tuple(commands)))
        self.settings.append(settings)
        shell = Shell(self._tree(base), settings, self._failures)
        self._run_all(commands, shell, output or (lambda _line: None))
        if changed:
            changed(shell.changes())
        layer = shell.layer({"/ran": "\n".join(commands).encode(), "/at": str(next(_commits)).encode()})
        return self._commit(base, changed_config(_config(base), change), layer, change)

    def put_files(self, parent: ImageId, changes: FileChanges, change: ImageChange) -> EngineImage:
        self._live("write files into an image")
        check_changes(changes)
        base = self._get(parent)
        tree = self._tree(base)
        plan = plan_layer(changes, tree, Accounts(str(parent), tree.read).owners, careful=True)
        self.put.append((parent, changes))
        return self._commit(base, changed_config(_config(base), change), b"".join(plan.chunks()) if plan else None, change)

    @contextmanager
    def read_files(self, image: ImageId, path: str) -> Iterator[Iterator[tuple[tarfile.TarInfo, IO[bytes] | None]]]:
        self._live(f"read {path} of an image")
        yield self._tree(self._get(image)).members(posixpath.normpath("/" + path.strip("/")))

    def remove_leftovers(self) -> Sequence[str]:
        """What ``leftovers`` holds."""
        if self.dead:
            return []
        removed, self.leftovers = sorted(self.leftovers), []
        return removed

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
        self._live("build a Dockerfile")
        files = tuple(context)
        self.builds.append(FakeBuild(dockerfile, tuple(sorted(file.path for file in files)), target, dict(build_args), platform, settings))
        base = self._run_dockerfile(dockerfile, target, output)
        config = changed_config(_config(base) if base else {}, ImageChange(labels=labels))
        layer = _tar({"context": context_tar(files), "Dockerfile": dockerfile.encode(), "at": str(next(_commits)).encode()})
        return self._commit(base, config, layer)

    def tag(self, image: ImageId, reference: Reference) -> None:
        self._live(f"tag {image}")
        with self._lock:
            self._get(image)
            self._names[_name(reference)] = image

    def untag(self, reference: Reference) -> None:
        self._live(f"untag {reference}")
        with self._lock:
            image = self._names.pop(_name(reference), None)
            # The engine forgets the digests of a repository with the last tag of it (measured).
            self._digests = {name: held for name, held in self._digests.items() if held != image or name.repository != reference.repository}

    def create_volume(self, name: str, labels: Mapping[str, str]) -> Mapping[str, str]:
        self._live(f"create the volume {name}")
        return self._volumes.setdefault(name, dict(labels))

    def find_volume(self, name: str) -> Mapping[str, str] | None:
        self._live(f"find the volume {name}")
        return self._volumes.get(name)

    def stop(self) -> None:
        """Nothing runs longer than its call here."""

    def push(self, reference: Reference) -> Digest:
        self._live(f"push {reference}")
        self.on_push()
        held = self._names.get(_name(reference))
        if held is None:
            message = (
                f"expected the engine to push {reference}, found: An image does not exist locally with the tag: {reference.repository}"
            )
            raise Gone(message, hint="it is not there any more; pin or build again")
        image, registry = self._get(held), self._get_registry(reference)
        for blob in (image.config, *(blob for _, blob in image.layers)):
            registry.put_blob(reference.repository, blob)
        if self._push_errors:
            raise self._push_errors.pop(0)
        digest = registry.put_manifest(reference, _manifest(image), DOCKER_MANIFEST)
        with self._lock:
            self.pushed.append(reference)
            self._digests[reference.at(digest)] = held
        return digest

    def _live(self, doing: str) -> None:
        if self.dead:
            raise Unavailable(f"expected the engine to {doing}, found no answer", hint="is the engine still running? run again")

    def _get_registry(self, reference: Reference) -> Registry:
        if self._registry is None:
            raise Unavailable(f"expected a registry at {reference.repository.registry}, found none", hint="run again")
        return self._registry

    def _get_manifest(self, wanted: Reference) -> Manifest:
        manifest = self._get_registry(wanted).find_manifest(wanted)
        if manifest and manifest.descriptor.is_index:
            entry = manifest.find_platform(self._platform)
            manifest = self._get_registry(wanted).find_manifest(wanted.at(entry.digest)) if entry else None
        if manifest is None or manifest.config is None:
            message = f"expected the engine to pull {wanted}, found: manifest for {wanted} not found: manifest unknown"
            raise Gone(message, hint="it is not there any more; pin or build again")
        return manifest

    def _download(self, wanted: Reference, manifest: Manifest) -> FakeImage:
        registry = self._get_registry(wanted)
        blobs = [blob for blob in (manifest.config, *manifest.layers) if blob]
        config, *layers = [registry.get_blob(wanted.repository, blob, _LARGEST_BLOB) for blob in blobs]
        return FakeImage(config, tuple((layer.media_type, blob) for layer, blob in zip(manifest.layers, layers, strict=True)))

    def _tree(self, image: FakeImage) -> ImageTree:
        return ImageTree(gzip.decompress(blob) if blob.startswith(b"\x1f\x8b") else blob for _, blob in image.layers)

    def _commit(
        self,
        parent: FakeImage | None,
        config: Mapping[str, object],
        layer: bytes | None,
        change: ImageChange = ImageChange(),  # noqa: B008 - frozen
        platform: Platform | None = None,
    ) -> EngineImage:
        document: dict[str, Any] = parent.document if parent else _described(platform or self._platform)
        step = {"comment": STAGE_COMMENT} if layer is not None else {"comment": CONFIG_COMMENT, "empty_layer": True}
        document["history"] = [] if change.clear_history else [*document.get("history", ()), step]
        document |= {"author": change.author} if change.author else {}
        diff_ids = list(document.get("rootfs", {}).get("diff_ids", ())) + ([str(Digest.of(layer))] if layer is not None else [])
        document |= {"config": dict(config), "rootfs": {"type": "layers", "diff_ids": diff_ids}, "comment": f"commit {next(_commits)}"}
        layers = (parent.layers if parent else ()) + (((_LAYER_TYPE, gzip.compress(layer, mtime=0)),) if layer is not None else ())
        image = FakeImage(json.dumps(document, sort_keys=True).encode(), layers)
        with self._lock:
            self._keep(image)
        return self._view(image)

    def _keep(self, image: FakeImage) -> ImageId:
        self._images[image.id] = image
        return image.id

    def _get(self, wanted: ImageId) -> FakeImage:
        image = self._images.get(wanted)
        if image is None:
            raise Gone(f"expected the engine to have the image {wanted}, found none", hint="was it pruned meanwhile? run again")
        return image

    def _id_of(self, name: str) -> ImageId | None:
        try:
            return ImageId(name)
        except ValueError:
            reference = parse_reference(name)
        return self._digests.get(reference.at(reference.digest)) if reference.digest else self._names.get(_name(reference))

    def _view(self, image: FakeImage) -> EngineImage:
        document = image.document
        config = document.get("config") or {}
        return EngineImage(
            id=image.id,
            repo_digests=tuple(str(name) for name, held in self._digests.items() if held == image.id),
            diff_ids=tuple(Digest(text) for text in document["rootfs"]["diff_ids"]),
            platform=parse_platform("/".join(filter(None, (document["os"], document["architecture"], document.get("variant"))))),
            labels=dict(config.get("Labels") or {}),
            config=config,
        )

    def _run_all(self, commands: Sequence[str], shell: Shell, output: OutputSink) -> None:
        printed: list[str] = []
        for command in commands:
            code, lines = shell.run(command)
            for line in lines:
                printed.append(line)
                output(line)
            if code:
                hint = "mend the command; its output is above"
                text = "\n".join(printed)
                raise StageFailed(f"expected the stage's commands to succeed, found exit code {code}", output=text, hint=hint)

    def _run_dockerfile(self, dockerfile: str, target: str | None, output: OutputSink) -> FakeImage | None:
        """Runs the instructions in order; the base of the target stage."""
        stages: dict[str, FakeImage | None] = {}
        base: FakeImage | None = None
        for number, line in enumerate(dockerfile.replace("\\\n", " ").splitlines(), 1):
            match line.split(maxsplit=1):
                case []:
                    continue
                case ["FROM", rest]:
                    if target in stages:
                        break
                    words = [word for word in rest.split() if not word.startswith("--")]
                    name, alias = words[0], words[2] if len(words) > 2 else ""
                    base = stages[name] if name in stages else self._base(name)
                    stages[alias or str(len(stages))] = base
                case ["RUN", command]:
                    output(f"RUN {command}")
                    self._run_instruction(command, output)
                case ["ARG" | "CMD" | "COPY" | "ADD" | "ENV" | "ENTRYPOINT" | "LABEL" | "USER" | "WORKDIR" | "EXPOSE" | "VOLUME", _]:
                    output(line)
                case [word, *_] if not word.startswith("#"):
                    text = f"dockerfile parse error line {number}: unknown instruction: {word}"
                    raise InputError(f"expected a Dockerfile this engine can build, found: {text}", hint="mend the Dockerfile")
        return base

    def _run_instruction(self, command: str, output: OutputSink) -> None:
        printed: list[str] = []

        def keep(line: str) -> None:
            printed.append(line)
            output(line)

        try:
            self._run_all([part.strip() for part in command.split(";")], Shell(ImageTree(), NO_SETTINGS, self._failures), keep)
        except StageFailed as error:
            text = f"executor failed running [/bin/sh -c {command}]: exit code: {error.message.rpartition(' ')[2]}"
            message, hint = f"expected the build to succeed, found: {text}", "mend the Dockerfile; the output is above"
            raise StageFailed(message, output="\n".join(printed), hint=hint) from None

    def _base(self, name: str) -> FakeImage | None:
        if name == "scratch":
            return None
        found = self.find_image(name)
        reference = parse_reference(name)
        if found is None and reference.digest:
            found = self.pull(reference)
        if found is None:
            raise Gone(f"expected the engine to build a Dockerfile, found: {name}: not found", hint="pull it by digest before the build")
        return self._get(found.id)


def _manifest(image: FakeImage) -> bytes:
    layers = [{"mediaType": kind, "size": len(blob), "digest": str(Digest.of(blob))} for kind, blob in image.layers]
    config = {"mediaType": _CONFIG_TYPE, "size": len(image.config), "digest": str(image.id)}
    return json.dumps({"schemaVersion": 2, "mediaType": DOCKER_MANIFEST, "config": config, "layers": layers}, indent=3).encode()


def _described(platform: Platform) -> dict[str, str]:
    variant = {"variant": platform.variant} if platform.variant else {}
    return {"os": platform.os, "architecture": platform.architecture, **variant}


def _config(image: FakeImage) -> dict[str, Any]:
    return image.document.get("config") or {}


def _name(reference: Reference) -> str:
    if reference.tag is None:
        raise Bug(f"expected a reference with a tag, found {reference}")
    return f"{reference.repository}:{reference.tag}"


def _has_shell(image: FakeImage) -> bool:
    """All images but those of an empty tar: what made-up layers hold is no concern of the tests."""
    return any(blob != gzip.compress(EMPTY_TAR, mtime=0) for _, blob in image.layers)


def _check_tar(data: bytes) -> None:
    try:
        tarfile.open(fileobj=io.BytesIO(data)).close()
    except tarfile.TarError:
        message = "expected the engine to import a root filesystem, found: archive/tar: invalid tar header"
        raise InputError(message, hint="the engine cannot use this image; check its platform and format") from None


def _tar(files: Mapping[str, bytes]) -> bytes:
    return context_tar(ContextFile(path, "100644", data) for path, data in files.items())
