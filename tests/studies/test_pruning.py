"""Every pruner a user can name decides as Optuna's own, on the same trials: in theory, and through the queue."""

import math
import random
from collections.abc import Mapping
from functools import partial
from typing import Any

import optuna
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from optuna.storages import BaseStorage, InMemoryStorage
from optuna.trial import TrialState

from studies.attributes import REFERENCE_ATTR
from studies.database.transactions import Completed, Transaction
from studies.database.transactions_memory import MemoryStore
from studies.pruning import Decision, Halving, Progress, Rule, Verdict, rung_attr
from studies.strategies import PRUNERS
from studies.ticket import Ticket
from studies.tickets import TicketQueue
from tests.studies.queues import claim, make_plan, make_result

EPOCHS = 9  # of make_plan
OPTIONS: Mapping[str, list[dict[str, Any]]] = {
    "none": [{}],
    "median": [
        {},
        {"n_startup_trials": 0, "n_warmup_steps": 0, "n_min_trials": 1},
        {"n_startup_trials": 2, "n_warmup_steps": 2, "interval_steps": 3, "n_min_trials": 3},
    ],
    "asha": [{}, {"reduction_factor": 2}, {"min_resource": 2, "reduction_factor": 2, "min_early_stopping_rate": 1}],
    "hyperband": [{}, {"reduction_factor": 2}, {"min_resource": 12}, {"min_resource": 2, "reduction_factor": 2}],
}
CASES = [
    pytest.param({"name": name, **options}, id=f"{name}-{i}")
    for name in PRUNERS
    for i, options in enumerate(OPTIONS[name])
]


