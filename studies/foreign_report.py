"""The report of an Optuna study that some other program made: its best against a reference, and how sure that is.

The same page as a campaign's, with what such a study has, and with a word on what it cannot tell. Nothing is called an
accuracy or written as percent: values are what the other program says they are.
"""

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path

from studies import foreign_stopping
from studies.evidence import importance_section, response_section
from studies.foreign import FOREIGN_STATES, INFEASIBLE, ForeignStudy
from studies.foreign_files import foreign_csv, foreign_summary
from studies.foreign_finding import Finding, find
from studies.gain import Gain
from studies.names import as_they_are
from studies.report import FORM, Form, WrittenReport
from studies.reporting.computing import computing
from studies.reporting.figure_style import drawn_in
from studies.reporting.findings import PairResult, Setting, Verdict
from studies.reporting.health import Concern
from studies.reporting.page import Page
from studies.reporting.report_folder import replace_files
from studies.reporting.result_words import left
from studies.reporting.section import Block, Section, Text
from studies.reporting.trial_figures import curves, parameters
from studies.reporting.wording import NOT_KNOWN, count, listed, searched, setting
from studies.tables import Table, ranking_table

EVIDENCE: tuple[Callable[[Finding], Section | None], ...] = (
    importance_section.section,
    response_section.section,
    foreign_stopping.section,
)
"""What such a study has evidence of, too; the first two are those of a campaign's report."""

MOST_NAMED = 3
"""Of the trials that ran a setting so many are named."""


@as_they_are()
def write_foreign(study: ForeignStudy, out_dir: Path, margin: float = 0.0, form: Form = FORM) -> WrittenReport:
    """Write, or write anew, the report of a study of another program; see `studies.report.write_report`."""
    with computing():
        finding = find(study, margin)
    page, files = _rendered(finding, form)
    folder = replace_files(out_dir, files)
    return WrittenReport(folder, folder / "report.html", answer(finding), failures=page.failures)


@as_they_are()
def render_foreign(finding: Finding, form: Form = FORM) -> dict[str, str | bytes]:
    """The contents of the report's files by their names, relative to its folder."""
    return _rendered(finding, form)[1]


def _rendered(finding: Finding, form: Form) -> tuple[Page, dict[str, str | bytes]]:
    with computing(), drawn_in(form.style):
        page = _page(finding, form)
    files = {**page.files(), "trials.csv": foreign_csv(finding.study)}
    summary = foreign_summary(finding, page.answer, page.concerns, page.sections, [*files, "summary.json"])
    return page, {**files, "summary.json": json.dumps(summary, indent=2, ensure_ascii=False, allow_nan=False) + "\n"}


@as_they_are()
def answer(finding: Finding) -> str:
    """The result in a sentence or two."""
    study, pair, measure = finding.study, finding.pair, finding.study.measure
    if pair.best is None:
        counts = ", ".join(f"{n} {state}" for state, n in pair.counts.items() if n) or "no trials"
        who = "No trial that keeps the constraints" if pair.counts[INFEASIBLE] else "No trial"
        return f"{who} is complete with a value, so there is nothing to compare ({counts})."
    of_what = f"{pair.n_compared} settings" if finding.settings.repeated else str(pair.n_compared)
    best = f"The best of {of_what} ({_trials(pair.best)}: {setting(pair.best.params) or 'no parameters'})"
    best += f" has {measure.name} {_reached(pair.best, study)}"
    if study.reference is None:
        return f"{best}. No reference was named (--reference KEY=VALUE,...), so there is nothing to compare it with."
    if pair.reference is None:
        if (study.frame["is_reference"] & (study.frame["state"] == INFEASIBLE)).any():
            return f"{best}. The reference violates a constraint, so there is nothing to compare it with."
        return f"{best}. Without a complete reference there is nothing to compare it with."
    if pair.best.number == pair.reference.number:
        return f"{_nothing_better(finding)}{_provisional(pair)}"
    lead = pair.best.val_accuracy.mean - pair.reference.val_accuracy.mean
    better = measure.difference(lead).removeprefix("+")
    sentence = f"{best}, the reference {_reached(pair.reference, study)}: better by {better}."
    if finding.gain is None:
        once = "" if finding.settings.repeated else "each setting ran once, and "
        why = "it could not be computed" if finding.failed else f"{once}the trials are too few"
        return f"{sentence} How much of that is luck cannot be told: {why}."
    return f"{sentence} {_claim(finding, finding.gain)}{_provisional(pair)}"


