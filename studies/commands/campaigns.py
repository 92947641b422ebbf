"""The commands that make and steer campaigns, from `create` to `delete`; those that train are in `run`."""

import logging
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from studies.commands.app import PROGRAM, print_json, say
from studies.commands.options import (
    CampaignName,
    Checkpoints,
    DataDir,
    FallbackDataset,
    Json,
    NewName,
    Overrides,
    Spec,
    Storage,
    Trial,
    checkpoint_folder,
)
from studies.commands.storage import opened
from studies.errors import BadInput, NotFound, UnknownName
from studies.printable import printable

if TYPE_CHECKING:
    from studies.spec import StudySpec
    from studies.tickets import TicketQueue


def plan_campaign(
    spec: str, overrides: Sequence[str] | None, name: str | None, fallback: str | None, data_dir: Path | None
) -> "StudySpec":
    """What the arguments of `create` and `run` ask for, fully validated; nothing is stored or started yet."""
    from studies.commands.fallback import with_available_dataset
    from studies.spec_file import load_spec

    planned = load_spec(spec, overrides or (), name)
    return planned if fallback is None else with_available_dataset(planned, fallback, data_dir, say)


def create(
    spec: Spec,
    overrides: Overrides = None,
    name: NewName = None,
    fallback_dataset: FallbackDataset = None,
    data_dir: DataDir = None,
    checkpoints: Checkpoints = None,
    storage: Storage = None,
) -> None:
    """Check a study to the last corner of its search box, and store it with all its tickets.

    Prints the campaign's name. Creating the same campaign again changes nothing; another one of its name is refused.
    """
    from studies.campaigns import create_campaign
    from studies.sources import resolve_sources

    planned = plan_campaign(spec, overrides, name, fallback_dataset, data_dir)
    with opened(storage, must_exist=planned.pending is not None) as database:
        planned = resolve_sources(database, planned, checkpoint_folder(checkpoints))
        queues = create_campaign(database, planned)
        tell_cautions(planned)
        say(f"{planned.name}: {describe(queues)}; `{PROGRAM} work {planned.name}` trains them")
    print(planned.name)


def tell_cautions(planned: "StudySpec") -> None:
    """Say what is possible and hardly meant, once the campaign is stored: what is refused is refused in one line."""
    from studies.cautions import cautions

    for caution in cautions(planned):
        say(caution, logging.WARNING)


def describe(queues: Sequence["TicketQueue"]) -> str:
    """How large a campaign is and how far, in words."""
    counts = [queue.counts() for queue in queues]
    n_done = sum(c.complete + c.pruned + c.failed for c in counts)
    n_trials = n_done + sum(c.waiting + c.running for c in counts)
    n_studies = len(queues)
    studies = f"{n_studies} {'study' if n_studies == 1 else 'studies'}"
    return f"{studies}, {n_trials} {'trial' if n_trials == 1 else 'trials'}, {n_done} done"


def show(name: CampaignName, trial: Trial, storage: Storage = None, as_json: Json = False) -> None:
    """Show all that is known of one trial: parameters, accuracies seed by seed, costs, worker, why it failed."""
    study, number = _split_trial(trial, name)
    from studies.frame import DECLARED, load_frame, param_columns

    with opened(storage) as database:
        frame = load_frame(database, name)
    full = f"{name}/{study}"
    studies = list(frame["study"].cat.categories)
    if full not in studies:
        raise UnknownName(f"study of {name}", study, [s.partition("/")[2] for s in studies])
    rows = frame[(frame["study"] == full) & (frame["number"] == number)]
    if rows.empty:
        n_trials = int((frame["study"] == full).sum())
        raise NotFound(f"{full} has no trial {number}; it has {n_trials}, numbered from 0.")
    row = rows.iloc[0]
    found = {column: _plain(row[column]) for column in DECLARED}
    found["params"] = {param: _plain(row[column]) for param, column in param_columns(frame).items()}
    if as_json:
        print_json(found)
        return
    shown = {key: _for_people(value) for key, value in found.items() if value not in (None, {}, [])}
    shown |= {key: f"{shown[key]} UTC" for key in ("started", "finished") if key in shown}
    width = max(map(len, shown))
    for key, text in shown.items():
        print(f"{key:<{width}} {printable(text)}")


