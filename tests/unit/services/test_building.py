"""Building: what is reused, what is made anew because it was lost, and what is told."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from ci_plugin.errors import AnswerIsNo, InputError
from ci_plugin.ports import StoredStage
from ci_plugin.records.stage_labels import parse_stage_labels
from ci_plugin.services.building import BuiltImage, BuiltImages, build_image
from ci_plugin.threads import thread_pool
from ci_plugin.values.finding import Severity
from tests.fakes.building import Found, Site, digests, files_of
from tests.fakes.source_tree import FakeSourceTree
from tests.fakes.stages_storage import MemoryStagesStorage

CHAIN = "image: app\nfromArchive: rootfs.tar\nshell:\n  beforeInstall: [a]\n  install: [b]\n  setup: [c]\n"
USER = """image: lib
fromArchive: lib.tar
fromCacheVersion: "{version}"
shell:
  install: [make lib {version}]
---
image: app
fromArchive: rootfs.tar
import:
- image: lib
  add: /usr/lib
  to: /srv/lib
  before: install
  includePaths: ["*.so"]
shell:
  install: [make app]
  setup: [test app]
docker:
  USER: app
---
image: web
fromImage: app
shell:
  install: [make web]
"""
FACTS = """image: lib
fromArchive: rootfs.tar
fromCacheVersion: "{version}"
---
image: app
fromArchive: rootfs.tar
dependencies:
- image: lib
  before: install
  imports:
  - {{type: {fact}, targetEnv: LIB}}
shell:
  install: [make app]
---
image: web
fromImage: app
shell:
  install: [make web]
"""


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def stages(built: Mapping[str, BuiltImage], name: str) -> dict[str, str]:
    """Stage → signature."""
    return {stage.name: stage.signature for stage in built[name].planned.stages}


def check_chain(site: Site, image: BuiltImage) -> None:
    """The labels of an image name its own plan's stages, each under a digest that is that stage."""
    labels = parse_stage_labels(image.stored.config.labels)
    planned = [(stage.name, stage.signature) for stage in image.planned.stages]
    assert [(item.name, item.signature) for item in labels.ancestors] + [(labels.stage, labels.signature)] == planned
    by_digest = {stage.descriptor.digest: stage for stage in site.storage.names.values() if stage.descriptor}
    for ancestor in labels.ancestors:
        assert ancestor.digest is not None
        assert parse_stage_labels(by_digest[ancestor.digest].config.labels).signature == ancestor.signature


class TestLostStages:
    def test_a_lost_parent_is_not_trusted_and_made_anew_from_an_earlier_one(self, site: Site) -> None:
        first = site.build(CHAIN)
        signatures = stages(first, "app")
        site.storage.lose(signatures["install"])
        site.built.clear()
        second = site.build(CHAIN.replace("[c]", "[d]"))
        assert site.built == [("app", "install"), ("app", "setup")]
        assert site.storage.replaced == [signatures["install"]]
        check_chain(site, second["app"])

    def test_if_all_are_lost_all_are_made_anew(self, site: Site) -> None:
        first = site.build(CHAIN)
        for signature in stages(first, "app").values():
            site.storage.lose(signature)
        second = site.build(CHAIN.replace("[c]", "[d]"))
        assert sorted(site.storage.replaced) == sorted(list(stages(first, "app").values())[:-1])
        check_chain(site, second["app"])

    def test_a_lost_stage_that_nothing_is_built_on_is_left_alone(self, site: Site) -> None:
        first = site.build(CHAIN)
        site.storage.lose(stages(first, "app")["setup"])
        assert digests(site.build(CHAIN)) == digests(first)
        assert site.storage.replaced == []

    def test_a_lost_image_is_made_anew_when_another_one_begins_with_it(self, site: Site) -> None:
        lib = "image: lib\nfromArchive: rootfs.tar\nshell:\n  install: [lib]\n---\n"
        user = "image: {}\nfromImage: lib\nfromCacheVersion: {}\nshell:\n  install: [make]\n"
        first = site.build(lib + user.format("app", 1) + "---\n" + user.format("web", 2))
        site.storage.lose(stages(first, "lib")["install"])
        second = site.build(lib + user.format("app", 3) + "---\n" + user.format("web", 4))
        assert second["lib"].stored.image_id != first["lib"].stored.image_id
        assert site.storage.replaced == [stages(first, "lib")["install"]]
        for name in ("app", "web"):
            assert second[name].labels.base.digest == digests(second)["lib"]

    def test_what_a_lost_image_was_built_on_is_made_anew_too(self, site: Site) -> None:
        one = "image: one\nfromArchive: rootfs.tar\nshell:\n  install: [one]\n---\n"
        two = "image: two\nfromImage: one\nshell:\n  install: [two]\n---\n"
        three = "image: three\nfromImage: two\nfromCacheVersion: {}\n"
        first = site.build(one + two + three.format(1))
        for name in ("one", "two"):
            for signature in stages(first, name).values():
                site.storage.lose(signature)
        second = site.build(one + two + three.format(2))
        assert second["two"].labels.base.digest == digests(second)["one"] != digests(first)["one"]
        assert second["three"].labels.base.digest == digests(second)["two"]

    def test_what_is_gone_for_another_reason_is_not_taken_for_a_lost_stage(self, site: Site) -> None:
        site.archive("lib.tar", {"bin/sh": b""})
        with pytest.raises(AnswerIsNo) as caught:
            site.build(USER.format(version=1).replace("/usr/lib", "/nowhere"))
        assert caught.value.message.startswith(
            "stage 'dependenciesBeforeInstall' of image 'app': expected /nowhere in image 'lib' to import"
        )
        assert str(caught.value.where) == "werf.yaml:13:3"
        assert site.storage.replaced == []


