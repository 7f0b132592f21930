"""Files of git and of other images on a real engine, commit by commit: every kind of change, what it rebuilds, and what it leaves alone."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ci_plugin.demo.rig import Rig
from ci_plugin.engine.docker_engine import DockerEngine
from ci_plugin.values.digest import ImageId
from ci_plugin.values.reference import parse_reference
from tests.fakes.building import Found, files_of
from tests.fakes.git_repository import GitRepository
from tests.fakes.registry_client import no_credentials
from tests.functional.test_real_builds import SETTINGS, RealProject
from tests.scenarios.pipeline import META
from tests.scenarios.test_scenarios_conveyor import CHANGES, expected

CONFIG = (
    META
    + """artifact: tools
from: BASE
fromCacheVersion: "VERSION"
git:
- add: /lib
  to: /lib-of-tools
  stageDependencies: {setup: ["**/*"]}
shell:
  setup: [date > /not-imported]
---
image: app
from: BASE
git:
- add: /src
  to: /app
  stageDependencies: {setup: [deps]}
import:
- {artifact: tools, add: /lib-of-tools, to: /opt/lib, owner: nobody, after: install}
- {from: "BASE:latest", add: /etc/stagepin-base, to: /opt/base, after: install}
shell:
  setup: [cat /app/deps > /seen]
"""
)
FILES = {"deps": "1", "page": "1", "dir/inside": "1"}


class Walk:
    """One project, built and verified after every commit, each in a pipeline of its own."""

    def __init__(self, project: RealProject, engine: DockerEngine) -> None:
        self._project, self._engine = project, engine
        self.source, self.library = (project.repository.directory / name for name in ("src", "lib"))
        self._pipeline = 1000

    def build(self, version: int = 1) -> list[str]:
        """The stages of app that were made; what it holds is what the commit says."""
        self._project.write("werf.yaml", CONFIG.replace("VERSION", str(version)))
        self._project.repository.commit()
        self._project.new_workspace()
        self._pipeline += 1
        for command in (("build", "--pin"), ("verify",)):
            self._project.must(*command, "--repo", self._project.stages, pipeline=str(self._pipeline))
        reference = self.image["reference"]
        found = files_of(self._engine, ImageId(str(self._engine.pull(parse_reference(reference)).id)), ("/app", "/opt"))
        library = {path: replace(item, owner=65534) for path, item in expected(self.library, "/opt/lib").items()}
        made = {"/opt/lib": Found("directory", 0o755, owner=65534), "/opt/base": Found("file", 0o644, b"1\n")}
        assert found == expected(self.source, "/app") | library | made
        return [stage["name"] for stage in self.image["platforms"]["linux/amd64"]["stages"] if stage["built"]]

    @property
    def image(self) -> Any:
        return self._project.record["images"]["app"]


@pytest.fixture
def walk(rig: Rig, tmp_path: Path) -> Iterator[Walk]:
    project = RealProject(rig, "commits", GitRepository(tmp_path / "project"))
    project.move_base("1")
    project.write(".stagepin.yaml", SETTINGS)
    for directory in ("src", "lib"):
        for path, text in FILES.items():
            project.write(f"{directory}/{path}", text)
        (tmp_path / "project" / directory / "link").symlink_to("page")
    engine = DockerEngine(rig.docker_host, credentials=no_credentials, environ={})
    yield Walk(project, engine)
    engine.close()


def test_every_change_arrives_and_rebuilds_no_more_than_it_must(walk: Walk, tmp_path: Path) -> None:
    assert walk.build() == ["from", "gitArchive", "dependenciesAfterInstall", "setup", "gitLatestPatch"]
    first = walk.image["digest"]
    for directory in (walk.source, walk.library):
        shutil.copytree(directory, tmp_path / "before" / directory.name, symlinks=True)

    for change in ("odd names", "make executable", "point a link elsewhere", "a link in place of a directory"):
        CHANGES[change](walk.source)
    assert walk.build() == ["gitLatestPatch"]
    CHANGES["rename a file and a directory"](walk.source.parent / "lib")
    (walk.source / "deps").write_text("2")
    assert walk.build() == ["dependenciesAfterInstall", "setup", "gitLatestPatch"]
    CHANGES["a directory in place of a file"](walk.source)
    (walk.library / "paper").chmod(0o755)
    assert walk.build() == ["dependenciesAfterInstall", "setup", "gitLatestPatch"]
    assert walk.build(version=2) == [], "the source was rebuilt, and its files are equal"

    for directory in (walk.source, walk.library):
        shutil.rmtree(directory)
        shutil.copytree(tmp_path / "before" / directory.name, directory, symlinks=True)
    assert walk.build() == []
    assert walk.image["digest"] == first
