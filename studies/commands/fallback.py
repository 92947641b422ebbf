"""Another data set for a study whose own cannot be had. Only ever on request, and never without a word."""

from collections.abc import Callable
from pathlib import Path

from rigl_core.config import TrainConfig
from rigl_core.data import find, get_dataset
from studies.commands.training import require_training
from studies.errors import BadInput, DataUnavailable
from studies.spec import StudySpec


def with_available_dataset(
    spec: StudySpec, fallback: str, data_dir: Path | None, tell: Callable[[str], None]
) -> StudySpec:
    """The study itself if its data set is on this machine or can be downloaded, else the same one on `fallback`.

    Args:
        spec: the study.
        fallback: name of the data set to use instead.
        data_dir: where to look first and to download to.
        tell: gets one line when the fallback is taken.

    Raises:
        UnknownName: there is no data set `fallback`.
        BadInput: the study has no single data set, or does not work with the fallback.
    """
    get_dataset(fallback)
    if "dataset" in spec.search:
        raise BadInput(f"the study searches over data sets, so none can stand in; leave out the fallback ({fallback}).")
    wanted = _config(spec).dataset
    if wanted == fallback or find.status(wanted, data_dir) is not None:
        return spec
    require_training(f"downloading {wanted}")
    try:
        find.fetch(wanted, data_dir)  # loads torch, but only where there is something to download
    except DataUnavailable:
        changed = _on(spec, fallback)
        tell(
            f"{wanted} is neither on this machine nor to be had (`rigl-study data fetch {wanted}` says why); "
            f"this study uses {fallback} instead, for {_config(changed).epochs} epochs"
        )
        return changed
    return spec


def _on(spec: StudySpec, dataset: str) -> StudySpec:
    """The study on another data set, for as many steps, so that delta_t keeps its meaning."""
    # Sizes and options were chosen for the other data set, and may be impossible with this one.
    fixed = {key: value for key, value in spec.fixed.items() if key not in ("train_size", "dataset_options")}
    config = _config(spec)
    n_before = config.train_size or get_dataset(config.dataset).n_items(config.dataset_options)
    n_after = get_dataset(dataset).n_items({})
    if n_before and n_after and "epochs" not in spec.search:
        fixed["epochs"] = max(1, round(config.epochs * n_before / n_after))
    changed = spec.model_dump(mode="json") | {"fixed": {**fixed, "dataset": dataset}}
    return StudySpec.model_validate(changed)


def _config(spec: StudySpec) -> TrainConfig:
    """What is trained; a run it begins from, which is not looked up yet, does not matter here."""
    return spec.without_source().plans()[0].base_config
