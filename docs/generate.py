"""Write the pages made from the code itself: `python -m docs.generate`; with `--check`, see if they are up to date.

A page is a function to its text; to add one, write the function and its line in PAGES.
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from typer.main import get_command
from typer.testing import CliRunner

from studies.cli import app

FOLDER = Path(__file__).parent
NOTICE = "<!-- Written by `python -m docs.generate`; a change here is lost. -->"


def cli() -> str:
    """Every command with its help."""
    parts = [
        NOTICE,
        "# The command line",
        "Results go to stdout, messages and progress to stderr. Exit codes: 0 done, 1 failed, 2 bad input, 130 "
        "interrupted before the result was there. Everything that goes wrong is one line on stderr; with `--debug` or "
        "`RIGL_STUDY_DEBUG=1` the traceback comes with it.",
        *(_section(path) for path in command_paths()),
    ]
    return "\n\n".join(parts) + "\n"


def command_paths() -> Iterator[tuple[str, ...]]:
    """The words of every command, the program itself first, in the order of the help."""
    yield from _walk(get_command(app), ())


def _walk(command: Any, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    yield path
    for name, inner in getattr(command, "commands", {}).items():
        yield from _walk(inner, (*path, name))


def _section(path: tuple[str, ...]) -> str:
    text = CliRunner().invoke(app, [*path, "--help"]).stdout.strip()
    level = "#" * (1 + max(1, len(path)))
    return f"{level} {' '.join(('rigl-study', *path))}\n\n```text\n{text}\n```"


PAGES: Mapping[str, Callable[[], str]] = {"cli.md": cli}


def main() -> int:
    """Write or check every page; exit code 1 if one is out of date."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a page is out of date")
    check = parser.parse_args().check
    stale = []
    for name, make in PAGES.items():
        page, text = FOLDER / name, make()
        if page.exists() and page.read_text(encoding="utf-8") == text:
            continue
        if check:
            stale.append(name)
        else:
            page.write_text(text, encoding="utf-8")
            print(f"wrote {page.name}")
    for name in stale:
        print(f"docs/{name} is out of date; run: python -m docs.generate", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
