"""A user's project for the platforms' simulators: one of our examples, its base image in the rig's registry, a clean environment."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ci_plugin.demo.rig import Rig, push_base
from tests.e2e.own_source import ROOT

EXAMPLE_BASE = "docker.io/library/alpine:latest"
BASE_DIGEST_LABEL = "org.opencontainers.image.base.digest"
_MANIFEST_TYPES = "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json"


@dataclass(frozen=True, slots=True)
class CiProject:
    """A git repository of one example, the base image it is built on, and the repository its stages go to."""

    directory: Path
    home: Path
    rig: Rig
    name: str

    @property
    def repo(self) -> str:
        """Where the stages go."""
        return f"{self.rig.registry_address}/{self.name}/stages"

    def move_base(self, version: str) -> str:
        """Push another base under the tag the project follows; returns its digest."""
        return str(push_base(self.rig.docker_host, self.rig.registry_address, f"{self.name}/base", "latest", version))

    def current_base(self) -> str:
        """The digest the base's tag has now."""
        with _open(f"http://{self.rig.registry_address}/v2/{self.name}/base/manifests/latest") as answer:
            return str(answer.headers["Docker-Content-Digest"])

    def commit(self) -> None:
        """Commit everything in the directory."""
        self.run("git", "add", "--all")
        self.run("git", "commit", "--quiet", "--message", "A state to build")

    def run(self, *command: str, env: Mapping[str, str] | None = None) -> str:
        """Run a command in the project, in an environment of its own; returns what it printed. A failure shows the output."""
        done = subprocess.run(
            command,
            cwd=self.directory,
            env={**self.environment(), **(env or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=600,
        )
        assert done.returncode == 0, f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}"
        return done.stdout

    def environment(self) -> dict[str, str]:
        """No variable of the forge that may be running this test, no configuration of this user."""
        names = {
            "GIT_AUTHOR_NAME": "A",
            "GIT_AUTHOR_EMAIL": "a@example.com",
            "GIT_COMMITTER_NAME": "A",
            "GIT_COMMITTER_EMAIL": "a@example.com",
        }
        return {"PATH": os.environ["PATH"], "HOME": str(self.home), "LC_ALL": "C.UTF-8", "GIT_CONFIG_NOSYSTEM": "1", **names}


def make_project(directory: Path, rig: Rig, name: str, example: str, remote: str) -> CiProject:
    """A git repository with the files of ``examples/<example>``, the base image in the rig's registry; nothing committed yet."""
    project = CiProject(directory / name, directory / "home", rig, name)
    shutil.copytree(ROOT / "examples" / example, project.directory)
    project.home.mkdir()
    for file in project.directory.iterdir():
        file.write_text(file.read_text("utf-8").replace(EXAMPLE_BASE, f"{rig.registry_address}/{name}/base:latest"), "utf-8")
    project.run("git", "init", "--quiet", "--initial-branch=main")
    project.run("git", "remote", "add", "origin", remote)
    return project


def read_labels(image: str) -> dict[str, str]:
    """The labels of ``host:port/repository@digest``, asked of the registry over plain HTTP."""
    found = re.fullmatch(r"(?P<host>[^/]+)/(?P<repository>[^@]+)@(?P<digest>sha256:[0-9a-f]{64})", image)
    assert found, f"expected an image named by digest, found {image}"
    top = f"http://{found['host']}/v2/{found['repository']}"
    manifest = _get_json(f"{top}/manifests/{found['digest']}")
    config = _get_json(f"{top}/blobs/{manifest['config']['digest']}")
    return dict(config["config"].get("Labels") or {})


def _get_json(url: str) -> Any:
    with _open(url) as answer:
        return json.load(answer)


def _open(url: str) -> Any:
    request = urllib.request.Request(url, headers={"Accept": _MANIFEST_TYPES})
    return urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30)
