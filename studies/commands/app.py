"""What every command shares: how it is registered, how it ends, and what it prints where.

Results go to stdout, all else to stderr. Exit codes: 0 done, 1 failed, 2 bad input, 130 interrupted.
"""

import errno
import inspect
import io
import json
import logging
import os
import re
import sys
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn, TypeVar

import typer
from typer.core import TyperGroup

from studies.errors import RiglStudyError, UnknownName
from studies.log_format import FORMATS, JsonFormatter, TextFormatter, hide_passwords, log_to_stderr
from studies.printable import printable, printable_json

PROGRAM = "rigl-study"
LOGGER = "rigl_study"
DEBUG_VARIABLE = "RIGL_STUDY_DEBUG"
INTERRUPTED = 130

_formatter: logging.Formatter = TextFormatter(f"{PROGRAM}: ")

Function = TypeVar("Function", bound=Callable[..., None])


class OneLineErrors(TyperGroup):
    """A group of commands whose every failure is one line on stderr and an exit code."""

    def main(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Run the command line and leave the process with the exit code that says how it went."""
        kwargs |= {"prog_name": PROGRAM, "standalone_mode": False}
        _open_closed_streams()
        _write_what_can_be_written()
        try:
            with warnings_in_one_line():
                code = super().main(*args, **kwargs)
            sys.stdout.flush()
        except Exception as error:
            code = _explain(error)
        sys.exit(code if isinstance(code, int) else 0)

    def invoke(self, ctx: Any) -> Any:  # Typer's base class is annotated with a private type
        """Run a command; Ctrl-C ends it with a word and without a traceback."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            say("interrupted")
            raise typer.Exit(INTERRUPTED) from None


def _explain(error: Exception) -> int:
    """Print what went wrong in one line; the exit code that goes with it."""
    if isinstance(error, BrokenPipeError):
        _close_stdout()  # the reader (`| head`) has seen enough
        return 1
    if debugging():
        told = printable("".join(traceback.format_exception(error)), keep="\n")
        print(hide_passwords(told), end="", file=sys.stderr)
    if isinstance(error, RiglStudyError):
        say(str(error), logging.ERROR)
        return error.exit_code
    if isinstance(error, typer.Abort):
        say("interrupted", logging.ERROR)
        return INTERRUPTED
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EIO, errno.EDQUOT):
        _close_stdout()
        say(f"cannot write the result: {error.strerror}.", logging.ERROR)
        return 1
    if hasattr(error, "format_message"):  # a usage error: Typer has no public class for them
        context = getattr(error, "ctx", None)
        command = context.command_path if context else PROGRAM
        told = _complaint(error).rstrip(".")
        say(f"{told}{'' if told.endswith('?') else '.'} See: {command} --help", logging.ERROR)
        return int(getattr(error, "exit_code", 2))
    how = "" if debugging() else f" Run `{PROGRAM} --debug ...` or set {DEBUG_VARIABLE}=1 for the traceback."
    say(f"unexpected {type(error).__name__}: {error}.{how}", logging.ERROR)
    return 1


def _complaint(error: Any) -> str:
    """What a usage error says; of a value that does not fit Typer tells neither which nor, plainly, what would."""
    if error.__cause__ is None or type(error.__cause__).__name__ != "ValidationError" or error.param is None:
        return str(error.format_message())
    from studies.complaints import one_line

    return one_line(error.__cause__, error.param.opts[0])


def _open_closed_streams() -> None:
    """What was closed before the program began (`2>&-`) leads nowhere: else messages would go to stdout."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):  # in order, to get their descriptors
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115 - for as long as it runs


def _write_what_can_be_written() -> None:
    """A result with a letter that stdout's encoding lacks (±, α) has a ? there, and is not lost for it."""
    if isinstance(sys.stdout, io.TextIOWrapper) and not _in_unicode():
        sys.stdout.reconfigure(errors="replace")


def _in_unicode() -> bool:
    return (sys.stdout.encoding or "").lower().startswith("utf")