class TestReuse:
    def test_facts_that_did_not_change_do_not_rebuild_whoever_was_told_them(self, site: Site) -> None:
        first = site.build(FACTS.format(version=1, fact="ImageRepo"))
        ran = list(site.engine.ran)
        site.built.clear()
        second = site.build(FACTS.format(version=2, fact="ImageRepo"))
        assert site.engine.ran == ran
        assert site.built == [("lib", "from")]
        assert site.reused == [("app", "dependenciesBeforeInstall"), ("app", "install"), ("web", "from"), ("web", "install")]
        for name in ("app", "web"):
            assert second[name].planned.signature != first[name].planned.signature
            assert second[name].stored.config.diff_ids == first[name].stored.config.diff_ids
            check_chain(site, second[name])

    def test_a_fact_that_changed_rebuilds_all_that_follows(self, site: Site) -> None:
        site.build(FACTS.format(version=1, fact="ImageTag"))
        site.built.clear()
        site.build(FACTS.format(version=2, fact="ImageTag"))
        assert site.reused == []
        assert [stage for stage in site.built if stage[0] != "lib"] == [
            ("app", "dependenciesBeforeInstall"),
            ("app", "install"),
            ("web", "from"),
            ("web", "install"),
        ]

    def test_other_commands_of_a_later_stage_run(self, site: Site) -> None:
        site.build(FACTS.format(version=1, fact="ImageRepo"))
        site.built.clear()
        site.build(FACTS.format(version=2, fact="ImageRepo").replace("[make app]", "[make more]"))
        assert site.reused == [("app", "dependenciesBeforeInstall")]
        assert ("app", "install") in site.built

    @pytest.mark.parametrize(
        "said",
        ["fromCacheVersion: 2", "cacheVersion: 2", "mount:\n- {from: tmp_dir, to: /cache}"],
    )
    def test_what_is_to_run_everything_again_does_though_no_layer_shows_it(self, site: Site, said: str) -> None:
        config = FACTS.format(version=1, fact="ImageRepo")
        site.build(config)
        site.built.clear()
        site.build(config.replace("image: app\n", f"image: app\n{said}\n"))
        assert site.reused == []
        assert {("app", "install"), ("web", "install")} <= set(site.built)

    def test_a_reused_stage_says_who_built_it_first(self, site: Site) -> None:
        first = site.build(FACTS.format(version=1, fact="ImageRepo"))
        second = site.build(FACTS.format(version=2, fact="ImageRepo"))
        assert second["app"].labels.built_by == first["app"].labels.built_by

    def test_a_stage_under_a_reuse_key_that_is_not_its_own_is_a_miss(self, site: Site) -> None:
        first = site.build(FACTS.format(version=1, fact="ImageRepo"))
        for name in site.storage.names:
            if name.startswith("reuse-"):
                site.storage.names[name] = first["lib"].stored
        site.build(FACTS.format(version=2, fact="ImageRepo"))
        assert site.reused == []

    def test_a_reused_stage_whose_layers_are_lost_is_made_anew(self, site: Site) -> None:
        first = site.build(FACTS.format(version=1, fact="ImageRepo"))
        for signature in stages(first, "app").values():
            site.storage.lose(signature)
        site.built.clear()
        second = site.build(FACTS.format(version=2, fact="ImageRepo"))
        assert ("app", "install") in site.built
        check_chain(site, second["app"])

    def test_an_image_that_takes_nothing_from_others_has_no_reuse_key(self, site: Site) -> None:
        built = site.build(CHAIN)
        assert built["app"].labels.reuse == ""
        assert not [name for name in site.storage.names if name.startswith("reuse-")]


