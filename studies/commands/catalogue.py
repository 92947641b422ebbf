"""`rigl-study catalogue ...` and `rigl-study data ...`: what there is to run, and on what."""

from dataclasses import asdict
from typing import Annotated

import typer

from rigl_core.data import DATASETS, get_dataset
from studies.commands.app import command, new_app, print_json, print_table, say
from studies.commands.options import DataDir, Json, complete_entry
from studies.commands.training import require_training
from studies.errors import DataUnavailable

catalogue_app = new_app(about="The experiments that come with rigl-study.", example="rigl-study catalogue list")
data_app = new_app(about="The data sets: where they are, and how to get them.", example="rigl-study data list")


@command(catalogue_app, "list", example="rigl-study catalogue list")
def catalogue_list(as_json: Json = False) -> None:
    """List the experiments with their sizes: tickets are trials, runs are trainings of one network (trials × seeds)."""
    from studies.catalogue import catalogue_entries

    entries = catalogue_entries()
    if as_json:
        keys = ("name", "reproduces", "tickets", "runs", "gpu_hours")
        print_json([{key: asdict(entry)[key] for key in keys} for entry in entries])
        return
    print_table(
        ("name", "reproduces", "tickets", "runs", "gpu hours", "what it is"),
        [(e.name, e.reproduces, e.tickets, e.runs, e.gpu_hours, e.description) for e in entries],
    )


@command(catalogue_app, "show", example="rigl-study catalogue show fashion-lenet-smoke > my-study.toml")
def catalogue_show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The experiment.", autocompletion=complete_entry)],
) -> None:
    """Print an experiment's TOML, the best start for one's own."""
    from studies.catalogue import catalogue_text

    print(catalogue_text(name), end="")


@command(data_app, "list", example="rigl-study data list")
def data_list(data_dir: DataDir = None, as_json: Json = False) -> None:
    """List the data sets and where each was found."""
    from rigl_core.data.find import status

    found = {name: status(name, data_dir) for name in DATASETS}
    if as_json:
        print_json([{"name": n, "found": where, "summary": DATASETS[n].summary} for n, where in found.items()])
        return
    print_table(
        ("name", "where", "what it is"),
        [(name, where or "not here; see `data fetch`", DATASETS[name].summary) for name, where in found.items()],
    )


@command(data_app, "fetch", example="rigl-study data fetch digits")
def data_fetch(
    names: Annotated[list[str], typer.Argument(metavar="|".join(DATASETS), help="The data set; several may be named.")],
    data_dir: DataDir = None,
) -> None:
    """Find a data set or download it, and check that it can be read."""
    from rigl_core.data.find import fetch

    for name in names:
        get_dataset(name)
    require_training("reading a data set")
    n_unavailable = 0
    for name in names:
        try:
            where = fetch(name, data_dir)
        except DataUnavailable as error:  # the others may be there
            say(str(error))
            n_unavailable += 1
        else:
            say(f"{name} is in order")
            print(where)
    if n_unavailable:
        raise typer.Exit(1)
