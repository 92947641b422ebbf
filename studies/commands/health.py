"""`rigl-study health`: whether workers are there, for container engines and cluster managers."""

from pathlib import Path
from typing import Annotated

import typer

from studies.commands.options import a_path
from studies.health_file import MAX_AGE_SECONDS, MAX_WAIT_SECONDS, check


def health(
    path: Annotated[Path, typer.Argument(parser=a_path, metavar="PATH", help="What `work --health-file` was given.")],
    max_age: Annotated[
        float,
        typer.Option("--max-age", min=0, metavar="SECONDS", help="How old it may be."),
    ] = MAX_AGE_SECONDS,
    max_wait: Annotated[
        float, typer.Option("--max-wait", min=0, metavar="SECONDS", help="How long the database may not answer.")
    ] = MAX_WAIT_SECONDS,
) -> None:
    """Tell whether the workers that write PATH are there and hear from their database: exit code 0 if so, else 1."""
    print(check(path, max_age, max_wait))
