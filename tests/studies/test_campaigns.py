"""Campaigns, on every kind of storage."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import optuna
import pytest
from optuna.storages import BaseStorage

import studies.campaigns
from studies.campaigns import (
    check_worker_count,
    create_campaign,
    delete_campaign,
    list_campaigns,
    open_campaign,
    set_control,
    study_rows,
)
from studies.database.retrying_storage import RetryingStorage
from studies.database.storage_url import StorageUrl
from studies.database.transactions import Transaction
from studies.database.transactions_rdb import _RdbTransaction
from studies.database.trial_store import trial_store
from studies.errors import BadInput, CampaignExists, NotFound, SpecVersionError
from studies.overview import status_of
from studies.spec import StudySpec
from studies.tickets import TicketQueue
from tests.studies.queues import make_result


def make_spec(name: str = "campaign", **changes: Any) -> StudySpec:
    spec = {
        "name": name,
        "description": "four studies",
        "fixed": {"dataset": "digits", "epochs": 2},
        "pairs": {"sparsity": [0.9, 0.98], "distribution": ["uniform", "erk"]},
        "search": {"lr": {"low": 0.01, "high": 0.3, "log": True}},
        "strategy": {"sampler": "random", "n_trials": 2, "seeds": [0]},
    }
    return StudySpec.model_validate({**spec, **changes})


NAMES = [f"campaign/rigl-s{s}-{d}" for s in (0.9, 0.98) for d in ("uniform", "erk")]


def test_status_has_the_documented_form(storage: BaseStorage) -> None:
    queues = create_campaign(storage, make_spec())
    ticket = queues[1].claim("w")
    assert ticket is not None
    ticket.complete(make_result(0.75))
    assert queues[1].claim("w") is not None
    waiting = {"waiting": 2, "running": 0, "complete": 0, "pruned": 0, "failed": 0, "retried": 0, "best": None}
    busy = {"waiting": 0, "running": 1, "complete": 1, "pruned": 0, "failed": 0, "retried": 0, "best": 0.75}
    assert status_of(study_rows(storage), "campaign") == {
        "campaign": "campaign",
        "state": "running",
        "studies": [{"name": name, **(busy if name == NAMES[1] else waiting)} for name in NAMES],
    }


def test_the_same_campaign_again_adds_nothing(storage: BaseStorage) -> None:
    create_campaign(storage, make_spec())
    queues = create_campaign(storage, make_spec())
    assert [queue.name for queue in queues] == NAMES
    assert sum(queue.counts().waiting for queue in queues) == 8


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"fixed": {"dataset": "digits", "epochs": 3}}, r"fixed\.epochs is 2 there and 3 here"),
        ({"fixed": {"dataset": "digits"}}, r"fixed\.epochs is 2 there and missing here"),
        ({"strategy": {"sampler": "random", "n_trials": 3, "seeds": [0]}}, r"strategy\.n_trials is 2 there and 3 here"),
        ({"pairs": {"sparsity": 0.5, "distribution": "erk"}}, r"pairs\.sparsity is \[0\.9, 0\.98\] there"),
        ({"search": {"lr": [0.1, 0.2]}}, r"search\.lr\.low is 0\.01 there and missing here"),
    ],
)
def test_another_campaign_of_that_name_is_refused(storage: BaseStorage, changes: Any, told: str) -> None:
    create_campaign(storage, make_spec())
    with pytest.raises(CampaignExists, match=told) as refused:
        create_campaign(storage, make_spec(**changes))
    assert "--name" in str(refused.value)
    assert "rigl-study delete campaign --yes" in str(refused.value)
    assert len(storage.get_all_studies()) == 4


def test_a_half_created_campaign_is_completed(storage: BaseStorage) -> None:
    spec = make_spec()
    TicketQueue.create(storage, spec.plans()[0])
    with pytest.raises(BadInput, match="3 of its 4 studies are missing"):
        open_campaign(storage, "campaign")
    assert [summary.state for summary in list_campaigns(storage)] == ["incomplete"]
    assert sum(queue.counts().waiting for queue in create_campaign(storage, spec)) == 8
    assert len(open_campaign(storage, "campaign").queues) == 4


def test_open_tells_the_spec(storage: BaseStorage) -> None:
    create_campaign(storage, make_spec())
    campaign = open_campaign(storage, "campaign")
    assert campaign.spec == make_spec()
    assert [queue.name for queue in campaign.queues] == NAMES


@pytest.mark.parametrize("ask", [open_campaign, delete_campaign])
def test_an_unknown_campaign_is_told_with_the_nearest(storage: BaseStorage, ask: Any) -> None:
    create_campaign(storage, make_spec())
    with pytest.raises(NotFound, match=r'no campaign "campain" is stored\. Did you mean campaign\?'):
        ask(storage, "campain")
    with pytest.raises(NotFound, match="campain"):
        set_control(storage, "campain", "stop")


def test_a_study_of_another_program_is_no_campaign_and_told_so(storage: BaseStorage) -> None:
    optuna.create_study(storage=storage, study_name="mine")
    with pytest.raises(NotFound, match=r"report --optuna-study mine` reports on it"):
        open_campaign(storage, "mine")
    with pytest.raises(NotFound, match=r'no campaign "mind"'):
        open_campaign(storage, "mind")


def test_states_of_a_campaign(storage: BaseStorage) -> None:
    spec = make_spec(pairs=None)
    (queue,) = create_campaign(storage, spec)

    def state() -> str:
        return str(status_of(study_rows(storage), "campaign")["state"])

    assert state() == "waiting"
    first = queue.claim("w")
    assert first is not None
    assert state() == "running"
    set_control(storage, "campaign", "pause")
    assert state() == "paused"
    assert queue.claim("w") is None
    assert not first.recalled()
    set_control(storage, "campaign", "stop")
    assert state() == "stopped"
    assert first.recalled()
    assert first.give_back("stopped")
    set_control(storage, "campaign", "run")
    assert state() == "waiting"
    while (ticket := queue.claim("w")) is not None:
        ticket.complete(make_result(0.5))
    assert state() == "complete"
    set_control(storage, "campaign", "stop")
    assert state() == "complete"


def test_all_studies_are_steered_or_none(database: RetryingStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    queues = create_campaign(database, make_spec())
    write, written = _RdbTransaction.set_study_attrs, []

    def interrupted(self: _RdbTransaction, study_id: int, attrs: Mapping[str, Any]) -> None:
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(study_id)
        write(self, study_id, attrs)

    with monkeypatch.context() as patched:
        patched.setattr(_RdbTransaction, "set_study_attrs", interrupted)
        with pytest.raises(KeyboardInterrupt):
            set_control(database, "campaign", "pause")
    assert len(written) == 2
    assert [queue.control() for queue in queues] == ["run"] * 4

    set_control(database, "campaign", "pause")
    assert [queue.control() for queue in queues] == ["pause"] * 4


def test_a_campaign_that_is_deleted_while_it_is_steered_is_not_there(
    storage: BaseStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    create_campaign(storage, make_spec())
    found = studies.campaigns._stored_studies(storage, "campaign")
    delete_campaign(storage, "campaign")
    monkeypatch.setattr(studies.campaigns, "_stored_studies", lambda *_: found)
    with pytest.raises(NotFound, match='no campaign "campaign"'):
        set_control(storage, "campaign", "stop")


def test_list_sums_up(storage: BaseStorage) -> None:
    assert list_campaigns(storage) == []
    queues = create_campaign(storage, make_spec("b"))
    create_campaign(storage, make_spec("a", description="", pairs=None))
    for queue, value in zip(queues[:2], (0.5, 0.75), strict=True):
        ticket = queue.claim("w")
        assert ticket is not None
        ticket.complete(make_result(value))
    a, b = list_campaigns(storage)
    assert (a.name, a.description, a.state, a.n_studies, a.counts.waiting) == ("a", "", "waiting", 1, 2)
    assert (b.name, b.description, b.n_studies, b.counts.waiting) == ("b", "four studies", 4, 6)
    assert (b.counts.complete, b.counts.best) == (2, 0.75)


def test_a_campaign_of_another_version_is_listed_but_not_touched(storage: BaseStorage) -> None:
    create_campaign(storage, make_spec())
    for study in storage.get_all_studies():
        storage.set_study_user_attr(study._study_id, "spec_version", 99)
        storage.set_study_user_attr(study._study_id, "spec", '{"from": "the future"}')
    assert [(s.name, s.description, s.n_studies) for s in list_campaigns(storage)] == [("campaign", "", 4)]
    for ask in (lambda: open_campaign(storage, "campaign"), lambda: create_campaign(storage, make_spec())):
        with pytest.raises(SpecVersionError, match="format 99"):
            ask()


@pytest.mark.parametrize(
    ("section", "key", "told"),
    [
        ("strategy", "novel", "strategy.novel = 1: unknown key"),
        ("fixed", "novel", r'unknown key in \[fixed\] "novel"'),
        ("fixed", "method", "method = 1: it must be a text"),
    ],
)
def test_what_a_newer_version_knows_and_this_one_does_not_is_told_so(section: str, key: str, told: str) -> None:
    storage = optuna.storages.InMemoryStorage()
    [*_, queue] = create_campaign(storage, make_spec())
    for study in storage.get_all_studies():
        spec = json.loads(study.user_attrs["spec"])
        spec[section][key] = 1
        storage.set_study_user_attr(study._study_id, "spec", json.dumps(spec))
    for ask in (
        lambda: open_campaign(storage, "campaign"),
        lambda: create_campaign(storage, make_spec()),
        lambda: TicketQueue.open(storage, queue.name),
    ):
        with pytest.raises(
            SpecVersionError, match=f"another version of rigl-study, .*{told}.*; update rigl-study here"
        ):
            ask()


def test_delete_removes_one_campaign_only(storage: BaseStorage) -> None:
    create_campaign(storage, make_spec())
    create_campaign(storage, make_spec("campaign-2"))
    assert delete_campaign(storage, "campaign") == 4
    assert [summary.name for summary in list_campaigns(storage)] == ["campaign-2"]
    create_campaign(storage, make_spec(strategy={"sampler": "random", "n_trials": 5}))


def test_a_deletion_whose_answer_was_lost_is_not_found_missing(
    storage: BaseStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    create_campaign(storage, make_spec())
    store = trial_store(storage)

    class Twice:
        def run(self, change: Callable[[Transaction], Any]) -> None:
            store.run(change)
            store.run(change)

    monkeypatch.setattr(studies.campaigns, "trial_store", lambda _: Twice())
    assert delete_campaign(storage, "campaign") == 4
    assert list_campaigns(storage) == []


def test_studies_of_other_programs_are_left_alone(storage: BaseStorage) -> None:
    optuna.create_study(storage=storage, study_name="campaign/of-somebody-else").optimize(lambda _: 0.0, n_trials=1)
    assert list_campaigns(storage) == []
    create_campaign(storage, make_spec())
    assert len(open_campaign(storage, "campaign").queues) == 4
    delete_campaign(storage, "campaign")
    assert [study.study_name for study in storage.get_all_studies()] == ["campaign/of-somebody-else"]


@pytest.mark.parametrize("url", ["memory://", "sqlite:///study.db"])
def test_sqlite_takes_one_worker(url: str) -> None:
    check_worker_count(StorageUrl.parse(url), 1)
    with pytest.raises(BadInput, match=r"takes one worker, not 2.*Postgres"):
        check_worker_count(StorageUrl.parse(url), 2)


def test_postgres_takes_many_workers_but_not_none() -> None:
    url = StorageUrl.parse("postgresql://user@host/name")
    check_worker_count(url, 64)
    with pytest.raises(BadInput, match="at least 1"):
        check_worker_count(url, 0)
