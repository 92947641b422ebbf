"""Settings that belong together, as data: the training recipes of the reproduction report, as coded by its authors.

A run that names a recipe takes its settings from here; what the run sets itself wins.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from rigl_core.errors import UnknownName

_REPORT: Mapping[str, Any] = MappingProxyType(
    {
        "epochs": 250,
        "batch_size": 128,
        "optimizer": "sgd",
        "lr": 0.1,
        "momentum": 0.9,
        "nesterov": True,
        "lr_drop_factor": 0.2,
        "alpha": 0.3,
        "delta_t": 100,
        "t_end_fraction": 0.75,
    }
)

RECIPES: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        # Sundar & Dwaraknath 2021, §4: WRN-22-2 on CIFAR-10.
        "cifar10": MappingProxyType(
            {
                **_REPORT,
                "model": "wrn_22_2",
                "dataset": "cifar10",
                "weight_decay": 5e-4,
                "lr_drop_every": 30_000,
                "augmentation": "crop_flip",
            }
        ),
        # Sundar & Dwaraknath 2021, §4: ResNet-50 on CIFAR-100. Its authors crop and resize here, they do not pad.
        "cifar100": MappingProxyType(
            {
                **_REPORT,
                "model": "resnet50",
                "dataset": "cifar100",
                "weight_decay": 1e-4,
                "lr_drop_every": 20_000,
                "warmup_steps": 1760,
                "label_smoothing": 0.1,
                "augmentation": "resized_crop_flip",
            }
        ),
    }
)


def with_recipe(settings: Mapping[str, Any]) -> dict[str, Any]:
    """`settings` with those of the recipe they name (if any) filled in where they say nothing.

    Raises:
        UnknownName: no such recipe.
    """
    name = settings.get("recipe")
    if name is None:
        return dict(settings)
    if name not in RECIPES:
        raise UnknownName("recipe", str(name), RECIPES)
    return {**RECIPES[name], **settings}
