"""The samplers and pruners a user can name. Importing this module does not import Optuna; building one does."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from rigl_core.errors import BadInput
from rigl_core.limits import LIMITS

if TYPE_CHECKING:
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler

    from studies.pruning import Rule

_MOST: Mapping[str, int] = MappingProxyType({"min_early_stopping_rate": 20})
"""Of options that are exponents: reduction_factor to this power is more epochs than a training may have. Others count
epochs or trials."""


@dataclass(frozen=True)
class SamplerRow:
    """A way to choose the searched parameters of an empty ticket.

    Attributes:
        summary: one line for people.
        build: seed to sampler.
    """

    summary: str
    build: Callable[[int], BaseSampler]


@dataclass(frozen=True)
class PrunerRow:
    """A rule that stops hopeless trials early.

    Attributes:
        summary: one line for people.
        build: (options, epochs of a full training) to Optuna's pruner, which the rule is compared with.
        rule: (options, epochs of a full training, name of the study) to what decides, as that pruner does.
        options: what a user may set, with the defaults.
    """

    summary: str
    build: Callable[[Mapping[str, float], int], BasePruner]
    rule: Callable[[Mapping[str, float], int, str], Rule]
    options: Mapping[str, float] = field(default_factory=dict)

    def check(self, name: str, options: Mapping[str, float]) -> None:
        """Refuse options this pruner, of that name, does not take.

        Raises:
            BadInput: an unknown option or a negative or fractional value of a count.
        """
        for key, value in options.items():
            if key not in self.options:
                allowed = ", ".join(self.options) or "none"
                raise BadInput(f'pruner "{name}" takes no option "{key}" ({value}); it takes: {allowed}.')
            if not (math.isfinite(value) and value >= 0 and value == int(value)):
                raise BadInput(f'pruner "{name}": option {key} is {value}; it must be a whole number, at least 0.')
            if value > (most := _MOST.get(key, LIMITS["epochs"].most)):
                raise BadInput(f'pruner "{name}": option {key} is {value:g}; it may be at most {most:,}.')
            if key in ("min_resource", "n_min_trials", "interval_steps") and value < 1:
                raise BadInput(f'pruner "{name}": option {key} is {value}; it must be at least 1.')
            if key == "reduction_factor" and value < 2:
                raise BadInput(f'pruner "{name}": option {key} is {value}; it must be at least 2.')

    def settings(self, options: Mapping[str, float]) -> dict[str, int]:
        """The defaults with the user's options on top."""
        return {key: int(value) for key, value in {**self.options, **options}.items()}


def _tpe(seed: int) -> BaseSampler:
    from optuna.samplers import TPESampler

    # constant_liar: other workers' running trials count as bad, so that two workers do not propose the same point.
    return TPESampler(seed=seed, constant_liar=True, n_startup_trials=5)


def _random(seed: int) -> BaseSampler:
    from optuna.samplers import RandomSampler

    return RandomSampler(seed=seed)


def _none(_options: Mapping[str, float], _epochs: int) -> BasePruner:
    from optuna.pruners import NopPruner

    return NopPruner()


def _never(_options: Mapping[str, float], _epochs: int, _study: str) -> Rule:
    from studies.pruning import never

    return never


def _median(options: Mapping[str, float], _epochs: int) -> BasePruner:
    from optuna.pruners import MedianPruner

    arguments: dict[str, Any] = PRUNERS["median"].settings(options)
    return MedianPruner(**arguments)


def _below_median(options: Mapping[str, float], _epochs: int, _study: str) -> Rule:
    from studies.pruning import BelowMedian

    return BelowMedian(**PRUNERS["median"].settings(options))


def _asha(options: Mapping[str, float], _epochs: int) -> BasePruner:
    from optuna.pruners import SuccessiveHalvingPruner

    arguments: dict[str, Any] = PRUNERS["asha"].settings(options)
    return SuccessiveHalvingPruner(**arguments)


def _halving(options: Mapping[str, float], _epochs: int, _study: str) -> Rule:
    from studies.pruning import Halving

    arguments: dict[str, Any] = PRUNERS["asha"].settings(options)
    return Halving(**arguments)


def _hyperband(options: Mapping[str, float], epochs: int) -> BasePruner:
    from optuna.pruners import HyperbandPruner

    arguments: dict[str, Any] = PRUNERS["hyperband"].settings(options)
    # Stated rather than "auto", which would need one finished trial in each new worker before it could prune.
    return HyperbandPruner(max_resource=max(epochs, arguments["min_resource"]), **arguments)


def _several_halvings(options: Mapping[str, float], epochs: int, study: str) -> Rule:
    from studies.pruning import Hyperband

    arguments = PRUNERS["hyperband"].settings(options)
    return Hyperband(study=study, max_resource=max(epochs, arguments["min_resource"]), **arguments)


SAMPLERS: Mapping[str, SamplerRow] = MappingProxyType(
    {
        # A grid's points are all enqueued when the study is created; nothing is left to sample.
        "grid": SamplerRow("every combination of the listed values, once", _random),
        "random": SamplerRow("independent draws from the search box", _random),
        "tpe": SamplerRow("tree-structured Parzen estimator: draws where earlier trials were good", _tpe),
    }
)

PRUNERS: Mapping[str, PrunerRow] = MappingProxyType(
    {
        "none": PrunerRow("every trial runs to its end", _none, _never),
        "median": PrunerRow(
            "stops a trial whose best so far is below the median of the others at that epoch",
            _median,
            _below_median,
            {"n_startup_trials": 4, "n_warmup_steps": 1, "interval_steps": 1, "n_min_trials": 2},
        ),
        "asha": PrunerRow(
            "asynchronous successive halving: the best 1/reduction_factor go on at each rung",
            _asha,
            _halving,
            {"min_resource": 1, "reduction_factor": 3, "min_early_stopping_rate": 0},
        ),
        "hyperband": PrunerRow(
            "several successive halvings, from hasty to patient",
            _hyperband,
            _several_halvings,
            {"min_resource": 1, "reduction_factor": 3},
        ),
    }
)
