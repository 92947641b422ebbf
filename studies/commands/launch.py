"""`rigl-study launch ...`: workers on a cluster, started by the cluster's own scheduler.

The jobs run `rigl-study work`; this command only submits them, and loads no torch.
"""

import re
import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime
from math import ceil
from pathlib import Path
from typing import Annotated, Literal

import typer

from studies.commands.app import command, new_app, print_json, say
from studies.commands.options import (
    CampaignNames,
    CampaignOption,
    Checkpoints,
    Compiled,
    DataDir,
    Deterministic,
    Device,
    Json,
    Precision,
    Storage,
    Verbose,
    a_folder,
    checkpoint_folder,
    chosen_campaigns,
)
from studies.commands.storage import opened, resolve
from studies.errors import BadInput, NotFound

launch_app = new_app(
    about="Start workers on a cluster.", example="rigl-study launch slurm my-study --workers 8 --gpus 1"
)

_TIME = re.compile(
    r"(?:(?P<days>\d+)-(?P<of_day>\d+)(?::(?P<min_of_day>\d+)(?::(?P<sec_of_day>\d+))?)?"
    r"|(?P<hours>\d+):(?P<min_of_hour>\d+):(?P<sec_of_hour>\d+)"
    r"|(?P<minutes>\d+)(?::(?P<seconds>\d+))?)"
)
_OPTION = re.compile(r"(?P<name>[a-z][a-z0-9-]*)(=(?P<value>.+))?")
_OURS = (
    *("array", "job-name", "output", "error", "open-mode", "requeue", "no-requeue", "signal", "time", "export"),
    *("ntasks", "wrap"),
)
_OTHER_ANSWER = ("help", "parsable", "quiet", "test-only", "usage", "version", "wait")
"""Options with which sbatch does something else than submit and print the job's id."""
_VALUES: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(
        ("contiguous", "hold", "ignore-pbs", "overcommit", "oversubscribe", "reboot", "spread-job", "use-min-nodes"), ()
    ),
    "exclusive": ("user", "mcs", "topo"),
    "no-kill": ("off",),
}
"""Options of sbatch that have no value, and those that may have none; with the values that they take."""


