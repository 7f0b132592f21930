"""``:local``: the engine's own store as stages storage, for people without a registry and for demos.

A stage is the image ``stagepin.local/<project>:<stage signature>``. The name has no registry that could be asked, nothing is ever
pulled or pushed, and what another machine built is not here. A candidate has a name of its own, ``<signature>-<random>``.
"""

from __future__ import annotations

import re
import secrets

from ci_plugin.errors import Gone
from ci_plugin.ports import Engine, EngineImage, StoredStage
from ci_plugin.values.canonical import sha256_hex
from ci_plugin.values.digest import ImageId
from ci_plugin.values.manifest import ImageConfig
from ci_plugin.values.reference import Reference, Repository

LOCAL_REGISTRY = "stagepin.local"
_LONGEST_SLUG = 100


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

    def bring(self, stage: StoredStage) -> ImageId:
        """The stage's image, which is where it is needed. Raises Gone where somebody removed it."""
        return self._get(stage.image_id).id

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
