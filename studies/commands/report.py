"""`rigl-study report`: a campaign's results as files, and its answer in a few lines on stdout."""

import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from studies.commands.app import print_json, print_text, say
from studies.commands.options import Artifacts, Json, Out, Storage, a_path, artifact_folder, one_of
from studies.commands.storage import opened, resolve, short_patience
from studies.errors import BadInput, ReportIncomplete, StorageError
from studies.printable import printable_json
from studies.reporting.figure_style import STYLES

if TYPE_CHECKING:
    from optuna.storages import BaseStorage
    from pandas import DataFrame

    from studies.frame import Provenance
    from studies.report import WrittenReport

LIVE_SECONDS = 15
"""A report that is kept up to date is looked after so often."""

Margin = Annotated[
    float | None,
    typer.Option(
        "--margin",
        min=0,
        metavar="POINTS",
        show_default="0.25",
        help="A gain below this is not worth tuning for. With --optuna-study in units of its value, and 0 by default.",
    ),
]
FigureStyle = Annotated[
    str, one_of(STYLES, "--style", help="How figures are drawn: for a screen, or at the column widths of a paper.")
]


Source = Annotated[
    Path | None,
    typer.Option(
        "--from",
        parser=a_path,
        metavar="FILE",
        help="Rebuild the report from the trials.csv and summary.json of an earlier one, without a database.",
    ),
]


ForeignName = Annotated[
    str | None,
    typer.Option("--optuna-study", metavar="STUDY", help="Instead of a campaign, a study that another program made."),
]
Reference = Annotated[
    list[str] | None,
    typer.Option(
        "--reference",
        metavar="KEY=VALUE,...",
        help="With --optuna-study: the parameters to compare the best with, for example lr=0.1,alpha=0.3; repeatable. "
        "A value may be JSON: layers=[64,32].",
    ),
]
ReferenceTrial = Annotated[
    int | None,
    typer.Option("--reference-trial", metavar="NUMBER", min=0, help="Instead of --reference, a trial by its number."),
]


def report(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME",
            help="The campaign; or several, to compare the others with the first.",
            show_default=False,
        ),
    ] = None,
    out: Out = None,
    margin: Margin = None,
    style: FigureStyle = "screen",
    parquet: Annotated[
        bool, typer.Option("--parquet", help="Write trials.parquet as well; needs rigl-study[parquet].")
    ] = False,
    live: Annotated[
        bool, typer.Option("--live", help="Write it anew as trials finish, until all have; the page reloads itself.")
    ] = False,
    attach: Annotated[
        bool, typer.Option("--attach", help="Show verdict, figures and page in Optuna's dashboard as well.")
    ] = False,
    artifacts: Artifacts = None,
    source: Source = None,
    optuna_study: ForeignName = None,
    reference: Reference = None,
    reference_trial: ReferenceTrial = None,
    as_schema: Annotated[
        bool, typer.Option("--schema", help="Print the JSON schema of summary.json, and do nothing else.")
    ] = False,
    storage: Storage = None,
    as_json: Json = False,
) -> None:
    """Write the report of a campaign, finished or not: HTML, Markdown, a table of all trials, JSON, figures.

    Prints the result in a few lines and where the report is; with --json what summary.json holds and nothing else.
    """
    if as_schema:
        from studies.summary_schemas import published_schema

        print_json(published_schema())
        return
    if [names or None, source, optuna_study].count(None) != 2:
        raise BadInput(
            "report takes one of: NAME, a campaign (`rigl-study list` shows them); --from FILE; --optuna-study STUDY."
        )
    if live and (not names or len(names) > 1):
        raise BadInput("--live is for one campaign, by its NAME.")
    if live and as_json:
        raise BadInput(
            "--json prints one result and --live has many; leave out --json and read summary.json beside the page."
        )
    if attach and (not names or len(names) > 1):
        raise BadInput("--attach is for one campaign, by its NAME.")
    if artifacts is not None and not attach:
        raise BadInput("--artifacts says where --attach puts files; add --attach.")
    if names and len(set(names)) < len(names):
        raise BadInput(f"{', '.join(names)}: a campaign is named twice; compare it with others.")
    if margin is not None and not math.isfinite(margin):
        raise BadInput(f"--margin is {margin}; give a number of points, 0 or more.")
    if reference and optuna_study is None:
        raise BadInput("--reference is for --optuna-study; a campaign has its reference in its specification.")
    if reference_trial is not None and (optuna_study is None or reference):
        raise BadInput("--reference-trial is for --optuna-study, in place of --reference.")
    options = ReportOptions(out, None if margin is None else margin / 100, style, parquet, as_json=as_json)
    if attach:
        options = replace(options, artifacts=artifact_folder(artifacts))
    if optuna_study is not None:
        if parquet:
            raise BadInput("--parquet is for campaigns; trials.csv has the trials of an Optuna study.")
        _report_foreign(optuna_study, reference or reference_trial, storage, options, margin or 0.0)
    elif source is not None:
        if storage is not None:
            raise BadInput("--from takes all it needs from FILE; leave out --storage.")
        from studies.reporting.trials_reader import read_report

        options.write(*read_report(source))
    elif names:
        with opened(storage, patient=live) as database:
            if live:
                follow_campaign(database, names[0], options)
            elif len(names) == 1:
                write_campaign(database, names[0], options)
            else:
                _compare(database, names, options)


