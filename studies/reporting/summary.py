"""summary.json: the results of a campaign for other programs. `KEYS` is its documentation and its schema."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from studies.evidence import KEYS as EVIDENCE_KEYS
from studies.evidence.arms import finite
from studies.frame import STATES
from studies.gain import MOST_SEEDS, Gain
from studies.reporting.findings import Difference, Estimate, PairResult, Setting, Verdict
from studies.reporting.health import Concern
from studies.reporting.result_words import headline, verdict
from studies.reporting.section import Evidence, Section
from studies.reporting.summary_schema import Key, object_schema

SCHEMA_VERSION = 2
GENERATOR = "rigl-study report"

_ESTIMATE = {
    "mean": Key("number?", "over the seeds, a fraction; null where it is not known"),
    "std": Key("number?", "over the seeds (n - 1); null for fewer than two"),
    "n": Key("integer", "number of seeds"),
    "by_seed": Key("by seed", "the accuracy of each seed"),
}
_BITS = {
    **_ESTIMATE,
    "mean": Key("number?", "over the seeds; null for images"),
    "by_seed": Key("by seed", "the bits of each seed"),
}
_SETTING = {
    "number": Key("integer", "of the trial in its study"),
    "params": Key("settings", "searched parameters by name"),
    **{f"val_accuracy.{name}": key.about("validation") for name, key in _ESTIMATE.items()},
    **{f"test_accuracy.{name}": key.about("test") for name, key in _ESTIMATE.items()},
    **{f"bits_per_character.{name}": key.about("validation, of text") for name, key in _BITS.items()},
    **{f"test_bits_per_character.{name}": key.about("test, of text") for name, key in _BITS.items()},
    "inference_flops": Key("number?", "multiple of the dense network's"),
    "train_flops": Key("number?", "multiple of dense training's"),
    "realised_sparsity": Key("number?", "of the maskable weights at the end"),
    "seconds": Key("number?", "of training"),
}
_DIFFERENCE = {
    "by_seed": Key("by seed", "best minus reference for each seed both have, a fraction"),
    "mean": Key("number", "of these"),
    "std": Key("number?", "of these; null for fewer than two seeds"),
    "standard_error": Key("number?", "of the mean; null for fewer than two seeds"),
    "low": Key("number?", "lower end of the 95 % t-interval; null where there is none"),
    "high": Key("number?", "upper end"),
    "n": Key("integer", "number of seeds"),
}
_GAIN = {
    "mean": Key("number", "the expected gain, a fraction"),
    "low": Key("number", "lower end of its 95 % interval; the verdict goes by these ends"),
    "high": Key("number", "upper end"),
    "at_least": Key("number", "it is above this with 95 % probability"),
    "at_most": Key("number", "it is below this with 95 % probability"),
    "std": Key("number", "its standard deviation"),
    "alike": Key("number", "share of the noise that near settings have in common; 0 where the seeds do not show it"),
    "noise": Key(
        "number?", "standard deviation of one network's test accuracy around its setting's; null for one seed"
    ),
    "more_seeds": Key(
        "integer?",
        f"further seeds that would settle an undecided verdict; null if it is settled, if {MOST_SEEDS} would not be "
        "enough, or if one seed leaves the noise unknown",
    ),
}
BOX = {
    "n_tried": Key("integer", "complete trials other than the reference"),
    "better_share": Key(
        "number", "where none of these beat the reference, settings that do may make up so much of the box (95 %)"
    ),
    "out_of_sight": Key("number", "share of the box that is far from every complete trial"),
    "high": Key(
        "number?",
        "upper end of the 95 % interval of the most that the box gives; null where too much is out of sight to ask, or "
        "the best found may gain the margin",
    ),
}
"""Of settings that were not tried, `studies.box.Box`."""
KEYS: Mapping[str, Key | str] = {
    "generator": Key("text", "what wrote the file", (GENERATOR,)),
    "schema_version": Key("integer", f"{SCHEMA_VERSION}; raised when a key changes its meaning or goes away"),
    "campaign": Key("text", "its name"),
    "answer": Key("text", "the result in a sentence"),
    "headline": Key("texts", "one line a pair, as printed in the terminal"),
    "concerns[].weight": Key("text", '"warning" if it touches the conclusion, else "note"', ("warning", "note")),
    "concerns[].text": Key("text", "what makes the result less trustworthy"),
    "params": Key("texts", "names of the searched parameters"),
    "margin": Key("number", "the gain below which tuning does not pay, a fraction"),
    **{f"counts.{state}": Key("integer", f"trials {state}, over all pairs") for state in STATES},
    "pairs[].study": Key("text", "name of the Optuna study"),
    "pairs[].label": Key("text", "the pair in words"),
    **{f"pairs[].counts.{state}": Key("integer", f"trials {state}") for state in STATES},
    "pairs[].n_compared": Key("integer", "trials the best was chosen from: complete and pruned"),
    "pairs[].verdict": Key("text", "what the gain allows to say", tuple(Verdict)),
    "pairs[].is_provisional": Key("boolean", "whether trials wait or run, so that the verdict may still change"),
    "pairs[].sentence": Key("text", "the verdict in words"),
    "pairs[].reference_state": Key("text?", "where the reference stands; null if no trial has its parameters"),
    **{f"pairs[].reference.{name}": key.about("the reference") for name, key in _SETTING.items()},
    **{f"pairs[].best.{name}": key.about("the best on validation") for name, key in _SETTING.items()},
    **{f"pairs[].val_difference.{name}": key.about("validation, biased") for name, key in _DIFFERENCE.items()},
    **{f"pairs[].test_difference.{name}": key.about("test") for name, key in _DIFFERENCE.items()},
    **{f"pairs[].gain.{name}": key.about("on test, without luck") for name, key in _GAIN.items()},
    **{f"pairs[].box.{name}": key.about("the search box") for name, key in BOX.items()},
    **{f"evidence.{key}": meaning for key, meaning in EVIDENCE_KEYS.items()},
    "provenance.spec": Key("object", "the specification the campaign was created from"),
    "provenance.spec_version": Key("integer", "version of its format"),
    "provenance.versions": Key("settings", "of the programs that wrote the report"),
    "provenance.environments[].environment": Key("settings", "versions, device and host of some trials"),
    "provenance.environments[].trials": Key("integer", "how many trials"),
    "files": Key("texts", "what the report consists of, relative to its folder"),
}
"""Path of a key (`[]` for the elements of a list) to what it is and means."""

ABSENT = tuple(f"pairs[].{name}" for name in ("reference", "best", "val_difference", "test_difference", "gain", "box"))
"""Objects that are null where they do not exist."""


def schema() -> dict[str, Any]:
    """The JSON schema of a campaign's summary.json."""
    return object_schema(KEYS, absent=ABSENT, open_below="evidence")


