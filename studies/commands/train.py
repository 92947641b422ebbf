"""`rigl-study train`: one training run, without a database. Workers, and torch, are imported when it begins."""

import logging
import os
import statistics
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rigl_core.data import DATASETS
from rigl_core.distributions import DISTRIBUTIONS
from rigl_core.execution import Execution
from rigl_core.methods import METHODS
from rigl_core.models import MODELS
from rigl_core.recipes import RECIPES
from studies.commands.app import INTERRUPTED, print_json, say
from studies.commands.options import Compiled, DataDir, Deterministic, Device, Json, Precision, a_file, one_of
from studies.commands.training import require_training
from studies.errors import BadInput

if TYPE_CHECKING:
    from rich.console import Console

    from rigl_core.config import TrainConfig
    from workers.single import EpochReport, TrainOutcome

Report = Callable[["EpochReport"], None]
Step = Callable[[int, int], None]


DEFAULTS: dict[str, Any] = {
    "method": "rigl",
    "model": "lenet_300_100",
    "dataset": "fashion_mnist",
    "sparsity": 0.9,
    "distribution": "erk",
    "lr": 0.1,
    "alpha": 0.3,
    "delta_t": 100,
    "epochs": 5,
}
"""What the help says; of `TrainConfig` itself, but for the epochs, of which its 250 are no quick look.

The options' own defaults are None, so that a recipe is only overridden by what the user says.
"""


def _option(flag: str, about: str) -> Any:
    default = DEFAULTS[flag.removeprefix("--").replace("-", "_")]
    return typer.Option(flag, help=about, show_default=str(default))


def _name(flag: str, registry: Mapping[str, object], about: str) -> Any:
    return one_of(registry, flag, help=about, show_default=DEFAULTS[flag.removeprefix("--")])