def _plain(value: Any) -> Any:
    """A cell of the frame as JSON knows it: no NaN, no NumPy numbers, times as ISO text."""
    import pandas as pd

    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if pd.isna(value):
        return None
    if isinstance(value, pd.Timestamp):
        return value.isoformat(timespec="seconds")
    return value.item() if hasattr(value, "item") else value


def _for_people(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_for_people(inner)}" for key, inner in value.items())
    if isinstance(value, list):
        return ", ".join(map(_for_people, value))
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _split_trial(trial: str, campaign: str) -> tuple[str, int]:
    """Study and number of a trial, also as other commands print it: CAMPAIGN/STUDY#NUMBER."""
    found = re.fullmatch(r"(.+)[/#]([0-9]{1,9})", trial)
    if found is None:
        raise BadInput(f'trial "{trial}" is not STUDY/NUMBER; write for example rigl-s0.98-erk/3.')
    return found[1].removeprefix(f"{campaign}/"), int(found[2])


def stop(name: CampaignName, storage: Storage = None) -> None:
    """Stop a campaign: running trials are checkpointed and given back, and its workers end. `resume` undoes it."""
    _steer(name, storage, "stop", "stopped; its workers give their trials back and end")


def pause(name: CampaignName, storage: Storage = None) -> None:
    """Pause a campaign: running trials go on, no new one begins, and its workers wait. `resume` undoes it."""
    _steer(name, storage, "pause", "paused; running trials go on, no new one begins")


def resume(name: CampaignName, storage: Storage = None) -> None:
    """Let a stopped or paused campaign go on. Workers that ended must be started again with `work`."""
    _steer(name, storage, "run", "may go on")


def _steer(name: str, storage: str | None, control: Literal["run", "pause", "stop"], outcome: str) -> None:
    from studies.campaigns import set_control

    with opened(storage) as database:
        set_control(database, name, control)
    say(f"{name} {outcome}")


def retry(name: CampaignName, trial: Trial, storage: Storage = None) -> None:
    """Queue a failed or pruned trial again, with the same parameters. Prints the new trial."""
    study, number = _split_trial(trial, name)
    from studies.campaigns import open_campaign

    with opened(storage) as database:
        queues = {queue.name.partition("/")[2]: queue for queue in open_campaign(database, name).queues}
        if study not in queues:
            raise UnknownName(f"study of {name}", study, queues)
        successor = queues[study].retry(number)
    say(f"{trial} is queued again; `{PROGRAM} work {name}` trains it")
    print(f"{study}/{successor}")


def delete(
    name: CampaignName,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    storage: Storage = None,
) -> None:
    """Delete a campaign with all its trials, for good. Asks first."""
    from studies.campaigns import delete_campaign, list_campaigns

    with opened(storage) as database:
        if not yes and name in (campaigns := {campaign.name: campaign for campaign in list_campaigns(database)}):
            if not _may_ask():
                raise BadInput(f"to delete {name} for good, add --yes.")
            c = campaigns[name].counts
            n_trials = c.waiting + c.running + c.complete + c.pruned + c.failed + c.retried
            if not typer.confirm(
                f"Delete {name} with its {n_trials} {'trial' if n_trials == 1 else 'trials'} for good?", err=True
            ):
                say("nothing was deleted")
                raise typer.Exit(1)
        n_studies = delete_campaign(database, name)
    say(f"deleted {name} ({n_studies} {'study' if n_studies == 1 else 'studies'})")


def _may_ask() -> bool:
    return sys.stdin.isatty()