def summarise(
    evidence: Evidence, answer: str, concerns: Sequence[Concern], sections: Sequence[Section], files: Sequence[str]
) -> dict[str, Any]:
    """The contents of summary.json, made of what JSON has: NaN is None."""
    frame, analysis, provenance = evidence.frame, evidence.analysis, evidence.provenance
    return {
        "generator": GENERATOR,
        "schema_version": SCHEMA_VERSION,
        "campaign": analysis.campaign,
        "answer": answer,
        "headline": headline(analysis).splitlines(),
        "concerns": [{"weight": concern.weight, "text": concern.text} for concern in concerns],
        "params": list(analysis.params),
        "margin": analysis.margin,
        "counts": {state: analysis.total(state) for state in STATES},
        "pairs": [_pair(pair) for pair in analysis.pairs],
        "evidence": {section.name: dict(section.summary) for section in sections if section.summary},
        "provenance": {
            "spec": provenance.spec.model_dump(mode="json"),
            "spec_version": provenance.spec_version,
            "versions": dict(provenance.versions),
            "environments": _environments(frame),
        },
        "files": list(files),
    }


def _pair(pair: PairResult) -> dict[str, Any]:
    return {
        "study": pair.study,
        "label": pair.label,
        "counts": dict(pair.counts),
        "n_compared": pair.n_compared,
        "verdict": str(pair.verdict),
        "is_provisional": pair.is_provisional,
        "sentence": verdict(pair),
        "reference_state": pair.reference_state,
        "reference": None if pair.reference is None else _setting(pair.reference),
        "best": None if pair.best is None else _setting(pair.best),
        "val_difference": None if pair.val_difference is None else _difference(pair.val_difference),
        "test_difference": None if pair.test_difference is None else _difference(pair.test_difference),
        "gain": None if pair.gain is None else _gain(pair.gain, pair.margin),
        "box": None if pair.box is None else {name: getattr(pair.box, name) for name in BOX},
    }


def _setting(trained: Setting) -> dict[str, Any]:
    return {
        "number": trained.number,
        "params": dict(trained.params),
        "val_accuracy": _estimate(trained.val_accuracy, trained.val_by_seed),
        "test_accuracy": _estimate(trained.test_accuracy, trained.test_by_seed),
        "bits_per_character": _estimate(Estimate.of(list(trained.bits_by_seed.values())), trained.bits_by_seed),
        "test_bits_per_character": _estimate(
            Estimate.of(list(trained.test_bits_by_seed.values())), trained.test_bits_by_seed
        ),
        "inference_flops": finite(trained.inference_flops),
        "train_flops": finite(trained.train_flops),
        "realised_sparsity": finite(trained.realised_sparsity),
        "seconds": finite(trained.seconds),
    }


def _estimate(estimate: Estimate, by_seed: Mapping[int, float]) -> dict[str, Any]:
    return {
        "mean": finite(estimate.mean),
        "std": finite(estimate.std),
        "n": estimate.n,
        "by_seed": {str(seed): finite(value) for seed, value in by_seed.items()},
    }


def _difference(difference: Difference) -> dict[str, Any]:
    return {
        "by_seed": {str(seed): value for seed, value in difference.by_seed.items()},
        "mean": difference.mean,
        "std": finite(difference.std),
        "standard_error": finite(difference.standard_error),
        "low": difference.low,
        "high": difference.high,
        "n": difference.n,
    }


def _gain(gain: Gain, margin: float) -> dict[str, Any]:
    known = {name: getattr(gain, name) for name in _GAIN if name != "more_seeds"}
    return {**known, "noise": finite(gain.noise), "more_seeds": gain.more_seeds(margin)}


def _environments(frame: pd.DataFrame) -> list[dict[str, Any]]:
    found: dict[tuple[tuple[str, str], ...], int] = {}
    for environment in frame["environment"]:
        if environment:
            key = tuple(sorted(environment.items()))
            found[key] = found.get(key, 0) + 1
    return [{"environment": dict(key), "trials": n} for key, n in sorted(found.items())]
