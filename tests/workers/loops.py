"""Queues for the worker's loop, and what stands for training."""

from collections.abc import Callable
from typing import Any

from optuna.storages import BaseStorage

from studies.campaigns import create_campaign
from studies.spec import StudySpec
from studies.ticket import Ticket
from studies.tickets import TicketQueue
from tests.studies.queues import make_result
from workers.loop import Ending
from workers.stop import Stop


def make_queues(storage: BaseStorage, name: str = "campaign", n_trials: int = 3) -> list[TicketQueue]:
    spec = {
        "name": name,
        "pairs": {"sparsity": [0.9, 0.98], "distribution": "erk"},
        "search": {"lr": {"low": 0.01, "high": 0.1}},
        "strategy": {"sampler": "random", "n_trials": n_trials, "seeds": [0]},
    }
    return create_campaign(storage, StudySpec.model_validate(spec))


def complete(ticket: Ticket, stop: Stop) -> Ending:
    assert ticket.complete(make_result())
    return "complete"


def failing(error: BaseException) -> Callable[[Ticket, Stop], Ending]:
    def run(ticket: Ticket, stop: Stop) -> Ending:
        raise error

    return run


def total(queues: list[TicketQueue], state: str) -> int:
    return sum(getattr(queue.counts(), state) for queue in queues)


class Idle(Stop):
    """A stop that does something each time the worker waits, instead of waiting."""

    def __init__(self, *events: Callable[[], Any]) -> None:
        super().__init__()
        self.events = list(events)

    def wait(self, seconds: float) -> bool:
        if self.events:
            self.events.pop(0)()
        else:
            self.request("nothing more will happen")
        return self.is_set()
