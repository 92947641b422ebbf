"""The report that compares campaigns: the answer of each, how far apart they are, and what they differ in."""

import dataclasses
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from studies import tables
from studies.comparing import Comparison, Member, compare
from studies.comparison_figures import gaps_figure, reached_figure, sure
from studies.frame import Provenance
from studies.report import FORM, Form, WrittenReport
from studies.reporting.computing import computing
from studies.reporting.figure_style import drawn_in
from studies.reporting.findings import MARGIN, Analysis, Setting
from studies.reporting.health import Concern, concerns
from studies.reporting.page import Page
from studies.reporting.report_folder import replace_files
from studies.reporting.section import Block, Section, Text
from studies.reporting.summary import GENERATOR, SCHEMA_VERSION
from studies.reporting.summary_schema import Key
from studies.reporting.trials_csv import trials_csv
from studies.reporting.wording import NOT_KNOWN, count, in_points, listed
from studies.tables import Table

OF_RECIPE = ("fixed.dataset", "fixed.model", "fixed.epochs", "fixed.method")
"""Whoever compares networks should know of differences in these."""


def write_comparison(
    campaigns: Sequence[tuple[pd.DataFrame, Provenance]], out_dir: Path, margin: float = MARGIN, form: Form = FORM
) -> WrittenReport:
    """Write, or write anew, the report that compares these campaigns with the first of them; see `write_report`."""
    with computing():
        found = compare(campaigns, margin)
    page, files = _rendered(found, form)
    folder = replace_files(out_dir, files)
    return WrittenReport(folder, folder / "report.html", answer(found), failures=page.failures)


def render_comparison(found: Comparison, form: Form = FORM) -> dict[str, str | bytes]:
    """The contents of the report's files by their names, relative to its folder."""
    return _rendered(found, form)[1]


def _rendered(found: Comparison, form: Form) -> tuple[Page, dict[str, str | bytes]]:
    with computing(), drawn_in(form.style):
        page = _page(found, form)
    trials = pd.concat([member.frame.astype({"study": "string"}) for member in found.members], ignore_index=True)
    files = {**page.files(), "trials.csv": trials_csv(trials)}
    summary = _summary(found, page, [*files, "summary.json"])
    return page, {**files, "summary.json": json.dumps(summary, indent=2, ensure_ascii=False, allow_nan=False) + "\n"}


def answer(found: Comparison) -> str:
    """For each campaign after the first a sentence on its best settings against the first's."""
    return " ".join(_answer(found, member) for member in found.members[1:])


def _answer(found: Comparison, member: Member) -> str:
    first = found.members[0].name
    gaps = [gap for gap in found.gaps if gap.campaign == member.name and gap.role == "best"]
    if not gaps:
        return f"{member.name} and {first} have no pair in common with a complete trial in both."
    if len(gaps) == 1:
        [gap] = gaps
        said = (
            f"At {gap.label} the best of {member.name} has {in_points(gap.mean)} points against that of {first} on test"
        )
        return f"{said} ({sure(gap)})."
    tally = Counter(gap.sign for gap in gaps)
    words = {1: "better", -1: "worse", 0: "not told apart", None: "without seeds enough to tell"}
    told = [f"{word} in {tally[sign]}" for sign, word in words.items() if tally[sign]]
    told[0] += f" of {len(gaps)} pairs"
    return f"Against the best of {first}, that of {member.name} is on test {listed(told)}."


def _page(found: Comparison, form: Form) -> Page:
    names = [member.name for member in found.members]
    n_trials = sum(len(member.frame) for member in found.members)
    return Page(
        title=" against ".join(reversed(names)) if len(names) == 2 else ", ".join(names),
        description="",
        plan=f"{count(len(names), 'campaign')} · {count(n_trials, 'trial')}",
        question=f"How {'does' if len(names) == 2 else 'do'} {', '.join(names[1:])} compare with {names[0]}?",
        answer=answer(found),
        concerns=_concerns(found),
        first=_first_screen(found),
        sections=_sections(found),
        refresh=form.refresh,
    )


def _concerns(found: Comparison) -> tuple[Concern, ...]:
    own = [
        Concern(concern.weight, f"{member.name}: {concern.text}")
        for member in found.members
        for concern in concerns(member.frame, member.analysis, member.provenance.spec)
    ]
    recipe = [name.rpartition(".")[2] for name in OF_RECIPE if name in found.differing]
    if recipe:
        effect = "which may explain differences between their accuracies"
        own.append(Concern("note", f"The campaigns differ in {', '.join(recipe)}, {effect}."))
    return tuple(sorted(own, key=lambda concern: concern.weight != "warning"))


def _together(members: Sequence[Member]) -> Analysis:
    """All pairs of all campaigns as those of one, the same pair of all campaigns one below the other."""
    every = [(member, pair) for member in members for pair in member.analysis.pairs]
    labels = list(dict.fromkeys(pair.label for _, pair in every))
    every.sort(key=lambda own: labels.index(own[1].label))
    pairs = [dataclasses.replace(pair, label=f"{pair.label}, {member.name}") for member, pair in every]
    params = dict.fromkeys(name for member in members for name in member.analysis.params)
    return Analysis(
        ", ".join(member.name for member in members), tuple(params), tuple(pairs), None, members[0].analysis.margin
    )


