"""``:local``: the engine's own store as stages storage, for people without a registry and for demos.

A stage is the image ``stagepin.local/<project>:<stage signature>``. The name has no registry that could be asked, nothing is ever
pulled or pushed, and what another machine built is not here. A candidate has a name of its own, ``<signature>-<random>``.
A kept document is the one file of an image of its own, ``listing-<sha256>``; ``reuse-<key>`` is a further name of a stage.
"""

from __future__ import annotations

import io
import re
import secrets
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path

from ci_plugin.errors import Gone
from ci_plugin.ports import Engine, EngineImage, ImageChange, StoredStage
from ci_plugin.values.canonical import sha256_hex
from ci_plugin.values.digest import ImageId
from ci_plugin.values.kept_document import LARGEST_KEPT, foreign_document, name_of_document, prove_document
from ci_plugin.values.manifest import Descriptor, ImageConfig, Manifest
from ci_plugin.values.platform import Platform
from ci_plugin.values.reference import Reference, Repository

LOCAL_REGISTRY = "stagepin.local"
_LONGEST_SLUG = 100
_DOCUMENT = "stagepin.document"
_FILE = "listing.json"


class LocalStagesStorage:
    """Implements ``ports.StagesStorage`` over one engine's store; ``project`` is any text."""

    def __init__(self, project: str, engine: Engine) -> None:
        self._names = Repository(LOCAL_REGISTRY, project_slug(project))
        self._engine = engine

    @property
    def repository(self) -> Repository | None:
        """None: there is no registry repository."""
        return None

    def has(self, signature: str) -> bool:
        """Whether the engine has an image of that name."""
        return self._find(self._names.tagged(signature)) is not None

    def find(self, signature: str) -> StoredStage | None:
        """The stored stage, or None."""
        image = self._find(self._names.tagged(signature))
        return _stored(image) if image else None

    def publish_unique(self, signature: str, image: ImageId) -> StoredStage:
        """Give an image of the engine a name of its own. Raises Gone where the engine has no such image."""
        self._engine.tag(image, self._names.tagged(f"{signature}-{secrets.token_hex(8)}"))
        return _stored(self._get(image))

    def set_if_absent(self, signature: str, candidate: StoredStage) -> None:
        """Give the candidate the name ``<signature>`` unless something has it."""
        if not self.has(signature):
            self._engine.tag(candidate.image_id, self._names.tagged(signature))

    def replace(self, signature: str, candidate: StoredStage) -> None:
        """Give the candidate the name ``<signature>`` although something has it."""
        self._engine.tag(candidate.image_id, self._names.tagged(signature))

    def bring(self, stage: StoredStage) -> ImageId:
        """The stage's image, which is where it is needed. Raises Gone where somebody removed it."""
        return self._get(stage.image_id).id

    def relabel(self, signature: str, stage: StoredStage, labels: Mapping[str, str]) -> StoredStage:
        """A child image that differs in its labels alone. Raises Gone where the stage was removed."""
        return self.publish_unique(signature, self._engine.derive(stage.image_id, ImageChange(labels=labels)).id)

    def publish_index(self, _signature: str, _images: Mapping[Platform, StoredStage]) -> Descriptor | None:
        """None: an engine's store has no index."""
        return None

    def find_index(self, _signature: str) -> Manifest | None:
        """None: an engine's store has no index."""
        return None

    def put_document(self, data: bytes) -> str:
        """Keep a document as an image of one file; its name. Raises InputError where it is too large."""
        name = name_of_document(data)
        if self._find(self._names.tagged(f"listing-{name}")) is None:
            with tempfile.TemporaryDirectory(prefix="stagepin-") as directory:
                archive = Path(directory, "listing.tar")
                _write_tar(archive, data)
                image = self._engine.import_rootfs(archive, self._engine.native_platform(), {_DOCUMENT: name})
            self._engine.tag(image.id, self._names.tagged(f"listing-{name}"))
        return name

    def find_document(self, name: str) -> bytes | None:
        """The document, or None. Raises AnswerIsNo where the image of that name holds something else."""
        where = self._names.tagged(f"listing-{name}")
        image = self._find(where)
        if image is None:
            return None
        with self._engine.read_files(image.id, f"/{_FILE}") as members:
            for _, file in members:
                if file is not None:
                    return prove_document(name, file.read(LARGEST_KEPT + 1), str(where))
        raise foreign_document(name, str(where), "no file")

    def name_reuse(self, key: str, stage: StoredStage) -> None:
        """The name ``reuse-<key>``, unless something has it."""
        self.set_if_absent(f"reuse-{key}", stage)

    def find_reuse(self, key: str) -> StoredStage | None:
        """The stage of that name, or None."""
        return self.find(f"reuse-{key}")

    def _find(self, name: Reference) -> EngineImage | None:
        return self._engine.find_image(str(name))

    def _get(self, image: ImageId) -> EngineImage:
        found = self._engine.find_image(str(image))
        if found is None:
            raise Gone(f"expected the engine to have the stage {image}, found none", hint="it was removed meanwhile; build again")
        return found


def project_slug(project: str) -> str:
    """A repository path for a project's name; a name that had to be changed gets 8 characters of its hash, so that no two share one."""
    slug = re.sub(r"[^a-z0-9]+", "-", project.lower()).strip("-")[:_LONGEST_SLUG].rstrip("-")
    return slug if slug and slug == project else f"{slug or 'project'}-{sha256_hex(project)[:8]}"


def _stored(image: EngineImage) -> StoredStage:
    return StoredStage(image.id, None, ImageConfig(image.platform, image.diff_ids, image.labels))


def _write_tar(path: Path, data: bytes) -> None:
    with tarfile.open(path, "w") as archive:
        member = tarfile.TarInfo(_FILE)
        member.size = len(data)
        archive.addfile(member, io.BytesIO(data))
