from __future__ import annotations

import io
import json
from datetime import UTC, datetime

import pytest

from ci_plugin.errors import ConfigError, InputError, Location, StageFailed
from ci_plugin.reports.console import Console, LogFormat, Style, wants_color
from ci_plugin.reports.redaction import Redactor

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
UNIX = 1767323045


class FixedClock:
    def now(self) -> datetime:
        return NOW

    def sleep(self, seconds: float) -> None:
        raise AssertionError("a console never waits")


class Printed:
    """A console over two strings."""

    def __init__(
        self,
        style: Style = "plain",
        log_format: LogFormat = "text",
        verbosity: int = 0,
        color: bool = False,
        directory: str = ".",
    ) -> None:
        self._out, self._err = io.StringIO(), io.StringIO()
        self.console = Console(
            self._out,
            self._err,
            style=style,
            log_format=log_format,
            verbosity=verbosity,
            color=color,
            redactor=Redactor(["canary-secret"]),
            clock=FixedClock(),
            directory=directory,
        )

    @property
    def out(self) -> str:
        return self._out.getvalue()

    @property
    def err(self) -> list[str]:
        return self._err.getvalue().splitlines()


def test_events_go_to_stderr_and_results_to_stdout() -> None:
    printed = Printed()
    printed.console.event("pinned alpine", digest="sha256:00")
    printed.console.detail("asked the registry")
    printed.console.result('{"a": 1}')
    printed.console.result("line\n")
    assert printed.err == ["pinned alpine"]
    assert printed.out == '{"a": 1}\nline\n'


def test_verbose_runs_show_details_and_fields() -> None:
    printed = Printed(verbosity=1)
    printed.console.event("pinned", digest="sha256:00")
    printed.console.detail("asked", seconds=1.5)
    assert printed.err == ["pinned digest=sha256:00", "asked seconds=1.5"]


def test_quiet_runs_show_results_warnings_and_errors_alone() -> None:
    printed = Printed(verbosity=-1)
    with printed.console.section("build", "Build"):
        printed.console.event("pinned")
        printed.console.build_output("step 1")
    printed.console.result("yes")
    printed.console.warning("slow")
    printed.console.error(InputError("expected a, found b", hint="write a"))
    assert printed.out == "yes\n"
    assert printed.err == ["warning: slow", "error: expected a, found b", "  next: write a"]


def test_an_error_has_three_parts() -> None:
    printed = Printed()
    printed.console.error(ConfigError("expected a, found b", hint="add:\nvariables:\n  A: 1", where=Location("werf.yaml", 4)))
    assert printed.err == [
        "error: expected a, found b",
        "  at: werf.yaml:4",
        "  next: add:",
        "    variables:",
        "      A: 1",
    ]


def test_an_error_on_github_annotates_the_line() -> None:
    printed = Printed(style="github")
    printed.console.error(ConfigError("100% a\nb", hint="do, this: now", where=Location("dir,x:y%/werf.yaml", 4)))
    assert printed.err[-1] == "::error file=dir%2Cx%3Ay%25/werf.yaml,line=4::100%25 a%0Ab%0Ado, this: now"


def test_with_a_project_directory_lines_are_named_from_where_the_command_was_started() -> None:
    printed = Printed(style="github", directory="services/api")
    printed.console.error(ConfigError("expected a base", where=Location("werf.yaml", 4)))
    printed.console.error(InputError("expected pins", where=Location("stages storage registry.example.com/app")))
    assert "  at: services/api/werf.yaml:4" in printed.err
    assert "::error file=services/api/werf.yaml,line=4::expected a base" in printed.err
    assert "  at: stages storage registry.example.com/app" in printed.err


@pytest.mark.parametrize("file", ["https://registry.example.com/v2/", "$CI_PIPELINE_ID"])
def test_a_place_that_is_no_file_is_no_annotated_file(file: str) -> None:
    printed = Printed(style="github")
    printed.console.error(InputError("no", where=Location(file)))
    assert printed.err == ["error: no", f"  at: {file}", "::error::no"]


def test_warnings_are_annotated_on_github_only() -> None:
    printed, plain = Printed(style="github"), Printed()
    printed.console.warning("slow")
    plain.console.warning("slow")
    assert printed.err == ["warning: slow", "::warning::slow"]
    assert plain.err == ["warning: slow"]


@pytest.mark.parametrize("style", ["plain", "gitlab", "github"])
def test_foreign_text_gives_no_command_and_no_escape_sequence(style: Style) -> None:
    hostile = "::set-env name=A::b\r\n ::add-mask::x\x1b[2J##[error]y\u202e\nsection_start:1:a\r\x1b[0K%0A::error::z"
    printed = Printed(style=style, verbosity=1)
    printed.console.event(hostile, field=hostile)
    printed.console.warning(hostile)
    printed.console.build_output(hostile)
    printed.console.error(ConfigError(hostile, hint=hostile, where=Location(hostile, 1)))
    with printed.console.section(hostile, hostile):
        pass
    ours = ("::warning::", "::error file=", "::group::", "::endgroup::", "\x1b[0Ksection_")
    foreign = [line for line in printed.err if not line.startswith(ours)]
    assert not [line for line in foreign if line.lstrip().startswith("::") or "##[" in line or "\x1b" in line.removeprefix("\x1b[0K")]
    assert not [line for line in printed.err if "\u202e" in line or "\r::" in line]


