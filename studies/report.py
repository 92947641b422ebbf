"""The report of a campaign: report.html, report.md, trials.csv, summary.json and figures/, from one frame.

Everything is a pure function of frame and provenance, down to the bytes; only `write_report` touches the disk.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from studies import evidence, tables
from studies.analysis import analyse
from studies.figures import comparison
from studies.frame import Provenance
from studies.reporting import wording
from studies.reporting.findings import MARGIN, Analysis
from studies.reporting.health import concerns
from studies.reporting.report_folder import replace_files
from studies.reporting.section import Evidence, MakeSection, Section
from studies.reporting.sections import (
    cost_section,
    curves_section,
    pairs_section,
    parameters_section,
    provenance_section,
    trials_section,
)
from studies.reporting.summary import summarise
from studies.reporting.svg import css_variables, inline
from studies.reporting.trials_csv import trials_csv
from studies.search_space import Choice
from studies.spec import StudySpec


@dataclass(frozen=True)
class WrittenReport:
    """A report on the disk.

    Attributes:
        folder: where it is.
        html: the page to open.
        headline: its result, one line a pair, as plain text.
    """

    folder: Path
    html: Path
    headline: str


def write_report(frame: pd.DataFrame, provenance: Provenance, out_dir: Path, margin: float = MARGIN) -> WrittenReport:
    """Write, or write anew, the report of a campaign.

    The same data give the same bytes. A crash on the way leaves every file as it was or as it is meant to be; files in
    `out_dir` that are not a report's are left alone.

    Args:
        frame: from `studies.frame.load_frame`.
        provenance: from `studies.frame.load_provenance`.
        out_dir: the report's folder; made if it is not there.
        margin: the gain in accuracy, a fraction, below which tuning does not pay.

    Raises:
        BadInput: `out_dir` cannot be written, or has a file in the way that no report put there.
    """
    analysis = analyse(frame, provenance.campaign, margin)
    folder = replace_files(out_dir, _render(frame, provenance, analysis))
    return WrittenReport(folder, folder / "report.html", wording.headline(analysis))


def render_report(frame: pd.DataFrame, provenance: Provenance, margin: float = MARGIN) -> dict[str, str]:
    """The texts of a report's files by their names, relative to its folder."""
    return _render(frame, provenance, analyse(frame, provenance.campaign, margin))


SECTIONS: tuple[MakeSection, ...] = (
    pairs_section,
    parameters_section,
    curves_section,
    *evidence.SECTIONS,
    cost_section,
    trials_section,
    provenance_section,
)
"""What stands below the first screen, in this order."""


def make_sections(known: Evidence) -> tuple[Section, ...]:
    """The sections that these trials have something to say in."""
    return tuple(section for make in SECTIONS if (section := make(known)) is not None)


def _render(frame: pd.DataFrame, provenance: Provenance, analysis: Analysis) -> dict[str, str]:
    known = Evidence(frame, analysis, provenance)
    found = concerns(frame, analysis)
    first = comparison(analysis)
    sections = make_sections(known)
    drawings = [*([first] if first else []), *(drawing for section in sections for drawing in section.drawings)]
    figures = {f"figures/{drawing.name}.svg": drawing.svg for drawing in drawings}
    names = ["report.html", "report.md", "trials.csv", "summary.json", *figures]
    content: dict[str, Any] = {
        "analysis": analysis,
        "spec": provenance.spec,
        "question": _question(provenance.spec, analysis),
        "plan": _plan(provenance.spec, analysis),
        "answer": wording.answer(analysis),
        "margin": f"{100 * analysis.margin:g}",
        "concerns": found,
        "comparison": first,
        "answer_table": tables.answer_table(analysis),
        "bits_table": tables.bits_table(analysis),
        "sections": sections,
    }
    return {
        "report.html": _environment(html=True).get_template("report.html.j2").render(content),
        "report.md": _environment(html=False).get_template("report.md.j2").render(content),
        "trials.csv": trials_csv(frame),
        "summary.json": _json(summarise(known, found, sections, names)),
        **figures,
    }


def _question(spec: StudySpec, analysis: Analysis) -> str:
    config = spec.plans()[0].base_config
    of_what = "a network" if "model" in spec.search else config.model
    on_what = "" if "dataset" in spec.search else f" on {config.dataset}"
    if not spec.search:
        return f"What does {config.method} reach with {of_what}{on_what}?"
    *others, last = analysis.params
    what = f"{', '.join(others)} and {last}" if others else last
    who = "one" if "method" in spec.search else config.method
    return f"Which {what} should {who} use for {of_what}{on_what}, and what does tuning gain?"


def _plan(spec: StudySpec, analysis: Analysis) -> str:
    """What was asked for, in a line."""
    strategy = spec.strategy
    axes = [
        f"{name} {axis}" if isinstance(axis, Choice) else f"{name} {axis}{' (log)' if axis.log else ''}"
        for name, axis in spec.search.items()
    ]
    n_planned = sum(len(plan.tickets()) for plan in spec.plans())
    parts = [
        wording.count(len(analysis.pairs), "pair"),
        f"{wording.count(n_planned, 'trial')} planned",
        f"seeds {', '.join(map(str, strategy.seeds))}",
        wording.count(spec.plans()[0].base_config.epochs, "epoch"),
    ]
    if spec.search:
        parts += [f"sampler {strategy.sampler}", f"pruner {strategy.pruner.name}", f"searched: {'; '.join(axes)}"]
    return " · ".join(parts)


def _environment(*, html: bool) -> Environment:
    environment = Environment(
        loader=PackageLoader("studies", "templates"),
        autoescape=html,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["md"] = tables.markdown_text
    environment.filters["inline_svg"] = _inline_svg
    environment.filters["linked"] = _linked
    environment.globals["light"] = Markup(css_variables(dark=False))
    environment.globals["dark"] = Markup(css_variables(dark=True))
    return environment


def _linked(text: str) -> Markup:
    """A text in which the names of the report's other files are links to them."""
    return Markup(re.sub(r"\b(?:trials\.csv|summary\.json)\b", r'<a href="\g<0>">\g<0></a>', str(escape(text))))


def _inline_svg(svg: str, prefix: str) -> Markup:
    return Markup(inline(svg, prefix))


def _json(content: Mapping[str, Any]) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
