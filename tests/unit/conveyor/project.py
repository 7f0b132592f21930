"""A project in memory for plans: committed files, archives and files on disk; and pins made from short seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from ci_plugin.config.load import load_configuration
from ci_plugin.config.model import Configuration, DockerfileImage
from ci_plugin.config.parts import GitRemote
from ci_plugin.config.source import Source
from ci_plugin.conveyor.git_files import RepositoryFiles
from ci_plugin.conveyor.plan import Plan, make_plan
from ci_plugin.errors import Location
from ci_plugin.pins.pin_set import Origin, Pin, PinSet
from ci_plugin.values.digest import Digest
from ci_plugin.values.manifest import OCI_INDEX
from ci_plugin.values.pipeline import PipelineId, Scope
from ci_plugin.values.platform import DEFAULT_PLATFORM, Platform
from ci_plugin.values.reference import parse_reference
from ci_plugin.values.tree import ContextFile, Listing
from tests.fakes.source_tree import COMMIT, FakeSourceTree

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ARM64 = Platform("linux", "arm64")


@dataclass(frozen=True)
class MemoryProject:
    """Implements ``conveyor.plan.ProjectFiles``; ``archives`` gives what each archive decompresses to, ``disk`` uncommitted files."""

    files: Mapping[str, bytes] = field(default_factory=dict)
    modes: Mapping[str, str] = field(default_factory=dict)
    archives: Mapping[str, bytes] = field(default_factory=dict)
    disk: Mapping[str, bytes] = field(default_factory=dict)
    repositories: Mapping[str, Mapping[str, bytes]] = field(default_factory=dict)
    """Address → files of another repository at its pinned commit."""

    def with_file(self, path: str, data: bytes) -> MemoryProject:
        """The same project with one file more, or another one."""
        return replace(self, files={**self.files, path: data})

    def find_file(self, path: str) -> bytes | None:
        return FakeSourceTree(self.files, self.modes).find_file(path)

    def listing(self) -> Listing:
        return FakeSourceTree(self.files, self.modes).listing()

    def archive_diff_id(self, path: str) -> Digest | None:
        return Digest.of(self.archives[path]) if path in self.archives else None

    def added(self, path: str) -> Sequence[ContextFile]:
        found = sorted(name for name in self.disk if path in (name, ".") or name.startswith(f"{path}/"))
        return tuple(ContextFile(name, self.modes.get(name, "100644"), self.disk[name]) for name in found)

    def remote(self, remote: GitRemote, pins: PinSet, where: Location) -> RepositoryFiles:
        return RepositoryFiles(remote.address, FakeSourceTree(self.repositories[remote.address]).listing())


def make_pin(reference: str, seed: str = "", platforms: Sequence[Platform] = (DEFAULT_PLATFORM, ARM64), index: str = "") -> Pin:
    """A pin whose manifests are named by ``seed``, and whose index by ``seed`` and ``index`` (an attestation moves it alone)."""
    return Pin(
        reference=parse_reference(reference),
        digest=Digest.of(f"index {reference} {seed} {index}".encode()),
        media_type=OCI_INDEX,
        size=1638,
        platforms={platform: Digest.of(f"{platform} {reference} {seed}".encode()) for platform in platforms},
        in_signature=True,
        resolved_at=NOW,
        origin=(Origin("from", "app", "werf.yaml", 4),),
    )


def make_pins(*pins: Pin) -> PinSet:
    """The pin set of these pins."""
    pipeline = PipelineId("gitlab", "gitlab.example.com", "4711", "group/app", "1001")
    return PinSet("stagepin/0.1.0", Scope("pipeline:1001"), pipeline, COMMIT, NOW, ("app",), pins)


def load(files: Mapping[str, bytes]) -> Configuration:
    """The configuration in these files, as the commands load it."""
    return load_configuration(Source(files.get, lambda: sorted(files), {}), "app")


def plan_dockerfile(text: str, pins: PinSet, project: MemoryProject | None = None, image: DockerfileImage | None = None) -> Plan:
    """The plan of one Dockerfile, with ``fromLatest`` unless the image says otherwise."""
    image = image or DockerfileImage("app", "Dockerfile", Location("Dockerfile"), from_latest=True)
    project = (project or MemoryProject()).with_file(image.dockerfile, text.encode())
    return make_plan(Configuration.of("p", "dockerfile", None, [image]), pins, project)
