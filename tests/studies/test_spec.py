import json
import math
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from studies.catalogue import catalogue_names
from studies.complaints import one_line
from studies.errors import BadInput, SpecError, UnknownName
from studies.search_space import Choice, Range, corners, grid
from studies.spec import StudySpec
from studies.spec_file import load_spec
from studies.trial import TrialResult

SPEC: dict[str, Any] = {
    "name": "digits-lenet",
    "fixed": {"method": "rigl", "model": "lenet_300_100", "dataset": "digits", "epochs": 2},
    "pairs": {"sparsity": [0.9, 0.98], "distribution": ["random", "erk"]},
    "search": {"lr": {"low": 0.01, "high": 0.3, "log": True}, "delta_t": {"low": 50, "high": 200, "step": 50}},
    "strategy": {"n_trials": 3, "reference": {"lr": 0.1, "delta_t": 100}},
}


def spec_with(changes: Mapping[str, Any]) -> StudySpec:
    """SPEC with dotted keys set, or removed where the value is None."""
    document = json.loads(json.dumps(SPEC))
    for key, value in changes.items():
        *parents, last = key.split(".")
        table = document
        for parent in parents:
            table = table.setdefault(parent, {})
        if value is None:
            table.pop(last, None)
        else:
            table[last] = value
    return StudySpec.model_validate(document)


def test_studies_are_the_product_of_the_pairs_in_the_order_written() -> None:
    assert [plan.name for plan in spec_with({}).plans()] == [
        "digits-lenet/rigl-s0.9-uniform",
        "digits-lenet/rigl-s0.9-erk",
        "digits-lenet/rigl-s0.98-uniform",
        "digits-lenet/rigl-s0.98-erk",
    ]


def test_what_is_searched_is_any_in_the_name() -> None:
    searched = {"fixed.method": None, "search.method": ["rigl", "static"], "strategy.reference": None}
    assert spec_with(searched).plans()[0].name == "digits-lenet/any-s0.9-uniform"


def test_without_pairs_there_is_one_study() -> None:
    plans = spec_with({"pairs": None, "fixed.sparsity": 0.5, "fixed.distribution": "er"}).plans()

    assert [plan.name for plan in plans] == ["digits-lenet/rigl-s0.5-er"]


def test_the_reference_comes_first_and_counts() -> None:
    assert spec_with({}).plans()[0].tickets() == [{"lr": 0.1, "delta_t": 100}, {}, {}]
    assert spec_with({"strategy.reference": None}).plans()[0].tickets() == [{}, {}, {}]


def test_a_grid_is_the_product_of_its_axes_each_point_once() -> None:
    on_grid = {"strategy.sampler": "grid", "strategy.n_trials": None, "search.lr": [0.1, 0.2]}
    tickets = spec_with(on_grid).plans()[0].tickets()

    assert tickets[0] == {"lr": 0.1, "delta_t": 100}
    assert len(tickets) == 8
    assert {(t["lr"], t["delta_t"]) for t in tickets} == {(lr, d) for lr in (0.1, 0.2) for d in (50, 100, 150, 200)}


def test_a_reference_on_a_ladder_with_a_grid_runs_once() -> None:
    # The third rung is 0.1 + 2 · 0.1, which is not 0.3 to a computer.
    ladder = {"search.alpha": {"low": 0.1, "high": 0.5, "step": 0.1}, "search.lr": None, "search.delta_t": None}
    on_grid = {"strategy.sampler": "grid", "strategy.n_trials": None, "strategy.reference": {"alpha": 0.3}}
    tickets = spec_with(on_grid | ladder).plans()[0].tickets()

    assert [ticket["alpha"] for ticket in tickets] == pytest.approx([0.3, 0.1, 0.2, 0.4, 0.5])


@pytest.mark.parametrize("name", catalogue_names())
def test_every_ticket_of_the_catalogue_is_a_valid_training_within_its_box(name: str) -> None:
    spec = load_spec(name)

    for plan in spec.plans():
        for ticket in plan.tickets():
            assert set(ticket) in (set(), set(spec.search))
            assert all(spec.search[key].contains(value) for key, value in ticket.items())
            if ticket:
                config = plan.config(ticket)
                assert config.seeds == spec.strategy.seeds
                assert all(getattr(config, key) == value for key, value in ticket.items())


