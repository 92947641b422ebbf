"""Curves, surfaces and lines: known shapes are found, few trials are binned by hand."""

import math

import numpy as np
import pytest

from studies.evidence import finished, response_section
from studies.evidence.finished import model_of, models_of
from studies.evidence.response import Line, curves_of_pair, lines_of_pair
from studies.evidence.response_figures import _best_first
from studies.evidence.surfaces import surface_params, surfaces
from studies.reporting.findings import PairResult
from studies.reporting.measure import Measure
from studies.reporting.section import Text
from tests.studies.evidence_of import evidence_of, evidence_of_case
from tests.studies.sample_campaign import Told, make_spec


def at(lr: float, alpha: float, delta_t: int, value: float) -> Told:
    return Told({"lr": lr, "alpha": alpha, "delta_t": delta_t}, val=(value - 0.001, value + 0.001), test=(value, value))


def peaked(n: int) -> list[Told]:
    """Best at lr = 0.1 (in logs) and alpha = 0.5, by a parabola; delta_t does nothing."""
    rng = np.random.default_rng(2)
    trials = []
    for _ in range(n):
        lr, alpha = float(10 ** rng.uniform(-2, -0.6)), float(rng.uniform(0.1, 0.6))
        value = 0.9 - 0.05 * (math.log10(lr) + 1) ** 2 - 0.2 * (alpha - 0.5) ** 2 + 0.0005 * rng.normal()
        trials.append(at(lr, alpha, 50 * int(rng.integers(1, 20)), value))
    return trials


def test_the_curves_of_a_known_response() -> None:
    evidence = evidence_of(make_spec(n_trials=24), [peaked(24)])
    pair = evidence.analysis.pairs[0]
    model = model_of(evidence.frame, pair)
    curves = {curve.param: curve for curve in curves_of_pair(evidence.frame, pair, model)}

    assert model is not None
    assert {curve.kind for curve in curves.values()} == {"model"}
    assert curves["lr"].is_told
    assert 0.06 < float(curves["lr"].best_value) < 0.17
    assert float(curves["alpha"].best_value) > 0.4
    assert not curves["delta_t"].is_told
    for curve in curves.values():
        assert all(low <= effect <= high for low, effect, high in zip(curve.low, curve.effect, curve.high, strict=True))
        assert sum(curve.effect) == pytest.approx(0, abs=1e-9)


def test_a_model_is_fitted_once_a_report_and_only_those_asked_for_are_given(monkeypatch: pytest.MonkeyPatch) -> None:
    evidence = evidence_of(make_spec(n_trials=2, sparsity=(0.8, 0.9)), [peaked(2), peaked(2)])
    first, second = evidence.analysis.pairs
    fitted: list[str] = []

    def none(_frame: object, pair: PairResult, _measure: Measure) -> None:
        fitted.append(pair.study)

    monkeypatch.setattr(finished, "model_of", none)

    assert models_of(evidence, [first, second]) == {first.study: None, second.study: None}
    assert models_of(evidence, [second]) == {second.study: None}
    assert fitted == [first.study, second.study]


def test_the_surface_has_a_panel_a_third_of_the_learning_rates_and_every_trial_once() -> None:
    evidence = evidence_of(make_spec(n_trials=24), [peaked(24)])
    pair = evidence.analysis.pairs[0]
    model = model_of(evidence.frame, pair)
    params = surface_params(evidence.frame, {})

    assert model is not None
    assert params == ("alpha", "delta_t")
    assert pair.best is not None
    found = surfaces(model, params, pair.best.params)
    assert [len(one.trials) for one in found] == [8, 8, 8]
    assert len({trial for one in found for trial in one.trials}) == 24
    # The middle of the learning rates is the best of them.
    assert int(np.argmax([one.mean.max() for one in found])) in (1, 2)


def test_bins_by_hand() -> None:
    trials = [at(0.1, 0.3, 100, v) for v in (0.80, 0.82)] + [at(0.1, 0.5, 100, v) for v in (0.84, 0.86)]
    evidence = evidence_of(make_spec(n_trials=4), [trials])
    (curve,) = curves_of_pair(evidence.frame, evidence.analysis.pairs[0], None)

    # Means 0.81 and 0.85 around 0.83; t(0.975, 1 degree) = 12.706 times 0.01414 / √2.
    assert (curve.param, curve.kind, curve.values) == ("alpha", "bins", (0.3, 0.5))
    assert curve.effect == pytest.approx((-0.02, 0.02))
    assert curve.high[1] - curve.effect[1] == pytest.approx(0.12706, rel=1e-3)
    assert not curve.is_told


def test_a_bin_of_one_trial_has_no_interval() -> None:
    trials = [at(0.1, a, 100, v) for a, v in ((0.2, 0.80), (0.3, 0.82), (0.3, 0.83), (0.4, 0.84))]
    evidence = evidence_of(make_spec(n_trials=4), [trials])
    (curve,) = curves_of_pair(evidence.frame, evidence.analysis.pairs[0], None)

    assert [math.isnan(low) for low in curve.low] == [True, False, True]


def test_lines_join_settings_trained_at_three_learning_rates() -> None:
    trials = [at(lr, 0.3, 100, v) for lr, v in ((0.2, 0.7), (0.05, 0.8), (0.1, 0.9))] + [at(0.1, 0.5, 100, 0.8)]
    evidence = evidence_of(make_spec(n_trials=4), [trials])
    (line,) = lines_of_pair(evidence.frame, evidence.analysis.pairs[0])

    assert line.others == {"alpha": 0.3, "delta_t": 100}
    assert line.lr == (0.05, 0.1, 0.2)
    assert line.mean == pytest.approx((0.8, 0.9, 0.7))
    assert line.std == pytest.approx((0.002 / math.sqrt(2),) * 3)


@pytest.mark.parametrize(
    "case",
    ["nothing_stored", "one_complete", "two_complete", "all_pruned", "all_failed", "one_parameter", "not_a_number"],
)
def test_too_few_trials_are_said_to_be(case: str) -> None:
    section = response_section.section(evidence_of_case(case))

    assert section is not None
    says = "No pair has 4 complete trials that differ in a parameter, so the response to the parameters cannot be told."
    assert section.blocks == (Text(says, "missing"),)


def test_trials_that_are_all_alike_respond_to_nothing() -> None:
    alike = [at(0.01 * (i + 1), 0.1 + 0.05 * i, 50 * (i + 1), 0.85) for i in range(8)]
    section = response_section.section(evidence_of(make_spec(n_trials=8), [alike]))  # a warning would be an error

    assert section is not None
    assert isinstance(section.blocks[0], Text)
    assert section.blocks[0].text.startswith("No parameter is shown to change validation accuracy")


def test_lines_are_those_of_the_settings_nearest_to_the_best() -> None:
    near, far = (Line({"alpha": alpha}, (0.1, 0.2), (top, 0.7), (0.0, 0.0)) for alpha, top in ((0.3, 0.8), (0.1, 0.7)))
    lacking = Line({"alpha": 0.5}, (0.1, 0.2), (0.9, 0.7), (0.0, 0.0))
    frame = evidence_of(make_spec(sparsity=(0.9, 0.98)), [[], []])
    first, second = frame.analysis.pairs

    lines = {first.study: (far, near, lacking), second.study: (far, near)}
    assert _best_first(lines, [first, second]) == ["α 0.3", "α 0.1", "α 0.5"]
