"""Drifting: what is asked, what each answer means, and whose stages a move would change."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from ci_plugin.config.model import Configuration
from ci_plugin.config.references import ConfigReference, list_references
from ci_plugin.conveyor.plan import Plan, make_plan
from ci_plugin.errors import AccessDenied, Bug, Gone, Location, StagepinError, Unavailable
from ci_plugin.forge.workspace import Workspace
from ci_plugin.pins.drift import Drift, DriftReport, DriftState
from ci_plugin.pins.pin_set import PinSet
from ci_plugin.registry.client import RegistryClient
from ci_plugin.services.drifting import ReadOnly, announce, find_drift, with_stages
from ci_plugin.services.resolving import resolve_pins
from ci_plugin.values.digest import Digest
from ci_plugin.values.manifest import Descriptor
from ci_plugin.values.platform import DEFAULT_PLATFORM, Platform
from ci_plugin.values.reference import Reference, parse_reference
from tests.fakes.clock import FakeClock
from tests.fakes.discussion import MemoryDiscussion
from tests.fakes.registry import FakeRegistry
from tests.fakes.registry_client import make_client, no_credentials
from tests.unit.conveyor.project import ARM64, MemoryProject, load, make_pin, make_pins

MARKER = "<!-- stagepin:drift:0123456789ab -->"


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    with FakeRegistry() as running:
        yield running


def reference(registry: FakeRegistry, name: str = "base/alpine") -> Reference:
    return parse_reference(f"{registry.address}/{name}")


def pin(registry: FakeRegistry, *names: str, platforms: Collection[Platform | None] = (DEFAULT_PLATFORM,)) -> PinSet:
    """The pins as the pin job makes them."""
    where = Location("werf.yaml", 5)
    uses = [ConfigReference(reference(registry, name), "from", "app", where, True, one) for name in names for one in platforms]
    pins = make_pins(*resolve_pins(uses, make_client(), FakeClock()))
    registry.requests.clear()
    return pins


def ask(pins: PinSet) -> tuple[Drift, ...]:
    return find_drift(pins, make_client(), FakeClock()).drifts


def asked(registry: FakeRegistry) -> list[str]:
    return sorted(str(request) for request in registry.requests)


def put_index(registry: FakeRegistry, *, attestation: bool = False, **seeds: str) -> Digest:
    """An index under ``base/alpine:latest``: a manifest for each platform (``amd64="1"``)."""
    children = {f"linux/{name}": registry.put_image("base/alpine", platform=f"linux/{name}", seed=seed) for name, seed in seeds.items()}
    return registry.put_index("base/alpine", "latest", children, attestation=attestation)


class TestAsking:
    def test_every_reference_is_asked_for_with_one_head_and_nothing_else_where_nothing_moved(self, registry: FakeRegistry) -> None:
        put_index(registry, amd64="1", arm64="1")
        registry.put_image("base/other", "latest")
        drifts = ask(pin(registry, "base/alpine", "base/other"))
        assert [drift.state for drift in drifts] == [DriftState.UNCHANGED] * 2
        assert asked(registry) == ["HEAD /v2/base/alpine/manifests/latest", "HEAD /v2/base/other/manifests/latest"]

    def test_an_index_that_moved_is_opened_with_one_get_by_digest(self, registry: FakeRegistry) -> None:
        put_index(registry, amd64="1")
        pins = pin(registry, "base/alpine")
        moved = put_index(registry, amd64="2")
        (drift,) = ask(pins)
        assert (drift.state, drift.current) == (DriftState.MOVED, moved)
        assert asked(registry) == [f"GET /v2/base/alpine/manifests/{moved}", "HEAD /v2/base/alpine/manifests/latest"]

    def test_a_single_manifest_that_moved_is_not_opened(self, registry: FakeRegistry) -> None:
        registry.put_image("base/alpine", "latest", seed="1")
        pins = pin(registry, "base/alpine")
        moved = registry.put_image("base/alpine", "latest", seed="2")
        (drift,) = ask(pins)
        assert (drift.state, drift.platforms) == (DriftState.MOVED, {DEFAULT_PLATFORM: moved})
        assert asked(registry) == ["HEAD /v2/base/alpine/manifests/latest"]

    def test_no_pins_ask_nobody(self, registry: FakeRegistry) -> None:
        assert ask(make_pins()) == ()


class TestAnswers:
    def test_an_attestation_that_moves_the_index_alone_changes_nothing_for_us(self, registry: FakeRegistry) -> None:
        put_index(registry, amd64="1", arm64="1")
        pins = pin(registry, "base/alpine", platforms=(DEFAULT_PLATFORM, ARM64))
        moved = put_index(registry, amd64="1", arm64="1", attestation=True)
        (drift,) = ask(pins)
        assert (drift.state, drift.current, drift.has_another_digest) == (DriftState.UNCHANGED, moved, True)
        assert not drift.matters

    def test_of_two_platforms_the_one_that_moved_is_named(self, registry: FakeRegistry) -> None:
        put_index(registry, amd64="1", arm64="1")
        pins = pin(registry, "base/alpine", platforms=(DEFAULT_PLATFORM, ARM64))
        put_index(registry, amd64="1", arm64="2")
        (drift,) = ask(pins)
        assert (drift.state, drift.moved_platforms) == (DriftState.MOVED, (ARM64,))

    def test_a_platform_that_nobody_builds_may_move_as_it_likes(self, registry: FakeRegistry) -> None:
        put_index(registry, amd64="1", arm64="1")
        pins = pin(registry, "base/alpine")
        put_index(registry, amd64="1", arm64="2")
        assert ask(pins)[0].state is DriftState.UNCHANGED

    def test_a_platform_that_the_index_lost_has_no_manifest_now(self, registry: FakeRegistry) -> None:
        put_index(registry, amd64="1", arm64="1")
        pins = pin(registry, "base/alpine", platforms=(DEFAULT_PLATFORM, ARM64))
        put_index(registry, amd64="1")
        (drift,) = ask(pins)
        assert (drift.state, drift.platforms[ARM64]) == (DriftState.MOVED, None)

    def test_an_index_that_gave_way_to_its_own_manifest_is_unchanged_for_us(self, registry: FakeRegistry) -> None:
        put_index(registry, amd64="1")
        pins = pin(registry, "base/alpine")
        registry.put_image("base/alpine", "latest", platform="linux/amd64", seed="1")
        assert ask(pins)[0].state is DriftState.UNCHANGED

    @pytest.mark.parametrize("order", [("arm64/v8", "arm64"), ("arm64", "arm64/v8")])
    def test_an_index_with_two_entries_for_a_platform_is_read_as_the_pin_read_it(
        self, registry: FakeRegistry, order: tuple[str, str]
    ) -> None:
        def put(attestation: bool) -> None:
            children = {f"linux/{name}": registry.put_image("base/alpine", platform=f"linux/{name}", seed=name) for name in order}
            registry.put_index("base/alpine", "latest", children, attestation=attestation)

        put(attestation=False)
        pins = pin(registry, "base/alpine", platforms=(ARM64,))
        put(attestation=True)
        (drift,) = ask(pins)
        assert (drift.state, drift.has_another_digest) == (DriftState.UNCHANGED, True)

    def test_a_base_of_the_engines_own_platform_moves_with_its_index(self, registry: FakeRegistry) -> None:
        put_index(registry, amd64="1")
        pins = pin(registry, "base/alpine", platforms=(None,))
        put_index(registry, amd64="1", attestation=True)
        (drift,) = ask(pins)
        assert (drift.state, drift.matters) == (DriftState.MOVED, True)
        assert asked(registry) == ["HEAD /v2/base/alpine/manifests/latest"]

    def test_a_reference_written_by_digest_never_moves(self, registry: FakeRegistry) -> None:
        digest = registry.put_image("base/alpine", "latest", seed="1")
        pins = pin(registry, f"base/alpine@{digest}")
        registry.put_image("base/alpine", "latest", seed="2")
        assert ask(pins)[0].state is DriftState.UNCHANGED

    def test_what_was_pinned_without_a_digest_and_is_there_now_moved_and_enters_no_stage(self, registry: FakeRegistry) -> None:
        digest = registry.put_image("base/alpine", "latest")
        missing = replace(make_pin(str(reference(registry))), digest=None, platforms={}, in_signature=False, reason="absent")
        (drift,) = ask(make_pins(missing))
        assert (drift.state, drift.current, drift.matters, drift.stages) == (DriftState.MOVED, digest, False, {})


class TestFailures:
    STATUSES: Mapping[int, tuple[type[StagepinError], DriftState]] = {
        404: (Gone, DriftState.GONE),
        403: (AccessDenied, DriftState.UNKNOWN),
        503: (Unavailable, DriftState.UNKNOWN),
    }

    @pytest.mark.parametrize("status", STATUSES)
    def test_one_reference_without_an_answer_stops_no_other(self, registry: FakeRegistry, status: int) -> None:
        digest = registry.put_image("base/alpine", "latest")
        registry.put_image("base/other", "latest", seed="1")
        pins = pin(registry, "base/alpine", "base/other")
        registry.put_image("base/other", "latest", seed="2")
        if status == 404:
            registry.delete("base/alpine", digest)
        else:
            registry.fail(status=status, path="/base/alpine/", times=None)
        failed, moved = ask(pins)
        kind, state = self.STATUSES[status]
        assert (type(failed.failure), failed.state, failed.current, failed.stages) == (kind, state, None, None)
        assert moved.state is DriftState.MOVED

    def test_an_index_that_cannot_be_opened_is_not_known_to_have_moved_for_us(self, registry: FakeRegistry) -> None:
        put_index(registry, amd64="1")
        pins = pin(registry, "base/alpine")
        moved = put_index(registry, amd64="2")
        registry.fail(status=503, method="GET", path=str(moved), times=None)
        (drift,) = ask(pins)
        assert (drift.state, drift.current) == (DriftState.UNKNOWN, moved)

    def test_an_index_that_vanishes_while_it_is_asked_for_is_not_known_either(self, registry: FakeRegistry) -> None:
        put_index(registry, amd64="1")
        pins = pin(registry, "base/alpine")
        moved = put_index(registry, amd64="2")
        registry.fail(status=404, method="GET", path=str(moved), times=None, headers={"Docker-Distribution-Api-Version": "registry/2.0"})
        (drift,) = ask(pins)
        assert drift.state is DriftState.UNKNOWN
        assert drift.failure is not None
        assert "found it absent right after it was asked for" in drift.failure.message
        assert drift.failure.hint == "the registry may still be receiving it; ask again"

    def test_where_no_registry_answers_at_all_the_run_is_unavailable(self, registry: FakeRegistry) -> None:
        registry.put_image("base/alpine", "latest")
        registry.put_image("base/other", "latest")
        pins = pin(registry, "base/alpine", "base/other")
        registry.fail(status=503, times=None)
        with pytest.raises(
            Unavailable, match=r"expected an answer for one of 2 pinned references at least, found none: expected the digest"
        ):
            ask(pins)

    def test_a_refusal_is_an_answer(self, registry: FakeRegistry) -> None:
        registry.put_image("base/alpine", "latest")
        registry.put_image("base/other", "latest")
        pins = pin(registry, "base/alpine", "base/other")
        registry.fail(status=403, path="/base/alpine/", times=None)
        registry.fail(status=503, path="/base/other/", times=None)
        assert [drift.state for drift in ask(pins)] == [DriftState.UNKNOWN] * 2

    def test_a_mistake_of_ours_is_not_taken_for_a_silent_registry(self, registry: FakeRegistry) -> None:
        registry.put_image("base/alpine", "latest")
        pins = pin(registry, "base/alpine")

        class Broken(RegistryClient):
            def resolve(self, references: Collection[Reference]) -> Mapping[Reference, Descriptor | StagepinError]:
                return {reference: Bug("ours") for reference in references}

        with pytest.raises(Bug, match="ours"):
            find_drift(pins, Broken(no_credentials, clock=FakeClock()), FakeClock())


CHAIN = """\
project: p
configVersion: 1
---
image: bottom
from: base
fromLatest: true
shell:
  install: [make]
