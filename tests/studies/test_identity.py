"""Numbers of studies and trials that come back: what was meant for one study never reaches another one.

SQLite gives the numbers of a deleted study to the next one, and so does a server that was set back to an earlier state.
"""

from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from optuna.storages import BaseStorage, InMemoryStorage
from optuna.trial import TrialState

from studies import campaigns
from studies.campaigns import create_campaign, delete_campaign, list_campaigns, open_campaign, set_control
from studies.database.retrying_storage import RetryingStorage
from studies.errors import NotFound, TicketLost
from studies.spec import StudySpec
from studies.tickets import TicketQueue
from tests.studies.queues import claim, make_plan, make_result, silence, trials


def campaign(name: str = "campaign", **fixed: Any) -> StudySpec:
    content = make_plan().spec.model_dump(mode="json")
    return StudySpec.model_validate({**content, "name": name, "fixed": {**content["fixed"], **fixed}})


def replace(storage: BaseStorage, queue: TicketQueue, spec: StudySpec) -> TicketQueue:
    """Delete the queue's campaign and create another one, whose study and trials get the same numbers."""
    first = min(trial._trial_id for trial in trials(storage, queue))
    delete_campaign(storage, queue.plan.spec.name)
    if isinstance(storage, InMemoryStorage):
        storage._max_study_id, storage._max_trial_id = queue.study_id - 1, first - 1
    elif isinstance(storage, RetryingStorage) and storage.url.kind == "postgresql":
        sql(storage, "SELECT setval('studies_study_id_seq', :study, false)", study=queue.study_id)
        sql(storage, "SELECT setval('trials_trial_id_seq', :trial, false)", trial=first)
    new = create_campaign(storage, spec)[0]
    assert new.study_id == queue.study_id
    assert trials(storage, new)[0]._trial_id == first
    return new


def sql(storage: RetryingStorage, text: str, **values: Any) -> None:
    with storage.rdb.engine.begin() as connection:
        connection.execute(sa.text(text), values)


def forget_identity(storage: BaseStorage, queue: TicketQueue) -> TicketQueue:
    """The queue of the same study as version 0.1 stored it."""
    if isinstance(storage, InMemoryStorage):
        del storage._studies[queue.study_id].user_attrs["identity"]
    else:
        assert isinstance(storage, RetryingStorage)
        sql(storage, "DELETE FROM study_user_attributes WHERE key = 'identity'")
    return TicketQueue.open(storage, queue.name)


@pytest.fixture(params=["another", "the same name", "the same campaign"])
def other(request: pytest.FixtureRequest) -> StudySpec:
    changes = {
        "another": {"name": "new", "epochs": 3},
        "the same name": {"epochs": 3},
        "the same campaign": {},
    }
    return campaign(**changes[request.param])


@pytest.fixture
def everything(storage: BaseStorage) -> Callable[[TicketQueue], Any]:
    """All that is stored of a study."""
    return lambda queue: [vars(trial) for trial in trials(storage, queue)]


def test_the_queue_of_a_deleted_study_does_nothing_to_the_one_that_has_its_number(
    storage: BaseStorage, other: StudySpec, everything: Callable[[TicketQueue], Any]
) -> None:
    (old,) = create_campaign(storage, campaign())
    claim(old).fail("so that it can be retried")
    new = replace(storage, old, other)
    claim(new).fail("so that it could be retried")
    claim(new)
    if isinstance(storage, RetryingStorage):
        silence(storage)
    before = everything(new)
    assert old.sweep() == 0
    asks: list[Callable[[], object]] = [
        lambda: old.claim("w"),
        old.counts,
        old.control,
        old.trials,
        old.files_kept,
        lambda: old.retry(0),
    ]
    for ask in asks:
        with pytest.raises(NotFound, match="was deleted"):
            ask()
    assert everything(new) == before
    assert old.folder != new.folder
    assert claim(new).spec.config.epochs == other.fixed["epochs"]


@pytest.mark.parametrize("same_claim", [False, True])
def test_what_a_worker_says_of_a_deleted_trial_does_not_reach_the_one_that_has_its_number(
    storage: BaseStorage, other: StudySpec, everything: Callable[[TicketQueue], Any], same_claim: bool
) -> None:
    (old,) = create_campaign(storage, campaign())
    late = claim(old)
    late.report(0, 0.5)
    new = replace(storage, old, other)
    owner = claim(new)
    if same_claim:  # no chance could make it so; the identity alone must tell
        trial = trials(storage, new)[0]
        for key, value in (("claim", late._hold.claim.token), ("settings", late._hold.settings)):
            storage.set_trial_system_attr(trial._trial_id, key, value)
    before = everything(new)
    with pytest.raises(TicketLost):
        late.report(1, 0.9)
    with pytest.raises(TicketLost):
        late.recalled()
    assert not late.beat()
    for tell in (late._hold.give_back, late._hold.fail):
        late._hold._closed = False
        assert not tell("late")
    late._hold._closed = False
    assert not late.complete(make_result(0.9))
    assert everything(new) == before
    if not same_claim:
        owner.report(0, 0.1)
        assert owner.complete(make_result(0.1))