class TestImports:
    def test_files_of_another_image_are_in_the_image(self, site: Site) -> None:
        site.archive("lib.tar", {"bin/sh": b"", "usr/lib/a.so": b"a", "usr/lib/a.txt": b"t"}, {"usr/lib/a.so": 0o755})
        built = site.build(USER.format(version=1))
        found = files_of(site.engine, built["app"].stored.image_id, ("/srv",))
        assert {path: item for path, item in found.items() if item.kind == "file"} == {"/srv/lib/a.so": Found("file", 0o755, b"a")}

    def test_a_source_that_was_rebuilt_and_gives_equal_files_does_not_rebuild_its_users(self, site: Site) -> None:
        site.archive("lib.tar", {"bin/sh": b"", "usr/lib/a.so": b"a", "usr/lib/a.txt": b"t"})
        first = site.build(USER.format(version=1))
        site.archive("lib.tar", {"bin/sh": b"", "usr/lib/a.so": b"a", "usr/lib/a.txt": b"other, and not imported"})
        site.built.clear()
        second = site.build(USER.format(version=2))
        assert {image for image, _ in site.built} == {"lib"}
        assert second["web"].stored.config.diff_ids == first["web"].stored.config.diff_ids
        check_chain(site, second["web"])

    def test_a_reused_stage_keeps_the_listing_of_the_files_it_has(self, site: Site) -> None:
        config = USER.replace("docker:", "git:\n- {{add: /src, to: /app}}\ndocker:")
        site.archive("lib.tar", {"bin/sh": b"", "usr/lib/a.so": b"a"})
        site.build(config.format(version=1), {"src/old": b"1", "src/kept": b"1"})
        second = site.build(config.format(version=2), {"src/new": b"2", "src/kept": b"1"})
        assert ("app", "gitArchive") in site.reused
        assert set(files_of(site.engine, second["app"].stored.image_id, ("/app",))) == {"/app/new", "/app/kept"}

    @pytest.mark.parametrize(("data", "mode"), [(b"b", 0o644), (b"a", 0o755)], ids=["content", "permissions"])
    def test_a_changed_file_rebuilds_them(self, site: Site, data: bytes, mode: int) -> None:
        site.archive("lib.tar", {"bin/sh": b"", "usr/lib/a.so": b"a"})
        site.build(USER.format(version=1))
        site.archive("lib.tar", {"bin/sh": b"", "usr/lib/a.so": data}, {"usr/lib/a.so": mode})
        site.built.clear()
        site.build(USER.format(version=1))
        assert site.reused == []
        assert {image for image, _ in site.built} == {"lib", "app", "web"}

    def test_a_file_of_a_stage_that_is_not_the_last(self, site: Site) -> None:
        lib = "image: lib\nfromArchive: lib.tar\ngit:\n- {add: /src, to: /usr/lib}\nshell:\n  beforeInstall: ['true']\n---\n"
        app = "image: app\nfromArchive: rootfs.tar\nimport:\n- {image: lib, stage: beforeInstall, add: /usr/lib, to: /x, after: install}\n"
        site.archive("lib.tar", {"bin/sh": b"", "usr/lib/own": b"1"})
        built = site.build(lib + app, {"src/git": b"2"})
        found = files_of(site.engine, built["app"].stored.image_id, ("/x",))
        assert {path for path, item in found.items() if item.kind == "file"} == {"/x/own"}
        site.storage.lose(stages(built, "lib")["beforeInstall"])
        site.build(lib + app.replace("to: /x", "to: /y"), {"src/git": b"2"})
        assert stages(built, "lib")["beforeInstall"] in site.storage.replaced

    def test_globs_that_take_nothing_are_told_once(self, site: Site) -> None:
        site.archive("lib.tar", {"bin/sh": b"", "usr/lib/a.txt": b"t"})
        site.build(USER.format(version=1))
        (finding,) = site.findings
        assert (finding.rule, finding.severity) == ("import-leaves-out", Severity.WARNING)
        assert finding.message.startswith(
            "stage 'dependenciesBeforeInstall' of image 'app': the import of /usr/lib from image 'lib' takes nothing: "
        )


