"""What no machine can train, refused before anything is stored: by steps, seeds and memory, from the settings alone.

Every number here is at least what the training would need, so nothing that could run is refused for it. Importing this
module does not import torch, and to check allocates nothing.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from rigl_core.data import get_dataset
from rigl_core.errors import BadInput
from rigl_core.methods import get_method
from rigl_core.models import get_model
from rigl_core.models.sizes import Size

if TYPE_CHECKING:
    from rigl_core.config import TrainConfig

MAX_WHOLE = 2**53
"""Of settings that are whole numbers: the database stores numbers as floats, which count exactly up to here."""


@dataclass(frozen=True)
class Limit:
    """The most that one trial may need of something.

    Attributes:
        most: the most that is allowed.
        unit: what is counted.
        why: the reason, for people.
    """

    most: int
    unit: str
    why: str


LIMITS: Mapping[str, Limit] = MappingProxyType(
    {
        "epochs": Limit(10**6, "epochs", "the database stores a result of each"),
        "steps": Limit(10**9, "steps", "a thousand of them a second are 11 days, ten are 3 years"),
        "seeds": Limit(1_000, "seeds", "each is a network of its own, and all of a trial are trained together"),
        "batch_size": Limit(10**9, "items in a batch", "no data set has so many to train on"),
        "memory": Limit(1024, "GiB of memory", "one process trains a trial"),
    }
)

_BYTES_A_PARAMETER = 12
"""The weight, its gradient and its momentum, in single precision."""
_BYTES_AN_OUTPUT = 2
"""In bfloat16, which takes the least."""
_BYTES_A_MADE_PIXEL = 16
"""`rigl_core.data.synthetic` adds a pattern and noise in double precision."""
_BYTES_A_MADE_CHARACTER = 8


def check_limits(config: "TrainConfig") -> None:
    """Refuse a training that no machine could finish or hold.

    Raises:
        BadInput: it needs more than LIMITS allow; the message says how much, what is allowed, and what to change.
    """
    n_epochs = max(1.0, _float(config.epochs) * config.train_multiplier)
    longer = f" × train_multiplier = {config.train_multiplier:g}" if config.train_multiplier != 1.0 else ""
    epochs = f"epochs = {_number(config.epochs)}{longer}"
    n_items = _n_items(config)
    _check_memory(config, n_items)
    if n_items is not None:
        n_steps = math.ceil(n_items / min(_float(config.batch_size), n_items)) * n_epochs
        _refuse_above(
            "steps", n_steps, f"{epochs}, batch_size = {_number(config.batch_size)}", "lower epochs or raise batch_size"
        )
    _refuse_above("epochs", n_epochs, epochs, "lower epochs or train_multiplier")
    _refuse_above("seeds", len(config.seeds), f"{config.seeds[0]} to {config.seeds[-1]}", "give fewer")
    _refuse_above("batch_size", config.batch_size, f"batch_size = {_number(config.batch_size)}", "lower it")


def _check_memory(config: "TrainConfig", n_items: float | None) -> None:
    dataset, options = get_dataset(config.dataset), config.dataset_options
    shape, size = _shape(config), _size(config)
    item = _product(shape)
    batch = 1.0 if n_items is None else min(_float(config.batch_size), n_items)
    n_made = max(_float(dataset.n_items(options) or 0), options.get("n_eval", 0)) if "n_train" in dataset.takes else 0.0
    networks = f"{len(config.seeds)} network{'s' if len(config.seeds) > 1 else ''} of"
    parts = {
        f"{networks} {_number(size.n_parameters)} parameters": (
            len(config.seeds) * size.n_parameters * _BYTES_A_PARAMETER,
            "lower the width or depth in model_options, or the size of an item in dataset_options",
        ),
        f"the layers' outputs for {_number(batch)} item{'s' if batch > 1 else ''} of {_number(item)} numbers": (
            batch * (item + size.n_outputs) * _BYTES_AN_OUTPUT,
            "lower batch_size, or the size of an item in dataset_options",
        ),
        f'the data set "{config.dataset}"': (
            n_made * item * _BYTES_A_MADE_PIXEL + options.get("n_characters", 0) * _BYTES_A_MADE_CHARACTER,
            "lower its dataset_options",
        ),
    }
    total = sum(n_bytes for n_bytes, _ in parts.values())
    largest = max(parts, key=lambda part: parts[part][0])
    _refuse_above("memory", total / 2**30, f"most of it for {largest}", parts[largest][1])


def _refuse_above(name: str, needed: float, because: str, what_to_do: str) -> None:
    limit = LIMITS[name]
    if needed > limit.most:
        raise BadInput(
            f"a trial would need at least {_number(needed)} {limit.unit} ({because}); at most {limit.most:,} are "
            f"allowed, as {limit.why}: {what_to_do}."
        )


def _n_items(config: "TrainConfig") -> float | None:
    """How many items an epoch has; None where that is not known before the data are read."""
    n_items = get_dataset(config.dataset).n_items(config.dataset_options)
    if n_items is None:
        return None if config.train_size is None else float(config.train_size)
    return min(_float(n_items), _float(config.train_size or n_items))


def _shape(config: "TrainConfig") -> tuple[int, ...]:
    """(C, H, W) of an image, (L,) of a sequence of text."""
    dataset = get_dataset(config.dataset)
    if dataset.kind == "images":
        return dataset.shape(config.dataset_options)
    return (int(config.dataset_options.get("sequence_length", 1)),)


def _size(config: "TrainConfig") -> Size:
    dataset, model = get_dataset(config.dataset), get_model(config.model)
    if model.size is None:
        return Size(0.0, 0.0)
    n_classes = dataset.n_classes(config.dataset_options) if dataset.kind == "images" else 2  # a text's are not known
    scale = math.sqrt(1.0 - config.sparsity) if get_method(config.method).narrow else 1.0
    return model.size(_shape(config), n_classes, {**model.options, **config.model_options}, scale)


def _product(shape: tuple[int, ...]) -> float:
    return math.prod(map(_float, shape))


def _float(number: float) -> float:
    """The number as a float; infinite where none is so large."""
    try:
        return float(number)
    except OverflowError:
        return math.inf


def _number(number: float) -> str:
    """Short, for people: 1,297 or 3.5e+25."""
    if number <= 10**9:
        return f"{number:,.0f}"
    return f"{_float(number):.3g}" if _float(number) < math.inf else "more than 1e+308"
