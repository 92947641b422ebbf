"""What carries over: costs and rank correlations by hand."""

import math

import numpy as np
import pytest

from studies.evidence import transfer_section
from studies.evidence.likeness import _corrected
from studies.evidence.transfer import Transfer, _average, transfer
from studies.reporting.section import Text
from tests.studies.evidence_of import evidence_of, evidence_of_case
from tests.studies.sample_campaign import Told, make_spec

ALPHAS = (0.1, 0.2, 0.3, 0.4, 0.5)


def told(values: tuple[float, ...]) -> list[Told]:
    """One trial an alpha, with these accuracies on average; on test the seeds differ by more at a larger alpha."""
    return [
        Told({"alpha": a}, val=(v - 0.001, v + 0.001), test=(v - a / 1000, v + a / 1000))
        for a, v in zip(ALPHAS, values, strict=False)
    ]


def compared(*pairs: tuple[float, ...]) -> Transfer:
    spec = make_spec(
        search={"alpha": list(ALPHAS)}, reference={"alpha": 0.1}, sampler="grid", sparsity=(0.9, 0.98)[: len(pairs)]
    )
    evidence = evidence_of(spec, [told(values) for values in pairs])
    found = transfer(evidence)
    assert found is not None
    return found


def test_the_cost_of_the_other_pairs_best_by_hand() -> None:
    found = compared((0.80, 0.81, 0.82, 0.83, 0.90), (0.80, 0.86, 0.82, 0.83, 0.81))
    costs = {(cost.source, cost.target): cost for cost in found.costs if cost.source != "reference"}
    first, second = found.labels

    # Each pair's best at the other: 0.90 − 0.81 with alpha 0.2, and 0.86 − 0.81 with alpha 0.5.
    assert costs[second, first].kind == "shared"
    assert costs[second, first].mean == pytest.approx(0.09)
    assert costs[first, second].mean == pytest.approx(0.05)
    assert found.average is not None
    assert found.average.mean == pytest.approx(0.07)


def test_the_rank_correlation_by_hand() -> None:
    found = compared((0.80, 0.81, 0.82, 0.83, 0.84), (0.80, 0.82, 0.81, 0.83, 0.84))
    (likeness,) = found.likeness

    # One of ten couples is in the other order: τ = (9 − 1) / 10; ρ = 1 − 6 · 2 / (5 · 24).
    assert (likeness.kind, likeness.n) == ("shared", 5)
    assert likeness.kendall[0] == pytest.approx(0.8)
    assert likeness.spearman[0] == pytest.approx(0.9)
    assert likeness.kendall[1] <= 0.8 <= likeness.kendall[2] <= 1


def test_what_noise_takes_of_a_rank_correlation_is_put_back() -> None:
    # Kendall's 1/3 belongs to the normal correlation sin(π/6) = 1/2; ranks that agree with themselves by 0.8 make it
    # 0.625, and Kendall's of that is 2/π arcsin 0.625. Spearman's is that of 2 sin(πρ/6) likewise.
    seen = np.array([1 / 3, 6 / math.pi * math.asin(0.25)])

    assert _corrected(seen, np.array([0.8, 0.8])) == pytest.approx(
        [2 / math.pi * math.asin(0.625), 6 / math.pi * math.asin(0.3125)]
    )
    assert _corrected(seen, np.array([0.4, 0.4])) == pytest.approx([1, 1])
    assert np.isnan(_corrected(seen, np.array([0.2, 0.9]))).all()


def noisy(top: float, seed: int, alphas: list[float], floor: float = 0.0) -> list[Told]:
    """A grid whose accuracies fall with the square of the distance from `top`, and noise of 0.2 points a seed."""
    rng = np.random.default_rng(seed)
    trials = []
    for alpha in alphas:
        true = 0.85 - (0.5 * (alpha - top) ** 2 if abs(alpha - top) < 0.45 else floor)
        val, test = true + 0.002 * rng.normal(size=(2, 3))
        trials.append(Told({"alpha": alpha}, val=val.tolist(), test=test.tolist()))
    return trials


def of_two(first: list[Told], second: list[Told], alphas: list[float]) -> Transfer:
    spec = make_spec(
        search={"alpha": alphas}, reference={"alpha": alphas[0]}, sampler="grid", sparsity=(0.9, 0.98), seeds=(0, 1, 2)
    )
    found = transfer(evidence_of(spec, [first, second]))
    assert found is not None
    return found


def test_pairs_that_rank_alike_may_agree_wholly_whatever_the_noise() -> None:
    alphas = [round(0.1 + 0.04 * i, 2) for i in range(12)]
    found = of_two(noisy(0.3, 0, alphas), noisy(0.3, 1, alphas), alphas)

    (one,) = found.likeness
    assert one.kind == "shared"
    assert one.kendall[0] > 0.7
    assert one.kendall[2] == one.spearman[2] == 1


def test_a_setting_that_costs_much_elsewhere_costs_what_the_trials_there_say() -> None:
    alphas = [round(0.1 + 0.04 * i, 2) for i in range(12)]
    found = of_two(noisy(0.18, 0, alphas), noisy(0.5, 1, alphas), alphas)

    # Each one's best is 0.32 from the other's: 0.5 · 0.32² is 5.12 points, give or take a neighbour.
    for cost in (cost for cost in found.costs if cost.kind == "model"):
        assert cost.mean == pytest.approx(0.0512, abs=0.02)
        assert 0.03 < cost.low < cost.high < 0.08
    assert found.average is not None
    assert found.average.low > 0.03


