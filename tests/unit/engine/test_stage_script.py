from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from ci_plugin.engine.stage_script import ENTRYPOINT, check_settings, shell_script, stage_input
from ci_plugin.ports import MountedDirectory, RunSettings


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


SECRET = bytes(range(256)) + b"%s \\n -- '\" $HOME `id`\n"


def _start(shell: Sequence[str], text: bytes, path: str) -> subprocess.CompletedProcess[bytes]:
    """The container's entrypoint with another shell in the place of /bin/sh, its input and its PATH."""
    *_, choose, read = ENTRYPOINT
    return subprocess.run(
        [*shell, "-c", choose.replace("/bin/sh", " ".join(shell)), read], input=text, capture_output=True, env={"PATH": path}
    )


@pytest.mark.parametrize("shell", [["/bin/sh"], ["/bin/bash"], ["/bin/busybox", "sh"]], ids=["sh", "bash", "busybox"])
@pytest.mark.parametrize("path", ["/usr/bin:/bin", "/nowhere"], ids=["with cat and bash", "with neither"])
class TestEntrypoint:
    def test_the_script_runs_whole_and_its_commands_read_nothing(self, shell: list[str], path: str) -> None:
        text = stage_input(
            ["x='é  \\\\ '", 'printf "%s\\n" "$x|$stagepin|$line|"', "read y || echo none", "f() {\n\n  echo in\n}\nf", "# end \\"], {}
        )
        done = _start(shell, text, path)
        assert (done.stdout.decode(), done.stderr, done.returncode) == ("é  \\\\ |||\nnone\nin\n", b"", 0)

    def test_a_failure_ends_it_with_its_code(self, shell: list[str], path: str) -> None:
        done = _start(shell, stage_input(["echo a", "(exit 7)", "echo b"], {}), path)
        assert (done.stdout, done.returncode) == (b"a\n", 7)

    def test_output_and_errors_come_in_the_order_they_were_written(self, shell: list[str], path: str) -> None:
        done = _start(shell, stage_input(["echo a", "echo b >&2", "echo c", "exit 7"], {}), path)
        assert (done.stdout, done.stderr, done.returncode) == (b"a\nb\nc\n", b"", 7)

    @pytest.mark.parametrize("cut", [1, 5, 20, 60, 10_000])
    def test_a_part_of_a_script_is_never_begun(self, shell: list[str], path: str, cut: int) -> None:
        done = _start(shell, stage_input(["echo ran", "echo again"], {})[: -cut - 1], path)
        assert (done.stdout, done.returncode) == (b"", 125)
        assert b"found a part of them" in done.stderr

    def test_a_secret_is_written_byte_for_byte(self, shell: list[str], path: str, tmp_path: Path) -> None:
        text = stage_input(["echo done"], {"a.b_c-d": SECRET, "empty": b"", "long": SECRET * 40})
        done = _start(shell, text.replace(b"/run/secrets", str(tmp_path).encode()), path)
        assert (done.stdout, done.stderr, done.returncode) == (b"done\n", b"", 0)
        assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == {"a.b_c-d": SECRET, "empty": b"", "long": SECRET * 40}
        assert {file.stat().st_mode & 0o777 for file in tmp_path.iterdir()} == {0o400}


def test_settings_that_a_container_can_have_are_no_error() -> None:
    check_settings(
        RunSettings((MountedDirectory("fresh", "/a b/.c"), MountedDirectory("host", "/x/", "/y")), {"A.b_c-1": b"", "...": b""}, "none")
    )
