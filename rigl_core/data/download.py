"""Download a data set with torchvision, which knows the addresses and the checksums."""

import http.client
import tempfile
from pathlib import Path

from rigl_core.data.find import Location, download_dir, locate, unavailable
from rigl_core.errors import DataUnavailable
from rigl_core.torchvision_compat import import_torchvision_datasets


def find_or_download(name: str, torchvision_class: str, folder: str, *, data_dir: Path | None, download: bool) -> Path:
    """The folder that holds the files of a data set, downloaded first if need be.

    Args:
        name: key of `rigl_core.data.find.FILES`.
        torchvision_class: class in `torchvision.datasets` that can download it.
        folder: what that class makes in its root.
        data_dir: see `rigl_core.data.find`; the search starts there, and a download goes there.
        download: whether to download what is not found.

    Raises:
        DataUnavailable: not found, and not to be downloaded.
    """
    location = locate(name, data_dir)
    if location is None and download:
        location = _download(name, torchvision_class, folder, data_dir)
    if location is None:
        raise unavailable(name, data_dir)
    return location.folder


def _download(name: str, torchvision_class: str, folder: str, data_dir: Path | None) -> Location | None:
    """Download into a folder aside and rename, so that workers starting together never see half of a data set."""
    root = download_dir(data_dir)
    dataset_class = getattr(import_torchvision_datasets(), torchvision_class)
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".download-", dir=root) as aside:
            dataset_class(aside, download=True)
            if locate(name, data_dir) is None:  # else another worker was faster
                (Path(aside) / folder).rename(root / folder)
    # torchvision raises RuntimeError for a wrong checksum; the network gives OSError or HTTPException.
    except (OSError, RuntimeError, http.client.HTTPException) as error:
        if (location := locate(name, data_dir)) is not None:  # another worker renamed just before
            return location
        raise unavailable(name, data_dir, reason=f"{error or type(error).__name__}") from error
    return locate(name, data_dir)


def damaged(path: Path, what: str) -> DataUnavailable:
    """The error for a file of a data set that is there but cannot be used."""
    return DataUnavailable(f"{path} {what}; delete it and get the data set again, or name another folder.")
