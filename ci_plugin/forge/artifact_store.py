"""Pin file and build record as CI artifacts of a pipeline, read over the forge's API: ``ports.PinStore`` that the CI itself writes for.

A job cannot write an artifact through the API: the CI takes ``.stagepin/`` when the job ends. So creating pins here is handing them to the
CI, and the pipeline's job graph (one pin job) is what makes them one set. Of several artifacts the **oldest** readable pins are the pins:
a retried pin job must not move them. The newest record is the record. Artifacts of another identity or scope are passed over.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from ci_plugin.errors import InputError
from ci_plugin.pins.pin_file import parse_pin_file
from ci_plugin.records.record_file import parse_record_file
from ci_plugin.retry import RetryPolicy
from ci_plugin.values.pipeline import ScopeKey

PINS_PATH = ".stagepin/pins.json"
RECORD_PATH = ".stagepin/build.json"
_PIPELINE = "pipeline:"
_LAG_SECONDS = 5.0


class Artifacts(Protocol):
    """The CI artifacts of one project's pipelines. Raises AccessDenied, Unavailable."""

    @property
    def name(self) -> str:
        """``host/project``, for messages."""
        ...

    @property
    def life(self) -> str:
        """How long they are kept and what they survive, in words."""
        ...

    def read_files(self, pipeline: str, path: str) -> Iterable[bytes]:
        """The file of that path in the artifacts of that pipeline, oldest first: of every try of every job, expired ones left out.

        ``path`` is below the git top level, such as ``.stagepin/pins.json``. Raises DocumentError for an archive nobody should trust.
        """
        ...


class ArtifactStore:
    """The pins and records that a pipeline's jobs hand on as CI artifacts."""

    def __init__(self, artifacts: Artifacts, retry: RetryPolicy) -> None:
        self._artifacts = artifacts
        self._retry = retry

    @property
    def name(self) -> str:
        """``CI artifacts of HOST/PROJECT``."""
        return f"CI artifacts of {self._artifacts.name}"

    @property
    def guarantee(self) -> str:
        """What may be relied on."""
        return f"single writer by the job graph: one winner as long as one pin job hands .stagepin/pins.json on; {self._artifacts.life}"

    @property
    def lag(self) -> float:
        """An artifact is there before the job that needs it starts; the forge's listing of it may be a little late."""
        return _LAG_SECONDS

    def find_pins(self, key: ScopeKey) -> bytes | None:
        """The oldest pin file of this scope, or None where no artifact holds one."""
        pipeline = self._pipeline(key)

        def oldest() -> bytes | None:
            # Those after it are not even downloaded.
            return next((data for data in self._artifacts.read_files(pipeline, PINS_PATH) if self._is_ours(key, data)), None)

        return self._retry.run(oldest)

    def create_pins(self, key: ScopeKey, document: bytes) -> bytes:
        """The CI takes the workspace's file when this job ends; what an earlier try handed on goes first."""
        return self.find_pins(key) or document

    def find_record(self, key: ScopeKey) -> bytes | None:
        """The newest whole build record of this scope, else the newest one, or None."""
        whole = newest = None
        pipeline = self._pipeline(key)
        for data in self._retry.run(lambda: list(self._artifacts.read_files(pipeline, RECORD_PATH))):
            record = parse_record_file(data, self.name)
            if (record.pipeline.identity, record.scope) == (key.pipeline.identity, key.scope):
                newest, whole = data, data if record.complete else whole
        return whole or newest

    def put_record(self, key: ScopeKey, document: bytes, pins: bytes) -> bool:  # noqa: ARG002 (the CI takes the workspace's file)
        """True unless an earlier try handed on other pins."""
        return self.create_pins(key, pins) == pins

    def _pipeline(self, key: ScopeKey) -> str:
        if not key.scope.text.startswith(_PIPELINE):
            raise InputError(
                f"expected a scope of one pipeline for the {self.name}, found {key.scope}",
                hint="artifacts belong to a pipeline: leave --scope out, or choose another store (--store stages-storage)",
            )
        return key.scope.text.removeprefix(_PIPELINE)

    def _is_ours(self, key: ScopeKey, data: bytes) -> bool:
        pins = parse_pin_file(data, self.name)
        return (pins.pipeline.identity, pins.scope) == (key.pipeline.identity, key.scope)
