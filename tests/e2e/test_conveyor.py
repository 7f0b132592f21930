"""The whole conveyor on a real engine and a real registry: files of git and of other images, facts, secrets, mounts, the image's config."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ci_plugin.demo.rig import Rig
from ci_plugin.engine.docker_engine import DockerEngine
from ci_plugin.values.digest import Digest, ImageId
from ci_plugin.values.reference import parse_reference
from tests.fakes.building import Found, files_of
from tests.fakes.git_repository import GitRepository
from tests.fakes.registry_client import no_credentials
from tests.functional.test_real_builds import SETTINGS, RealProject

CONFIG = """project: conveyor
configVersion: 1
---
artifact: tools
from: BASE
fromLatest: true
fromCacheVersion: "VERSION"
shell:
  install:
  - mkdir -p /out/bin /out/empty && echo tool > /out/bin/tool && chown 7:8 /out/bin/tool && chmod 4755 /out/bin/tool
  - ln /out/bin/tool /out/bin/same && ln -s tool /out/bin/link && ln -s nowhere /out/bin/dangling
  - echo left out > /out/bin/notes.txt && mkfifo /out/pipe 2>/dev/null || true
  - date +%s%N > /not-imported
---
image: app
from: BASE
fromLatest: true
git:
- add: /src
  to: /app
  stageDependencies: {install: [deps]}
import:
- artifact: tools
  add: /out
  to: /opt/tools
  excludePaths: ["**/*.txt"]
  before: install
mount:
- {from: tmp_dir, to: /scratch}
- {from: build_dir, to: /cache}
secrets:
- {id: token, env: TOKEN}
shell:
  beforeInstall:
  - touch /scratch/here && touch /cache/kept
  install:
  - test "$(cat /run/secrets/token)" = hidden-value-of-the-test
  - test ! -e /scratch/here && test -e /cache/kept && test -u /opt/tools/bin/tool && test "$(stat -c %h /opt/tools/bin/same)" = 2
  - cat /app/deps > /installed && touch /app/tracked
docker:
  ENV: {MODE: production}
  HEALTHCHECK: "--interval=30s --retries=5 CMD test -e /installed"
---
image: web
fromImage: app
dependencies:
- image: app
  after: install
  imports: [{type: ImageDigest, targetEnv: APP_DIGEST}, {type: ImageID, targetEnv: APP_ID}]
shell:
  setup: ['echo "$APP_DIGEST" > /told']
imageSpec:
  author: Ann
  clearHistory: true
  config:
    env: {SHOWN: "was $MODE"}
    removeEnv: [MODE]
    labels: {team: shop}
    entrypoint: [/bin/cat]
"""


@pytest.fixture
def project(rig: Rig, tmp_path: Path) -> RealProject:
    real = RealProject(rig, "conveyor", GitRepository(tmp_path / "project"))
    for path, text in {".stagepin.yaml": SETTINGS, "src/deps": "1", "src/page": "1", "src/tracked": "1"}.items():
        real.write(path, text)
    real.move_base("1")
    commit(real, version=1)
    return real


@pytest.fixture
def engine(docker_host: str) -> Iterator[DockerEngine]:
    found = DockerEngine(docker_host, credentials=no_credentials, environ={})
    yield found
    found.close()


def commit(project: RealProject, version: int) -> None:
    project.write("werf.yaml", CONFIG.replace("VERSION", str(version)))
    project.repository.commit()


def build(project: RealProject, pipeline: str) -> Any:
    """The images' records after a build of that pipeline, which verified."""
    project.new_workspace()
    options = ("--repo", project.stages)
    ran = project.must("build", "--pin", *options, pipeline=pipeline, TOKEN="hidden-value-of-the-test")
    assert "hidden-value" not in ran.text
    written = [path for path in (project.repository.directory / ".stagepin").rglob("*") if path.is_file()]
    assert any("install" in path.name for path in written)
    assert not [path for path in written if b"hidden-value" in path.read_bytes()]
    warned = "stage 'install' of image 'app' writes 1 file from git that it does not depend on: /app/tracked; " in ran.err
    assert warned == (pipeline == "1")
    project.must("verify", *options, pipeline=pipeline)
    return {name: image["platforms"]["linux/amd64"] for name, image in project.record["images"].items()}


def test_every_stage_is_built_verified_and_spared_where_its_files_are_equal(project: RealProject, engine: DockerEngine) -> None:
    first = build(project, "1")
    image = ImageId(first["app"]["imageId"])
    found = files_of(engine, image, ("/app", "/opt", "/scratch", "/cache", "/run/secrets"))
    assert found["/app/page"] == Found("file", 0o644, b"1")
    tool = Found("file", 0o4755, b"tool\n", 7)
    assert (found["/opt/tools/bin/tool"], found["/opt/tools/bin/same"]) == (tool, tool)
    assert found["/opt/tools/bin/link"].content == b"tool"
    assert found["/opt/tools/bin/dangling"].content == b"nowhere"
    assert found["/opt/tools/empty"].kind == "directory"
    assert not [path for path in found if "notes" in path or "pipe" in path or "here" in path or "kept" in path or "token" in path]

    web = inspect(engine, first["web"]["imageId"])
    assert "SHOWN=was production" in web["Env"]
    assert not [item for item in web["Env"] if item.startswith("MODE=")]
    assert (web["Entrypoint"], web["Labels"]["team"]) == (["/bin/cat"], "shop")
    told = {item[1]: item[3] for item in first["web"]["dependencies"]}
    assert told == {"ImageDigest": first["app"]["digest"], "ImageID": first["app"]["imageId"]}
    assert inspect(engine, first["app"]["imageId"])["Healthcheck"]["Retries"] == 5

    diff_ids = layers(engine, project.record["images"]["app"]["reference"])
    commit(project, version=2)
    second = build(project, "2")
    assert layers(engine, project.record["images"]["app"]["reference"]) == diff_ids
    assert second["app"]["signature"] != first["app"]["signature"]
    assert not [stage["name"] for stage in second["app"]["stages"] if stage["built"] and stage["name"] not in ("from", "beforeInstall")]

    project.write("src/page", "2")
    project.repository.commit()
    third = build(project, "3")
    built = [stage["name"] for stage in third["app"]["stages"] if stage["built"]]
    assert built == ["gitLatestPatch", "dockerInstructions"]
    assert files_of(engine, ImageId(third["app"]["imageId"]), ("/app",))["/app/page"].content == b"2"


def inspect(engine: DockerEngine, image: str) -> Any:
    """An image's config, as the engine has it; secrets stand in none of it."""
    found = engine.find_image(image)
    assert found is not None
    assert "hidden-value" not in json.dumps(dict(found.config))
    return found.config


def layers(engine: DockerEngine, record: Any) -> tuple[Digest, ...]:
    """An image's layers; what was only given other labels was never in this engine."""
    return engine.pull(parse_reference(record)).diff_ids