def _close_stdout() -> None:
    """Drop what could not be written: Python would complain once more when it flushes stdout at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def debugging() -> bool:
    """Whether the user wants tracebacks."""
    return os.environ.get(DEBUG_VARIABLE, "") not in ("", "0")


def new_app(*, example: str, about: str | None = None) -> typer.Typer:
    """A Typer app, or a group of commands in one, with plain help that ends in `example`, and one-line errors."""
    described: dict[str, Any] = {} if about is None else {"help": about, "short_help": about}
    return typer.Typer(
        **described,
        epilog=_example(example),
        cls=OneLineErrors,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )


def command(app: typer.Typer, name: str, *, example: str) -> Callable[[Function], Function]:
    """Register a function as the command `name`; its help is the docstring and ends in `example`, real commands."""

    def register(function: Function) -> Function:
        about = inspect.getdoc(function) or ""
        # The first sentence, in full: by default the list of commands cuts it off.
        summary = re.split(r"(?<=\.)\s", about, maxsplit=1)[0]
        return app.command(name, short_help=summary, epilog=_example(example))(function)

    return register


def _example(text: str) -> str:
    lines = "".join(f"\n  {line}" for line in text.splitlines())
    return f"\b\nExample:{lines}"  # \b: leave the line breaks of this paragraph alone


def say(message: str, level: int = logging.INFO) -> None:
    """One line of message or progress on stderr: whatever `message` holds, it is one line, and shows no password."""
    record = logging.LogRecord(f"{LOGGER}.command", level, "", 0, message, None, None)
    print(_formatter.format(record), file=sys.stderr, flush=True)


@contextmanager
def warnings_in_one_line() -> Iterator[None]:
    """Say what libraries warn of in one line, and once for each place in their code, while the body runs."""
    said: set[tuple[str, int]] = set()

    def tell(
        message: Warning | str,
        category: type[Warning],  # noqa: ARG001 - as Python calls it
        filename: str,
        lineno: int,
        file: Any = None,  # noqa: ARG001
        line: str | None = None,  # noqa: ARG001
    ) -> None:
        if (filename, lineno) not in said:
            said.add((filename, lineno))
            library = re.search(r"site-packages/([^/.]+)", filename)
            say(f"{library[1] if library else 'Python'} warns: {message}", logging.WARNING)

    with warnings.catch_warnings():
        warnings.showwarning = tell
        yield


def choose_log_format(name: str) -> str:
    """Say everything so from now on: the callback of `--log-format`.

    Raises:
        BadInput: there is no such format.
    """
    global _formatter
    if name not in FORMATS:
        raise UnknownName("log format", name, FORMATS)
    _formatter = JsonFormatter() if name == "json" else TextFormatter(f"{PROGRAM}: ")
    show_log()
    return name


def logs_json() -> bool:
    """Whether stderr is for machines."""
    return isinstance(_formatter, JsonFormatter)


def print_text(text: str) -> None:
    """A result for people, on stdout: lines of any text that was stored, which must not steer the terminal."""
    print(printable(text, keep="\n"))


def print_json(value: Any) -> None:
    """A result for scripts, on stdout; what its encoding may lack, or would steer a terminal, is escaped as in JSON."""
    print(printable_json(json.dumps(value, indent=2, ensure_ascii=not _in_unicode())))


def print_table(headers: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A result for people, on stdout: columns of plain text, numbers to the right, bold headers on a terminal."""
    cells = [["-" if cell is None else printable(str(cell)) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(headers, *cells, strict=True)]
    numeric = [all(_is_number(row[i]) for row in cells) and bool(cells) for i in range(len(headers))]

    def line(row: Sequence[str]) -> str:
        padded = (
            c.rjust(width) if right else c.ljust(width) for c, width, right in zip(row, widths, numeric, strict=True)
        )
        return "  ".join(padded).rstrip()

    head = line(headers)
    print(f"\033[1m{head}\033[0m" if coloured(sys.stdout) else head)
    for row in cells:
        print(line(row))


def _is_number(cell: str) -> bool:
    return cell == "-" or re.fullmatch(r"[-+]?[0-9][0-9.,]*(e[-+]?\d+)?\s?%?", cell) is not None


def coloured(stream: Any) -> bool:
    """Whether to write colours to `stream`: a terminal, unless the user has set NO_COLOR."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def show_log() -> None:
    """Show the warnings of the service as messages, one line each."""
    log_to_stderr(_formatter, LOGGER, logging.DEBUG if debugging() else logging.WARNING)
