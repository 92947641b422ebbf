"""What the settings of a configuration demand of each other: data, model and lengths that fit, sources looked up."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from rigl_core.data import get_dataset
from rigl_core.data.text_file import text_candidates, text_digest
from rigl_core.errors import BadInput
from rigl_core.limits import check_limits
from rigl_core.methods import get_method
from rigl_core.models import MODELS, get_model
from rigl_core.source import is_source

if TYPE_CHECKING:
    from rigl_core.config import TrainConfig

SMALLEST_AUGMENTED: Mapping[str, int] = MappingProxyType({"crop_flip": 5})
"""Pixels that images must have on either side for an augmentation: to reflect four there must be a fifth."""

_PINS = {"masks": "masks_sha256", "distribution": "layer_sparsity"}
"""What holds the content of a source, by the setting that names it."""


def check_what_is_trained(config: "TrainConfig") -> None:
    """Refuse what could not be trained, as far as that is known before data are read.

    Raises:
        BadInput: what does not fit, in one line.
    """
    _check_data(config)
    _check_image_size(config)
    _check_sources(config)
    check_limits(config)
    _check_length(config)


def _check_data(config: "TrainConfig") -> None:
    """The model reads what is in the data set, and a text is named by path and content."""
    dataset, model = get_dataset(config.dataset), get_model(config.model)
    if model.reads != dataset.kind:
        fitting = ", ".join(name for name, row in MODELS.items() if row.reads == dataset.kind)
        raise BadInput(
            f'model "{config.model}" reads {model.reads}, and data set "{config.dataset}" holds {dataset.kind}; '
            f"models for {dataset.kind}: {fitting}."
        )
    if dataset.kind == "text" and config.augmentation != "none":
        raise BadInput(f'augmentation is "{config.augmentation}", which changes images; set it to "none" for text.')
    if not dataset.reads_file:
        if config.text_file is not None or config.text_sha256 is not None:
            raise BadInput(f'text_file and text_sha256 belong to data set "text", not to "{config.dataset}".')
        return
    if config.text_file is None:
        raise BadInput(f'data set "{config.dataset}" is a file of yours; name it with text_file.')
    if config.text_sha256 is None:
        found = text_candidates(config.text_file)
        example = f'text_sha256 = "{text_digest(found[0])}" for {found[0]}' if found else "what `sha256sum` prints"
        raise BadInput(f"text_file needs text_sha256 beside it, which pins what is in the file: {example}.")


def _check_image_size(config: "TrainConfig") -> None:
    """The images are large enough for the network and the augmentation; their size is known without reading them."""
    dataset, model = get_dataset(config.dataset), get_model(config.model)
    if dataset.kind != "images":
        return
    _, height, width = dataset.shape(config.dataset_options)
    for what, least in (
        (f'model "{config.model}"', model.smallest_image),
        (f'augmentation "{config.augmentation}"', SMALLEST_AUGMENTED.get(config.augmentation, 1)),
    ):
        if min(height, width) < least:
            raise BadInput(
                f'images of data set "{config.dataset}" are {height}×{width}; {what} needs at least {least}×{least}.'
            )


def _check_length(config: "TrainConfig") -> None:
    """Where they are known beforehand, there are enough steps, and as many images as asked for."""
    if config.n_steps is not None:
        config.topology_schedule(config.n_steps)
    dataset, model = get_dataset(config.dataset), get_model(config.model)
    n_train = dataset.n_items(config.dataset_options)
    if n_train is None:
        return
    if config.train_size is not None and config.train_size > n_train:
        raise BadInput(f'train_size is {config.train_size}; data set "{config.dataset}" has {n_train:,} to train on.')
    _, height, width = dataset.shape(config.dataset_options)
    is_one_pixel = 1 < model.smallest_image == max(height, width)
    if is_one_pixel and (config.batch_size == 1 or (config.train_size or n_train) % config.batch_size == 1):
        raise BadInput(
            f"batch_size is {config.batch_size}, which leaves one image to the last batch, and model "
            f'"{config.model}" makes one pixel of {height}×{width} images: nothing is left to normalise over. '
            "Change batch_size or train_size by one."
        )


def _check_sources(config: "TrainConfig") -> None:
    """What is taken from another run has been looked up, and the method can begin with it."""
    method = get_method(config.method)
    for key, label, content in (
        ("masks", config.masks, config.masks_sha256),
        ("distribution", config.distribution if is_source(config.distribution) else None, config.layer_sparsity),
    ):
        if label is None and content is not None:
            raise BadInput(f"{key} names no run, so there is nothing to pin: remove {_PINS[key]}.")
        if label is not None and content is None:
            raise BadInput(
                f'{key} "{label}" is resolved when a campaign is created: write it below [fixed] of a study file and '
                "use `rigl-study create` or `run`."
            )
        if label is not None and (not method.sparse or method.ramp):
            why = "starts dense" if method.ramp else "has no masks"
            raise BadInput(f'{key} is "{label}", but method "{config.method}" {why}; choose another method.')
    if config.masks is not None and config.masks != config.distribution:
        raise BadInput(f"masks are {config.masks}, and distribution {config.distribution}; they come from one run.")
