"""What services need from the world, as Protocols; adapters implement them, fakes too, and one contract suite holds both (tests/contract).

Only errors of ``ci_plugin.errors`` come out of an implementation. Absence is None, never an exception; None means confirmed absent
(DESIGN.md §11.2): a well-formed 404, seen twice with the full ``Accept`` header.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Protocol

from ci_plugin.errors import StagepinError
from ci_plugin.values.credentials import Credentials
from ci_plugin.values.digest import Digest, ImageId
from ci_plugin.values.engine import NO_BUILD_SETTINGS as NO_BUILD_SETTINGS
from ci_plugin.values.engine import NO_SETTINGS as NO_SETTINGS
from ci_plugin.values.engine import BuildSettings as BuildSettings
from ci_plugin.values.engine import EngineImage as EngineImage
from ci_plugin.values.engine import FileChanges as FileChanges
from ci_plugin.values.engine import ImageChange as ImageChange
from ci_plugin.values.engine import LayerFile as LayerFile
from ci_plugin.values.engine import MountedDirectory as MountedDirectory
from ci_plugin.values.engine import PathChange as PathChange
from ci_plugin.values.engine import RunSettings as RunSettings
from ci_plugin.values.manifest import Descriptor, ImageConfig, Manifest
from ci_plugin.values.pipeline import ScopeKey
from ci_plugin.values.platform import Platform
from ci_plugin.values.reference import Reference, Repository
from ci_plugin.values.tree import ContextFile as ContextFile
from ci_plugin.values.tree import Listing, TreeEntry

if TYPE_CHECKING:
    from tarfile import TarInfo

CredentialSource = Callable[[str], Credentials | None]
"""Registry host (``docker.io``, ``registry.example.com:5000``) → credentials for it alone, or None."""

OutputSink = Callable[[str], None]
"""Takes one line of what a build step printed, without its newline, foreign text as it came."""


class Clock(Protocol):
    """Wall clock for documents, monotonic clock for waiting."""

    def now(self) -> datetime:
        """The time in UTC, aware, whole seconds."""
        ...

    def sleep(self, seconds: float) -> None:
        """Wait."""
        ...


class Registry(Protocol):
    """The OCI distribution API, as thin as its callers need. Bytes are trusted only when they hash to the digest asked for."""

    def resolve(self, references: Collection[Reference]) -> Mapping[Reference, Descriptor | StagepinError]:
        """What each reference means now: one HEAD each, in parallel. A failure stands in the result (Gone, AccessDenied, Unavailable)."""
        ...

    def find_descriptor(self, reference: Reference) -> Descriptor | None:
        """HEAD of one manifest, or None where it is confirmed absent."""
        ...

    def find_manifest(self, reference: Reference) -> Manifest | None:
        """GET of one manifest or index, hashed, or None where it is confirmed absent."""
        ...

    def get_blob(self, repository: Repository, blob: Descriptor, limit: int) -> bytes:
        """A blob of at most ``limit`` bytes, hashed. Raises Gone where the registry lost it."""
        ...

    def put_blob(self, repository: Repository, data: bytes) -> Digest:
        """Upload a small blob (once); returns its digest."""
        ...

    def copy_blob(self, source: Repository, blob: Descriptor, target: Repository) -> None:
        """Have a blob of any size in another repository, whole or not at all. Raises Gone where the source lost it."""
        ...

    def put_manifest(self, reference: Reference, data: bytes, media_type: str, restore: Callable[[], object] | None = None) -> Digest:
        """PUT these exact bytes under the reference's tag or digest; returns their digest.

        ``restore`` brings back the blobs it names: called once where garbage collection took them since they were uploaded.
        """
        ...


class Engine(Protocol):
    """A Docker engine. A stream error is an error; the engine's death is Unavailable; the user's failing command is StageFailed."""

    def native_platform(self) -> Platform:
        """The platform this engine runs without emulation."""
        ...

    def find_image(self, name: str) -> EngineImage | None:
        """An image by ID, ``name:tag`` or ``name@digest``, from the engine's own store; None where it has none."""
        ...

    def pull(self, reference: Reference) -> EngineImage:
        """Make ``repository@digest`` present and prove it is that digest. Raises Gone, AccessDenied, Unavailable."""
        ...

    def import_rootfs(self, archive: Path | None, platform: Platform, labels: Mapping[str, str]) -> EngineImage:
        """An image of one layer from a root filesystem tar (plain, gzip, xz, zstd); None: the empty image ``scratch`` stands for."""
        ...

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
        """A child image: run ``commands`` in one shell that stops at the first failure, then commit with the changed config.

        Without commands only the config changes. ``changed`` is told what the commands did to the file system.
        """
        ...

    def put_files(self, parent: ImageId, changes: FileChanges, change: ImageChange) -> EngineImage:
        """A child image of one layer more that holds exactly these changes; no shell is needed in the parent.

        Raises InputError for an owner or group the image does not know.
        """
        ...

    def read_files(self, image: ImageId, path: str) -> AbstractContextManager[Iterator[tuple[TarInfo, IO[bytes] | None]]]:
        """The file or directory at an absolute path of an image, all below it too: tar members whose names begin with its last part.

        Raises Gone where the image has no such path. A member's bytes are to be read before the next is asked for.
        """
        ...

    def remove_leftovers(self) -> Sequence[str]:
        """Remove the containers that runs of ours left behind which are no longer running; their names. Raises nothing."""
        ...

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
        """Build this Dockerfile text over this context; the file is sent along, the context need not hold it.

        ``needs_buildkit``: what of the text an engine without BuildKit cannot build, for the InputError it then raises.
        """
        ...

    def tag(self, image: ImageId, reference: Reference) -> None:
        """Name an image ``repository:tag``."""
        ...

    def untag(self, reference: Reference) -> None:
        """Remove the name only; absent is fine."""
        ...

    def stop(self) -> None:
        """End what this process runs in the engine right now, because it was interrupted; raises nothing."""
        ...

    def create_volume(self, name: str, labels: Mapping[str, str]) -> Mapping[str, str]:
        """Make an empty volume with these labels unless there is one of that name; the labels it has now.

        Of any number of callers one wins, and all get the winner's labels.
        """
        ...

    def find_volume(self, name: str) -> Mapping[str, str] | None:
        """The labels of a volume, or None."""
        ...

    def push(self, reference: Reference) -> Digest:
        """Push ``repository:tag``; returns the manifest digest the registry took."""
        ...