def _first_screen(found: Comparison) -> tuple[Block, ...]:
    named = len(found.members) > 2  # of two, it is clear whose differences from the first they are
    rows = [
        (
            f"{gap.label}, {gap.role}",
            *([gap.campaign] if named else []),
            in_points(gap.mean),
            NOT_KNOWN if gap.low is None or gap.high is None else f"{in_points(gap.low)} to {in_points(gap.high)}",
            str(len(gap.by_seed) or "none"),
        )
        for gap in found.gaps
    ]
    numbers = (f"points above {found.members[0].name}, test", "95 % interval", "shared seeds")
    header = ("setting", *(["campaign"] if named else []), *numbers)
    numeric = frozenset(range(len(header) - len(numbers), len(header)))
    table = Table("gaps", "Differences on test", header, tuple(rows), numeric, stacks=True)
    note = (
        "Paired by seed where two or more are shared. A reference was not chosen, so its difference is free of luck; "
        "each best is partly the luckiest of its campaign, the more so the more trials it was chosen from. Each "
        "interval stands for itself: of twenty, one is expected to miss."
    )
    together = _together(found.members)
    blocks = (gaps_figure(found), table, Text(note, "note"), reached_figure(found), tables.answer_table(together))
    return tuple(block for block in blocks if block is not None)


def _sections(found: Comparison) -> tuple[Section, ...]:
    names = tuple(member.name for member in found.members)
    differing = tuple((name, *values) for name, values in found.differing.items())
    plans: Block = Table("differing", "Where their specifications differ", ("key", *names), differing)
    if not differing:
        plans = Text("They were planned alike, but for their names.")
    told = Text(
        "All trials are in trials.csv, the numbers of this page in summary.json; the report of each campaign has more."
    )
    versions = dict(item for member in found.members for item in member.provenance.versions.items())
    rows = [(f"report written with {name}", version) for name, version in sorted(versions.items())]
    return (
        Section("plans", "What they differ in", "Differences", (plans,)),
        Section("trials", "Trials", "Trials", (tables.counts_table(_together(found.members)), told)),
        Section(
            "provenance",
            "Provenance",
            "Provenance",
            (Table("provenance", "Where the numbers come from", ("what", "value"), tuple(rows)),),
        ),
    )


_SETTING = {
    "number": Key("integer", "of the trial"),
    "params": Key("settings", "its searched parameters"),
    "test_accuracy": Key("number?", "mean over seeds, a fraction"),
    "std": Key("number?", "standard deviation over seeds"),
    "seeds": Key("integer", "how many have a test accuracy"),
}
KEYS: Mapping[str, Key | str] = {
    "generator": Key("text", "what wrote the file", (GENERATOR,)),
    "schema_version": Key("integer", f"{SCHEMA_VERSION}; raised when a key changes its meaning or goes away"),
    "compares": Key("texts", "names of the campaigns; the others are compared with the first"),
    "answer": Key("text", "the result in a sentence for each of the others"),
    "concerns[].weight": Key("text", '"warning" if it touches the conclusion, else "note"', ("warning", "note")),
    "concerns[].text": Key("text", "what makes the result less trustworthy"),
    "pairs[].campaign": Key("text", "whose pair it is"),
    "pairs[].label": Key("text", "the pair in words"),
    **{f"pairs[].reference.{name}": key.about("the reference") for name, key in _SETTING.items()},
    **{f"pairs[].best.{name}": key.about("the best on validation") for name, key in _SETTING.items()},
    "differences[].label": Key("text", "the pair"),
    "differences[].role": Key("text", "of which setting", ("reference", "best")),
    "differences[].campaign": Key("text", "the campaign that is compared with the first"),
    "differences[].mean": Key("number", "its mean test accuracy minus the first's, a fraction"),
    "differences[].low": Key("number?", "lower end of the 95 % interval"),
    "differences[].high": Key("number?", "upper end"),
    "differences[].shared_seeds": Key("integer", "seeds it is paired by; 0 where it is not"),
    "differing[].key": Key("text", "a key of the specification in which the campaigns differ"),
    "differing[].values": Key("texts", "its value in each of them"),
    "files": Key("texts", "what the report consists of, relative to its folder"),
}
"""What summary.json holds of such a report; see `studies.reporting.summary.KEYS`."""

ABSENT = ("pairs[].reference", "pairs[].best")
"""Objects that are null where they do not exist."""


def _summary(found: Comparison, page: Page, files: Sequence[str]) -> dict[str, Any]:
    return {
        "generator": GENERATOR,
        "schema_version": SCHEMA_VERSION,
        "compares": [member.name for member in found.members],
        "answer": page.answer,
        "concerns": [{"weight": concern.weight, "text": concern.text} for concern in page.concerns],
        "pairs": [
            {
                "campaign": member.name,
                "label": pair.label,
                "reference": _setting(pair.reference),
                "best": _setting(pair.best),
            }
            for member in found.members
            for pair in member.analysis.pairs
        ],
        "differences": [
            {
                **{name: getattr(gap, name) for name in ("label", "role", "campaign", "mean", "low", "high")},
                "shared_seeds": len(gap.by_seed),
            }
            for gap in found.gaps
        ],
        "differing": [{"key": name, "values": list(values)} for name, values in found.differing.items()],
        "files": list(files),
    }


def _setting(trained: Setting | None) -> dict[str, Any] | None:
    if trained is None:
        return None
    reached = trained.test_accuracy
    return {
        "number": trained.number,
        "params": dict(trained.params),
        "test_accuracy": reached.mean if math.isfinite(reached.mean) else None,
        "std": reached.std if math.isfinite(reached.std) else None,
        "seeds": reached.n,
    }
