"""Options that a variable may set: where they are looked up, and what is stronger."""

from __future__ import annotations

from collections.abc import Mapping

import click
import pytest

from ci_plugin.cli.main import main
from ci_plugin.cli.options import DurationType, ProjectOptions, ScopeOptions, project_options, scope_options
from ci_plugin.cli.wiring import Outside
from ci_plugin.errors import Bug, InputError
from ci_plugin.ports import CredentialSource, Engine
from ci_plugin.values.platform import parse_platform
from tests.fakes.clock import FakeClock


def no_engine(_environ: Mapping[str, str], _credentials: CredentialSource) -> Engine:
    raise Bug("expected no engine to be asked for")


def outside(**environ: str) -> Outside:
    return Outside(environ, FakeClock(), no_engine)


def read(*argv: str, **environ: str) -> tuple[ScopeOptions, ProjectOptions]:
    """What a command with these options gets."""
    seen: list[tuple[ScopeOptions, ProjectOptions]] = []

    @click.command()
    @scope_options
    @project_options
    def command(scope: ScopeOptions, project: ProjectOptions) -> None:
        seen.append((scope, project))

    command.main(list(argv), standalone_mode=False, obj=outside(**environ))
    return seen[0]


def test_nothing_said_is_nothing_set() -> None:
    assert read() == (ScopeOptions(), ProjectOptions())


def test_a_variable_sets_what_no_option_says() -> None:
    scope, project = read(STAGEPIN_REPO="r.example/a", STAGEPIN_SCOPE="train", STAGEPIN_PLATFORM="linux/arm64")
    assert (scope.repo, scope.scope, scope.is_scope_from_command_line) == ("r.example/a", "train", False)
    assert project.platforms == (parse_platform("linux/arm64"),)


def test_an_empty_variable_counts_as_unset() -> None:
    assert read(STAGEPIN_REPO="", STAGEPIN_SCOPE="", STAGEPIN_PLATFORM="") == (ScopeOptions(), ProjectOptions())


def test_an_option_is_stronger_than_its_variable() -> None:
    scope, _ = read("--repo", "r.example/b", "--scope", "mine", STAGEPIN_REPO="r.example/a", STAGEPIN_SCOPE="train")
    assert (scope.repo, scope.scope, scope.is_scope_from_command_line) == ("r.example/b", "mine", True)


def test_a_pipeline_is_a_scope_that_was_asked_for() -> None:
    scope, _ = read("--pipeline", "1000", STAGEPIN_SCOPE="train")
    assert (scope.scope, scope.is_scope_from_command_line) == ("pipeline:1000", True)


def test_a_scope_and_a_pipeline_are_one_too_many() -> None:
    with pytest.raises(click.UsageError, match="expected --scope or --pipeline, found both"):
        read("--scope", "a", "--pipeline", "1")


def test_repeated_options_keep_their_order_and_platforms_are_told_once() -> None:
    argv = ["--dockerfile", "b=B", "--dockerfile", "a=A", "--platform", "linux/amd64", "--platform", "linux/x86_64"]
    _, project = read(*argv)
    assert project.dockerfiles == ("b=B", "a=A")
    assert project.platforms == (parse_platform("linux/amd64"),)


@pytest.mark.parametrize("text", ["linux/amd64,linux/arm64", "linux/amd64, linux/arm64", "linux/amd64,linux/arm64,linux/aarch64"])
def test_several_platforms_are_written_with_commas_in_an_option_and_a_variable(text: str) -> None:
    both = (parse_platform("linux/amd64"), parse_platform("linux/arm64"))
    assert read("--platform", text)[1].platforms == both
    assert read(STAGEPIN_PLATFORM=text)[1].platforms == both


@pytest.mark.parametrize("name", ["STAGEPIN_LOG_FORMAT", "STAGEPIN_COLOR", "STAGEPIN_JOBS", "STAGEPIN_PLATFORM"])
def test_a_wrong_value_in_a_variable_is_bad_input(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["build"], outside(**{name: "nonsense"})) == 2
    assert "nonsense" in capsys.readouterr().err


def test_help_and_version_end_with_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"], outside()) == 0
    assert capsys.readouterr().out.startswith("stagepin ")
    for command in ([], ["pin"], ["plan"], ["build"], ["verify"], ["fetch"], ["explain"], ["doctor"], ["demo"]):
        assert main([*command, "--help"], outside()) == 0
        assert capsys.readouterr().out.startswith(f"Usage: stagepin {' '.join(command)}".rstrip())


CHECKSUM = "sha256:" + "0" * 64
OTHER = "sha256:" + "1" * 64


class TestPinChecksum:
    def test_the_variable_is_about_this_jobs_own_scope(self) -> None:
        assert read(STAGEPIN_PIN_CHECKSUM=CHECKSUM)[0].pin_checksum == CHECKSUM
        assert read(STAGEPIN_PIN_CHECKSUM=CHECKSUM, STAGEPIN_SCOPE="train")[0].pin_checksum == CHECKSUM
        assert read("--pipeline", "1000", STAGEPIN_PIN_CHECKSUM=CHECKSUM)[0].pin_checksum is None
        assert read("--scope", "train", STAGEPIN_PIN_CHECKSUM="of the other pins")[0].pin_checksum is None

    def test_the_option_is_about_whatever_scope_is_asked_for(self) -> None:
        scope, _ = read("--pipeline", "1000", "--pin-checksum", CHECKSUM, STAGEPIN_PIN_CHECKSUM=OTHER)
        assert scope.pin_checksum == CHECKSUM

    def test_an_empty_variable_is_none_and_an_empty_option_is_a_value_that_got_lost(self) -> None:
        assert read(STAGEPIN_PIN_CHECKSUM="")[0].pin_checksum is None
        with pytest.raises(InputError, match="expected sha256:<64 hex> in --pin-checksum, found nothing") as caught:
            read("--pin-checksum", "")
        assert caught.value.hint.startswith("hand on what the pin job gave: its output pin-checksum on GitHub")

    @pytest.mark.parametrize("text", ["sha256:abc", CHECKSUM.upper(), "sha512:" + "0" * 128, f"{CHECKSUM}\n", "$PIN"])
    def test_what_is_no_checksum_is_refused_naming_where_it_came_from(self, text: str) -> None:
        with pytest.raises(InputError, match=r"expected sha256:<64 hex> in \$STAGEPIN_PIN_CHECKSUM, found '") as caught:
            read(STAGEPIN_PIN_CHECKSUM=text)
        assert str(caught.value.where) == "$STAGEPIN_PIN_CHECKSUM"
        with pytest.raises(InputError, match=r"expected sha256:<64 hex> in --pin-checksum, found '"):
            read("--pin-checksum", text)


@pytest.mark.parametrize("text", ["", "12", "-1d", "1w", "1.5h", "12 h", "1h30m", "7D", "\u0661h", "1234567d"])
def test_a_duration_of_another_form_is_a_usage_error(text: str) -> None:
    with pytest.raises(click.BadParameter, match="expected a duration such as 30m, 12h or 7d, found"):
        DurationType().convert(text, None, None)
