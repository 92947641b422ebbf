"""The commands that need many trainings: work, run. Workers are imported here, and only when one is started.

Ctrl-C and SIGTERM give every running trial back with its checkpoint. `work` then has done what it was asked to and
exits 0; `run` has not, because there is no report, and exits 130: the same command goes on where it stopped.
"""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rigl_core.execution import Execution
from studies.commands.app import INTERRUPTED, PROGRAM, say
from studies.commands.campaigns import describe, plan_campaign, tell_cautions
from studies.commands.options import (
    CampaignNames,
    CampaignOption,
    Checkpoints,
    Compiled,
    DataDir,
    Deterministic,
    Device,
    FallbackDataset,
    LogFormat,
    NewName,
    Out,
    Overrides,
    Precision,
    Spec,
    Storage,
    Verbose,
    Workers,
    a_file,
    checkpoint_folder,
    chosen_campaigns,
)
from studies.commands.progress import CampaignProgress
from studies.commands.report import ReportOptions, write_campaign
from studies.commands.storage import opened, resolve
from studies.commands.training import require_training
from studies.errors import BadInput, NotFound
from studies.health_file import HealthFile

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

    from studies.database.storage_url import StorageUrl
    from studies.database.transactions import Counts

LOOK_PATIENCE = 1.0
"Seconds that the display waits for a database that is away. The workers wait longer."
LOOK_ANSWER = 5.0
"Seconds that it waits for an answer, during which this process can pass no signal on."


def work(
    names: CampaignNames = None,
    campaign: CampaignOption = None,
    workers: Workers = "1",
    device: Device = "auto",
    precision: Precision = "auto",
    deterministic: Deterministic = False,
    compiled: Compiled = False,
    forever: Annotated[bool, typer.Option("--forever", help="Wait for new campaigns when all is done.")] = False,
    max_trials: Annotated[
        int | None, typer.Option("--max-trials", min=1, metavar="N", help="Each worker ends after N trials.")
    ] = None,
    data_dir: DataDir = None,
    checkpoints: Checkpoints = None,
    health_file: Annotated[
        Path | None,
        typer.Option(
            "--health-file",
            parser=a_file,
            metavar="FILE",
            help="Say here every few seconds that all is well; see `health`.",
        ),
    ] = None,
    log_format: LogFormat = "text",
    verbose: Verbose = False,
    storage: Storage = None,
) -> None:
    """Train the waiting trials of campaigns until all are done; start it on as many machines as there are.

    Ctrl-C or SIGTERM: the current step is finished, the trial checkpointed and given back, exit code 0. A second one
    ends the workers at once; their trials are taken over by others half a minute later.
    """
    from studies.campaigns import check_worker_count
    from studies.database.retrying import unanswered_for

    campaigns = chosen_campaigns(names, campaign)
    require_training("training")
    n_workers = _count_workers(workers, device)
    with HealthFile(health_file, n_workers, unanswered_for) as health:
        url = resolve(storage, must_exist=True)
        check_worker_count(url, n_workers)
        with opened(storage, patient=True) as database:
            _check_campaigns(database, campaigns, forever=forever)
            told = _tell_held(database, campaigns)  # now: nobody should wonder what a worker waits for
        title = ", ".join(campaigns) or "all campaigns"
        code, stopped = _train(
            url,
            campaigns,
            title,
            n_workers,
            device,
            data_dir,
            checkpoints,
            Execution(precision=precision, deterministic=deterministic, compiled=compiled),
            forever=forever,
            max_trials=max_trials,
            log_format=log_format,
            verbose=verbose,
            health=health,
        )
        if stopped:
            say(f"stopped by {stopped}; trials in progress were given back")
        else:
            with opened(storage, patient=True) as database:
                _tell_held(database, campaigns, told)
    raise typer.Exit(code)


def run(
    spec: Spec,
    overrides: Overrides = None,
    name: NewName = None,
    workers: Workers = "1",
    out: Out = None,
    device: Device = "auto",
    precision: Precision = "auto",
    deterministic: Deterministic = False,
    compiled: Compiled = False,
    fallback_dataset: FallbackDataset = None,
    data_dir: DataDir = None,
    checkpoints: Checkpoints = None,
    log_format: LogFormat = "text",
    verbose: Verbose = False,
    storage: Storage = None,
) -> None:
    """Create a campaign, train it on this machine, and write its report: `create`, `work` and `report` in one.

    If the same campaign is there already, what it lacks is done. So after Ctrl-C (exit code 130) or a crash the same
    command goes on where it stopped.
    """
    from studies.campaigns import check_worker_count, create_campaign
    from studies.overview import HELD
    from studies.reporting.report_folder import check_folder
    from studies.sources import resolve_sources

    require_training("training")
    planned = plan_campaign(spec, overrides, name, fallback_dataset, data_dir)
    check_folder(out or Path("reports") / planned.name)  # now, not after hours of training
    n_workers = _count_workers(workers, device)
    url = resolve(storage)
    check_worker_count(url, n_workers)
    with opened(storage, must_exist=planned.pending is not None, patient=True) as database:
        planned = resolve_sources(database, planned, checkpoint_folder(checkpoints))
        queues = create_campaign(database, planned)
        tell_cautions(planned)
        say(f"{planned.name}: {describe(queues)}")
        if held := _held(HELD.get(queues[0].control(), ""), planned.name):
            raise BadInput(f"{held}.")

        code = 0
        if not all(queue.counts().is_done for queue in queues):
            execution = Execution(precision=precision, deterministic=deterministic, compiled=compiled)
            where = (device, data_dir, checkpoints, execution)
            code, stopped = _train(
                url, [planned.name], planned.name, n_workers, *where, log_format=log_format, verbose=verbose
            )
            if stopped:
                say(f"stopped by {stopped}; trials in progress were given back, and the same command goes on from here")
                raise typer.Exit(INTERRUPTED)
        counts = [queue.counts() for queue in queues]
        if not all(c.is_done for c in counts):
            say(f"not all trials are done; `{PROGRAM} status {planned.name}` shows what is left")
            _tell_held(database, [planned.name])
            raise typer.Exit(code or 1)
        write_campaign(database, planned.name, ReportOptions(out))
        if not any(c.complete for c in counts):
            say(f"no trial was completed; `{PROGRAM} show {planned.name} TRIAL` tells why each failed")
        if code or not any(c.complete for c in counts):  # also where others finished what a killed worker had begun
            raise typer.Exit(code or 1)


