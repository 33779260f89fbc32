"""
The program: its commands, each loaded when it is called, and the last place an error can get to.

Whatever goes wrong ends in one line on stderr and an exit code; a traceback is shown only with PILLARBOX_DEBUG=1.
"""

from __future__ import annotations

import errno
import importlib
import io
import logging
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import click

from pillarbox.__about__ import __version__
from pillarbox.cli import output, signals
from pillarbox.cli.exits import Exit, Stop, code_of
from pillarbox.cli.mistaken_options import extra_argument, no_such_option
from pillarbox.cli.output import hush, talk, whole_stdout
from pillarbox.cli.shared_options import no_such
from pillarbox.errors import NotFound, PillarboxError

COMMANDS: Final[dict[str, str]] = {
    "demo": "pillarbox.cli.demo:demo",
    "init": "pillarbox.cli.init:init",
    "send": "pillarbox.cli.send:send",
    "run": "pillarbox.cli.run:run",
    "ls": "pillarbox.cli.read_commands:ls",
    "show": "pillarbox.cli.read_commands:show",
    "history": "pillarbox.cli.read_commands:history",
    "explain": "pillarbox.cli.read_commands:explain",
    "export": "pillarbox.cli.export:export",
    "stats": "pillarbox.cli.read_commands:stats",
    "channels": "pillarbox.cli.channels:channels",
    "workers": "pillarbox.cli.read_commands:workers",
    "edit": "pillarbox.cli.change_sent:edit",
    "delete": "pillarbox.cli.change_sent:delete",
    "cancel": "pillarbox.cli.order_commands:cancel",
    "retry": "pillarbox.cli.order_commands:retry",
    "resolve": "pillarbox.cli.order_commands:resolve",
    "replay": "pillarbox.cli.order_commands:replay",
    "purge": "pillarbox.cli.order_commands:purge",
    "pause": "pillarbox.cli.order_commands:pause",
    "resume": "pillarbox.cli.order_commands:resume",
    "guarantee": "pillarbox.cli.guarantee:guarantee",
    "recipients": "pillarbox.cli.recipients:recipients",
    "import": "pillarbox.cli.import_queue:import_",
    "config": "pillarbox.cli.config:config",
    "db": "pillarbox.cli.db:db",
    "status": "pillarbox.cli.status:status",
    "top": "pillarbox.cli.top:top",
    "doctor": "pillarbox.cli.doctor:doctor",
    "completion": "pillarbox.cli.completion:completion",
}
"""Where each command is: ``module:function``, imported at the first use."""

ALIASES: Final = {"list": "ls", "log": "history", "worker": "run"}
"""What other programs call a command. Both names run it."""

# Other programs' words for what we have a word of our own for. They are only named: what they do elsewhere differs.
_MEANT: Final = {
    "rm": "cancel", "remove": "cancel", "requeue": "retry", "redrive": "replay", "prune": "purge",
    "start": "run", "serve": "run", "deliver": "run", "enqueue": "send", "settings": "config",
    "get": "show", "why": "explain", "count": "stats", "wait": "explain", "queue": "ls", "failed": "ls",
    "flush": "run", "drain": "run", "backup": "db", "migrate": "db", "restore": "db", "check": "doctor",
    "health": "doctor", "watch": "top", "dump": "export",
}  # fmt: skip

_ONE_LINE_MAX: Final = 1000
_STANDARD_MAX: Final = 2  # the number of stderr
_PACKAGE: Final = Path(__file__).parent.parent


