"""`load_frame` reads what the queue has written, into the declared schema."""

import math
from datetime import datetime

import optuna
import pandas as pd
import pytest

from studies.campaigns import create_campaign
from studies.errors import NotFound
from studies.frame import (
    COLUMNS,
    DECLARED,
    STATES,
    build_frame,
    load_frame,
    load_provenance,
    param_column,
    param_columns,
)
from studies.tickets import TicketQueue
from studies.trial import TrialResult
from tests.studies.sample_campaign import REFERENCE, Told, make_spec, realistic, store
from tests.studies.sample_cases import CASES, OTHER, THIRD, done, load


@pytest.mark.parametrize("case", CASES)
def test_every_frame_has_the_declared_columns_with_their_types(case: str) -> None:
    frame, provenance = CASES[case]().load()

    assert list(frame.columns[: len(COLUMNS)]) == list(DECLARED)
    assert {c.name: str(frame[c.name].dtype) for c in COLUMNS} == {c.name: c.dtype for c in COLUMNS}
    assert list(param_columns(frame)) == list(provenance.spec.search)
    assert list(frame["study"].cat.categories) == [plan.name for plan in provenance.spec.plans()]


def test_a_complete_trial_in_full() -> None:
    frame, _ = load(make_spec(), [[done(REFERENCE, 0.85, 0.84)]])
    trial = frame.iloc[0]

    assert trial["campaign"] == "sample"
    assert trial["study"] == "sample/rigl-s0.98-erk"
    assert (trial["method"], trial["sparsity"], trial["distribution"]) == ("rigl", 0.98, "erk")
    assert (trial["number"], trial["state"], trial["is_reference"]) == (0, "complete", True)
    assert trial["value"] == pytest.approx(0.85)
    assert trial["seeds"] == (0, 1)
    assert trial["test_accuracy"] == pytest.approx((0.838, 0.842))
    assert (trial["lr"], trial["alpha"], trial["delta_t"]) == (0.1, 0.3, 100)
    assert trial["started"] == datetime(2026, 3, 1, 9)
    assert (trial["worker"], trial["device"], trial["epochs"]) == ("w0", "cpu", 2)
    assert trial["curve"] == {0: 0.75, 1: 0.85}
    assert pd.isna(trial["error"])


def test_a_trial_of_an_older_version_has_no_initial_sparsities_and_nothing_by_epoch() -> None:
    new = {"initial_layer_sparsity": {"a": 0.9}, "explored": [0.1, 0.2], "inference_flops_by_epoch": [0.5, 0.4]}
    old = dict.fromkeys(new)
    frame, _ = load(make_spec(), [[done(REFERENCE, 0.8, 0.8, attrs=new), done(OTHER, 0.8, 0.8, attrs=old)]])

    assert frame["initial_layer_sparsity"].tolist() == [{"a": 0.9}, {}]
    assert frame["explored"].tolist() == [(0.1, 0.2), ()]
    assert frame["inference_flops_by_epoch"].tolist() == [(0.5, 0.4), ()]


def test_rows_follow_the_studies_of_the_spec_then_the_number() -> None:
    spec = make_spec(sparsity=(0.98, 0.9), distribution=("uniform", "erk"), n_trials=11)
    frame, _ = load(spec, realistic(spec, n_trials=11))

    assert frame["study"].drop_duplicates().tolist() == [plan.name for plan in spec.plans()]
    assert frame["number"].tolist() == list(range(11)) * 4


def test_states() -> None:
    trials = [
        Told({}, "waiting"),
        Told(OTHER, "running", curve=[0.5]),
        done(OTHER, 0.8, 0.8),
        Told(OTHER, "pruned", curve=[0.4, 0.5]),
        Told(OTHER, "failed", error="out of memory"),
        Told(THIRD, "failed", error="died"),
        Told(THIRD, "waiting", retry_of=5),
    ]
    frame, _ = load(make_spec(), [trials])

    assert frame["state"].tolist() == ["waiting", "running", "complete", "pruned", "failed", "retried", "waiting"]
    assert set(frame["state"].cat.categories) == set(STATES)
    assert frame["error"].dropna().tolist() == ["out of memory", "died"]
    assert frame["retry_of"].dropna().tolist() == [5]


