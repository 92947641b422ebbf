"""The queue, on every kind of storage: exact budgets, what is enqueued, and how it is steered."""

from dataclasses import replace
from typing import Any

import optuna
import pytest
from optuna.storages import BaseStorage

from studies.database.retrying_storage import RetryingStorage
from studies.database.transactions import Counts
from studies.errors import CampaignExists, NotFound, SpecVersionError, TicketLost
from studies.spec import StudyPlan, StudySpec
from studies.tickets import TicketQueue
from tests.studies.queues import REFERENCE, claim, make_plan, make_result, trials


def make_grid() -> StudyPlan:
    spec = {
        "name": "campaign",
        "search": {"alpha": {"low": 0.1, "high": 0.35, "step": 0.1}, "delta_t": [100, 200]},
        "strategy": {"sampler": "grid", "reference": {"alpha": 0.2, "delta_t": 200}},
    }
    return StudySpec.model_validate(spec).plans()[0]


def test_grid_is_enqueued_reference_first_without_rounding_noise(storage: BaseStorage) -> None:
    queue = TicketQueue.create(storage, make_grid())
    claimed = [claim(queue) for _ in range(6)]
    assert queue.claim("w") is None
    points = [(ticket.spec.config.alpha, ticket.spec.config.delta_t) for ticket in claimed]
    assert points == [(0.2, 200), (0.1, 100), (0.1, 200), (0.2, 100), (0.3, 100), (0.3, 200)]
    assert [ticket.number for ticket in claimed] == list(range(6))
    assert [trial.params for trial in trials(storage, queue)] == [{"alpha": a, "delta_t": d} for a, d in points]
    assert [trial.system_attrs["reference"] for trial in trials(storage, queue)] == [True] + [False] * 5


def test_budget_is_exact_and_the_sampler_fills_the_rest(storage: BaseStorage) -> None:
    queue = TicketQueue.create(storage, make_plan(n_trials=4, reference=REFERENCE))
    assert queue.counts().waiting == 4
    first, *others = [claim(queue) for _ in range(4)]
    assert queue.claim("w") is None
    assert trials(storage, queue)[first.number].params == REFERENCE
    for ticket in others:
        config = ticket.spec.config
        assert 0.01 <= config.lr <= 0.3
        assert config.delta_t % 50 == 0
        assert config.alpha <= 0.6 + 1e-9, "the ladder from 0.1 by 0.1 ends at 0.6"
    assert first.spec.study == "campaign/rigl-s0.9-erk"
    assert first.spec.campaign == "campaign"


def test_optunas_dashboard_is_told_what_a_value_is_and_that_more_is_better() -> None:
    storage = optuna.storages.InMemoryStorage()
    TicketQueue.create(storage, make_plan())
    study = optuna.load_study(study_name=make_plan().name, storage=storage)

    assert study.metric_names == ["val_accuracy"]
    assert study.directions == [optuna.study.StudyDirection.MAXIMIZE]


def test_create_again_adds_nothing(storage: BaseStorage) -> None:
    TicketQueue.create(storage, make_plan())
    queue = TicketQueue.create(storage, make_plan())
    assert queue.counts().waiting == 3
    assert len(trials(storage, queue)) == 3


def test_create_differently_is_refused(storage: BaseStorage) -> None:
    TicketQueue.create(storage, make_plan())
    with pytest.raises(CampaignExists, match="already stored"):
        TicketQueue.create(storage, make_plan(n_trials=4))


def test_create_completes_a_study_that_a_crash_left_empty(storage: BaseStorage) -> None:
    plan = make_plan()
    storage.create_new_study([optuna.study.StudyDirection.MAXIMIZE], plan.name)
    with pytest.raises(NotFound):
        TicketQueue.open(storage, plan.name)
    assert TicketQueue.create(storage, plan).counts().waiting == 3


