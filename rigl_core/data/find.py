"""Where the files of a data set are. Importing this module does not import torch.

The order of search, for data sets that come in files:

1. the folder given with `--data-dir`;
2. the folder in the environment variable RIGL_STUDY_DATA;
3. the folder of the operating system's package, where there is one;
4. the download cache (`~/.cache/rigl-study/data` on Linux).

In 1, 2 and 4 the files may lie in the folder itself or where torchvision puts them below it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import platformdirs

from rigl_core.data import get_dataset
from rigl_core.errors import DataUnavailable
from rigl_core.paths import folder_variable, user_path

ENVIRONMENT_VARIABLE = "RIGL_STUDY_DATA"


@dataclass(frozen=True, kw_only=True)
class Files:
    """The files of a data set and the folders they may be in.

    Attributes:
        names: all of them must be there; with `gzipped`, each may be there as NAME or as NAME.gz.
        folders: relative to a folder of the search, in order of preference.
        gzipped: whether the reader takes gzipped files.
        archive: how the name of the archive begins in which they are published, if they are in one.
        system_folder: where the operating system's package puts them.
        system_package: the package's name.
    """

    names: tuple[str, ...]
    folders: tuple[str, ...]
    gzipped: bool = False
    archive: str | None = None
    system_folder: Path | None = None
    system_package: str | None = None

    def are_in(self, folder: Path) -> bool:
        """Whether every file is in `folder`."""
        return not self.missing_in(folder)

    def missing_in(self, folder: Path) -> list[str]:
        """The names of the files that are not in `folder`."""
        return [name for name in self.names if not self.path(folder, name).is_file()]

    def path(self, folder: Path, name: str) -> Path:
        """The path of the file called `name` in `folder`: as it is or, where that is not there, gzipped."""
        plain = folder / name
        return plain.with_name(f"{name}.gz") if self.gzipped and not plain.is_file() else plain


FILES: Mapping[str, Files] = MappingProxyType(
    {
        "fashion_mnist": Files(
            names=(
                "train-images-idx3-ubyte",
                "train-labels-idx1-ubyte",
                "t10k-images-idx3-ubyte",
                "t10k-labels-idx1-ubyte",
            ),
            folders=(".", "FashionMNIST/raw", "fashion-mnist"),
            gzipped=True,
            system_folder=Path("/usr/share/datasets/fashion-mnist"),
            system_package="dataset-fashion-mnist",
        ),
        "cifar10": Files(
            names=(*(f"data_batch_{number}" for number in range(1, 6)), "test_batch", "batches.meta"),
            folders=("cifar-10-batches-py", "."),
            archive="cifar-10-python",
        ),
        "cifar100": Files(
            names=("train", "test", "meta"), folders=("cifar-100-python", "."), archive="cifar-100-python"
        ),
    }
)
"""The data sets that come in files. The others are made by the program and are always there."""


def cache_dir() -> Path:
    """The folder that downloads go to where no other is given."""
    return Path(platformdirs.user_cache_dir("rigl-study", appauthor=False)) / "data"


def search_roots(data_dir: Path | None) -> dict[str, Path]:
    """The folders of the search that the user decides on, by what they are called in messages, in order."""
    roots = {}
    if data_dir is not None:
        roots["--data-dir"] = user_path(data_dir)
    if from_environment := folder_variable(ENVIRONMENT_VARIABLE):
        roots[ENVIRONMENT_VARIABLE] = from_environment
    roots["download cache"] = cache_dir()
    return roots


def download_dir(data_dir: Path | None) -> Path:
    """The folder that a download goes to: `data_dir`, else RIGL_STUDY_DATA, else the download cache."""
    return next(iter(search_roots(data_dir).values()))


def _candidates(files: Files, data_dir: Path | None) -> dict[str, list[Path]]:
    """Folders that may hold the files, in the order of the search, by what they are called in messages."""
    candidates = {}
    for origin, root in search_roots(data_dir).items():
        if origin == "download cache" and files.system_folder is not None:
            candidates["system package"] = [files.system_folder]
        candidates[origin] = [root / folder for folder in files.folders]
    return candidates


@dataclass(frozen=True)
class Location:
    """Where a data set was found: the folder of its files, and which step of the search found it."""

    folder: Path
    origin: str


def locate(name: str, data_dir: Path | None = None) -> Location | None:
    """The first folder of the search that holds all files of the data set `name` (a key of FILES), or None."""
    files = FILES[name]
    for origin, folders in _candidates(files, data_dir).items():
        for folder in folders:
            if files.are_in(folder):
                return Location(folder, origin)
    return None


def _nearly_there(files: Files, data_dir: Path | None) -> list[str]:
    """What is there of a data set that is not there whole, in words for people."""
    found = []
    for folders in _candidates(files, data_dir).values():
        for folder in folders:
            missing = files.missing_in(folder)
            if len(missing) < len(files.names):
                here = [name for name in files.names if name not in missing]
                more = f" and {len(here) - 1} more" if len(here) > 1 else ""
                found.append(f"{', '.join(missing)} not in {folder}, where {here[0]}{more} of its files are")
    if files.archive is not None:
        for root in search_roots(data_dir).values():
            for archive in sorted(root.glob(f"{files.archive}*.t*")):
                found.append(f"{archive} is there and not unpacked (tar -xf {archive} -C {root})")
    return found


def unavailable(name: str, data_dir: Path | None, reason: str = "") -> DataUnavailable:
    """The error for a data set (a key of FILES) that is nowhere: where the search went, and what the user can do.

    Args:
        name: the data set.
        data_dir: as the search had it.
        reason: why it could not be downloaded, where that was tried.
    """
    files = FILES[name]
    looked = ", ".join(f"{folders[0]} ({origin})" for origin, folders in _candidates(files, data_dir).items())
    package = f"apt-get install {files.system_package} (Debian, Ubuntu), or " if files.system_package else ""
    there = "; ".join(_nearly_there(files, data_dir))
    return DataUnavailable(
        f'data set "{name}" is not {f"whole on this machine: {there}" if there else "on this machine"}; looked for '
        f"{files.names[0]} and its companions in {looked}. "
        f"{f'It could not be downloaded: {reason}. ' if reason else ''}"
        f"To get it: {package}put its files in a folder and name it with --data-dir or {ENVIRONMENT_VARIABLE}, "
        f"or run `rigl-study data fetch {name}` where there is a network."
    )


def status(name: str, data_dir: Path | None = None) -> str | None:
    """Where the data set `name` (a key of DATASETS) is, in words for people, or None when it is not on this machine.

    Looks at the presence of files only; reading them checks them.

    Raises:
        UnknownName: no such data set.
    """
    if get_dataset(name).reads_file:
        return "a file of yours, named with text_file"
    if name not in FILES:
        return "built in"
    location = locate(name, data_dir)
    return None if location is None else f"{location.folder} ({location.origin})"


def fetch(name: str, data_dir: Path | None = None) -> str:
    """Make sure that the data set `name` is on this machine and in order: find or download it, and read it once.

    Loads torch.

    Returns:
        Where it is, as `status` says it.

    Raises:
        UnknownName: no such data set.
        BadInput: it is a file of the user's, which only a run names.
        DataUnavailable: it is nowhere and cannot be downloaded, or its files are damaged.
    """
    get_dataset(name)(data_dir=data_dir, download=True)
    where = status(name, data_dir)
    if where is None:
        raise unavailable(name, data_dir)
    return where
