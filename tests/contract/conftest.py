"""Servers the registry suites run against: the fake one, and Debian's docker-registry on loopback."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ci_plugin.demo.rig import start_registry
from ci_plugin.values.reference import Repository
from tests.contract.engine_sites import real, real_base, real_engine, rootfs, site
from tests.fakes.registry import FakeRegistry

__all__ = ["real", "real_base", "real_engine", "real_registry", "repository", "rootfs", "site"]


@pytest.fixture(scope="session")
def real_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a real registry of our own, without an engine."""
    with start_registry(tmp_path_factory.mktemp("registry")) as registry:
        yield registry.address


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.engine)])
def repository(request: pytest.FixtureRequest) -> Iterator[Repository]:
    """An empty repository, once in the fake registry and once in a real one."""
    name = "contract/" + "".join(letter if letter.isalnum() else "-" for letter in request.node.originalname.lower()).strip("-")
    name = name.replace("--", "-")
    if request.param == "real":
        yield Repository(request.getfixturevalue("real_registry"), name)
        return
    with FakeRegistry() as registry:
        yield Repository(registry.address, name)
