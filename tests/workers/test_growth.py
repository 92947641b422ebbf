"""A worker that has done many trials is as large as one that has done a few."""

from pathlib import Path

import pytest

from benchmarks.growth import MEBIBYTES_MAY_GROW, TRIALS, Growth, watch
from studies.database.storage_url import StorageUrl


@pytest.mark.slow
def test_200_trials_leave_nothing_behind_in_a_worker(postgres_url: StorageUrl, tmp_path: Path) -> None:
    samples = watch(postgres_url, tmp_path)
    assert samples[-1].trials >= TRIALS - 1
    assert len(samples) > TRIALS / 2
    growth = Growth.of(samples)
    assert growth.mebibytes <= MEBIBYTES_MAY_GROW
    assert growth.descriptors == 0
