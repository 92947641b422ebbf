"""Beginning from another run: its masks from a file, its layer-wise sparsities, and its initial weights."""

import hashlib
import os
import pickle
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rigl_core.config import TrainConfig
from rigl_core.data.task import load_task
from rigl_core.errors import BadInput, CheckpointError, DataUnavailable
from rigl_core.masks import MaskState, maskable_weights
from rigl_core.masks_file import load_masks, save_masks
from rigl_core.network import build_model, initial_budgets
from rigl_core.replica import Replica
from rigl_core.source import Source, is_source, masks_file_of
from rigl_core.train import TrainOutcome, train

SOURCE = Source("camp/rigl-s0.8-erk", 3)
FILE = f"{SOURCE.study}/0123abcd/{masks_file_of(SOURCE.trial)}"
OPTIONS = {"channels": 1, "height": 8, "width": 8, "num_classes": 4, "n_train": 80, "n_eval": 40}
BASE: dict[str, Any] = {
    "model": "wrn",
    "model_options": {"depth": 10, "width": 1},
    "dataset": "synthetic",
    "dataset_options": OPTIONS,
    "sparsity": 0.8,
    "delta_t": 3,
    "epochs": 2,
    "batch_size": 16,
    "lr": 0.05,
}


def run(config: TrainConfig, **arguments: Any) -> TrainOutcome:
    return train(config, on_epoch=lambda _report: False, should_stop=lambda: False, **arguments)


def lottery(path: Path, layer_sparsity: dict[str, float], **changes: Any) -> TrainConfig:
    from_source = {
        "distribution": str(SOURCE),
        "layer_sparsity": layer_sparsity,
        "masks": str(SOURCE),
        "masks_sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }
    return TrainConfig(**{**BASE, "method": "static", **from_source, **changes})


@pytest.mark.parametrize("text", ["from:a/b#0", "from:my-camp_1.0/rigl-s0.98-from#120"])
def test_sources_are_read_as_they_are_written(text: str) -> None:
    assert is_source(text)
    assert str(Source.parse(text)) == text


BAD = ["", "from:", "from:a/b", "from:a#3", "from:a/b#x", "from:a/b#-1", "from:../b#1", "from:a/../b#1", "a/b#1"]


@pytest.mark.parametrize("text", [*BAD, "from:a/b#1 ", "from:a/b/c#1", "from:a/b#٣"])
def test_other_words_name_no_run(text: str) -> None:
    with pytest.raises(BadInput, match="write from:STUDY#TRIAL"):
        Source.parse(text)


@given(shapes=st.lists(st.lists(st.integers(1, 7), min_size=1, max_size=4), min_size=1, max_size=4), data=st.data())
def test_masks_survive_the_file(shapes: list[list[int]], data: st.DataObject, tmp_path_factory: Any) -> None:
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 99)))
    masks = {f"l{i}.weight": torch.rand(shape, generator=generator) < 0.3 for i, shape in enumerate(shapes)}
    state = MaskState(masks, {name: int(mask.sum()) for name, mask in masks.items()})
    folder = tmp_path_factory.mktemp("masks")
    path = folder / FILE
    save_masks(path, {7: state, 9: state})
    before = path.read_bytes()
    save_masks(path, {7: state, 9: state})
    assert path.read_bytes() == before
    loaded = load_masks(lottery(path, {"any": 0.0}, seeds=(9,)), folder)
    assert list(loaded) == [9]
    assert loaded[9].n_active == state.n_active
    assert all(torch.equal(loaded[9].masks[name], mask) for name, mask in masks.items())


