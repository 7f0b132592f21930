"""Who made a container, and when nobody needs it any more."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from ci_plugin.engine.containers import Maker, is_left_behind, parse_maker

HERE, ELSEWHERE = "0123456789ab", "ba9876543210"
HOUR, DAY = 3600, 86400


def test_a_name_tells_who_made_it() -> None:
    maker = Maker.this()
    assert maker.pid == os.getpid()
    assert maker.new_name() != maker.new_name()
    assert parse_maker(maker.new_name()) == parse_maker("/" + maker.new_name()) == maker
    assert maker.is_alive()


@pytest.mark.parametrize(
    "name",
    [
        "",
        "stagepin",
        "stagepin-",
        "stagepin-my-database",
        "stagepin-0123456789abcdef",
        f"x-{Maker(HERE, 1, 2).new_name()}",
        "stagepin-zz-1-2-3",
    ],
)
def test_a_name_of_somebody_else_is_never_ours(name: str) -> None:
    assert parse_maker(name) is None


def test_a_process_that_ended_is_not_alive_and_a_later_one_of_its_number_is_another() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        place, this = Maker.this().place, Maker.this()
        assert Maker(place, process.pid, 0).is_alive()
        assert not Maker(place, process.pid, this.start + 10**9).is_alive()
    assert not Maker(place, process.pid, 0).is_alive()
    assert not Maker(place, process.pid, 1).is_alive()


def test_a_process_that_nobody_has_waited_for_is_gone() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", "print(open('/proc/self/stat').read().split()[21])"], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    start = int(process.stdout.readline())
    process.stdout.read()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert not Maker(HERE, process.pid, start).is_alive()
    process.wait()
    process.stdout.close()


@pytest.mark.parametrize("running", [True, False])
def test_here_the_process_decides_whatever_the_age(running: bool) -> None:
    this = Maker.this()
    assert not is_left_behind(this, this.place, running, 10 * DAY)
    assert is_left_behind(Maker(this.place, this.pid, this.start + 1), this.place, running, 0)


@pytest.mark.parametrize(
    ("running", "age", "left"), [(False, HOUR - 1, False), (False, HOUR + 1, True), (True, DAY - 1, False), (True, DAY + 1, True)]
)
def test_elsewhere_age_decides(running: bool, age: float, left: bool) -> None:
    assert is_left_behind(Maker(ELSEWHERE, 1, 1), HERE, running, age) is left
