"""imageSpec: what the section does to the config of an image."""

from __future__ import annotations

from typing import Any

import pytest

from ci_plugin.config.parts import Healthcheck, ImageSpec
from ci_plugin.errors import ConfigError, Location
from ci_plugin.ports import ImageChange
from ci_plugin.services.stage_work.image_spec import expand, spec_change

WHERE = Location("werf.yaml", 3)
CONFIG = {
    "Env": ["PATH=/usr/bin:/bin", "LANG=C", "DEBUG=1", "EMPTY="],
    "Labels": {"maintainer": "Ann", "org.a": "1", "org.b": "2", "werf": "app", "werf-version": "v2", "stagepin.signature": "old"},
    "Volumes": {"/data": {}, "/var/lib": {}},
    "Cmd": ["run"],
}
OURS = {"stagepin.signature": "new", "stagepin.stage": "imageSpec"}


def change(**said: Any) -> ImageChange:
    return spec_change(ImageSpec(WHERE, **said), CONFIG, OURS)


def test_what_is_said_is_written() -> None:
    found = change(
        author="Ann",
        clear_history=True,
        cmd=("serve",),
        entrypoint=("/tini", "--"),
        expose=("80",),
        labels={"a": "b"},
        stop_signal="SIGQUIT",
        user="app",
        volumes=("/cache",),
        working_dir="/app",
    )
    assert found == ImageChange(
        labels={"a": "b", **OURS},
        author="Ann",
        clear_history=True,
        cmd=("serve",),
        entrypoint=("/tini", "--"),
        expose=("80",),
        stop_signal="SIGQUIT",
        user="app",
        volumes=("/cache",),
        workdir="/app",
    )


def test_nothing_said_changes_nothing_but_our_labels() -> None:
    assert change() == ImageChange(labels=OURS)


def test_a_health_check_comes_with_its_times() -> None:
    found = change(healthcheck=Healthcheck(("CMD", "/probe"), interval=5, retries=3))
    assert found.healthcheck == ("CMD", "/probe")
    assert found.healthcheck_times == {"Interval": 5, "Retries": 3}


@pytest.mark.parametrize(
    ("patterns", "removed"),
    [
        (("maintainer", "nobody"), ("maintainer",)),
        (("/org\\..*/",), ("org.a", "org.b")),
        (("/org/",), ()),
        (("/.*/",), ("maintainer", "org.a", "org.b", "werf", "werf-version")),
        (("stagepin.signature", "/stagepin.*/"), ()),
    ],
)
def test_labels_are_removed_by_name_or_by_a_pattern_of_the_whole_name_but_never_ours(
    patterns: tuple[str, ...], removed: tuple[str, ...]
) -> None:
    assert change(remove_labels=patterns).removed_labels == removed


def test_variables_and_volumes_are_removed_by_name_and_by_pattern() -> None:
    found = change(remove_env=("LANG", "/D.*/", "NONE"), remove_volumes=("/data", "/nowhere"))
    assert found.removed_env == ("DEBUG", "LANG")
    assert found.removed_volumes == ("/data",)


@pytest.mark.parametrize(
    ("flags", "removed"),
    [(("clearWerfLabels",), ("werf", "werf-version")), (("clearWerfLabels", "keepEssentialWerfLabels"), ("werf-version",))],
)
def test_the_labels_of_werf_go_all_or_all_but_what_its_clean_up_reads(flags: tuple[str, ...], removed: tuple[str, ...]) -> None:
    assert change(flags=frozenset(flags)).removed_labels == removed


def test_fields_are_cleared_and_an_entrypoint_alone_clears_the_command() -> None:
    flags = frozenset({"clearCmd", "clearEntrypoint", "clearUser", "clearWorkingDir"})
    assert change(flags=flags).cleared == {"Cmd", "Entrypoint", "User", "WorkingDir"}
    assert change(entrypoint=("/tini",)).cleared == {"Cmd"}
    assert change(entrypoint=("/tini",), cmd=("a",)).cleared == frozenset()


def test_a_pattern_that_is_none_is_refused_at_its_place() -> None:
    with pytest.raises(ConfigError) as caught:
        change(remove_env=("/(/",))
    assert caught.value.message.startswith("expected a regular expression between slashes, found '/(/': ")
    assert caught.value.hint == "correct it, or write the name without slashes"
    assert caught.value.where == WHERE


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("/app/bin:$PATH", "/app/bin:/usr/bin"),
        ("${PATH}:/app", "/usr/bin:/app"),
        ("$PATHS", ""),
        ("${NONE:-default}", "default"),
        ("${EMPTY:-default}", "default"),
        ("${PATH:-default}", "/usr/bin"),
        ("${PATH:+there}${NONE:+there}", "there"),
        (r"\$PATH costs 5\$", "$PATH costs 5$"),
        (r"a\b\\", "a\\b\\"),
        ("5$ and $", "5$ and $"),
        ("${unclosed", "${unclosed"),
    ],
)
def test_values_may_name_variables_of_the_parent(text: str, value: str) -> None:
    assert expand(text, {"PATH": "/usr/bin", "EMPTY": ""}) == value


def test_a_removed_variable_can_still_be_named() -> None:
    found = change(env={"OLD_LANG": "$LANG"}, remove_env=("LANG",))
    assert (found.env, found.removed_env) == ({"OLD_LANG": "C"}, ("LANG",))
