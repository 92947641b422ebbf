"""What samplers draw and pruners stop, through the queue, on every kind of storage."""

import hashlib
from collections.abc import Callable

import optuna
import pytest
from optuna.storages import BaseStorage, InMemoryStorage
from optuna.trial import TrialState

from studies.database.storage_url import StorageUrl
from studies.spec import StudySpec
from studies.storage import open_storage
from studies.strategies import PRUNERS, SAMPLERS
from studies.ticket import Ticket
from studies.tickets import TicketQueue
from tests.studies.queues import REFERENCE, claim, make_plan, make_result, trials

SAMPLER_NAMES = ("random", "tpe")


def run_all(queue: TicketQueue, objective: Callable[[Ticket], float]) -> list[tuple[float, ...]]:
    drawn = []
    while (ticket := queue.claim("w")) is not None:
        config = ticket.spec.config
        drawn.append((config.lr, config.alpha, config.delta_t))
        ticket.complete(make_result(objective(ticket)))
    return drawn


def test_tpe_draws_the_same_on_every_storage(storage: BaseStorage) -> None:
    def objective(ticket: Ticket) -> float:
        return 1 - abs(ticket.spec.config.lr - 0.1)

    drawn = run_all(TicketQueue.create(storage, make_plan(sampler="tpe", n_trials=9)), objective)
    in_memory = open_storage(StorageUrl.parse("memory://"))
    assert drawn == run_all(TicketQueue.create(in_memory, make_plan(sampler="tpe", n_trials=9)), objective)
    assert drawn != run_all(
        TicketQueue.create(open_storage(StorageUrl.parse("memory://")), make_plan(sampler="tpe", n_trials=9, seed=1)),
        objective,
    )


@pytest.mark.parametrize(
    ("sampler", "pruner"),
    [("random", "none"), ("tpe", "none"), ("tpe", "hyperband")],  # whose documentation speaks of halvings apart
)
def test_the_queue_draws_what_optuna_draws(storage: BaseStorage, sampler: str, pruner: str) -> None:
    plan = make_plan(sampler=sampler, n_trials=16, pruner=pruner)
    queue = TicketQueue.create(storage, plan)
    # Optuna's own study of that name, whose trials are drawn one by one and stored by Optuna.
    build = PRUNERS[pruner].build({}, plan.base_config.n_epochs)
    study = optuna.create_study(storage=InMemoryStorage(), study_name=plan.name, direction="maximize", pruner=build)
    open_tickets: list[tuple[Ticket, optuna.Trial]] = []
    for number in range(16):
        seed = hashlib.sha256(f"{plan.spec.strategy.seed}/{plan.name}/{number}".encode()).digest()[:4]
        study.sampler = SAMPLERS[sampler].build(int.from_bytes(seed))
        trial, ticket = study.ask(), claim(queue)
        config = ticket.spec.config
        assert trial.suggest_float("lr", 0.01, 0.3, log=True) == config.lr
        assert trial.suggest_float("alpha", 0.1, 0.6, step=0.1) == config.alpha
        assert trial.suggest_int("delta_t", 50, 1000, step=50) == config.delta_t
        assert trial.suggest_categorical("anneal", ("cosine", "constant")) == config.anneal
        open_tickets.append((ticket, trial))
        if number % 3 != 1:  # some others always run
            ticket, trial = open_tickets.pop(0)
            value = 1 - abs(ticket.spec.config.lr - 0.1)
            ticket.report(0, value)
            trial.report(value, 0)
            trial.should_prune()  # as Optuna's workers ask: only from then on does hyperband know its halvings
            if number % 4 == 3:
                ticket.prune(make_result(value))
                study.tell(trial, state=TrialState.PRUNED)
            else:
                ticket.complete(make_result(value))
                study.tell(trial, value)