---
image: top
fromImage: middle
---
image: middle
fromImage: bottom
shell:
  setup: [make]
---
image: beside
from: other
fromLatest: true
---
image: frozen
from: base
"""


class TestStages:
    @staticmethod
    def report(configuration: Configuration, moved: Collection[str], files: MemoryProject, index: str = "") -> DriftReport:
        """The pins of a configuration, and these references moved."""
        uses = list_references(configuration, files, lambda image: (DEFAULT_PLATFORM,))
        pins = {use.reference: make_pin(str(use.reference)) for use in uses}
        drifts = []
        for one in pins.values():
            now = make_pin(str(one.reference), "" if index else "moved", index=index) if str(one.reference) in moved else one
            drifts.append(Drift(one, now.digest, dict(now.platforms), stages={} if now is one else None))
        report = DriftReport(make_pins(*pins.values()), tuple(drifts), FakeClock().now())
        return with_stages(report, uses, planning(configuration, files))

    def stages(self, text: str, *moved: str, index: str = "") -> Mapping[str, Mapping[str, tuple[str, ...]] | None]:
        """Reference → the stages that change, of ``werf.yaml`` or of a Dockerfile."""
        name = "werf.yaml" if "configVersion" in text else "Dockerfile"
        files = MemoryProject({name: text.encode()})
        drifts = self.report(load(files.files), moved, files, index).drifts
        return {str(drift.pin.reference).rpartition("/")[2]: drift.stages for drift in drifts}

    def test_a_move_changes_its_stage_all_after_it_and_all_images_on_top(self) -> None:
        found = self.stages(CHAIN, "docker.io/library/base:latest")
        assert found == {
            "base:latest": {"bottom": ("from", "install"), "top": ("from",), "middle": ("from", "setup")},
            "other:latest": {},
        }

    def test_each_move_is_charged_with_its_own_stages_alone(self) -> None:
        found = self.stages(CHAIN, "docker.io/library/base:latest", "docker.io/library/other:latest")
        assert found["other:latest"] == {"beside": ("from",)}
        assert "beside" not in (found["base:latest"] or {})

    def test_a_frozen_base_changes_no_stage(self) -> None:
        assert self.stages("project: p\nconfigVersion: 1\n---\nimage: app\nfrom: base\n", "docker.io/library/base:latest") == {
            "base:latest": {}
        }

    def test_every_reference_of_a_dockerfile_is_in_its_one_stage(self) -> None:
        text = "FROM one AS builder\nFROM two\nCOPY --from=builder /a /a\nCOPY --from=three /b /b\n"
        moved = [f"docker.io/library/{name}:latest" for name in ("one", "two", "three")]
        assert self.stages(text, *moved) == {f"{name}:latest": {"app": ("dockerfile",)} for name in ("one", "two", "three")}

    def test_an_index_that_moved_alone_changes_only_the_stage_it_is_itself_an_input_of(self) -> None:
        moved = "docker.io/library/base:latest"
        assert self.stages("FROM base\n", moved, index="attested") == {"base:latest": {}}
        text = "FROM --platform=$BUILDPLATFORM base AS tools\nFROM base\nCOPY --from=tools /a /a\n"
        assert self.stages(text, moved, index="attested") == {"base:latest": {"app": ("dockerfile",)}}

    def test_the_stages_on_a_platform_that_the_index_lost_are_named_too(self) -> None:
        files = MemoryProject({"Dockerfile": b"FROM base\n"})
        configuration = load(files.files)
        lost = make_pin("base")
        drift = Drift(lost, Digest.of(b"new"), {DEFAULT_PLATFORM: None, ARM64: lost.platforms[ARM64]})
        report = DriftReport(make_pins(lost), (drift,), FakeClock().now())
        uses = list_references(configuration, files, lambda image: (DEFAULT_PLATFORM,))
        (told,) = with_stages(report, uses, planning(configuration, files)).drifts
        assert told.stages == {"app": ("dockerfile",)}

    def test_only_images_that_can_change_are_planned_again(self) -> None:
        files = MemoryProject({"werf.yaml": CHAIN.encode()})
        configuration = load(files.files)
        uses = list_references(configuration, files, lambda image: (DEFAULT_PLATFORM,))
        base, other = make_pin("base"), make_pin("other")
        report = DriftReport(make_pins(base, other), (Drift(other, Digest.of(b"new"), dict(other.platforms)),), FakeClock().now())
        planned: list[Collection[str]] = []

        def counting(pins: PinSet, names: Collection[str]) -> Plan:
            planned.append(names)
            return planning(configuration, files)(pins, names)

        with_stages(report, uses, counting)
        assert planned == [(), ["beside"]]

    def test_a_platform_that_moved_alone_concerns_the_stages_of_that_platform(self) -> None:
        files = MemoryProject({"werf.yaml": b"project: p\nconfigVersion: 1\n---\nimage: app\nfrom: base\nfromLatest: true\n"})
        configuration = load(files.files)
        both = (DEFAULT_PLATFORM, ARM64)
        uses = list_references(configuration, files, lambda image: both)
        pin = make_pin("base")
        moved = Drift(pin, Digest.of(b"new"), {**pin.platforms, ARM64: Digest.of(b"moved")})
        attested = Drift(pin, Digest.of(b"new"), dict(pin.platforms))
        found = [
            with_stages(
                DriftReport(make_pins(pin), (drift,), FakeClock().now()),
                uses,
                lambda pins, names: make_plan(configuration, pins, files, names, both),
            )
            .drifts[0]
            .stages
            for drift in (moved, attested)
        ]
        assert found == [{"app": ("from",)}, {}]


def planning(configuration: Configuration, files: MemoryProject) -> Callable[[PinSet, Collection[str]], Plan]:
    return lambda pins, names: make_plan(configuration, pins, files, names, (DEFAULT_PLATFORM,))


class TestAnnouncing:
    @staticmethod
    def report(*, moved: bool) -> DriftReport:
        one = make_pin("alpine")
        now = make_pin("alpine", "moved") if moved else one
        return DriftReport(make_pins(one), (Drift(one, now.digest, dict(now.platforms)),), FakeClock().now())

    def test_what_moved_becomes_one_comment_that_later_runs_write_over(self) -> None:
        discussion = MemoryDiscussion()
        discussion.say("looks good")
        for body in ("first", "second", "third"):
            assert announce(self.report(moved=True), discussion, MARKER, f"{MARKER}\n{body}") == "#note_1"
        assert discussion.comments == ["looks good", f"{MARKER}\nthird"]

    def test_nothing_moved_and_no_earlier_comment_writes_none(self) -> None:
        discussion = MemoryDiscussion()
        assert announce(self.report(moved=False), discussion, MARKER, f"{MARKER}\nnone moved") is None
        assert discussion.comments == []

    def test_nothing_moved_any_more_brings_an_earlier_comment_up_to_date(self) -> None:
        discussion = MemoryDiscussion()
        announce(self.report(moved=True), discussion, MARKER, f"{MARKER}\none moved")
        announce(self.report(moved=False), discussion, MARKER, f"{MARKER}\nnone moved")
        assert discussion.comments == [f"{MARKER}\nnone moved"]

    def test_a_comment_that_somebody_else_wrote_with_our_marker_is_left_alone(self) -> None:
        discussion = MemoryDiscussion()
        discussion.say(f"{MARKER}\nmine")
        announce(self.report(moved=True), discussion, MARKER, f"{MARKER}\nours")
        assert discussion.comments == [f"{MARKER}\nmine", f"{MARKER}\nours"]


def test_a_workspace_that_is_read_is_left_as_it_is(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    workspace.write_pins(b"pins")
    workspace.write_record(b"record")
    reader = ReadOnly(workspace)
    reader.write_pins(b"others")
    reader.write_record(b"others")
    assert (reader.read_pins(), reader.read_record()) == (b"pins", b"record")
    assert (reader.pins_path, reader.record_path) == (workspace.pins_path, workspace.record_path)
    assert (workspace.read_pins(), workspace.read_record()) == (b"pins", b"record")
