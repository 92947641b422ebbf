"""Beside the published: the file that is shipped, what is set beside what, and the difference by hand."""

import math

import numpy as np
import pytest

from studies.errors import BadInput
from studies.evidence import published
from studies.evidence.published import Beside, beside_published
from studies.evidence.published_numbers import PublishedTable, published_tables
from studies.reporting.section import Text
from studies.spec_file import load_spec
from studies.tables import Table
from tests.studies.evidence_of import evidence_of, evidence_of_case
from tests.studies.sample_campaign import Told, make_spec
from tests.studies.sample_cases import load

WRN = {"recipe": "cifar10", "epochs": 250}


def told(method: str, *test: float, val: float = 0.9) -> Told:
    return Told({"method": method}, val=(val,) * len(test), test=test, curve=(val,))


def test_what_is_shipped_is_sound_and_every_number_can_be_repeated_with_the_catalogue() -> None:
    for table in published_tables():
        covered = set()
        for name in table.campaigns:
            spec = load_spec(name)
            assert spec.fixed["recipe"] == table.recipe
            assert len(spec.strategy.seeds) == table.seeds
            covered |= {one.row for one in beside_published(load(spec, [[] for _ in spec.plans()])[0], spec, [table])}
        assert covered == set(table.rows)


def test_the_difference_in_standard_errors_by_hand() -> None:
    spec = make_spec(
        "cifar10-wrn-methods", search={"method": ["static", "rigl"]}, reference={"method": "static"}, sampler="grid",
        seeds=(0, 1, 2), sparsity=(0.8,), **WRN,
    )  # fmt: skip
    frame, _ = load(spec, [[told("static", 0.9, 0.9, 0.9), told("rigl", 0.929, 0.930, 0.931)]])
    (one,) = beside_published(frame, spec)

    assert (one.place, one.row.test, one.row.std) == ("RigL, S = 0.8 ERK", 93.1, 0.09)
    assert one.difference == pytest.approx(0.930 - 0.931)
    # Ours: 0.1 points over three seeds; theirs: 0.09 over three.
    assert 100 * one.standard_error == pytest.approx(math.sqrt(0.1**2 / 3 + 0.09**2 / 3))
    assert one.in_standard_errors == pytest.approx(-0.1 / math.sqrt(0.0181 / 3))


def test_how_many_lie_within_two_standard_errors_by_chance() -> None:
    # Three seeds of either, with the same deviation: 4 degrees of freedom, where P(|T| < 2) = 0.8839.
    row = {"method": "rigl", "sparsity": 0.8, "distribution": "erk", "test": 93.0, "std": 0.1}
    table = PublishedTable.model_validate({"name": "t", "source": "s", "recipe": "cifar10", "seeds": 3, "rows": [row]})
    spec = make_spec(search={}, sampler="grid", sparsity=(0.8,), seeds=(0, 1, 2), **WRN)

    def ours(*test: float) -> Beside:
        frame = load(spec, [[Told({}, val=(0.9,) * 3, test=test, curve=(0.9,))]])[0]
        (one,) = beside_published(frame, spec, [table])
        return one

    assert ours(0.929, 0.930, 0.931).chance_within == pytest.approx(0.8839, abs=1e-4)
    # Without a spread of ours it is that of theirs alone: 2 degrees, P(|T| < 2) = 2 / √(2 + 4).
    assert ours(0.93, 0.93, 0.93).chance_within == pytest.approx(2 / math.sqrt(6))
    rng = np.random.default_rng(0)
    own, theirs = rng.normal(0.93, 0.001, (2, 4000, 3))
    errors = np.hypot(own.std(1, ddof=1), theirs.std(1, ddof=1)) / math.sqrt(3)
    assert np.mean(np.abs(own.mean(1) - theirs.mean(1)) <= 2 * errors) == pytest.approx(0.884, abs=0.02)


def test_the_reference_stands_beside_it_and_not_the_luckier_best() -> None:
    spec = make_spec(search={"alpha": [0.3, 0.5]}, reference={"alpha": 0.3}, sampler="grid", sparsity=(0.8,), **WRN)
    trials = [Told({"alpha": a}, val=(v, v), test=(v, v + 0.01)) for a, v in ((0.3, 0.90), (0.5, 0.95))]
    (one,) = beside_published(load(spec, [trials])[0], spec)

    assert (one.is_reference, one.estimate.mean) == (True, pytest.approx(0.905))
    assert one.place == "RigL, S = 0.8 ERK"


