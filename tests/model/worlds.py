"""A world a store: the service in memory, the handles through which one job calls it, and what the store promises there.

Every handle implements the Protocol its store is written against, so the stores under test are the product's own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import NoReturn

from ci_plugin.forge.artifact_store import PINS_PATH, ArtifactStore
from ci_plugin.forge.package_store import PackageFile, PackageStore
from ci_plugin.forge.ref_store import PINS_FILE, RECORD_FILE, GitRefStore
from ci_plugin.ports import PinStore
from ci_plugin.registry.pin_store import PINS_TYPE, RECORD_TYPE, RegistryPinStore
from ci_plugin.retry import RetryPolicy
from ci_plugin.values.digest import Digest
from ci_plugin.values.manifest import Descriptor, Manifest
from ci_plugin.values.pipeline import PipelineId, Scope, ScopeKey
from ci_plugin.values.reference import Reference, Repository
from tests.fakes.clock import FakeClock
from tests.model.gate import Gate
from tests.model.services import Artifact, ArtifactState, BlobUnknown, GitState, PackageState, RegistryState

KEY = ScopeKey(PipelineId("gitlab", "gitlab.example.com", "4711", "group/app", "1001"), Scope("pipeline:1001"))
EXPIRY = "the oldest CI artifact expires"
REPOSITORY = Repository("registry.example.com", "group/app/stages")


def retry() -> RetryPolicy:
    """The product's policy on a clock that nobody waits for."""
    return RetryPolicy(FakeClock().sleep)


class World(ABC):
    """One service and what its store promises about a scope's pins."""

    one_winner = True
    """At most one pin set is ever adopted."""
    one_writer = False
    """The job graph lets one pin job at a time write."""
    lags_for_pin_jobs = True
    """Whether a pin job may see less than what there is, too; where not, the guarantee rests on that."""
    takes_records = True
    """A build job can file its record here."""
    tells_record = True
    """``record`` is to be believed."""

    @abstractmethod
    def store(self, gate: Gate) -> PinStore:
        """The product's store, for one run of one job."""

    @abstractmethod
    def truth(self) -> bytes | None:
        """The pins of the scope by this model's own reading of the service's state."""

    def record(self) -> bytes | None:
        """The newest record of the scope, in the same way."""
        return None

    def events(self) -> Mapping[str, Callable[[], None]]:
        """What else may happen to the service at any moment."""
        return {}

    def pass_a_night(self) -> None:
        """What the service does by itself between the pipeline and a job that is run again the next day: here nothing."""
        return

    @abstractmethod
    def delete(self) -> None:
        """Somebody deletes everything."""


class GitWorld(World):
    """A git ref on GitHub."""

    def __init__(self) -> None:
        self.state = GitState()

    def store(self, gate: Gate) -> PinStore:
        return GitRefStore(GitHandle(self.state, gate), retry())

    def truth(self) -> bytes | None:
        return self._file(PINS_FILE)

    def record(self) -> bytes | None:
        return self._file(RECORD_FILE)

    def _file(self, name: str) -> bytes | None:
        commit = self.state.find_ref(f"stagepin/{KEY.short_hash}")
        if commit is None:
            return None
        files = self.state.trees[self.state.commits[commit][1].tree][1]
        return self.state.blobs[files[name]][1] if name in files else None

    def delete(self) -> None:
        self.state.delete_refs()


