"""Trainings that no machine could finish or hold are refused, in one line, and nothing that could run is."""

import subprocess
import sys
from typing import Any

import pytest

from rigl_core.config import TrainConfig
from rigl_core.errors import BadInput
from rigl_core.limits import LIMITS
from rigl_core.recipes import RECIPES


def synthetic(**options: float) -> dict[str, Any]:
    return {"dataset": "synthetic", "dataset_options": options}


TEXT = {"model": "char_gru", "dataset": "synthetic_text"}
WRN = {"model": "wrn", "dataset": "cifar10"}
ABSURD: dict[str, tuple[dict[str, Any], str]] = {
    "epochs": ({"epochs": 10**23}, "4.3e+25 steps (epochs = 1e+23, batch_size = 128); at most 1,000,000,000 are"),
    "epochs beyond any float": ({"epochs": 10**400}, "more than 1e+308 steps"),
    "epochs of a text of unknown length": (
        {**TEXT, "epochs": 10**7},
        "10,000,000 epochs (epochs = 10,000,000); at most 1,000,000 are allowed",
    ),
    "a multiplier": ({"train_multiplier": 1e300}, "steps (epochs = 250 × train_multiplier = 1e+300, batch_size = 128)"),
    "batch_size": ({"batch_size": 4 * 10**18}, "4e+18 items in a batch (batch_size = 4e+18); at most 1,000,000,000"),
    "batch_size beyond any float": ({"batch_size": 10**400}, "items in a batch"),
    "seeds": ({"seeds": range(10_000)}, "10,000 seeds (0 to 9999); at most 1,000 are allowed"),
    "images": (synthetic(n_train=1e12), '45,776,367 GiB of memory (most of it for the data set "synthetic"); at most'),
    "images to evaluate": (synthetic(n_eval=1e12), 'for the data set "synthetic"'),
    "pixels": (synthetic(height=1e6, width=1e6), "lower its dataset_options"),
    "pixels beyond any float": (synthetic(height=1e300, width=1e300, n_train=1, n_eval=1), "more than 1e+308 GiB"),
    "channels": (synthetic(channels=1e13, n_train=1, n_eval=1), "parameters"),
    "classes": (synthetic(num_classes=1e12), "1 network of 1.01e+14 parameters"),
    "width": ({**WRN, "model_options": {"width": 1e6}}, "1 network of 1.71e+17 parameters"),
    "width beyond any float": ({**WRN, "model_options": {"width": 1e308}}, "more than 1e+308 parameters"),
    "width of ResNet-50": ({"model": "resnet50", "model_options": {"width": 1e4}}, "2.34e+15 parameters"),
    "width of the GRU": ({**TEXT, "model_options": {"width": 1e5}}, "1 network of 1.15e+16 parameters"),
    "depth": ({**WRN, "model_options": {"depth": 6e6 + 4}}, "the layers' outputs for 128 items of 3,072 numbers"),
    "characters": ({**TEXT, "dataset_options": {"n_characters": 1e12}}, 'the data set "synthetic_text"'),
    "sequence_length": ({**TEXT, "dataset_options": {"sequence_length": 1e12}}, "for 1 item of 1e+12 numbers"),
    "many large networks": (
        {"model": "resnet50", "dataset": "cifar100", "model_options": {"width": 10}, "seeds": range(100)},
        "100 networks of 2.35e+09 parameters",
    ),
}


@pytest.mark.parametrize(("settings", "told"), ABSURD.values(), ids=ABSURD)
def test_what_no_machine_can_train_is_refused_with_what_it_would_need(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(BadInput) as caught:
        TrainConfig.model_validate({"dataset": "fashion_mnist", "distribution": "erk", **settings})
    message = str(caught.value)
    assert message.startswith("a trial would need at least ")
    assert told in message
    assert "\n" not in message


REASONABLE: dict[str, dict[str, Any]] = {
    "1,000 epochs of ResNet-50 on a hundred seeds": {
        "model": "resnet50", "dataset": "cifar100", "epochs": 1_000, "seeds": range(100),
    },
    "one image at a time": {**WRN, "batch_size": 1, "epochs": 1_000},
    "all images at once": {"batch_size": 10**6},
    "WRN-28-10": {**WRN, "model_options": {"depth": 28, "width": 10}},
    "a thousand small networks": {"seeds": range(1_000)},
    "ImageNet's images": {"model": "resnet50", **synthetic(height=224, width=224, num_classes=1000, n_train=50_000)},
    "a GRU of 4,096 units": {**TEXT, "model_options": {"width": 8}, "dataset_options": {"n_characters": 5e8}},
}  # fmt: skip


@pytest.mark.parametrize("settings", REASONABLE.values(), ids=REASONABLE)
def test_what_a_machine_can_train_is_not_refused(settings: dict[str, Any]) -> None:
    assert TrainConfig.model_validate({"dataset": "fashion_mnist", **settings})


@pytest.mark.parametrize("recipe", sorted(set(RECIPES) - {"char_gru", "char_gru_pruning"}))  # which need a file
def test_no_recipe_is_refused(recipe: str) -> None:
    assert TrainConfig(recipe=recipe, train_multiplier=100.0)


def test_the_last_value_that_is_allowed_is() -> None:
    most = LIMITS["epochs"].most
    assert TrainConfig.model_validate({**TEXT, "epochs": most}).n_epochs == most
    with pytest.raises(BadInput, match="1,000,001 epochs"):
        TrainConfig.model_validate({**TEXT, "epochs": most + 1})


@pytest.mark.parametrize("setting", ["delta_t", "grow_accumulation", "ramp_start", "warmup_steps", "lr_drop_every"])
def test_counts_that_the_database_could_not_store_exactly_are_refused(setting: str) -> None:
    with pytest.raises(ValueError, match=f"(?s){setting}.*less than or equal to 9007199254740992"):
        TrainConfig.model_validate({setting: 2**53 + 1})


def test_no_memory_is_taken_to_say_so() -> None:
    """In a process that may have 2 GB of addresses, and whose time is counted by the operating system."""
    script = "; ".join(
        (
            "import resource, sys, rigl_core.config as c",
            "assert 'torch' not in sys.modules",
            "resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))",
            "resource.setrlimit(resource.RLIMIT_CPU, (60, 60))",
            "c.TrainConfig(dataset='synthetic', dataset_options={'n_train': 1e12})",
        )
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert "BadInput: a trial would need at least" in done.stderr
