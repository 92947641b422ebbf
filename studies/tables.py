"""The tables of a report as data, and the three forms they take: HTML (in the template), Markdown and plain text."""

import html
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from studies import names
from studies.analysis import params_of
from studies.frame import STATES, Provenance, param_columns
from studies.reporting.findings import Analysis, Estimate, PairResult, Setting, Verdict
from studies.reporting.health import device_words
from studies.reporting.wording import NOT_KNOWN, count, duration, gained, number, percent, points, setting

RANKED = 5
"""So many of the best trials of a pair are listed."""


@dataclass(frozen=True)
class Table:
    """A table of texts.

    Attributes:
        name: its identifier on the page.
        title: what it holds.
        header: one heading a column.
        rows: one text a column; the first of a row names it.
        numeric: columns (by index) that are set flush right.
        stacks: whether its rows become blocks of lines on a screen too narrow for its columns; else it scrolls.
    """

    kind: ClassVar[str] = "table"

    name: str
    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: frozenset[int] = frozenset()
    stacks: bool = False

    def markdown(self) -> str:
        """A pipe table."""
        rule = ["---:" if i in self.numeric else "---" for i in range(len(self.header))]
        lines = [map(markdown_text, self.header), rule, *(map(markdown_text, row) for row in self.rows)]
        return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)

    def plain(self) -> str:
        """Columns padded with blanks, for a terminal."""
        lines = [self.header, *self.rows]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        return "\n".join("  ".join(self._pad(row, widths)).rstrip() for row in lines)

    def _pad(self, row: Sequence[str], widths: Sequence[int]) -> list[str]:
        cells = enumerate(zip(row, widths, strict=True))
        return [text.rjust(width) if i in self.numeric else text.ljust(width) for i, (text, width) in cells]


def markdown_text(text: str) -> str:
    """Any text so that Markdown shows it as it is, on one line and inside a table."""
    one_line = html.escape(" ".join(text.split()), quote=False)
    escaped = re.sub(r"([\\`*\[\]|~])", r"\\\1", one_line)
    return re.sub(r"^(\d*)([#+=.)-])(?=[\s#=-]|$)", r"\1\\\2", escaped)  # would begin a heading, a list or a rule


def answer_table(analysis: Analysis) -> Table:
    """For each pair the reference, the best and their difference, all on test; or what the only setting reached."""
    if not analysis.params:
        return _reached_table(analysis)
    title, common = "Reference and best on test", _common_reference(analysis)
    rows = []
    for pair in analysis.pairs:
        rows.append(
            (
                pair.label,
                *([] if common else [_what(pair.reference)]),
                _test(pair.reference),
                "the reference itself" if _is_reference(pair) else _what(pair.best),
                _test(pair.best),
                gained(pair.gain) if pair.gain else NOT_KNOWN,
                _verdict(pair),
            )
        )
    header = (
        *("pair", *([] if common else ["reference"]), "reference, test", "best on validation", "best, test"),
        *("gain in points (95 % interval)", "verdict"),
    )
    if common:
        title += f". The reference is {common} everywhere"
    numeric = frozenset({"reference, test", "best, test", "gain in points (95 % interval)"})
    at = frozenset(i for i, name in enumerate(header) if name in numeric)
    return Table("answer", title, header, tuple(rows), at, stacks=True)


def _common_reference(analysis: Analysis) -> str:
    """The reference in words where several pairs have it and no pair another; else empty."""
    found = [_what(pair.reference) for pair in analysis.pairs if pair.reference is not None]
    return found[0] if len(found) > 1 and len(set(found)) == 1 else ""


VERDICT_WORDS = {
    Verdict.PAYS: "pays",
    Verdict.DOES_NOT_PAY: "does not pay",
    Verdict.NOTHING_FOUND: "no better found",
    Verdict.REFERENCE_IS_BEST: "no better found",
    Verdict.UNDECIDED: "undecided",
    Verdict.NO_INTERVAL: "too few to say",
}


def _verdict(pair: PairResult) -> str:
    """The verdict in a word or two, "pays so far" where trials are not finished."""
    word = VERDICT_WORDS.get(pair.verdict)
    return NOT_KNOWN if word is None else f"{word} so far" if pair.is_provisional else word


def _reached_table(analysis: Analysis) -> Table:
    rows = [
        (pair.label, percent(pair.best.val_accuracy), percent(pair.best.test_accuracy), str(pair.best.test_accuracy.n))
        if pair.best
        else (pair.label, NOT_KNOWN, NOT_KNOWN, NOT_KNOWN)
        for pair in analysis.pairs
    ]
    header = ("pair", "validation accuracy", "test accuracy", "seeds")
    return Table("answer", "What was reached", header, tuple(rows), frozenset({1, 2, 3}), stacks=True)


def selection_table(analysis: Analysis) -> Table:
    """What the best promised on validation, and what was left of it on test."""
    rows = [
        (
            pair.label,
            str(pair.n_compared),
            percent(pair.reference.val_accuracy) if pair.reference else NOT_KNOWN,
            percent(pair.best.val_accuracy) if pair.best else NOT_KNOWN,
            points(pair.val_difference) if pair.val_difference else NOT_KNOWN,
            points(pair.test_difference) if pair.test_difference else NOT_KNOWN,
        )
        for pair in analysis.pairs
    ]
    header = ("pair", "trials compared", "reference, validation", "best, validation", "gain on validation", "on test")
    return Table("selection", "Selection on validation", header, tuple(rows), frozenset(range(1, 6)))


