"""SYNC's promise over random histories: files that no user stage writes are exactly those of the commit, whatever stage was reused.

One storage serves commits in any order, as branches do: the archive of one is the beginning of all, and a user stage of another branch
whose ``stageDependencies`` are the same is reused, and so is one made of a source that was built anew. Nothing is asked of the history.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fakes.building import Found, Site, files_of

CONFIG = """image: lib
fromArchive: rootfs.tar
fromCacheVersion: VERSION
---
image: app
fromArchive: rootfs.tar
import:
- image: lib
  add: /etc/passwd
  to: /srv/passwd
  before: install
git:
- add: /src
  to: /srv/app
  excludePaths: ["b/c"]
  stageDependencies:
    install: [deps]
    setup: ["**/*.s"]
- add: /conf
  to: /srv/conf
  owner: "1000"
shell:
  install: ["echo built > /srv/app/own"]
  beforeSetup: ["true"]
  setup: ["true"]
docker:
  USER: app
"""
MODES = {"100644": 0o644, "100755": 0o755, "120000": 0o777}

Leaf: TypeAlias = tuple[str, bytes]
Tree: TypeAlias = "dict[str, Leaf | Tree]"

NAMES = st.sampled_from(["a", "b", "c", "deps", "x.s", "ä \udcff"])
LEAVES = st.tuples(st.sampled_from(sorted(MODES)), st.sampled_from([b"1", b"2", b"a", b"../b"]))
TREES: st.SearchStrategy[Tree] = st.recursive(
    st.dictionaries(NAMES, LEAVES, max_size=4), lambda inner: st.dictionaries(NAMES, LEAVES | inner, max_size=4), max_leaves=12
)
"""What a commit holds: names are few, so that files, directories and links take each other's places."""
LOST = st.sampled_from(["", "", "", "gitArchive", "install", "setup", "listing"])
"""What the storage loses after a build."""


def flat(tree: Tree, prefix: str) -> dict[str, Leaf]:
    found: dict[str, Leaf] = {}
    for name, item in tree.items():
        found |= flat(item, f"{prefix}{name}/") if isinstance(item, dict) else {prefix + name: item}
    return found


def expected(commit: Mapping[str, Leaf]) -> dict[str, Found]:
    """The mapped files of a commit as they are to be in the image, and the one file that a user stage writes."""
    found = {"/srv/app/own": Found("file", 0o644, b"built\n")}
    for path, (mode, data) in commit.items():
        kind = "symlink" if mode == "120000" else "file"
        top, _, rest = path.partition("/")
        if top == "src" and not (rest == "b/c" or rest.startswith("b/c/")):
            found[f"/srv/app/{rest}"] = Found(kind, MODES[mode], data, 0)
        elif top == "conf":
            found[f"/srv/conf/{rest}"] = Found(kind, MODES[mode], data, 1000)
    return found


def commit_of(source: Tree, conf: Tree) -> dict[str, Leaf]:
    kept: dict[str, Leaf] = {"src/kept": ("100644", b""), "conf/kept": ("100644", b"")}
    return kept | flat(source, "src/") | flat(conf, "conf/")


def build_and_look(site: Site, commit: Mapping[str, Leaf], number: int, version: int) -> tuple[dict[str, Found], set[str]]:
    """The files of the image a commit gives, and the directories in it that hold nothing."""
    files = {path: data for path, (_, data) in commit.items()}
    modes = {path: mode for path, (mode, _) in commit.items()}
    image = site.build(CONFIG.replace("VERSION", str(version)), files, modes, modified=1000 + number)["app"]
    found = files_of(site.engine, image.stored.image_id, ("/srv/app", "/srv/conf"))
    directories = {path for path, item in found.items() if item.kind == "directory"}
    empty = {path for path in directories if not any(other.startswith(f"{path}/") for other in found)}
    return {path: item for path, item in found.items() if path not in directories}, empty


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.lists(st.tuples(TREES, TREES, st.integers(1, 3), LOST), min_size=1, max_size=6))
def test_the_files_of_every_commit_are_exactly_its_own(history: list[tuple[Tree, Tree, int, str]]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        site = Site(Path(directory))
        for number, (source, conf, version, lost) in enumerate(history):
            commit = commit_of(source, conf)
            found, empty = build_and_look(site, commit, number, version)
            assert found == expected(commit)
            assert empty == set()
            lose(site, lost)
        assert site.findings == []


def lose(site: Site, what: str) -> None:
    """The storage loses the layers of one kind of stage, or every listing."""
    if what == "listing":
        site.storage.documents.clear()
    for name, stage in tuple(site.storage.names.items()):
        if stage.config.labels["stagepin.stage"] == what:
            site.storage.lose(name)
