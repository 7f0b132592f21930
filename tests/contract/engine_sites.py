"""Where the suites of the port ``Engine`` run: on the fake with a fake registry, and on a real engine with a real one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ci_plugin.demo.rig import busybox_rootfs, push_base
from ci_plugin.engine.docker_engine import DockerEngine
from ci_plugin.ports import ContextFile, Engine, EngineImage, Registry
from ci_plugin.values.platform import Platform
from ci_plugin.values.reference import Reference, Repository, parse_reference
from tests.fakes.engine import FakeEngine
from tests.fakes.registry import FakeRegistry, make_image
from tests.fakes.registry_client import make_client, no_credentials, push_image

AMD64 = Platform("linux", "amd64")


@dataclass(frozen=True)
class Site:
    """An engine, the registry it pushes to, a repository nobody else uses, and a base that is in that registry."""

    engine: Engine
    registry: Registry
    repository: Repository
    base: Reference
    rootfs: Path

    def start(self) -> EngineImage:
        """The base, pulled."""
        return self.engine.pull(self.base)

    def build(self, dockerfile: str, *files: ContextFile, target: str | None = None, lines: list[str] | None = None) -> EngineImage:
        sink = [] if lines is None else lines
        labels = {"made": "here"}
        return self.engine.build(files, dockerfile, target=target, build_args={}, labels=labels, platform=AMD64, output=sink.append)


@pytest.fixture(scope="module")
def rootfs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("rootfs") / "rootfs.tar"
    path.write_bytes(busybox_rootfs("contract"))
    return path


def _name_of(request: pytest.FixtureRequest) -> str:
    name: str = request.node.originalname
    return "engine/" + name.replace("__", "_").strip("_").lower()


@pytest.fixture(scope="module")
def real_engine(docker_host: str) -> Iterator[DockerEngine]:
    engine = DockerEngine(docker_host, credentials=no_credentials, environ={})
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def real_base(docker_host: str, registry_address: str) -> Reference:
    digest = push_base(docker_host, registry_address, "contract/base", "latest", "1")
    return Repository(registry_address, "contract/base").at(digest)


def _real_site(request: pytest.FixtureRequest, rootfs: Path) -> Site:
    base: Reference = request.getfixturevalue("real_base")
    repository = Repository(base.repository.registry, _name_of(request))
    return Site(request.getfixturevalue("real_engine"), make_client(), repository, base, rootfs)


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.engine)])
def site(request: pytest.FixtureRequest, rootfs: Path) -> Iterator[Site]:
    if request.param == "real":
        yield _real_site(request, rootfs)
        return
    with FakeRegistry() as registry:
        client = make_client()
        base = parse_reference(f"{registry.address}/library/base:latest")
        pinned = base.at(push_image(client, base, make_image()))
        yield Site(FakeEngine(client), client, Repository(registry.address, _name_of(request)), pinned, rootfs)


@pytest.fixture
def real(request: pytest.FixtureRequest, rootfs: Path) -> Site:
    return _real_site(request, rootfs)