GIT = """image: app
fromArchive: rootfs.tar
git:
- add: /src
  to: /app
  stageDependencies: {install: [deps]}
shell:
  install: [make]
"""


class TestGit:
    def test_a_change_outside_the_dependencies_is_synced_and_runs_nothing(self, site: Site) -> None:
        site.build(GIT, {"src/deps": b"1", "src/a": b"1"})
        ran = list(site.engine.ran)
        site.built.clear()
        built = site.build(GIT, {"src/deps": b"1", "src/a": b"2"})
        assert (site.engine.ran, site.built) == (ran, [("app", "gitLatestPatch")])
        assert files_of(site.engine, built["app"].stored.image_id)["/app/a"].content == b"2"

    def test_a_change_inside_runs_the_stage_on_the_files_of_this_commit(self, site: Site) -> None:
        site.build(GIT, {"src/deps": b"1", "src/a": b"1"})
        site.built.clear()
        built = site.build(GIT, {"src/deps": b"2", "src/b": b"1"})
        assert site.built == [("app", "install"), ("app", "gitLatestPatch")]
        image, _ = site.engine.ran[-1]
        assert set(files_of(site.engine, image, ("/app",))) == {"/app/deps", "/app/b"}
        assert set(files_of(site.engine, built["app"].stored.image_id, ("/app",))) == {"/app/deps", "/app/b"}

    def test_a_patch_without_a_difference_adds_no_layer(self, site: Site) -> None:
        built = site.build(GIT, {"src/deps": b"1"})
        labels = built["app"].labels
        assert labels.stage == "gitLatestPatch"
        install = site.storage.names[labels.ancestors[-1].signature]
        assert built["app"].stored.config.diff_ids == install.config.diff_ids

    def test_a_lost_listing_makes_its_stages_anew(self, site: Site) -> None:
        first = site.build(GIT, {"src/deps": b"1", "src/a": b"1"})
        site.storage.documents.clear()
        site.built.clear()
        second = site.build(GIT, {"src/deps": b"1", "src/a": b"2"})
        assert site.built == [("app", "gitArchive"), ("app", "install"), ("app", "gitLatestPatch")]
        assert sorted(site.storage.replaced) == sorted([stages(first, "app")["gitArchive"], stages(first, "app")["install"]])
        assert files_of(site.engine, second["app"].stored.image_id)["/app/a"].content == b"2"

    def test_a_damaged_listing_is_no_listing(self, site: Site) -> None:
        site.build(GIT, {"src/deps": b"1", "src/a": b"1"})
        for name in site.storage.documents:
            site.storage.documents[name] = b'{"version": 1, "files": [["/app/a"]]}'
        site.built.clear()
        site.build(GIT, {"src/deps": b"1", "src/a": b"2"})
        assert ("app", "gitArchive") in site.built

    def test_a_stage_that_writes_tracked_files_it_does_not_depend_on_is_told_once_with_the_way_out(self, site: Site) -> None:
        names = [f"f{number}" for number in range(7)]
        writes = GIT.replace("[make]", f"[{', '.join(f'echo x > /app/{name}' for name in ['deps', 'own', *names])}]")
        built = site.build(writes, {f"src/{name}": b"1" for name in ["deps", *names]})
        (finding,) = site.findings
        assert (finding.rule, finding.severity) == ("stage-writes-tracked", Severity.WARNING)
        assert finding.message == (
            "stage 'install' of image 'app' writes 7 files from git that it does not depend on: "
            "/app/f0, /app/f1, /app/f2, /app/f3, /app/f4 and 2 more; when git changes one of them, the stage's version of it is lost"
        )
        assert finding.hint == (
            "add the paths to `git.stageDependencies.install`, or write elsewhere; instead of chown give the mapping `owner` and `group`"
        )
        assert files_of(site.engine, built["app"].stored.image_id)["/app/f0"].content == b"x\n"

    def test_what_a_stage_wrote_over_stays_until_git_changes_it(self, site: Site) -> None:
        writes = GIT.replace("[make]", "[echo x > /app/a]")
        site.build(writes, {"src/deps": b"1", "src/a": b"1"})
        second = site.build(writes, {"src/deps": b"1", "src/a": b"1", "src/b": b"1"})
        third = site.build(writes, {"src/deps": b"1", "src/a": b"2"})
        contents = [files_of(site.engine, built["app"].stored.image_id)["/app/a"].content for built in (second, third)]
        assert contents == [b"x\n", b"2"]

    def test_files_of_another_repository_are_read_there_and_those_of_the_more_specific_mapping_stand(self, site: Site) -> None:
        other = "- {url: 'https://git.example.com/lib.git', commit: " + "a" * 40 + ", add: /src, to: /app/lib}\n"
        site.repositories = {"https://git.example.com/lib.git": {"src/one": b"other", "src/two": b"2"}}
        config = GIT.replace("git:\n", "git:\n" + other)
        built = site.build(config, {"src/deps": b"1", "src/lib/one": b"own"})
        found = files_of(site.engine, built["app"].stored.image_id, ("/app",))
        contents = {path: item.content for path, item in found.items() if item.kind == "file"}
        assert contents == {"/app/deps": b"1", "/app/lib/one": b"other", "/app/lib/two": b"2"}

    def test_every_file_has_the_time_of_the_commit(self, site: Site) -> None:
        built = site.build(GIT, {"src/deps": b"1"}, modified=1_700_000_000)
        with site.engine.read_files(built["app"].stored.image_id, "/app/deps") as members:
            assert [member.mtime for member, _ in members] == [1_700_000_000]

    def test_an_image_on_another_one_leaves_alone_what_git_put_there(self, site: Site) -> None:
        child = "---\nimage: web\nfromImage: app\ngit:\n- {add: /web, to: /web}\n"
        built = site.build(GIT + child, {"src/deps": b"1", "web/page": b"1"})
        found = files_of(site.engine, built["web"].stored.image_id, ("/app", "/web"))
        assert set(found) == {"/app/deps", "/web/page"}


