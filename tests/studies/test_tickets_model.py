"""The queue against a model of it: whatever the order of events, both agree on who has what and how it ended."""

import shutil
import tempfile
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from optuna.trial import TrialState

from studies.campaigns import delete_campaign
from studies.database.retrying_storage import RetryingStorage
from studies.database.storage_url import StorageUrl
from studies.death import MAX_DEATHS
from studies.errors import BadInput, NotFound, TicketLost
from studies.spec import StudySpec
from studies.storage import close_storage, open_storage
from studies.ticket import Ticket
from studies.tickets import TicketQueue
from tests.studies.queues import make_result

N_TRIALS = 4


@dataclass
class Model:
    """What should be stored of one trial."""

    state: str = "waiting"
    attempt: int = 1
    deaths: int = 0
    reported_before: int = 0
    owner: Ticket | None = None
    reports: dict[int, float] = field(default_factory=dict)
    params: dict[str, float] | None = None
    retried: bool = False
    silent: bool = False


class QueueMachine(RuleBasedStateMachine):
    """Workers claim, report, finish, give back, die, and come back from the dead."""

    tickets = Bundle("tickets")

    def __init__(self, tables: Path) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        url = StorageUrl.parse(f"sqlite:///{shutil.copy(tables, self.folder.name)}")
        storage = open_storage(url, heartbeat_interval=1, grace_period=1800)
        assert isinstance(storage, RetryingStorage)
        self.storage = storage
        spec = {
            "name": "model",
            "search": {"lr": {"low": 0.01, "high": 0.1}},
            "strategy": {"sampler": "random", "n_trials": N_TRIALS, "seeds": [0]},
        }
        self.plan = StudySpec.model_validate(spec).plans()[0]
        self.queue = TicketQueue.create(storage, self.plan)
        self.deleted: list[TicketQueue] = []
        self.model = {number: Model() for number in range(N_TRIALS)}

    def teardown(self) -> None:
        close_storage(self.storage)
        self.folder.cleanup()

    def owns(self, ticket: Ticket) -> bool:
        return self.model[ticket.number].owner is ticket

    def succeed(self, number: int, attempt: int, deaths: int) -> None:
        before = self.model[number]
        before.retried = True
        reported = max(len(before.reports), before.reported_before)
        self.model[len(self.model)] = Model(
            attempt=attempt, deaths=deaths, reported_before=reported, params=before.params
        )

    @rule()
    def create_again(self) -> None:
        self.queue = TicketQueue.create(self.storage, self.plan)

    @rule()
    def delete_and_create(self) -> None:
        """SQLite gives the new study and its trials the numbers of the old ones, which workers still have."""
        self.deleted.append(self.queue)
        assert delete_campaign(self.storage, self.plan.spec.name) == 1
        self.queue = TicketQueue.create(self.storage, self.plan)
        assert self.queue.study_id == self.deleted[-1].study_id
        self.model = {number: Model() for number in range(N_TRIALS)}

    @rule()
    def ask_the_deleted(self) -> None:
        for queue in self.deleted:
            assert queue.sweep() == 0
            for ask in (
                partial(queue.claim, "late"),
                queue.counts,
                queue.control,
                queue.trials,
                partial(queue.retry, 0),
            ):
                with pytest.raises(NotFound):
                    ask()

    @rule(target=tickets)
    @precondition(lambda self: any(trial.state == "waiting" for trial in self.model.values()))
    def claim(self) -> Ticket:
        ticket = self.queue.claim("worker")
        assert ticket is not None
        number = min(number for number, trial in self.model.items() if trial.state == "waiting")
        assert ticket.number == number
        trial = self.model[number]
        assert ticket.attempt == trial.attempt
        lr = ticket.spec.config.lr
        assert trial.params in (None, {"lr": lr}), "given back or issued again: the same parameters"
        trial.state, trial.owner, trial.silent, trial.params = "running", ticket, False, {"lr": lr}
        return ticket

    @rule()
    @precondition(lambda self: not any(trial.state == "waiting" for trial in self.model.values()))
    def claim_nothing(self) -> None:
        assert self.queue.claim("worker") is None

    @rule(ticket=tickets)
    def beat(self, ticket: Ticket) -> None:
        assert ticket.beat() == self.owns(ticket)
        if self.owns(ticket):
            self.model[ticket.number].silent = False

    @rule(ticket=tickets, epoch=st.integers(0, 2), value=st.floats(0, 1))
    def report(self, ticket: Ticket, epoch: int, value: float) -> None:
        if self.owns(ticket):
            assert not ticket.report(epoch, value)
            self.model[ticket.number].reports[epoch] = value
        else:
            with pytest.raises(TicketLost):
                ticket.report(epoch, value)

    @rule(ticket=tickets, value=st.floats(0, 1), how=st.sampled_from(["complete", "pruned", "failed", "waiting"]))
    def finish(self, ticket: Ticket, value: float, how: str) -> None:
        mine = self.owns(ticket)
        if how == "complete":
            assert ticket.complete(make_result(value)) == mine
        elif how == "pruned":
            assert ticket.prune(make_result(value)) == mine
        elif how == "failed":
            assert ticket.fail("told to") == mine
        else:
            assert ticket.give_back("told to") == mine
        if mine:
            trial = self.model[ticket.number]
            trial.state, trial.owner = how, None

    @rule(ticket=tickets)
    def ask_whether_recalled(self, ticket: Ticket) -> None:
        if ticket._hold.claim.identity == self.queue.identity.word:
            assert not ticket.recalled()
        else:
            with pytest.raises(TicketLost):
                ticket.recalled()

    @rule(ticket=tickets)
    def fall_silent(self, ticket: Ticket) -> None:
        if self.owns(ticket):
            with self.storage.rdb.engine.begin() as connection:
                connection.execute(
                    sa.text("UPDATE trial_heartbeats SET heartbeat = datetime('now', '-1 hour') WHERE trial_id = :id"),
                    {"id": ticket._hold.claim.trial_id},
                )
            self.model[ticket.number].silent = True

    @rule()
    def sweep(self) -> None:
        dead = [n for n, trial in self.model.items() if trial.state == "running" and trial.silent]
        assert self.queue.sweep() == len(dead)
        for number in dead:
            trial = self.model[number]
            trial.state, trial.owner = "failed", None
            deaths = 1 if len(trial.reports) > trial.reported_before else trial.deaths + 1
            if deaths < MAX_DEATHS:
                self.succeed(number, trial.attempt + 1, deaths)

    @rule(data=st.data())
    def retry(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(self.model)))
        trial = self.model[number]
        if trial.state in ("failed", "pruned") and not trial.retried:
            assert self.queue.retry(number) == len(self.model)
            self.succeed(number, 1, 0)
        else:
            with pytest.raises(BadInput):
                self.queue.retry(number)

    @invariant()
    def agree(self) -> None:
        states = {
            TrialState.WAITING: "waiting",
            TrialState.RUNNING: "running",
            TrialState.COMPLETE: "complete",
            TrialState.PRUNED: "pruned",
            TrialState.FAIL: "failed",
        }
        stored = self.storage.get_all_trials(self.storage.get_study_id_from_name(self.plan.name))
        assert [states[trial.state] for trial in stored] == [trial.state for trial in self.model.values()]
        assert [trial.intermediate_values for trial in stored] == [trial.reports for trial in self.model.values()]
        for trial in stored:
            assert bool(trial.user_attrs) == trial.state.is_finished(), "told when it ended, not before"
        counts = self.queue.counts()
        failed = [trial for trial in self.model.values() if trial.state == "failed"]
        assert counts.retried == sum(trial.retried for trial in failed)
        assert counts.failed == len(failed) - counts.retried
        settled = counts.waiting + counts.running + counts.complete + counts.pruned + counts.failed
        again = sum(trial.retried and trial.state == "pruned" for trial in self.model.values())
        assert settled == N_TRIALS + again, "the budget is exact, but for trials a user wanted a second time"


@pytest.mark.usefixtures("sqlite_url")  # a new file with tables, which is copied for each example
def test_the_queue_agrees_with_its_model(tmp_path: Path) -> None:
    run_state_machine_as_test(
        partial(QueueMachine, tmp_path / "study.db"),
        settings=settings(
            max_examples=15,
            stateful_step_count=25,
            suppress_health_check=list(HealthCheck),
            derandomize=True,
        ),
    )
