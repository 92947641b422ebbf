"""Reports in Optuna's dashboard: as the dashboard itself serves them, and again without a trace of the last one."""

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.artifacts import FileSystemArtifactStore, get_all_artifact_meta
from optuna.storages import BaseStorage
from optuna.study import load_study
from typer.testing import CliRunner

from studies import report
from studies.analysis import analyse
from studies.attachments import BEGIN, END, attach, note, put_artifact, with_our_part
from studies.cli import app
from studies.commands.report import ReportOptions, write_campaign
from studies.database.storage_url import StorageUrl
from studies.errors import BadInput
from studies.evidence import layers
from studies.report import write_report
from studies.storage import close_storage, open_storage
from tests.studies.sample_campaign import REFERENCE, Told, make_spec, store
from tests.studies.sample_cases import OTHER, done, load

dashboard = pytest.importorskip("optuna_dashboard")

SPEC = make_spec("shown", sparsity=(0.9, 0.98))
TRIALS = [[done(REFERENCE, 0.8, 0.8), done(OTHER, 0.85, 0.85)], [Told(REFERENCE, "waiting")]]
STUDIES = [plan.name for plan in SPEC.plans()]
PICTURES = ["comparison.png", "layers.png"]
"""What there is to see of so few trials, whatever the sections; of more there is a surface too."""