@dataclass(frozen=True, slots=True)
class StoredStage:
    """A built stage in the storage. ``descriptor`` is None in ``:local``, where nothing has a manifest."""

    image_id: ImageId
    descriptor: Descriptor | None
    config: ImageConfig


class StagesStorage(Protocol):
    """Where built stages live, found by the exact tag ``<stage signature>``; the port of the election (DESIGN.md §8).

    No implementation has compare-and-set: ``set_if_absent`` is two calls; the election (``services/election.py``) makes it safe enough.
    """

    @property
    def repository(self) -> Repository | None:
        """The registry repository, or None for ``:local``."""
        ...

    def has(self, signature: str) -> bool:
        """Whether a stage of that signature is stored: one HEAD."""
        ...

    def find(self, signature: str) -> StoredStage | None:
        """The stored stage: one manifest and one config request, or None where it is confirmed absent."""
        ...

    def publish_unique(self, signature: str, image: ImageId) -> StoredStage:
        """Put an image of the engine into the storage under a name of its own (``<signature>-<random>``)."""
        ...

    def set_if_absent(self, signature: str, candidate: StoredStage) -> None:
        """Give the candidate the name ``<signature>`` unless something has it already. Writing identical bytes again is avoided."""
        ...

    def replace(self, signature: str, candidate: StoredStage) -> None:
        """Give the candidate the name ``<signature>`` although something has it: what had it was proved to be lost."""
        ...

    def bring(self, stage: StoredStage) -> ImageId:
        """Make a stored stage present in the engine, to build on it. Raises Gone where the registry lost its layers."""
        ...

    def relabel(self, signature: str, stage: StoredStage, labels: Mapping[str, str]) -> StoredStage:
        """The same layers and config under other labels, under a name of its own; nothing runs and no layer is moved."""
        ...

    def publish_index(self, signature: str, images: Mapping[Platform, StoredStage]) -> Descriptor | None:
        """Publish the index of these images under ``<signature>`` unless it has the name; one of other images is replaced.

        What has the name now; None in ``:local``.
        """
        ...

    def find_index(self, signature: str) -> Manifest | None:
        """The index under that signature, or None where it is confirmed absent; always None in ``:local``."""
        ...

    def put_document(self, data: bytes) -> str:
        """Keep a small document (a listing) and give its name, 64 hex characters: the sha256 of its bytes."""
        ...

    def find_document(self, name: str) -> bytes | None:
        """A kept document, proved to be that, or None where it is confirmed absent."""
        ...

    def name_reuse(self, key: str, stage: StoredStage) -> None:
        """Let a stage be found by its reuse key (64 hex characters) too, unless something has that name."""
        ...

    def find_reuse(self, key: str) -> StoredStage | None:
        """The stage of that reuse key, or None where it is confirmed absent."""
        ...


