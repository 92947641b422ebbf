"""Checkpoints: atomic, exact, and inert whatever is in the file."""

import errno
import hashlib
import io
import json
import os
import pickle
import stat
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from rigl_core import checkpoint
from rigl_core.checkpoint import check_writable, load_checkpoint, remove_partial, save_checkpoint, write_atomically
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


def test_a_file_is_on_the_disk_before_it_takes_the_name_and_the_name_before_anybody_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    fsync, replace = os.fsync, os.replace

    def note_fsync(descriptor: int) -> None:
        found = os.fstat(descriptor)
        done.append("folder" if stat.S_ISDIR(found.st_mode) else f"file with {found.st_size} bytes")
        fsync(descriptor)

    def note_replace(old: Path, new: Path) -> None:
        done.append(f"name with {old.stat().st_size} bytes")
        replace(old, new)

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(os, "replace", note_replace)
    write_atomically(tmp_path / "run.pt", b"hello", "checkpoint")
    assert done == ["file with 5 bytes", "name with 5 bytes", "folder"]


@pytest.mark.parametrize("refusal", [errno.EINVAL, errno.EIO])
def test_a_file_system_that_cannot_sync_folders_holds_checkpoints_and_one_that_fails_at_it_is_told(
    refusal: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse_folders(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(refusal, os.strerror(refusal))

    monkeypatch.setattr(os, "fsync", refuse_folders)
    if refusal == errno.EINVAL:
        save_checkpoint(tmp_path / "run.pt", CONFIG, STATE)
        assert load_checkpoint(tmp_path / "run.pt", CONFIG)["step"] == 3
    else:
        with pytest.raises(CheckpointError, match="cannot write the checkpoint"):
            save_checkpoint(tmp_path / "run.pt", CONFIG, STATE)


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="this system does not list open files")
def test_a_checkpoint_an_epoch_leaves_no_file_open(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "run.pt", CONFIG, STATE)
    before = os.listdir("/proc/self/fd")
    for _ in range(3):
        save_checkpoint(tmp_path / "run.pt", CONFIG, STATE)
        load_checkpoint(tmp_path / "run.pt", CONFIG)
    assert os.listdir("/proc/self/fd") == before


def test_a_place_for_a_checkpoint_is_tried_beforehand(tmp_path: Path) -> None:
    check_writable(tmp_path / "a" / "b" / "run.pt")
    check_writable(tmp_path / "a" / "b" / "run.pt")  # the folder may be there
    assert list((tmp_path / "a" / "b").iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointError, match=r"cannot write the checkpoint .*/file/run.pt: .*/file is a file\."):
        check_writable(tmp_path / "file" / "run.pt")
    if Path("/proc/self").is_dir():  # where not even root can make a file
        with pytest.raises(CheckpointError, match=r"cannot write the checkpoint /proc/self/run\.pt"):
            check_writable(Path("/proc/self/run.pt"))


@pytest.mark.parametrize(
    "content",
    [[1], {"state": STATE}, {"config": 1, "state": STATE}, {"config": "{}", "state": STATE, "more": 0}],
    ids=str,
)
def test_whole_files_that_are_no_checkpoints(content: object, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    path = tmp_path / "run.pt"
    path.write_bytes(checkpoint._header(buffer.getvalue()) + buffer.getvalue())
    with pytest.raises(CheckpointError, match=r"run.pt is not a checkpoint of rigl-study\."):
        load_checkpoint(path, CONFIG)


def test_a_machine_without_memory_does_not_call_a_checkpoint_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise MemoryError

    save_checkpoint(tmp_path / "run.pt", CONFIG, STATE)
    monkeypatch.setattr(torch, "load", full)
    with pytest.raises(MemoryError):
        load_checkpoint(tmp_path / "run.pt", CONFIG)


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


def test_a_file_that_is_no_checkpoint_takes_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "run.pt"
    with path.open("wb") as file:
        file.truncate(10**12)  # which takes no disk
    with pytest.raises(CheckpointError, match="it does not begin like one"):
        load_checkpoint(path, CONFIG)
    path.write_bytes(checkpoint._header(b"another content"))
    with path.open("r+b") as file:
        file.truncate(10**8)
    tracemalloc.start()
    with pytest.raises(CheckpointError, match="its SHA-256 is another"):
        load_checkpoint(path, CONFIG)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 10**7


def test_a_compressed_archive_is_not_unpacked(tmp_path: Path) -> None:
    """As torch never writes them: a gigabyte of weights could be in a megabyte."""
    buffer, packed = io.BytesIO(), io.BytesIO()
    torch.save({"config": "{}", "state": {"weight": torch.zeros(10**6)}}, buffer)
    with zipfile.ZipFile(buffer) as stored, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in stored.namelist():
            archive.writestr(name, stored.read(name))
    path = tmp_path / "run.pt"
    path.write_bytes(checkpoint._header(packed.getvalue()) + packed.getvalue())
    with pytest.raises(CheckpointError, match="it is no archive of stored files"):
        load_checkpoint(path, CONFIG)


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


FORMAT_2: dict[str, object] = {
    "recipe": None,
    "method": "rigl",
    "model": "lenet_300_100",
    "model_options": {},
    "dataset": "fashion_mnist",
    "dataset_options": {},
    "text_file": None,
    "text_sha256": None,
    "train_size": None,
    "sparsity": 0.9,
    "distribution": "erk",
    "layer_sparsity": None,
    "masks": None,
    "masks_sha256": None,
    "alpha": 0.3,
    "delta_t": 100,
    "t_end_fraction": 0.75,
    "anneal": "cosine",
    "anneal_power": 3.0,
    "grow_accumulation": 1,
    "ramp_start": 700,
    "epochs": 250,
    "train_multiplier": 1.0,
    "batch_size": 128,
    "optimizer": "sgd",
    "lr": 0.1,
    "momentum": 0.9,
    "nesterov": True,
    "weight_decay": 5e-4,
    "clip_norm": None,
    "lr_drop_every": 0,
    "lr_drop_factor": 0.2,
    "warmup_steps": None,
    "label_smoothing": 0.0,
    "augmentation": "none",
    "seeds": [0],
}
"""Every setting that a file of format 2 has, and its default: never to be edited without another FORMAT."""


def test_a_default_never_changes_and_a_new_setting_has_one_that_trains_as_before() -> None:
    """Stored campaigns and checkpoints of other versions would mean something else."""
    assert TrainConfig().model_dump(mode="json") == {**FORMAT_2, **checkpoint.ADDED}
    assert not FORMAT_2.keys() & checkpoint.ADDED.keys()


class Newer(TrainConfig):
    """A version of rigl-study with two settings more, somewhere in the middle."""

    swa_start: float = 1.0
    swa_layers: tuple[str, ...] = ()


@pytest.fixture
def newer(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Whoever loads or saves is a version with `Newer`; `undo` makes it an older one again."""
    monkeypatch.setattr(checkpoint, "ADDED", {"swa_start": 1.0, "swa_layers": []})
    return monkeypatch


def written(path: Path, config: str) -> Path:
    """A checkpoint with this configuration, made by hand."""
    buffer = io.BytesIO()
    torch.save({"config": config, "state": STATE}, buffer)
    body = buffer.getvalue()
    path.write_bytes(f"rigl-study checkpoint 2 {hashlib.sha256(body).hexdigest()}\n".encode() + body)
    return path


def test_versions_go_on_from_each_others_checkpoints_where_a_new_setting_changes_nothing(
    tmp_path: Path, newer: pytest.MonkeyPatch
) -> None:
    older_file = written(tmp_path / "older.pt", json.dumps({**FORMAT_2, "dataset": "digits", "epochs": 2}))
    config = Newer(dataset="digits", epochs=2)
    assert load_checkpoint(older_file, config)["step"] == 3
    save_checkpoint(tmp_path / "newer.pt", config, STATE)
    newer.undo()
    assert load_checkpoint(tmp_path / "newer.pt", CONFIG)["step"] == 3


def test_versions_never_go_on_with_another_configuration(tmp_path: Path, newer: pytest.MonkeyPatch) -> None:
    older_file = written(tmp_path / "older.pt", json.dumps({**FORMAT_2, "dataset": "digits", "epochs": 2}))
    config = Newer(dataset="digits", epochs=2, swa_start=0.8)
    with pytest.raises(CheckpointError, match=r"another configuration: swa_start is not set there and 0\.8 here;"):
        load_checkpoint(older_file, config)
    save_checkpoint(tmp_path / "newer.pt", config, STATE)
    assert load_checkpoint(tmp_path / "newer.pt", config)["step"] == 3
    with pytest.raises(CheckpointError, match=r"'swa_start' is 0\.8 there and not set here;"):
        load_checkpoint(tmp_path / "newer.pt", Newer(dataset="digits", epochs=2))
    newer.undo()
    with pytest.raises(CheckpointError, match=r"'swa_start' is 0\.8 there and not set here;"):
        load_checkpoint(tmp_path / "newer.pt", CONFIG)


def test_a_new_setting_means_as_before_whatever_its_default_and_the_recipes_say_later(
    tmp_path: Path, newer: pytest.MonkeyPatch
) -> None:
    class Later(TrainConfig):
        swa_start: float = 0.8
        swa_layers: tuple[str, ...] = ()

    older_file = written(tmp_path / "older.pt", json.dumps({**FORMAT_2, "dataset": "digits", "epochs": 2}))
    with pytest.raises(CheckpointError, match=r"swa_start is not set there and 0\.8 here"):
        load_checkpoint(older_file, Later(dataset="digits", epochs=2))
    assert load_checkpoint(older_file, Later(dataset="digits", epochs=2, swa_start=1.0))["step"] == 3


def test_a_setting_of_format_2_that_is_missing_is_at_no_default(tmp_path: Path) -> None:
    settings: dict[str, Any] = {**FORMAT_2, "dataset": "digits", "epochs": 2}
    del settings["clip_norm"]
    with pytest.raises(CheckpointError, match="clip_norm is not set there and None here"):
        load_checkpoint(written(tmp_path / "run.pt", json.dumps(settings)), CONFIG)


def test_the_order_of_settings_and_how_a_number_is_written_do_not_matter(tmp_path: Path) -> None:
    options = {"height": 8, "width": 9}
    config = TrainConfig(dataset="synthetic", dataset_options=options, epochs=2, momentum=1e-7, weight_decay=1e16)
    stored = config.model_dump_json()
    assert '"momentum":1e-7' in stored, "as this pydantic writes it"
    settings = dict(reversed(json.loads(stored).items()))
    settings["dataset_options"] = dict(reversed(settings["dataset_options"].items()))
    other = json.dumps(settings, indent=1).replace("1e-07", "0.0000001")
    assert '"momentum": 0.0000001' in other
    assert load_checkpoint(written(tmp_path / "run.pt", other), config)["step"] == 3


@pytest.mark.parametrize("stored", ["", "[]", "null", "3", '{"lr": 0.1', "[1]", "{}", '"lr"', 20_000 * "["])
def test_a_configuration_that_is_none(stored: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="another configuration"):
        load_checkpoint(written(tmp_path / "run.pt", stored), CONFIG)


def test_true_is_not_one(tmp_path: Path) -> None:
    stored = CONFIG.model_dump_json().replace('"nesterov":true', '"nesterov":1')
    with pytest.raises(CheckpointError, match="nesterov is 1 there and True here"):
        load_checkpoint(written(tmp_path / "run.pt", stored), CONFIG)


def test_only_half_written_files_are_swept(tmp_path: Path) -> None:
    others = [".run.pt.swp", ".run.pt.01234567.bak", ".ruin.pt.01234567", "run.pt", "run.pt.01234567"]
    for name in (".run.pt.0123cdef", *others):
        (tmp_path / name).touch()
    remove_partial(tmp_path / "run.pt")
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted(others)


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