def _nothing_better(finding: Finding) -> str:
    pair, measure = finding.pair, finding.study.measure
    assert pair.reference is not None
    reached = f"the reference, which has {measure.name} {_reached(pair.reference, finding.study)}"
    if finding.verdict is Verdict.DOES_NOT_PAY and pair.box is not None and pair.box.high is not None:
        return f"Nothing beat {reached}, and {_box_gives(finding, pair.box.high)}."
    if pair.box is None or not pair.box.n_tried:
        return f"Nothing was tried but {reached}."
    return f"No setting better than {reached}, was found among {pair.box.n_tried}{left(pair.box)}."


def _box_gives(finding: Finding, high: float) -> str:
    most = finding.study.measure.difference(max(high, 0))
    return f"no setting of the box gains more than {most} (upper end of a 95 % interval), below {finding.margin:g}"


def _provisional(pair: PairResult) -> str:
    unfinished = count(pair.n_unfinished, "trial")
    return f" Provisional: {unfinished} waiting or running." if pair.is_provisional else ""


def _claim(finding: Finding, gain: Gain) -> str:
    difference = finding.study.measure.difference
    remains = f"Without the winner's luck {difference(gain.mean)} is expected to remain ({_interval(finding, gain)})"
    match finding.verdict:
        case Verdict.PAYS:
            return f"{remains}: there is a gain."
        case Verdict.DOES_NOT_PAY if finding.pair.box is not None and finding.pair.box.high is not None:
            return f"{remains}, and {_box_gives(finding, finding.pair.box.high)}."
        case Verdict.NOTHING_FOUND:
            return f"{remains}: the best found gains less than {finding.margin:g}; the box may hold better settings."
        case _:
            return f"{remains}: whether there is a gain is undecided."


def _interval(finding: Finding, gain: Gain) -> str:
    difference = finding.study.measure.difference
    return f"95 % interval {difference(gain.low)} to {difference(gain.high)}"


def _reached(trained: Setting, study: ForeignStudy) -> str:
    runs = f" (mean of {count(len(trained.runs), 'run')})" if trained.runs else ""
    return f"{study.measure.text(trained.val_accuracy.mean)}{runs}"


def _trials(trained: Setting) -> str:
    """The trials that ran a setting: "trial 8", "trials 2, 7, 12 and 3 more"."""
    if not trained.runs:
        return f"trial {trained.number}"
    others = len(trained.runs) - MOST_NAMED
    named = [*map(str, trained.runs[:MOST_NAMED]), *([f"{others} more"] if others > 0 else [])]
    return f"trials {listed(named)}"


def _page(finding: Finding, form: Form) -> Page:
    study = finding.study
    return Page(
        title=study.name,
        description="",
        plan=_plan(study),
        question=_question(study),
        answer=answer(finding),
        concerns=tuple(_concerns(finding)),
        first=_first_screen(finding),
        sections=_sections(finding),
        refresh=form.refresh,
    )


def _plan(study: ForeignStudy) -> str:
    goal = "less is better" if study.minimises else "more is better"
    return " · ".join([count(len(study.frame), "trial"), f"{study.measure.name}, {goal}", searched(study.search)])


def _question(study: ForeignStudy) -> str:
    names = list(study.search)
    what = " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]])) if len(names) <= 6 else "parameters"
    return f"Which {what or 'parameters'} should one use, and what does tuning gain?"


def _concerns(finding: Finding) -> list[Concern]:
    frame, pair = finding.study.frame, finding.pair
    found = []
    if frame.empty:
        found.append(Concern("warning", "The study has no trials."))
    if pair.n_unfinished:
        states = f"{pair.counts['waiting']} waiting and {pair.counts['running']} running"
        found.append(
            Concern("warning", f"Unfinished: {states} of {count(len(frame), 'trial')}; the best may still change.")
        )
    if pair.counts["failed"]:
        found.append(Concern("warning", f"{count(pair.counts['failed'], 'trial')} of {len(frame)} failed."))
    infinite = int((~frame.loc[frame["state"] == "complete", "value"].map(math.isfinite).astype(bool)).sum())
    if infinite:
        found.append(Concern("warning", f"{count(infinite, 'complete trial')} with a value that is not finite."))
    if infeasible := pair.counts[INFEASIBLE]:
        told = (
            f"{count(infeasible, 'trial')} of {len(frame)} {'violates' if infeasible == 1 else 'violate'} a constraint"
        )
        left_out = "neither the best nor what the page says of parameters and gain rests on them"
        found.append(Concern("warning", f"{told}: {left_out}."))
    if pair.best is not None:
        found.append(Concern("note", f"{_chance(finding)} {_worth(finding)}New runs of both settings would say more."))
    return found


