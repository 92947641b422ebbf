import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from rigl_core.data import DATASETS, find
from rigl_core.errors import BadInput, DataUnavailable, UnknownName
from rigl_core.torchvision_compat import import_torchvision_datasets


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """An empty machine: no variable, an empty cache, no system package. Gives the four folders of the search."""
    folders = {name: tmp_path / name for name in ("given", "variable", "system", "cache")}
    monkeypatch.delenv(find.ENVIRONMENT_VARIABLE, raising=False)
    monkeypatch.setattr(find, "cache_dir", lambda: folders["cache"])
    fashion = replace(find.FILES["fashion_mnist"], system_folder=folders["system"])
    monkeypatch.setattr(find, "FILES", {**find.FILES, "fashion_mnist": fashion})
    return folders


def put(name, folder, suffix=""):
    folder.mkdir(parents=True)
    for file_name in find.FILES[name].names:
        (folder / f"{file_name}{suffix}").touch()


def test_looks_without_loading_torch():
    program = "import rigl_core.data.find as f, sys; f.status('fashion_mnist'); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True, timeout=60)


def test_the_order_of_the_search(machine, monkeypatch):
    monkeypatch.setenv(find.ENVIRONMENT_VARIABLE, str(machine["variable"]))
    assert find.locate("fashion_mnist", machine["given"]) is None
    for folder, origin in (
        (machine["cache"] / "FashionMNIST/raw", "download cache"),
        (machine["system"], "system package"),
        (machine["variable"], find.ENVIRONMENT_VARIABLE),
        (machine["given"], "--data-dir"),
    ):
        put("fashion_mnist", folder)  # from the last place to the first: each new one wins
        assert find.locate("fashion_mnist", machine["given"]) == find.Location(folder, origin)


@pytest.mark.parametrize("folder", [".", "FashionMNIST/raw", "fashion-mnist"])
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_fashion_mnist_lies_in_the_folder_or_where_torchvision_puts_it(machine, folder, suffix):
    put("fashion_mnist", machine["given"] / folder, suffix)
    location = find.locate("fashion_mnist", machine["given"])
    assert location is not None
    assert location.folder == machine["given"] / folder


def test_a_folder_that_lacks_a_file_is_passed_over(machine):
    put("fashion_mnist", machine["given"])
    put("fashion_mnist", machine["cache"] / "FashionMNIST/raw")
    (machine["given"] / find.FILES["fashion_mnist"].names[2]).unlink()
    location = find.locate("fashion_mnist", machine["given"])
    assert location is not None
    assert location.origin == "download cache"


def test_an_empty_variable_is_refused(machine, monkeypatch):
    monkeypatch.setenv(find.ENVIRONMENT_VARIABLE, "")
    with pytest.raises(BadInput, match="RIGL_STUDY_DATA is set and empty"):
        find.download_dir(None)


@pytest.mark.parametrize("named", ["variable", "option"])
def test_a_tilde_is_the_home_folder(named, machine, monkeypatch):
    monkeypatch.setenv("HOME", str(machine["given"]))
    if named == "variable":
        monkeypatch.setenv(find.ENVIRONMENT_VARIABLE, "~/data")
    assert find.download_dir(Path("~/data") if named == "option" else None) == machine["given"] / "data"


@pytest.mark.parametrize("folder", [".", "in it"])
@pytest.mark.parametrize(
    ("name", "missing"),
    [("cifar10", "batches.meta"), ("cifar100", "test"), ("fashion_mnist", "t10k-labels-idx1-ubyte")],
)
def test_the_file_that_is_missing_is_named_with_the_folder_of_the_others(name, missing, folder, machine):
    folder = machine["given"] / (find.FILES[name].folders[0] if folder == "in it" else ".")
    put(name, folder)
    (folder / missing).unlink()
    message = str(find.unavailable(name, machine["given"]))
    assert f"is not whole on this machine: {missing} not in {folder}, where {find.FILES[name].names[0]} and" in message
    assert "\n" not in message


def test_a_single_file_of_a_data_set_is_told_as_that(machine):
    machine["given"].mkdir()
    (machine["given"] / "meta").touch()
    told = f"train, test not in {machine['given']}, where meta of its files are"
    assert told in str(find.unavailable("cifar100", machine["given"]))


@pytest.mark.parametrize(
    ("name", "archive"), [("cifar10", "cifar-10-python.tar.gz"), ("cifar100", "cifar-100-python.tgz")]
)
def test_an_archive_that_nobody_unpacked_is_told(name, archive, machine):
    machine["given"].mkdir()
    (machine["given"] / archive).touch()
    path = machine["given"] / archive
    told = f"{path} is there and not unpacked (tar -xf {path} -C {machine['given']})"
    assert told in str(find.unavailable(name, machine["given"]))


def test_a_download_goes_to_the_first_folder_of_the_search(machine, monkeypatch):
    monkeypatch.setenv(find.ENVIRONMENT_VARIABLE, str(machine["variable"]))
    assert find.download_dir(machine["given"]) == machine["given"]
    assert find.download_dir(None) == machine["variable"]


def test_status_in_words(machine):
    assert find.status("cifar10", machine["given"]) is None
    put("cifar10", machine["given"] / "cifar-10-batches-py")
    assert find.status("cifar10", machine["given"]) == f"{machine['given'] / 'cifar-10-batches-py'} (--data-dir)"
    assert find.status("text") == "a file of yours, named with text_file"
    assert find.status("digits") == find.status("synthetic") == "built in"
    with pytest.raises(UnknownName, match='Did you mean "cifar10"'):
        find.status("cifar11")


def test_the_error_says_where_it_looked_and_what_to_do(machine, monkeypatch):
    monkeypatch.setenv(find.ENVIRONMENT_VARIABLE, str(machine["variable"]))
    message = str(find.unavailable("fashion_mnist", machine["given"], "no network"))
    assert "\n" not in message
    for part in (
        *map(str, machine.values()), "--data-dir", find.ENVIRONMENT_VARIABLE, "apt-get install dataset-fashion-mnist",
        "no network", "rigl-study data fetch fashion_mnist",
    ):  # fmt: skip
        assert part in message
    assert "apt-get" not in str(find.unavailable("cifar10", None))


def test_fetch_reads_a_data_set_once_and_says_where_it_is(machine):
    assert find.fetch("digits") == "built in"
    put("fashion_mnist", machine["given"])
    with pytest.raises(DataUnavailable, match=r"train-images-idx3-ubyte.*cut short"):  # empty files
        find.fetch("fashion_mnist", machine["given"])
    with pytest.raises(UnknownName):
        find.fetch("mnist")
    with pytest.raises(BadInput, match="a run names it with text_file"):
        find.fetch("text")


def test_the_file_names_are_torchvisions():
    datasets = import_torchvision_datasets()
    assert set(find.FILES) <= set(DATASETS)
    for name, dataset_class in (("cifar10", datasets.CIFAR10), ("cifar100", datasets.CIFAR100)):
        tables = (*dataset_class.train_list, *dataset_class.test_list)
        assert find.FILES[name].names == (*(file for file, _ in tables), dataset_class.meta["filename"])
        assert find.FILES[name].folders[0] == dataset_class.base_folder
        assert dataset_class.filename.startswith(f"{find.FILES[name].archive}.t")
    names = tuple(file.removesuffix(".gz") for file, _ in datasets.FashionMNIST.resources)
    assert find.FILES["fashion_mnist"].names == names
