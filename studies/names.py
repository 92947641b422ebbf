"""What settings and their values are called on a page. Files, `--json` and specifications keep the keys.

Parameters of another program's study are called as that program calls them (`as_they_are`).
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType

from rigl_core.data import DATASETS
from rigl_core.distributions import TITLES
from rigl_core.methods import METHODS
from rigl_core.models import MODELS
from studies.search_space import Value

SYMBOLS: Mapping[str, str] = MappingProxyType(
    {"lr": "η", "alpha": "α", "delta_t": "ΔT", "t_end_fraction": "T_end", "train_multiplier": "training length"}
)
"""For tables and settings, "η 0.1, α 0.3, ΔT 100"."""

WORDS: Mapping[str, str] = MappingProxyType(
    {
        "lr": "learning rate η",
        "alpha": "drop fraction α",
        "delta_t": "update interval ΔT",
        "t_end_fraction": "end of updates T_end",
        "train_multiplier": "training length",
        "model": "network",
        "dataset": "data set",
        "warmup_steps": "warm-up steps",
        "anneal": "annealing of α",
    }
)
"""For axes and sentences; every other setting is its key with blanks, "batch size"."""

_IS_OTHERS: ContextVar[bool] = ContextVar("parameters are called as another program calls them", default=False)


@contextmanager
def as_they_are() -> Iterator[None]:
    """Within it, parameters and values are those of another program: nothing is translated."""
    before = _IS_OTHERS.set(True)
    try:
        yield
    finally:
        _IS_OTHERS.reset(before)


def symbol(name: str) -> str:
    """A parameter where there is little room: "η"."""
    return name if _IS_OTHERS.get() else SYMBOLS.get(name) or words(name)


def words(name: str) -> str:
    """A parameter in a sentence or on an axis: "learning rate η"."""
    return name if _IS_OTHERS.get() else WORDS.get(name, name.replace("_", " "))


def title(name: str, value: Value) -> Value:
    """The value of a setting as its authors write it: "RigL" for the method "rigl". Other values stay what they are."""
    if _IS_OTHERS.get() or not isinstance(value, str):
        return value
    return {"method": method, "model": model, "dataset": dataset, "distribution": distribution}.get(name, str)(value)


def method(name: str) -> str:
    """A method, "RigL-SG"; what stands behind the key remains: "RigL 2×" for "rigl 2×"."""
    key, blank, behind = name.partition(" ")
    return f"{METHODS[key].title}{blank}{behind}" if key in METHODS else name


def model(key: str) -> str:
    """A network, "LeNet-300-100"."""
    return MODELS[key].title if key in MODELS else key


def dataset(key: str) -> str:
    """A data set, "Fashion-MNIST"."""
    return DATASETS[key].title if key in DATASETS else key


def distribution(key: str) -> str:
    """A sparsity distribution, "ERK"."""
    return TITLES.get(key, key)
