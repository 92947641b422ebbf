"""Trials that are known already as a study of Optuna, for its importance evaluators."""

import copy
from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState


class KnownStudy(optuna.Study):
    """A study of known trials: to add them to a storage, which copies each, takes as long as to look at them."""

    def __init__(self, trials: Sequence[FrozenTrial]) -> None:
        self._trials = list(trials)
        storage = optuna.storages.InMemoryStorage()
        with quiet():
            storage.create_new_study([StudyDirection.MAXIMIZE], "known")
        super().__init__("known", storage)

    def get_trials(self, deepcopy: bool = True, states: Container[TrialState] | None = None) -> list[FrozenTrial]:
        """As of any study."""
        trials = [trial for trial in self._trials if states is None or trial.state in states]
        return copy.deepcopy(trials) if deepcopy else trials


def known_trial(
    number: int, value: float, params: dict[str, Any], distributions: dict[str, BaseDistribution]
) -> FrozenTrial:
    """A complete trial, of which nothing but its parameters and its value is known."""
    return FrozenTrial(
        number=number,
        trial_id=number,
        state=TrialState.COMPLETE,
        value=value,
        params=params,
        distributions=distributions,
        datetime_start=None,
        datetime_complete=None,
        user_attrs={},
        system_attrs={},
        intermediate_values={},
    )


@contextmanager
def quiet() -> Iterator[None]:
    """Without Optuna's line about each study."""
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(verbosity)
