"""What comes into an image from git and from other images, commit by commit: the lists of facts/werf.md §6, each job on an empty engine."""

from __future__ import annotations

import io
import json
import os
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from ci_plugin.values.digest import ImageId
from ci_plugin.values.reference import parse_reference
from tests.fakes.building import Found, files_of
from tests.fakes.registry import FakeRegistry
from tests.scenarios.pipeline import BASE, STAGES, Job, Project
from tests.scenarios.test_builds import store_changed

ROOTFS = "fromArchive: rootfs.tar\n"
APP = f"""image: app
{ROOTFS}git:
- add: /src
  to: /app
  stageDependencies: {{install: [deps]}}
shell:
  install: [make]
"""


class Desk:
    """Somebody who commits and whose every commit is built by a pipeline of its own, pinned, built and verified."""

    def __init__(self, project: Project, directory: Path) -> None:
        self._project = project
        self.directory = directory
        self._pipelines = 1000
        self.last: Job
        self.printed = ""

    @property
    def source(self) -> Path:
        """What the mapping takes."""
        return self.directory / "src"

    def build(self, config: str = "") -> Job:
        self._project.commit(config=config)
        self._pipelines += 1
        self.last = self._project.pipeline(str(self._pipelines)).job()
        put_rootfs(self.last.directory / "rootfs.tar")
        self.printed = self.last.must("build", "--pin").err
        self.last.must("verify")
        return self.last

    def built(self, image: str = "app") -> list[str]:
        """The stages of an image that the last job made."""
        stages = self.last.record["images"][image]["platforms"]["linux/amd64"]["stages"]
        return [stage["name"] for stage in stages if stage["built"]]

    def files(self, below: str, image: str = "app") -> dict[str, Found]:
        """What the last job's image holds below a directory, as a machine that pulls it sees it."""
        engine = self._project.engine()
        pulled = engine.pull(parse_reference(self.last.record["images"][image]["reference"]))
        return files_of(engine, ImageId(str(pulled.id)), (below,))


def put_rootfs(path: Path) -> None:
    """A base of few files, the same for every job."""
    with tarfile.open(path, mode="w") as tar:
        for name, data in {"bin/sh": b"#!", "etc/passwd": b"app:x:7:8:::\n", "etc/group": b"app:x:8:\n"}.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))


@pytest.fixture
def desk(project: Project, tmp_path: Path) -> Desk:
    project.write("rootfs.tar", b"")
    for path, text in {".gitignore": "/rootfs.tar\n", "src/deps": "1", "src/page": "1", "src/dir/inside": "1"}.items():
        project.write(path, text)
    made = Desk(project, tmp_path / "origin")
    (made.source / "link").symlink_to("page")
    return made


def expected(source: Path, target: str) -> dict[str, Found]:
    """The files of the working tree, which is the commit, and the directories that hold them."""
    found = {}
    for directory, names, files in os.walk(source):
        for path in (Path(directory, name) for name in (*names, *files)):
            at = f"{target}/{path.relative_to(source).as_posix()}"
            if path.is_symlink():
                found[at] = Found("symlink", 0o777, os.fsencode(path.readlink()))
            elif path.is_dir():
                found[at] = Found("directory", 0o755)
            else:
                found[at] = Found("file", 0o755 if path.stat().st_mode & 0o100 else 0o644, path.read_bytes())
    return found


def add_below(source: Path) -> None:
    (source / "a" / "b").mkdir(parents=True)
    (source / "a" / "b" / "c").write_text("c")


def rename(source: Path) -> None:
    (source / "page").rename(source / "paper")
    (source / "dir").rename(source / "folder")


def retarget(source: Path) -> None:
    (source / "link").unlink()
    (source / "link").symlink_to("dir/inside")


def replace_file_by_directory(source: Path) -> None:
    (source / "page").unlink()
    (source / "page").mkdir()
    (source / "page" / "one").write_text("1")


def replace_directory_by_link(source: Path) -> None:
    shutil.rmtree(source / "dir")
    (source / "dir").symlink_to("/etc")


