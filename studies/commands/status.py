"""`rigl-study list` and `status`: how far everything is. They read the tables themselves, to answer at once."""

import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from studies.commands.app import PROGRAM, print_json, print_table, print_text, say
from studies.commands.options import Json, Storage
from studies.commands.storage import resolve, short_patience
from studies.errors import BadInput

if TYPE_CHECKING:
    from studies.overview import StudyRow

WATCH_SECONDS = 2.0


def _read(storage: str | None, *, patient: bool = False) -> "list[StudyRow]":
    from studies.database.overview_rdb import read_studies
    from studies.database.retrying import patience_from_environment

    url = resolve(storage, must_exist=True)
    return read_studies(url, patience_from_environment() if patient else short_patience())


def list_(storage: Storage = None, as_json: Json = False) -> None:
    """List all campaigns."""
    from studies.overview import summaries

    campaigns = summaries(_read(storage))
    if as_json:
        print_json(
            [
                {"name": c.name, "description": c.description, "state": c.state, "studies": c.n_studies}
                | asdict(c.counts)
                for c in campaigns
            ]
        )
    elif campaigns:
        _print_counts(
            ("campaign", "state", "studies"),
            [((c.name, c.state, c.n_studies), asdict(c.counts)) for c in campaigns],
        )
    else:
        say(f"nothing is stored yet; `{PROGRAM} create SPEC` or `{PROGRAM} run SPEC` begins")


def _print_counts(heads: tuple[str, ...], rows: Iterable[tuple[tuple[object, ...], Mapping[str, Any]]]) -> None:
    """A table of whatever has trials, each with its counts and its best accuracy."""
    from studies.overview import COUNTED

    def cells(counts: Mapping[str, Any]) -> list[object]:
        best = counts["best"]
        return [*(counts[state] for state in COUNTED), None if best is None else f"{100 * best:.2f} %"]

    print_table((*heads, *COUNTED, "best"), [(*names, *cells(counts)) for names, counts in rows])


def status(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="The campaign; all if left out.")] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Show it anew at every change, until it is complete.")] = False,
    storage: Storage = None,
    as_json: Json = False,
) -> None:
    """Show how far a campaign is: its trials by state, and the best validation accuracy of each study."""
    from studies.overview import status_of, statuses

    if name is None:
        if watch:
            raise BadInput(f"--watch needs the NAME of a campaign; `{PROGRAM} list` shows them.")
        if as_json:
            print_json(statuses(_read(storage)))
        else:
            list_(storage)
        return
    shown: dict[str, Any] | None = None
    while True:
        found = status_of(_read(storage, patient=watch), name)
        if found != shown:
            _print_status(found, as_json=as_json, again=shown is not None)
        shown = found
        if not watch or found["state"] == "complete":
            return
        time.sleep(WATCH_SECONDS)


def _print_status(found: dict[str, Any], *, as_json: bool, again: bool) -> None:
    if again:
        # On a terminal in place of the last table; elsewhere below it, for logs.
        print("\033[2J\033[H" if sys.stdout.isatty() else "", end="" if sys.stdout.isatty() or as_json else "\n")
    if as_json:
        print_json(found)
    else:
        print_text(f"{found['campaign']}: {found['state']}")
        _print_counts(("study",), [((study["name"].partition("/")[2],), study) for study in found["studies"]])
    sys.stdout.flush()
