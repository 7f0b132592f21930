"""Every stage of the conveyor: when it is there, what moves its signature and what does not (DESIGN.md §6)."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from ci_plugin.config.load import load_configuration
from ci_plugin.conveyor.plan import PlannedImage, make_plan
from ci_plugin.conveyor.stage import FromExternal, PutDependencies, PutFiles, RunCommands, SourceStage, Stage
from ci_plugin.errors import InputError
from tests.unit.config.sources import META, source
from tests.unit.conveyor.project import MemoryProject, make_pin, make_pins

FILES = {
    "src/main.c": b"int main;",
    "src/lib/a.h": b"a",
    "package.json": b"{}",
    "docs/index.md": b"# docs",
    "bin/tool": b"#!/bin/sh",
}
WHOLE = """
image: tools
from: alpine
shell: {install: [make tools]}
---
image: app
from: alpine
mount: [{from: tmp_dir, to: /tmp}]
git:
- to: /app
  stageDependencies: {install: package.json, beforeSetup: "src/**/*.h", setup: [docs]}
import:
- {image: tools, add: /usr/bin/a, before: install}
- {image: tools, add: /usr/bin/b, after: install}
- {image: tools, add: /usr/bin/c, before: setup}
- {image: tools, add: /usr/bin/d, after: setup}
shell: {beforeInstall: [a], install: [b], beforeSetup: [c], setup: [d]}
docker: {WORKDIR: /app}
---
image: spec
fromImage: app
imageSpec: {author: me}
"""
ORDER = [
    "from",
    "beforeInstall",
    "dependenciesBeforeInstall",
    "gitArchive",
    "install",
    "dependenciesAfterInstall",
    "beforeSetup",
    "dependenciesBeforeSetup",
    "setup",
    "dependenciesAfterSetup",
    "gitLatestPatch",
    "dockerInstructions",
]


def plan(text: str, files: Mapping[str, bytes] = FILES, *, modes: Mapping[str, str] = {}, name: str = "app") -> PlannedImage:
    configuration = load_configuration(source({"werf.yaml": META + text.lstrip("\n")}), "p")
    return make_plan(configuration, make_pins(make_pin("alpine"), make_pin("debian")), MemoryProject(files, modes), [name]).get(name)


def signatures(planned: PlannedImage) -> dict[str, str]:
    return {stage.name: stage.signature for stage in planned.stages}


def moved(before: PlannedImage, after: PlannedImage) -> list[str]:
    """The stages whose signature is another one."""
    old = signatures(before)
    return [stage.name for stage in after.stages if stage.signature != old.get(stage.name)]


def from_(first: str) -> list[str]:
    return ORDER[ORDER.index(first) :]


def get(planned: PlannedImage, name: str) -> Stage:
    return next(stage for stage in planned.stages if stage.name == name)


def refuse(text: str, files: Mapping[str, bytes] = FILES, **modes: str) -> InputError:
    with pytest.raises(InputError) as caught:
        plan(text, files, modes=modes)
    return caught.value


def test_all_stages_stand_in_the_order_of_the_conveyor() -> None:
    assert [stage.name for stage in plan(WHOLE).stages] == ORDER


def test_an_image_spec_comes_last() -> None:
    assert [stage.name for stage in plan(WHOLE, name="spec").stages] == ["from", "imageSpec"]


def test_a_change_outside_the_stage_dependencies_runs_no_user_stage() -> None:
    assert moved(plan(WHOLE), plan(WHOLE, {**FILES, "src/main.c": b"int other;"})) == from_("gitLatestPatch")


@pytest.mark.parametrize(
    ("path", "first"),
    [("package.json", "install"), ("src/lib/a.h", "beforeSetup"), ("src/new.h", "beforeSetup"), ("docs/sub/x", "setup")],
)
def test_a_change_inside_the_stage_dependencies_runs_that_stage_and_what_follows(path: str, first: str) -> None:
    assert moved(plan(WHOLE), plan(WHOLE, {**FILES, path: b"other"})) == from_(first)


@pytest.mark.parametrize("glob", [".github/x/*.yml", ".github", ".env*", ".", "./.github/**/*.yml"])
def test_a_glob_may_begin_with_a_dot(glob: str) -> None:
    text = f"image: app\nfrom: alpine\ngit: [{{to: /app, stageDependencies: {{setup: '{glob}'}}}}]\nshell: {{setup: [make]}}\n"
    path = ".env.sh" if "env" in glob else ".github/x/ci.yml"
    assert moved(plan(text), plan(text, {**FILES, path: b"new"})) == ["setup", "gitLatestPatch"]


def test_a_removed_file_and_a_changed_mode_are_changes() -> None:
    without = {path: data for path, data in FILES.items() if path != "docs/index.md"}
    assert moved(plan(WHOLE), plan(WHOLE, without)) == from_("setup")
    assert moved(plan(WHOLE), plan(WHOLE, modes={"package.json": "100755"})) == from_("install")
    assert moved(plan(WHOLE), plan(WHOLE, modes={"bin/tool": "100755"})) == from_("gitLatestPatch")


def test_the_archive_is_that_of_the_mapping_whatever_its_files_are() -> None:
    text = "image: app\nfrom: alpine\ngit: [{to: /app}]\n"
    assert moved(plan(text), plan(text, {"x": b"y"})) == ["gitLatestPatch"]
    for other in ("{to: /srv}", "{to: /app, owner: app}", "{to: /app, excludePaths: nothing}", "{to: /app, add: /src}"):
        assert moved(plan(text), plan(text.replace("{to: /app}", other))) == ["gitArchive", "gitLatestPatch"]


def test_another_owner_is_another_content_of_the_image() -> None:
    text = "image: app\nfrom: alpine\ngit: [{to: /app, owner: a}]\n"
    other = plan(text.replace("owner: a", "owner: b"))
    assert "gitLatestPatch" in moved(plan(text), other)
    work = get(other, "gitLatestPatch").work
    assert isinstance(work, PutFiles)
    assert {file.owner for file in work.files} == {"b"}


@pytest.mark.parametrize(
    ("mapping", "expected"),
    [
        (
            "{to: /srv/app, owner: a}",
            {"/srv/app/src/lib/a.h": ("/srv/app", "/srv/app/src", "/srv/app/src/lib"), "/srv/app/bin/tool": ("/srv/app", "/srv/app/bin")},
        ),
        ("{to: /srv/app}", {"/srv/app/bin/tool": ()}),
        ("{add: /bin/tool, to: /usr/bin/tool, owner: a}", {"/usr/bin/tool": ()}),
        ("{to: /, group: a}", {"/bin/tool": ("/bin",)}),
    ],
)
def test_the_directories_of_files_with_an_owner_are_known(mapping: str, expected: Mapping[str, tuple[str, ...]]) -> None:
    work = get(plan(f"image: app\nfrom: alpine\ngit: [{mapping}]\n"), "gitArchive").work
    assert isinstance(work, PutFiles)
    assert {path: work.files.by_path[path].owned_directories for path in expected} == expected


def paths(text: str, files: Mapping[str, bytes] = FILES) -> list[str]:
    work = get(plan(text, files), "gitArchive").work
    assert isinstance(work, PutFiles)
    return [file.path for file in work.files]


@pytest.mark.parametrize(
    ("mapping", "expected"),
    [
        ("{add: /src, to: /app}", ["/app/lib/a.h", "/app/main.c"]),
        ("{add: /package.json, to: /app/p.json}", ["/app/p.json"]),
        ("{to: /app, includePaths: [src]}", ["/app/src/lib/a.h", "/app/src/main.c"]),
        ("{to: /app, includePaths: ['**/*.md', bin]}", ["/app/bin/tool", "/app/docs/index.md"]),
        ("{to: /app, excludePaths: [src, '*.json']}", ["/app/bin/tool", "/app/docs/index.md"]),
        ("{to: /app, includePaths: [src], excludePaths: [src/lib]}", ["/app/src/main.c"]),
        ("{add: /src, to: /}", ["/lib/a.h", "/main.c"]),
    ],
)
def test_a_mapping_takes_what_it_says_and_puts_it_where_it_says(mapping: str, expected: list[str]) -> None:
    assert paths(f"image: app\nfrom: alpine\ngit: [{mapping}]\n") == expected


def test_the_more_specific_mapping_has_its_own_files() -> None:
    text = "image: app\nfrom: alpine\ngit:\n- {add: /docs, to: /app/src}\n- {to: /app, excludePaths: package.json}\n"
    assert paths(text) == ["/app/bin/tool", "/app/docs/index.md", "/app/src/index.md"]


def test_files_below_the_target_of_an_import_are_the_imports() -> None:
    text = "image: tools\nfrom: alpine\n---\nimage: app\nfrom: alpine\ngit: [{to: /app}]\n"
    text += "import: [{image: tools, add: /x, to: /app/src, after: setup}]\n"
    assert paths(text) == ["/app/bin/tool", "/app/docs/index.md", "/app/package.json"]


def test_where_bytes_are_read_is_known_for_every_file() -> None:
    work = get(plan("image: app\nfrom: alpine\ngit: [{add: /src, to: /app}]\n"), "gitArchive").work
    assert isinstance(work, PutFiles)
    assert [(file.repository, file.source) for file in work.files] == [("", "src/lib/a.h"), ("", "src/main.c")]


def test_a_user_stage_knows_which_files_it_may_write() -> None:
    work = get(plan(WHOLE), "beforeSetup").work
    assert isinstance(work, RunCommands)
    assert "/app/src/lib/a.h" in work.depended
    assert "/app/src/main.c" not in work.depended
    assert work.files is not None
    assert len(work.files) == len(FILES)


def test_commands_before_the_archive_see_nothing_of_git() -> None:
    work = get(plan(WHOLE), "beforeInstall").work
    assert isinstance(work, RunCommands)
    assert work.files is None


def test_an_artifact_follows_git_by_its_stage_dependencies_alone() -> None:
    text = "artifact: app\nfrom: alpine\ngit: [{to: /app, stageDependencies: {install: src}}]\nshell: {install: [make]}\n"
    assert [stage.name for stage in plan(text).stages] == ["from", "gitArchive", "install"]
    assert moved(plan(text), plan(text, {**FILES, "bin/tool": b""})) == []
    assert moved(plan(text), plan(text, {**FILES, "src/main.c": b""})) == ["install"]


def test_git_ends_with_the_user_stages_where_the_patch_is_disabled() -> None:
    text = "image: app\nfrom: alpine\ndisableGitAfterPatch: true\ngit: [{to: /app}]\ndocker: {USER: app}\n"
    assert [stage.name for stage in plan(text).stages] == ["from", "gitArchive", "dockerInstructions"]


def test_an_import_moves_with_the_image_it_takes_from() -> None:
    assert moved(plan(WHOLE), plan(WHOLE.replace("make tools", "make others"))) == from_("dependenciesBeforeInstall")
    assert moved(plan(WHOLE), plan(WHOLE.replace("/usr/bin/c, before", "/usr/bin/C, before"))) == from_("dependenciesBeforeSetup")


def test_an_import_may_take_from_an_earlier_stage_of_its_source() -> None:
    text = WHOLE.replace("add: /usr/bin/a,", "add: /usr/bin/a, stage: from,")
    work = get(plan(text), "dependenciesBeforeInstall").work
    tools = plan(text, name="tools")
    assert isinstance(work, PutDependencies)
    assert work.imports[0].source == SourceStage("tools", tools.stages[0].signature, is_final=False)
    assert moved(plan(text), plan(text.replace("make tools", "make others"))) == from_("dependenciesAfterInstall")


def test_a_stage_the_source_does_not_have_is_refused_with_those_it_has() -> None:
    error = refuse(WHOLE.replace("add: /usr/bin/a,", "add: /usr/bin/a, stage: setup,"))
    assert error.message == "expected a stage of image 'tools', found 'setup'"
    assert error.hint == "it has: from, install"
    assert error.where is not None


def test_a_registrys_image_is_imported_by_its_pinned_digest() -> None:
    text = "image: app\nfrom: alpine\nimport: [{from: 'debian:latest', add: /bin/sh, after: setup}]\n"
    stage = get(plan(text), "dependenciesAfterSetup")
    assert isinstance(stage.work, PutDependencies)
    taken = stage.work.imports[0].source
    assert isinstance(taken, FromExternal)
    assert taken.pinned.digest is not None
    assert "import.reference docker.io/library/debian:latest" in {item.label for item in stage.inputs}


def test_a_dependency_moves_with_its_image_and_names_its_facts() -> None:
    text = "image: db\nfrom: alpine\nfromCacheVersion: VERSION\n---\nimage: app\nfrom: alpine\n"
    text += "dependencies: [{image: db, after: setup, imports: [{type: ImageName, targetEnv: DB}]}]\n"
    before, after = plan(text), plan(text.replace("VERSION", "OTHER"))
    assert moved(before, after) == ["dependenciesAfterSetup"]
    work = get(before, "dependenciesAfterSetup").work
    assert isinstance(work, PutDependencies)
    assert work.dependencies[0].facts == (("ImageName", "DB"),)


def test_a_mount_is_an_input_of_from() -> None:
    assert moved(plan(WHOLE), plan(WHOLE.replace("from: tmp_dir", "from: build_dir"))) == ORDER


def test_a_mapping_without_files_is_refused() -> None:
    error = refuse("image: app\nfrom: alpine\ngit: [{add: /missing, to: /app}]\n")
    assert error.message == "expected a git mapping to take at least one file, found none at /missing"
    assert error.where is not None
    assert str(error.where) == "werf.yaml:6:7"


def test_a_submodule_that_is_not_checked_out_is_refused_with_what_to_run() -> None:
    error = refuse("image: app\nfrom: alpine\ngit: [{to: /app}]\n", {**FILES, "vendor": b""}, vendor="160000")
    assert error.message.startswith("expected the submodule 'vendor' to be checked out")
    assert "git submodule update --init --recursive" in error.hint


def test_a_malformed_glob_is_refused_where_the_mapping_stands() -> None:
    error = refuse("image: app\nfrom: alpine\ngit: [{to: /app, excludePaths: ['[a']}]\n")
    assert error.message.startswith("expected a glob, found '[a': ")


def test_two_mappings_with_one_target_have_labels_of_their_own() -> None:
    text = "image: app\nfrom: alpine\ngit:\n- {to: /app, includePaths: src}\n- {to: /app, includePaths: bin}\n"
    labels = [item.label for item in get(plan(text), "gitArchive").inputs]
    assert labels == ["git /app", "git /app (2)"]