class Program(click.Group):
    """The group of all commands."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 — click's own signature
        """Name the commands in the order of a first visit."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 — the same
        """Load a command."""
        cmd_name = ALIASES.get(cmd_name, cmd_name)
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(importlib.import_module(module), name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """See `click.Group`. A slip is answered with the nearest command; an alias goes by the command's name."""
        given = args[0]
        if given.startswith("-") or ctx.resilient_parsing or self.get_command(ctx, given) is not None:
            return super().resolve_command(ctx, [ALIASES.get(given, given), *args[1:]])
        raise click.UsageError(no_such("command", given, (*COMMANDS, *ALIASES), _MEANT), ctx)

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        """See `click.Group`. Shows ``--help``, which ends as `invoke` does where its reader is gone."""
        try:
            return super().make_context(*args, **kwargs)
        except BrokenPipeError:
            hush(sys.stdout)
            raise click.exceptions.Exit(Exit.PIPE_CLOSED) from None

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command. Where its reader is gone, it ends as programs in a pipe do; to click that is a failure."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            hush(sys.stdout)
            return Exit.PIPE_CLOSED


@click.group(
    cls=Program,
    context_settings={
        "auto_envvar_prefix": "PILLARBOX",
        "help_option_names": ["-h", "--help"],
        "max_content_width": 110,
    },
)
@click.version_option(__version__, "--version", message="%(prog)s %(version)s")
@click.option("--debug", is_flag=True, help="Show tracebacks.", show_envvar=True)
@click.pass_context
def program(ctx: click.Context, *, debug: bool) -> None:
    """
    Durable outbound delivery: a message is on disk before anyone tries to send it.

    Data goes to stdout, everything else to stderr. Every option has a variable: PILLARBOX_SEND_TTL is --ttl of send.
    """
    ctx.obj["debug"] = debug


def variables(ctx: click.Context) -> frozenset[str]:
    """Name every variable that is an option of some command, and so no setting."""
    root = ctx.find_root()
    return frozenset(_variables(root.command, root, "PILLARBOX"))


def _variables(command: click.Command, ctx: click.Context, prefix: str) -> list[str]:
    found = []
    for option in command.params:
        if isinstance(option, click.Option) and option.name is not None:
            own = option.envvar
            found += [own] if isinstance(own, str) else list(own or ())
            found.append(f"{prefix}_{option.name.upper()}")
    if isinstance(command, click.Group):
        for name in command.list_commands(ctx):
            inner = command.get_command(ctx, name)
            if inner is not None:
                found += _variables(inner, ctx, f"{prefix}_{name.upper()}")
    return found


def execute(arguments: Sequence[str]) -> int:
    """Run one command line; return its exit code. Raises nothing."""
    here = os.getpid()
    code = _executed_anywhere(arguments)
    if os.getpid() != here and not signals.ends_with_the_command():
        # A worker that a program's call of `run --workers` has forked: the rest of that program is not for it to run.
        if sys.stderr is not None:
            sys.stderr.flush()
        os._exit(code)
    return code


def _executed_anywhere(arguments: Sequence[str]) -> int:
    _fill_standard_files()
    if sys.stdout is not None:
        with whole_stdout():
            return _executed(arguments)
    sys.stdout = _Closed()
    try:
        return _executed(arguments)
    finally:
        sys.stdout = None


def _executed(arguments: Sequence[str]) -> int:
    # What the engine logs is for those who run a worker; a command says what went wrong itself.
    logging.getLogger("pillarbox").addHandler(logging.NullHandler())
    state: dict[str, bool] = {"debug": False}
    try:
        result = program.main(list(arguments), prog_name="pillarbox", standalone_mode=False, obj=state)
        # While somebody may still be told that this failed.
        sys.stdout.flush()
    except BrokenPipeError as exc:
        return unwritten(exc)
    except (click.exceptions.Abort, KeyboardInterrupt):
        talk("interrupted")
        return Exit.INTERRUPTED
    except Exception as exc:  # noqa: BLE001 — the last place before a traceback
        if state["debug"]:
            traceback.print_exc()
        return _report(exc)
    return result if isinstance(result, int) else Exit.OK


class _Closed(io.TextIOBase):
    """Stands for stdout where it was closed before we began: click would drop what is written there, without a word."""

    closed = True

    def write(self, text: str) -> int:  # noqa: ARG002 — it goes nowhere
        """See `io.TextIOBase`."""
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))

    def flush(self) -> None:
        """Nothing is kept back."""

    def isatty(self) -> bool:
        """See `io.TextIOBase`."""
        return False


def _fill_standard_files() -> None:
    """
    Open nothing in the place of each standard file that is closed.

    A database or a socket would get its number, and what is said on stderr with it; libuv ends the process (SIGABRT)
    when it closes such a file.
    """
    while (number := os.open(os.devnull, os.O_RDWR)) <= _STANDARD_MAX:
        pass
    os.close(number)


def unwritten(error: OSError) -> int:
    """Report that stdout cannot be written to, unless its reader is gone; return the exit code."""
    hush(sys.stdout)
    if isinstance(error, BrokenPipeError):
        return Exit.PIPE_CLOSED
    _say(f"the output cannot be written: {error.strerror or type(error).__name__}")
    return Exit.FAILURE


def _report(error: Exception) -> int:
    """Print what went wrong in one line; return the exit code."""
    match error:
        case click.exceptions.NoArgsIsHelpError():
            click.echo(error.format_message(), err=True)
            return Exit.USAGE
        case click.NoSuchOption():
            _say(f"{no_such_option(error)} {_try_help(error)}".rstrip())
            return Exit.USAGE
        case click.UsageError():
            _say(f"{error.format_message()}{extra_argument(error)} {_try_help(error)}".rstrip())
            return Exit.USAGE
        case OSError() if error.filename is None and _raised_by_writing(error):
            return unwritten(error)
        case click.ClickException():
            _say(error.format_message())
            return Exit.FAILURE
        case Stop():
            _say(str(error))
            return error.code
        case PillarboxError():
            listed = isinstance(error, NotFound) and error.what == "message"
            _say(f"{error}; `pillarbox ls` lists what there is" if listed else str(error))
            return code_of(error)
        case _:
            # Without its text: nobody knows what an unexpected error quotes.
            talk(f"internal error: {type(error).__name__} at {_place(error)} (PILLARBOX_DEBUG=1 shows more)")
            return Exit.FAILURE


def _raised_by_writing(error: OSError) -> bool:
    """Whether writing raised it: what commands say goes out through click and `output`, or is flushed here."""
    last = Path(traceback.extract_tb(error.__traceback__)[-1].filename)
    return last.is_relative_to(Path(click.__file__).parent) or last in {Path(__file__), Path(output.__file__)}


def _place(error: Exception) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if Path(frame.filename).is_relative_to(_PACKAGE)] or frames
    return f"{Path(ours[-1].filename).name}:{ours[-1].lineno}" if ours else "an unknown place"


def _say(sentence: str) -> None:
    talk(f"error: {' '.join(sentence.split())[:_ONE_LINE_MAX]}")


def _try_help(error: click.UsageError) -> str:
    return "" if error.ctx is None else f"(see '{error.ctx.command_path} --help')"
