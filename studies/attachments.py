"""What Optuna's dashboard shows of a report: its verdict as a study's note, its page and figures as artifacts.

A note is Markdown in system attributes of the study. An artifact is a file in a folder that the dashboard serves, and a
system attribute that names it. To attach again replaces what was attached and nothing else: what a user wrote into the
note stays, before and behind our part of it.
"""

import json
import mimetypes
import re
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from uuid import UUID, uuid5

from optuna.artifacts import FileSystemArtifactStore
from optuna.storages import BaseStorage
from optuna.study import load_study

from studies.errors import BadInput, NotInstalled
from studies.reporting.findings import Analysis, PairResult, Verdict
from studies.reporting.result_words import verdict
from studies.reporting.wording import setting
from studies.tables import markdown_text

ARTIFACT_ATTR = "artifacts:"
"""Optuna's prefix for attributes that name artifacts; its own `upload_artifact` adds a new one each time."""

OURS = UUID("0f6a6b5e-6c0b-4a53-8a0e-5d0f4f6b7c11")
"""The identifiers of our artifacts are made of this, the study and the file: the same ones each time."""

FIGURES = ("comparison", "methods", "surface", "layers")
"""Figures that are attached, of those that the report has."""

BEGIN, END = "[//]: # (rigl-study report)", "[//]: # (end of rigl-study report)"
"""Comments, as Markdown has them, around our part of a note. They are not shown."""

_OUR_PART = re.compile(re.escape(BEGIN) + ".*?" + re.escape(END), re.DOTALL)


def attach(storage: BaseStorage, analysis: Analysis, report: Path, artifacts: Path) -> None:
    """Attach a written report to each study of its campaign.

    Args:
        storage: of the campaign.
        analysis: of the trials that the report is about.
        report: its folder.
        artifacts: the folder of artifacts, that `rigl-study dashboard` serves; made if it is not there.

    Raises:
        NotInstalled: Optuna's dashboard is not.
        BadInput: the folder of artifacts cannot be written.
    """
    try:
        from optuna_dashboard import get_note, save_note
    except ImportError:
        raise NotInstalled(
            "--attach is for Optuna's dashboard, which is not installed; run: pip install 'rigl-study[dashboard]' (in "
            "a clone: pip install '.[dashboard]')."
        ) from None
    files = {"report.html": (report / "report.html").read_bytes()}
    files |= {f"{name}.png": path.read_bytes() for name in FIGURES if (path := report / f"figures/{name}.png").exists()}
    answer = json.loads((report / "summary.json").read_text(encoding="utf-8"))["answer"]
    for pair in analysis.pairs:
        study = load_study(study_name=pair.study, storage=storage)
        study_id = storage.get_study_id_from_name(pair.study)
        links = {
            name: f"/artifacts/{study_id}/{put_artifact(storage, pair.study, name, content, artifacts)}"
            for name, content in files.items()
        }
        written = get_note(study)
        wanted = with_our_part(written, note(pair, answer, links))
        if wanted != written:
            save_note(study, wanted)


def put_artifact(storage: BaseStorage, study: str, name: str, content: bytes, artifacts: Path) -> str:
    """Make a file an artifact of a study, in place of the one that had its name; the identifier of the artifact."""
    identifier = str(uuid5(OURS, f"{study}/{name}"))
    try:
        artifacts.mkdir(parents=True, exist_ok=True)
        FileSystemArtifactStore(artifacts).write(identifier, BytesIO(content))
    except OSError as error:
        raise BadInput(f'cannot write artifacts to "{artifacts}": {error.strerror or error}.') from error
    kind, encoding = mimetypes.guess_type(name)
    told = {"artifact_id": identifier, "filename": name, "mimetype": kind, "encoding": encoding}
    study_id = storage.get_study_id_from_name(study)
    storage.set_study_system_attr(study_id, ARTIFACT_ATTR + identifier, json.dumps(told))
    return identifier


def note(pair: PairResult, answer: str, links: Mapping[str, str]) -> str:
    """Our part of a study's note: what its trials allow to say, its best setting, figures and links.

    Where trials differ in what is trained, the campaign's answer is what they tell, and none is a best setting.
    """
    is_tuned = pair.verdict is not Verdict.NOT_TUNED
    lines = [f"**{markdown_text(verdict(pair) if is_tuned else answer)}**"]
    if pair.best is not None:
        best = "Best" if is_tuned else "Highest"
        lines.append(f"{best} on validation: trial {pair.best.number} ({markdown_text(setting(pair.best.params))}).")
    lines.append(f"[The whole report]({links['report.html']})")
    lines += [f"![{name.removesuffix('.png')}]({link})" for name, link in links.items() if name.endswith(".png")]
    return "\n\n".join([BEGIN, *lines, END])


def with_our_part(written: str, ours: str) -> str:
    """A note with `ours` in place of what it had of ours before, or behind all else."""
    if _OUR_PART.search(written):
        return _OUR_PART.sub(lambda _match: ours, written, count=1)
    return f"{written.rstrip()}\n\n{ours}\n" if written.strip() else f"{ours}\n"
