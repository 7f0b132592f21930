"""One suite for what a stage's commands find around them and leave behind (``Engine.derive`` with settings, ``remove_leftovers``)."""

from __future__ import annotations

import hashlib
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from ci_plugin.engine.docker_engine import DockerEngine
from ci_plugin.errors import Gone, InputError, StageFailed
from ci_plugin.ports import EngineImage, FileChanges, ImageChange, LayerFile, MountedDirectory, PathChange, RunSettings
from tests.contract.engine_sites import Site
from tests.fakes.engine import FakeEngine

SECRET = b"s3cr3t-" + bytes(range(256)) + b"\n-----BEGIN KEY-----\n%s \\n '\" $HOME `id`\n"
SPOKEN = "canary-2f1c77"
"""Text that is looked for everywhere."""


def run(site: Site, commands: Sequence[str], settings: RunSettings = RunSettings()) -> tuple[EngineImage, list[str], list[PathChange]]:  # noqa: B008
    """The child, what was printed, what changed."""
    lines: list[str] = []
    changes: list[PathChange] = []
    child = site.engine.derive(site.start().id, ImageChange(), commands, lines.append, settings=settings, changed=changes.extend)
    return child, lines, changes


def has(site: Site, image: EngineImage, path: str) -> bool:
    """Whether an image has a path."""
    try:
        with site.engine.read_files(image.id, path):
            return True
    except Gone:
        return False


class TestChanges:
    def test_what_commands_did_to_files_is_told_sorted(self, site: Site) -> None:
        parent = site.engine.derive(site.start().id, ImageChange(), ["mkdir -p /d", "touch /d/kept", "touch /d/gone"]).id
        changes: list[PathChange] = []
        commands = ["echo new > /d/made", "rm /d/gone", "echo other > /d/kept"]
        site.engine.derive(parent, ImageChange(), commands, changed=changes.extend)
        assert changes == [
            PathChange("/d", "changed"),
            PathChange("/d/gone", "removed"),
            PathChange("/d/kept", "changed"),
            PathChange("/d/made", "added"),
        ]

    def test_commands_that_change_nothing_are_told_so(self, site: Site) -> None:
        told: list[Sequence[PathChange]] = []
        site.engine.derive(site.start().id, ImageChange(), ["true"], changed=told.append)
        assert [list(changes) for changes in told] == [[]]

    def test_nothing_is_told_of_a_stage_without_commands_or_one_that_failed(self, site: Site) -> None:
        told: list[Sequence[PathChange]] = []
        site.engine.derive(site.start().id, ImageChange(labels={"a": "b"}), changed=told.append)
        with pytest.raises(StageFailed):
            site.engine.derive(site.start().id, ImageChange(), ["touch /x", "false"], changed=told.append)
        assert told == []


class TestSecrets:
    def test_commands_read_a_secret_and_the_image_does_not_have_it(self, site: Site) -> None:
        settings = RunSettings(secrets={"token": f"{SPOKEN}\n".encode(), "other.pem": b"two\nlines"})
        child, lines, changes = run(site, ["cat /run/secrets/token", "cat /run/secrets/other.pem", "echo x > /made"], settings)
        assert lines == [SPOKEN, "two", "lines"]
        assert has(site, child, "/made")
        assert not has(site, child, "/run/secrets/token")
        assert not any("/run/secrets/" in change.path for change in changes)
        assert SPOKEN not in json.dumps([dict(child.config), dict(child.labels)])

    @pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../x", "a b", "é", "a\n", "$x"])
    def test_an_id_that_is_no_file_name_is_refused(self, site: Site, name: str) -> None:
        with pytest.raises(InputError, match="expected the id of a secret to be of the characters") as caught:
            run(site, ["true"], RunSettings(secrets={name: b"hidden"}))
        assert "hidden" not in caught.value.message + caught.value.hint
        assert caught.value.hint == "rename the secret"

    def test_settings_do_not_tell_their_secrets(self) -> None:
        assert SPOKEN not in repr(RunSettings(secrets={"a": SPOKEN.encode()}))


class TestMounts:
    def test_what_is_in_a_mounted_directory_does_not_enter_the_image(self, site: Site, tmp_path: Path) -> None:
        name = f"stagepin-contract-{uuid4().hex}"
        mounts = (
            MountedDirectory("fresh", "/one"),
            MountedDirectory("kept", "/two", name),
            MountedDirectory("host", "/three", str(tmp_path)),
        )
        commands = ["touch /one/x", "touch /two/x", "touch /three/x", "touch /made"]
        child, _, changes = run(site, commands, RunSettings(mounts=mounts))
        assert has(site, child, "/made")
        assert not any(has(site, child, f"/{where}/x") for where in ("one", "two", "three"))
        assert not any(change.path.endswith("/x") for change in changes)

    @pytest.mark.parametrize("target", ["", "relative", "/", "//", "/a/../b"])
    def test_a_mount_that_is_no_directory_below_the_root_is_refused(self, site: Site, target: str) -> None:
        with pytest.raises(InputError, match="expected a mount at an absolute path below the root") as caught:
            run(site, ["true"], RunSettings(mounts=(MountedDirectory("fresh", target),)))
        assert caught.value.hint