def test_whole_numbers_without_a_step_are_drawn_one_by_one() -> None:
    spec = {
        "name": "campaign",
        "fixed": {"dataset": "digits", "epochs": 9},
        "search": {"delta_t": {"low": 1, "high": 4}},
        "strategy": {"sampler": "random", "n_trials": 40},
    }
    queue = TicketQueue.create(open_storage(StorageUrl.parse("memory://")), StudySpec.model_validate(spec).plans()[0])
    assert {claim(queue).spec.config.delta_t for _ in range(40)} == {1, 2, 3, 4}


def test_whole_numbers_on_a_logarithmic_axis_are_drawn_so() -> None:
    spec = {
        "name": "campaign",
        "fixed": {"dataset": "digits", "epochs": 9},
        "search": {"delta_t": {"low": 1, "high": 10_000, "log": True}},
        "strategy": {"sampler": "random", "n_trials": 40},
    }
    queue = TicketQueue.create(open_storage(StorageUrl.parse("memory://")), StudySpec.model_validate(spec).plans()[0])
    drawn = [claim(queue).spec.config.delta_t for _ in range(40)]
    assert 10 <= sum(delta_t < 100 for delta_t in drawn) <= 30, "half of them, and not one in a hundred"


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_workers_never_draw_the_same_point(storage: BaseStorage, sampler: str) -> None:
    plan = make_plan(sampler=sampler, n_trials=16)
    TicketQueue.create(storage, plan)
    queues = [TicketQueue.open(storage, plan.name) for _ in range(4)]
    drawn = [claim(queue).spec.config.lr for _ in range(4) for queue in queues]
    assert len(set(drawn)) == 16


def test_the_median_pruner_stops_the_hopeless(storage: BaseStorage) -> None:
    pruner = {"name": "median", "n_startup_trials": 2, "n_warmup_steps": 1, "n_min_trials": 1}
    queue = TicketQueue.create(storage, make_plan(n_trials=4, pruner=pruner))
    for _ in range(3):
        good = claim(queue)
        assert [good.report(epoch, 0.5 + 0.1 * epoch) for epoch in range(3)] == [False] * 3
        good.complete(make_result(0.7))
    bad = claim(queue)
    assert not bad.report(0, 0.1), "warming up"
    assert bad.report(1, 0.1)
    assert not bad.report(1, 0.1), "told again after a resume: not asked again"
    assert bad.prune(make_result(0.1))
    assert trials(storage, queue)[3].value == 0.1
    assert queue.counts().pruned == 1


def test_the_reference_is_never_pruned(storage: BaseStorage) -> None:
    pruner = {"name": "median", "n_startup_trials": 1, "n_warmup_steps": 0, "n_min_trials": 1}
    queue = TicketQueue.create(storage, make_plan(n_trials=3, pruner=pruner, reference=REFERENCE))
    reference, good, bad = claim(queue), claim(queue), claim(queue)
    good.report(0, 0.9)
    good.complete(make_result(0.9))
    assert bad.report(0, 0.1)
    assert not reference.report(0, 0.1)


# All of them together in memory; on either database each of them once.
@pytest.mark.parametrize(
    ("storage", "sampler", "name"),
    [
        *(("memory", sampler, name) for sampler in SAMPLER_NAMES for name in PRUNERS),
        *(
            ("sqlite", *pair)
            for pair in (("tpe", "none"), ("random", "median"), ("tpe", "asha"), ("random", "hyperband"))
        ),
        *(
            ("postgres", *pair)
            for pair in (("random", "none"), ("tpe", "median"), ("random", "asha"), ("tpe", "hyperband"))
        ),
    ],
    indirect=["storage"],
)
def test_every_pruner_works_with_every_sampler(storage: BaseStorage, name: str, sampler: str) -> None:
    queue = TicketQueue.create(storage, make_plan(n_trials=6, pruner=name, sampler=sampler))
    while (ticket := queue.claim("w")) is not None:
        value = 0.1 * (6 - ticket.number)
        if any(ticket.report(epoch, value) for epoch in range(9)):
            ticket.prune(make_result(value))
        else:
            ticket.complete(make_result(value))
    counts = queue.counts()
    assert counts.complete + counts.pruned == 6
    assert counts.complete >= 1
    assert name != "none" or counts.pruned == 0
