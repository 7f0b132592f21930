"""A git project with its registry on loopback for every command."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.registry import FakeRegistry
from tests.scenarios.pipeline import Project


@pytest.fixture
def server() -> Iterator[FakeRegistry]:
    with FakeRegistry() as running:
        yield running


@pytest.fixture
def project(tmp_path: Path, server: FakeRegistry) -> Project:
    return Project(tmp_path, server)
