"""A stage: its labelled inputs, its stage signature, and what has to be done when the storage lacks it."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from ci_plugin.config.model import DockerInstructions
from ci_plugin.config.parts import ImageSpec, Mount, Secret, Selection
from ci_plugin.errors import InputError
from ci_plugin.values.canonical import Value, sha256_hex
from ci_plugin.values.digest import Digest
from ci_plugin.values.image_listing import ImageListing
from ci_plugin.values.platform import Platform
from ci_plugin.values.reference import Reference
from ci_plugin.values.tree import ContextFile, TreeEntry

BASE_DIGEST = "base.digest"
"""What the label of every input begins with that holds a base's digest (``fromLatest``): such a stage is on that base or is not itself."""
SOURCE = "source "
"""What the label of every input begins with that holds the stage signature of an image files or facts are taken from."""


@dataclass(frozen=True, slots=True)
class Input:
    """One labelled fact that enters a stage signature.

    ``shown`` is what people may see: the value itself for references, digests and paths; a count for text that may hold a value of the
    environment (commands, cache versions), which never leaves the process but as a hash.
    """

    label: str
    value: Value = field(repr=False)
    shown: str

    @property
    def hash(self) -> str:
        """sha256 of the value, 64 hex characters: what the build record keeps."""
        return sha256_hex(self.value)


@dataclass(frozen=True, slots=True)
class FromExternal:
    """Begin with a registry's image: ``name`` is the normalised reference, ``pinned`` the ``repository@digest`` that is pulled.

    ``platform`` is what the pulled image must be for; None is the engine's own (``FROM --platform=$BUILDPLATFORM``).
    """

    name: Reference
    pinned: Reference
    platform: Platform | None


@dataclass(frozen=True, slots=True)
class Unpinned:
    """Begin with a reference that was pinned without a digest and enters no stage signature: whoever has to build this gets ``refusal``."""

    refusal: InputError = field(compare=False)


@dataclass(frozen=True, slots=True)
class FromScratch:
    """Begin with nothing."""


@dataclass(frozen=True, slots=True)
class FromArchive:
    """Begin with a root filesystem; ``path`` is relative to the project directory, ``diff_id`` the sha256 of its decompressed tar."""

    path: str
    diff_id: Digest


@dataclass(frozen=True, slots=True)
class FromImage:
    """Begin with another image of the configuration, whose final stage signature is ``signature``."""

    image: str
    signature: str


@dataclass(frozen=True, slots=True)
class PutFiles:
    """Make the mapped files of the parent those of ``files``: gitArchive and gitLatestPatch."""

    files: ImageListing


@dataclass(frozen=True, slots=True)
class RunCommands:
    """Run the user's commands in the parent, after its mapped files were made those of ``files`` (None: not a stage that sees git's).

    ``depended``: paths of ``files`` whose change runs this stage again; the commands may write them, other mapped paths are a finding.
    """

    commands: tuple[str, ...]
    files: ImageListing | None = None
    depended: Container[str] = frozenset()
    mounts: tuple[Mount, ...] = ()
    secrets: tuple[Secret, ...] = ()
    network: str | None = None


@dataclass(frozen=True, slots=True)
class SourceStage:
    """Another image of the configuration, as it is after its stage with this signature; ``is_final`` where that is its last."""

    image: str
    signature: str
    is_final: bool = True


@dataclass(frozen=True, slots=True)
class PlannedImport:
    """Files of another image: of one of the configuration, or of a registry's, pinned."""

    source: SourceStage | FromExternal | Unpinned
    files: Selection


@dataclass(frozen=True, slots=True)
class PlannedDependency:
    """What the image learns of another one: ``facts`` are (type, environment variable or build argument) each."""

    source: SourceStage
    facts: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class PutDependencies:
    """Take files from other images, and set variables that tell of other images: the four ``dependencies…`` stages."""

    imports: tuple[PlannedImport, ...] = ()
    dependencies: tuple[PlannedDependency, ...] = ()


@dataclass(frozen=True, slots=True)
class WriteSpec:
    """Write the ``imageSpec:`` section into the image's config."""

    spec: ImageSpec


@dataclass(frozen=True, slots=True)
class WriteConfig:
    """Write the ``docker:`` section into the image's config."""

    instructions: DockerInstructions


@dataclass(frozen=True, slots=True)
class BuildDockerfile:
    """Build a Dockerfile whose references were replaced by ``repository@digest``, over exactly the files that entered the signature.

    ``base`` is what the target begins with (None for scratch); ``pulled`` every pinned reference to have in the engine first.
    ``is_context_whole``: all that ``.dockerignore`` leaves, because the file does not bound what it reads.
    Paths in ``context`` are those of the commit, at or below ``context_directory``; paths in ``added`` are relative to that directory.
    """

    text: str
    target: str | None
    build_args: Mapping[str, str] = field(repr=False)
    context_directory: str
    context: tuple[TreeEntry, ...]
    is_context_whole: bool
    added: tuple[ContextFile, ...]
    base: FromExternal | FromImage | None
    pulled: tuple[Reference, ...]
    needs_buildkit: str | None
    dependencies: tuple[PlannedDependency, ...] = ()
    secrets: tuple[Secret, ...] = ()
    ssh: str | None = None
    network: str | None = None
    add_hosts: tuple[str, ...] = ()
    parents: tuple[tuple[Reference, SourceStage], ...] = ()
    """Images of the configuration that the text takes: what stands for each in it, and the stage that is meant."""


Work: TypeAlias = (
    FromExternal
    | Unpinned
    | FromScratch
    | FromArchive
    | FromImage
    | PutFiles
    | RunCommands
    | PutDependencies
    | WriteConfig
    | WriteSpec
    | BuildDockerfile
)


@dataclass(frozen=True, slots=True)
class Stage:
    """One link of the conveyor; ``signature`` is the exact tag it has in the stages storage."""

    name: str
    inputs: tuple[Input, ...]
    signature: str
    work: Work
