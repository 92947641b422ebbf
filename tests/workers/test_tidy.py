"""What is left in the checkpoint folder when a study is over."""

from pathlib import Path

import pytest
from optuna.storages import BaseStorage

from studies.campaigns import create_campaign
from studies.database.storage_url import StorageUrl
from studies.spec import StudySpec
from studies.storage import open_storage
from studies.tickets import TicketQueue
from tests.studies.queues import claim, make_result
from workers.tidy import tidy


@pytest.fixture
def queue() -> TicketQueue:
    storage: BaseStorage = open_storage(StorageUrl.parse("memory://"))
    spec = {"name": "campaign", "search": {"lr": [0.1, 0.2, 0.3]}, "strategy": {"sampler": "grid", "seeds": [0]}}
    return create_campaign(storage, StudySpec.model_validate(spec))[0]


def put(folder: Path, *names: str) -> None:
    folder.mkdir(parents=True)
    for name in names:
        (folder / name).write_bytes(b"")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_only_final_masks_and_what_may_be_retried_stay(queue: TicketQueue, tmp_path: Path) -> None:
    folder = tmp_path / queue.folder
    half_written = (".0.pt.a1b2c3d4", ".2.masks.pt.x_y")
    put(folder, "0.pt", "0.masks.pt", "1.pt", "2.pt", "2.masks.pt", "0.unusable", "notes.txt", *half_written)
    claim(queue).complete(make_result())
    claim(queue).fail("out of memory")
    assert tidy(queue, tmp_path) == 0, "one ticket waits"
    claim(queue).prune(make_result())
    assert tidy(queue, tmp_path) == 5
    assert names(folder) == ["0.masks.pt", "0.unusable", "1.pt", "notes.txt"]
    assert tidy(queue, tmp_path) == 0


def test_the_checkpoint_of_a_ticket_goes_when_its_last_attempt_is_complete(queue: TicketQueue, tmp_path: Path) -> None:
    claim(queue).fail("stands for a death")
    assert queue.retry(0) == 3
    for _ in range(3):
        claim(queue).complete(make_result())
    put(tmp_path / queue.folder, "0.pt", "0.masks.pt", "3.masks.pt")
    assert tidy(queue, tmp_path) == 2
    assert names(tmp_path / queue.folder) == ["3.masks.pt"]


def test_a_folder_that_is_not_there_needs_no_tidying(queue: TicketQueue, tmp_path: Path) -> None:
    for _ in range(3):
        claim(queue).complete(make_result())
    assert tidy(queue, tmp_path / "gone") == 0