def counts_table(analysis: Analysis) -> Table:
    """How many trials of each pair are in which state."""
    rows = [(p.label, *(str(p.counts[s]) for s in STATES), str(sum(p.counts.values()))) for p in analysis.pairs]
    if len(rows) > 1:
        totals = [analysis.total(state) for state in STATES]
        rows.append(("all", *map(str, totals), str(sum(totals))))
    numeric = frozenset(range(1, len(STATES) + 2))
    return Table("counts", "Trials by state", ("pair", *STATES, "total"), tuple(rows), numeric)


def bits_table(analysis: Analysis) -> Table:
    """Bits per character that reference and best need, of campaigns on text; for images it has no rows."""
    rows = [
        (f"{pair.label}, {role}", _bits(trained.bits_by_seed), _bits(trained.test_bits_by_seed))
        for pair in analysis.pairs
        for role, trained in roles(pair, analysis)
        if trained.bits_by_seed
    ]
    header = ("setting", "validation", "test")
    return Table("bits", "Bits per character", header, tuple(rows), frozenset({1, 2}))


def _bits(by_seed: Mapping[int, float]) -> str:
    """A mean with its standard deviation, "1.861 ± 0.004"."""
    estimate = Estimate.of(list(by_seed.values()))
    if math.isnan(estimate.mean):
        return NOT_KNOWN
    return f"{estimate.mean:.3f}" + ("" if math.isnan(estimate.std) else f" ± {estimate.std:.3f}")


def roles(pair: PairResult, analysis: Analysis) -> list[tuple[str, Setting]]:
    """What there is to show of a pair: its reference, and its best where that is another trial."""
    best = "best" if analysis.params else "the only setting"
    every = [("reference", pair.reference), (best, None if _is_reference(pair) else pair.best)]
    return [(role, trained) for role, trained in every if trained is not None]


def ranking_table(frame: pd.DataFrame, analysis: Analysis) -> Table:
    """The best trials of each pair by validation accuracy. Without test accuracy, which must not select."""
    columns, measure = param_columns(frame), analysis.measure
    rows: list[tuple[str, ...]] = []
    for pair in analysis.pairs:
        is_ranked = (frame["state"] == "complete") & np.isfinite(frame["value"])
        complete = frame[(frame["study"] == pair.study) & is_ranked]
        ranked = complete.sort_values(["value", "number"], ascending=[False, True], kind="stable").head(RANKED)
        for _, trial in ranked.iterrows():
            params = params_of(trial, columns)
            name = f"{trial['number']}{_reference_word(trial, pair)}"
            estimate = Estimate.of(trial["val_accuracy"] or (trial["value"],))
            reached = percent(estimate, digits=2) if measure.is_fraction else measure.text(estimate.mean)
            shown = [number(names.title(key, params[key])) if key in params else NOT_KNOWN for key in columns]
            rows.append((pair.label, name, *shown, reached))
    header = ("pair", "trial", *map(names.symbol, columns), measure.name)
    title = f"The best {RANKED} of each pair on validation"
    texts = {2 + i for i, column in enumerate(columns.values()) if not _is_number(frame[column])}
    return Table("ranking", title, header, tuple(rows), frozenset(range(2, len(header))) - texts)


def _reference_word(trial: "pd.Series[Any]", pair: PairResult) -> str:
    """Whether a trial is the reference of the other tables, or the same parameters once more."""
    if not trial["is_reference"]:
        return ""
    is_it = pair.reference is None or trial["number"] == pair.reference.number
    return " (reference)" if is_it else " (as the reference)"


def _is_number(values: "pd.Series[Any]") -> bool:
    """Whether a column holds numbers, which true and false are to pandas."""
    return pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)


def provenance_table(frame: pd.DataFrame, provenance: Provenance) -> Table:
    """Where the numbers come from: campaign, devices, versions, times."""
    rows = [("campaign", provenance.campaign), ("specification format", str(provenance.spec_version))]
    environments = [environment for environment in frame["environment"] if environment]
    rows.append(("device", _tally([" ".join(device_words(environment)) for environment in environments])))
    keys = sorted({key for environment in environments for key in environment} - {"device", "device_name"})
    rows.extend((key, _tally([environment.get(key, NOT_KNOWN) for environment in environments])) for key in keys)
    rows.append(("workers", str(frame["worker"].nunique())))
    for name, moment in (
        ("first trial started", frame["started"].min()),
        ("last trial ended", frame["finished"].max()),
    ):
        rows.append((name, NOT_KNOWN if pd.isna(moment) else f"{moment:%Y-%m-%d %H:%M:%S} by the database's clock"))
    rows.append(("training time of all trials", duration(float(frame["seconds"].sum()))))
    rows.extend((f"report written with {name}", version) for name, version in sorted(provenance.versions.items()))
    return Table("provenance", "Where the numbers come from", ("what", "value"), tuple(rows))


def _tally(values: Sequence[str]) -> str:
    """The distinct values; with the number of trials of each where there is more than one."""
    distinct = sorted(set(values))
    if len(distinct) < 2:
        return distinct[0] if distinct else NOT_KNOWN
    return "; ".join(f"{value} ({count(values.count(value), 'trial')})" for value in distinct)


def _is_reference(pair: PairResult) -> bool:
    return pair.best is not None and pair.reference is not None and pair.best.number == pair.reference.number


def _what(trained: Setting | None) -> str:
    return NOT_KNOWN if trained is None else setting(trained.params) or "the only setting"


def _test(trained: Setting | None) -> str:
    return NOT_KNOWN if trained is None else percent(trained.test_accuracy)
