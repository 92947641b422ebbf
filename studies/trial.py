"""One trial: what a worker needs to train it, and what it tells when it is done. Data, stored as JSON."""

import math

from pydantic import BaseModel, ConfigDict, Field

from rigl_core.config import TrainConfig


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TrialSpec(_Frozen):
    """One trial, all that a worker needs to train it."""

    campaign: str
    study: str
    number: int
    config: TrainConfig


class TrialResult(_Frozen):
    """What a complete trial tells. Accuracies are fractions, one a seed; FLOPs are multiples of the dense network's."""

    seeds: tuple[int, ...]
    val_accuracy: tuple[float, ...]
    test_accuracy: tuple[float, ...]
    loss: tuple[float, ...]
    bits_per_character: tuple[float, ...] = ()
    "On the validation part, of text only; `test_bits_per_character` likewise."
    test_bits_per_character: tuple[float, ...] = ()
    explored: tuple[float, ...] = ()
    "R_s after each epoch: fraction of the maskable weights active at least once so far, the mean over the seeds."
    inference_flops_by_epoch: tuple[float, ...] = ()
    "f_S after each epoch, the mean over the seeds: it moves where weights move between layers."
    inference_flops: float
    train_flops: float
    dense_flops: float
    "Forward FLOPs of one sample through the dense network."
    n_parameters: int
    n_active: int
    "Active maskable weights at the end."
    realised_sparsity: float
    layer_sparsity: dict[str, float] = Field(default_factory=dict)
    "At the end, by layer, the mean over the seeds; `initial_layer_sparsity` that before the first step."
    initial_layer_sparsity: dict[str, float] = Field(default_factory=dict)
    epochs: int
    seconds: float
    epochs_recomputed: int = 0
    environment: dict[str, str] = Field(default_factory=dict)
    "Versions, device and host of the worker."

    @property
    def value(self) -> float:
        """The objective: mean validation accuracy of the last epoch."""
        return math.fsum(self.val_accuracy) / len(self.val_accuracy)
