"""The best setting of each pair, ready to be trained: as a study file, as JSON, or as a command line."""

import math
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from studies.analysis import analyse
from studies.errors import BadInput, NotFound, UnknownName
from studies.frame import Provenance
from studies.reporting.findings import PairResult
from studies.reporting.result_words import verdict
from studies.reporting.wording import percent
from studies.source_settings import unresolved
from studies.spec import NAME_PATTERN, StudyPlan
from studies.toml_text import toml_key, toml_value

FLAGS = ("recipe", "method", "model", "dataset", "sparsity", "distribution", "lr", "alpha", "delta_t", "epochs")
"""Settings that have an option of their own in `rigl-study train`; the others are given with --set."""


@dataclass(frozen=True)
class BestSetting:
    """What a pair's best trial was trained with.

    Attributes:
        plan: its study.
        pair: what the report has found there.
        values: every setting that is not at its default: fixed, of the pair, and searched.
    """

    plan: StudyPlan
    pair: PairResult
    values: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The study's name without the campaign's, as `--pair` takes it."""
        return self.plan.name.partition("/")[2]

    @property
    def seeds(self) -> tuple[int, ...]:
        """What to train it on: the campaign's own."""
        return self.plan.spec.strategy.seeds


def best_settings(frame: pd.DataFrame, provenance: Provenance, pair: str | None = None) -> list[BestSetting]:
    """The best setting of each pair that has one, in the order of the specification; or of one pair.

    Args:
        frame: from `studies.frame.load_frame`.
        provenance: from `studies.frame.load_provenance`.
        pair: name of a study without the campaign's; None for all.

    Raises:
        UnknownName: there is no such pair.
        NotFound: no trial is complete there.
    """
    plans = {plan.name: plan for plan in provenance.spec.plans()}
    names = [name.partition("/")[2] for name in plans]
    pair = None if pair is None else pair.removeprefix(f"{provenance.campaign}/")  # as `best` and reports print it
    if pair is not None and pair not in names:
        raise UnknownName(f"pair of {provenance.campaign}", pair, names)
    found = [
        BestSetting(plans[result.study], result, _values(plans[result.study], result))
        for result in analyse(frame, provenance.campaign, labels=provenance.labels, search=provenance.spec.search).pairs
        if result.best is not None and pair in (None, result.study.partition("/")[2])
    ]
    if not found:
        where = provenance.campaign if pair is None else f"{provenance.campaign}/{pair}"
        raise NotFound(
            f"no trial of {where} is complete; `rigl-study status {provenance.campaign}` shows how far it is."
        )
    return found


def _values(plan: StudyPlan, pair: PairResult) -> dict[str, Any]:
    assert pair.best is not None
    return {**plan.spec.fixed, **plan.pair, **pair.best.params}


def as_toml(settings: list[BestSetting]) -> str:
    """A study file that trains the setting once more: `rigl-study create` takes it as it is.

    Raises:
        BadInput: there is more than one setting, and a study file holds one.
    """
    if len(settings) > 1:
        names = ", ".join(setting.name for setting in settings)
        raise BadInput(f"a study file holds one setting, and there are {len(settings)}; choose with --pair: {names}.")
    (best,) = settings
    spec = best.plan.spec
    lines = [
        f"# {_remark(best)}",
        f"name = {toml_value(_named(spec.name))}",
        "[fixed]",
        *(f"{toml_key(key)} = {toml_value(value)}" for key, value in unresolved(best.values).items()),
        "[strategy]",
        'sampler = "grid"',
        f"seeds = {toml_value(best.seeds)}",
    ]
    return "\n".join(lines)


def as_commands(settings: list[BestSetting]) -> str:
    """A line a setting that trains it, for a POSIX shell."""
    return "\n".join(shlex.join(command(best)) for best in settings)


def command(best: BestSetting) -> list[str]:
    """The words of the command line that trains a setting."""
    words = ["rigl-study", "train"]
    values = {"epochs": best.plan.base_config.epochs, **best.values}  # `train` has a default of its own
    for key in FLAGS:
        if key in values:
            value = values.pop(key)
            words += [f"--{key.replace('_', '-')}", value if isinstance(value, str) else repr(value)]
    words += ["--seeds", ",".join(map(str, best.seeds))]
    for key, value in values.items():
        words += ["--set", f"{key}={toml_value(value)}"]
    return words


def as_json(settings: list[BestSetting]) -> list[dict[str, Any]]:
    """Each setting with where it comes from and what it reached, accuracies as fractions."""
    return [_as_json(best) for best in settings]


def _as_json(best: BestSetting) -> dict[str, Any]:
    trained = best.pair.best
    assert trained is not None
    return {
        "study": best.plan.name,
        "trial": trained.number,
        "is_reference": best.pair.reference is not None and best.pair.reference.number == trained.number,
        "settings": dict(best.values),
        "seeds": list(best.seeds),
        "val_accuracy": _by_seed(trained.val_by_seed),
        "test_accuracy": _by_seed(trained.test_by_seed),
        "verdict": str(best.pair.verdict),
        "is_provisional": best.pair.is_provisional,
        "sentence": verdict(best.pair),
    }


def _by_seed(values: Mapping[int, float]) -> dict[str, float | None]:
    """Accuracies as JSON has them, where what is not a number is null."""
    return {str(seed): value if math.isfinite(value) else None for seed, value in values.items()}


def _remark(best: BestSetting) -> str:
    """Where a setting comes from and what to think of it, in a line."""
    trained = best.pair.best
    assert trained is not None
    reached = f"validation {percent(trained.val_accuracy)}, test {percent(trained.test_accuracy)}"
    return f"{best.plan.name}#{trained.number}: {reached}. {verdict(best.pair)}"


def remarks(settings: list[BestSetting]) -> list[str]:
    """A line a setting: where it comes from, what it reached, and whether tuning was worth it."""
    return [_remark(best) for best in settings]


def _named(campaign: str) -> str:
    named = f"{campaign}-best"
    return named if NAME_PATTERN.fullmatch(named) else f"{campaign[:75]}-best"
