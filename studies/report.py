"""The report of a campaign: report.html, report.md, trials.csv, summary.json and figures/, from one frame.

Everything is a pure function of frame and provenance, down to the bytes; only `write_report` touches the disk.
"""

import contextlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from studies import evidence, names, tables
from studies.analysis import analyse
from studies.evidence import methods_first
from studies.figures import comparison
from studies.frame import Provenance
from studies.reporting import result_words, second_process, wording
from studies.reporting.computing import computing
from studies.reporting.figure_style import drawn_in
from studies.reporting.findings import MARGIN, Analysis
from studies.reporting.health import concerns
from studies.reporting.page import Page
from studies.reporting.report_folder import replace_files
from studies.reporting.second_process import sections_made_apart
from studies.reporting.section import Block, Evidence, MakeSection, Section, Text
from studies.reporting.sections import (
    curves_section,
    pairs_section,
    parameters_section,
    provenance_section,
)
from studies.reporting.summary import summarise
from studies.reporting.trials_csv import trials_csv
from studies.reporting.trials_parquet import trials_parquet
from studies.spec import StudySpec


@dataclass(frozen=True)
class WrittenReport:
    """A report on the disk.

    Attributes:
        folder: where it is.
        html: the page to open.
        headline: its result, as plain text: of methods compared a sentence, then one line a pair.
        analysis: what it is about; None for reports of anything else than one campaign.
        failures: a sentence for each part that could not be made; the page says so in its place.
    """

    folder: Path
    html: Path
    headline: str
    analysis: Analysis | None = None
    failures: tuple[str, ...] = ()


@dataclass(frozen=True)
class Form:
    """How a report looks; it says the same in any form.

    Attributes:
        style: of its figures, a key of `studies.reporting.figure_style.STYLES`.
        parquet: whether the trials are written as Parquet, too.
        refresh: seconds after which a browser reads the page again, for one that is still being written; None: never.
    """

    style: str = "screen"
    parquet: bool = False
    refresh: int | None = None


FORM = Form()


def write_report(
    frame: pd.DataFrame, provenance: Provenance, out_dir: Path, margin: float = MARGIN, form: Form = FORM
) -> WrittenReport:
    """Write, or write anew, the report of a campaign.

    The same data give the same bytes. A crash on the way leaves every file as it was or as it is meant to be; files in
    `out_dir` that are not a report's are left alone.

    Args:
        frame: from `studies.frame.load_frame`.
        provenance: from `studies.frame.load_provenance`.
        out_dir: the report's folder; made if it is not there.
        margin: the gain in accuracy, a fraction, below which tuning does not pay.
        form: how it looks.

    Raises:
        BadInput: `out_dir` cannot be written, or has a file in the way that no report put there.
    """
    with computing():
        known = _known(frame, provenance, margin)
        page, files = _rendered(known, form)
    folder = replace_files(out_dir, files)
    headline = "\n".join(filter(None, [methods_first.answer(known), result_words.headline(known.analysis)]))
    return WrittenReport(folder, folder / "report.html", headline, known.analysis, page.failures)


def render_report(
    frame: pd.DataFrame, provenance: Provenance, margin: float = MARGIN, form: Form = FORM
) -> dict[str, str | bytes]:
    """The contents of a report's files by their names, relative to its folder."""
    with computing():
        return _rendered(_known(frame, provenance, margin), form)[1]


def _known(frame: pd.DataFrame, provenance: Provenance, margin: float) -> Evidence:
    return Evidence(
        frame,
        analyse(frame, provenance.campaign, margin, labels=provenance.labels, search=provenance.spec.search),
        provenance,
    )


SECTIONS: tuple[MakeSection, ...] = (
    pairs_section,
    parameters_section,
    curves_section,
    *evidence.SECTIONS,
    provenance_section,
)
"""What stands below the first screen, in this order."""

APART: tuple[MakeSection, ...] = (
    parameters_section,
    evidence.response_section.section,
    evidence.transfer_section.section,
    evidence.cost.section,
)
"""Of a large report a second process makes these: half of the work, and none of them looks at a course of training."""


@contextlib.contextmanager
def sections_begun(known: Evidence, style: str) -> Iterator[Callable[[], tuple[Section, ...]]]:
    """Have the second process of a large report begin; what is given makes the other sections and waits for its."""
    is_large = len(known.frame) >= second_process.LARGE and (os.cpu_count() or 1) > 1
    apart = APART if is_large else ()
    with contextlib.ExitStack() as stack:
        stack.enter_context(drawn_in(style))
        sent = evidence.without_courses(known) if apart else known
        made_apart = stack.enter_context(sections_made_apart(apart, sent, style)) if apart else tuple

        def sections() -> tuple[Section, ...]:
            made = {make: make(known) for make in SECTIONS if make not in apart}
            made.update(zip(apart, made_apart(), strict=True))
            return tuple(section for make in SECTIONS if (section := made[make]) is not None)

        yield sections


