from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from ci_plugin.errors import AccessDenied, Gone, StagepinError, Unavailable
from ci_plugin.pins.drift import Drift, DriftReport, DriftState
from ci_plugin.pins.pin_set import Origin, Pin
from ci_plugin.values.digest import Digest
from ci_plugin.values.platform import DEFAULT_PLATFORM, Platform
from tests.unit.conveyor.project import ARM64, NOW, make_pin, make_pins

PIN = make_pin("alpine")
NEW = Digest.of(b"new")
BUILD_PLATFORM_PIN = replace(PIN, platforms={})
SYNTAX_PIN = replace(PIN, platforms={}, in_signature=False)


def drift(pin: Pin = PIN, moved: Mapping[Platform, Digest | None] | None = None, **fields: object) -> Drift:
    """The reference means another index now; ``moved`` gives the platforms whose manifest is another one."""
    made = Drift(pin, NEW, {**pin.platforms, **(moved or {})})
    return replace(made, **fields)  # type: ignore[arg-type]


def test_the_same_digest_is_unchanged() -> None:
    same = Drift(PIN, PIN.digest, PIN.platforms)
    assert (same.state, same.matters, same.has_another_digest) == (DriftState.UNCHANGED, False, False)


def test_an_index_that_moved_over_the_same_manifests_is_unchanged_for_us() -> None:
    same = drift()
    assert (same.state, same.matters, same.has_another_digest) == (DriftState.UNCHANGED, False, True)


def test_another_manifest_of_one_platform_moved_and_matters_signed_or_not() -> None:
    for pin in (PIN, replace(PIN, in_signature=False)):
        one = drift(pin, {DEFAULT_PLATFORM: NEW})
        assert (one.state, one.matters, one.moved_platforms) == (DriftState.MOVED, True, (DEFAULT_PLATFORM,))


def test_a_platform_that_the_index_has_no_more_moved() -> None:
    one = drift(PIN, {ARM64: None})
    assert (one.state, one.matters, one.moved_platforms) == (DriftState.MOVED, True, (ARM64,))


def test_where_the_index_itself_is_the_input_its_move_matters() -> None:
    assert (drift(BUILD_PLATFORM_PIN).state, drift(BUILD_PLATFORM_PIN).matters) == (DriftState.MOVED, True)
    mixed = drift(stages={"app": ("dockerfile",)})
    assert (mixed.state, mixed.matters, mixed.moved_platforms) == (DriftState.MOVED, True, ())


def test_the_image_of_syntax_moves_without_mattering() -> None:
    assert (drift(SYNTAX_PIN).state, drift(SYNTAX_PIN).matters) == (DriftState.MOVED, False)


def test_what_was_pinned_without_a_digest_moves_without_mattering() -> None:
    one = drift(replace(SYNTAX_PIN, digest=None, reason="expected to be let in"))
    assert (one.state, one.matters) == (DriftState.MOVED, False)


@pytest.mark.parametrize(
    ("failure", "state"),
    [(Gone("x"), DriftState.GONE), (AccessDenied("x"), DriftState.UNKNOWN), (Unavailable("x"), DriftState.UNKNOWN)],
    ids=["gone", "denied", "unavailable"],
)
def test_without_an_answer_nothing_has_moved(failure: StagepinError, state: DriftState) -> None:
    one = Drift(PIN, None, {}, failure)
    assert (one.state, one.matters, one.has_another_digest) == (state, False, False)


def test_the_images_are_those_of_the_origins_each_once_in_their_order() -> None:
    origins = tuple(Origin("from", image, "werf.yaml", line) for line, image in enumerate(("web", "app", "web"), 1))
    assert drift(replace(PIN, origin=origins)).images == ("web", "app")


def test_a_report_knows_which_moves_matter_and_whether_stages_have_to_be_told() -> None:
    moved, same = drift(PIN, {DEFAULT_PLATFORM: NEW}), Drift(PIN, PIN.digest, PIN.platforms, stages={})
    failed = Drift(PIN, None, {}, Gone("x"))
    assert DriftReport(make_pins(PIN), (same, moved, failed), NOW).that_matter == (moved,)
    assert DriftReport(make_pins(PIN), (same, moved), NOW).has_open_stages
    assert not DriftReport(make_pins(PIN), (same, failed), NOW).has_open_stages
