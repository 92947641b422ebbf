"""What is possible as it is written, and hardly meant: said when a campaign is created, in a line each."""

from collections.abc import Iterator
from math import floor

from rigl_core.config import TrainConfig
from studies.search_space import Params, corners
from studies.spec import StudySpec

_LENGTH = ("method", "delta_t", "epochs", "train_multiplier", "train_size", "batch_size", "dataset", "t_end_fraction")
"""Searched settings that decide how often masks move."""


def cautions(spec: StudySpec) -> list[str]:
    """Everything to be said of a specification before hours are spent on it."""
    still = next(_standing_still(spec), None)
    return [] if still is None else [in_words(still)]


def in_words(config: TrainConfig) -> str:
    """That the masks of a training never change, and why."""
    steps = config.n_steps or 0
    return (
        f"at delta_t = {config.delta_t} the masks of {config.method} never change: of {steps:,} steps they may in the "
        f"first {floor(config.t_end_fraction * steps):,}; lower delta_t or train longer"
    )


def _standing_still(spec: StudySpec) -> Iterator[TrainConfig]:
    plan = spec.without_source().plans()[0]  # neither sparsity nor distribution matters here
    reference: Params = dict(spec.strategy.reference or {})
    others = {key: reference.get(key, axis.corners()[0]) for key, axis in spec.search.items() if key not in _LENGTH}
    for corner in corners({key: axis for key, axis in spec.search.items() if key in _LENGTH}):
        config = plan.config({**others, **corner})
        if config.masks_stand_still:
            yield config
