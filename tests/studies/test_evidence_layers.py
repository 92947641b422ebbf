"""Where the weights went: means over trials, what moved, what was explored."""

import numpy as np
import pytest
from matplotlib.lines import Line2D

from studies.evidence import layers
from studies.reporting.marks import legend_columns
from studies.reporting.section import Text
from studies.spec import StudySpec
from studies.tables import Table
from tests.studies.evidence_of import evidence_of, evidence_of_case
from tests.studies.sample_campaign import Told, make_spec
from tests.studies.sample_cases import OTHER, REFERENCE, THIRD, done


def told(params: dict[str, object], first: float, explored: list[float], flops: float = 0.1) -> Told:
    attrs = {
        "initial_layer_sparsity": {"a": 0.8, "b": 0.9},
        "layer_sparsity": {"a": first, "b": 0.9},
        "explored": explored,
        "inference_flops_by_epoch": [flops * (1 + i) for i in range(len(explored))],
    }
    return done(params, 0.8, 0.8, attrs=attrs)


def test_means_over_the_complete_trials_of_a_pair() -> None:
    trials = [told(REFERENCE, 0.8, [0.2, 0.3, 0.4]), told(OTHER, 0.6, [0.2, 0.5]), Told(THIRD, "pruned", curve=[0.4])]
    evidence = evidence_of(make_spec(), [trials])
    (one,) = layers.trajectories(evidence.frame, evidence.analysis)

    assert (one.label, one.n_trials) == ("S = 0.98 ERK", 2)
    assert one.initial == {"a": 0.8, "b": 0.9}
    assert one.final == pytest.approx({"a": 0.7, "b": 0.9})
    assert one.largest_move == ("a", pytest.approx(-0.1))
    # As far as both were trained: least, mean, most.
    assert np.allclose(one.explored, [[0.2, 0.3], [0.2, 0.4], [0.2, 0.5]])
    assert np.allclose(one.flops[1], [0.1, 0.2])


def test_another_network_among_the_trials_is_left_out_of_the_means() -> None:
    other = done(OTHER, 0.8, 0.8, attrs={"layer_sparsity": {"x": 0.1}})
    evidence = evidence_of(make_spec(), [[told(REFERENCE, 0.8, [0.2, 0.3]), other]])
    (one,) = layers.trajectories(evidence.frame, evidence.analysis)

    assert one.final == {"a": 0.8, "b": 0.9}


@pytest.mark.parametrize(
    ("trials", "says"),
    {
        "moved": ([told(REFERENCE, 0.6, [0.2, 0.45])], "went from 0.800 to 0.600. Training explored 45 %"),
        "stayed": ([told(REFERENCE, 0.8, [0.2, 0.3])], "none moved between layers"),
        "an older version": ([done(REFERENCE, 0.8, 0.8)], "was not told"),
    }.values(),
)
def test_findings(trials: list[Told], says: str) -> None:
    section = layers.section(evidence_of(make_spec(), [trials]))

    assert section is not None
    assert says in next(block.text for block in section.blocks if isinstance(block, Text))


def test_an_older_versions_trials_are_drawn_as_far_as_they_told() -> None:
    section = layers.section(evidence_of(make_spec(), [[done(REFERENCE, 0.8, 0.8), done(OTHER, 0.8, 0.8)]]))

    assert section is not None
    assert [drawing.name for drawing in section.drawings] == ["layers"]
    assert "No trial told what it explored over several epochs." in [
        b.text for b in section.blocks if isinstance(b, Text)
    ]


def test_dense_networks_and_unfinished_campaigns_have_no_such_section() -> None:
    dense = done({}, 0.8, 0.8, attrs={"layer_sparsity": {"a": 0.0}})

    assert layers.section(evidence_of(make_spec(search={}, n_trials=1, method="dense"), [[dense]])) is None
    assert layers.section(evidence_of_case("all_failed")) is None


def test_pruning_does_not_move_weights_but_begins_dense() -> None:
    attrs = {"initial_layer_sparsity": {"a": 0.0, "b": 0.0}, "layer_sparsity": {"a": 0.7, "b": 0.95}}
    evidence = evidence_of(make_spec(search={}, n_trials=1, method="pruning"), [[done({}, 0.8, 0.8, attrs=attrs)]])
    section = layers.section(evidence)
    assert section is not None
    (table,) = (block for block in section.blocks if isinstance(block, Table))

    assert section.blocks[0] == Text("Training began dense and made every layer sparse on the way.", "finding")
    assert table.rows[0][3] == "began dense"
    assert "Methods that begin dense have no start here." in section.drawings[0].caption


