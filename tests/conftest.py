"""The one place that knows which tests need a real engine: everything below tests/e2e, and what is marked ``engine``.

They are never skipped: where no engine can be had they fail with the sentence that says what to install.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from ci_plugin.demo.rig import Rig, open_rig
from ci_plugin.errors import StagepinError

_E2E = Path(__file__).parent / "e2e"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(_E2E):
            item.add_marker(pytest.mark.engine)


@pytest.fixture(scope="session")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """A real engine and a real registry on loopback, for the whole run."""
    opened = open_rig(tmp_path_factory.mktemp("rig"), os.environ)
    try:
        found = opened.__enter__()
    except StagepinError as error:
        pytest.fail(f"no engine and registry for this test: {error.message}; {error.hint}", pytrace=False)
    try:
        yield found
    finally:
        opened.__exit__(None, None, None)


@pytest.fixture(scope="session")
def docker_host(rig: Rig) -> str:
    """The real engine's address."""
    return rig.docker_host


@pytest.fixture(scope="session")
def registry_address(rig: Rig) -> str:
    """The real registry's ``127.0.0.1:PORT``."""
    return rig.registry_address
