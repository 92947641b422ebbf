"""Keys of a study file that stand in the wrong section: the commonest slip of all, as TOML has no other nesting."""

from collections.abc import Collection, Mapping
from typing import Any

from rigl_core.config import TrainConfig
from rigl_core.data import DATASETS
from rigl_core.models import MODELS
from studies.errors import SpecError
from studies.spec import Pairs, Strategy, StudySpec
from studies.strategies import PRUNERS

_SETTINGS = set(TrainConfig.model_fields) - {"seeds"}
_PLACES: Mapping[str, Collection[str]] = {
    "": StudySpec.model_fields,
    "fixed": _SETTINGS | {"seeds"},  # which is refused there by a word of its own
    "pairs": Pairs.model_fields,
    "search": _SETTINGS | {"seeds"},
    "strategy": Strategy.model_fields,
}
"""What may stand where; "" is above the first section."""

_TABLES = ("model_options", "dataset_options", "layer_sparsity")
"""Settings of which one value is a table."""

_OTHER_WORDS: Mapping[str, str] = {
    "learning_rate": "lr",
    "eta": "lr",
    "drop_fraction": "alpha",
    "update_interval": "delta_t",
    "density": "sparsity, which is 1 - density",
    "data": "dataset",
    "arch": "model",
    "network": "model",
    "trials": "n_trials",
}
"""What papers and other programs say."""


def check_sections(document: Mapping[str, Any]) -> None:
    """Refuse a key that its section does not know and another one does. Whatever nobody knows is left to others.

    Raises:
        SpecError: there is one; where it belongs is said.
    """
    for section, known in _PLACES.items():
        table = document if section == "" else document.get(section)
        for key in table if isinstance(table, Mapping) else ():
            if key not in known and (home := _home(key)):
                what = f'key in [{section}] "{key}"' if section else f'key "{key}" outside a section'
                raise SpecError(f"unknown {what}. {home}")


def check_single(document: Mapping[str, Any]) -> None:
    """Refuse several values where [fixed] has one for every run.

    Raises:
        SpecError: there are some; where they belong is said.
    """
    fixed = document.get("fixed")
    for key, value in fixed.items() if isinstance(fixed, Mapping) else ():
        if key in _SETTINGS and key not in _TABLES and isinstance(value, list | Mapping):
            where = "[pairs]" if key in _PLACES["pairs"] else "[search]"
            raise SpecError(
                f"fixed.{key} = {value}: it has one value for every run; write it below {where} to vary it."
            )


def _home(key: str) -> str:
    """Where to write a key; "" if nowhere."""
    if key in _OTHER_WORDS:
        return f"Here it is called {_OTHER_WORDS[key]}."
    if key in _PLACES["pairs"]:
        return f"Write it below [fixed] or [pairs], as fixed.{key} or pairs.{key} with --set."
    if key in _SETTINGS:
        return f"Write it below [fixed], or to vary it below [search]; as fixed.{key} or search.{key} with --set."
    if key in _PLACES["strategy"]:
        return f"Write it below [strategy], as strategy.{key} with --set."
    if key in _PLACES[""]:
        return "Write it above the first section."
    for options, rows in (("model_options", MODELS), ("dataset_options", DATASETS)):
        if any(key in row.takes for row in rows.values()):
            return f"Write it as in {options} = {{ {key} = ... }} below [fixed]."
    of_pruners = [name for name, row in PRUNERS.items() if key in row.options]
    return f'Write it as in pruner = {{ name = "{of_pruners[0]}", {key} = ... }}.' if of_pruners else ""
