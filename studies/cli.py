"""The command line `rigl-study`: its root, on which the commands of `studies.commands` hang.

Nothing here or there imports torch, Optuna, pandas or matplotlib before a command needs it: `--help` is instant. Of
all of `studies`, only `commands.run` and `commands.train` may import `workers`, inside the commands that train.
"""

import os
from typing import Annotated

import typer

from studies.commands.app import DEBUG_VARIABLE, PROGRAM, choose_log_format, command, new_app
from studies.commands.best import best
from studies.commands.campaigns import create, delete, pause, resume, retry, show, stop
from studies.commands.catalogue import catalogue_app, data_app
from studies.commands.dashboard import dashboard
from studies.commands.health import health
from studies.commands.launch import launch_app
from studies.commands.report import report
from studies.commands.run import run, work
from studies.commands.status import list_, status
from studies.commands.storage import storage_app
from studies.commands.storage_care import backup, init, restore, upgrade
from studies.commands.train import train

app = new_app(example="rigl-study run fashion-lenet-smoke")


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"{PROGRAM} {version('rigl-study')}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    version: Annotated[  # noqa: ARG001 - the callback prints it
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version and exit.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks and the log. Also: RIGL_STUDY_DEBUG=1.")] = (
        False
    ),
) -> None:
    """Which learning rate, drop fraction and update interval should RigL use, and does the answer carry over?

    A study is planned in a TOML file, kept in Postgres, trained by any number of workers, and told in a report.
    Results go to stdout, messages to stderr. Exit codes: 0 done, 1 failed, 2 bad input, 130 interrupted.
    """
    if debug:
        os.environ[DEBUG_VARIABLE] = "1"  # workers inherit it
    choose_log_format("text")
    if context.invoked_subcommand is None:
        typer.echo(context.get_help(), err=True)
        raise typer.Exit(2)


# In the order of a study's life, which is also the order of the help.
command(app, "run", example="rigl-study run fashion-lenet-smoke --workers 2 --out reports/smoke")(run)
command(app, "create", example="rigl-study create fashion-lenet-full --set strategy.n_trials=10 --name my-study")(
    create
)
command(app, "work", example="rigl-study work my-study --workers 2")(work)
command(app, "status", example="rigl-study status my-study --watch")(status)
command(
    app,
    "report",
    example="rigl-study report my-study --out reports/my-study\nrigl-study report my-study --json > my-study.json",
)(report)
command(app, "best", example="rigl-study best my-study --pair rigl-s0.98-erk --format command")(best)
command(app, "list", example="rigl-study list")(list_)
command(app, "show", example="rigl-study show my-study rigl-s0.98-erk/3")(show)
command(app, "pause", example="rigl-study pause my-study")(pause)
command(app, "stop", example="rigl-study stop my-study")(stop)
command(app, "resume", example="rigl-study resume my-study")(resume)
command(app, "retry", example="rigl-study retry my-study rigl-s0.98-erk/3")(retry)
command(app, "delete", example="rigl-study delete my-study --yes")(delete)
command(app, "train", example="rigl-study train --dataset digits --delta-t 10 --epochs 3 --seeds 0,1")(train)
command(app, "health", example="rigl-study health /tmp/rigl-study.health")(health)
command(app, "dashboard", example="rigl-study dashboard --port 8081")(dashboard)
command(storage_app, "init", example="rigl-study storage init")(init)
command(storage_app, "upgrade", example="rigl-study storage upgrade")(upgrade)
command(storage_app, "backup", example="rigl-study storage backup studies.backup")(backup)
command(storage_app, "restore", example="rigl-study storage restore studies.backup")(restore)
app.add_typer(launch_app, name="launch")
app.add_typer(catalogue_app, name="catalogue")
app.add_typer(data_app, name="data")
app.add_typer(storage_app, name="storage")