@pytest.fixture(autouse=True)
def _few_sections(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first screen and one section with a figure."""
    monkeypatch.setattr(report, "SECTIONS", (layers.section,))


@pytest.fixture
def stored() -> BaseStorage:
    return store(SPEC, TRIALS)


def answer(application: Any, path: str) -> tuple[str, Mapping[str, str], bytes]:
    """What a WSGI application answers to GET."""
    found: list[Any] = []
    environ = {
        **{"REQUEST_METHOD": "GET", "PATH_INFO": path, "SERVER_NAME": "localhost", "SERVER_PORT": "80"},
        **{"wsgi.url_scheme": "http", "wsgi.input": io.BytesIO(), "wsgi.errors": io.StringIO()},
    }
    body = application(environ, lambda status, headers, *_error: found.extend([status, dict(headers)]))
    try:
        return found[0], found[1], b"".join(body)
    finally:
        if hasattr(body, "close"):
            body.close()


def test_the_dashboard_serves_what_was_attached(stored: BaseStorage, tmp_path: Path) -> None:
    options = ReportOptions(tmp_path / "report", artifacts=tmp_path / "artifacts")
    write_campaign(stored, "shown", options)
    application = dashboard.wsgi(stored, artifact_store=FileSystemArtifactStore(tmp_path / "artifacts"))

    for name in STUDIES:
        study = load_study(study_name=name, storage=stored)
        told = json.loads(answer(application, f"/api/studies/{study._study_id}")[2])
        assert [artifact["filename"] for artifact in told["artifacts"]] == ["report.html", *PICTURES]
        for artifact in told["artifacts"]:
            link = f"/artifacts/{study._study_id}/{artifact['artifact_id']}"
            assert link in told["note"]["body"]
            status, headers, content = answer(application, link)
            assert status == "200 OK"
            assert headers["Content-Type"] == artifact["mimetype"]
            folder = "figures" if artifact["mimetype"] == "image/png" else "."
            assert content == (tmp_path / "report" / folder / artifact["filename"]).read_bytes()
    first, last = (dashboard.get_note(load_study(study_name=name, storage=stored)) for name in STUDIES)
    assert "**Not enough to tell: +5.00 ± 0.00 points on test" in first
    assert "Best on validation: trial 1 (η 0.05, α 0.4, ΔT 250)." in first
    assert "1 waiting" in last


def test_attached_again_nothing_is_there_twice(stored: BaseStorage, tmp_path: Path) -> None:
    options = ReportOptions(tmp_path / "report", artifacts=tmp_path / "artifacts")
    write_campaign(stored, "shown", options)
    study = load_study(study_name=STUDIES[0], storage=stored)
    before = stored.get_study_system_attrs(study._study_id)
    write_campaign(stored, "shown", options)
    assert stored.get_study_system_attrs(study._study_id) == before

    dashboard.save_note(study, f"Mine, before.\n\n{dashboard.get_note(study)}\nMine, behind.")
    frame, provenance = load(SPEC, [[done(REFERENCE, 0.9, 0.9)], []])
    written = write_report(frame, provenance, tmp_path / "report")
    assert written.analysis is not None
    attach(stored, written.analysis, written.folder, tmp_path / "artifacts")
    written_note = dashboard.get_note(study)

    assert written_note.startswith("Mine, before.\n")
    assert written_note.endswith("\nMine, behind.")
    assert written_note.count("only the reference is complete") == 1
    assert "trial 1" not in written_note
    assert len(get_all_artifact_meta(study)) == len(list((tmp_path / "artifacts").iterdir())) / 2
    page = (written.folder / "report.html").read_bytes()
    assert page in [path.read_bytes() for path in (tmp_path / "artifacts").iterdir()]


@given(st.text(), st.text(), st.text(alphabet="ab \\1\n"), st.text(alphabet="ab \\g<0>\n"))
def test_what_the_user_wrote_stays(before: str, behind: str, ours: str, newer: str) -> None:
    first, second = (f"{BEGIN}{text}{END}" for text in (ours, newer))
    assert with_our_part(before + first + behind, second) == before + second + behind
    once = with_our_part(before, first)
    assert once.startswith(before.rstrip())
    assert with_our_part(once, first) == once
    assert with_our_part("", first) == f"{first}\n"


def test_a_folder_that_cannot_be_written(stored: BaseStorage, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match="cannot write artifacts"):
        put_artifact(stored, STUDIES[0], "a.png", b"", tmp_path / "file" / "artifacts")


def test_on_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RIGL_STUDY_ARTIFACTS", str(tmp_path / "shared"))
    url = StorageUrl.parse(f"sqlite:///{tmp_path / 'study.db'}")
    storage = open_storage(url)
    store(SPEC, TRIALS, storage)
    close_storage(storage)
    arguments = ["report", "shown", "--storage", str(url), "--out", str(tmp_path / "report")]

    assert CliRunner().invoke(app, arguments).exit_code == 0
    assert not (tmp_path / "shared").exists()
    assert CliRunner().invoke(app, [*arguments, "--attach"]).exit_code == 0
    n_artifacts = len(STUDIES) * (1 + len(PICTURES))
    assert len(list((tmp_path / "shared").iterdir())) == n_artifacts
    assert CliRunner().invoke(app, [*arguments, "--attach", "--artifacts", str(tmp_path / "own")]).exit_code == 0
    assert len(list((tmp_path / "own").iterdir())) == n_artifacts


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["a", "b", "--attach"], "--attach is for one campaign"),
        (["--from", "trials.csv", "--attach"], "--attach is for one campaign"),
        (["a", "--artifacts", "there"], "add --attach"),
    ],
)
def test_options_that_do_not_go_together(arguments: list[str], told: str) -> None:
    asked = CliRunner().invoke(app, ["report", *arguments])
    assert asked.exit_code == 2
    assert told in asked.stderr


def test_the_note_of_methods_compares_them() -> None:
    spec = make_spec(search={"method": ["static", "rigl"]}, reference={"method": "static"}, sampler="grid")
    trials = [done({"method": "static"}, 0.8, 0.8), done({"method": "rigl"}, 0.83, 0.83)]
    frame, _ = load(spec, [trials])
    ours = note(analyse(frame, spec.name).pairs[0], "rigl is *above* static.", {"report.html": "/page"})

    assert r"**rigl is \*above\* static.**" in ours
    assert "Highest on validation: trial 1 (method RigL)." in ours
