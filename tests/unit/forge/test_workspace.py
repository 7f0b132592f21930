from __future__ import annotations

import os
import resource
import signal
from pathlib import Path

import pytest

from ci_plugin.errors import DocumentError, InputError
from ci_plugin.forge.clock import SystemClock
from ci_plugin.forge.workspace import Workspace, write_whole
from ci_plugin.values.document import LARGEST_DOCUMENT


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_an_empty_workspace_has_no_documents_and_stays_empty(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    assert workspace.read_pins() is None
    assert workspace.read_record() is None
    assert names(tmp_path) == []


def test_documents_are_read_as_they_were_written(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    for data in b"one", b"two":
        workspace.write_pins(data)
        workspace.write_record(data + b" record")
    assert (workspace.read_pins(), workspace.read_record()) == (b"two", b"two record")
    assert names(tmp_path / ".stagepin") == [".gitignore", "build.json", "pins.json"]


def test_the_directory_is_never_committed(tmp_path: Path) -> None:
    Workspace(tmp_path).start_log("app", "install")
    assert (tmp_path / ".stagepin" / ".gitignore").read_bytes() == b"*\n"


def make_link(path: Path) -> None:
    path.symlink_to("/etc/passwd")


@pytest.mark.parametrize(("make", "kind"), [(make_link, "a symbolic link"), (os.mkfifo, "a FIFO"), (Path.mkdir, "a directory")])
def test_a_pin_file_that_is_no_regular_file_is_neither_read_nor_replaced(tmp_path: Path, make: object, kind: str) -> None:
    workspace = Workspace(tmp_path)
    workspace.write_record(b"")
    assert callable(make)
    make(workspace.pins_path)
    with pytest.raises(DocumentError, match=rf"expected a regular file, found {kind}") as caught:
        workspace.read_pins()
    assert str(caught.value.where) == str(workspace.pins_path)
    with pytest.raises(InputError, match=rf"expected a regular file to write to, found {kind}"):
        workspace.write_pins(b"")


def test_a_directory_that_is_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / ".stagepin").symlink_to("elsewhere")
    workspace = Workspace(tmp_path)
    with pytest.raises(DocumentError, match=r"expected a directory of stagepin's own, found a symbolic link") as caught:
        workspace.write_pins(b"")
    assert caught.value.hint == f"remove it: rm {tmp_path}/.stagepin"
    with pytest.raises(DocumentError):
        workspace.read_pins()
    assert names(tmp_path / "elsewhere") == []


def test_a_file_where_the_directory_should_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / ".stagepin").write_bytes(b"")
    with pytest.raises(InputError, match=r"found: File exists"):
        Workspace(tmp_path).write_pins(b"")


def test_a_document_above_the_limit_is_refused(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    workspace.write_pins(b"")
    os.truncate(workspace.pins_path, LARGEST_DOCUMENT + 1)
    with pytest.raises(DocumentError, match=rf"expected a document of at most {LARGEST_DOCUMENT} bytes, found {LARGEST_DOCUMENT + 1}"):
        workspace.read_pins()


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "pins.json"
    write_whole(path, b"old")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        with pytest.raises(InputError, match=r"pins\.json to be readable and writable, found: File too large") as caught:
            write_whole(path, b"x" * 10_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert "free space" in caught.value.hint
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["pins.json"]


def test_writing_into_a_missing_directory_names_the_path(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"expected .*/absent/env to be readable and writable, found: No such file") as caught:
        write_whole(tmp_path / "absent" / "env", b"")
    assert str(caught.value.where) == str(tmp_path / "absent" / "env")
    assert caught.value.hint == "make its directory first (mkdir -p)"


def test_a_device_is_not_replaced() -> None:
    with pytest.raises(InputError, match=r"expected a regular file to write to, found a device or socket"):
        write_whole(Path("/dev/null"), b"")


def test_a_written_file_may_be_read_by_whom_the_umask_allows(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_whole(tmp_path / "a", b"")
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640


def test_the_clock_gives_whole_seconds_in_utc() -> None:
    clock = SystemClock()
    now = clock.now()
    assert now.microsecond == 0
    assert now.isoformat().endswith("+00:00")
    clock.sleep(0)
    clock.sleep(-1)


def test_a_committed_link_does_not_lead_a_job_log_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("precious")
    workspace = Workspace(tmp_path)
    log = workspace.start_log("app", "install")
    assert (log, log.read_bytes()) == (tmp_path / ".stagepin" / "logs" / "app-install.log", b"")
    log.unlink()
    log.symlink_to(tmp_path / "precious")
    with pytest.raises(InputError, match="expected a regular file to write to, found a symbolic link"):
        workspace.start_log("app", "install")
    assert (tmp_path / "precious").read_text() == "precious"


def test_images_of_two_names_have_two_job_logs(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    logs = {workspace.start_log(name, "install") for name in ("group/app", "group_app", "")}
    assert {log.parent for log in logs} == {tmp_path / ".stagepin" / "logs"}
    assert len(logs) == 3
