from __future__ import annotations

import pytest

from ci_plugin.engine.image_config import changed_config, exceeds_commit, exposed_ports, history_entries
from ci_plugin.ports import ImageChange


@pytest.mark.parametrize(
    ("text", "ports"),
    [
        ("80", ("80/tcp",)),
        ("53/udp", ("53/udp",)),
        ("53/UDP", ("53/udp",)),
        ("8000-8002", ("8000/tcp", "8001/tcp", "8002/tcp")),
        ("1-2/udp", ("1/udp", "2/udp")),
    ],
)
def test_ports_are_written_as_the_engine_wants_them(text: str, ports: tuple[str, ...]) -> None:
    assert exposed_ports(text) == ports


def test_the_parents_config_is_kept_whole() -> None:
    parent = {"StopSignal": "SIGQUIT", "OnBuild": ["RUN x"], "Shell": ["/bin/bash"], "Cmd": ["a"], "Entrypoint": None, "Env": ["A=1", "B"]}
    changed = changed_config(parent, ImageChange(env={"A": "2", "C": "x=y"}))
    assert changed == {**parent, "Entrypoint": [], "Env": ["A=2", "B=", "C=x=y"], "Labels": {}}


def test_nothing_and_empty_are_told_apart_for_cmd_and_entrypoint() -> None:
    parent = {"Cmd": ["a"], "Entrypoint": ["e"]}
    assert changed_config(parent, ImageChange())["Cmd"] == ["a"]
    emptied = changed_config(parent, ImageChange(cmd=(), entrypoint=()))
    assert (emptied["Cmd"], emptied["Entrypoint"]) == ([], [])


FULL = {
    "Env": ["A=1", "B=2"],
    "Labels": {"a": "1", "b": "2"},
    "Volumes": {"/a": {}, "/b": {}},
    "User": "web",
    "WorkingDir": "/srv",
    "Cmd": ["c"],
    "Healthcheck": {"Test": ["CMD", "x"], "Interval": 5, "Retries": 2},
}


@pytest.mark.parametrize(
    "change",
    [
        ImageChange(),
        ImageChange(env={"A": "9"}, labels={"a": "9"}, volumes=("/c",), user="root", cmd=(), author="me"),
        ImageChange(removed_env=("NEVER",), removed_labels=("never",), removed_volumes=("/never",)),
        ImageChange(removed_env=("A",), env={"A": "new"}),
        ImageChange(cleared=frozenset({"Cmd", "Entrypoint"})),
        ImageChange(cleared=frozenset({"User", "WorkingDir"}), user="me", workdir="/me"),
        ImageChange(healthcheck=("CMD", "y"), healthcheck_times={"Interval": 1, "Retries": 1}),
        ImageChange(healthcheck_times={"Timeout": 1}),
    ],
)
def test_what_a_commit_can_say(change: ImageChange) -> None:
    assert not exceeds_commit(FULL, change)


@pytest.mark.parametrize(
    "change",
    [
        ImageChange(removed_env=("A",)),
        ImageChange(removed_labels=("b",)),
        ImageChange(removed_volumes=("/a", "/b")),
        ImageChange(cleared=frozenset({"User"})),
        ImageChange(cleared=frozenset({"WorkingDir"}), user="me"),
        ImageChange(healthcheck=("NONE",)),
        ImageChange(clear_history=True),
    ],
)
def test_what_a_commit_would_fill_in_again(change: ImageChange) -> None:
    assert exceeds_commit(FULL, change)


def test_the_steps_with_a_layer_are_found_by_size_then_by_text() -> None:
    steps = [
        {"Created": 5, "CreatedBy": '/bin/sh -c #(nop)  CMD ["x"]', "Size": 0, "Comment": ""},
        {"Created": 4, "CreatedBy": "", "Size": 0, "Comment": "stagepin"},
        {"Created": 3, "CreatedBy": "", "Size": 0, "Comment": "stagepin: config"},
        {"Created": 2, "CreatedBy": "ENV A=1", "Size": 0},
        {"Created": 0, "CreatedBy": "/bin/sh -c #(nop) ADD file:1 in / ", "Size": 7},
    ]
    assert history_entries(steps, 2) == [
        {"created": "1970-01-01T00:00:00Z", "created_by": "/bin/sh -c #(nop) ADD file:1 in / "},
        {"created": "1970-01-01T00:00:02Z", "created_by": "ENV A=1", "empty_layer": True},
        {"created": "1970-01-01T00:00:03Z", "comment": "stagepin: config", "empty_layer": True},
        {"created": "1970-01-01T00:00:04Z", "comment": "stagepin"},
        {"created": "1970-01-01T00:00:05Z", "created_by": '/bin/sh -c #(nop)  CMD ["x"]', "empty_layer": True},
    ]


@pytest.mark.parametrize("layers", range(6))
def test_a_history_has_as_many_layers_as_the_image_or_is_none(layers: int) -> None:
    steps = [{"Created": number, "CreatedBy": "", "Size": 0} for number in range(4)]
    entries = history_entries(steps, layers)
    assert len([entry for entry in entries if "empty_layer" not in entry]) == (layers if layers <= 4 else 0)