def test_create_that_dies_in_the_middle_leaves_no_ticket(
    database: RetryingStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("studies.database.transactions_rdb._RdbTransaction.set_study_attrs", die)
        with pytest.raises(KeyboardInterrupt):
            TicketQueue.create(database, make_plan())
    assert database.get_all_trials(database.get_study_id_from_name(make_plan().name)) == []
    assert TicketQueue.create(database, make_plan()).counts().waiting == 3


def test_thousands_of_tickets_are_enqueued_in_one_go(storage: BaseStorage) -> None:
    queue = TicketQueue.create(storage, make_plan(n_trials=2000))
    assert queue.counts().waiting == 2000
    assert claim(queue).number == 0


def test_open_gives_the_same_plan(storage: BaseStorage) -> None:
    plan = make_plan(reference=REFERENCE)
    TicketQueue.create(storage, plan)
    assert TicketQueue.open(storage, plan.name).plan == plan


def test_open_names_what_is_near(storage: BaseStorage) -> None:
    TicketQueue.create(storage, make_plan())
    with pytest.raises(NotFound, match=r"Did you mean campaign/rigl-s0\.9-erk\?"):
        TicketQueue.open(storage, "campaign/rigl-s0.9-er")


@pytest.mark.parametrize(("version", "advice"), [(0, "finish it with the version"), (99, "update rigl-study")])
def test_open_refuses_another_version(storage: BaseStorage, version: int, advice: str) -> None:
    queue = TicketQueue.create(storage, make_plan())
    storage.set_study_user_attr(storage.get_study_id_from_name(queue.name), "spec_version", version)
    with pytest.raises(SpecVersionError, match=advice):
        TicketQueue.open(storage, queue.name)
    with pytest.raises(SpecVersionError, match=advice):
        TicketQueue.create(storage, make_plan())


def test_pause_and_stop_hand_out_nothing(storage: BaseStorage) -> None:
    queue = TicketQueue.create(storage, make_plan())
    study_id = storage.get_study_id_from_name(queue.name)
    ticket = claim(queue)
    for control, recalled in (("pause", False), ("stop", True), ("run", False)):
        storage.set_study_user_attr(study_id, "control", control)
        assert queue.control() == control
        assert ticket.recalled() is recalled
        assert (queue.claim("w") is not None) == (control == "run")


def test_counts_are_those_of_this_study_and_the_best_is_of_a_complete_trial(storage: BaseStorage) -> None:
    other = TicketQueue.create(storage, make_plan().spec.model_copy(update={"name": "other"}).plans()[0])
    claim(other).complete(make_result(0.95))
    claim(other).fail("why not")
    other.retry(1)
    queue = TicketQueue.create(storage, make_plan(n_trials=6))
    good, failed, pruned, better, _ = (claim(queue) for _ in range(5))
    good.complete(make_result(0.4))
    failed.fail("why not")
    pruned.prune(make_result(0.9))
    better.complete(make_result(0.5))
    counts = Counts(waiting=1, running=1, complete=2, pruned=1, failed=1, best=0.5)
    assert queue.counts() == counts
    queue.retry(pruned.number)
    queue.retry(failed.number)
    assert queue.counts() == replace(counts, waiting=3, failed=0, retried=1)
    storage.delete_study(other.study_id)
    with pytest.raises(NotFound, match="was deleted"):
        other.counts()
    assert queue.counts() == replace(counts, waiting=3, failed=0, retried=1)


def test_a_deleted_study_is_noticed(storage: BaseStorage) -> None:
    queue = TicketQueue.create(storage, make_plan())
    ticket = claim(queue)
    storage.delete_study(storage.get_study_id_from_name(queue.name))
    with pytest.raises(NotFound, match="was deleted"):
        queue.claim("w")
    with pytest.raises(NotFound, match="was deleted"):
        queue.counts()
    with pytest.raises(TicketLost):
        ticket.report(0, 0.5)
    with pytest.raises(TicketLost):
        ticket.recalled()
    assert not ticket.beat()
    assert not ticket.complete(make_result(0.5))
    assert queue.sweep() == 0