@command(launch_app, "slurm", example="rigl-study launch slurm my-study --workers 8 --gpus 1")
def slurm(
    workers: Annotated[int, typer.Option("--workers", min=1, max=10_000, metavar="N", help="Jobs, a worker each.")],
    names: CampaignNames = None,
    campaign: CampaignOption = None,
    time: Annotated[
        str, typer.Option("--time", metavar="TIME", help="Time limit of a job as SLURM writes it: H:M:S, D-H, minutes.")
    ] = "4:00:00",
    notice: Annotated[
        int, typer.Option("--notice", min=10, metavar="SECONDS", help="Give the trial back so long before the limit.")
    ] = 120,
    partition: Annotated[
        str | None, typer.Option("--partition", metavar="NAME", help="Default: the cluster's own.")
    ] = None,
    gpus: Annotated[int, typer.Option("--gpus", min=0, max=1, help="GPUs of a job: 1, or 0 to train on the CPU.")] = 0,
    cpus: Annotated[int | None, typer.Option("--cpus", min=1, metavar="N", help="CPUs of a job.")] = None,
    array_parallelism: Annotated[
        int | None, typer.Option("--array-parallelism", min=1, metavar="N", help="So many jobs at once. Default: all.")
    ] = None,
    sbatch: Annotated[
        list[str] | None,
        typer.Option(
            "--sbatch",
            metavar="OPTION[=VALUE]",
            help="Another option of sbatch, as account=lab or exclusive; repeatable.",
        ),
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option(
            "--folder", parser=a_folder, metavar="DIR", help="For logs and scripts; new, seen by all machines."
        ),
    ] = None,
    device: Device = "auto",
    precision: Precision = "auto",
    deterministic: Deterministic = False,
    compiled: Compiled = False,
    verbose: Verbose = False,
    data_dir: DataDir = None,
    checkpoints: Checkpoints = None,
    storage: Storage = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the batch script; submit and write nothing.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Submit an array of workers to SLURM, and print the ids of its jobs.

    Before its time is up, or when it is preempted, a job gives its trial back with its checkpoint and is queued again,
    until the campaigns are done. `scancel` ends it for good. The database must be reached from every machine of the
    cluster, and --folder, --checkpoints and --data-dir be on storage that all of them share.
    """
    from studies.campaigns import check_worker_count
    from studies.slurm import SlurmJobs, check_slurm, check_visible, script, submit

    campaigns = chosen_campaigns(names, campaign)
    asked = SlurmJobs(
        n_jobs=workers,
        minutes=_minutes(time, notice),
        notice=notice,
        partition=partition,
        gpus=gpus,
        cpus=cpus,
        array_parallelism=array_parallelism,
        options=_options(sbatch or ()),
    )
    place = (folder or _new_folder()).absolute()
    if dry_run:
        print(script(asked, place), end="")
        return
    check_slurm()
    url = resolve(storage, must_exist=True)
    check_visible(url, workers)
    check_worker_count(url, workers)
    _check_campaigns(storage, campaigns)
    if gpus and device == "auto":
        device = "cuda"  # on a node whose GPU is broken a job should say so, and not train on its CPU
    work = _work_arguments(campaigns, device, data_dir, checkpoints)
    work += ["--precision", precision, *(["--deterministic"] if deterministic else [])]
    work += [*(["--compile"] if compiled else []), *(["--verbose"] if verbose else [])]
    jobs = submit(work, url, asked, place)
    if as_json:
        print_json({"jobs": jobs, "folder": str(place)})
    else:
        print("\n".join(jobs))
    say(f"logs are in {place}; `squeue` shows the jobs and `scancel {jobs[0].partition('_')[0]}` ends them")


def _work_arguments(
    campaigns: Sequence[str], device: str, data_dir: Path | None, checkpoints: Path | None
) -> list[str]:
    arguments = [word for name in campaigns for word in ("--campaign", name)]
    arguments += ["--device", device, "--checkpoints", str(checkpoint_folder(checkpoints))]
    return arguments if data_dir is None else [*arguments, "--data-dir", str(data_dir.absolute())]


def _check_campaigns(storage: str | None, campaigns: Sequence[str]) -> None:
    """Refuse what every single job would refuse, hours later perhaps."""
    from studies.campaigns import list_campaigns, open_campaign

    with opened(storage) as database:
        for name in campaigns:
            open_campaign(database, name)
        if not campaigns and not list_campaigns(database):
            raise NotFound("nothing is stored yet; `rigl-study create SPEC` makes a campaign.")


def _new_folder() -> Path:
    from studies.database.embedded_files import default_home

    return default_home() / "slurm" / f"{datetime.now():%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"


def _minutes(text: str, notice: int) -> int:
    """A time limit of SLURM in minutes, rounded up."""
    match = _TIME.fullmatch(text.strip())
    if match is None:
        raise BadInput(f'--time "{text}" is no time limit; write 4:00:00, 2-12 (days-hours) or minutes.')
    part = {name: int(value or 0) for name, value in match.groupdict().items()}
    hours = part["days"] * 24 + part["of_day"] + part["hours"]
    minutes = hours * 60 + part["min_of_day"] + part["min_of_hour"] + part["minutes"]
    seconds = minutes * 60 + part["sec_of_day"] + part["sec_of_hour"] + part["seconds"]
    if seconds < 60:
        raise BadInput(f'--time "{text}" is too short; SLURM counts in minutes, so give at least 1.')
    if seconds <= notice:
        raise BadInput(f'--time "{text}" is not longer than the notice of {notice} s; give more time or less --notice.')
    return ceil(seconds / 60)


def _options(given: Sequence[str]) -> dict[str, str | Literal[True]]:
    """Options of sbatch, as users write them with `--sbatch`; True for those without a value."""
    options: dict[str, str | Literal[True]] = {}
    for text in given:
        match = _OPTION.fullmatch(text)
        if match is None:
            raise BadInput(f'--sbatch "{text}" is no option; write it as --sbatch account=lab, or --sbatch exclusive.')
        if match["name"] in _OURS:
            raise BadInput(f'--sbatch "{text}": {match["name"]} is set by this command; see `launch slurm --help`.')
        name, value = match["name"], match["value"]
        if name in _OTHER_ANSWER:
            raise BadInput(f'--sbatch "{text}": with {name} sbatch does not tell the job\'s id; leave it out.')
        if value is not None and name in _VALUES and value not in _VALUES[name]:
            some = f"no value, or {', '.join(_VALUES[name])}" if _VALUES[name] else "no value"
            raise BadInput(f'--sbatch "{text}": {name} takes {some}; write --sbatch {name}.')
        options[name] = True if value is None else value
    return options