def _train(
    url: "StorageUrl",
    campaigns: Sequence[str],
    title: str,
    n_workers: int,
    device: str,
    data_dir: Path | None,
    checkpoints: Path | None,
    execution: Execution,
    *,
    forever: bool = False,
    max_trials: int | None = None,
    log_format: str = "text",
    verbose: bool = False,
    health: HealthFile | None = None,
) -> tuple[int, str]:
    """Run workers with live progress. Their exit code, and what stopped them early ("" if nothing did)."""
    from studies.storage import close_storage, open_storage
    from workers.pool import WorkerSettings, run_workers
    from workers.stop import Stop, on_signals

    where = WorkerSettings.storage_of(url)
    settings = WorkerSettings(
        storage=where["storage"],
        home=where["home"],
        campaigns=tuple(campaigns),
        checkpoint_dir=str(checkpoint_folder(checkpoints)),
        data_dir=None if data_dir is None else str(data_dir.absolute()),
        device=device,
        precision=execution.precision,
        deterministic=execution.deterministic,
        compiled=execution.compiled,
        forever=forever,
        max_trials=max_trials,
        log_format=log_format,
        verbose=verbose,
    )
    stop = Stop()
    with on_signals(stop):
        database = open_storage(url, patience=LOOK_PATIENCE, answer_limit=LOOK_ANSWER, should_stop=stop.is_set)

        def look() -> Mapping[str, "Counts"]:
            try:
                return _counts(database, campaigns)
            finally:
                if not progress.is_live:  # one of hundreds, perhaps: no connection is kept for a log
                    close_storage(database)

        acknowledged = False

        def show() -> None:
            nonlocal acknowledged
            if stop.is_set() and not acknowledged:  # a step may be long, and who hears nothing presses again
                acknowledged = True
                say(f"{stop.reason}: trials in progress are being given back; a second one ends the workers at once")
            progress.update()

        progress = CampaignProgress(title, look)
        try:
            with progress:
                code = run_workers(
                    settings,
                    n_workers,
                    stop,
                    output=progress.output,
                    on_progress=show,
                    on_alive=None if health is None else health.tell,
                )
        finally:
            close_storage(database)
    return code if code in (0, 2) else 1, stop.reason


def _counts(database: "BaseStorage", campaigns: Sequence[str]) -> Mapping[str, "Counts"]:
    """What the display shows: the studies of a single campaign, or every campaign as one."""
    from studies.campaigns import list_campaigns, open_campaign

    if len(campaigns) == 1:
        try:
            queues = open_campaign(database, campaigns[0]).queues
            return {queue.name.partition("/")[2]: queue.counts() for queue in queues}
        except BadInput:  # deleted meanwhile, or half so: it goes study by study. The workers notice too, and end
            return {}
    return {c.name: c.counts for c in list_campaigns(database) if not campaigns or c.name in campaigns}


def _held(state: str, name: str) -> str:
    """What to say of a campaign that is not to be worked on; "" if it is."""
    from studies.overview import HELD

    if state not in HELD.values():
        return ""
    return f"campaign {name} is {state}; `{PROGRAM} resume {name}` lets it go on"


def _tell_held(database: "BaseStorage", campaigns: Sequence[str], told: Collection[str] = ()) -> list[str]:
    """Say which of these campaigns (all, if none is named) are paused, stopped or gone, but for what was `told`.

    Returns:
        What is to be said of them.
    """
    from studies.campaigns import list_campaigns

    states = {campaign.name: campaign.state for campaign in list_campaigns(database)}
    held = [_held(states[name], name) if name in states else f"campaign {name} was deleted" for name in campaigns]
    held += [] if campaigns else [_held(state, name) for name, state in states.items()]
    for line in held:
        if line and line not in told:
            say(line)
    return held


def _count_workers(wanted: str, device: str) -> int:
    """How many processes `--workers` asks for."""
    if wanted != "auto":
        return int(wanted)
    from workers.devices import one_per_gpu

    return one_per_gpu(device)


def _check_campaigns(database: "BaseStorage", campaigns: Sequence[str], *, forever: bool) -> None:
    """Refuse work on what is not there, before workers are started that would each say so."""
    from studies.campaigns import list_campaigns, open_campaign

    for name in campaigns:
        open_campaign(database, name)
    if not campaigns and not forever and not list_campaigns(database):
        raise NotFound(f"nothing is stored yet; `{PROGRAM} create SPEC` makes a campaign, --forever waits for one.")
