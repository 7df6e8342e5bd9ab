"""The command line: the group of all commands, what holds for each of them, and how an error is told.

A command is loaded when it is run, so that the start of one does not wait for the libraries of another, and a module
that is broken or missing stops no command but its own.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from importlib import import_module
from typing import Any, NamedTuple

import click

from codeworm_monitor import __version__

__all__ = ["TABLE", "Entry", "main"]

DEFAULT = "relay"
"""The command that runs when none is named."""
DEBUG_VARIABLE = "CODEWORM_MONITOR_DEBUG"
CONFIG_VARIABLE = "CODEWORM_MONITOR_CONFIG"
EX_SOFTWARE = 70
"""Exit status of a bug of this package (sysexits.h)."""
INTERRUPTED = 130
"""Exit status after Ctrl-C, as a shell has it: 128 + SIGINT."""
LONGEST = 500
"""Characters of an unexpected error that are shown."""


class Entry(NamedTuple):
    """A command of the group.

    Attributes:
        section: Heading under which the group's help lists it.
        module: Module whose `COMMANDS` hold it.
        help: Its line in the group's help.
    """

    section: str
    module: str
    help: str


TABLE: dict[str, Entry] = {
    "relay": Entry("Relay", "cli_relay", "Relay CodeWorm's channels until stopped; runs when no command is named."),
    "demo": Entry("Relay", "cli_relay", "Play recorded traffic of a real CodeWorm through the real path."),
    "replay": Entry("Relay", "cli_relay", "Serve a stretch of the past once more, from the archive."),
    "publish": Entry("Relay", "cli_publish", "Publish one JSON text, or lines from standard input."),
    "bench": Entry("Relay", "cli_relay", "Measure a relay on this machine, in half a minute."),
    "tail": Entry("Look", "cli_live", "Follow the log as it comes, in colour."),
    "top": Entry("Look", "cli_live", "Watch activity, rates, health and newest errors on the full screen."),
    "status": Entry("Look", "cli_checks", "Say how things are on one screen; the exit status says it to cron."),
    "doctor": Entry("Look", "cli_checks", "Test all that can fail, and name the mend."),
    "history": Entry("Past", "cli_archive", "Print what the archive holds, a line a message."),
    "query": Entry("Past", "cli_archive", "Ask the archive in SQL."),
    "export": Entry("Past", "cli_archive", "Write what the archive holds to a file or to standard output."),
    "import": Entry("Past", "cli_archive", "Take recordings and CodeWorm's own logs into the archive."),
    "record": Entry("Past", "cli_record", "Write what a relay sends to a file of recorded traffic."),
    "archive": Entry("Past", "cli_archive", "Look after the archive: verify, repair, compact and more."),
    "config": Entry("Set up", "cli_setup", "Show the settings and where each comes from; begin a settings file."),
    "token": Entry("Set up", "cli_setup", "Print the token of the relay that runs here, or a new one."),
    "lab": Entry("Set up", "cli_setup", "Start JupyterLab on a ready dashboard notebook."),
    "completion": Entry("Set up", "cli_setup", "Print the script by which a shell completes these commands."),
    "deploy": Entry("Set up", "cli_deploy", "Write out what runs a relay for good: systemd, container, nginx."),
}
"""Every command, in the order of the help."""


def _leading(args: Sequence[str]) -> int:
    """Return how many of the arguments are the group's own options, which stand before the command."""
    at = 0
    while at < len(args):
        if args[at] == "--config":
            at += 2
        elif args[at] == "--debug" or args[at].startswith("--config="):
            at += 1
        else:
            break
    return min(at, len(args))


