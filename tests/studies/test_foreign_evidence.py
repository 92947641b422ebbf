"""What matters and how the value responds, told of studies of any program: known truths, and parameters some lack."""

import json
import math
import re
from collections.abc import Mapping, Sequence

import numpy as np
import optuna
import pytest
from jsonschema import Draft202012Validator
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import InMemoryStorage
from optuna.trial import create_trial

from studies.attributes import METRIC_NAMES_ATTR
from studies.evidence import importance_section, response_section
from studies.evidence.finished import conditional, model_of
from studies.evidence.importance import MOST_TOGETHER, Importance, Ranking, Share, importances
from studies.evidence.importance_section import importance_figure
from studies.evidence.response import Curve, curves_of_pair, spans
from studies.evidence.response_figures import curves_figure
from studies.evidence.surfaces import surface_params
from studies.foreign import load_foreign
from studies.foreign_finding import Finding, find
from studies.foreign_report import render_foreign
from studies.names import as_they_are
from studies.reporting.section import Section, Text
from studies.reporting.trial_figures import parameters
from studies.search_space import Params
from studies.summary_schemas import published_schema

pytestmark = pytest.mark.usefixtures("svg_only")

SCHEMA = Draft202012Validator(published_schema())
AXES: Mapping[str, BaseDistribution] = {
    "lr": FloatDistribution(1e-4, 1, log=True),
    "layers": IntDistribution(1, 5),
    "kind": CategoricalDistribution(("svm", "forest")),
    "C": FloatDistribution(0, 1),  # of kind "svm" only
    "depth": IntDistribution(1, 9),  # of kind "forest" only
    **{f"x{i}": FloatDistribution(0, 1) for i in range(8)},
}


def finding_of(
    trials: Sequence[tuple[Params, float]], direction: str = "minimize", reference: Sequence[str] = ()
) -> Finding:
    """What is found in a study of these trials, parameters and value, in its own direction."""
    storage = InMemoryStorage()
    study = optuna.create_study(storage=storage, study_name="other", direction=direction)
    storage.set_study_system_attr(study._study_id, METRIC_NAMES_ATTR, ["loss"])
    for params, value in trials:
        study.add_trial(create_trial(params=params, distributions={key: AXES[key] for key in params}, value=value))
    return find(load_foreign(storage, "other", reference))


def valley(n: int) -> list[tuple[Params, float]]:
    """Lowest at lr = 0.01, by a parabola of its logarithm; layers do next to nothing."""
    rng = np.random.default_rng(1)
    places = [(float(10 ** rng.uniform(-4, 0)), int(rng.integers(1, 6))) for _ in range(n)]
    return [({"lr": lr, "layers": k}, 2 + (math.log10(lr) + 2) ** 2 + 0.01 * rng.normal()) for lr, k in places]


def branches(n: int) -> list[tuple[Params, float]]:
    """A forest is better than an svm by 2 on average; either has a parameter of its own that changes it by 1."""
    rng = np.random.default_rng(2)
    trials: list[tuple[Params, float]] = []
    for i in range(n):
        x = rng.uniform()
        own: Params = {"kind": "svm", "C": x} if i % 2 else {"kind": "forest", "depth": 1 + round(8 * x)}
        trials.append((own, (3.0 if i % 2 == 0 else 1.0) + x + 0.02 * rng.normal()))
    return trials


def curves_of(finding: Finding) -> dict[str, Curve]:
    model = model_of(finding.frame, finding.pair, finding.analysis.measure)
    return {curve.param: curve for curve in curves_of_pair(finding.frame, finding.pair, model)}


def told(section: Section | None) -> str:
    assert section is not None
    return " ".join(block.text for block in section.blocks if isinstance(block, Text))


@pytest.mark.parametrize("unit", [1.0, 1e-7, 1e7])
def test_where_less_is_better_the_curve_is_highest_at_the_lowest_loss(unit: float) -> None:
    curves = curves_of(finding_of([(params, unit * value) for params, value in valley(24)]))

    assert curves["lr"].is_told
    assert 0.005 < float(curves["lr"].best_value) < 0.02
    assert 2 * unit < curves["lr"].span < 5 * unit
    assert not curves["layers"].is_told
    assert curves["layers"].values == (1, 2, 3, 4, 5)  # whole numbers, and nothing between them