def optunas(pruner: dict[str, Any]) -> tuple[optuna.Study, list[optuna.Trial]]:
    """The study of `make_plan` in memory with Optuna's pruner, and twelve trials."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    plan = make_plan(pruner=pruner)
    build, options = PRUNERS[plan.spec.strategy.pruner.name].build, plan.spec.strategy.pruner.options
    study = optuna.create_study(
        study_name=plan.name, storage=InMemoryStorage(), direction="maximize", pruner=build(options, EPOCHS)
    )
    return study, [study.ask() for _ in range(12)]


def ask(verdict: Verdict, values: Mapping[int, float], trial_id: int, transaction: Transaction) -> Verdict:
    return verdict.after(values, transaction.lock(trial_id), replayed=False)


VALUES = st.one_of(st.sampled_from([0.1, 0.2, 0.3, 1 / 3]), st.floats(0, 1), st.just(float("nan")))


@pytest.mark.filterwarnings("ignore:All-NaN slice:RuntimeWarning")  # numpy's, in Optuna's pruner
@pytest.mark.parametrize("pruner", CASES)
@given(steps=st.lists(st.tuples(st.integers(0, 11), VALUES, st.integers(0, 9)), max_size=80))
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_a_rule_decides_as_optunas_pruner(pruner: dict[str, Any], steps: list[tuple[int, float, int]]) -> None:
    study, trials = optunas(pruner)
    store, plan = MemoryStore(study._storage), make_plan(pruner=pruner)
    verdicts = [Verdict.of(plan, trial.number, {}) for trial in trials]
    for i, value, fate in steps:
        stored = study._storage.get_trial(trials[i]._trial_id)
        epoch = len(stored.intermediate_values)
        if stored.state.is_finished():
            continue
        trials[i].report(value, epoch)
        values = {**stored.intermediate_values, epoch: value}
        # Before Optuna's pruner, which stores what it notes.
        after = store.run(partial(ask, verdicts[i], values, trials[i]._trial_id))
        stops = trials[i].should_prune()
        assert after.stop == stops
        noted = study._storage.get_trial(trials[i]._trial_id).system_attrs
        assert dict(after.noted) == {key: noted[key] for key in noted if key.startswith("completed_rung_")}
        verdicts[i] = after
        if stops:
            study.tell(trials[i], state=TrialState.PRUNED)
        elif fate == 0:
            study.tell(trials[i], state=TrialState.FAIL)
        elif fate <= 2 or epoch == EPOCHS - 1:
            study.tell(trials[i], 0.5)


class Others:
    """Complete trials that reported these values at every epoch."""

    def __init__(self, *values: float) -> None:
        self.values = values

    def completed_at(self, epoch: int) -> Completed:
        return Completed(len(self.values), self.values)

    def noted(self, key: str) -> Mapping[int, float]:
        return dict(enumerate(self.values, start=1))


AT_ONCE = {"n_startup_trials": 0, "n_warmup_steps": 0, "n_min_trials": 1}


def median(**options: int) -> Rule:
    return PRUNERS["median"].rule({**AT_ONCE, **options}, EPOCHS, "s")


@pytest.mark.parametrize(
    ("complete", "bound"),
    [
        ((0.2,), 0.2),
        ((0.2, 0.6), 0.4),
        ((0.1, 0.2, 0.9), 0.2),
        ((0.1, 0.2, 0.6, 0.9), 0.4),
        ((0.2, 0.6, math.nan), 0.4),
    ],
)
def test_the_median_by_hand(complete: tuple[float, ...], bound: float) -> None:
    for below, stop in ((1e-9, True), (0.0, False), (-1e-9, False)):
        assert median()(Progress(0, {0: 0.0, 1: bound - below}), Others(*complete)).stop is stop
        assert (
            median()(Progress(0, {0: bound - below, 1: 0.0}), Others(*complete)).stop is stop
        )  # its best epoch counts
    assert not median()(Progress(0, {0: 0.0}), Others(math.nan)).stop
    assert median()(Progress(0, {0: math.nan}), Others(0.0)).stop


def test_how_often_the_median_pruner_looks_by_hand() -> None:
    rule, others = median(n_warmup_steps=1, interval_steps=3), Others(0.5)
    stops = [epoch for epoch in range(9) if rule(Progress(0, dict.fromkeys(range(epoch + 1), 0.0)), others).stop]
    assert stops == [1, 4, 7]
    assert rule(Progress(0, {0: 0.0, 1: 0.0, 5: 0.0}), others).stop  # the look that was due at epoch 4
    assert not median(n_startup_trials=2)(Progress(0, {0: 0.0}), others).stop
    assert not median(n_min_trials=2)(Progress(0, {0: 0.0}), others).stop


def test_successive_halving_by_hand() -> None:
    rule, others = Halving(min_resource=2, reduction_factor=2, min_early_stopping_rate=0), Others(0.6, 0.4, 0.2)
    first, second = rung_attr(0), rung_attr(1)  # after epochs 2 and 4; of four values the best two go on
    assert rule(Progress(0, {1: 0.0}), others) == Decision()
    assert rule(Progress(0, {2: 0.3}), others) == Decision(stop=True, rungs={first: 0.3})
    assert rule(Progress(0, {2: 0.4}), others) == Decision(rungs={first: 0.4})
    assert rule(Progress(0, {3: 0.0}, n_rungs=1), others) == Decision()
    assert rule(Progress(0, {4: 0.3}, n_rungs=1), others) == Decision(stop=True, rungs={second: 0.3})
    assert rule(Progress(0, {4: 0.5}), others) == Decision(rungs={first: 0.5, second: 0.5})
    assert rule(Progress(0, {2: math.nan}), others) == Decision(stop=True)
    assert rule(Progress(0, {2: 0.0}), Others()) == Decision(rungs={first: 0.0}), "the first one there"


def test_a_trial_is_compared_with_those_of_its_own_halving() -> None:
    rule = Halving(min_resource=1, reduction_factor=3, min_early_stopping_rate=0, competes=lambda number: number > 1)
    assert not rule(Progress(5, {1: 0.5}), Others(0.9, 0.4, 0.1)).stop
    assert rule(Progress(5, {1: 0.5}), Others(0.4, 0.9, 0.1)).stop


def test_the_reference_is_never_stopped() -> None:
    plan = make_plan(pruner={"name": "median", **AT_ONCE})
    for is_reference in (False, True):
        verdict = Verdict.of(plan, 0, {REFERENCE_ATTR: is_reference})
        assert verdict.after({0: 0.0}, Others(0.5), replayed=False).stop is not is_reference


# Every pruner, and on either database those that look at other trials alone and those that note what they saw.
@pytest.mark.parametrize(
    ("storage", "pruner"),
    [
        pytest.param(where, {"name": name, **OPTIONS[name][-1]}, id=f"{where}-{name}")
        for where, names in (("memory", PRUNERS), ("sqlite", ("median", "hyperband")), ("postgres", ("median", "asha")))
        for name in names
    ],
    indirect=["storage"],
)
def test_the_queue_decides_as_optunas_pruner(storage: BaseStorage, pruner: dict[str, Any]) -> None:
    draw = random.Random(str(pruner))
    study, trials = optunas(pruner)
    queue = TicketQueue.create(storage, make_plan(pruner=pruner, n_trials=12))
    running: list[Ticket] = []
    epochs = dict.fromkeys(range(12), 0)
    decided = {True: 0, False: 0}
    while queue.counts().waiting or running:
        if len(running) < 4 and queue.counts().waiting:
            running.append(claim(queue))
            continue
        ticket = draw.choice(running)
        mirror, epoch = trials[ticket.number], epochs[ticket.number]
        value = draw.choice([draw.random(), 0.5, 0.25])
        mirror.report(value, epoch)
        stops = ticket.report(epoch, value)
        assert stops == mirror.should_prune(), f"trial {ticket.number}, epoch {epoch}"
        decided[stops] += 1
        epochs[ticket.number] += 1
        fate = draw.random()
        if stops:
            assert ticket.prune(make_result(value))
            study.tell(mirror, state=TrialState.PRUNED)
        elif fate < 0.05:
            assert ticket.fail("no luck")
            study.tell(mirror, state=TrialState.FAIL)
        elif fate < 0.1:
            assert ticket.give_back("later")  # which pruners do not care about
        elif epoch == EPOCHS - 1:
            assert ticket.complete(make_result(value))
            study.tell(mirror, value)
        else:
            continue
        running.remove(ticket)
    assert decided[False]
    assert bool(decided[True]) == (pruner["name"] != "none")