def add_odd_names(source: Path) -> None:
    for name in (
        "with space",
        "ünïcode",
        "new\nline",
        "quo'te\"s",
        "-dash",
        "back\\slash",
        "*",
        ".wh-not",
        b"\xff".decode("utf-8", "surrogateescape"),
    ):
        (source / name).write_text("odd")


CHANGES: dict[str, Callable[[Path], object]] = {
    "add": lambda source: (source / "new").write_text("new"),
    "add below a new directory": add_below,
    "modify": lambda source: (source / "page").write_text("2"),
    "make executable": lambda source: (source / "page").chmod(0o755),
    "delete": lambda source: (source / "page").unlink(),
    "delete the last of a directory": lambda source: shutil.rmtree(source / "dir"),
    "add a link": lambda source: (source / "dir" / "up").symlink_to("../page"),
    "point a link elsewhere": retarget,
    "rename a file and a directory": rename,
    "a directory in place of a file": replace_file_by_directory,
    "a link in place of a directory": replace_directory_by_link,
    "odd names": add_odd_names,
}


@pytest.mark.parametrize("change", CHANGES)
class TestAChangeInGit:
    def test_arrives_by_the_archive(self, desk: Desk, change: str) -> None:
        CHANGES[change](desk.source)
        desk.build(APP)
        assert desk.built() == ["from", "gitArchive", "install", "gitLatestPatch"]
        assert desk.files("/app") == expected(desk.source, "/app")

    def test_arrives_by_the_patch_and_what_is_taken_back_is_not_built_again(self, desk: Desk, change: str) -> None:
        first = desk.build(APP)
        before = desk.files("/app")
        CHANGES[change](desk.source)
        desk.build()
        assert desk.built() == ["gitLatestPatch"]
        assert desk.files("/app") == expected(desk.source, "/app") != before
        shutil.rmtree(desk.source)
        shutil.copytree(first.directory / "src", desk.source, symlinks=True)
        again = desk.build()
        assert (desk.built(), again.digest()) == ([], first.digest())


class TestGit:
    def test_without_stage_dependencies_no_file_runs_a_stage_and_with_them_those_files_do(self, desk: Desk) -> None:
        desk.build(APP.replace("  stageDependencies: {install: [deps]}\n", ""))
        (desk.source / "deps").write_text("2")
        desk.build()
        assert desk.built() == ["gitLatestPatch"]
        desk.build(APP)
        (desk.source / "deps").write_text("3")
        desk.build()
        assert desk.built() == ["install", "gitLatestPatch"]

    def test_where_the_patch_is_disabled_other_files_wait_for_a_stage_that_runs(self, desk: Desk) -> None:
        first = desk.build(APP + "disableGitAfterPatch: true\n")
        (desk.source / "page").write_text("2")
        assert desk.build().digest() == first.digest()
        assert desk.files("/app")["/app/page"].content == b"1"
        (desk.source / "deps").write_text("2")
        desk.build()
        assert desk.built() == ["install"]
        assert desk.files("/app")["/app/page"].content == b"2"

    def test_two_branches_that_share_a_stage_each_have_their_own_files(self, desk: Desk) -> None:
        desk.build(APP)
        (desk.source / "page").unlink()
        (desk.source / "left").write_text("left")
        desk.build()
        left = expected(desk.source, "/app")
        (desk.source / "left").unlink()
        (desk.source / "right").write_text("right")
        desk.build()
        assert desk.files("/app") == expected(desk.source, "/app") != left
        assert desk.built() == ["gitLatestPatch"]


TOOLS = f"""artifact: tools
{ROOTFS}git:
- add: /src
  to: /tools
  stageDependencies: {{setup: ["**/*"]}}
shell:
  beforeInstall: [echo VERSION > /version]
  setup: [mkdir /tools/empty]
---
"""
USER = f"image: app\n{ROOTFS}import:\n"


def importing(*imports: str, version: int = 1) -> str:
    return TOOLS.replace("VERSION", str(version)) + USER + "".join(f"- {{artifact: tools, {each}}}\n" for each in imports)