def _chance(finding: Finding) -> str:
    """How chance is seen, in a sentence."""
    if not finding.settings.repeated:
        return (
            "Each setting ran once, and the best is judged by the values it was chosen for: chance is only seen in how "
            "trials with similar parameters differ."
        )
    n_repeated = sum(len(own) > 1 for own in finding.settings.runs.values())
    return (
        f"{count(n_repeated, 'setting')} of {len(finding.settings.runs)} ran more than once and count with the mean of "
        "their runs; the best is judged by the values it was chosen for."
    )


def _worth(finding: Finding) -> str:
    """What is known of such intervals: tests/studies/test_foreign_truth.py."""
    if finding.gain is None or not finding.pair.counts["pruned"]:
        return ""
    return (
        "Where trials were stopped early, such intervals hold the truth less often than they say, as those that go on "
        "to the end are the lucky, too. "
    )


def _first_screen(finding: Finding) -> tuple[Block, ...]:
    measure, pair = finding.study.measure, finding.pair
    rows = []
    for role, trained in (("reference", pair.reference), ("best", pair.best)):
        if trained is None:
            rows.append((role, NOT_KNOWN, NOT_KNOWN, NOT_KNOWN, NOT_KNOWN))
            continue
        gain = finding.gain if role == "best" else None
        told = NOT_KNOWN if gain is None else f"{measure.difference(gain.mean)} ({_interval(finding, gain)})"
        trials = _trials(trained).partition(" ")[2]
        rows.append((role, trials, setting(trained.params), _reached(trained, finding.study), told))
    header = ("", "trial", "parameters", measure.name, "gain without luck, more is better")
    table = Table("answer", "Reference and best", header, tuple(rows), frozenset({1, 3, 4}), stacks=True)
    note = "The winner of many trials is partly the luckiest: the gain is what the trials around it leave of its lead."
    return (table, *([finding.failed] if finding.failed else []), Text(note, "note"))


def _ranking(finding: Finding) -> Table:
    """The best trials; which study they are of, nobody has to be told."""
    table = ranking_table(finding.settings.frame, finding.analysis)
    rows = tuple(row[1:] for row in table.rows)
    if finding.settings.repeated:
        n_runs = {str(number): count(len(own), "run") for number, own in finding.settings.runs.items()}
        rows = tuple((f"{trial}, mean of {n_runs[trial.split()[0]]}", *others) for trial, *others in rows)
    is_numeric = frozenset(i - 1 for i in table.numeric)
    return dataclasses.replace(
        table, title=f"The best {len(rows)}", header=table.header[1:], rows=rows, numeric=is_numeric
    )


def _sections(finding: Finding) -> tuple[Section, ...]:
    study, analysis = finding.study, finding.analysis
    blocks: list[Block] = []
    drawing = parameters(study.frame, analysis, study.search)
    blocks.append(drawing or Text("No trial with parameters has reached a value yet.", "missing"))
    if (ranking := _ranking(finding)).rows:
        blocks.append(ranking)
    course = curves(study.frame, analysis) or Text("No trial reported more than one value on its way.", "missing")
    counts = [(state, str(finding.pair.counts[state])) for state in FOREIGN_STATES if finding.pair.counts[state]]
    trials = Table("counts", "Trials by state", ("state", "trials"), tuple(counts), frozenset({1}))
    told = Text("All trials are in trials.csv; the numbers of this page are in summary.json.", "note")
    rows = [
        ("study", study.name),
        *((f"report written with {name}", text) for name, text in sorted(study.versions.items())),
    ]
    return (
        Section("parameters", f"Parameters against {study.measure.name}", "Parameters", tuple(blocks)),
        *filter(None, (make(finding) for make in EVIDENCE)),
        Section("curves", "Learning curves", "Learning curves", (course,)),
        Section("trials", "Trials", "Trials", (trials, told)),
        Section(
            "provenance",
            "Provenance",
            "Provenance",
            (Table("provenance", "Where the numbers come from", ("what", "value"), tuple(rows)),),
        ),
    )
