"""Early stopping of studies that another program made: their own steps, units and direction, by hand."""

import json
import re
from collections.abc import Sequence

import optuna
import pytest
from jsonschema import Draft202012Validator
from optuna.storages import InMemoryStorage
from optuna.trial import TrialState, create_trial

from studies.attributes import METRIC_NAMES_ATTR
from studies.evidence.stopping import Verdict, stopping_by_step, verdict
from studies.foreign import load_foreign
from studies.foreign_finding import Finding, find
from studies.foreign_report import render_foreign
from studies.foreign_stopping import section
from studies.reporting.section import Section, Text
from studies.summary_schemas import published_schema

pytestmark = pytest.mark.usefixtures("svg_only")

SCHEMA = Draft202012Validator(published_schema())
EARLY = (50.0, 60.0, 70.0, 80.0, 90.0)
FINAL = (80.1, 81.8, 84.0, 86.2, 87.9)
"""0.2 · early + 70, and residuals 0.1, −0.2, 0, 0.2, −0.1."""
STEPS = (10, 20, 40)


def study_of(curves: Sequence[Sequence[float]], stopped: Sequence[Sequence[float]] = ()) -> Finding:
    """A study of a loss whose complete trials have these values at `STEPS`, and whose stopped ones have fewer."""
    storage = InMemoryStorage()
    study = optuna.create_study(storage=storage, study_name="other", direction="minimize")
    storage.set_study_system_attr(study._study_id, METRIC_NAMES_ATTR, ["loss"])
    for state, own in ((TrialState.COMPLETE, curves), (TrialState.PRUNED, stopped)):
        for curve in own:
            value = curve[-1] if state is TrialState.COMPLETE else None
            told = dict(zip(STEPS, curve, strict=False))
            study.add_trial(create_trial(state=state, value=value, intermediate_values=told))
    return find(load_foreign(storage, "other"))


def unstopped() -> list[tuple[float, ...]]:
    return [(99.0, now, end) for now, end in zip(EARLY, FINAL, strict=True)]


def told(made: Section | None) -> str:
    assert made is not None
    return next(block.text for block in made.blocks if isinstance(block, Text) and block.role == "finding")


def test_a_stopped_trial_is_told_by_its_step() -> None:
    finding = study_of(unstopped(), [(99.0, 60.0)])
    pair = stopping_by_step(finding.frame, "other")
    [one] = pair.stopped

    assert pair.steps == STEPS
    assert (one.epoch, pair.step(one.epoch), one.epochs_saved, pair.epochs) == (2, 20, 1, 18)
    assert pair.correlation[1:] == pytest.approx((1.0, 1.0))
    assert pair.settled == 2
    assert one.forecast is not None
    # As in the test of a forecast by hand, a hundred times as large: the loss expected is 82 and the best has 80.1.
    assert (one.forecast.mean, pair.best) == (pytest.approx(-82.0), -80.1)
    assert one.forecast.mean - one.forecast.low == pytest.approx(0.66248, abs=1e-4)
    assert told(section(finding)) == (
        "Pruning did not mislead: of 1 trial stopped early none is likely to have beaten the best (trial 5: < 1 %). "
        "Stopping saved 1 step (6 % of all). From step 20 of 40 on loss ranks the trials nearly as in the end (rank "
        "correlation of 0.9 or more)."
    )


def test_a_lower_loss_than_all_others_had_is_a_winner_lost() -> None:
    finding = study_of(unstopped(), [(99.0, 40.0), (99.0, 95.0)])
    pair = stopping_by_step(finding.frame, "other")

    assert verdict([pair]) is Verdict.MISLED
    best, worst = (one.forecast for one in pair.stopped)
    assert best is not None
    assert worst is not None
    assert (best.mean, best.at_most) == (pytest.approx(-80.0), False)  # as the best of the others had at that step
    assert worst.at_most
    assert "Pruning misled: of 2 trials stopped early 1 would more likely than not have beaten" in told(
        section(finding)
    )


def test_a_trial_of_another_length_is_not_compared_with() -> None:
    pair = stopping_by_step(study_of([*unstopped(), (1.0,)]).frame, "other")
    assert (pair.n, pair.steps) == (5, STEPS)


def test_the_numbers_are_in_the_studys_direction_and_the_page_calls_nothing_an_epoch() -> None:
    files = render_foreign(study_of(unstopped(), [(99.0, 60.0)]))
    summary = json.loads(files["summary.json"])
    page = str(files["report.md"])
    own = page[page.index("## Early stopping") : page.index("## Learning curves")]

    SCHEMA.validate(summary)
    [one] = summary["evidence"]["stopping"]["stopped"]
    assert (one["number"], one["step"], one["value"], one["rests_on"]) == (5, 20, 60.0, 5)
    assert (one["expected"], one["low"]) == (pytest.approx(82.0), pytest.approx(82.0 - 0.66248, abs=1e-4))
    assert not re.search(r"accurac|epoch|points|pair", own)
    described = re.search(r'aria-label="What early steps tell\. ([^"]*)"', str(files["report.html"]))
    assert described
    assert "trial 5, stopped after step 20 at 60: expected to end −1.9 from the best" in described[1]


def test_without_courses_there_is_no_section_and_with_few_it_says_so() -> None:
    assert section(study_of([(1.0,), (2.0,)])) is None
    few = section(study_of(unstopped()[:3], [(99.0, 60.0)]))
    assert (
        "Whether pruning misled cannot be told: nothing can be said of 1 of 1 trial stopped early, for want of"
        in told(few)
    )
    whole = section(study_of(unstopped()))
    assert whole is not None
    assert [block.role for block in whole.blocks if isinstance(block, Text)] == ["finding"]  # of no stopped trials
    assert told(whole).startswith("No trial was stopped early. From step 20 of 40 on loss ranks")