def test_a_campaign_is_steered_and_deleted_only_if_it_is_the_one_that_was_looked_up(
    storage: BaseStorage, other: StudySpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    (old,) = create_campaign(storage, campaign())
    stored = campaigns._stored_studies(storage, "campaign")
    new = replace(storage, old, other)
    monkeypatch.setattr(campaigns, "_stored_studies", lambda *_: stored)
    with pytest.raises(NotFound):
        set_control(storage, "campaign", "stop")
    delete_campaign(storage, "campaign")
    assert new.control() == "run"
    assert new.counts().waiting == 3


def test_a_list_of_campaigns_lacks_what_was_deleted_meanwhile(
    storage: BaseStorage, other: StudySpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    (old,) = create_campaign(storage, campaign())
    studies = storage.get_all_studies()
    replace(storage, old, other)
    monkeypatch.setattr(storage, "get_all_studies", lambda: studies)
    assert list_campaigns(storage) == []


def test_a_campaign_of_version_0_1_goes_on_where_it_is(storage: BaseStorage) -> None:
    old = forget_identity(storage, create_campaign(storage, campaign())[0])
    ticket = claim(old)
    assert ticket.checkpoint_key == f"{old.name}/0", "where that version wrote it"
    ticket.report(0, 0.5)
    assert ticket.complete(make_result())
    assert open_campaign(storage, "campaign").queues[0].identity == old.identity
    assert create_campaign(storage, campaign())[0].counts().complete == 1
    delete_campaign(storage, "campaign")
    with pytest.raises(NotFound):
        old.claim("w")


@pytest.mark.parametrize("new_is_old_too", [True, False])
def test_a_study_of_version_0_1_is_told_from_another_one_by_its_specification(
    storage: BaseStorage, new_is_old_too: bool
) -> None:
    old = forget_identity(storage, create_campaign(storage, campaign())[0])
    new = replace(storage, old, campaign(epochs=3))
    if new_is_old_too:
        new = forget_identity(storage, new)
    with pytest.raises(NotFound, match="was deleted"):
        old.claim("w")
    assert claim(new).spec.config.epochs == 3


def test_a_server_that_was_set_back_is_told_again_what_it_has_forgotten(database: RetryingStorage) -> None:
    (queue,) = create_campaign(database, campaign())
    ticket = claim(queue)
    ticket.report(0, 0.1)
    earlier = {"claim": ticket._hold.claim.token, "trained": "1"}
    ticket.report(1, 0.2)
    ticket.report(2, 0.3)
    trial_id = trials(database, queue)[0]._trial_id
    sql(database, "DELETE FROM trial_intermediate_values WHERE trial_id = :id AND step > 0", id=trial_id)
    database.set_trial_system_attr(trial_id, "epochs_trained", int(earlier["trained"]))
    assert ticket.complete(make_result(0.3))
    (trial, *_) = trials(database, queue)
    assert trial.intermediate_values == {0: 0.1, 1: 0.2, 2: 0.3}
    assert trial.system_attrs["epochs_trained"] == 3


def test_a_claim_whose_parameters_the_server_has_forgotten_is_lost(database: RetryingStorage) -> None:
    """Else the trial would be complete, and nobody knew with what it was trained."""
    (queue,) = create_campaign(database, campaign())
    ticket = claim(queue)
    trial_id = trials(database, queue)[0]._trial_id
    sql(database, "DELETE FROM trial_params WHERE trial_id = :id", id=trial_id)
    sql(database, "DELETE FROM trial_system_attributes WHERE key = 'settings'")
    with pytest.raises(TicketLost):
        ticket.report(0, 0.5)
    assert not ticket.complete(make_result())
    assert trials(database, queue)[0].state == TrialState.RUNNING, "and swept when the beats are missing"


def test_results_that_the_server_has_forgotten_are_not_learned_from(database: RetryingStorage) -> None:
    (queue,) = create_campaign(database, StudySpec.model_validate(make_plan(n_trials=6, pruner="median").spec))
    for value in (0.3, 0.5):
        done = claim(queue)
        done.report(0, value)
        assert done.complete(make_result(value))
    ticket = claim(queue)
    known: list[Any] = []

    def look() -> None:
        ticket._hold.write(lambda trial: known.append(list(trial.completed_at(0).values)), "look")
        known.append([trial.value for trial in queue._store.begun(queue.study_id)])

    look()
    assert known == [[0.3, 0.5], [0.3, 0.5, None]]
    forgotten = trials(database, queue)[1]._trial_id
    sql(database, "DELETE FROM trial_values WHERE trial_id = :id", id=forgotten)
    sql(database, "DELETE FROM trial_intermediate_values WHERE trial_id = :id", id=forgotten)
    sql(database, "UPDATE trials SET state = 'WAITING', datetime_complete = NULL WHERE trial_id = :id", id=forgotten)
    known.clear()
    look()
    assert known == [[0.3], [0.3, None]]
    again = claim(queue)
    assert again.number == 1
    again.report(0, 0.9)
    assert again.complete(make_result(0.9))
    known.clear()
    look()
    assert known == [[0.3, 0.9], [0.3, 0.9, None]]


def test_optuna_sees_the_study_that_has_a_number_now(storage: BaseStorage) -> None:
    (old,) = create_campaign(storage, campaign())
    claim(old).complete(make_result())
    seen = storage.get_all_trials(old.study_id)
    assert storage.get_study_name_from_id(old.study_id) == old.name
    new = replace(storage, old, campaign("new"))
    assert storage.get_study_name_from_id(new.study_id) == new.name
    assert [trial.state for trial in storage.get_all_trials(new.study_id)] == [TrialState.WAITING] * 3
    assert storage.get_trial(seen[0]._trial_id).state == TrialState.WAITING
