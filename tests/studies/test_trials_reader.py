"""trials.csv and summary.json read back: the same report, byte for byte, and one clear line for whatever is wrong."""

import csv
import io
import json
from pathlib import Path

import pandas as pd
import pytest

from studies.errors import BadInput
from studies.report import render_report, write_report
from studies.reporting import trials_reader
from studies.reporting.trials_csv import text_cell, text_of, trials_csv
from studies.reporting.trials_reader import read_report
from tests.studies.sample_campaign import Told, make_spec
from tests.studies.sample_cases import CASES, REFERENCE, done, load


def write(folder: Path, case: str = "unfinished") -> Path:
    """The two files of a report from which it can be made again."""
    frame, provenance = CASES[case]().load()
    folder.mkdir(exist_ok=True)
    (folder / "trials.csv").write_text(trials_csv(frame), newline="")
    told = {"spec": provenance.spec.model_dump(mode="json"), "spec_version": provenance.spec_version}
    (folder / "summary.json").write_text(json.dumps({"generator": "rigl-study report", "provenance": told}))
    return folder / "trials.csv"


@pytest.mark.parametrize("case", CASES)
def test_every_trial_comes_back_as_it_was(case: str, tmp_path: Path) -> None:
    frame, provenance = CASES[case]().load()
    again, found = read_report(write(tmp_path, case))

    pd.testing.assert_frame_equal(again, frame)
    assert found == provenance


@pytest.mark.usefixtures("svg_only")
@pytest.mark.parametrize("case", ["not_a_number", "lottery"])
def test_the_report_is_the_same_bytes_and_a_folder_will_do(case: str, tmp_path: Path) -> None:
    written = write_report(*CASES[case]().load(), tmp_path).folder
    again = render_report(*read_report(written))

    assert {name: (written / name).read_bytes() for name in again} == {
        name: content if isinstance(content, bytes) else content.encode() for name, content in again.items()
    }


def test_rows_may_be_sorted_otherwise_and_columns_of_newer_versions_missing(tmp_path: Path) -> None:
    path = write(tmp_path)
    rows = list(csv.reader(io.StringIO(path.read_text())))
    gone = rows[0].index("worker")
    kept = [row[:gone] + row[gone + 1 :] for row in [rows[0], *reversed(rows[1:])]]
    with path.open("w", newline="", encoding="utf-8-sig") as file:
        csv.writer(file).writerows(kept)
    frame, _ = CASES["unfinished"]().load()

    pd.testing.assert_frame_equal(read_report(path)[0].drop(columns="worker"), frame.drop(columns="worker"))


@pytest.mark.parametrize("text", ["=1+1", "'quoted", "'=x", "", "-0.1", "@me", "plain", "two\nlines", 'a "b", c'])
def test_texts_survive_and_none_of_them_is_a_formula(text: str) -> None:
    cell = text_cell(text)

    assert text_of(cell) == text
    assert not cell.startswith(("=", "+", "-", "@"))


def test_what_was_not_measured_is_not_what_went_wrong(tmp_path: Path) -> None:
    spec = make_spec()
    trials = [done(REFERENCE, 0.8, 0.8), Told(REFERENCE, val=(0.8, 0.8)), Told(REFERENCE, val=(float("nan"), 0.8))]
    frame, _ = load(spec, [trials])
    rows = list(csv.DictReader(io.StringIO(trials_csv(frame))))

    assert [row["test_accuracy_0"] for row in rows] == ["0.798", "", ""]
    assert [row["val_accuracy_0"] for row in rows] == ["0.799", "0.8", "NaN"]


BAD_CELLS = {
    "a formula": ("value", "=1+1", "column \"value\": '=1+1' is no number"),
    "a word": ("seconds", "fast", "is no number"),
    "percent": ("value", "84.6", "is no fraction"),
    "percent of a seed": ("test_accuracy_0", "84.6", "is no fraction"),
    "foreign digits": ("number", "٣", "is no whole number"),
    "a fraction of a trial": ("number", "1.5", "is no whole number"),
    "negative trial": ("number", "-1", "below 0"),
    "many digits": ("number", "9" * 5000, "is no whole number"),
    "no number": ("number", "", "is no whole number"),
    "another study": ("study", "else/rigl", "is none of"),
    "no such state": ("state", "done", "is none of waiting, running"),
    "no truth": ("is_reference", "yes", "neither True nor False"),
    "no date": ("started", "yesterday", "no ISO 8601 time"),
    "a time zone": ("started", "2026-03-01T09:00:00+01:00", "time zone"),
    "far away": ("started", "0001-01-01", "centuries"),
    "outside the box": ("lr", "5.0", "outside the search: 0.01 to 0.3"),
    "off the ladder": ("delta_t", "101", "outside the search"),
    "no count": ("delta_t", "100.0", "is no whole number"),
    "not JSON": ("curve", "{", "is no JSON"),
    "a list for an object": ("curve", "[1]", "no JSON object of numbers by epoch"),
    "a word for an epoch": ("curve", '{"first": 0.5}', "numbers by epoch"),
    "two epochs in one": ("curve", '{"0,1": 0.5}', "numbers by epoch"),
    "an epoch without a name": ("curve", '{"": 0.5}', "numbers by epoch"),
    "an object for a number": ("curve", '{"0": {}}', "no number"),
    "NaN in JSON": ("curve", '{"0": NaN}', "NaN"),
    "deep": ("curve", "[" * 100_000, ""),
    "seeds": ("seeds", "[0, 0]", "different whole numbers"),
    "seeds that are words": ("seeds", '["a"]', "list of numbers"),
    "words by epoch": ("inference_flops_by_epoch", '[0.2, "a"]', "list of numbers"),
    "percent by epoch": ("explored", "[0.2, 40]", "fractions from 0 to 1 only"),
    "no number for a layer": ("initial_layer_sparsity", '{"fc": [1]}', "numbers and texts"),
    "environment": ("environment", '{"torch": ["2"]}', "numbers and texts"),
    "another campaign": ("campaign", "other", "summary.json has sample"),
}