@pytest.mark.parametrize("name", catalogue_names())
def test_json_brings_back_the_same_campaign(name: str) -> None:
    spec = load_spec(name)
    again = StudySpec.model_validate_json(spec.canonical_json())

    assert again == spec
    assert again.canonical_json() == spec.canonical_json()
    assert [plan.tickets() for plan in again.plans()] == [plan.tickets() for plan in spec.plans()]


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "a" * 80},
        {"name": "0._-"},
        {"search.lr": {"low": 0.5, "high": 1.0, "step": 0.5}, "strategy.reference": None},
        {"search.delta_t": {"low": 50, "high": 200}, "strategy.reference": {"lr": 0.3, "delta_t": 50}},
        {"strategy.pruner": "median"},
        {"strategy.pruner": {"name": "asha", "reduction_factor": 4}},
        {"strategy.pruner": {"name": "hyperband", "options": {"min_resource": 2}}},
        {"search.lr": [0.1, 0.2]},
        {"search": {}, "strategy.reference": None, "strategy.n_trials": 1},
        {"search": {}, "strategy.reference": None, "strategy.n_trials": None, "strategy.sampler": "grid"},
        {"search.nesterov": [True, False], "strategy.reference": None},
        {"pairs.sparsity": 0.5, "pairs.distribution": "er"},
        {"fixed.model": "wrn", "fixed.model_options": {"depth": 10, "width": 1}, "fixed.dataset": "synthetic"},
        {"description": "ΔT & η ✓", "reproduces": "Table 2"},
    ],
    ids=str,
)
def test_json_brings_back_every_way_to_write(changes: dict[str, Any]) -> None:
    spec = spec_with(changes)

    assert StudySpec.model_validate_json(spec.canonical_json()) == spec


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"name": ""}, "name"),
        ({"name": "a b"}, "letters, digits"),
        ({"name": "a/b"}, "letters, digits"),
        ({"name": "-a"}, "must start with a letter or digit"),
        ({"name": "a" * 81}, "80 characters"),
        ({"name": "α"}, "letters, digits"),
        ({"fixed.seeds": [0]}, "set strategy.seeds"),
        ({"fixed.epoch": 1}, 'Did you mean "epochs"'),
        ({"fixed.sparsity": 0.9}, "given in [pairs] too"),
        ({"fixed.lr": 0.1}, "given in [fixed] too"),
        ({"search.model_options": [1]}, "cannot be searched"),
        ({"search.lrr": [0.1]}, 'Did you mean "lr"'),
        ({"search.lr": {"low": 0.3, "high": 0.01}}, "must be below"),
        ({"search.lr": {"low": 0.0, "high": 0.1, "log": True}}, "log = true needs low above 0"),
        ({"search.lr": {"low": 0.1, "high": 0.2, "log": True, "step": 0.1}}, "cannot be combined"),
        ({"search.delta_t": {"low": 50, "high": 100, "step": 100}}, "step = 100"),
        ({"search.delta_t": {"low": 50, "high": 100, "step": 0.5}}, "search.delta_t: 0.5 is no whole number"),
        ({"search.delta_t": {"low": 50, "high": 100, "step": 0}}, "step = 0 must be above 0"),
        ({"search.delta_t": {"low": 50, "high": 100, "step": -10}}, "step = -10 must be above 0"),
        ({"search.lr": {"low": 0.1, "high": 0.2, "step": math.nan}}, "step = nan must be above 0"),
        ({"search.lr": {"low": 0.1, "high": 0.1}}, "must be below"),
        ({"search.lr": {"low": 0.1, "high": math.inf}}, "both must be finite"),
        ({"search.lr": {"low": math.nan, "high": 0.1}}, "both must be finite"),
        ({"search.lr": {"low": 0.0, "high": 0.1, "step": 0.9e-6}}, "more than 100,000 values"),
        ({"search.lr": [0.1, 0.1]}, "repeat a value"),
        ({"pairs.sparsity": [0.9, 0.9]}, "repeats a pair"),
        ({"pairs.distribution": ["uniform", "random"]}, "repeats a pair"),
        ({"strategy.sampler": "grid"}, "n_trials = 3: a grid"),
        ({"strategy.sampler": "grid", "strategy.n_trials": None}, "needs a list of values or a step"),
        ({"strategy.n_trials": None}, "n_trials is missing"),
        ({"search": {}, "strategy.reference": None}, "every trial would be the same"),
        ({"strategy.reference": {"lr": 0.1}}, "exactly the searched parameters: delta_t, lr"),
        ({"strategy.reference": {"lr": 0.4, "delta_t": 100}}, "reference.lr = 0.4 is outside"),
        ({"strategy.reference": {"lr": 0.1, "delta_t": 75}}, "reference.delta_t = 75 is outside"),
        (
            {"search.delta_t": {"low": 50, "high": 200}, "strategy.reference": {"lr": 0.1, "delta_t": 75.5}},
            "reference.delta_t = 75.5 is outside",
        ),
        ({"strategy.reference": {"lr": "0.1", "delta_t": 100}}, "reference.lr = 0.1 is outside"),
        ({"strategy.reference": {"lr": 0.1, "delta_t": True}}, "reference.delta_t = True is outside"),
        ({"strategy.pruner": "medan"}, 'Did you mean "median"'),
        (
            {"strategy.pruner": {"name": "none", "patience": 1}},
            'pruner "none" takes no option "patience" (1.0); it takes: none',
        ),
        ({"strategy.pruner": {"name": "median", "n_startup_trials": math.nan}}, "is nan; it must be a whole number"),
        ({"strategy.pruner": {"name": "median", "n_startup_trials": math.inf}}, "is inf; it must be a whole number"),
        ({"strategy.pruner": {"name": "asha", "reduction_factor": 1}}, "at least 2"),
        ({"strategy.pruner": {"name": "asha", "min_early_stopping_rate": 21}}, "is 21; it may be at most 20"),
        ({"strategy.pruner": {"name": "hyperband", "min_resource": 1e18}}, "is 1e+18; it may be at most 1,000,000"),
        (
            {"pairs.sparsity": [n / 501 for n in range(501)]},
            "[pairs] makes 1,002 studies; at most 1,000 are allowed",
        ),
        (
            {"pairs.sparsity": [n / 10 for n in range(1, 7)], "strategy.n_trials": 100_000},
            "are 1,200,000 trials; at most",
        ),
        ({"fixed.epochs": 10**23}, "a trial would need at least 1.1e+24 steps"),
        ({"strategy.seeds": list(range(10_000))}, "10,000 seeds (0 to 9999); at most 1,000 are allowed"),
        (
            {"fixed.batch_size": None, "search.batch_size": {"low": 1, "high": 10**18}, "strategy.reference": None},
            "1e+18 items in a batch",
        ),
        (
            {"strategy.pruner": {"name": "median", "interval_steps": 0}},
            'pruner "median": option interval_steps is 0.0; it must be at least 1',
        ),
        ({"strategy.pruner": {"name": "median", "n_min_trials": 0}}, "n_min_trials is 0.0; it must be at least 1"),
        ({"strategy.pruner": {"name": "asha", "min_resource": 0}}, "min_resource is 0.0; it must be at least 1"),
        ({"strategy.pruner": {"name": "median", "n_warmup_steps": -1}}, "must be a whole number, at least 0"),
        ({"strategy.pruner": {"name": "asha", "min_resource": 1.5}}, "must be a whole number, at least 0"),
        # Corners: each end of the box must be a possible training, for every pair.
        ({"search.alpha": {"low": 0.5, "high": 1.5}, "strategy.reference": None}, "alpha = 1.5"),
        ({"search.momentum": [0.0, 0.9], "strategy.reference": None}, "momentum is 0"),
        ({"search.method": ["rigl", "rigk"], "fixed.method": None, "strategy.reference": None}, 'Did you mean "rigl"'),
        ({"pairs.sparsity": [0.9, 1.0]}, "sparsity = 1.0"),
        ({"pairs.distribution": ["ekr"]}, 'Did you mean "erk"'),
        ({"strategy.seeds": [0, 0]}, "every seed may appear once"),
        ({"fixed.model_options": {"depth": 10}}, 'takes no option "depth"'),
        (
            {
                "strategy.sampler": "grid",
                "strategy.n_trials": None,
                "search.lr": {"low": 0.0001, "high": 1.0, "step": 0.0001},
                "search.delta_t": {"low": 1, "high": 100, "step": 1},
            },
            "1,000,000 points",
        ),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_does_not_fit_together_is_refused_with_the_reason(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(BadInput) as caught:
        spec_with(changes)

    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"pairs.sparsity": False}, "pairs.sparsity.0 = false"),
        ({"pairs.sparsity": [0.9, False]}, "pairs.sparsity.1 = false"),
        ({"search.lr": {"low": 0.01, "high": True}}, "search.lr.high = true"),
        ({"search.delta_t": {"low": 50, "high": 200, "step": True}}, "search.delta_t.step = true"),
        ({"strategy.n_trials": True}, "strategy.n_trials = true"),
        ({"strategy.seed": False}, "strategy.seed = false"),
        ({"strategy.seeds": [True]}, "strategy.seeds.0 = true"),
        ({"strategy.pruner": {"name": "asha", "min_resource": True}}, "strategy.pruner.options.min_resource = true"),
        ({"fixed.dataset": "synthetic", "fixed.dataset_options": {"width": True}}, "dataset_options.width = true"),
        ({"fixed.model_options": {"dropout": False}, "fixed.model": "wrn_10_1"}, "model_options.dropout = false"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_true_and_false_are_no_numbers(changes: dict[str, Any], where: str) -> None:
    with pytest.raises((ValidationError, BadInput)) as caught:
        spec_with(changes)

    told = one_line(caught.value) if isinstance(caught.value, ValidationError) else str(caught.value)
    assert told.startswith(f"{where}: it must be a number; true and false are for what is on or off")


def test_a_reference_is_of_the_kind_of_the_choices() -> None:
    with pytest.raises(BadInput, match=r"strategy.reference.lr = True is outside the search: 0.1, 1.0"):
        spec_with({"search": {"lr": [0.1, 1.0]}, "strategy.reference": {"lr": True}})
    assert spec_with({"search": {"lr": [0.1, 1.0]}, "strategy.reference": {"lr": 1}})


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"nmae": "x"}, "nmae = 'x': unknown key"),
        ({"strategy.n_trials": 0}, "strategy.n_trials = 0"),
        ({"strategy.n_trials": 1.5}, "strategy.n_trials = 1.5"),
        ({"strategy.n_trials": 100_001}, "strategy.n_trials = 100001"),
        ({"strategy.seeds": []}, "strategy.seeds = []"),
        ({"strategy.seeds": ["a"]}, "strategy.seeds.0 = 'a'"),
        ({"pairs.sparsity": []}, "pairs.sparsity = []"),
        ({"pairs.sparsity": ["x"]}, "pairs.sparsity.0 = 'x'"),
        ({"search.lr": {"low": 0.1}}, "search.lr.high: it is missing"),
        ({"search.lr": []}, "search.lr.values = []"),
        ({"name": 5}, "name = 5"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_values_of_the_wrong_kind_are_told_in_one_line_with_their_key(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError) as caught:
        spec_with(changes)

    assert told in one_line(caught.value)
    assert "\n" not in one_line(caught.value)


def test_the_errors_are_of_the_kinds_that_callers_tell_apart() -> None:
    with pytest.raises(UnknownName):
        spec_with({"strategy.sampler": "x"})
    with pytest.raises(SpecError):
        spec_with({"pairs.sparsity": [1.0]})


@given(low=st.integers(-50, 50), span=st.integers(1, 60), step=st.integers(1, 20))
def test_the_points_of_a_ladder_are_what_it_contains(low: int, span: int, step: int) -> None:
    axis = Range(low=low, high=low + span, step=min(step, span))
    points = axis.points()

    assert points is not None
    assert [value for value in range(low - 2, low + span + 3) if axis.contains(value)] == points


@given(low=st.floats(1e-4, 1.0), n=st.integers(1, 50), step=st.floats(1e-3, 1.0))
def test_a_ladder_of_fractions_keeps_its_top_rung(low: float, n: int, step: float) -> None:
    axis = Range(low=low, high=low + n * step, step=step)
    points = axis.points()

    assert points is not None
    assert len(points) == n + 1
    assert all(axis.contains(point) for point in points)


def test_grid_turns_its_last_axis_fastest() -> None:
    axes = {"a": Choice(values=(1, 2)), "b": Choice(values=("x", "y"))}

    assert grid(axes) == [{"a": 1, "b": "x"}, {"a": 1, "b": "y"}, {"a": 2, "b": "x"}, {"a": 2, "b": "y"}]


def test_a_box_of_very_many_corners_is_still_checked_axis_by_axis() -> None:
    axes = {f"axis{i}": Range(low=0, high=1) for i in range(20)}

    seen = list(corners(axes))

    assert len(seen) == 40
    assert {(key, value) for corner in seen for key, value in corner.items()} == {(k, v) for k in axes for v in (0, 1)}


def test_the_value_of_a_trial_is_the_mean_over_its_seeds() -> None:
    result = TrialResult(
        seeds=(0, 1),
        val_accuracy=(0.5, 0.75),
        test_accuracy=(0.4, 0.6),
        loss=(1.0, 2.0),
        inference_flops=0.1,
        train_flops=0.2,
        dense_flops=100.0,
        n_parameters=10,
        n_active=1,
        realised_sparsity=0.9,
        epochs=1,
        seconds=1.0,
    )

    assert result.value == 0.625


def _spec(**changes: object) -> StudySpec:
    return StudySpec.model_validate(
        {"name": "x", "fixed": {"dataset": "digits", "epochs": 1}, "strategy": {"n_trials": 2, "sampler": "random"}}
        | changes
    )


def test_pairs_that_differ_in_the_last_digit_are_two_studies() -> None:
    spec = _spec(pairs={"sparsity": [0.9, 0.90000001], "distribution": "erk"}, search={"lr": [0.1, 0.2]})

    assert [plan.name for plan in spec.plans()] == ["x/rigl-s0.9-erk", "x/rigl-s0.90000001-erk"]


def test_searched_numbers_are_of_the_kind_of_their_setting() -> None:
    search = {"alpha": {"low": 0, "high": 1}, "batch_size": {"low": 32.0, "high": 64.0}, "lr": [1, 0.5]}
    spec = _spec(search=search)

    assert spec.search["alpha"] == Range(low=0.0, high=1.0)
    assert not spec.search["alpha"].is_integer
    assert spec.search["batch_size"].is_integer
    assert [type(value) for value in spec.search["lr"].values] == [float, float]
    assert StudySpec.model_validate_json(spec.canonical_json()) == spec


def test_a_fraction_may_be_searched_in_fractional_steps_between_whole_numbers() -> None:
    axis = _spec(search={"alpha": {"low": 0, "high": 1, "step": 0.25}}).search["alpha"]

    assert axis == Range(low=0.0, high=1.0, step=0.25)
    assert axis.points() == [0.0, 0.25, 0.5, 0.75, 1.0]


def test_a_fine_ladder_far_from_0_has_no_more_values_than_it_has() -> None:
    axis = _spec(search={"alpha": {"low": 0.9, "high": 0.95, "step": 1e-6}}).search["alpha"]

    assert len(axis.points() or ()) == 50_001


@pytest.mark.parametrize(
    ("search", "complaint"),
    [
        ({"batch_size": {"low": 32.5, "high": 64}}, "32.5 is no whole number, and batch_size counts something"),
        ({"lr": ["0.1", 0.1]}, "'0.1' is no number, and lr is one"),
        ({"delta_t": [5, 7.5]}, "7.5 is no whole number"),
        ({"epochs": [True, 2]}, "True is no number"),
        ({"train_size": [100, 1298]}, 'train_size is 1298; data set "digits" has 1,297 to train on'),
        ({"method": ["rigl", "pruning"]}, "pruning would go from step 700 to step 8"),
    ],
)
def test_what_could_only_fail_in_training_is_refused_before(search: dict, complaint: str) -> None:
    with pytest.raises(BadInput) as caught:
        _spec(search=search)

    assert complaint in str(caught.value)
