"""A build in memory: plans of a real configuration, made by the real services on the fake engine and a storage that keeps everything."""

from __future__ import annotations

import io
import posixpath
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ci_plugin.conveyor.plan import Plan, make_plan
from ci_plugin.ports import Engine
from ci_plugin.records.build_record import BuiltBy
from ci_plugin.services.building import BuiltImage, BuiltImages, Workshop, build_image
from ci_plugin.services.election import Election
from ci_plugin.services.stage_work.mounts import Surroundings
from ci_plugin.values.digest import Digest, ImageId
from ci_plugin.values.finding import Finding
from ci_plugin.values.reference import Repository
from tests.fakes.clock import FakeClock
from tests.fakes.engine import FakeEngine
from tests.fakes.source_tree import COMMIT, FakeSourceTree
from tests.fakes.stages_storage import REPOSITORY, MemoryStagesStorage
from tests.unit.conveyor.project import MemoryProject, load, make_pins

META = "project: app\nconfigVersion: 1\n---\n"
ROOTFS = "rootfs.tar"
"""``fromArchive`` of it is a base with a shell."""


@dataclass(frozen=True)
class Found:
    """One path of an image: ``content`` is a file's bytes or a link's target."""

    kind: str
    permissions: int
    content: bytes = b""
    owner: int = 0


@dataclass
class Site:
    """One engine and one storage, for any number of builds; ``directory`` is where the root filesystem lies."""

    directory: Path
    repository: Repository | None = REPOSITORY
    engine: FakeEngine = field(default_factory=FakeEngine)
    storage: MemoryStagesStorage = field(init=False)
    findings: list[Finding] = field(default_factory=list)
    built: list[tuple[str, str]] = field(default_factory=list)
    """Image and stage of everything that was made."""
    reused: list[tuple[str, str]] = field(default_factory=list)
    repositories: Mapping[str, Mapping[str, bytes]] = field(default_factory=dict)
    """Address → files of another git repository at its pinned commit."""
    removed: list[str] = field(default_factory=list)
    """Containers of interrupted runs."""

    def __post_init__(self) -> None:
        self.storage = MemoryStagesStorage(self.engine, self.repository)
        self.archive(ROOTFS, {"bin/sh": b"#!", "etc/passwd": b"root:x:0:0:::\n"})

    def archive(self, name: str, files: Mapping[str, bytes], modes: Mapping[str, int] | None = None) -> None:
        """A root filesystem of these files; ``modes`` names the permissions that are not 0644."""
        rootfs = io.BytesIO()
        with tarfile.open(fileobj=rootfs, mode="w") as tar:
            for path, data in files.items():
                member = tarfile.TarInfo(path)
                member.size, member.mode = len(data), (modes or {}).get(path, 0o644)
                tar.addfile(member, io.BytesIO(data))
        (self.directory / name).write_bytes(rootfs.getvalue())

    def plan(self, config: str, files: Mapping[str, bytes], modes: Mapping[str, str] | None = None) -> Plan:
        """The plan of werf.yaml ``config`` over these committed files."""
        archives = {path.name: path.read_bytes() for path in self.directory.glob("*.tar")}
        configuration = load({"werf.yaml": (META + config).encode()})
        return make_plan(configuration, make_pins(), MemoryProject(files, modes or {}, archives, repositories=self.repositories))

    def build(
        self, config: str, files: Mapping[str, bytes] | None = None, modes: Mapping[str, str] | None = None, modified: int = 1000
    ) -> dict[str, BuiltImage]:
        """One run on an empty machine with this storage: every image by its name, in the order of what they are made of."""
        files, modes = files or {}, modes or {}
        plan = self.plan(config, files, modes)
        workshop = self.workshop(FakeSourceTree(files, modes), modified)
        built = BuiltImages()
        while left := [image for image in plan if built.find(image.name, image.platform) is None]:
            ready = next(image for image in left if all(built.find(need, image.platform) for need in image.needs))
            built.put(build_image(ready, built, workshop))
        return {image.name: built.get(image.name, image.platform) for image in plan}

    def workshop(self, source: FakeSourceTree, modified: int) -> Workshop:
        """The parts of one run."""
        return Workshop(
            storage=self.storage,
            election=Election(self.storage, FakeClock(), 0.0),
            engine=self.engine,
            source=source,
            directory=self.directory,
            built_by=BuiltBy("pipeline:1001", COMMIT),
            output=lambda _image, _stage: lambda _line: None,
            stage_built=lambda image, stage, _seconds: self.built.append((image, stage)),
            stage_reused=lambda image, stage: self.reused.append((image, stage)),
            finding=self.findings.append,
            sources=lambda key: FakeSourceTree(self.repositories[key]) if key else source,
            leftover_removed=self.removed.append,
            modified=lambda: modified,
            surroundings=Surroundings("app", self.directory),
            local_names=Repository("stagepin.local", "app"),
        )


def files_of(engine: Engine, image: ImageId, below: Sequence[str] = ("/",)) -> dict[str, Found]:
    """What an image holds below these directories, as its container sees it, by absolute path."""
    found: dict[str, Found] = {}
    with engine.read_files(image, "/") as members:
        for member, data in members:
            path = posixpath.normpath("/" + member.name)
            if not any(path.startswith(directory.rstrip("/") + "/") for directory in below):
                continue
            if member.islnk():
                found[path] = found[posixpath.normpath("/" + member.linkname)]
                continue
            kind = "directory" if member.isdir() else "symlink" if member.issym() else "file"
            content = member.linkname.encode("utf-8", "surrogateescape") if member.issym() else data.read() if data else b""
            found[path] = Found(kind, 0o777 if member.issym() else member.mode & 0o7777, content, member.uid)
    return found


def digests(built: Mapping[str, BuiltImage]) -> dict[str, Digest | None]:
    """The manifest digest of every image."""
    return {name: image.stored.descriptor.digest if image.stored.descriptor else None for name, image in built.items()}
