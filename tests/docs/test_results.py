"""What docs/results.md shows is run as it stands there, on a campaign in SQLite."""

import re
from pathlib import Path
from typing import Any

import pytest

from studies.database.storage_url import StorageUrl
from studies.reporting.trials_csv import trials_csv
from studies.storage import close_storage, open_storage
from tests.studies.sample_campaign import make_spec, realistic, store

PAGE = (Path(__file__).parents[2] / "docs" / "results.md").read_text(encoding="utf-8")
FROM_CSV, FROM_DATABASE, FROM_OPTUNA = re.findall(r"^```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    url = f"sqlite:///{tmp_path_factory.mktemp('results')}/study.db"
    spec = make_spec("my-question", sparsity=(0.9,))
    storage = open_storage(StorageUrl.parse(url))
    store(spec, realistic(spec, n_trials=8), storage)
    close_storage(storage)
    return url


def run(code: str, url: str) -> dict[str, Any]:
    names: dict[str, Any] = {}
    exec(re.sub(r"postgresql(\+psycopg2)?://[^\"]*", url, code), names)
    return names


def test_a_campaign_is_read_from_the_database_and_from_its_table(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = run(FROM_DATABASE, url)["trials"]
    assert list(frame["study"].unique()) == ["my-question/rigl-s0.9-erk"]
    folder = tmp_path / "reports" / "my-question"
    folder.mkdir(parents=True)
    (folder / "trials.csv").write_text(trials_csv(frame), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    found = run(FROM_CSV, url)
    complete = frame[frame["state"] == "complete"]
    best = complete.loc[complete["value"].idxmax()]
    assert found["best"]["number"] == best["number"]
    assert {int(epoch): value for epoch, value in found["curve"].items()} == best["curve"]
    columns = {re.sub(r"_SEED$", "", name) for name in re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE)}
    written = {re.sub(r"_\d+$", "", name) for name in found["trials"].columns} - {"lr", "alpha", "delta_t"}
    assert written == columns - {"bits_per_character", "test_bits_per_character"}  # of text only


def test_optuna_reads_a_study(url: str) -> None:
    names = run(FROM_OPTUNA, url)
    assert sum(names["importance"].values()) == pytest.approx(1.0)
    assert set(names["importance"]) == {"lr", "alpha", "delta_t"}
