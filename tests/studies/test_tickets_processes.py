"""The queue under real contention: several processes on one Postgres."""

import threading
from itertools import product
from typing import Any

from optuna.storages import BaseStorage

from studies.campaigns import create_campaign
from studies.database.storage_url import StorageUrl
from studies.spec import StudySpec
from studies.storage import close_storage, open_storage
from studies.tickets import TicketQueue
from studies.trial import TrialResult
from tests.forked import CONTEXT

N_PROCESSES = 8


def work(url: StorageUrl, worker: str, begin: Any, told: Any) -> None:
    """Claim and complete until nothing waits; `told` is what was trained."""
    queue = TicketQueue.open(open_storage(url), "grid/rigl-s0.9-erk")
    begin.wait()
    trained = []
    while (ticket := queue.claim(worker)) is not None:
        config = ticket.spec.config
        assert not ticket.report(0, config.alpha)
        result = TrialResult(
            seeds=config.seeds, val_accuracy=(config.alpha,), test_accuracy=(0.0,), loss=(0.0,), inference_flops=1.0,
            train_flops=1.0, dense_flops=1.0, n_parameters=1, n_active=1, realised_sparsity=0.9, epochs=1, seconds=0.0,
        )  # fmt: skip
        assert ticket.complete(result)
        trained.append((ticket.number, config.alpha, config.delta_t))
    told.put(trained)


def test_eight_processes_train_each_of_64_grid_points_once(postgres_url: StorageUrl) -> None:
    alphas, delta_ts = [0.1 + 0.05 * i for i in range(8)], [50 * i for i in range(1, 9)]
    search = {"alpha": alphas, "delta_t": delta_ts}
    spec = {"name": "grid", "search": search, "strategy": {"sampler": "grid", "seeds": [0]}}
    storage = open_storage(postgres_url)
    (queue,) = create_campaign(storage, StudySpec.model_validate(spec))

    begin, told = CONTEXT.Barrier(N_PROCESSES, timeout=120), CONTEXT.Queue()
    workers = [
        CONTEXT.Process(target=work, args=(postgres_url, f"worker-{i}", begin, told)) for i in range(N_PROCESSES)
    ]
    for worker in workers:
        worker.start()
    trained = [ticket for _ in workers for ticket in told.get(timeout=120)]
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0] * N_PROCESSES

    assert sorted(number for number, _, _ in trained) == list(range(64)), "each ticket claimed once"
    assert sorted((alpha, delta_t) for _, alpha, delta_t in trained) == sorted(product(alphas, delta_ts))
    counts = queue.counts()
    assert (counts.complete, counts.waiting, counts.running, counts.best) == (64, 0, 0, max(alphas))
    close_storage(storage)


def test_a_campaign_that_several_create_at_once_is_there_once(postgres_url: StorageUrl) -> None:
    spec = StudySpec.model_validate(
        {
            "name": "campaign",
            "pairs": {"sparsity": [0.5, 0.9], "distribution": ["uniform", "erk"]},
            "search": {"lr": {"low": 0.01, "high": 0.1}},
            "strategy": {"sampler": "random", "n_trials": 3, "seeds": [0]},
        }
    )
    storages = [open_storage(postgres_url) for _ in range(4)]
    begin = threading.Barrier(len(storages))
    created: list[list[TicketQueue]] = []

    def create(storage: BaseStorage, *, together: bool) -> None:
        begin.wait()
        if together:
            created.append(create_campaign(storage, spec))
        else:  # without the campaign's lock
            created.append([TicketQueue.create(storage, plan) for plan in spec.plans()])

    threads = [
        threading.Thread(target=create, args=[storage], kwargs={"together": i % 2 == 0})
        for i, storage in enumerate(storages)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(created) == len(storages)
    assert [queue.counts().waiting for queue in created[0]] == [3] * 4
    for storage in storages:
        close_storage(storage)