def train(
    recipe: Annotated[
        str | None, one_of(RECIPES, "--recipe", help="Settings of the reproduction report; other options win.")
    ] = None,
    method: Annotated[str | None, _name("--method", METHODS, "How the masks move.")] = None,
    model: Annotated[str | None, _name("--model", MODELS, "The network.")] = None,
    dataset: Annotated[str | None, _name("--dataset", DATASETS, "The images or the text.")] = None,
    sparsity: Annotated[float | None, _option("--sparsity", "Fraction of weights masked out, in [0, 1).")] = None,
    distribution: Annotated[
        str | None, _name("--distribution", DISTRIBUTIONS, "How sparsity is spread over the layers.")
    ] = None,
    lr: Annotated[float | None, _option("--lr", "Learning rate.")] = None,
    alpha: Annotated[float | None, _option("--alpha", "Fraction of active weights dropped at first.")] = None,
    delta_t: Annotated[int | None, _option("--delta-t", "Steps between two topology updates.")] = None,
    epochs: Annotated[int | None, _option("--epochs", "Passes over the data.")] = None,
    seeds: Annotated[
        str | None,
        typer.Option("--seeds", metavar="N,N,...", help="One network for each, trained in lockstep.", show_default="0"),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Any other setting, for example batch_size=64; repeatable."),
    ] = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            "--checkpoint",
            parser=a_file,
            metavar="FILE",
            help="Keep the run in FILE, and go on from it if it is there.",
        ),
    ] = None,
    device: Device = "auto",
    precision: Precision = "auto",
    deterministic: Deterministic = False,
    compiled: Compiled = False,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Train one configuration on this machine and print its accuracies and costs. Nothing is stored.

    Ctrl-C finishes the current step, writes the checkpoint if there is one, and exits with 130; the same command then
    goes on from there.

    What begins from another run (from:STUDY#TRIAL) needs the storage that run is in: write it below [fixed] of a study
    file and `rigl-study run` that.
    """
    given: dict[str, Any] = {
        "recipe": recipe,
        "method": method,
        "model": model,
        "dataset": dataset,
        "sparsity": sparsity,
        "distribution": distribution,
        "lr": lr,
        "alpha": alpha,
        "delta_t": delta_t,
        "epochs": epochs,
        "seeds": None if seeds is None else _seeds(seeds),
    }
    said = {key: value for key, value in given.items() if value is not None}
    usual = {"seeds": (0,)} if recipe else {"seeds": (0,), "epochs": DEFAULTS["epochs"]}
    from studies.cautions import cautions_of

    require_training("training")
    config = _config({**usual, **said}, settings or (), said)
    for caution in cautions_of(config).values():
        say(caution, logging.WARNING)
    from workers.devices import FEWER_THREADS

    for name in FEWER_THREADS:  # read when torch is loaded
        os.environ.pop(name, None)
    from workers.single import train_once

    with _progress(config) as (on_epoch, on_step):
        outcome, stopped = train_once(
            config,
            on_epoch=on_epoch,
            on_step=on_step,
            device=device,
            data_dir=data_dir,
            checkpoint=checkpoint,
            execution=Execution(precision=precision, deterministic=deterministic, compiled=compiled),
        )
    if stopped and outcome.status == "stopped":
        kept = f"the same command goes on from {checkpoint}" if checkpoint else "nothing was kept (no --checkpoint)"
        say(f"stopped by {stopped} after {outcome.epochs} of {config.n_epochs} epochs; {kept}")
        raise typer.Exit(INTERRUPTED)
    if as_json:
        print_json({"config": config.model_dump(mode="json"), **asdict(outcome)})
    else:
        _print_outcome(outcome)


def _config(values: dict[str, Any], settings: Sequence[str], flags: Collection[str]) -> "TrainConfig":
    """The configuration of `values`, changed by the `settings` of --set; `flags` are those that have said their own."""
    from pydantic import ValidationError

    from rigl_core.config import TrainConfig
    from studies.complaints import one_line
    from studies.errors import UnknownName
    from studies.spec_file import apply_override

    for setting in settings:
        if (key := setting.partition("=")[0].strip()) in flags:
            raise BadInput(f'--set "{setting}": --{key.replace("_", "-")} says it too; leave one of them out.')
        apply_override(values, setting)
    if unknown := sorted(set(values) - set(TrainConfig.model_fields)):
        raise UnknownName("setting", unknown[0], sorted(TrainConfig.model_fields))
    try:
        return TrainConfig.model_validate(values)
    except ValidationError as error:
        raise BadInput(one_line(error)) from None
    except OverflowError as error:
        raise BadInput(f"a number is too large ({error}).") from None


def _seeds(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise BadInput(f'seeds are "{text}"; give whole numbers with commas between them, for example 0,1,2.') from None


@contextmanager
def _progress(config: "TrainConfig") -> Iterator[tuple[Report, Step]]:
    """What shows how training goes: a bar on a terminal, a line an epoch everywhere else."""
    if not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        resumed = 0

        def on_epoch(report: "EpochReport") -> None:
            nonlocal resumed
            if report.replayed:
                resumed = report.epoch + 1
            else:
                say(_in_words(report))

        def tell_once(*_: int) -> None:
            nonlocal resumed
            if resumed == config.n_epochs:
                say(f"all epochs ({resumed}) are in the checkpoint")
            elif resumed:
                say(f"resumed at epoch {resumed + 1}/{config.n_epochs}")
            resumed = 0

        yield on_epoch, tell_once
        tell_once()  # where all epochs had been trained
        return
    from rich.console import Console

    with live_bar(Console(stderr=True), config.n_epochs) as shown:
        yield shown


@contextmanager
def live_bar(console: "Console", n_epochs: int) -> Iterator[tuple[Report, Step]]:
    """A bar, and below it the figures of the last epoch: a terminal of 80 columns has room for both, one by one."""
    from rich.console import Group
    from rich.live import Live
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
    from rich.text import Text

    columns = (TextColumn("{task.description}"), BarColumn(None), TaskProgressColumn(), TimeRemainingColumn())
    progress, figures = Progress(*columns, console=console, expand=True), Text()
    task = progress.add_task(f"epoch 0/{n_epochs}", total=None)

    def on_epoch(report: "EpochReport") -> None:
        progress.update(task, description=_epoch(report))
        figures.plain = _figures(report)

    def on_step(done: int, total: int) -> None:
        progress.update(task, completed=done, total=total)

    with Live(Group(progress, figures), console=console):
        console.show_cursor(True)  # a second Ctrl-C kills this process, which could not bring it back
        yield on_epoch, on_step


def _in_words(report: "EpochReport") -> str:
    return f"{_epoch(report)}  {_figures(report)}"


def _epoch(report: "EpochReport") -> str:
    return f"epoch {report.epoch + 1}/{report.n_epochs}"


def _figures(report: "EpochReport") -> str:
    loss = statistics.fmean(report.loss)
    accuracy = 100 * report.mean_val_accuracy
    bits = f"  bits/char {statistics.fmean(report.bits_per_character):.4f}" if report.bits_per_character else ""
    costs = (
        f"sparsity {statistics.fmean(report.sparsity):.4f}  explored {statistics.fmean(report.explored):.3f}  "
        f"FLOPs {statistics.fmean(report.inference_flops):.3g}×"
    )
    return f"loss {loss:.4f}  validation {accuracy:.2f} %{bits}  {costs}"


def _print_outcome(outcome: "TrainOutcome") -> None:
    rows = {
        "validation accuracy": _percent(outcome.val_accuracy),
        "test accuracy": _percent(outcome.test_accuracy),
        "bits per character": _bits(outcome.bits_per_character),
        "test bits per char.": _bits(outcome.test_bits_per_character),
        "loss": ", ".join(f"{value:.4f}" for value in outcome.loss),
        "sparsity": f"{outcome.realised_sparsity:.4f} ({outcome.n_active:,} active weights)",
        "parameters": f"{outcome.n_parameters:,}",
        "explored": f"{statistics.fmean(outcome.history[-1].explored):.3f} of all maskable weights",
        "inference FLOPs": f"{outcome.inference_flops:.3g}× dense",
        "training FLOPs": f"{outcome.train_flops:.3g}× dense",
        "seconds": f"{outcome.seconds:.1f}",
    }
    for key, value in rows.items():
        if value:
            print(f"{key:<20} {value}")


def _bits(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.4f}" for value in values)


def _percent(values: Sequence[float]) -> str:
    each = ", ".join(f"{100 * value:.2f}" for value in values)
    return f"{each} %" if len(values) == 1 else f"{100 * statistics.fmean(values):.2f} % (by seed: {each})"