def _compare(database: "BaseStorage", names: Sequence[str], options: "ReportOptions") -> None:
    """Write the report that compares campaigns with the first of them."""
    from studies.comparison_report import write_comparison
    from studies.frame import load_frame, load_provenance
    from studies.report import Form
    from studies.reporting.report_folder import default_folder

    campaigns = [(load_frame(database, name), load_provenance(database, name)) for name in names]
    folder = options.out or default_folder("+".join(names))
    written = write_comparison(campaigns, folder, options.least_gain, Form(options.style, options.parquet))
    options.tell(written)


def _report_foreign(
    study: str, reference: Sequence[str] | int | None, storage: str | None, options: "ReportOptions", margin: float
) -> None:
    """Write the report of a study that another program made; its storage is only read."""
    from studies.foreign import load_foreign
    from studies.foreign_report import write_foreign
    from studies.report import Form
    from studies.reporting.report_folder import default_folder
    from studies.storage import close_storage, open_read_only

    database = open_read_only(resolve(storage, must_exist=True), patience=short_patience())
    try:
        found = load_foreign(database, study, reference)
    finally:
        close_storage(database)
    written = write_foreign(found, options.out or default_folder(study), margin, Form(options.style))
    options.tell(written)


@dataclass(frozen=True)
class ReportOptions:
    """Where a report goes and in which form. The defaults are those of `rigl-study report`.

    Attributes:
        out: its folder; None for the one named after what it is about.
        margin: the gain, a fraction, below which tuning does not pay; None for the usual one.
        style: of its figures.
        parquet: whether the trials are written as Parquet, too.
        artifacts: where what Optuna's dashboard shows of it goes; None to attach nothing.
        as_json: whether what it found is said as JSON, for scripts.
    """

    out: Path | None = None
    margin: float | None = None
    style: str = "screen"
    parquet: bool = False
    artifacts: Path | None = None
    as_json: bool = False

    @property
    def least_gain(self) -> float:
        """The margin that was asked for, or the usual one."""
        from studies.reporting.findings import MARGIN

        return MARGIN if self.margin is None else self.margin

    def write(
        self,
        frame: "DataFrame",
        provenance: "Provenance",
        *,
        database: "BaseStorage | None" = None,
        refresh: int | None = None,
    ) -> None:
        """Write the report of these trials, and say what it found.

        Args:
            frame: the trials.
            provenance: of their campaign.
            database: where it is stored, to attach the report there; only needed with `artifacts`.
            refresh: seconds after which the page reloads itself, if it is to.
        """
        from studies.report import Form, write_report

        folder = self.out or Path("reports") / provenance.campaign
        written = write_report(frame, provenance, folder, self.least_gain, Form(self.style, self.parquet, refresh))
        if self.artifacts is not None and database is not None and written.analysis is not None:
            from studies.attachments import attach

            attach(database, written.analysis, written.folder, self.artifacts)
        self.tell(written)

    def tell(self, written: "WrittenReport") -> None:
        """Say what a report found and where it is.

        Raises:
            ReportIncomplete: a part of it could not be made.
        """
        if self.as_json:
            print(printable_json((written.folder / "summary.json").read_text(encoding="utf-8")), end="")
            say(f"report: {written.html}")
        else:
            print_text(written.headline)
            print_text(f"report: {written.html}")
        if written.failures:
            raise ReportIncomplete(" ".join(written.failures))


def write_campaign(database: "BaseStorage", name: str, options: ReportOptions) -> None:
    """Write the report of a stored campaign, and say what it found."""
    from studies.frame import load_frame, load_provenance

    options.write(load_frame(database, name), load_provenance(database, name), database=database)


def follow_campaign(
    database: "BaseStorage", name: str, options: ReportOptions, pause: Callable[[float], object] = time.sleep
) -> None:
    """Write the report of a campaign now and whenever its trials have changed, until none is waiting or running.

    A part that could not be made is told at the end, if the last page lacks it, too. That page, also after Ctrl-C or
    where the database stays away, does not reload itself.

    Args:
        database: where the campaign is stored.
        name: of the campaign.
        options: where the report goes and in which form.
        pause: waits for so many seconds between two looks.
    """
    from studies.frame import load_frame, load_provenance
    from studies.reporting.trials_csv import trials_csv

    provenance = load_provenance(database, name)
    shown: DataFrame | None = None
    told = ""
    incomplete: ReportIncomplete | None = None
    try:
        while True:
            began = time.monotonic()
            frame = load_frame(database, name)
            is_unfinished = bool(frame["state"].isin(["waiting", "running"]).any())
            now_told = trials_csv(frame)  # all there is to say; a frame with NaN in a curve would not equal itself
            if now_told != told:
                refresh = LIVE_SECONDS if is_unfinished else None
                incomplete = None
                try:
                    options.write(frame, provenance, database=database, refresh=refresh)
                except ReportIncomplete as error:
                    incomplete = error  # more trials may make it whole
                sys.stdout.flush()
                shown, told = frame, now_told
            if not is_unfinished:
                break
            # A large report leaves most of the time to the workers.
            pause(max(LIVE_SECONDS, 3 * (time.monotonic() - began)))
    except (KeyboardInterrupt, StorageError) as end:
        if shown is not None:
            options.write(shown, provenance, database=None if isinstance(end, StorageError) else database)
        raise
    if incomplete is not None:
        raise incomplete
