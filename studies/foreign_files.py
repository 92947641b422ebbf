"""trials.csv and summary.json of an Optuna study of some other program, in its own units and direction."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from studies import foreign_stopping
from studies.evidence import importance_section, response_section
from studies.foreign import FOREIGN_STATES, ForeignStudy
from studies.foreign_finding import Finding
from studies.frame import param_columns
from studies.reporting.findings import Setting, Verdict
from studies.reporting.health import Concern
from studies.reporting.section import Section
from studies.reporting.summary import BOX, GENERATOR, SCHEMA_VERSION
from studies.reporting.summary_schema import Key, object_schema
from studies.reporting.trials_csv import json_cell, text_cell
from studies.search_space import Value


def foreign_csv(study: ForeignStudy) -> str:
    """The trials as the other program has them: values not turned around."""
    sign, frame = study.measure.sign, study.frame
    columns: dict[str, Any] = {name: frame[name] for name in ("number", "state", "is_reference")}
    columns |= {column: frame[column] for column in param_columns(frame).values()}
    columns["value"] = sign * frame["value"]
    for name in ("started", "finished"):
        columns[name] = [None if pd.isna(moment) else moment.isoformat() for moment in frame[name]]
    columns["seconds"] = frame["seconds"]
    columns["curve"] = [json_cell({step: sign * value for step, value in curve.items()}) for curve in frame["curve"]]
    table = pd.DataFrame(columns).map(text_cell, na_action="ignore").rename(columns=text_cell)
    return table.to_csv(index=False, lineterminator="\n")


EVIDENCE_KEYS = {**importance_section.KEYS, **response_section.KEYS, **foreign_stopping.KEYS}

_TRIAL = {
    "number": Key("integer", "of the trial; of several runs of the same parameters the best run"),
    "params": Key("settings", "its parameters by name; a number that is not finite as text"),
    "value": Key("number", "what it reached, in the study's own units and direction; the mean of its runs"),
    "runs": Key("integers", "numbers of the trials that ran these parameters to the end"),
}
_GAIN = {
    "mean": Key("number", "the expected gain in units of the study's value; more is better"),
    "low": Key("number", "lower end of its 95 % interval"),
    "high": Key("number", "upper end"),
    "at_least": Key("number", "it is above this with 95 % probability"),
    "at_most": Key("number", "it is below this with 95 % probability"),
    "std": Key("number", "its standard deviation"),
}
KEYS: Mapping[str, Key | str] = {
    "generator": Key("text", "what wrote the file", (GENERATOR,)),
    "schema_version": Key("integer", f"{SCHEMA_VERSION}; raised when a key changes its meaning or goes away"),
    "optuna_study": Key("text", "name of the study; in all names control characters are written out, as \\x1b"),
    "metric": Key("text", "what its values are called"),
    "direction": Key("text", "which values are better", ("minimize", "maximize")),
    "answer": Key("text", "the result in a sentence or two"),
    "verdict": Key("text", "what the gain allows to say", tuple(Verdict)),
    "is_provisional": Key("boolean", "whether trials wait or run, so that the verdict may still change"),
    "concerns[].weight": Key("text", '"warning" if it touches the conclusion, else "note"', ("warning", "note")),
    "concerns[].text": Key("text", "what makes the result less trustworthy"),
    "params": Key("texts", "names of the parameters"),
    "margin": Key("number", "the gain below which tuning does not pay"),
    **{f"counts.{state}": Key("integer", f"trials {state}") for state in FOREIGN_STATES},
    **{f"reference.{name}": key.about("the reference") for name, key in _TRIAL.items()},
    **{f"best.{name}": key.about("the best") for name, key in _TRIAL.items()},
    **{f"gain.{name}": key.about("without luck") for name, key in _GAIN.items()},
    **{f"box.{name}": key.about("the search box") for name, key in BOX.items()},
    **{f"evidence.{key}": meaning for key, meaning in EVIDENCE_KEYS.items()},
    "versions": Key("settings", "of the programs that wrote the report"),
    "files": Key("texts", "what the report consists of, relative to its folder"),
}
"""What summary.json holds of such a study; see `studies.reporting.summary.KEYS`."""

ABSENT = ("reference", "best", "gain", "box")
"""Objects that are null where they do not exist."""


def schema() -> dict[str, Any]:
    """The JSON schema of such a summary.json."""
    return object_schema(KEYS, absent=ABSENT, open_below="evidence")


def foreign_summary(
    finding: Finding, answer: str, concerns: Sequence[Concern], sections: Sequence[Section], files: Sequence[str]
) -> dict[str, Any]:
    """The contents of summary.json, made of what JSON has."""
    study, pair = finding.study, finding.pair

    def trial(trained: Setting | None) -> dict[str, Any] | None:
        if trained is None:
            return None
        return {
            "number": trained.number,
            "params": {name: _in_json(value) for name, value in trained.params.items()},
            "value": study.measure.sign * trained.val_accuracy.mean,
            "runs": list(trained.runs or (trained.number,)),
        }

    return {
        "generator": GENERATOR,
        "schema_version": SCHEMA_VERSION,
        "optuna_study": study.name,
        "metric": study.measure.name,
        "direction": "minimize" if study.minimises else "maximize",
        "answer": answer,
        "verdict": str(finding.verdict),
        "is_provisional": pair.is_provisional,
        "concerns": [{"weight": concern.weight, "text": concern.text} for concern in concerns],
        "params": list(study.search),
        "margin": finding.margin,
        "counts": dict(pair.counts),
        "reference": trial(pair.reference),
        "best": trial(pair.best),
        "gain": None if finding.gain is None else {name: getattr(finding.gain, name) for name in _GAIN},
        "box": None if pair.box is None else {name: getattr(pair.box, name) for name in BOX},
        "evidence": {section.name: dict(section.summary) for section in sections if section.summary},
        "versions": dict(study.versions),
        "files": list(files),
    }


def _in_json(value: Value) -> Value:
    """A parameter's value; JSON has no infinite numbers."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
