"""The event file: read with a limit, and where it is missing or garbage that is a fault with a reason, not an error."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ci_plugin.forge.event import NO_EVENT, Event, load_event


def load(path: Path | str, name: str = "pull_request") -> Event:
    return load_event({"GITHUB_EVENT_NAME": name, "GITHUB_EVENT_PATH": str(path)})


def test_the_payload_is_read_where_an_answer_is_in_it(tmp_path: Path) -> None:
    file = tmp_path / "event.json"
    file.write_text('{"number": 7}')
    assert load(file) == Event({"number": 7}, "")
    assert load(file, "push") is NO_EVENT


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (b"", "is no JSON document"),
        (b"<html>", "is no JSON document"),
        (b'{"a": 1', "is no JSON document"),
        (b'{"a": 1, "a": 2}', "is no JSON document"),
        (b"\xff\xfe", "is no JSON document"),
        (b"[" * 200_000, "is no JSON document"),
        (b'{"a": ' + b"1" * 5000 + b"}", "is no JSON document"),
        (b"[]", "holds no JSON object"),
        (b"null", "holds no JSON object"),
    ],
)
def test_garbage_is_a_fault(tmp_path: Path, data: bytes, fault: str) -> None:
    file = tmp_path / "event.json"
    file.write_bytes(data)
    assert load(file) == Event(None, f"{file} {fault}")


def test_a_file_that_is_missing_or_none_is_a_fault_and_hangs_nothing(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    missing = tmp_path / "missing"
    assert load(missing).fault == f"{missing} cannot be read: No such file or directory"
    assert load(tmp_path).fault == f"{tmp_path} cannot be read: no regular file"
    assert load(fifo).fault == f"{fifo} cannot be read: no regular file"
    assert load("").fault == "GITHUB_EVENT_PATH is not set"


def test_a_file_that_is_too_large_is_a_fault(tmp_path: Path) -> None:
    file = tmp_path / "event.json"
    with file.open("wb") as sparse:
        sparse.truncate(32 * 1024 * 1024 + 1)
    assert load(file).fault == f"{file} cannot be read: more than 33554432 bytes"