def test_beside_a_tuned_setting_stands_the_best() -> None:
    spec = make_spec(
        search={"alpha": [0.3, 0.5], "delta_t": [100, 200]}, reference={"alpha": 0.3, "delta_t": 100}, sampler="grid",
        sparsity=(0.9,), **WRN,
    )  # fmt: skip
    trials = [
        Told({"alpha": a, "delta_t": d}, val=(v, v), test=(v, v + 0.01))
        for a, d, v in ((0.3, 100, 0.90), (0.5, 200, 0.92))
    ]
    section = published.section(evidence_of(spec, [trials]))

    assert section is not None
    (table,) = (block for block in section.blocks if isinstance(block, Table))
    (row,) = table.rows
    assert row[:2] == ("RigL, S = 0.9 ERK, tuned (α 0.416, ΔT 200)", "α 0.5, ΔT 200")
    assert row[2:5] == ("92.5 ± 0.7 %", "92.4 ± 0.23 %", "+0.10")
    assert section.summary["settings"][0]["tuned"] == {"alpha": 0.416, "delta_t": 200}
    lacking = "Published, too, but not in the copy the numbers were taken from: RigL, S = 0.9 ERK."
    assert [block.text for block in section.blocks if isinstance(block, Text) and block.role == "text"] == [lacking]


def test_longer_training_and_other_epochs_are_not_mixed_up() -> None:
    spec = make_spec(search={}, sampler="grid", sparsity=(0.8,), train_multiplier=2, recipe="cifar10", epochs=5)
    evidence = evidence_of(spec, [[Told({}, val=(0.9, 0.9), test=(0.93, 0.94))]])
    section = published.section(evidence)

    assert section is not None
    assert section.summary["settings"][0]["published"] == pytest.approx(0.933)  # RigL 2× ERK
    assert Text("Not like with like: ours had epochs 5 (published 250).", "text") in section.blocks


@pytest.mark.parametrize(
    ("trials", "says"),
    {
        "nothing trained": ([], "None of the 1 published number has a trial of ours beside it yet."),
        "one seed": ([Told({}, val=(0.9,), test=(0.93,), seeds=(0,))], "with one seed there is no standard error"),
        "far": ([Told({}, val=(0.9, 0.9), test=(0.80, 0.801))], "is furthest off (−"),
        "near": ([Told({}, val=(0.9, 0.9), test=(0.930, 0.932))], "1 of 1 lie within 2 standard errors"),
        "not a number": ([Told({}, val=(0.9, 0.9), test=(math.nan, 0.932))], "None of the 1 published"),
    }.values(),
)
def test_findings(trials: list[Told], says: str) -> None:
    spec = make_spec(search={}, sampler="grid", sparsity=(0.8,), **WRN)
    section = published.section(evidence_of(spec, [trials]))

    assert section is not None
    assert says in next(block.text for block in section.blocks if isinstance(block, Text))


@pytest.mark.parametrize("case", ["nothing_stored", "any_sparsity", "methods", "text", "lottery"])
def test_nothing_was_published_of_other_networks(case: str) -> None:
    assert published.section(evidence_of_case(case)) is None


def test_the_table_names_settings_by_what_was_searched() -> None:
    section = published.section(evidence_of_case("beside_the_published"))
    assert section is not None
    (table,) = (block for block in section.blocks if isinstance(block, Table))

    assert [row[:2] for row in table.rows] == [
        ("static, S = 0.8 uniform", "the reference"),
        ("RigL, S = 0.8 uniform", "method RigL"),
        ("RigL, S = 0.9 uniform", "not trained yet"),
        ("static, S = 0.9 uniform", "not trained yet"),
    ]


def test_a_table_that_says_the_same_twice_is_refused() -> None:
    row = {"method": "rigl", "sparsity": 0.8, "distribution": "erk", "test": 93.1, "std": 0.1}
    table = {"name": "t", "source": "s", "recipe": "cifar10", "seeds": 3}

    with pytest.raises(BadInput, match="two rows with the same settings"):
        PublishedTable.model_validate({**table, "rows": [row, row]})
