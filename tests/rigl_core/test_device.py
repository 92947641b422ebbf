"""Steps on a device that has no numbers: nothing can be read back there, so that nothing here makes a host wait."""

from typing import Any

import pytest
import torch
import torch._dynamo  # now: it looks at the class that is replaced here

from rigl_core.data.task import load_task
from rigl_core.plan import Plan
from rigl_core.replica import Replica
from tests.rigl_core.test_recording import BATCHES, N_STEPS, PERCEPTRON, advance, config_of

TEXT = {
    "model": "char_gru",
    "model_options": {"width": 0.05},
    "dataset": "synthetic_text",
    "dataset_options": {"sequence_length": 8},
    "augmentation": "none",
    "train_size": 36,
}


@pytest.fixture(autouse=True)
def _streams_of_random_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The device `meta` has none of its own, and takes those of the CPU."""

    class Generator(torch.Generator):
        def __new__(cls, device: Any = "cpu") -> Any:
            return super().__new__(cls, "cpu")

    monkeypatch.setattr(torch, "Generator", Generator)


def replica_of(**changes: Any) -> Replica:
    config = config_of(**changes)
    data = load_task(config)
    data = (data if config.train_size is None else data.first(config.train_size)).to("meta")
    return Replica(config, data, 3, N_STEPS, Plan(device="meta", channels_last=True))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"method": "set"},
        {"method": "static"},
        {"method": "dense"},
        {"augmentation": "resized_crop_flip"},
        {"grow_accumulation": 2},
        {"alpha": 0.0},
        {"optimizer": "adam", "clip_norm": 0.1, **PERCEPTRON},
        TEXT,
    ],
    ids=str,
)
def test_nothing_is_read_back_while_training(changes: dict[str, Any]) -> None:
    """Weight steps and topology steps, whole batches and short ones."""
    replica = replica_of(**changes)
    advance(replica, 0, 2 * BATCHES)
    assert all(parameter.grad.is_meta for parameter in replica.model.parameters() if parameter.grad is not None)


@pytest.mark.parametrize("changes", [{"method": "snfs"}, {"method": "pruning", "ramp_start": 2}], ids=str)
def test_weight_steps_of_other_methods_read_nothing_back(changes: dict[str, Any]) -> None:
    """Their topology steps read counts once, as they must."""
    replica = replica_of(**changes)
    advance(replica, 0, 3)
    with pytest.raises(NotImplementedError, match="meta"):
        advance(replica, 3, 2 * BATCHES)
