from __future__ import annotations

import subprocess

import pytest

from ci_plugin.engine.commits import changed_config, exposed_ports, shell_script, split_lines
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


@pytest.mark.parametrize("shell", [["/bin/sh"], ["/bin/bash"]])
@pytest.mark.parametrize(
    ("commands", "code", "output"),
    [
        (["true", "echo a"], 0, "a\n"),
        (["false && true", "echo a"], 1, ""),
        (["(exit 9)", "echo a"], 9, ""),
        (["cd /", "pwd"], 0, "/\n"),
        (["X=1", "echo $X"], 0, "1\n"),
        (["if false; then echo no; fi", "echo a"], 0, "a\n"),
        (["echo a \\", "echo b # x", "exit 3"], 3, "a\nb\n"),
        (["f() { false; echo in; }", "f", "echo a"], 1, ""),
    ],
)
def test_a_script_stops_at_the_first_failure_in_any_shell(shell: list[str], commands: list[str], code: int, output: str) -> None:
    done = subprocess.run([*shell, "-e", "-c", shell_script(commands)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (code, output)


def test_lines_are_put_together_from_any_chunks() -> None:
    data = "eins\r\nzwölf\n\nopen".encode()
    assert list(split_lines(data[i : i + 1] for i in range(len(data)))) == ["eins", "zwölf", "", "open"]
    assert list(split_lines([data])) == ["eins", "zwölf", "", "open"]
    assert list(split_lines([b"\xff\n"])) == ["\N{REPLACEMENT CHARACTER}"]
    assert list(split_lines([])) == []