def test_a_trial_that_went_wrong_hides_nothing() -> None:
    trials = [*valley(24), ({"lr": 0.9, "layers": 1}, 1e9)]
    finding = finding_of(trials)
    fanova = importances(finding.frame, finding.sampler, finding.analysis.measure)[0].rankings[0]

    assert curves_of(finding)["lr"].is_told
    assert fanova.shares[0].params == ("lr",)
    assert fanova.shares[0].is_told
    assert finding.analysis.measure.grain < 0.1


def test_a_parameter_is_looked_at_among_the_trials_that_have_it() -> None:
    finding = finding_of(branches(40), "maximize")
    curves = curves_of(finding)

    assert conditional(finding.frame) == {"depth": 20, "C": 20}
    assert [len(curves[name].at) for name in ("kind", "depth", "C")] == [40, 20, 20]
    assert curves["kind"].choices == ("forest", "svm")
    assert curves["kind"].effect == pytest.approx((1.0, -1.0), abs=0.15)  # not what either does without its parameter
    assert curves["C"].effect[-1] - curves["C"].effect[0] == pytest.approx(1.0, abs=0.3)
    assert curves["depth"].span == pytest.approx(1.0, abs=0.3)
    assert surface_params(finding.frame, spans(curves.values())) is None

    says = told(response_section.section(finding))
    assert "Not every trial has depth (20 of 40 do) and C (20 of 40 do)" in says
    assert re.search(
        r"^Loss, the other parameters averaged over: kind changes it by up to 1.9\d \(best with forest\);", says
    )


def test_where_one_parameter_was_searched_no_other_is_averaged_over() -> None:
    alone: list[tuple[Params, float]] = [({"lr": params["lr"]}, value) for params, value in valley(24)]
    with as_they_are():
        section = response_section.section(finding_of(alone))
    assert re.match(r"Loss: lr changes it by up to \S+ \(best near 0.01", told(section))


def test_what_some_trials_lack_is_not_ranked_and_that_is_said() -> None:
    section = importance_section.section(finding_of(branches(16), "maximize"))

    assert told(section) == (
        "The complete trials do not differ in two parameters that all have and in loss, so what matters cannot be "
        "told. Left out among all, because only some trials have it: depth (8 of 16) and C (8 of 16)."
    )


def test_few_trials_are_binned_where_they_have_the_parameter() -> None:
    trials: list[tuple[Params, float]] = [
        ({"kind": "svm", "C": 0.0}, 1.0),
        ({"kind": "svm", "C": 0.0}, 3.0),
        ({"kind": "svm", "C": 1.0}, 5.0),
        ({"kind": "svm", "C": 1.0}, 7.0),
        ({"kind": "forest", "depth": 1}, 9.0),
        ({"kind": "forest", "depth": 2}, 9.0),
    ]
    finding = finding_of(trials, "maximize")
    curves = {curve.param: curve for curve in curves_of_pair(finding.frame, finding.pair, None)}

    assert set(curves) == {"kind", "C"}  # depth has two trials
    assert curves["C"].effect == pytest.approx((-2.0, 2.0))
    assert curves["kind"].effect == pytest.approx((2.5, -2.5))


def test_interactions_are_those_of_the_parameters_that_explain_most() -> None:
    rng = np.random.default_rng(3)
    rows = rng.uniform(size=(24, 8))
    trials: list[tuple[Params, float]] = [
        ({f"x{i}": float(x) for i, x in enumerate(row)}, float(3 * row[6] + row[7])) for row in rows
    ]
    finding = finding_of(trials)
    fanova, _, interaction = importances(finding.frame, finding.sampler, finding.analysis.measure)[0].rankings

    kept = {name for share in fanova.shares[:MOST_TOGETHER] for name in share.params}
    assert len(fanova.shares) == 8
    assert "x6" in kept
    assert {name for share in interaction.shares for name in share.params} == kept


