"""The queue, on every kind of storage: exact budgets, one owner a ticket, nothing lost and nothing told twice."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import optuna
import pytest
import sqlalchemy as sa
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from studies.database.retrying_storage import RetryingStorage
from studies.database.storage_url import StorageUrl
from studies.database.transactions import Transaction
from studies.errors import BadInput, CampaignExists, NotFound, SpecVersionError, TicketLost
from studies.spec import StudyPlan, StudySpec
from studies.storage import close_storage, open_storage
from studies.ticket import Hold, Ticket
from studies.tickets import MAX_DEATHS, TicketQueue
from studies.trial import TrialResult

T = TypeVar("T")

GRACE = 2  # seconds


@pytest.fixture
def storage(storage_url: StorageUrl) -> Iterator[BaseStorage]:
    storage = open_storage(storage_url, heartbeat_interval=1, grace_period=GRACE)
    yield storage
    close_storage(storage)


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RetryingStorage]:
    """A storage that knows who is dead, which memory does not."""
    sqlite = StorageUrl.parse(f"sqlite:///{tmp_path / 'study.db'}")
    url = sqlite if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    storage = open_storage(url, heartbeat_interval=1, grace_period=GRACE)
    assert isinstance(storage, RetryingStorage)
    yield storage
    close_storage(storage)


def make_plan(**strategy: Any) -> StudyPlan:
    spec = {
        "name": "campaign",
        "fixed": {"dataset": "digits", "epochs": 9},
        "search": {
            "lr": {"low": 0.01, "high": 0.3, "log": True},
            "alpha": {"low": 0.1, "high": 0.65, "step": 0.1},
            "delta_t": {"low": 50, "high": 1000, "step": 50},
            "anneal": ["cosine", "constant"],
        },
        "strategy": {"sampler": "random", "n_trials": 3, "seeds": [0, 1], **strategy},
    }
    return StudySpec.model_validate(spec).plans()[0]


REFERENCE = {"lr": 0.1, "alpha": 0.3, "delta_t": 100, "anneal": "cosine"}


def make_grid() -> StudyPlan:
    spec = {
        "name": "campaign",
        "search": {"alpha": {"low": 0.1, "high": 0.35, "step": 0.1}, "delta_t": [100, 200]},
        "strategy": {"sampler": "grid", "reference": {"alpha": 0.2, "delta_t": 200}},
    }
    return StudySpec.model_validate(spec).plans()[0]


def make_result(value: float) -> TrialResult:
    return TrialResult(
        seeds=(0, 1),
        val_accuracy=(value, value),
        test_accuracy=(0.5, 0.25),
        loss=(1.5, 2.5),
        inference_flops=0.25,
        train_flops=0.5,
        dense_flops=1000.0,
        n_parameters=300,
        n_active=30,
        realised_sparsity=0.9,
        layer_sparsity={"fc1": 0.9},
        epochs=9,
        seconds=12.5,
        environment={"device": "cpu"},
    )


def trials(storage: BaseStorage, queue: TicketQueue) -> list[FrozenTrial]:
    return storage.get_all_trials(storage.get_study_id_from_name(queue.name))


def claim(queue: TicketQueue, worker: str = "w") -> Ticket:
    ticket = queue.claim(worker)
    assert ticket is not None
    return ticket


def silence(storage: RetryingStorage) -> None:
    """Let all that run have been silent for an hour."""
    past = (
        "timezone('UTC', now()) - interval '1 hour'"
        if storage.url.kind == "postgresql"
        else "datetime('now', '-1 hour')"
    )
    with storage.rdb.engine.begin() as connection:
        connection.execute(sa.text(f"UPDATE trial_heartbeats SET heartbeat = {past}"))


def sweep(storage: RetryingStorage, queue: TicketQueue) -> int:
    """Let all that run be found dead. A server that came up just now gives its workers the grace period, too."""
    silence(storage)
    pause = threading.Event()
    for _ in range(10 * (GRACE + 2)):
        if swept := queue.sweep():
            return swept
        pause.wait(0.1)
    return 0


class LosesAnswers:
    """A TrialStore whose transactions take effect although their answer is lost, so that they are repeated."""

    def __init__(self, store: Any) -> None:
        self._store = store

    def run(self, change: Callable[[Transaction], T]) -> T:
        self._store.run(change)
        return self._store.run(change)  # type: ignore[no-any-return]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


# --- what is enqueued ------------------------------------------------------------------------------------------------


def test_grid_is_enqueued_reference_first_without_rounding_noise(storage: BaseStorage) -> None:
    queue = TicketQueue.create(storage, make_grid())
    claimed = [claim(queue) for _ in range(6)]
    assert queue.claim("w") is None
    points = [(ticket.spec.config.alpha, ticket.spec.config.delta_t) for ticket in claimed]
    assert points == [(0.2, 200), (0.1, 100), (0.1, 200), (0.2, 100), (0.3, 100), (0.3, 200)]
    assert [ticket.number for ticket in claimed] == list(range(6))
    assert [trial.params for trial in trials(storage, queue)] == [{"alpha": a, "delta_t": d} for a, d in points]


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


# --- one ticket ------------------------------------------------------------------------------------------------------


def test_complete_tells_everything(storage: BaseStorage) -> None:
    queue = TicketQueue.create(storage, make_plan())
    ticket = claim(queue, "host:1:abc")
    assert not ticket.report(0, 0.5)
    assert ticket.complete(make_result(0.75))
    trial = trials(storage, queue)[0]
    assert trial.state == TrialState.COMPLETE
    assert trial.value == 0.75
    assert trial.intermediate_values == {0: 0.5}
    assert trial.user_attrs == {
        **make_result(0.75).model_dump(mode="json"),
        "worker": "host:1:abc",
        "attempt": 1,
    }
    assert queue.counts().best == 0.75


def test_fail_tells_why(storage: BaseStorage) -> None:
    queue = TicketQueue.create(storage, make_plan())
    with pytest.raises(MemoryError) as caught:
        raise MemoryError("no room for 3 networks")
    assert claim(queue).fail(caught.value)
    trial = trials(storage, queue)[0]
    assert trial.state == TrialState.FAIL
    assert trial.user_attrs["error"] == "MemoryError: no room for 3 networks"
    assert "test_fail_tells_why" in trial.user_attrs["traceback"]
    assert queue.counts().failed == 1


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_result_that_is_no_number_fails_the_trial(storage: BaseStorage, value: float) -> None:
    queue = TicketQueue.create(storage, make_plan())
    assert claim(queue).complete(make_result(value))
    assert trials(storage, queue)[0].state == TrialState.FAIL
    assert queue.counts().best is None


def test_nothing_can_be_written_after_the_end(storage: BaseStorage) -> None:
    queue = TicketQueue.create(storage, make_plan())
    ticket = claim(queue)
    assert ticket.prune(make_result(0.25))
    before = trials(storage, queue)[0]
    assert not ticket.beat()
    assert not ticket.complete(make_result(0.75))
    assert not ticket.fail("late")
    assert not ticket.give_back("late")
    with pytest.raises(TicketLost):
        ticket.report(1, 0.9)
    assert trials(storage, queue)[0] == before
    assert before.state == TrialState.PRUNED


def test_give_back_keeps_number_parameters_and_reports(storage: BaseStorage) -> None:
    queue = TicketQueue.create(storage, make_plan())
    first = claim(queue, "a")
    first.report(0, 0.5)
    first.report(1, 0.6)
    assert claim(queue, "b").number == 1
    assert first.give_back("stopping")
    assert queue.counts().waiting == 2
    again = claim(queue, "c")
    assert (again.number, again.attempt, again.worker) == (0, 1, "c")
    assert again.spec == first.spec
    assert again.epochs_trained == 2
    assert again.checkpoint_key == first.checkpoint_key == "campaign/rigl-s0.9-erk/0"
    assert trials(storage, queue)[0].intermediate_values == {0: 0.5, 1: 0.6}
    assert again.complete(make_result(0.75))


def test_a_late_write_of_who_gave_back_does_not_touch_the_next_owner(storage: BaseStorage) -> None:
    queue = TicketQueue.create(storage, make_plan())
    first = claim(queue, "a")
    late = Hold(queue._store, first._hold.claim)  # a repetition, on its way while the first answer was lost
    first.give_back("stopping")
    second = claim(queue, "b")
    assert second.number == first.number
    before = trials(storage, queue)[0]
    assert not late.give_back("stopping")
    assert not late.fail("late")
    assert not late.write(lambda trial: trial.report(5, 0.1), "report")
    assert trials(storage, queue)[0] == before
    assert second.complete(make_result(0.75))


def test_a_lost_answer_changes_nothing(storage: BaseStorage) -> None:
    queue = TicketQueue.create(storage, make_plan(n_trials=4))
    tickets = [claim(queue) for _ in range(4)]
    for ticket in tickets:
        ticket._hold._store = LosesAnswers(ticket._hold._store)
    assert tickets[0].complete(make_result(0.75))
    assert tickets[1].prune(make_result(0.25))
    assert tickets[2].fail("diverged")
    assert tickets[3].give_back("stopping")
    counts = queue.counts()
    assert (counts.complete, counts.pruned, counts.failed, counts.waiting) == (1, 1, 1, 1)


def test_a_ticket_whose_claim_had_no_answer_comes_back(database: RetryingStorage) -> None:
    queue = TicketQueue.create(database, make_plan())
    queue._store = LosesAnswers(queue._store)
    assert claim(queue).number == 1, "0 is claimed, but nobody knows"
    queue._store = queue._store._store
    assert sweep(database, queue) == 2
    assert queue.counts().waiting == 3


def test_a_sampler_that_raises_fails_the_ticket(storage: BaseStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise ValueError("cannot sample")

    queue = TicketQueue.create(storage, make_plan())
    monkeypatch.setattr("studies.tickets.fill", broken)
    with pytest.raises(ValueError, match="cannot sample"):
        queue.claim("w")
    assert trials(storage, queue)[0].user_attrs["error"] == "ValueError: cannot sample"
    assert (queue.counts().running, queue.counts().failed) == (0, 1)


def test_a_claim_that_is_interrupted_gives_the_ticket_back(
    storage: BaseStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    queue = TicketQueue.create(storage, make_plan())
    with monkeypatch.context() as patch:
        patch.setattr("studies.tickets.fill", interrupted)
        with pytest.raises(KeyboardInterrupt):
            queue.claim("w")
    assert claim(queue).number == 0


# --- sampling and pruning --------------------------------------------------------------------------------------------


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


@pytest.mark.parametrize("name", ["none", "median", "asha", "hyperband"])
@pytest.mark.parametrize("sampler", ["random", "tpe"])
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


# --- death and resurrection ------------------------------------------------------------------------------------------


def test_a_dead_workers_ticket_is_issued_again(database: RetryingStorage) -> None:
    queue = TicketQueue.create(database, make_plan())
    dead = claim(queue, "host:1:abc")
    dead.report(0, 0.5)
    assert queue.sweep() == 0, "it has just beaten"
    assert sweep(database, queue) == 1
    assert queue.sweep() == 0
    counts = queue.counts()
    assert (counts.waiting, counts.running, counts.failed, counts.retried) == (3, 0, 0, 1)

    buried = trials(database, queue)[0]
    assert buried.state == TrialState.FAIL
    assert "worker host:1:abc died" in buried.user_attrs["error"]
    claimed = [claim(queue), claim(queue), claim(queue)]
    again = claimed[-1]
    assert again.number == 3
    assert again.attempt == 2
    assert again.spec.config == dead.spec.config
    assert again.checkpoint_key == dead.checkpoint_key
    assert again.epochs_trained == 1
    successor = trials(database, queue)[3]
    assert successor.system_attrs["retry_of"] == 0
    assert successor.user_attrs == {}
    assert successor.intermediate_values == {}
    assert successor.params == buried.params


def test_whoever_wakes_up_late_changes_nothing(database: RetryingStorage) -> None:
    queue = TicketQueue.create(database, make_plan(pruner="asha"))
    frozen = claim(queue)
    frozen.report(0, 0.5)
    assert sweep(database, queue) == 1
    before = trials(database, queue)
    assert not frozen.beat()
    with pytest.raises(TicketLost):
        frozen.report(1, 0.9)
    assert not frozen.complete(make_result(0.99))
    assert not frozen.give_back("too late")
    assert trials(database, queue) == before
    assert queue.counts().best is None


def test_a_beat_keeps_the_ticket(database: RetryingStorage) -> None:
    queue = TicketQueue.create(database, make_plan())
    silent, alive = claim(queue), claim(queue)
    silence(database)
    assert alive.beat()
    pause = threading.Event()
    for _ in range(10 * (GRACE + 2)):
        assert alive.beat()
        if queue.sweep():
            break
        pause.wait(0.1)
    assert not silent.beat()
    assert alive.complete(make_result(0.75))


def test_a_beat_left_by_an_earlier_owner_does_not_count(database: RetryingStorage) -> None:
    queue = TicketQueue.create(database, make_plan(n_trials=2))
    claim(queue).give_back("stopping")
    silent = claim(queue)
    silence(database)
    silent.give_back("stopping")
    assert claim(queue).number == 0
    assert queue.sweep() == 0


def test_a_trial_that_kills_its_workers_is_given_up(database: RetryingStorage) -> None:
    queue = TicketQueue.create(database, make_plan(n_trials=1))
    for attempt in range(1, MAX_DEATHS + 1):
        ticket = claim(queue)
        assert ticket.attempt == attempt
        assert ticket.checkpoint_key == "campaign/rigl-s0.9-erk/0"
        assert sweep(database, queue) == 1
    assert queue.claim("w") is None
    counts = queue.counts()
    assert (counts.waiting, counts.failed, counts.retried) == (0, 1, MAX_DEATHS - 1)
    assert "poison" in trials(database, queue)[-1].user_attrs["error"]


def test_a_sweeper_that_dies_in_the_middle_has_done_nothing(
    database: RetryingStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: Any) -> None:
        raise KeyboardInterrupt

    queue = TicketQueue.create(database, make_plan())
    claim(queue)
    with monkeypatch.context() as patch:
        patch.setattr("studies.database.transactions_rdb._RdbTrial.become", die)  # after the successor was inserted
        with pytest.raises(KeyboardInterrupt):
            sweep(database, queue)
    assert len(trials(database, queue)) == 3
    assert sweep(database, queue) == 1
    assert len(trials(database, queue)) == 4


def test_summer_time_and_other_zones_kill_nobody(postgres_url: StorageUrl) -> None:
    database = open_storage(postgres_url, heartbeat_interval=1, grace_period=GRACE)
    assert isinstance(database, RetryingStorage)
    queue = TicketQueue.create(database, make_plan())
    ticket = claim(queue)
    with database.rdb.engine.begin() as connection:
        connection.execute(sa.text(f"ALTER DATABASE {database.rdb.engine.url.database} SET timezone = 'Asia/Tokyo'"))
    close_storage(database)  # the next connection lives nine hours later
    assert queue.sweep() == 0
    assert ticket.beat()
    assert queue.sweep() == 0
    close_storage(database)


def test_many_sweepers_issue_one_ticket(postgres_url: StorageUrl) -> None:
    storages = [open_storage(postgres_url, heartbeat_interval=1, grace_period=GRACE) for _ in range(4)]
    database = storages[0]
    assert isinstance(database, RetryingStorage)
    queue = TicketQueue.create(database, make_plan(n_trials=5))
    for _ in range(5):
        claim(queue)
    silence(database)
    begin = threading.Barrier(4)
    done = threading.Event()
    swept: list[int] = []

    def sweep_on(storage: BaseStorage) -> None:
        mine = TicketQueue.open(storage, queue.name)
        begin.wait()
        for _ in range(10 * (GRACE + 2)):
            swept.append(mine.sweep())
            if sum(swept) >= 5 or done.wait(0.1):
                done.set()
                return

    threads = [threading.Thread(target=sweep_on, args=[storage]) for storage in storages]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(swept) == 5
    found = trials(database, queue)
    assert sorted(trial.system_attrs["retry_of"] for trial in found[5:]) == [0, 1, 2, 3, 4]
    for storage in storages:
        close_storage(storage)


def test_retry_issues_a_failed_or_pruned_ticket_again(storage: BaseStorage) -> None:
    queue = TicketQueue.create(storage, make_plan())
    failed, pruned, complete = (claim(queue) for _ in range(3))
    failed.fail("out of memory")
    pruned.prune(make_result(0.25))
    complete.complete(make_result(0.75))
    assert queue.retry(0) == 3
    assert queue.retry(1) == 4
    with pytest.raises(BadInput, match="is tried again already, as trial 3"):
        queue.retry(0)
    with pytest.raises(BadInput, match="is complete; only a failed or pruned one"):
        queue.retry(2)
    with pytest.raises(NotFound, match="has no trial 99"):
        queue.retry(99)
    counts = queue.counts()
    assert (counts.waiting, counts.failed, counts.retried) == (2, 0, 1)
    again = claim(queue)
    assert again.spec.config == failed.spec.config
    assert again.attempt == 1
    assert again.complete(make_result(0.8))


# --- steering --------------------------------------------------------------------------------------------------------


def test_pause_and_stop_hand_out_nothing(storage: BaseStorage) -> None:
    queue = TicketQueue.create(storage, make_plan())
    study_id = storage.get_study_id_from_name(queue.name)
    ticket = claim(queue)
    for control, recalled in (("pause", False), ("stop", True), ("run", False)):
        storage.set_study_user_attr(study_id, "control", control)
        assert queue.control() == control
        assert ticket.recalled() is recalled
        assert (queue.claim("w") is not None) == (control == "run")


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
