"""What somebody else wrote, studies and checkpoints, may be refused or trained on, but does nothing else."""

import hashlib
import os
import string
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rigl_core.checkpoint import save_checkpoint
from rigl_core.config import TrainConfig
from rigl_core.errors import BadInput, RiglStudyError
from rigl_core.masks_file import load_masks
from rigl_core.source import Source, masks_file_of
from studies.database.storage_url import StorageUrl
from studies.spec import NAME_PATTERN, StudySpec
from studies.spec_file import apply_override, validate
from studies.storage import close_storage, open_storage
from studies.ticket_files import folder_of
from studies.tickets import TicketQueue
from tests.forked import Command, Worker
from workers.pool import WorkerSettings

CHECKPOINTS = Path("/checkpoints/of/ours")
# Plain text finds no holes: these are the pieces that holes are made of.
PIECES = [
    "..",
    "/",
    "\\",
    "\0",
    "\n",
    "~",
    "$HOME",
    "$(touch x)",
    "`touch x`",
    ";",
    "|",
    "&",
    "%2e%2e%2f",
    "con",
    "-rf",
]
PIECES += ["!!python/object", "__import__('os')", "{{7*7}}", "${jndi:x}", "from:", "#1", " ", "ü", "\u202e", "a" * 300]
NAMES = st.lists(st.sampled_from([*PIECES, "a", "0", ".", "_"]), max_size=5).map("".join) | st.text(max_size=100)
GOOD = {"fixed": {"dataset": "digits", "epochs": 1}, "strategy": {"n_trials": 1}}


def study(document: dict[str, Any]) -> StudySpec | RiglStudyError:
    """The study that a document asks for, or why it is refused."""
    try:
        return validate(document, "study.toml")
    except RiglStudyError as error:
        return error


def inside(folder: Path, relative: str) -> bool:
    return Path(os.path.normpath(folder / relative)).is_relative_to(folder)


@given(NAMES | st.from_regex(NAME_PATTERN, fullmatch=True))
def test_no_name_leaves_the_folder_of_checkpoints_or_reports(name: str) -> None:
    spec = study({**GOOD, "name": name})
    if isinstance(spec, RiglStudyError):
        assert isinstance(spec, BadInput)
        return
    for plan in spec.plans():
        for file in (f"{folder_of(plan.name, 'ab12')}/0.pt", f"{plan.name}/{masks_file_of(0)}"):
            assert inside(CHECKPOINTS / name, file.removeprefix(f"{name}/"))
            assert set(file) <= set(string.ascii_letters + string.digits + "._-/")
    assert (Path("reports") / spec.name).parent == Path("reports")
    assert spec.name not in ("", ".", "..")


@given(NAMES.map("from:{}".format) | NAMES)
def test_no_source_names_a_file_outside(text: str) -> None:
    try:
        source = Source.parse(text)
    except BadInput:
        return
    (path,) = source.masks_files(CHECKPOINTS)
    assert path.relative_to(CHECKPOINTS).parts == (*source.study.split("/"), masks_file_of(source.trial))
    assert inside(CHECKPOINTS, str(path.relative_to(CHECKPOINTS)))


LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | NAMES | st.sampled_from([10**400, -(10**400)])
VALUES = LEAVES | st.lists(LEAVES, max_size=3) | st.dictionaries(NAMES, LEAVES | st.lists(LEAVES), max_size=3)
KEYS = ["method", "model", "dataset", "epochs", "lr", "text_file", "masks", "distribution", "layer_sparsity", "seeds"]


@given(st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=3), st.dictionaries(st.sampled_from(KEYS), VALUES))
def test_any_values_are_a_study_or_refused(fixed: dict[str, Any], search: dict[str, Any]) -> None:
    document = {**GOOD, "name": "x", "fixed": {**GOOD["fixed"], **fixed}, "search": search}
    assert isinstance(study(document), StudySpec | BadInput)


@given(NAMES, NAMES)
def test_an_override_is_data(key: str, value: str) -> None:
    document: dict[str, Any] = {}
    try:
        apply_override(document, f"{key}={value}")
    except BadInput:
        assert "touch" not in str(document)


@pytest.mark.parametrize(
    "axis",
    [
        {"low": 0.0001, "high": 1.0, "step": 1e-12},
        {"low": 1e-300, "high": 1e300, "step": 1e-300},
        {"low": 1, "high": 10**15, "step": 1},
        {"low": 1, "high": 10**400, "step": 1},
        {"low": 1, "high": 10**400},
    ],
    ids=str,
)
def test_an_endless_search_is_refused_at_once(axis: dict[str, Any]) -> None:
    document = {**GOOD, "name": "x", "search": {"weight_decay": axis}, "strategy": {"sampler": "grid"}}
    with pytest.raises(BadInput):
        validate(document, "study.toml")


class Evil:
    """Unpickled, it makes a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch '{self.marker}'",)


SPEC = """
name = "tiny"
[fixed]
dataset = "digits"
epochs = 1
sparsity = 0.5
[strategy]
n_trials = 1
seeds = [0]
"""


def test_a_worker_sets_a_malicious_checkpoint_aside_and_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RIGL_STUDY_STORAGE", "sqlite:///study.db")
    Path("tiny.toml").write_text(SPEC)
    marker = tmp_path / "executed"
    assert Command("create", "tiny.toml").finish().returncode == 0
    storage = open_storage(StorageUrl.parse("sqlite:///study.db"))
    planted = Path("checkpoints", TicketQueue.open(storage, "tiny/rigl-s0.5-erk").folder, "0.pt")
    close_storage(storage)
    planted.parent.mkdir(parents=True)
    save_checkpoint(planted, TrainConfig(dataset="digits"), {"device": Evil(marker)})
    settings = WorkerSettings(storage="sqlite:///study.db", checkpoint_dir="checkpoints", device="cpu")
    worker = Worker(settings, Path("worker.log"))
    assert worker.wait(200) == 0, worker.said()
    worker.close()
    assert "is damaged or not a checkpoint" in worker.said()
    assert planted.with_suffix(".unusable").exists()
    assert not marker.exists()


def test_malicious_masks_are_refused_even_if_they_are_those_that_were_planned(tmp_path: Path) -> None:
    source, marker = Source.parse("from:c/s#0"), tmp_path / "executed"
    path = tmp_path / source.study / masks_file_of(source.trial)
    path.parent.mkdir(parents=True)
    torch.save({"format": 1, "seeds": Evil(marker)}, path)
    config = TrainConfig(
        dataset="digits",
        distribution=str(source),
        layer_sparsity={"a": 0.5},
        masks=str(source),
        masks_sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
    )
    with pytest.raises(BadInput, match="holds no masks"):
        load_masks(config, tmp_path)
    assert not marker.exists()
