from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from ci_plugin.demo.rig import busybox_rootfs, find_engine, start_engine, start_registry
from ci_plugin.demo.rootfs import busybox_rootfs as rootfs_of
from ci_plugin.errors import InputError


def test_a_missing_engine_program_is_named_with_its_package(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected the program dockerd, found none on PATH") as caught:
        start_engine(tmp_path, search_path=str(tmp_path))
    assert caught.value.hint == "install it (Debian package docker.io)"


def test_a_missing_registry_program_is_named_with_its_package(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected the program docker-registry, found none on PATH") as caught:
        start_registry(tmp_path, search_path=str(tmp_path))
    assert caught.value.hint == "install it (Debian package docker-registry)"


def test_an_address_where_nothing_answers_is_no_engine(tmp_path: Path) -> None:
    assert find_engine({"DOCKER_HOST": f"unix://{tmp_path}/none.sock"}) is None
    assert find_engine({"DOCKER_HOST": "tcp://127.0.0.1:1"}) is None


def test_a_root_filesystem_is_the_same_every_time_and_differs_by_its_version() -> None:
    assert busybox_rootfs("1") == busybox_rootfs("1")
    first, second = _members(busybox_rootfs("1")), _members(busybox_rootfs("2"))
    assert {name for name in first if first[name] != second[name]} == {"etc/stagepin-base"}
    assert {"bin/sh", "bin/env", "bin/test", "bin/id", "bin/sleep"} <= first.keys() == second.keys()
    assert second["etc/stagepin-base"] == b"2\n"


def _members(data: bytes) -> dict[str, bytes | None]:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        files = {entry.name: tar.extractfile(entry) if entry.isfile() else None for entry in tar}
        return {name: file.read() if file else None for name, file in files.items()}


@pytest.mark.parametrize("content", [None, b"\x7fELF .../lib64/ld-linux-x86-64.so.2..."], ids=["missing", "dynamic"])
def test_a_busybox_that_cannot_stand_alone_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "busybox"
    if content:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"expected a (statically linked )?busybox") as caught:
        rootfs_of("1", path)
    assert caught.value.hint == "install it (Debian package busybox-static)"


@pytest.mark.engine
def test_an_engine_that_was_killed_leaves_no_process_and_no_mount(tmp_path: Path) -> None:
    directory = tmp_path / ("long" * 20)
    with start_engine(directory) as engine:
        run = Path(engine.docker_host.removeprefix("unix://")).parent
        engine.kill()
    assert not run.exists()
    mounts = Path("/proc/self/mountinfo").read_text()
    assert str(directory) not in mounts
    assert str(run) not in mounts
    commands = [_command(entry) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    assert not any(str(run).encode() in command for command in commands)


def _command(entry: Path) -> bytes:
    try:
        return (entry / "cmdline").read_bytes()
    except OSError:
        return b""