class _CountedStorage(MemoryStagesStorage):
    """Says when a signature was asked for twice."""

    asked_twice: threading.Event
    signature = ""
    count = 0

    def find(self, signature: str) -> StoredStage | None:
        if signature == self.signature:
            self.count += 1
            if self.count == 2:
                self.asked_twice.set()
        return super().find(signature)


class TestSideBySide:
    def test_what_two_images_share_is_made_once_although_both_found_it_missing(self, site: Site) -> None:
        plan = list(site.plan(CHAIN.replace("image: app", "image: [app, web]"), {}))
        site.storage = storage = _CountedStorage(site.engine)
        storage.asked_twice, storage.signature = threading.Event(), plan[0].stages[0].signature

        def wait_for_the_other(_image: str, _stage: str) -> None:
            assert storage.asked_twice.wait(20.0), "the other image never looked for its first stage"

        workshop = replace(site.workshop(FakeSourceTree({}), 1000), stage_begun=wait_for_the_other)
        with thread_pool(2) as pool:
            app, web = pool.map(lambda image: build_image(image, BuiltImages(), workshop), plan)
        assert [stage for _image, stage in site.built] == ["from", "beforeInstall", "install", "setup"]
        assert app.stored == web.stored
        check_chain(site, web)


class TestEngine:
    def test_what_interrupted_runs_left_is_removed_once_and_only_where_something_is_made(self, site: Site) -> None:
        site.engine.leftovers = ["stagepin-1"]
        site.build(CHAIN)
        assert (site.engine.leftovers, site.removed) == ([], ["stagepin-1"])
        site.engine.leftovers = ["stagepin-2"]
        site.build(CHAIN)
        assert site.engine.leftovers == ["stagepin-2"]

    def test_an_owner_the_image_does_not_know_is_refused_at_the_images_place(self, site: Site) -> None:
        with pytest.raises(InputError) as caught:
            site.build(GIT.replace("to: /app", "to: /app\n  owner: nobody-of-that-name"), {"src/deps": b"1"})
        assert "nobody-of-that-name" in caught.value.message
        assert str(caught.value.where) == "werf.yaml:4:8"