class GitHandle:
    """Implements ``GitDatabase``."""

    def __init__(self, state: GitState, gate: Gate) -> None:
        self._state = state
        self._gate = gate

    @property
    def name(self) -> str:
        return "github.example.com/group/app"

    def find_ref(self, ref: str) -> str | None:
        return self._gate.read("find_ref", lambda behind: self._state.find_ref(ref, behind), lags=True)

    def create_ref(self, ref: str, commit: str) -> bool:
        return self._gate.write("create_ref", lambda: self._state.create_ref(ref, commit))

    def advance_ref(self, ref: str, commit: str) -> bool:
        return self._gate.write("advance_ref", lambda: self._state.advance_ref(ref, commit))

    def force_ref(self, ref: str, commit: str) -> None:
        """For mutants: what no store of ours may send."""
        self._gate.write("force_ref", lambda: self._state.force_ref(ref, commit))

    def find_tree(self, commit: str) -> str | None:
        found = self._gate.read("find_tree", lambda behind: self._state.find_commit(commit, behind), lags=True)
        return found.tree if found else None

    def find_files(self, tree: str) -> Mapping[str, str] | None:
        return self._gate.read("find_files", lambda behind: self._state.find_tree(tree, behind), lags=True)

    def find_blob(self, blob: str) -> bytes | None:
        return self._gate.read("find_blob", lambda behind: self._state.find_blob(blob, behind), lags=True)

    def write_blob(self, data: bytes) -> str:
        return self._gate.write("write_blob", lambda: self._state.write_blob(data))

    def write_tree(self, files: Mapping[str, str]) -> str:
        return self._gate.write("write_tree", lambda: self._state.write_tree(files))

    def write_commit(self, tree: str, parents: tuple[str, ...], message: str) -> str:
        return self._gate.write("write_commit", lambda: self._state.write_commit(tree, parents, message))


class PackageWorld(World):
    """A generic package on GitLab."""

    def __init__(self) -> None:
        self.state = PackageState()

    def store(self, gate: Gate) -> PinStore:
        return PackageStore(PackageHandle(self.state, gate), retry())

    def truth(self) -> bytes | None:
        there = self._files("pins")
        return there[0] if there else None

    def record(self) -> bytes | None:
        there = self._files("build")
        return there[-1] if there else None

    def _files(self, prefix: str) -> list[bytes]:
        return [file.data for file in self.state.files if file.died is None and file.name.startswith(prefix)]

    def events(self) -> Mapping[str, Callable[[], None]]:
        return {"duplicates are cleaned up": self.state.clean_up}

    def pass_a_night(self) -> None:
        self.state.clean_up()

    def delete(self) -> None:
        self.state.delete()


class PackageHandle:
    """Implements ``Packages``."""

    def __init__(self, state: PackageState, gate: Gate) -> None:
        self._state = state
        self._gate = gate

    @property
    def name(self) -> str:
        return "gitlab.example.com/group/app"

    def list_files(self, version: str) -> Sequence[PackageFile]:
        return self._gate.read("list_files", self._state.list_files, lags=True)

    def upload(self, version: str, file_name: str, data: bytes) -> None:
        self._gate.write("upload", lambda: self._state.upload(file_name, data))

    def find_file(self, version: str, file_name: str) -> bytes | None:
        return self._gate.read("find_file", lambda behind: self._state.find_file(file_name, behind), lags=True)


class RegistryWorld(World):
    """The stages storage. A registry has no compare-and-set: one winner as long as one pin job at a time writes."""

    def __init__(self, *, one_writer: bool = True, immutable: bool = False, refuses_same: bool = False) -> None:
        self.state = RegistryState(immutable, refuses_same)
        self.one_writer = one_writer
        self.one_winner = one_writer or immutable
        # A record is added by moving the tag.
        self.takes_records = not immutable
        self._is_collected = False

    def store(self, gate: Gate) -> PinStore:
        return RegistryPinStore(REPOSITORY, RegistryHandle(self.state, gate))

    def truth(self) -> bytes | None:
        return self._layer(PINS_TYPE)

    def record(self) -> bytes | None:
        return self._layer(RECORD_TYPE)

    def _layer(self, media_type: str) -> bytes | None:
        manifest = self.state.find_manifest(f"stagepin-{KEY.short_hash}")
        layers = manifest.layers if manifest else ()
        return next((self.state.blobs[str(layer.digest)] for layer in layers if layer.media_type == media_type), None)

    def events(self) -> Mapping[str, Callable[[], None]]:
        return {} if self._is_collected else {"garbage is collected": self._collect}

    def pass_a_night(self) -> None:
        self.state.collect_garbage()

    def _collect(self) -> None:
        self._is_collected = True
        self.state.collect_garbage()

    def delete(self) -> None:
        self.state.tags.clear()