def test_no_secret_is_printed() -> None:
    for log_format in ("text", "json"):
        printed = Printed(style="github", log_format=log_format, verbosity=1)
        printed.console.event("canary-secret", field={"a": ["canary-secret"]})
        printed.console.build_output("canary-secret")
        printed.console.error(StageFailed("canary-secret", hint="canary-secret", where=Location("canary-secret"), output="canary-secret"))
        with printed.console.section("a", "canary-secret"):
            printed.console.result("<canary-secret>")
        assert "canary-secret" not in "\n".join([printed.out, *printed.err])
        assert printed.out == "<***>\n"


def test_a_result_that_loses_a_secret_says_so() -> None:
    printed = Printed()
    printed.console.result("name: canary-secret")
    assert printed.err == ["warning: the result held the value of a variable whose name looks secret: *** stands in its place"]


def test_json_lines_are_objects() -> None:
    printed = Printed(style="github", log_format="json")
    printed.console.event("pinned ##[x]\x7f", digest="sha256:00", count=2, none=None)
    printed.console.error(InputError("expected a", hint="write a", where=Location("f", 1)))
    printed.console.build_output("\x1b[32mok\x1b[0m")
    with printed.console.section("build", "Build"):
        pass
    time = "2026-01-02T03:04:05Z"
    assert [json.loads(line) for line in printed.err] == [
        {"time": time, "level": "info", "event": "pinned ##[x]\x7f", "digest": "sha256:00", "count": 2, "none": None},
        {"time": time, "level": "error", "event": "expected a", "exitCode": 2, "where": "f:1", "hint": "write a"},
        {"time": time, "level": "info", "event": "ok", "output": True},
        {"time": time, "level": "info", "event": "Build", "section": "build"},
    ]
    assert "##[" not in printed.err[0]
    assert "\x7f" not in printed.err[0]


def test_gitlab_sections_collapse() -> None:
    printed = Printed(style="gitlab")
    with printed.console.section("build app/web", "Build app/web"):
        printed.console.event("inside")
    assert "\n".join(printed.err).split("\n") == [
        f"\x1b[0Ksection_start:{UNIX}:build-app-web[collapsed=true]",
        "\x1b[0KBuild app/web",
        "inside",
        f"\x1b[0Ksection_end:{UNIX}:build-app-web",
        "\x1b[0K",
    ]


def test_github_groups_do_not_nest_and_end_after_an_error() -> None:
    printed = Printed(style="github")
    with pytest.raises(InputError), printed.console.section("a", "Outer"), printed.console.section("b", "Inner"):
        raise InputError("no")
    assert printed.err == ["::group::Outer", "Inner", "::endgroup::"]


def test_build_output_is_indented_and_shows_the_last_state_of_a_progress_line() -> None:
    printed = Printed()
    for line in ("\x1b[1mStep 1\x1b[0m", "10%\r50%\r100%\r\n", "", "::error::x"):
        printed.console.build_output(line)
    assert printed.err == ["  | Step 1", "  | 100%", "  |", "  | ::error::x".replace("::error", "\\::error", 1)]


def test_a_failed_step_of_a_quiet_run_shows_its_last_lines() -> None:
    printed = Printed(verbosity=-1)
    printed.console.error(StageFailed("exit code 2", output="\n".join(str(number) for number in range(60))))
    assert printed.err == [*(f"  | {number}" for number in range(10, 60)), "error: exit code 2"]


def test_colours_are_for_our_own_words() -> None:
    printed = Printed(color=True)
    printed.console.warning("slow")
    printed.console.error(InputError("no"))
    assert printed.err == ["\x1b[33mwarning:\x1b[0m slow", "\x1b[31merror:\x1b[0m no"]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("choice", "environ", "stream", "expected"),
    [
        ("auto", {}, Terminal(), True),
        ("auto", {"NO_COLOR": ""}, Terminal(), True),
        ("auto", {"NO_COLOR": "1"}, Terminal(), False),
        ("auto", {"TERM": "dumb"}, Terminal(), False),
        ("auto", {}, io.StringIO(), False),
        ("always", {"NO_COLOR": "1"}, io.StringIO(), True),
        ("never", {}, Terminal(), False),
    ],
)
def test_colour_is_for_terminals_that_want_it(choice: str, environ: dict[str, str], stream: io.StringIO, expected: bool) -> None:
    assert wants_color(choice, environ, stream) is expected


def test_what_the_encoding_lacks_is_escaped() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii", write_through=True)
    Console(stream, stream, redactor=Redactor(), clock=FixedClock()).result("é\udce9")
    assert raw.getvalue() == b"\\xe9\\udce9\n"
