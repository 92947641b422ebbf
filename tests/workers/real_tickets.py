"""Tickets of a few seconds of real training on synthetic images."""

from collections.abc import Callable
from typing import Any

from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial

from studies.campaigns import create_campaign
from studies.spec import StudySpec
from studies.ticket import Ticket
from studies.tickets import TicketQueue
from workers.stop import Stop

EPOCHS = 4


def make_queue(storage: BaseStorage, name: str = "campaign", **changes: Any) -> TicketQueue:
    spec = {
        "name": name,
        "fixed": {
            "model": "lenet_300_100",
            "dataset": "synthetic",
            "dataset_options": {"height": 8, "width": 8, "n_train": 512, "n_eval": 64},
            "epochs": EPOCHS,
            "batch_size": 64,
            "delta_t": 3,
        },
        "search": {"lr": [0.2]},
        "strategy": {"sampler": "grid", "seeds": [0, 1]},
    }
    return create_campaign(storage, StudySpec.model_validate({**spec, **changes}))[0]


def claim(queue: TicketQueue) -> Ticket:
    ticket = queue.claim("worker")
    assert ticket is not None
    return ticket


def stored(storage: BaseStorage, ticket: Ticket) -> FrozenTrial:
    return storage.get_all_trials(storage.get_study_id_from_name(ticket.spec.study))[ticket.number]


class StopAfter(Stop):
    """Requests itself after being asked so many times, which is once a step (8 steps an epoch)."""

    def __init__(self, n: int, then: Callable[[], Any] | None = None) -> None:
        super().__init__()
        self.left, self.then = n, then

    def is_set(self) -> bool:
        self.left -= 1
        if self.left == 0:
            if self.then is not None:
                self.then()
            else:
                self.request("test")
        return super().is_set()
