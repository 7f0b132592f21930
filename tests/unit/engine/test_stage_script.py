from __future__ import annotations

import subprocess

import pytest

from ci_plugin.engine.stage_script import shell_script


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
