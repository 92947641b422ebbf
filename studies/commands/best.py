"""`rigl-study best`: the setting to train with, as a study file, as JSON, or as a command line."""

from typing import Annotated

import typer

from studies.commands.app import print_json, print_text, say
from studies.commands.options import CampaignName, Storage, one_of
from studies.commands.storage import opened
from studies.errors import UnknownName

FORMATS = ("toml", "json", "command")


def best(
    name: CampaignName,
    pair: Annotated[
        str | None,
        typer.Option("--pair", metavar="STUDY", help="Of this pair only, for example rigl-s0.98-erk. Default: all."),
    ] = None,
    form: Annotated[str, one_of(FORMATS, "--format", help="As what to print it.")] = "toml",
    storage: Storage = None,
) -> None:
    """Print the best setting of each pair, ready to be trained: a study file, JSON, or a `rigl-study train` line.

    The best on validation, as in the report; what tuning gained, if anything, is said on stderr.
    """
    from studies.frame import load_frame, load_provenance
    from studies.settings import as_commands, as_json, as_toml, best_settings, remarks

    if form not in FORMATS:
        raise UnknownName("format", form, FORMATS)
    with opened(storage) as database:
        provenance = load_provenance(database, name)
        found = best_settings(load_frame(database, name), provenance, pair)
    if form == "json":
        print_json(as_json(found))
    else:
        print_text(as_toml(found) if form == "toml" else as_commands(found))
    for remark in remarks(found):
        say(remark)
