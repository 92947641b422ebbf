"""Costs: the front by hand, and distributions at equal cost with interpolation by hand."""

import math
from dataclasses import replace

import pytest

from studies.evidence import cost
from studies.evidence.arms import Arm
from studies.evidence.cost_figure import MAX_MARKS
from studies.evidence.costs import BY_COLUMN
from studies.evidence.equal_cost import EqualCost, OutOfReach, equal_costs
from studies.evidence.equal_cost_tables import at_equal_cost
from studies.reporting.findings import Setting
from studies.reporting.section import Text
from tests.studies.evidence_of import evidence_of, evidence_of_case
from tests.studies.sample_campaign import Told, make_spec
from tests.studies.sample_cases import OTHER, REFERENCE, THIRD, done


def priced(val: float, flops: float, **more: object) -> Told:
    return done({**OTHER, "lr": 0.01 + val / 10}, val, val, attrs={"train_flops": flops, **more})


def test_the_front_by_hand() -> None:
    trials = [priced(0.80, 0.3), priced(0.82, 0.2), priced(0.70, 0.1), priced(0.82, 0.4), priced(0.85, 0.4)]
    evidence = evidence_of(make_spec(), [trials])
    front = cost.pareto(evidence.frame, evidence.analysis, BY_COLUMN["train_flops"])

    # 0.3 is dearer and worse than 0.2; of the two at 0.4 the better one counts.
    assert [(e.number, e.cost, round(e.value, 3)) for e in front] == [(2, 0.1, 0.7), (1, 0.2, 0.82), (4, 0.4, 0.85)]


def test_the_front_looks_at_validation_only() -> None:
    blind = [done(p, 0.8 + i / 100, 0.9 - i / 10) for i, p in enumerate((REFERENCE, OTHER, THIRD))]
    evidence = evidence_of(make_spec(), [blind])

    assert [e.number for e in cost.pareto(evidence.frame, evidence.analysis, BY_COLUMN["seconds"])] == [2]


def test_the_finding_names_the_cheapest_within_the_margin() -> None:
    evidence = evidence_of(make_spec(), [[priced(0.848, 0.1), priced(0.850, 0.4), priced(0.80, 0.05)]])
    text = next(block.text for block in cost.section(evidence).blocks if isinstance(block, Text))

    assert "reaches 85.0 % for 0.4× the training FLOPs" in text
    assert "for 0.1×" in text
    assert "comes within 0.20" in text


def test_without_flops_the_other_costs_are_drawn() -> None:
    trials = [done(p, v, v, attrs={"train_flops": None, "n_active": None}) for p, v in ((REFERENCE, 0.8), (OTHER, 0.9))]
    (drawing,) = cost.section(evidence_of(make_spec(), [trials])).drawings

    assert "Front by training time" in drawing.description
    assert "training FLOPs" not in drawing.description


def test_a_big_campaign_is_thinned_and_keeps_its_front() -> None:
    dominated = [priced(0.8 - i / 10_000, 0.3 + i / 10_000) for i in range(MAX_MARKS + 200)]
    evidence = evidence_of(make_spec(n_trials=len(dominated) + 1), [[priced(0.79, 0.2), *dominated]])
    (drawing,) = cost.section(evidence).drawings

    assert "Front by training FLOPs (2 trials): 79.00 % for 0.2×, 80.00 % for 0.3×." in drawing.description
    assert "Not drawn: 201 trials of middling rank" in drawing.caption


def arm(distribution: str, sparsity: float, test: dict[int, float], n_active: float, flops: float) -> Arm:
    trained = Setting(0, {}, {}, test, flops, flops, sparsity, 1.0)
    return Arm("c/s", "rigl", sparsity, distribution, 1.0, trained, None, n_active, 1, 0.1)


UNIFORM = [
    arm("uniform", 0.8, {0: 0.92, 1: 0.93}, 200, 0.20),
    arm("uniform", 0.9, {0: 0.90, 1: 0.91}, 100, 0.10),
]
ERK = [
    arm("erk", 0.8, {0: 0.93, 1: 0.95}, 200, 0.40),
    arm("erk", 0.9, {0: 0.91, 1: 0.93}, 100, 0.20),
    arm("erk", 0.95, {0: 0.88, 1: 0.90}, 50, 0.05),
]


def by_cost(found: tuple[EqualCost, ...], column: str) -> dict[float, EqualCost]:
    return {round(one.at, 3): one for one in found if one.cost.column == column}


def test_equal_costs_by_hand() -> None:
    found, missing = equal_costs([*UNIFORM, *ERK])

    weights = by_cost(found, "n_active")
    assert sorted(weights) == [100, 200]
    assert weights[200].difference.by_seed == pytest.approx({0: 0.01, 1: 0.02})
    assert [weights[at].interpolated for at in (100, 200)] == [False, False]

    flops = by_cost(found, "train_flops")
    assert flops[0.2].difference.by_seed == pytest.approx({0: -0.01, 1: 0.0})  # erk at S = 0.9 costs as much
    # 0.1 lies half-way between 0.05 and 0.2 on a logarithmic scale: erk is 0.895 and 0.915 there.
    assert flops[0.1].difference.by_seed == pytest.approx({0: -0.005, 1: 0.005})
    assert flops[0.1].other_place == "between S = 0.9 and 0.95"
    assert [flops[at].interpolated for at in (0.1, 0.2)] == [True, False]
    assert sorted(flops) == [0.1, 0.2]
    assert {one.sentence for one in missing} == {
        "RigL at S = 0.95 ERK has 50 active weights and uniform 100 to 200",
        "RigL at S = 0.8 ERK has 0.4× training FLOPs and uniform 0.1× to 0.2×",
        "RigL at S = 0.95 ERK has 0.05× training FLOPs and uniform 0.1× to 0.2×",
    }


def test_without_uniform_the_base_is_uniform_all() -> None:
    base = [replace(one, distribution="uniform_all") for one in UNIFORM]
    expected, _ = equal_costs([*UNIFORM, *ERK])
    found, _ = equal_costs([*base, *ERK])

    assert {(one.base, one.other) for one in found} == {("uniform_all", "erk")}
    assert [one.difference for one in found] == [one.difference for one in expected]
    text = " ".join(block.text for block in at_equal_cost(found, ()) if isinstance(block, Text))
    assert "At equal active weights ERK minus uniform (all layers) is" in text
    every, _ = equal_costs([*UNIFORM, *base, *ERK])
    assert {(one.base, one.other) for one in every} == {("uniform", "uniform_all"), ("uniform", "erk")}


def test_nothing_is_extrapolated_from_one_sparsity() -> None:
    found, missing = equal_costs([UNIFORM[0], ERK[0]])

    assert [one.cost.column for one in found] == ["n_active"]
    assert [type(one) for one in missing] == [OutOfReach, OutOfReach]


def test_unknown_costs_are_not_compared() -> None:
    unknown = arm("uniform", 0.8, {0: 0.92}, math.nan, math.nan)

    assert equal_costs([unknown])[0] == ()
    found, missing = equal_costs([unknown, ERK[0]])
    assert found == ()
    assert all("are not known" in one.sentence for one in missing)


def test_the_section_tells_both_ways() -> None:
    section = cost.section(evidence_of_case("side_by_side"))
    text = " ".join(block.text for block in section.blocks if isinstance(block, Text))

    assert "At equal active weights ERK minus uniform is +0.50 points" in text
    assert "at equal training FLOPs ERK minus uniform is −" in text
    assert {one["method"] for one in section.summary["equal_cost"]} == {"static", "set", "rigl", "rigl_sg"}
