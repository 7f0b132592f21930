"""What a build shows while it runs: rows on a terminal, lines in a log."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Callable

import pytest

from ci_plugin.reports.console import Console, Style
from ci_plugin.reports.live_rows import LiveRows
from ci_plugin.reports.progress import Progress
from ci_plugin.reports.redaction import Redactor
from tests.unit.reports.test_console import FixedClock


class Terminal(io.StringIO):
    """A terminal that knows "n lines up" and "erase below"; ``screen`` is what a person sees."""

    def isatty(self) -> bool:
        return True

    @property
    def screen(self) -> list[str]:
        lines: list[str] = [""]
        for part in self.getvalue().split("\x1b["):
            text = part
            if part.endswith("F") and part[:-1].isdigit():
                del lines[len(lines) - 1 - int(part[:-1]) :]
                lines.append("")
                continue
            if part.startswith("J"):
                text = part[1:]
            first, *others = text.split("\n")
            lines[-1] += first
            lines += others
        return lines[:-1]


def make_console(stream: io.StringIO, style: Style = "plain", verbosity: int = 0, *, is_dumb: bool = False) -> Console:
    return Console(
        io.StringIO(),
        stream,
        style=style,
        verbosity=verbosity,
        redactor=Redactor(["canary-secret"]),
        clock=FixedClock(),
        is_dumb=is_dumb,
    )


def ticking(*times: float) -> Callable[[], float]:
    left = list(times)
    return lambda: left.pop(0) if len(left) > 1 else left[0]


def test_a_row_tells_image_stage_and_time() -> None:
    progress = Progress(make_console(io.StringIO()), {"app": ["from", "install", "setup"], "database": ["from"]}, ticking(0, 10, 85))
    progress.stage_begun("app", "install")
    assert progress.rows() == ["  app  [2/3] install  1 min 15 s", "  0 of 2 images ready, 1 waiting  1 min 25 s"]


def test_ready_images_are_counted_and_have_no_row() -> None:
    progress = Progress(make_console(io.StringIO()), {"app": ["from"], "db": ["from"]}, ticking(0))
    progress.stage_begun("app", "from")
    progress.stage_built("app", "from", 1.0)
    progress.image_ended("app")
    assert progress.rows() == ["  1 of 2 images ready, 1 waiting  0 s"]


def test_rows_stand_below_what_is_printed_and_are_gone_in_the_end() -> None:
    terminal = Terminal()
    console = make_console(terminal)
    progress = Progress(console, {"app": ["from", "setup"]}, ticking(0))
    with progress.shown():
        progress.stage_begun("app", "from")
        console.event("an event")
        assert terminal.screen == ["an event", "  app  [1/2] from  0 s", "  0 of 1 images ready, 0 waiting  0 s"]
        progress.stage_built("app", "from", 2.0)
    assert terminal.screen == ["an event", "app: stage from built in 2.0 s"]


def test_rows_are_gone_when_an_error_ends_the_build() -> None:
    terminal = Terminal()
    with pytest.raises(KeyboardInterrupt), Progress(make_console(terminal), {"app": ["from"]}).shown():
        raise KeyboardInterrupt
    assert terminal.screen == []
    assert [thread.name for thread in threading.enumerate() if thread.name == "stagepin-live"] == []


def test_nothing_is_drawn_where_no_terminal_is() -> None:
    for stream, style, verbosity, is_dumb in (
        (io.StringIO(), "plain", 0, False),
        (Terminal(), "gitlab", 0, False),
        (Terminal(), "plain", -1, False),
        (Terminal(), "plain", 0, True),
    ):
        console = make_console(stream, "gitlab" if style == "gitlab" else "plain", verbosity, is_dumb=is_dumb)
        with Progress(console, {"app": ["from"]}).shown():
            console.result("x")
        assert "\x1b[" not in stream.getvalue()
        assert "images ready" not in stream.getvalue()


def test_rows_show_no_secret_and_no_control_character() -> None:
    terminal = Terminal()
    console = make_console(terminal)
    with console.live(lambda: ["canary-secret \x1b[2J end"]):
        console.event("event")
        assert "canary-secret" not in terminal.getvalue()
        assert "\x1b[2J" not in terminal.getvalue()


def test_rows_are_cut_to_the_terminal() -> None:
    rows = LiveRows(io.StringIO(), lambda: ["x" * 50] * 30, lambda: os.terminal_size((20, 10)))
    drawn = rows.draw().splitlines()
    assert drawn == ["x" * 19] * 8
    assert rows.erase() == "\x1b[8F\x1b[J"
    assert rows.erase() == ""


def test_a_terminal_that_was_told_no_size_has_a_usual_one() -> None:
    leader, follower = os.openpty()
    os.close(leader)
    with os.fdopen(follower, "w") as terminal:
        assert LiveRows(terminal, lambda: ["x" * 100]).draw() == "x" * 79 + "\n"


def test_what_stages_printed_stands_together_in_a_section_each() -> None:
    stream = io.StringIO()
    progress = Progress(make_console(stream, "github", 1), {"a": ["install"], "b": ["install"]}, ticking(0))
    for image in ("a", "b"):
        progress.stage_begun(image, "install")
    for image in ("a", "b", "a"):
        progress.add_line(image, f"line of {image}")
    progress.stage_built("b", "install", 1.0)
    progress.stage_built("a", "install", 2.0)
    assert stream.getvalue().splitlines()[2:] == [
        "::group::b: stage install built in 1.0 s",
        "  | line of b",
        "::endgroup::",
        "::group::a: stage install built in 2.0 s",
        "  | line of a",
        "  | line of a",
        "::endgroup::",
    ]


def test_without_sections_lines_are_shown_as_they_come_and_say_whose_they_are() -> None:
    stream = io.StringIO()
    progress = Progress(make_console(stream, verbosity=1), {"a": ["install"], "b": ["install"]}, ticking(0))
    progress.stage_begun("a", "install")
    progress.add_line("a", "a line")
    progress.stage_built("a", "install", 1.0)
    assert stream.getvalue().splitlines() == ["a: stage install begins", "  | a: a line", "a: stage install built in 1.0 s"]
