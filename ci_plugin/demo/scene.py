"""The demo's world: a rig, a base image whose tag moves, an application in git, and a runner on each side, without and with stagepin."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ci_plugin.demo.jobs import BY_HAND, STAGEPIN, Runner, git
from ci_plugin.demo.rig import Rig, ask_engine, open_rig, push_base
from ci_plugin.errors import AnswerIsNo, InputError, Location, Unavailable

_REPOSITORIES = {BY_HAND: "group/app-by-hand", STAGEPIN: "group/app"}
_FORGE = {
    "CI": "true",
    "GITLAB_CI": "true",
    "CI_SERVER_HOST": "gitlab.example.com",
    "CI_PROJECT_ID": "4711",
    "CI_PROJECT_PATH": "group/app",
}
_DOCKERFILE = """\
FROM {base}
COPY app.sh /app.sh
RUN chmod 755 /app.sh
CMD ["/app.sh"]
"""
_NAMING = ("RepoTags", "RepoDigests", "Labels")
_APPLICATION = '#!/bin/sh\necho "I run on $(cat /etc/stagepin-base)."\n'


@dataclass(frozen=True, slots=True)
class Base:
    """One version of the base image; ``name`` is also what its file /etc/stagepin-base says."""

    name: str
    digest: str


class Scene:
    """What the story acts on. ``base_reference`` is what the Dockerfile follows, ``base`` what its tag means now."""

    def __init__(self, directory: Path, rig: Rig) -> None:
        self.directory = directory
        self.base_reference = f"{rig.registry_address}/base:latest"
        self._rig = rig
        self.moves = -1
        commit = _make_project(directory / "app.git", self.base_reference)
        shared = {**_FORGE, "CI_COMMIT_SHA": commit, "DOCKER_HOST": rig.docker_host}
        registry = rig.registry_address
        self._variables = {side: {"CI_REGISTRY_IMAGE": f"{registry}/{name}", **shared} for side, name in _REPOSITORIES.items()}
        self.runner = Runner(directory, directory / "app.git")
        self.base = self.move_base()

    def variables(self, side: str) -> Mapping[str, str]:
        """What the forge sets for every job of this side's project."""
        return self._variables[side]

    def move_base(self) -> Base:
        """Publish another base under the same tag."""
        self.moves += 1
        name = f"base {self.moves + 1}"
        digest = push_base(self._rig.docker_host, self._rig.registry_address, "base", "latest", name)
        self.base = Base(name, str(digest))
        return self.base


@contextmanager
def open_scene(directory: Path, environ: Mapping[str, str]) -> Iterator[Scene]:
    """A scene below an empty ``directory`` until the block ends; engine, registry and all they stored are gone then.

    Raises InputError for a directory that holds something, and where a part is not installed; Unavailable where one does not start.
    """
    _make_empty(directory)
    rig_directory = directory / "rig"
    try:
        with open_rig(rig_directory, environ) as rig:
            try:
                yield Scene(directory, rig)
            finally:
                _forget_images(rig)
    finally:
        for name in ("rig", "clones", "home"):
            shutil.rmtree(directory / name, ignore_errors=True)
        with contextlib.suppress(OSError):
            directory.rmdir()  # where nothing came of it, nothing stays


def expect(is_so: bool, expected: str, found: str, log: Path) -> None:
    """The demo does not believe itself. Raises AnswerIsNo, with the job's log, where the story is not what happened."""
    if not is_so:
        raise AnswerIsNo(
            f"expected {expected}, found {found}", hint=f"read {log}: the story is not what happened", where=Location(str(log))
        )


def _make_empty(directory: Path) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        is_empty = not any(directory.iterdir())
    except OSError as error:
        raise InputError(
            f"expected a directory that can be made and written, found: {error.strerror}",
            hint="give another one with --directory",
            where=Location(str(directory)),
        ) from None
    if not is_empty:
        raise InputError(
            "expected a new or an empty directory, found files in it",
            hint="give another one with --directory, or leave it out",
            where=Location(str(directory)),
        )


def _make_project(repository: Path, base: str) -> str:
    """A bare repository with one commit of the application; returns the commit's id."""
    work = repository.with_name("work")
    work.mkdir()
    (work / "Dockerfile").write_text(_DOCKERFILE.format(base=base))
    (work / "app.sh").write_text(_APPLICATION)
    git(work, "init", "--quiet", "--initial-branch=main")
    git(work, "add", "--all")
    git(work, "commit", "--quiet", "--message=The application")
    git(work.parent, "clone", "--quiet", "--bare", str(work), str(repository))
    shutil.rmtree(work)
    return git(repository, "rev-parse", "HEAD").strip()


def _forget_images(rig: Rig) -> None:
    """An engine that was here before us keeps none of our images; a private one goes as a whole."""
    if rig.owns_engine:
        return
    with contextlib.suppress(Unavailable):
        before: set[str] = set()
        # An image with children cannot be removed before them, so we go on for as long as there are fewer each time.
        while (ours := _images_of(rig)) and ours != before:
            before = ours
            for image in ours:
                with contextlib.suppress(Unavailable):
                    ask_engine(rig.docker_host, "DELETE", f"/images/{image}?force=1")


def _images_of(rig: Rig) -> set[str]:
    """The IDs of images that name our registry: no other ever had its address at this time."""
    (images,) = ask_engine(rig.docker_host, "GET", "/images/json?all=1")
    return {image["Id"] for image in images if f"{rig.registry_address}/" in json.dumps([image[key] for key in _NAMING])}
