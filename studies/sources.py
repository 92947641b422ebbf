"""What a campaign takes from a complete trial (`from:STUDY#TRIAL`), looked up once, when it is created.

`distribution` takes the layer-wise sparsities which that trial ended with and draws fresh masks (the report's
re-init); `masks` takes its final masks, seed by seed, and its initial weights, which are a function of the seed (the
lottery ticket). What is found is written into [fixed] as plain values, so that a worker needs nothing but the storage,
and for masks the checkpoint folder, whatever becomes of the source.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optuna.storages import BaseStorage
from optuna.trial import TrialState

from rigl_core.config import TrainConfig
from rigl_core.data import get_dataset
from rigl_core.methods import get_method
from rigl_core.source import Source, masks_file_of
from studies.campaigns import open_campaign
from studies.errors import BadInput, NotFound, SpecError
from studies.search_space import corners
from studies.source_settings import PINS, unresolved
from studies.spec import StudySpec
from studies.tickets import TicketQueue

SPARSITY_TOLERANCE = 0.005
"""How far a `sparsity` that the user gives may be from the one the source realised."""

_STATES: Mapping[TrialState, str] = {
    TrialState.WAITING: "still waiting",
    TrialState.RUNNING: "still running",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
}


@dataclass(frozen=True)
class _Run:
    """A complete trial: how it was trained, what it told (`TrialResult`), and its masks below the checkpoint folder."""

    config: TrainConfig
    told: Mapping[str, Any]
    masks_file: str


def resolve_sources(storage: BaseStorage, spec: StudySpec, checkpoint_dir: Path) -> StudySpec:
    """The specification with what it takes from another run filled in; itself if it takes nothing.

    A campaign that is stored already is not in need of its source any more: where that is gone, what was found then
    counts, so that the command which created the campaign still goes on with it.

    Layer-wise sparsities are means over the source's seeds. They give exactly its counts of active weights if those
    are the same for all seeds; with redistribution they may differ, and a layer gets their mean, rounded to a weight.

    Arguments:
        storage: what `open_storage` returned, with the source in it.
        spec: the campaign, not yet stored.
        checkpoint_dir: below which workers keep the masks of complete trials.

    Raises:
        NotFound: no such study or trial is stored, nor this campaign.
        SpecError: the source is not complete, does not fit the campaign, or its masks are not there.
        SpecVersionError: the source is stored in another format.
        StorageError: the database is away for too long.
    """
    if by_hand := [pin for pin in PINS if pin in spec.fixed]:
        raise SpecError(f"fixed.{by_hand[0]}: it is looked up in the source when a campaign is created; remove it.")
    if spec.pending is None:
        return spec
    key, source = spec.pending
    try:
        run = _look_up(storage, source)
        found = _found(run, spec.fixed.get("sparsity"))
        found["distribution"] = str(source)
        if key == "masks":
            _check_seeds(run, spec.strategy.seeds)
            found |= {"masks": str(source), "masks_sha256": _digest(checkpoint_dir / run.masks_file)}
        resolved = StudySpec.model_validate(spec.model_dump(mode="json") | {"fixed": {**spec.fixed, **found}})
        for corner in corners(resolved.search):
            _check_fits(run.config, resolved.plans()[0].config(corner))
    except NotFound as error:
        if (stored := _as_stored(storage, spec)) is not None:
            return stored
        raise NotFound(f"fixed.{key}: {error}") from None
    except BadInput as error:
        raise SpecError(f'fixed.{key} = "{source}": {error}') from None
    return resolved


def _as_stored(storage: BaseStorage, spec: StudySpec) -> StudySpec | None:
    """The campaign as it is stored, if it was created from this very specification."""
    assert spec.pending is not None
    key, source = spec.pending
    try:
        stored = open_campaign(storage, spec.name).spec
    except NotFound:
        return None
    asked = {**spec.fixed, key: str(source)}
    kept = {name: value for name, value in unresolved(stored.fixed).items() if name != "sparsity" or name in asked}
    return stored if kept == asked and stored.model_copy(update={"fixed": spec.fixed}) == spec else None


def _look_up(storage: BaseStorage, source: Source) -> _Run:
    queue = TicketQueue.open(storage, source.study)
    try:
        trial = storage.get_trial(storage.get_trial_id_from_study_id_trial_number(queue.study_id, source.trial))
    except KeyError:
        raise NotFound(f"{source.study} has no trial {source.trial}; `rigl-study show` tells about each.") from None
    queue.control()  # raises if the study was replaced meanwhile, so that the trial may be another's
    if trial.state != TrialState.COMPLETE:
        raise BadInput(f"trial {source.trial} is {_STATES[trial.state]}; name one that is complete.")
    config = queue.plan.config(trial.params)
    if not get_method(config.method).sparse:
        raise BadInput(f'it was trained with method "{config.method}", which has no masks; name another run.')
    if not trial.user_attrs.get("layer_sparsity"):
        raise BadInput("the sparsities of its layers were not recorded; name another run.")
    return _Run(config, trial.user_attrs, f"{queue.folder}/{masks_file_of(source.trial)}")


def _found(run: _Run, asked: Any) -> dict[str, Any]:
    """The sparsities to train with: of the layers, and the one that names the study."""
    realised = float(run.told["realised_sparsity"])
    if asked is None:
        asked = round(realised, 4)  # short, because it is part of the study's name
    elif not isinstance(asked, int | float) or abs(asked - realised) > SPARSITY_TOLERANCE:
        raise BadInput(f"sparsity is {asked}, but that run ended with {realised:.4f}; leave fixed.sparsity out.")
    return {"sparsity": asked, "layer_sparsity": dict(run.told["layer_sparsity"])}


def _check_seeds(run: _Run, seeds: tuple[int, ...]) -> None:
    missing = sorted(set(seeds) - set(run.told["seeds"]))
    if missing:
        raise BadInput(
            f"it has no masks of seed {missing[0]}; set strategy.seeds to some of its own: {list(run.told['seeds'])}."
        )


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise BadInput(
            f"its masks are not at {path} ({error.strerror or error}); name the checkpoint folder of the workers that "
            "trained it with --checkpoints."
        ) from None


def _check_fits(source: TrainConfig, own: TrainConfig) -> None:
    """The two networks have the same layers: the same model with the same options, told the same of the data."""
    theirs, ours = _network(source), _network(own)
    for key in (*ours, *theirs):
        if ours.get(key) != theirs.get(key):
            raise BadInput(f"that run has {key} {theirs.get(key, 'unset')}, and this one {ours.get(key, 'unset')}.")


def _network(config: TrainConfig) -> dict[str, Any]:
    """What decides the layers and their initial weights, besides the seed; known without reading the data."""
    model = {"model": config.model} | {f"model_options.{key}": value for key, value in config.model_options.items()}
    dataset = get_dataset(config.dataset)
    if dataset.kind == "text":  # the symbols of a text, one row of the embedding each, are only known from the text
        options = {key: value for key, value in config.dataset_options.items() if key != "sequence_length"}
        return {**model, "dataset": config.dataset, "text_sha256": config.text_sha256, **options}
    channels, height, width = dataset.shape(config.dataset_options)
    n_classes = dataset.n_classes(config.dataset_options)
    return {**model, "channels": channels, "height": height, "width": width, "num_classes": n_classes}
