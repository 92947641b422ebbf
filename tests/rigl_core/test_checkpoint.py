"""Checkpoints: atomic, exact, and inert whatever is in the file."""

import os
import pickle
from pathlib import Path

import pytest
import torch

from rigl_core import checkpoint
from rigl_core.checkpoint import load_checkpoint, remove_partial, save_checkpoint, write_atomically
from rigl_core.config import TrainConfig
from rigl_core.errors import CheckpointError

CONFIG = TrainConfig(dataset="digits", epochs=2)
STATE = {"device": "cpu", "step": 3, "history": [{"loss": (0.5,)}], "w": torch.arange(4.0)}


def test_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "er" / "run.pt"
    save_checkpoint(path, CONFIG, STATE)
    loaded = load_checkpoint(path, CONFIG)
    assert torch.equal(loaded.pop("w"), STATE["w"])
    assert loaded == {key: value for key, value in STATE.items() if key != "w"}
    assert list(path.parent.iterdir()) == [path]  # nothing temporary stays


def test_a_crash_in_mid_write_leaves_the_previous_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "run.pt"
    save_checkpoint(path, CONFIG, STATE)
    before = path.read_bytes()

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CheckpointError, match=r"cannot write the checkpoint .*run.pt: No space left on device"):
        save_checkpoint(path, CONFIG, {**STATE, "step": 4})
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


class Evil:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch '{self.marker}'",)


def test_a_malicious_file_is_refused_and_never_run(tmp_path: Path) -> None:
    marker = tmp_path / "executed"
    for name, content in {
        "raw.pt": pickle.dumps(Evil(marker)),
        "zip.pt": None,
    }.items():
        path = tmp_path / name
        if content is None:
            save_checkpoint(path, CONFIG, {"device": Evil(marker)})
        else:
            path.write_bytes(content)
        with pytest.raises(CheckpointError, match="damaged or not a checkpoint"):
            load_checkpoint(path, CONFIG)
    assert not marker.exists()


@pytest.mark.parametrize("damage", ["empty", "truncated", "text"])
def test_damaged_files(damage: str, tmp_path: Path) -> None:
    path = tmp_path / "run.pt"
    save_checkpoint(path, CONFIG, STATE)
    content = path.read_bytes()
    path.write_bytes({"empty": b"", "truncated": content[: len(content) // 2], "text": b"hello"}[damage])
    with pytest.raises(CheckpointError, match="damaged or not a checkpoint"):
        load_checkpoint(path, CONFIG)


def test_a_file_that_cannot_be_read_is_not_called_damaged(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"^cannot read the checkpoint .*: Is a directory\.$"):
        load_checkpoint(tmp_path, CONFIG)


def test_others_may_read_a_checkpoint_as_the_umask_says(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        save_checkpoint(tmp_path / "run.pt", CONFIG, STATE)
    finally:
        os.umask(before)
    assert (tmp_path / "run.pt").stat().st_mode & 0o777 == 0o640


def test_every_flipped_bit_and_every_cut_is_found(tmp_path: Path) -> None:
    path = tmp_path / "run.pt"
    save_checkpoint(path, CONFIG, STATE)
    content = path.read_bytes()
    for at in (*range(100), *range(100, len(content), 37)):
        flipped = bytearray(content)
        flipped[at] ^= 1 << at % 8
        for damaged in (flipped, content[:at]):
            path.write_bytes(damaged)
            with pytest.raises(CheckpointError, match=r"is damaged or not a checkpoint|has format \d+;"):
                load_checkpoint(path, CONFIG)


def test_checkpoints_of_something_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "run.pt"
    with pytest.raises(CheckpointError, match="there is no checkpoint"):
        load_checkpoint(path, CONFIG)
    torch.save({"weights": torch.zeros(1)}, path)
    with pytest.raises(CheckpointError, match="has format 1, if it is one of rigl-study; this version reads 2"):
        load_checkpoint(path, CONFIG)
    save_checkpoint(path, CONFIG, STATE)
    monkeypatch.setattr(checkpoint, "FORMAT", 3)
    with pytest.raises(CheckpointError, match="has format 2; this version of rigl-study reads 3"):
        load_checkpoint(path, CONFIG)


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        ({"method": "set"}, "method is 'rigl' there and 'set' here"),
        ({"model": "wrn_10_1"}, "model is 'lenet_300_100' there and 'wrn_10_1' here"),
        ({"model": "wrn", "model_options": {"depth": 16}}, "model is 'lenet_300_100' there and 'wrn' here"),
        ({"dataset": "synthetic"}, "dataset is 'digits' there and 'synthetic' here"),
        ({"sparsity": 0.8}, r"sparsity is 0\.9 there and 0\.8 here"),
        ({"optimizer": "adam"}, "optimizer is 'sgd' there and 'adam' here"),
        ({"lr": 0.2}, r"lr is 0\.1 there and 0\.2 here"),
        ({"seeds": (0, 1)}, r"seeds is \[0\] there and \[0, 1\] here"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_a_checkpoint_of_another_run_is_told_apart(changes: dict[str, object], difference: str, tmp_path: Path) -> None:
    path = tmp_path / "run.pt"
    save_checkpoint(path, CONFIG, STATE)
    with pytest.raises(CheckpointError, match=f"another configuration: {difference}; remove it or name another file"):
        load_checkpoint(path, TrainConfig.model_validate({**CONFIG.model_dump(), **changes}))


def test_a_writer_whose_half_written_file_was_swept_keeps_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "[0].pt"  # a name that means something to glob
    path.write_bytes(b"of the next owner")

    def frozen(_descriptor: int) -> None:  # and meanwhile somebody else takes the run over
        remove_partial(path)

    monkeypatch.setattr(os, "fsync", frozen)
    with pytest.raises(CheckpointError, match="cannot write the checkpoint"):
        write_atomically(path, b"of the last owner", "checkpoint")
    assert [(found.name, found.read_bytes()) for found in tmp_path.iterdir()] == [(path.name, b"of the next owner")]