@pytest.mark.parametrize(("column", "cell", "told"), BAD_CELLS.values(), ids=BAD_CELLS)
def test_a_cell_that_cannot_be_is_told_with_its_place(column: str, cell: str, told: str, tmp_path: Path) -> None:
    path = write(tmp_path)
    rows = list(csv.DictReader(io.StringIO(path.read_text())))
    rows[1][column] = cell
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)

    with pytest.raises(BadInput) as refused:
        read_report(path)

    assert f'trials.csv, line 3, column "{column}": ' in str(refused.value)
    assert told in str(refused.value)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 400


BAD_TABLES = {
    "no trials": (lambda text: "", 'the column "study" is missing'),
    "not text": (lambda text: "\x00", "line 1"),
    "unknown column": (lambda text: text.replace("seconds", "secs", 1), 'unknown column "secs"'),
    "column gone": (lambda text: text.replace("lr,", "", 1), 'the column "lr" is missing'),
    "twice": (lambda text: text.replace("seconds", "worker", 1), "a column is there twice"),
    "short row": (lambda text: text + "a,b\n", "has 2 cells"),
    "open quote": (lambda text: text + '"', "is not CSV"),
    "trial twice": (lambda text: text + text.splitlines(keepends=True)[-1], "is there a second time"),
    "a seed too few": (lambda text: text.replace("test_accuracy_1", "test_accuracy_9", 1), "has 1 of the 2 seeds"),
}


@pytest.mark.parametrize(("change", "told"), BAD_TABLES.values(), ids=BAD_TABLES)
def test_a_table_that_is_none_is_refused(change: object, told: str, tmp_path: Path) -> None:
    path = write(tmp_path)
    path.write_text(change(path.read_text()), newline="")  # type: ignore[operator]

    with pytest.raises(BadInput) as refused:
        read_report(path)

    assert told in str(refused.value)
    assert "\n" not in str(refused.value)


SUMMARIES = {
    "gone": (None, "there is no summary.json beside it"),
    "not JSON": ("{", "is not valid JSON"),
    "deep": ("[" * 100_000, "is not valid JSON"),
    "a list": ("[]", "is not the summary.json of a campaign's report"),
    "of others": ('{"generator": "else", "provenance": {"spec": {}}}', "is not the summary.json"),
    "newer": ('{"generator": "rigl-study report", "provenance": {"spec": {}, "spec_version": 99}}', "format 99"),
    "no spec": ('{"generator": "rigl-study report", "provenance": {"spec": 3, "spec_version": 1}}', "provenance.spec"),
    "bad spec": (
        '{"generator": "rigl-study report", "provenance": {"spec": {"name": "../up"}, "spec_version": 1}}',
        "letters, digits",
    ),
}


@pytest.mark.parametrize(("text", "told"), SUMMARIES.values(), ids=SUMMARIES)
def test_a_specification_that_is_none_is_refused(text: str | None, told: str, tmp_path: Path) -> None:
    path = write(tmp_path)
    path.with_name("summary.json").unlink()
    if text is not None:
        path.with_name("summary.json").write_text(text)

    with pytest.raises(BadInput) as refused:
        read_report(path)

    assert told in str(refused.value)
    assert "\n" not in str(refused.value)


def test_what_is_no_table_by_its_size_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path)
    monkeypatch.setattr(trials_reader, "MAX_BYTES", 100)
    with pytest.raises(BadInput, match="larger than 100 bytes"):
        read_report(path)
    monkeypatch.undo()
    monkeypatch.setattr(trials_reader, "MAX_CELL", 20)
    limit = csv.field_size_limit()
    with pytest.raises(BadInput, match="field larger"):
        read_report(path)
    assert csv.field_size_limit() == limit
    with pytest.raises(BadInput, match="no such file"):
        read_report(Path("/dev/zero"))
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(BadInput, match="not UTF-8"):
        read_report(path)
