"""There is no network in a test: a stand-in for torchvision's class writes the files, or fails as the network would."""

import http.client
import urllib.error
from pathlib import Path
from types import SimpleNamespace

import pytest

from rigl_core.data import download, find
from rigl_core.errors import DataUnavailable


@pytest.fixture
def root(tmp_path, monkeypatch):
    """The folder that downloads go to, on a machine without the data set."""
    monkeypatch.delenv(find.ENVIRONMENT_VARIABLE, raising=False)
    monkeypatch.setattr(find, "cache_dir", lambda: tmp_path / "cache")
    return tmp_path / "mine" / "given"


def stand_in(monkeypatch, action):
    """Let `action(folder)` take the place of torchvision's download; gives the list of its calls."""
    calls = []

    def dataset_class(where, *, download):
        assert download
        calls.append(Path(where))
        action(Path(where))

    monkeypatch.setattr(download, "import_torchvision_datasets", lambda: SimpleNamespace(CIFAR10=dataset_class))
    return calls


def write(where, names=find.FILES["cifar10"].names):
    folder = where / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    for name in names:
        (folder / name).touch()


def get(root, *, allowed=True):
    return download.find_or_download("cifar10", "CIFAR10", "cifar-10-batches-py", data_dir=root, download=allowed)


@pytest.mark.parametrize("there", [False, True])
def test_downloads_once_and_leaves_nothing_else_behind(root, monkeypatch, there):
    if there:
        root.mkdir(parents=True)
    calls = stand_in(monkeypatch, write)
    assert get(root) == get(root) == root / "cifar-10-batches-py"
    assert len(calls) == 1
    assert calls[0].parent == root, "on the same disk, or nothing could be moved to its place at once"
    assert [path.name for path in root.iterdir()] == ["cifar-10-batches-py"]


def test_does_not_download_where_it_may_not(root, monkeypatch):
    calls = stand_in(monkeypatch, write)
    with pytest.raises(DataUnavailable, match="not on this machine"):
        get(root, allowed=False)
    assert calls == []


@pytest.mark.parametrize(
    "failure",
    [
        urllib.error.URLError("no route to host"),
        TimeoutError("timed out"),
        RuntimeError("File not found or corrupted."),
        http.client.IncompleteRead(b"half"),
    ],
)
def test_a_failed_download_is_one_clear_error_and_leaves_nothing(root, monkeypatch, failure):
    def fail(where):
        write(where, names=["data_batch_1"])
        raise failure

    stand_in(monkeypatch, fail)
    with pytest.raises(DataUnavailable, match="could not be downloaded") as error:
        get(root)
    assert "\n" not in str(error.value)
    assert list(root.iterdir()) == []


def test_a_worker_that_was_faster_wins(root, monkeypatch):
    def both(where):
        write(root)  # the other one finishes while this one downloads
        (root / "cifar-10-batches-py" / "data_batch_1").write_text("theirs")
        write(where)

    stand_in(monkeypatch, both)
    assert (get(root) / "data_batch_1").read_text() == "theirs"


def test_a_failed_download_does_not_matter_where_another_worker_has_finished(root, monkeypatch):
    def fail(_where):
        write(root)
        raise urllib.error.URLError("no route to host")

    stand_in(monkeypatch, fail)
    assert get(root) == root / "cifar-10-batches-py"


def test_half_a_data_set_in_the_way_is_not_overwritten(root, monkeypatch):
    write(root, names=["data_batch_1"])
    stand_in(monkeypatch, write)
    with pytest.raises(DataUnavailable, match="could not be downloaded"):
        get(root)
    assert [path.name for path in (root / "cifar-10-batches-py").iterdir()] == ["data_batch_1"]
