"""A project with its registry for every scenario."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.registry import FakeRegistry
from tests.scenarios.pipeline import Project


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    with FakeRegistry() as running:
        yield running


@pytest.fixture
def project(tmp_path: Path, registry: FakeRegistry) -> Project:
    return Project(tmp_path, registry)