def test_every_method_that_moves_weights_is_drawn_over_training() -> None:
    section = layers.section(evidence_of_case("side_by_side"))
    assert section is not None
    by_name = {drawing.name: drawing for drawing in section.drawings}

    assert {*by_name} == {"layers", "explored", "flops"}
    assert "RigL-SG: from" in by_name["flops"].description
    assert "RigL: from" not in by_name["flops"].description
    assert "RigL: from" in by_name["explored"].description
    assert "kept to the end by RigL, SET, static" in by_name["layers"].svg


def test_a_method_that_alone_moves_weights_is_named() -> None:
    spec = make_spec(search={"method": ["rigl", "rigl_sg"]}, reference={"method": "rigl"}, sampler="grid")
    trials = [told({"method": "rigl"}, 0.8, [0.2, 0.3], 0.0), told({"method": "rigl_sg"}, 0.7, [0.2, 0.3], 0.1)]
    section = layers.section(evidence_of(spec, [trials]))
    assert section is not None
    (flops,) = (drawing for drawing in section.drawings if drawing.name == "flops")

    assert "S = 0.98 ERK, RigL-SG</text>" in flops.svg


def test_trainings_of_different_lengths_are_told_apart() -> None:
    search = {"method": ["rigl", "rigl_sg"], "train_multiplier": [1.0, 2.0]}
    spec = make_spec(search=search, reference={"method": "rigl", "train_multiplier": 1.0}, sampler="grid")
    explored = {1.0: [0.2, 0.3], 2.0: [0.2, 0.3, 0.4, 0.5]}
    every = [(method, k) for method in ("rigl", "rigl_sg") for k in (1.0, 2.0)]
    trials = [told({"method": method, "train_multiplier": k}, 0.7, explored[k], 0.1 * k) for method, k in every]
    evidence = evidence_of(spec, [trials])
    found = layers.trajectories(evidence.frame, evidence.analysis)
    section = layers.section(evidence)
    assert section is not None
    drawn = {drawing.name: drawing.svg for drawing in section.drawings}

    assert [one.name for one in found] == ["rigl", "rigl 2×", "rigl_sg", "rigl_sg 2×"]
    assert [list(one.explored[1]) for one in found] == [pytest.approx(explored[k]) for _method, k in every]
    assert [one["name"] for one in section.summary["methods"]] == [one.name for one in found]
    assert all("RigL-SG 2×" in drawn[name] for name in ("layers", "explored", "flops"))
    assert any("and method and length of training" in block.text for block in section.blocks if isinstance(block, Text))


def test_before_a_trial_is_complete_no_length_is_known() -> None:
    spec = make_spec(search={"train_multiplier": [1.0, 2.0]}, reference={"train_multiplier": 1.0}, sampler="grid")

    assert layers.section(evidence_of(spec, [[Told({}, "waiting")]])) is None


def test_lengths_given_in_epochs_are_told_apart() -> None:
    asked = make_spec(search={}, n_trials=1).model_dump(mode="json")
    search, strategy = {"epochs": [2, 4]}, {"sampler": "grid", "seeds": [0, 1], "reference": {"epochs": 2}}
    spec = StudySpec.model_validate({**asked, "fixed": {}, "search": search, "strategy": strategy})
    trials = [told({"epochs": n}, 0.7, [0.2] * n) for n in (2, 4)]
    evidence = evidence_of(spec, [trials])

    names = [one.name for one in layers.trajectories(evidence.frame, evidence.analysis)]
    assert names == ["rigl 2 epochs", "rigl 4 epochs"]


def test_long_keys_stand_in_fewer_columns() -> None:
    def columns(label: str, n: int) -> int:
        return legend_columns([Line2D([], [], label=label)] * n)

    assert [columns("rigl", 7), columns("rigl", 2), columns("S = 0.95 uniform, rigl_sg", 7)] == [5, 2, 3]
    assert columns("x" * 200, 7) == 1