class _Group(click.Group):
    """Loads a command when it is run; the default one runs when none is named."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put the default command where the line goes on with one of its options, or ends."""
        at = _leading(args)
        if at == len(args):
            is_default = not ctx.resilient_parsing and args[-1:] != ["--config"]  # that one lacks its file
        else:
            is_default = args[at].startswith("-") and args[at] not in ("--help", "--version")
        if is_default:
            args = [*args[:at], DEFAULT, *args[at:]]
        ctx.meta[_IS_HELP] = "--help" in args
        return super().parse_args(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands."""
        return list(TABLE)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load a command; None: there is none of this name."""
        entry = TABLE.get(cmd_name)
        if entry is None:
            return None
        module = import_module(f"codeworm_monitor.{entry.module}")
        commands: tuple[click.Command, ...] = module.COMMANDS
        return next(command for command in commands if command.name == cmd_name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that the line names, or name the nearest."""
        name = args[0]
        if name not in TABLE and not ctx.resilient_parsing:
            nearest = get_close_matches(name, TABLE, n=1)
            hint = f"Did you mean {nearest[0]!r}?" if nearest else f"There are: {', '.join(TABLE)}."
            ctx.fail(f"No such command {_plain(name)!r}. {hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands by section, loading none."""
        widest = max(map(len, TABLE))
        for section in dict.fromkeys(entry.section for entry in TABLE.values()):
            with formatter.section(section):
                formatter.write_dl(
                    [(name.ljust(widest), entry.help) for name, entry in TABLE.items() if entry.section == section]
                )

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[Any]:
        """Complete names of commands, loading none, and options of the group and of the default command."""
        from click.shell_completion import CompletionItem

        found = [CompletionItem(name, help=entry.help) for name, entry in TABLE.items() if name.startswith(incomplete)]
        found += click.Command.shell_complete(self, ctx, incomplete)
        default = self.get_command(ctx, DEFAULT) if incomplete.startswith("-") else None
        if default is not None:
            inner = click.Context(default, ctx, info_name=DEFAULT, resilient_parsing=True)
            known = {item.value for item in found}
            found += [item for item in default.shell_complete(inner, incomplete) if item.value not in known]
        return found

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; an error of this package is one line, whether the command saw to it or not."""
        from codeworm_monitor.cli_options import plain_errors

        try:
            with plain_errors():
                return super().invoke(ctx)
        except click.NoSuchOption as error:
            if error.option_name in ("--config", "--debug"):
                told = f"{error.option_name} stands before the command: {ctx.info_name} {error.option_name} …"
                moved = click.UsageError(told, ctx)
                moved.exit_code = error.exit_code  # type: ignore[misc]  # a command may have one of its own
                raise moved from error
            raise
        except (KeyboardInterrupt, click.Abort) as error:
            raise click.exceptions.Exit(INTERRUPTED) from error

    def main(self, args: Sequence[str] | None = None, *rest: Any, **extra: Any) -> Any:
        """Run the command line and exit: 0 done, 1 not done, 2 asked wrongly, 70 a bug of this package, 130 Ctrl-C."""
        if extra.get("standalone_mode") is False:  # another program runs it, and sees to errors itself
            return super().main(args, *rest, **extra)
        words = list(sys.argv[1:] if args is None else args)
        try:
            try:
                return super().main(words, *rest, **extra)
            finally:
                sys.stdout.flush()
        except BrokenPipeError:  # who read the output has gone: nobody is left to be told
            from codeworm_monitor.cli_options import discard_output

            discard_output()
            sys.exit(1)
        except (KeyboardInterrupt, click.Abort):
            sys.exit(INTERRUPTED)
        except Exception as error:  # noqa: BLE001  # the last edge: told in a line, with a status of its own
            if _is_debug(words):
                import traceback

                traceback.print_exception(error)
                sys.exit(EX_SOFTWARE)
            sys.exit(_tell(error))


def _is_debug(words: Sequence[str]) -> bool:
    said = os.environ.get(DEBUG_VARIABLE, "").strip().lower()
    return "--debug" in words[: _leading(words)] or said not in ("", "0", "false", "no", "off")


def _plain(text: str) -> str:
    from codeworm_monitor.logformat import printable

    return printable(text[:LONGEST])


def _tell(error: Exception) -> int:
    """Say in one line what was not expected, and return the exit status."""
    if isinstance(error, ModuleNotFoundError) and error.name and not error.name.startswith("codeworm_monitor"):
        missing = error.name.partition(".")[0]
        click.echo(
            f"Error: {missing} is not installed: {sys.executable} -m pip install --upgrade codeworm-monitor", err=True
        )
        return 1

    from codeworm_monitor.settings import redacted

    text = _plain(" ".join(redacted(str(error)).split()))
    what = type(error).__name__ + (f": {text}" if text else "")
    click.echo(f"this is a bug of codeworm_monitor: {what}; run again with --debug to see where", err=True)
    return EX_SOFTWARE


_IS_HELP = "codeworm_monitor.is_help"
_READS_ITSELF = frozenset(("config",))
"""Commands that say by themselves what is wrong with the settings file."""


@click.group(cls=_Group, context_settings={"help_option_names": ["--help"], "max_content_width": 100})
@click.option(
    "--config",
    metavar="FILE",
    envvar=CONFIG_VARIABLE,
    show_envvar=True,
    help="Settings file. None: codeworm-monitor.toml here, else among the user's configuration.",
)
@click.option(
    "--debug", is_flag=True, envvar=DEBUG_VARIABLE, show_envvar=True, help="Show where an unexpected error happened."
)
@click.version_option(__version__, package_name="codeworm_monitor", message="%(package)s %(version)s")
@click.pass_context
def main(context: click.Context, config: str | None, *, debug: bool) -> None:
    # `debug` is read before there is a context: see `_is_debug`.
    """Watch CodeWorm: relay its Redis channels over WebSocket, numbered and resumable.

    Without a command, the relay runs. In a notebook on this machine then:

    \b
        from codeworm_monitor import connect
        mon = connect()
        mon.logs.df
    """
    name = context.invoked_subcommand
    command = None if name is None else main.get_command(context, name)
    if name is None or command is None or context.meta[_IS_HELP]:
        return  # a file that cannot be used must not keep a help text from being read

    from codeworm_monitor.cli_settings import file_defaults, load_settings_file

    def load() -> Mapping[str, Any]:
        try:
            file = load_settings_file(context)
        except click.ClickException as error:
            if name in _READS_ITSELF:
                return {}
            error.exit_code = getattr(command, "usage_status", error.exit_code)  # type: ignore[misc]  # click reads it there
            raise
        return {} if file is None else file.values

    context.default_map = {name: file_defaults(command, load)}
