"""Options and arguments that several commands share. Names a user can type come from the registries themselves."""

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from rigl_core.data import DATASETS
from rigl_core.execution import PRECISIONS, Execution
from rigl_core.paths import folder_variable, user_file, user_folder, user_path
from studies.commands.app import choose_log_format
from studies.errors import BadInput
from studies.log_format import FORMATS

MAX_WORKERS = 1024


def one_of(
    registry: Iterable[str],
    *declarations: str,
    help: str,
    show_default: str | bool = True,
    callback: Callable[[str], str] | None = None,
) -> Any:
    """An option that takes a key of `registry`: shown in the help and completed by the shell.

    The value itself is checked where every other way to give it is (files, `--set`), with the nearest name as a hint.
    """
    names = list(registry)
    return typer.Option(
        *declarations,
        metavar="|".join(names),
        help=help,
        show_default=show_default,
        autocompletion=lambda: names,
        callback=callback,
    )


def _parsed_by(read: Callable[[str], Path]) -> Callable[[str], Path]:
    def parse(text: str) -> Path:
        try:
            return read(text)
        except BadInput as error:
            raise typer.BadParameter(str(error)) from None  # Typer names the option

    return parse


PATHS = a_path, a_folder, a_file = _parsed_by(user_path), _parsed_by(user_folder), _parsed_by(user_file)
"""Parsers of options and arguments that are paths; every one has one of them."""


def _device(text: str) -> str:
    """Refuse what can be no device at once; whether this machine has it is known once torch is loaded."""
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d{1,3})?", text):
        raise BadInput(f'device "{text}" is unknown; use auto, cpu, cuda, cuda:N or mps.')
    return text


def _precision(text: str) -> str:
    """Refuse another word at once, with the nearest one."""
    return Execution(precision=text).precision


def checkpoint_folder(chosen: Path | None) -> Path:
    """Where checkpoints are: `--checkpoints`, else `RIGL_STUDY_CHECKPOINTS`, else in the embedded Postgres's home."""
    from studies.database.embedded_files import default_home

    return (chosen or folder_variable("RIGL_STUDY_CHECKPOINTS") or default_home() / "checkpoints").absolute()


def artifact_folder(chosen: Path | None) -> Path:
    """Where artifacts are: `--artifacts`, else `RIGL_STUDY_ARTIFACTS`, else in the embedded Postgres's home."""
    from studies.database.embedded_files import default_home

    return (chosen or folder_variable("RIGL_STUDY_ARTIFACTS") or default_home() / "artifacts").absolute()


def chosen_campaigns(names: list[str] | None, option: list[str] | None) -> list[str]:
    """The campaigns to work on, named in either way, each once; empty for all."""
    return list(dict.fromkeys([*(names or ()), *(option or ())]))


def _workers(text: str) -> str:
    """Refuse what is no number of workers; what "auto" comes to is known once torch is loaded."""
    if text != "auto" and not (re.fullmatch(r"[0-9]{1,4}", text) and 1 <= int(text) <= MAX_WORKERS):
        raise BadInput(f'--workers is "{text}"; give a number from 1 to {MAX_WORKERS}, or auto for one worker a GPU.')
    return text


def complete_entry(incomplete: str) -> list[str]:
    """The names of the catalogue that begin so, for the shell."""
    from studies.catalogue import catalogue_names

    return [name for name in catalogue_names() if name.startswith(incomplete)]


Spec = Annotated[
    str, typer.Argument(metavar="SPEC", help="A TOML file or a catalogue name.", autocompletion=complete_entry)
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Change a value of SPEC, for example strategy.n_trials=5; repeatable."
    ),
]
NewName = Annotated[
    str | None, typer.Option("--name", metavar="NAME", help="Name the campaign so instead of as in SPEC.")
]
CampaignName = Annotated[str, typer.Argument(metavar="NAME", help="The campaign.")]
CampaignNames = Annotated[
    list[str] | None, typer.Argument(metavar="NAME", help="Work on these campaigns only. Default: all.")
]
CampaignOption = Annotated[
    list[str] | None, typer.Option("--campaign", metavar="NAME", help="The same as NAME, for scripts; repeatable.")
]
Trial = Annotated[str, typer.Argument(metavar="TRIAL", help="The trial as STUDY/NUMBER, for example rigl-s0.98-erk/3.")]
Storage = Annotated[
    str | None,
    typer.Option(
        "--storage",
        metavar="URL",
        help="Where results are stored: postgresql://... or sqlite:///FILE. Default: RIGL_STUDY_STORAGE, else the "
        "embedded Postgres.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]
Workers = Annotated[
    str,
    typer.Option(
        "--workers",
        metavar="N|auto",
        callback=_workers,
        help="Processes, which share this machine's cores; auto is one for each GPU, and one where there is none.",
    ),
]
Device = Annotated[
    str,
    typer.Option(
        "--device", metavar="DEVICE", callback=_device, help="auto, cpu, cuda, cuda:N or mps; auto takes a GPU if any."
    ),
]
Precision = Annotated[
    str,
    one_of(
        PRECISIONS, "--precision", callback=_precision, help="Of activations; auto is bfloat16 where the device has it."
    ),
]
Deterministic = Annotated[
    bool,
    typer.Option(
        "--deterministic", help="Only PyTorch's own deterministic operations: slower; on a GPU the way to equal runs."
    ),
]
Compiled = Annotated[
    bool,
    typer.Option(
        "--compile",
        help="Compile the network first, a minute or so once per worker and network; quicker steps then. For GPUs.",
    ),
]
LogFormat = Annotated[
    str,
    one_of(FORMATS, "--log-format", callback=choose_log_format, help="How messages and the workers' log are written."),
]
Verbose = Annotated[
    bool, typer.Option("--verbose", help="Log the beginning of each trial and every epoch, not some epochs only.")
]
DataDir = Annotated[
    Path | None,
    typer.Option(
        "--data-dir",
        parser=a_folder,
        metavar="DIR",
        help="Look for data sets here first, and download to here. Also: RIGL_STUDY_DATA.",
    ),
]
Checkpoints = Annotated[
    Path | None,
    typer.Option(
        "--checkpoints",
        parser=a_folder,
        metavar="DIR",
        help="Where trials are checkpointed; share it so that any worker can resume. Also: RIGL_STUDY_CHECKPOINTS.",
    ),
]
Artifacts = Annotated[
    Path | None,
    typer.Option(
        "--artifacts",
        parser=a_folder,
        metavar="DIR",
        help="Files that Optuna's dashboard shows of a study; share it with `dashboard`. Also: RIGL_STUDY_ARTIFACTS.",
    ),
]
Out = Annotated[
    Path | None, typer.Option("--out", parser=a_folder, metavar="DIR", help="Where to write. Default: reports/NAME.")
]
FallbackDataset = Annotated[
    str | None,
    one_of(DATASETS, "--fallback-dataset", help="Train on this instead where SPEC's data set cannot be had."),
]