class TestImports:
    @pytest.mark.parametrize(
        ("imports", "found"),
        [
            (["add: /tools/page, to: /usr/page, before: install"], ["/x/page"]),
            (["add: /tools/page, to: /usr/paper, before: install"], ["/x/paper"]),
            (["add: /tools/dir, to: /usr/folder, after: install"], ["/x/folder", "/x/folder/inside"]),
            (["add: /tools/link, to: /usr/link, after: setup"], ["/x/link"]),
            (["add: /tools, to: /usr, before: setup, includePaths: [dir, pa*]"], ["/x/dir", "/x/dir/inside", "/x/page"]),
            (["add: /tools, to: /usr, before: setup, excludePaths: [dir, '*e*', link]"], []),
            (
                ["add: /tools/dir, to: /usr/both, before: setup", "add: /tools/page, to: /usr/both/page, before: setup"],
                ["/x/both", "/x/both/inside", "/x/both/page"],
            ),
        ],
    )
    def test_files_directories_and_links_come_under_the_name_they_are_given(self, desk: Desk, imports: list[str], found: list[str]) -> None:
        desk.build(importing(*imports))
        assert sorted(desk.files("/usr")) == [path.replace("/x/", "/usr/") for path in found]

    def test_a_directory_merges_with_what_the_image_has_there(self, desk: Desk) -> None:
        desk.build(importing("add: /tools/dir, to: /usr/lib, before: setup") + "shell:\n  beforeInstall: [echo own > /usr/lib/own]\n")
        assert {"/usr/lib/own", "/usr/lib/inside"} <= set(desk.files("/usr"))

    def test_owner_and_group_are_names_or_numbers(self, desk: Desk) -> None:
        desk.build(
            importing("add: /tools/dir, to: /usr/a, before: setup, owner: app", "add: /tools/page, to: /usr/b, before: setup, owner: '9'")
        )
        owners = {path: item.owner for path, item in desk.files("/usr").items()}
        assert owners == {"/usr/a": 7, "/usr/a/inside": 7, "/usr/b": 9}

    @pytest.mark.parametrize(("latest", "content"), [("", b"one"), ("fromLatest: true\n", b"two")])
    def test_an_image_of_a_registry_is_pinned_and_its_move_is_followed_by_the_next_pipeline_where_bases_are(
        self, desk: Desk, registry: FakeRegistry, latest: str, content: bytes
    ) -> None:
        registry.put_image("base/other", "v1", seed="one")
        user = f"image: app\nfrom: BASE\n{latest}import:\n"
        desk.build(f"{user}- {{from: {registry.address}/base/other:v1, add: /seed, to: /taken, before: setup}}\n")
        assert desk.files("/")["/taken"].content == b"one"
        moved = registry.put_image("base/other", "v1", seed="two")
        assert "built in" not in desk.last.must("build").err
        assert desk.build().pinned(f"{registry.address}/base/other:v1") == str(moved)
        assert desk.files("/")["/taken"].content == content

    def test_an_image_of_a_registry_without_its_tag_is_told_from_an_image_of_the_file(self, project: Project) -> None:
        project.commit(config=f"{USER}- {{from: registry.example.com/tools, add: /tool, to: /tool, before: setup}}\n")
        ran = project.pipeline().job().run("pin")
        assert (ran.code, ran.err.splitlines()) == (
            2,
            [
                "error: expected the name of an image, found 'registry.example.com/tools'",
                "  at: werf.yaml:7:4",
                "  next: this configuration has: app; an image of a registry is written with its tag (NAME:latest) or digest",
            ],
        )

    def test_a_source_that_was_rebuilt_with_equal_files_rebuilds_nobody(self, desk: Desk, project: Project) -> None:
        one = "add: /tools, to: /usr, before: setup"
        first = desk.build(importing(one) + "shell:\n  setup: [make]\n")
        second = desk.build(importing(one, version=2) + "shell:\n  setup: [make]\n")
        assert desk.built("app") == []
        assert "tools: stage setup built in " in desk.printed
        assert "app: stage dependenciesBeforeSetup is as it was, what it takes has not changed" in desk.printed
        assert layers(project, second) == layers(project, first)

    @pytest.mark.parametrize(
        "change",
        [
            "modify",
            "add",
            "delete",
            "make executable",
            "point a link elsewhere",
            "rename a file and a directory",
            "a directory in place of a file",
        ],
    )
    def test_a_source_with_another_file_mode_or_link_rebuilds_its_users(self, desk: Desk, change: str) -> None:
        desk.build(importing("add: /tools, to: /usr, before: setup"))
        CHANGES[change](desk.source)
        desk.build()
        assert "dependenciesBeforeSetup" in desk.built("app")
        assert desk.files("/usr") == expected(desk.source, "/usr") | {"/usr/empty": Found("directory", 0o755)}

    def test_a_file_of_the_source_that_nobody_takes_rebuilds_nobody(self, desk: Desk) -> None:
        desk.build(importing("add: /tools/dir, to: /usr, before: setup"))
        (desk.source / "page").write_text("2")
        desk.build()
        assert desk.built("app") == []