def test_every_row_of_panels_says_what_its_axis_is() -> None:
    rng = np.random.default_rng(4)
    finding = finding_of([({f"x{i}": float(x) for i, x in enumerate(row)}, row[0]) for row in rng.uniform(size=(9, 8))])
    trials = parameters(finding.frame, finding.analysis, finding.search)
    model = curves_of_pair(finding.frame, finding.pair, None)
    response = curves_figure({finding.pair.study: model}, [finding.pair], {}, finding.analysis.measure, "")

    assert trials is not None
    assert trials.svg.count(">loss</text>") == 3  # eight panels in rows of three
    assert response.svg.count(">loss, + is better</text>") == 3


def test_a_name_that_is_a_sentence_leaves_room_for_its_panel() -> None:
    name = "the regularisation of the last of all steps of the pipeline"
    share = Share((name, "depth"), 0.5, 0.4, 0.6, 0.1, is_told=True)
    drawing = importance_figure([Importance("all", 20, 20, (Ranking("interaction", (share,), ()),))])

    assert "the regularisat… × depth" in drawing.svg
    assert f"{name} × depth" in drawing.description


def test_the_page_has_the_evidence_in_the_studys_own_words() -> None:
    files = render_foreign(finding_of(valley(24)))
    summary = json.loads(files["summary.json"])
    page = str(files["report.md"])
    response = page[page.index("## How loss responds") : page.index("## Learning curves")]

    SCHEMA.validate(summary)
    assert {"figures/importance.svg", "figures/response.svg", "figures/surface.svg"} <= set(files)
    assert "**Loss, the other parameters averaged over: lr changes it by up to " in response
    assert not re.search(r"accurac|\bpoints?\b|\bseeds?\b|\bpairs?\b|\d %", response.replace("95 %", ""))
    [pair] = summary["evidence"]["response"]["pairs"]
    best = {curve["param"]: curve["values"][int(np.argmax(curve["effect"]))] for curve in pair["curves"]}
    assert 0.005 < best["lr"] < 0.02
    assert summary["evidence"]["importance"]["sets"][0]["rankings"][0]["shares"][0]["params"] == ["lr"]


@pytest.mark.parametrize(("seed", "drop"), [(9, 0.0), (11, 0.15), (15, 0.15)])
def test_where_half_of_the_values_tie_at_the_top_the_others_still_tell_of_chance(seed: int, drop: float) -> None:
    rng = np.random.default_rng(seed)
    places = [0.2, *(float(x) for x in rng.random(23))]
    chances = [0.985 - drop * (x - 0.6) ** 2 for x in places]
    values = [float(rng.binomial(30, chance) / 30) for chance in chances]
    finding = finding_of([({"C": x}, value) for x, value in zip(places, values, strict=True)], "maximize", ["C=0.2"])
    best = finding.pair.best
    assert best is not None
    assert finding.gain is not None

    assert sum(value == max(values) for value in values) >= 12
    truth = chances[best.number] - chances[0]
    assert finding.gain.low <= truth <= finding.gain.high
    assert finding.gain.low <= 0  # a tie is no certainty
    assert finding.gain.at_least <= truth


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("params", "drop"), [(1, 0.05), (1, 0.3), (3, 0.15)])
def test_with_one_value_a_trial_the_interval_covers_the_truth_as_often_as_it_says(params: int, drop: float) -> None:
    """Accuracies on 500 images, whose noise is of the size of the response."""
    rng = np.random.default_rng(0)
    inside: list[bool] = []
    while len(inside) < 200:  # studies in which something beat the reference
        places = np.vstack([np.full(params, 0.2), rng.random((23, params))])
        chances = 0.9 - drop * ((places - rng.random(params)) ** 2).mean(1)
        trials = [
            ({f"x{i}": float(x) for i, x in enumerate(row)}, float(rng.binomial(500, chance) / 500))
            for row, chance in zip(places, chances, strict=True)
        ]
        finding = finding_of(trials, "maximize", [f"x{i}=0.2" for i in range(params)])
        if finding.gain is not None and finding.pair.best is not None:
            truth = chances[finding.pair.best.number] - chances[0]
            inside.append(finding.gain.low <= truth <= finding.gain.high)
    print(f"{params} parameters, a response of {drop}: covered in {np.mean(inside):.3f} of {len(inside)}")
    assert np.mean(inside) >= 0.9
