"""Stages storage that is read and not written: a fork's job takes what the project has built and stores nothing there (DESIGN.md §8)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NoReturn

from ci_plugin.errors import InputError
from ci_plugin.ports import StagesStorage, StoredStage
from ci_plugin.values.digest import ImageId
from ci_plugin.values.kept_document import name_of_document
from ci_plugin.values.manifest import Descriptor, Manifest
from ci_plugin.values.platform import Platform
from ci_plugin.values.reference import Repository


class ReadOnlyStagesStorage:
    """``ports.StagesStorage`` over another one, for the job of the fork ``fork``. What would write raises InputError."""

    def __init__(self, inner: StagesStorage, fork: str) -> None:
        self._inner = inner
        self._fork = fork

    @property
    def repository(self) -> Repository | None:
        """The project's repository."""
        return self._inner.repository

    def has(self, signature: str) -> bool:
        """Whether the project has built that stage."""
        return self._inner.has(signature)

    def find(self, signature: str) -> StoredStage | None:
        """The stage as the project built it."""
        return self._inner.find(signature)

    def bring(self, stage: StoredStage) -> ImageId:
        """Make it present in the engine."""
        return self._inner.bring(stage)

    def publish_unique(self, signature: str, _image: ImageId) -> StoredStage:
        """Raises InputError."""
        self._refuse(signature)

    def set_if_absent(self, signature: str, _candidate: StoredStage) -> None:
        """Raises InputError."""
        self._refuse(signature)

    def find_index(self, signature: str) -> Manifest | None:
        """The index as the project published it."""
        return self._inner.find_index(signature)

    def find_document(self, name: str) -> bytes | None:
        """A document the project kept."""
        return self._inner.find_document(name)

    def find_reuse(self, key: str) -> StoredStage | None:
        """The project's stage of that reuse key."""
        return self._inner.find_reuse(key)

    def replace(self, signature: str, _candidate: StoredStage) -> None:
        """Raises InputError."""
        self._refuse(signature)

    def relabel(self, signature: str, _stage: StoredStage, _labels: Mapping[str, str]) -> StoredStage:
        """Raises InputError."""
        self._refuse(signature)

    def publish_index(self, signature: str, _images: Mapping[Platform, StoredStage]) -> Descriptor | None:
        """Raises InputError."""
        self._refuse(signature)

    def put_document(self, data: bytes) -> str:
        """Raises InputError."""
        self._refuse(f"listing-{name_of_document(data)}")

    def name_reuse(self, key: str, _stage: StoredStage) -> None:
        """Raises InputError."""
        self._refuse(f"reuse-{key}")

    def _refuse(self, signature: str) -> NoReturn:
        raise InputError(
            f"expected the stage {signature} in {self.repository}, or a repository of the fork's own to store it in, found neither: "
            f"this job runs the code of the fork {self._fork}, which writes nothing into the project's",
            hint="name a repository of the fork's own with --repo on the command line (a variable may name the project's), "
            "or build with `--repo :local`",
        )