class PinStore(Protocol):
    """Where the pin file and the build record of a scope are kept for later jobs.

    Documents are bytes here; their rules live in pins/ and records/.
    """

    @property
    def name(self) -> str:
        """What messages call it, such as ``stages storage registry.example.com/app``."""
        ...

    @property
    def guarantee(self) -> str:
        """One sentence: what this store promises about a single winner, and for how long it keeps it."""
        ...

    @property
    def lag(self) -> float:
        """Seconds for which a reader may not see yet what another job wrote; 0 where every read follows the writes before it."""
        ...

    def find_pins(self, key: ScopeKey) -> bytes | None:
        """The pin file of that scope, or None where there is confirmed to be none."""
        ...

    def create_pins(self, key: ScopeKey, document: bytes) -> bytes:
        """Create if absent, as well as this store can, then read again: what the scope has now, this document or the winner's.

        Raises Unavailable where nothing can be read back in time; the caller stops, it never resolves again.
        """
        ...

    def find_record(self, key: ScopeKey) -> bytes | None:
        """The build record of that scope, or None."""
        ...

    def put_record(self, key: ScopeKey, document: bytes, pins: bytes) -> bool:
        """File the build record with the pins it was built from, which are created where the scope has none.

        False, and nothing is written, where the scope has other pins: a job that fetched both would refuse the record.
        """
        ...


class Discussion(Protocol):
    """The comments of the merge or pull request a pipeline belongs to."""

    def find_comment(self, marker: str) -> str | None:
        """The address of the one comment of ours whose body holds ``marker``, or None: what ``put_comment`` would write over."""
        ...

    def put_comment(self, marker: str, body: str) -> str:
        """Write the one comment whose body holds ``marker``: over the earlier one of ours, else a new one. Returns its address.

        Raises AccessDenied where the token may not comment.
        """
        ...


class Workspace(Protocol):
    """The ``.stagepin/`` directory: what a job has at hand and hands on as a CI artifact."""

    @property
    def pins_path(self) -> Path:
        """Where the pin file is, for messages."""
        ...

    @property
    def record_path(self) -> Path:
        """Where the build record is, for messages."""
        ...

    def read_pins(self) -> bytes | None:
        """The pin file's bytes, or None."""
        ...

    def read_record(self) -> bytes | None:
        """The build record's bytes, or None."""
        ...

    def write_pins(self, data: bytes) -> None:
        """Replace the pin file, whole or not at all."""
        ...

    def write_record(self, data: bytes) -> None:
        """Replace the build record, whole or not at all."""
        ...


class SourceTree(Protocol):
    """The git repository at one commit; nothing uncommitted is ever read through it."""

    @property
    def commit(self) -> str:
        """The full commit id."""
        ...

    def find_file(self, path: str) -> bytes | None:
        """A committed file's bytes by its path relative to the project directory, or None."""
        ...

    def listing(self) -> Listing:
        """Every committed file below the project directory."""
        ...

    def read(self, entries: Collection[TreeEntry]) -> Mapping[str, bytes]:
        """Blob id → bytes of these files, in one go."""
        ...

    def read_each(self, entries: Iterable[TreeEntry]) -> Iterator[tuple[TreeEntry, bytes]]:
        """Each of these files with its bytes, in this order, in one go, with one file in memory at a time.

        Raises InputError for a submodule that is not checked out. To be read to its end, or closed.
        """
        ...

    def uncommitted(self, paths: Collection[str]) -> Sequence[str]:
        """Which of these paths differ between the commit and the working tree; for telling people, never for input."""
        ...