def make_sections(known: Evidence, style: str = FORM.style) -> tuple[Section, ...]:
    """The sections that these trials have something to say in, drawn in this style."""
    with sections_begun(known, style) as sections:
        return sections()


def _rendered(known: Evidence, form: Form) -> tuple[Page, dict[str, str | bytes]]:
    with sections_begun(known, form.style) as sections:
        table = trials_csv(known.frame)  # takes seconds, too, which are better spent here than after a wait
        page = _page(known, form, sections)
    files = {**page.files(), "trials.csv": table}
    if form.parquet:
        files["trials.parquet"] = trials_parquet(known.frame)
    summary = summarise(known, page.answer, page.concerns, page.sections, [*files, "summary.json"])
    return page, {**files, "summary.json": _json(summary)}


def _page(known: Evidence, form: Form, sections: Callable[[], tuple[Section, ...]]) -> Page:
    spec, analysis = known.provenance.spec, known.analysis
    return Page(
        title=analysis.campaign,
        description=spec.description,
        plan=_plan(spec, analysis),
        question=_question(spec, analysis),
        answer=_answer(known),
        concerns=concerns(known.frame, analysis, spec),
        first=_first_screen(known),
        sections=sections(),
        refresh=form.refresh,
    )


def _answer(known: Evidence) -> str:
    of_methods, of_tuning = methods_first.answer(known), result_words.answer(known.analysis)
    return " ".join(filter(None, [of_methods, of_tuning if known.analysis.tuned or not of_methods else None]))


def _first_screen(known: Evidence) -> tuple[Block, ...]:
    of_methods, analysis = methods_first.first_screen(known), known.analysis
    return (*of_methods, *(_tuning(analysis) if analysis.tuned or not of_methods else ()))


def _tuning(analysis: Analysis) -> tuple[Block, ...]:
    """Reference and best of each pair."""
    if not any(pair.best for pair in analysis.pairs):
        return ()
    note = "± is the standard deviation over seeds."
    if analysis.tuned:
        note += (
            " The best was chosen on validation accuracy alone; test accuracy was read afterwards. The winner of many "
            "is partly the luckiest, on test too: the gain is what the trials around it and the spread over seeds "
            f"leave of its lead. Below {100 * analysis.margin:g} points it is not worth tuning for (--margin). Tuning "
            "is said not to pay only where complete trials lie near all of the box and no place there gains as much."
        )
    if analysis.tuned and analysis.compared:
        alike = wording.listed(list(map(names.words, analysis.compared)))
        note += f" Candidates were the trials with the reference's {alike}."
    blocks: list[Block] = [tables.answer_table(analysis), Text(note, "note")]
    bits = tables.bits_table(analysis)
    if bits.rows:
        by_accuracy = (
            "The accuracies above are those of the next character, by which the best was chosen; fewer bits are better."
        )
        blocks += [bits, Text(by_accuracy, "note")]
    drawing = comparison(analysis)
    return (*blocks, *([drawing] if drawing else []))


def _question(spec: StudySpec, analysis: Analysis) -> str:
    config = spec.plans()[0].base_config
    of_what = "a network" if "model" in spec.search else names.model(config.model)
    on_what = "" if "dataset" in spec.search else f" on {names.dataset(config.dataset)}"
    if not spec.search:
        return f"What does {names.method(config.method)} reach with {of_what}{on_what}?"
    what = wording.listed(list(map(names.words, analysis.params)))
    gain = ", and what does tuning gain" if analysis.tuned else ""
    who = "one" if "method" in spec.search else names.method(config.method)
    return f"Which {what} should {who} use for {of_what}{on_what}{gain}?"


def _plan(spec: StudySpec, analysis: Analysis) -> str:
    """What was asked for, in a line."""
    strategy = spec.strategy
    n_planned = sum(len(plan.tickets()) for plan in spec.plans())
    parts = [
        wording.count(len(analysis.pairs), "pair"),
        f"{wording.count(n_planned, 'trial')} planned",
        f"seeds {', '.join(map(str, strategy.seeds))}",
        wording.count(spec.plans()[0].base_config.n_epochs, "epoch"),
    ]
    if spec.search:
        parts += [f"sampler {strategy.sampler}", f"pruner {strategy.pruner.name}", wording.searched(spec.search)]
    return " · ".join(parts)


def _json(content: Mapping[str, Any]) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
