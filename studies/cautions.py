"""What is possible as it is written, and hardly meant: said when a campaign is created, in a line each."""

from collections.abc import Iterator
from math import floor

from rigl_core.config import TrainConfig
from studies.search_space import Params, corners
from studies.spec import StudySpec

_LENGTH = ("method", "delta_t", "epochs", "train_multiplier", "train_size", "batch_size", "dataset", "t_end_fraction")
"""Searched settings that decide how long a training is, and how much of it is needed."""


def cautions(spec: StudySpec) -> list[str]:
    """Everything to be said of a specification before hours are spent on it; of each kind what comes first."""
    first: dict[str, str] = {}
    for config in _configs(spec):
        for kind, said in cautions_of(config).items():
            first.setdefault(kind, said)
    return list(first.values())


def cautions_of(config: TrainConfig) -> dict[str, str]:
    """The same of one training, by kind."""
    found = {}
    if config.masks_stand_still and config.n_steps is not None:
        n_first = floor(config.t_end_fraction * config.n_steps)
        found["masks"] = (
            f"at delta_t = {config.delta_t} the masks of {config.method} never change: "
            f"of {config.n_steps:,} steps they may in the first {n_first:,}; lower delta_t or train longer"
        )
    if config.n_steps is not None and config.n_warmup_steps > config.n_steps:
        found["warm-up"] = (
            f"the warm-up of {config.method} takes {config.n_warmup_steps:,} steps, and the training has "
            f"{config.n_steps:,}: it never reaches its lr; set warmup_steps or train longer"
        )
    return found


def _configs(spec: StudySpec) -> Iterator[TrainConfig]:
    """Trainings of all lengths that may be drawn."""
    plan = spec.without_source().plans()[0]  # neither sparsity nor distribution matters here
    reference: Params = dict(spec.strategy.reference or {})
    varied = {key: axis for key, axis in spec.search.items() if key in (*_LENGTH, "warmup_steps")}
    others = {key: reference.get(key, axis.corners()[0]) for key, axis in spec.search.items() if key not in varied}
    return (plan.config({**others, **corner}) for corner in corners(varied))