@pytest.mark.engine
class TestRealRuns:
    """What only a real container can get wrong."""

    @pytest.fixture(params=["busybox", "bash"])
    def shell(self, request: pytest.FixtureRequest, real: Site) -> EngineImage:
        """An image whose shell is busybox, and one that has this machine's bash too."""
        if request.param == "busybox":
            return real.start()
        needed = subprocess.run(["ldd", "/bin/bash"], capture_output=True, text=True, check=True).stdout.split()
        programs = [Path(word) for word in ["/bin/bash", *needed] if word.startswith("/")]
        written = [_program(path) for path in programs]
        return real.engine.put_files(real.start().id, FileChanges(written=written), ImageChange())

    def test_a_secret_arrives_byte_for_byte_for_root_alone(self, real: Site, shell: EngineImage) -> None:
        lines: list[str] = []
        commands = [
            "sha256sum /run/secrets/s /run/secrets/empty",
            "stat -c %a:%u:%g /run/secrets/s",
            "ls /run/secrets | wc -l",
            "wc -c < /run/secrets/s",
        ]
        big = bytes(range(256)) * 1000
        settings = RunSettings(secrets={"s": SECRET, "empty": b"", "big": big})
        real.engine.derive(shell.id, ImageChange(), [*commands, "sha256sum /run/secrets/big"], lines.append, settings=settings)
        assert lines[0].split() == [hashlib.sha256(SECRET).hexdigest(), "/run/secrets/s"]
        assert lines[1].split() == [hashlib.sha256(b"").hexdigest(), "/run/secrets/empty"]
        assert lines[2:5] == ["400:0:0", "3", str(len(SECRET))]
        assert lines[5].split()[0] == hashlib.sha256(big).hexdigest()

    def test_a_secret_and_a_command_are_nowhere_but_in_the_run(self, real: Site, docker_host: str) -> None:
        import docker

        seen: list[str] = []
        client = docker.APIClient(docker_host, version="auto")
        api: Any = client

        def look(_line: str) -> None:
            for container in client.containers(all=True):
                seen.append(json.dumps(api.inspect_container(container["Id"])))

        settings = RunSettings(secrets={"token": SPOKEN.encode()})
        commands = ["echo looked", "env", "set", f": command-{SPOKEN}", "cat /proc/1/cmdline", "test -s /run/secrets/token"]
        try:
            lines: list[str] = []

            def sink(line: str) -> None:
                lines.append(line)
                look(line)

            child = real.engine.derive(real.start().id, ImageChange(), commands, sink, settings=settings)
            everything = [json.dumps(api.inspect_image(str(child.id))), json.dumps(api.history(str(child.id))), *seen, *lines]
            saved = b"".join(client.get_image(str(child.id)))
        finally:
            client.close()
        assert any("looked" in line for line in lines)
        assert len(seen) > 0
        assert not any(SPOKEN in text for text in everything)
        assert SPOKEN.encode() not in saved

    def test_a_script_of_a_megabyte_runs_and_finds_no_input(self, real: Site, shell: EngineImage) -> None:
        lines: list[str] = []
        long = "# " + "x" * (1 << 20)
        real.engine.derive(
            shell.id, ImageChange(), [long, "cat", "echo 'ünï'", "read x || echo none", "exec 2>&1; echo $stagepin-"], lines.append
        )
        assert lines == ["ünï", "none", "-"]

    def test_a_shell_that_does_not_start_fails_the_stage_however_long_its_script(self, real: Site) -> None:
        parent = real.engine.derive(real.start().id, ImageChange(), ["ln -s busybox /bin/bash"])
        with pytest.raises(StageFailed, match="found exit code 127") as caught:
            real.engine.derive(parent.id, ImageChange(), ["#" + "x" * (2 << 20)])
        assert caught.value.output == "bash: applet not found"

    def test_an_image_with_a_shell_and_nothing_else_runs(self, real: Site) -> None:
        parent = real.engine.derive(
            real.start().id, ImageChange(), ["cd /bin && ls | while read n; do case $n in busybox|sh) ;; *) rm $n; esac; done"]
        )
        lines: list[str] = []
        text = 'for n in a b; do\n  echo "$n  \\\\ "\ndone'
        real.engine.derive(parent.id, ImageChange(), [text, "echo end"], lines.append, settings=RunSettings(secrets={"a": b"1"}))
        assert lines == ["a  \\ ", "b  \\ ", "end"]

    def test_a_fresh_directory_is_empty_a_kept_one_is_kept_and_a_host_one_is_the_hosts(self, real: Site, tmp_path: Path) -> None:
        (tmp_path / "given").write_text("from the host\n")
        name = f"stagepin-contract-{uuid4().hex}"
        mounts = (
            MountedDirectory("fresh", "/etc"),
            MountedDirectory("kept", "/cache", name),
            MountedDirectory("host", "/host", str(tmp_path)),
        )
        settings = RunSettings(mounts=mounts)
        _, first, _ = run(
            real, ["ls /etc | grep -v -e hosts -e hostname -e resolv.conf || true", "cat /host/given", "echo 1 > /cache/n"], settings
        )
        _, second, _ = run(real, ["cat /cache/n", "echo back > /host/taken"], settings)
        assert (first, second) == (["from the host"], ["1"])
        assert (tmp_path / "taken").read_text() == "back\n"

    def test_a_fresh_directory_leaves_no_volume(self, real: Site, docker_host: str) -> None:
        import docker

        client = docker.APIClient(docker_host, version="auto")
        try:
            before = {volume["Name"] for volume in client.volumes()["Volumes"] or ()}
            run(real, ["touch /one/x"], RunSettings(mounts=(MountedDirectory("fresh", "/one"),)))
            assert {volume["Name"] for volume in client.volumes()["Volumes"] or ()} <= before
        finally:
            client.close()

    def test_a_directory_the_engines_machine_lacks_is_the_callers_to_make(self, real: Site, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="no-such-directory") as caught:
            run(real, ["true"], RunSettings(mounts=(MountedDirectory("host", "/h", str(tmp_path / "no-such-directory")),)))
        assert caught.value.hint == "create the directory on the engine's machine, or correct the mount"

    def test_a_network_is_the_one_that_was_asked_for(self, real: Site) -> None:
        _, lines, _ = run(real, ["ls /sys/class/net"], RunSettings(network="none"))
        assert lines == ["lo"]
        with pytest.raises(InputError, match="expected the engine to have the network 'no-such-network'") as caught:
            run(real, ["true"], RunSettings(network="no-such-network"))
        assert "create the network" in caught.value.hint
        _, lines, _ = run(real, ["ls /sys/class/net | wc -l"], RunSettings(network="host"))
        assert int(lines[0]) >= 1

    def test_no_settings_leave_no_mark(self, real: Site) -> None:
        child, _, changes = run(real, ["true"])
        assert changes == []
        assert not has(real, child, "/run")