@pytest.mark.parametrize("method", ["rigl", "rigl_sm", "pruning"])
def test_a_lottery_ticket_begins_with_the_final_masks_and_the_initial_weights(tmp_path: Path, method: str) -> None:
    """A peer's lottery initialisation gave an all-zero network."""
    path = tmp_path / FILE
    ramp = {"ramp_start": 1, "delta_t": 2, "warmup_steps": 0} if method == "pruning" else {}
    trained = TrainConfig(**{**BASE, "method": method, "seeds": (7, 8), **ramp})
    outcome = run(trained, masks_to=path)
    config = lottery(path, outcome.layer_sparsity, seeds=(8,))
    masks = load_masks(config, tmp_path)[8]
    data = load_task(config)
    replica = Replica(config, data, 8, 10, "cpu", masks)
    initial = maskable_weights(build_model(trained, data, 8))
    for name, weight in maskable_weights(replica.model).items():
        mask = masks.masks[name]
        assert torch.equal(weight, initial[name] * mask)
        assert torch.equal(weight != 0, mask)
        assert torch.equal(replica.masks.masks[name], mask)
    others = {name: value for name, value in build_model(trained, data, 8).state_dict().items() if name not in initial}
    for name, value in others.items():
        assert torch.equal(replica.model.state_dict()[name], value), "biases and normalisation, too"
    assert sum(masks.n_active.values()) == outcome.n_active > 0

    again = run(config, masks_dir=tmp_path)
    assert again.status == "complete"
    assert again.n_active == outcome.n_active


def test_a_dense_run_leaves_no_masks(tmp_path: Path) -> None:
    run(TrainConfig(**{**BASE, "method": "dense"}), masks_to=tmp_path / "masks.pt")
    assert not any(tmp_path.iterdir())


def test_masks_of_rigl_may_move_on_and_resume_exactly(tmp_path: Path) -> None:
    path = tmp_path / FILE
    outcome = run(TrainConfig(**BASE), masks_to=path)
    config = lottery(path, outcome.layer_sparsity, method="rigl")
    whole = run(config, masks_dir=tmp_path)
    calls = iter(range(100))
    stopped = train(
        config,
        on_epoch=lambda _report: False,
        should_stop=lambda: next(calls) == 6,
        checkpoint_to=tmp_path / "run.pt",
        masks_dir=tmp_path,
    )
    assert stopped.status == "stopped"
    resumed = run(config, masks_dir=tmp_path, resume_from=tmp_path / "run.pt")
    assert (resumed.loss, resumed.test_accuracy) == (whole.loss, whole.test_accuracy)
    assert whole.history[-1].explored[0] > 1 - whole.realised_sparsity


def test_sparsities_of_another_run_give_its_counts_and_masks_of_ones_own(tmp_path: Path) -> None:
    outcome = run(TrainConfig(**BASE, distribution="er"), masks_to=tmp_path / FILE)
    source = load_masks(lottery(tmp_path / FILE, outcome.layer_sparsity), tmp_path)[0]
    config = TrainConfig(**BASE, distribution=str(SOURCE), layer_sparsity=outcome.layer_sparsity)
    assert TrainConfig.model_validate_json(config.model_dump_json()) == config
    replica = Replica(config, load_task(config), 0, 10, "cpu")
    assert replica.masks.n_active == source.n_active
    assert any(not torch.equal(replica.masks.masks[name], mask) for name, mask in source.masks.items())
    assert run(config).layer_sparsity == outcome.layer_sparsity


def test_mean_counts_are_rounded_to_a_weight_and_no_layer_is_empty() -> None:
    config = TrainConfig(**BASE, distribution=str(SOURCE), layer_sparsity={"a": 1 - 3.5 / 10, "b": 1.0})
    assert initial_budgets(config, {"a": (10,), "b": (2, 5)}) == {"a": 4, "b": 1}


@pytest.mark.parametrize("layers", [{"a": 0.5}, {"a": 0.5, "b": 0.5, "c": 0.5}])
def test_sparsities_of_other_layers_are_refused(layers: dict[str, float]) -> None:
    config = TrainConfig(**BASE, distribution=str(SOURCE), layer_sparsity=layers)
    with pytest.raises(BadInput, match=r"does not fit this network: layer [bc] is (not )?there in it"):
        initial_budgets(config, {"a": (10,), "b": (10,)})