def layers(project: Project, job: Job) -> object:
    """The layers of the image, as its manifest names them."""
    return json.loads(project.registry.manifests[STAGES, job.digest()][1])["layers"]


class TestBases:
    def test_triggers_of_a_base_are_for_dockerfiles_and_run_nothing_here(self, project: Project) -> None:
        store_changed(project, BASE, "latest", lambda config: config.update(OnBuild=["RUN exit 7"]))
        project.commit(config="image: app\nfrom: BASE\nshell:\n  install: [make]\n")
        job = project.pipeline().job()
        job.must("build", "--pin")
        job.must("verify")
        assert [commands for _, commands in job.engine.ran] == [("make",)]

    @pytest.mark.parametrize("base", ["from: scratch\n", ROOTFS])
    def test_scratch_and_an_archive_take_git_import_and_docker(self, desk: Desk, base: str) -> None:
        config = importing("add: /tools/dir, to: /usr/dir, after: install").replace(USER, USER.replace(ROOTFS, base))
        desk.build(config + "git:\n- {add: /src, to: /app}\ndocker:\n  CMD: [/app/page]\n")
        assert desk.built()[-4:] == ["gitArchive", "dependenciesAfterInstall", "gitLatestPatch", "dockerInstructions"]
        assert desk.files("/app") == expected(desk.source, "/app")
        assert desk.files("/usr")["/usr/dir/inside"].content == b"1"
        state = desk.last.record["images"]["app"]["platforms"]["linux/amd64"]["base"]["state"]
        assert state == ("scratch" if "scratch" in base else "archive")

    def test_commands_on_a_base_without_a_shell_are_refused_with_the_way_out(self, project: Project) -> None:
        project.commit(config="image: app\nfrom: scratch\nshell:\n  install: [make]\n")
        ran = project.pipeline().job().run("build", "--pin")
        assert ran.code == 1
        assert "error: stage 'install' of image 'app': expected a base that can run commands, found an image without /bin/sh (" in ran.err
        assert "\n  at: werf.yaml:4:8\n" in ran.err
        assert "\n  next: use a base that has a shell, or drop the commands of this image's stages\n" in ran.err

    def test_an_attestation_that_is_added_to_an_index_rebuilds_nothing(self, project: Project, registry: FakeRegistry) -> None:
        manifest = registry.put_image(BASE, seed="1")
        registry.put_index(BASE, "latest", {"linux/amd64": manifest})
        project.write("Dockerfile", f"FROM {project.base}\n")
        project.commit(
            config="image: app\nfrom: BASE\nfromLatest: true\n---\nimage: web\ndockerfile: Dockerfile\nfromLatest: true\n---\n"
            "image: user\nfrom: scratch\nimport:\n- {from: BASE, add: /seed, to: /seed, before: setup}\n"
        )
        first = project.pipeline("1001").job()
        first.must("build", "--pin")
        registry.put_index(BASE, "latest", {"linux/amd64": manifest}, attestation=True)
        second = project.pipeline("1002").job()
        ran = second.must("build", "--pin")
        assert second.pinned(project.base) != first.pinned(project.base)
        assert "built in" not in ran.err
        assert {name: second.digest(name) for name in ("app", "web", "user")} == {
            name: first.digest(name) for name in ("app", "web", "user")
        }
        second.must("verify", "--recompute")