def _program(path: Path) -> LayerFile:
    data = path.read_bytes()
    return LayerFile(str(path), "file", 0o755, len(data), lambda: io.BytesIO(data))


class TestLeftovers:
    def test_nothing_is_left_where_nothing_ran(self, site: Site) -> None:
        site.engine.remove_leftovers()
        assert list(site.engine.remove_leftovers()) == []

    def test_the_fake_tells_what_it_was_told_to_have(self) -> None:
        engine = FakeEngine()
        engine.leftovers = ["stagepin-b", "stagepin-a"]
        assert engine.remove_leftovers() == ["stagepin-a", "stagepin-b"]
        assert engine.remove_leftovers() == []
        engine.dead = True
        assert engine.remove_leftovers() == []

    @pytest.mark.engine
    def test_the_container_of_a_killed_run_goes_and_that_of_a_living_one_stays(self, real: Site, docker_host: str) -> None:
        base = str(real.start().id)
        with _Runner(docker_host, base) as killed, _Runner(docker_host, base) as living:
            left, kept = killed.container(), living.container()
            os.kill(killed.process.pid, signal.SIGKILL)
            killed.process.wait()
            assert real.engine.remove_leftovers() == [left]
            assert _names(docker_host) == {kept}
            assert real.engine.remove_leftovers() == []
            os.kill(living.process.pid, signal.SIGKILL)
            living.process.wait()
            assert real.engine.remove_leftovers() == [kept]
            assert _names(docker_host) == set()

    @pytest.mark.engine
    def test_an_engine_that_is_not_there_is_no_error(self, tmp_path: Path) -> None:
        engine = DockerEngine(f"unix://{tmp_path}/nobody.sock", credentials=lambda _: None, environ={})
        assert engine.remove_leftovers() == []


class _Runner:
    """Another process of ours that runs a stage which does not end; ``container`` is the name of its container."""

    PROGRAM = """
import sys
from ci_plugin.engine.docker_engine import DockerEngine
from ci_plugin.ports import ImageChange
from ci_plugin.values.digest import ImageId
engine = DockerEngine(sys.argv[1], credentials=lambda _: None, environ={})
engine.derive(ImageId(sys.argv[2]), ImageChange(), ["hostname", "sleep 600"], lambda line: print(line, flush=True))
"""

    def __init__(self, docker_host: str, image: str) -> None:
        self._host = docker_host
        command = [sys.executable, "-c", self.PROGRAM, docker_host, image]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def __enter__(self) -> _Runner:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()

    def container(self) -> str:
        """Its name, when it runs."""
        assert self.process.stdout is not None
        hostname = self.process.stdout.readline().strip()
        return next(name for name, found in _containers(self._host).items() if found.startswith(hostname))


def _containers(docker_host: str) -> dict[str, str]:
    import docker

    client = docker.APIClient(docker_host, version="auto")
    try:
        found = client.containers(all=True, filters={"name": "^/?stagepin-"})
        return {container["Names"][0].lstrip("/"): container["Id"] for container in found}
    finally:
        client.close()


def _names(docker_host: str) -> set[str]:
    return set(_containers(docker_host))
