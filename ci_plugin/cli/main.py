"""The entry point: global options, one command, one exit code (DESIGN.md §4).

Every error that is ours ends the process with its class's exit code and says what to do; click's own usage errors are 2; anything else is a
bug of ours: 4. Commands, and the session they share, are imported when they are called: ``--help`` costs click and this file.
"""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from ci_plugin import __version__
from ci_plugin.cli.options import Setting
from ci_plugin.errors import Bug, StagepinError

if TYPE_CHECKING:
    from ci_plugin.cli.wiring import Outside, Session

COMMANDS = {
    "pin": "adopt the scope's pins, or resolve every external reference once",
    "plan": "every image, stage and stage signature, and whether it is stored",
    "build": "build what is missing, publish it, write the build record",
    "verify": "prove that what was built is what ships",
    "fetch": "bring pin file and build record of a scope into the workspace",
    "drift": "which pinned references moved since, and what that would change",
    "explain": "the inputs of a stage signature, and what changed since a record",
    "config": "the configuration rendered, listed, or migrated from an older dialect",
    "doctor": "what works here, and why not",
    "demo": "the four hazards without and with stagepin, on a real engine",
}
"""Name → one line, in the order of ``--help``; README.md's table says the same (tests/meta)."""

INTERRUPTED = 130


class _Commands(click.Group):
    def invoke(self, ctx: click.Context) -> object:
        """Errors of ours are printed by the session's console and become the exit code."""
        try:
            return super().invoke(ctx)
        except StagepinError as error:
            return self._fail(ctx, error)
        except BrokenPipeError:
            # Whoever read our output went away (`| head`). click would end with 1, which is "the answer is no" here.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return INTERRUPTED
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:  # anything else is a bug of ours, and the user must not need to read a traceback
            message = f"stagepin made a mistake: {type(error).__name__}: {error}"
            if session := _find_session(ctx):
                session.console.detail(traceback.format_exc())
            return self._fail(ctx, Bug(message, hint="run again with -v and report what it prints"))

    @staticmethod
    def _fail(ctx: click.Context, error: StagepinError) -> int:
        session = _find_session(ctx)
        if session is None:
            raise error
        session.console.error(error)
        return error.exit_code

    def list_commands(self, _ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, _ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        command = importlib.import_module(f"ci_plugin.cli.commands.{name}").command
        if not isinstance(command, click.Command):
            raise Bug(f"expected a click command in commands/{name}.py, found {type(command).__name__}")
        return command

    def format_commands(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def _find_session(ctx: click.Context) -> Session | None:
    """The session of the run; None as long as the global options are being read."""
    from ci_plugin.cli.wiring import Session

    return ctx.obj if isinstance(ctx.obj, Session) else None


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "--version", message="stagepin %(version)s")
@click.option("-C", "directory", metavar="DIR", default=".", help="Work as if started in DIR.")
@click.option(
    "--config",
    cls=Setting,
    metavar="FILE",
    envvar="STAGEPIN_CONFIG",
    help="The configuration, instead of werf.yaml, dappfile.yml or Dockerfile.",
)
@click.option("--env", "env_name", cls=Setting, metavar="NAME", envvar="STAGEPIN_ENV", help="werf's environment name: `.Env` in templates.")
@click.option(
    "--log-format",
    cls=Setting,
    type=click.Choice(["text", "json"]),
    envvar="STAGEPIN_LOG_FORMAT",
    default="text",
    help="How events are written to stderr.",
)
@click.option(
    "--color",
    cls=Setting,
    type=click.Choice(["auto", "always", "never"]),
    envvar="STAGEPIN_COLOR",
    default="auto",
    help="Colours on stderr.",
)
@click.option("-q", "--quiet", is_flag=True, help="Only results, warnings and errors.")
@click.option("-v", "--verbose", is_flag=True, help="Details too.")
@click.pass_context
def cli(
    ctx: click.Context,
    directory: str,
    config: str | None,
    env_name: str | None,
    log_format: str,
    color: str,
    quiet: bool,
    verbose: bool,
) -> None:
    """Pin every base image once per pipeline. Build each stage once. Deploy exactly what you built."""
    from ci_plugin.cli.wiring import GlobalOptions, Outside, Session

    ctx.obj = Session(
        GlobalOptions(
            directory=directory,
            config=config or None,
            env_name=env_name or "",
            log_format="json" if log_format == "json" else "text",
            color=color,
            verbosity=-1 if quiet else 1 if verbose else 0,
        ),
        ctx.obj if isinstance(ctx.obj, Outside) else Outside.of_this_process(),
    )


def main(argv: Sequence[str] | None = None, outside: Outside | None = None) -> int:
    """Run one command; returns the exit code and prints what went wrong. ``outside``: None means this process's environment and engine."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        result = cli.main(arguments, prog_name="stagepin", standalone_mode=False, obj=outside)
    except click.exceptions.Exit as exit_:
        return exit_.exit_code
    except click.ClickException as error:
        error.show()
        return 2
    except StagepinError as error:  # before there is a console: while the command and the global options are read
        print(f"error: {error.message}", *([f"  next: {error.hint}"] if error.hint else []), sep="\n", file=sys.stderr)
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        print("interrupted: run the same command again, it goes on from what is stored", file=sys.stderr)
        return INTERRUPTED
    return result if isinstance(result, int) else 0