class _Resolving:
    """The part of ``ports.Registry`` that stores never ask for."""

    def resolve(self, references: Collection[Reference]) -> NoReturn:
        raise AssertionError("a store asked what a tag means")


class RegistryHandle(_Resolving):
    """Implements ``ports.Registry``, which tries a whole operation again by itself, as the real client does."""

    def __init__(self, state: RegistryState, gate: Gate) -> None:
        self._state = state
        self._gate = gate
        self._retry = retry()

    def find_descriptor(self, reference: Reference) -> Descriptor | None:
        tag = _tag(reference)
        return self._retry.run(lambda: self._gate.read("find_descriptor", lambda _: self._state.find_descriptor(tag)))

    def find_manifest(self, reference: Reference) -> Manifest | None:
        tag = _tag(reference)
        return self._retry.run(lambda: self._gate.read("find_manifest", lambda _: self._state.find_manifest(tag)))

    def get_blob(self, repository: Repository, blob: Descriptor, limit: int) -> bytes:
        return self._retry.run(lambda: self._gate.read("get_blob", lambda _: self._state.blobs[str(blob.digest)]))

    def put_blob(self, repository: Repository, data: bytes) -> Digest:
        return self._retry.run(lambda: self._gate.write("put_blob", lambda: self._state.put_blob(data)))

    def copy_blob(self, source: Repository, blob: Descriptor, target: Repository) -> None:
        raise AssertionError("a store copied a blob")

    def put_manifest(self, reference: Reference, data: bytes, media_type: str, restore: Callable[[], object] | None = None) -> Digest:
        tag = _tag(reference)

        def put() -> Digest:
            return self._gate.write("put_manifest", lambda: self._state.put_manifest(tag, data, media_type))

        def put_whole() -> Digest:
            try:
                return put()
            except BlobUnknown:
                if restore is None:
                    raise
                restore()
                return put()

        return self._retry.run(put_whole)


def _tag(reference: Reference) -> str:
    assert reference.tag is not None
    return reference.tag


class ArtifactWorld(World):
    """CI artifacts: the CI writes them when a job has succeeded, and they expire."""

    one_writer = True
    one_winner = False
    lags_for_pin_jobs = False
    tells_record = False

    def __init__(self) -> None:
        self.state = ArtifactState()

    def store(self, gate: Gate) -> PinStore:
        return ArtifactStore(ArtifactHandle(self.state, gate), retry())

    def truth(self) -> bytes | None:
        held = (self.state.download(number, PINS_PATH) for number in self.state.list_ids())
        return next((data for data in held if data is not None), None)

    def events(self) -> Mapping[str, Callable[[], None]]:
        return {EXPIRY: self.state.expire}

    def delete(self) -> None:
        for artifact in self.state.artifacts:
            artifact.is_expired = True

    def hand_on(self, gate: Gate, files: Mapping[str, bytes]) -> None:
        """What the CI does at the end of a job."""
        gate.last_act("take the artifact", lambda: self.state.artifacts.append(Artifact(files)))


class ArtifactHandle:
    """Implements ``Artifacts``: one call lists, then one a download."""

    def __init__(self, state: ArtifactState, gate: Gate) -> None:
        self._state = state
        self._gate = gate

    @property
    def name(self) -> str:
        return "gitlab.example.com/group/app"

    @property
    def life(self) -> str:
        return "kept until they expire"

    def read_files(self, pipeline: str, path: str) -> Iterable[bytes]:
        for number in self._gate.read("list artifacts", self._state.list_ids, lags=True):
            data = self._download(number, path)
            if data is not None:
                yield data

    def _download(self, number: int, path: str) -> bytes | None:
        return self._gate.read("download an artifact", lambda _: self._state.download(number, path))


WORLDS: Mapping[str, Callable[[], World]] = {
    "git ref": GitWorld,
    "generic package": PackageWorld,
    "stages storage, one pin job at a time": RegistryWorld,
    "stages storage, racing pin jobs": lambda: RegistryWorld(one_writer=False),
    "stages storage that keeps tags": lambda: RegistryWorld(one_writer=False, immutable=True, refuses_same=True),
    "CI artifacts": ArtifactWorld,
}