def test_of_a_setting_among_hopeless_ones_the_least_that_it_costs_is_told() -> None:
    alphas = [round(0.1 + 0.04 * i, 2) for i in range(12)]
    first, second = noisy(0.14, 0, alphas, floor=0.6), noisy(0.58 - 0.04, 1, alphas)
    for trial in second[:2]:
        trial.test[:] = [0.1, 0.1, 0.1]  # type: ignore[index]
        trial.val[:] = [0.1, 0.1, 0.1]  # type: ignore[index]
    found = of_two(first, second, alphas)
    at_second = next(c for c in found.costs if c.kind == "model" and c.target == found.labels[1])

    assert at_second.high == math.inf
    assert 0.02 < at_second.low < 0.75
    assert found.average is not None
    assert found.average.high == math.inf
    section = transfer_section.section(
        evidence_of(
            make_spec(
                search={"alpha": alphas},
                reference={"alpha": alphas[0]},
                sampler="grid",
                sparsity=(0.9, 0.98),
                seeds=(0, 1, 2),
            ),
            [first, second],
        )
    )
    assert section is not None
    text = " ".join(block.text for block in section.blocks if isinstance(block, Text))
    assert "costs at least" in text
    assert "as bad as the hopeless trials" in text


def test_the_same_best_costs_nothing() -> None:
    found = compared((0.80, 0.81, 0.82, 0.83, 0.84), (0.70, 0.71, 0.72, 0.73, 0.74))

    assert {cost.kind for cost in found.costs if cost.source != "reference"} == {"same"}
    assert found.average is not None
    assert (found.average.mean, found.average.high) == (0.0, 0.0)
    assert found.likeness[0].kendall[0] == pytest.approx(1.0)


def test_settings_the_target_never_trained_stay_unknown() -> None:
    found = compared((0.80, 0.81, 0.82, 0.83, 0.90), (0.80, 0.86))
    costs = {(cost.source, cost.target): cost for cost in found.costs}
    first, second = found.labels

    assert costs[first, second].kind == "unknown"
    assert math.isnan(costs[first, second].mean)
    assert found.average is None
    assert found.likeness == ()


def test_an_average_of_independent_means() -> None:
    average = _average([(0.01, 0.003), (0.03, 0.004)])

    # The standard deviation of the mean of two is √(0.003² + 0.004²) / 2.
    assert average is not None
    assert average.mean == pytest.approx(0.02)
    assert average.high - average.mean == pytest.approx(1.959964 * 0.0025)


def test_the_average_is_that_of_the_costs_told_one_by_one() -> None:
    alphas = [round(0.05 * i, 2) for i in range(1, 13)]
    spec = make_spec(search={"alpha": alphas}, reference={"alpha": 0.3}, sampler="grid", sparsity=(0.8, 0.9, 0.98))

    def around(top: float) -> list[Told]:
        values = [0.85 - 0.05 * (alpha - top) ** 2 for alpha in alphas]
        wave = [0.001 * math.sin(5 * i) for i in range(len(alphas))]
        return [
            Told({"alpha": alpha}, val=(v, v), test=(v + w, v - w / 2))
            for alpha, v, w in zip(alphas, values, wave, strict=True)
        ]

    found = transfer(evidence_of(spec, [around(top) for top in (0.1, 0.3, 0.55)]))
    assert found is not None
    foreign = [cost for cost in found.costs if cost.source != "reference"]

    # The second pair's best is the reference, which costs elsewhere what the first screen says that tuning gains.
    assert [cost.kind for cost in foreign].count("gain") == 2
    assert found.average is not None
    assert found.average.mean == pytest.approx(math.fsum(cost.mean for cost in foreign) / 6, abs=1e-12)
    assert found.average.low < found.average.mean < found.average.high


def test_the_claim_is_one_number_set_beside_the_margin() -> None:
    one, other = (0.8000, 0.81, 0.82, 0.83, 0.84), (0.8001, 0.81, 0.82, 0.8401, 0.84)
    spec = make_spec(search={"alpha": list(ALPHAS)}, reference={"alpha": 0.1}, sampler="grid", sparsity=(0.9, 0.98))
    section = transfer_section.section(evidence_of(spec, [told(one), told(other)]))

    assert section is not None
    first = section.blocks[0]
    assert isinstance(first, Text)
    assert first.text.startswith("Taking another pair’s best setting costs ")
    assert " points on average" in first.text
    note = section.blocks[-1]
    assert isinstance(note, Text)
    assert "fewer than 8 trials that say something, they are from the two trials alone" in note.text


def test_one_best_setting_for_all_is_said_without_a_margin() -> None:
    same = (0.80, 0.81, 0.82, 0.83, 0.84)
    spec = make_spec(search={"alpha": list(ALPHAS)}, reference={"alpha": 0.1}, sampler="grid", sparsity=(0.9, 0.98))
    section = transfer_section.section(evidence_of(spec, [told(same), told(same)]))

    assert section is not None
    texts = [block.text for block in section.blocks if isinstance(block, Text)]
    assert texts[0] == "Every pair has the same best setting, so taking another pair’s costs nothing."
    assert not any("without regard to the pair" in text or "The dearest" in text for text in texts)


def test_one_pair_has_no_section_and_two_without_trials_say_so() -> None:
    assert transfer_section.section(evidence_of_case("two_complete")) is None
    section = transfer_section.section(evidence_of_case("unfinished"))

    assert section is not None
    says = "Fewer than two pairs have complete trials to compare, so what carries over cannot be told."
    assert section.blocks == (Text(says, "missing"),)


def test_methods_that_are_compared_have_no_setting_to_carry_over() -> None:
    assert transfer_section.section(evidence_of_case("side_by_side")) is None
