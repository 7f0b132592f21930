from __future__ import annotations

import pytest

from ci_plugin.engine.image_config import changed_config, exposed_ports
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
