"""The folder of a report: the same bytes each time, what is replaced, what is left alone, what is refused."""

import json
import re
import shutil
from pathlib import Path

import pytest

from studies.analysis import analyse
from studies.errors import BadInput
from studies.report import write_report
from studies.reporting import report_folder
from studies.reporting.report_folder import default_folder
from studies.reporting.result_words import headline
from tests.studies.sample_cases import ALL_FIGURES, CASES, few_with_all_figures


def test_write_report_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    frame, provenance = few_with_all_figures().load()
    first = write_report(frame, provenance, tmp_path / "one" / "deep")
    other = write_report(frame, provenance, tmp_path / "two")

    assert first.headline == headline(analyse(frame, "", search=provenance.spec.search))
    assert _contents(first.folder) == _contents(other.folder)
    assert set(_contents(first.folder)) == {
        *("report.html", "report.md", "trials.csv", "summary.json"),
        *(f"figures/{name}.{kind}" for name in ALL_FIGURES for kind in ("svg", "png")),
    }
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


@pytest.fixture(scope="module")
def _written_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(*CASES["two_complete"]().load(), tmp_path_factory.mktemp("report")).folder


@pytest.fixture
def folder_of_two(_written_once: Path, tmp_path: Path) -> Path:
    """The report of the case "two_complete", in a folder of the test's own."""
    return Path(shutil.copytree(_written_once, tmp_path / "report"))


def test_a_report_replaces_its_predecessor_and_leaves_the_rest_alone(folder_of_two: Path) -> None:
    (folder_of_two / "notes.txt").write_text("mine")
    (folder_of_two / "figures" / "mine.svg").write_text("mine")

    write_report(*CASES["all_waiting"]().load(), folder_of_two)

    assert set(_contents(folder_of_two)) == {
        *("report.html", "report.md", "trials.csv", "summary.json", "notes.txt", "figures/mine.svg"),
    }
    assert "2 waiting" in (folder_of_two / "report.html").read_text()


def test_files_of_others_are_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "trials.csv").write_text("precious")

    with pytest.raises(BadInput, match=r"trials\.csv, which no report put there"):
        write_report(*CASES["all_waiting"]().load(), tmp_path)

    assert _contents(tmp_path) == {"trials.csv": b"precious"}


def test_a_report_joins_other_files_in_a_folder(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")

    for _ in range(2):
        write_report(*CASES["all_waiting"]().load(), tmp_path)

    assert (tmp_path / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("name", ["../precious.txt", "/etc/precious", "figures/../notes.svg", "notes.txt"])
def test_a_doctored_list_of_files_removes_nothing_else(tmp_path: Path, folder_of_two: Path, name: str) -> None:
    folder = folder_of_two
    summary = json.loads((folder / "summary.json").read_text())
    (folder / "summary.json").write_text(json.dumps({**summary, "files": [name, 3]}))
    for precious in (tmp_path / "precious.txt", folder / "notes.txt", folder / "notes.svg"):
        precious.write_text("precious")

    write_report(*CASES["all_waiting"]().load(), folder)

    assert (tmp_path / "precious.txt").exists()
    assert (folder / "notes.txt").exists()
    assert (folder / "notes.svg").exists()


def test_a_crash_while_writing_leaves_the_old_report(folder_of_two: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = _contents(folder_of_two)

    def full_disk(folder: Path, files: dict[str, str]) -> None:
        folder.mkdir(parents=True)
        (folder / "report.html").write_text(files["report.html"][:100])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(report_folder, "_write", full_disk)
    with pytest.raises(BadInput, match="No space left on device"):
        write_report(*CASES["all_waiting"]().load(), folder_of_two)

    assert _contents(folder_of_two) == before


def test_a_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "report").write_text("a file")

    with pytest.raises(BadInput, match="is a file"):
        write_report(*CASES["all_waiting"]().load(), tmp_path / "report")
    with pytest.raises(BadInput, match="cannot write a report"):
        write_report(*CASES["all_waiting"]().load(), tmp_path / "report" / "below")


def _contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_no_two_names_share_a_folder() -> None:
    letters = ["学習率", "模型深度", "x" * 400, "x" * 401, "a\x1bb", "a\x00b"]
    names = [*letters, "svm/rbf", "svm-rbf", "svm rbf", "..", ".", "", "/"]
    folders = [default_folder(name) for name in names]

    assert len(set(folders)) == len(names)
    assert default_folder("svm-rbf") == Path("reports/svm-rbf")
    for folder in folders:
        assert folder.parent == Path("reports")
        assert re.fullmatch(r"[\w+-][\w.+-]{0,99}", folder.name, re.ASCII)


def test_campaigns_that_are_compared_name_the_folder() -> None:
    assert default_folder("a+b") == Path("reports/a+b")
    assert default_folder("+".join(["a" * 70, "b" * 70])) != default_folder("+".join(["a" * 70, "c" * 70]))
