"""Sentences about what changed between a plan and a record, over plans in memory."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from ci_plugin.conveyor.plan import Plan, PlannedImage, make_plan
from ci_plugin.pins.pin_set import PinSet
from ci_plugin.records.build_record import BaseRecord, BaseState, BuildRecord, BuiltBy, ImageRecord, PlatformRecord, StageRecord
from ci_plugin.services.explaining import Comparison
from ci_plugin.values.digest import Digest, ImageId
from ci_plugin.values.pipeline import PipelineId, Scope
from ci_plugin.values.platform import DEFAULT_PLATFORM
from tests.fakes.source_tree import COMMIT
from tests.unit.conveyor.project import NOW, MemoryProject, load, make_pin, make_pins

OLD = make_pins(make_pin("alpine", "old", [DEFAULT_PLATFORM]))
NEW = make_pins(make_pin("alpine", "new", [DEFAULT_PLATFORM]))
META = "project: p\nconfigVersion: 1\n---\n"
GIT = (
    "image: app\nfrom: alpine\nshell:\n  install: [make]\ngit:\n- add: /src\n  to: /app\n  owner: root\n"
    "  stageDependencies:\n    install: [deps.lock]\n"
)
TAKES = (
    "image: builder\nfrom: alpine\nfinal: {final}\nshell:\n  install: [{command}]\n---\n"
    "image: app\nfrom: alpine\nimport:\n- image: builder\n  add: /made\n  to: {to}\n  after: setup\n"
)
FILES = {"src/main.c": b"1", "src/deps.lock": b"1"}


def plan_of(text: str, pins: PinSet = OLD, **files: bytes) -> Plan:
    """The plan of a configuration over files, by their paths with ``_`` for ``/`` and ``.``."""
    changed = {path: files.get(path.replace("/", "_").replace(".", "_"), data) for path, data in FILES.items()}
    project = MemoryProject({"werf.yaml": (META + text).encode(), **changed}, archives={"rootfs.tar": files.get("rootfs", b"1")})
    return make_plan(load(project.files), pins, project)


def record_of(plan: Plan, base: BaseRecord | None = None) -> BuildRecord:
    """What a build of that plan leaves."""
    pipeline = PipelineId("gitlab", "gitlab.example.com", "4711", "group/app", "1000")
    images = {
        image.name: ImageRecord(None, None, "", (), {platform: _recorded(planned, base) for platform, planned in image.platforms.items()})
        for image in plan.by_image
        if image.is_deployable
    }
    return BuildRecord(Scope("pipeline:1000"), pipeline, COMMIT, None, "", complete=True, published=False, images=images)


def _recorded(planned: PlannedImage, base: BaseRecord | None) -> PlatformRecord:
    stages = tuple(
        StageRecord(stage.name, stage.signature, None, False, 0, tuple((item.label, item.hash) for item in stage.inputs))
        for stage in planned.stages
    )
    found = base or BaseRecord("docker.io/library/alpine:latest", OLD.pins[0].platforms[DEFAULT_PLATFORM], BaseState.PINNED, ())
    return PlatformRecord(planned.signature, None, ImageId.of(b""), BuiltBy("pipeline:1000", COMMIT), found, stages)


def sentences(before: BuildRecord, plan: Plan, pins: PinSet = OLD, minutes: int = 12, name: str = "app") -> list[str]:
    """What is said of an image, some minutes after its pins were made."""
    comparison = Comparison(plan, before, pins, NOW + timedelta(minutes=minutes))
    planned = plan.get(name)
    recorded = comparison.find(planned)
    assert recorded is not None
    return [change.sentence for change in comparison.explain(planned, recorded)]


def test_nothing_is_said_where_nothing_changed() -> None:
    assert sentences(record_of(plan_of(GIT)), plan_of(GIT)) == []


def test_files_outside_the_stage_dependencies_are_told_where_they_enter() -> None:
    assert sentences(record_of(plan_of(GIT)), plan_of(GIT, src_main_c=b"2")) == [
        'stage "gitLatestPatch" of "app" changed because the content of the git files mapped to /app changed (now 2 files)'
    ]


def test_files_that_a_stage_depends_on_are_told_as_such() -> None:
    first, *_ = sentences(record_of(plan_of(GIT)), plan_of(GIT, src_deps_lock=b"2"))
    assert first == (
        'stage "install" of "app" changed because the content of the files mapped to /app that `stageDependencies` names changed '
        "(now 1 file)"
    )


def test_a_mapping_that_changed_is_no_change_of_files() -> None:
    first, *_ = sentences(record_of(plan_of(GIT)), plan_of(GIT.replace("owner: root", "owner: app")))
    assert first == 'stage "gitArchive" of "app" changed because the mapping of git files to /app changed (now /src)'


def takes(*, command: str = "make", to: str = "/made", final: str = "true") -> str:
    return TAKES.format(command=command, to=to, final=final)


def test_an_image_that_is_taken_from_is_followed_to_the_stage_that_changed() -> None:
    assert sentences(record_of(plan_of(takes())), plan_of(takes(command="make more"))) == [
        'stage "dependenciesAfterSetup" of "app" changed because image "builder" changed: its stage "install" changed because '
        "commands changed (now 1 item)"
    ]


def test_what_changed_in_an_image_no_record_has_is_not_guessed() -> None:
    before, after = takes(final="false"), takes(final="false", command="make more")
    assert sentences(record_of(plan_of(before)), plan_of(after)) == [
        'stage "dependenciesAfterSetup" of "app" changed because image "builder" changed '
        "(only deployed images are in a build record: what changed in it is not known)"
    ]


def test_what_is_taken_may_change_too() -> None:
    (sentence,) = sentences(record_of(plan_of(takes())), plan_of(takes(to="/other")))
    assert sentence == (
        'stage "dependenciesAfterSetup" of "app" changed because what is imported to /other was added (/made of builder); '
        "what is imported to /made was removed"
    )


def test_what_is_followed_is_followed_once() -> None:
    chain = "image: lib\nfrom: alpine\nfromCacheVersion: {}\n---\nimage: mid\nfromImage: lib\n---\nimage: app\nfromImage: mid\n"
    assert sentences(record_of(plan_of(chain.format(1))), plan_of(chain.format(2))) == [
        'stage "from" of "app" changed because image "mid" changed: its stage "from" changed because image "lib" changed'
    ]


def test_an_archive_is_told_by_both_its_layers() -> None:
    text = "image: app\nfromArchive: rootfs.tar\n"
    base = BaseRecord("rootfs.tar", None, BaseState.ARCHIVE, (Digest.of(b"1"),))
    assert sentences(record_of(plan_of(text), base), plan_of(text, rootfs=b"2")) == [
        f'stage "from" of "app" changed because its archive changed from {Digest.of(b"1")} to {Digest.of(b"2")}'
    ]


def test_a_digest_the_record_does_not_hold_is_not_made_up() -> None:
    text = "image: app\nfrom: alpine\nfromLatest: true\n"
    other = BaseRecord("docker.io/library/alpine:latest", Digest.of(b"kept"), BaseState.KEPT, ())
    (sentence,) = sentences(record_of(plan_of(text), other), plan_of(text, NEW), NEW)
    moved = NEW.pins[0].platforms[DEFAULT_PLATFORM]
    assert sentence == (
        f'stage "from" of "app" changed because docker.io/library/alpine:latest moved to {moved} (pinned by pipeline 1001, 12 minutes ago)'
    )


@pytest.mark.parametrize(
    ("minutes", "age"),
    [(-5, "just now"), (0, "just now"), (1, "1 minute ago"), (119, "119 minutes ago"), (120, "2 hours ago"), (2880, "2 days ago")],
)
def test_the_age_of_the_pins_is_told_in_one_unit(minutes: int, age: str) -> None:
    text = "image: app\nfrom: alpine\nfromLatest: true\n"
    assert sentences(record_of(plan_of(text)), plan_of(text, NEW), NEW, minutes)[0].endswith(f"(pinned by pipeline 1001, {age})")


@pytest.mark.parametrize(
    ("scope", "told"), [("commit:" + "a" * 40, "for commit aaaaaaaaaaaa"), ("local", "at this desk"), ("train", "in scope train")]
)
def test_who_pinned_is_told_in_the_words_of_the_scope(scope: str, told: str) -> None:
    text, pins = "image: app\nfrom: alpine\nfromLatest: true\n", replace(NEW, scope=Scope(scope))
    assert f"(pinned {told}, 12 minutes ago)" in sentences(record_of(plan_of(text)), plan_of(text, pins), pins)[0]


def test_a_signature_that_moved_without_an_input_is_another_versions() -> None:
    before = record_of(plan_of("image: app\nfrom: alpine\n"))
    (platform,) = before.images["app"].platforms.values()
    object.__setattr__(platform.stages[0], "signature", "0" * 64)
    assert sentences(before, plan_of("image: app\nfrom: alpine\n")) == [
        'stage "from" of "app" changed because the way of making stage signatures changed with stagepin\'s version'
    ]