def test_masks_of_another_network_are_refused(tmp_path: Path) -> None:
    outcome = run(TrainConfig(**BASE), masks_to=tmp_path / FILE)
    wider = lottery(tmp_path / FILE, outcome.layer_sparsity, model_options={"depth": 10, "width": 2})
    with pytest.raises(BadInput, match=r"layer \S+ is \(16, 16, 3, 3\) in it and \(32, 16, 3, 3\) here"):
        run(wider, masks_dir=tmp_path)


SHA = "0" * 64
MISFITS: dict[str, tuple[dict[str, Any], str]] = {
    "not looked up": ({"distribution": str(SOURCE)}, "is resolved when a campaign is created"),
    "masks not looked up": ({"masks": str(SOURCE)}, "is resolved when a campaign is created"),
    "sparsities of nobody": ({"layer_sparsity": {"a": 0.5}}, "remove layer_sparsity"),
    "masks of nobody": ({"masks_sha256": SHA}, "remove masks_sha256"),
    "malformed": ({"distribution": "from:there"}, "write from:STUDY#TRIAL"),
    "masks malformed": ({"masks": "there"}, "write from:STUDY#TRIAL"),
    "two runs": (
        {"masks": str(SOURCE), "masks_sha256": SHA, "distribution": "from:a/b#1", "layer_sparsity": {"a": 0.5}},
        "they come from one run",
    ),
    "dense": (
        {"method": "dense", "distribution": str(SOURCE), "layer_sparsity": {"a": 0.5}},
        'method "dense" has no masks',
    ),
    "pruning": (
        {"method": "pruning", "distribution": str(SOURCE), "layer_sparsity": {"a": 0.5}},
        'method "pruning" starts dense',
    ),
}


@pytest.mark.parametrize("case", MISFITS)
def test_misfits_are_refused_in_one_line(case: str) -> None:
    settings, told = MISFITS[case]
    with pytest.raises(BadInput, match=told) as caught:
        TrainConfig(**settings)
    assert "\n" not in str(caught.value)


class Evil:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch '{self.marker}'",)


def test_a_file_that_is_none_is_refused_and_not_executed(tmp_path: Path) -> None:
    path = tmp_path / FILE
    path.parent.mkdir(parents=True)
    for content in (b"", b"PK\x03\x04 cut off", pickle.dumps(Evil(tmp_path / "marker"))):
        path.write_bytes(content)
        with pytest.raises(BadInput, match=r"holds no masks for seeds \[0\]"):
            load_masks(lottery(path, {"a": 0.5}), tmp_path)
    assert not (tmp_path / "marker").exists()


def test_a_file_that_is_missing_or_another_is_said_to_be(tmp_path: Path) -> None:
    path = tmp_path / FILE
    save_masks(path, {0: MaskState({"a": torch.ones(3, dtype=torch.bool)}, {"a": 3})})
    config = lottery(path, {"a": 0.0})
    with pytest.raises(BadInput, match=r"holds no masks for seeds \[1\]"):
        load_masks(config.model_copy(update={"seeds": (1,)}), tmp_path)
    with pytest.raises(BadInput, match="`rigl-study create` plans one"):
        load_masks(config, None)
    path.write_bytes(b"another")
    with path.open("r+b") as file:
        file.truncate(10**8)  # which takes no disk
    tracemalloc.start()
    with pytest.raises(DataUnavailable, match="does not hold the masks this run was planned with"):
        load_masks(config, tmp_path)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 10**7, "a file of another content is not kept in memory"
    path.unlink()
    with pytest.raises(DataUnavailable, match=r"are not at .*3\.masks\.pt .*--checkpoints"):
        load_masks(config, tmp_path)


def test_a_full_disk_costs_the_masks_and_not_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    path = tmp_path / FILE
    assert run(TrainConfig(**BASE), masks_to=path).status == "complete"
    assert "cannot write the masks" in caplog.text
    assert "no other one can begin from its masks" in caplog.text
    assert list(path.parent.iterdir()) == []
    with pytest.raises(CheckpointError):
        save_masks(path, {})