def test_only_ended_trials_have_a_value_and_a_pruned_one_its_last() -> None:
    trials = [Told(OTHER, "running", curve=[0.5]), Told(OTHER, "pruned", curve=[0.4, 0.3]), Told({}, "waiting")]
    frame, _ = load(make_spec(), [trials])

    assert math.isnan(frame["value"][0])
    assert frame["value"][1] == 0.3
    assert frame["epochs"].tolist() == [pd.NA, 2, pd.NA]
    assert frame["curve"][0] == {0: 0.5}


def test_waiting_tickets_show_the_parameters_they_will_be_trained_with() -> None:
    frame, _ = load(make_spec(), [[Told(OTHER, "waiting"), Told({}, "waiting")]])

    assert frame["lr"].tolist()[0] == 0.05
    assert pd.isna(frame["lr"][1])
    assert frame["is_reference"].tolist() == [False, False]


def test_the_reference_is_recognised_after_a_trip_through_text() -> None:
    nearly = {**REFERENCE, "lr": 0.1 * (1 + 1e-12)}
    frame, _ = load(make_spec(), [[done(REFERENCE, 0.8, 0.8), done(nearly, 0.8, 0.8), done(OTHER, 0.8, 0.8)]])

    assert frame["is_reference"].tolist() == [True, True, False]


def test_searched_method_sparsity_and_distribution_have_a_column_of_their_own() -> None:
    frame, _ = CASES["methods"]().load()

    assert param_columns(frame) == {"method": "params_method"}
    assert frame["method"].tolist() == frame["params_method"].tolist() == ["static", "set", "rigl"]
    assert param_column("lr") == "lr"
    assert param_column("epochs") == "params_epochs"


def test_null_in_a_list_of_accuracies_is_not_a_number() -> None:
    frame, _ = load(make_spec(), [[done(OTHER, 0.8, 0.8, attrs={"test_accuracy": [0.8, None]})]])

    assert frame["test_accuracy"][0][0] == 0.8
    assert math.isnan(frame["test_accuracy"][0][1])


def test_reads_what_the_queue_writes() -> None:
    storage = optuna.storages.InMemoryStorage()
    spec = make_spec(n_trials=3)
    (queue,) = create_campaign(storage, spec)
    result = TrialResult(
        seeds=(0, 1), val_accuracy=(0.8, 0.82), test_accuracy=(0.79, 0.8), loss=(0.5, 0.6), inference_flops=0.1,
        train_flops=0.11, dense_flops=1e6, n_parameters=1000, n_active=20, realised_sparsity=0.98, epochs=5,
        seconds=3.5, environment={"device": "cpu", "torch": "2.13.0"},
    )  # fmt: skip
    first = queue.claim("w1")
    assert first is not None
    first.report(0, 0.7)
    first.complete(result)
    second = TicketQueue.open(storage, queue.name).claim("w2")
    assert second is not None
    second.fail(RuntimeError("out of memory"))

    frame = load_frame(storage, "sample")

    assert frame["state"].tolist() == ["complete", "failed", "waiting"]
    assert frame["is_reference"].tolist() == [True, False, False]
    assert frame["value"][0] == pytest.approx(0.81)
    assert frame["val_accuracy"][0] == (0.8, 0.82)
    assert frame["train_flops"][0] == 0.11
    assert frame["worker"].tolist()[:2] == ["w1", "w2"]
    assert frame["attempt"].tolist()[:2] == [1, 1]
    assert frame["error"][1] == "RuntimeError: out of memory"
    assert frame["curve"][0] == {0: 0.7}
    assert load_provenance(storage, "sample").spec == spec


def test_an_unknown_campaign_is_not_found() -> None:
    storage = store(make_spec("here"), [[]])

    with pytest.raises(NotFound, match="her"):
        load_frame(storage, "her")
    with pytest.raises(NotFound):
        load_provenance(storage, "her")


def test_a_frame_without_rows() -> None:
    frame = build_frame([], studies=["a/b"], search=["lr"])

    assert frame.empty
    assert list(frame["study"].cat.categories) == ["a/b"]
    assert list(param_columns(frame)) == ["lr"]
