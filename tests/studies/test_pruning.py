"""Every pruner a user can name decides as Optuna's own, on the same trials: in theory, and through the queue."""

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

from studies.database.transactions import Transaction
from studies.database.transactions_memory import MemoryStore
from studies.pruning import Verdict
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
    "hyperband": [{}, {"reduction_factor": 2}, {"min_resource": 2, "reduction_factor": 2}],
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
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
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
