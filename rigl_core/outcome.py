"""What a training run tells: after each epoch, and at its end. Data; importing this does not import torch."""

import math
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class EpochReport:
    """What is known after an epoch; tuples hold one number a seed.

    Attributes:
        epoch: from 0.
        n_epochs: of the whole training.
        loss: mean training loss of the epoch.
        val_accuracy: fraction in [0, 1]; for text, of the characters predicted.
        bits_per_character: on the validation part of a text; empty for images.
        explored: fraction of maskable weights active at least once so far (R_s, Liu et al. 2021).
        sparsity: masked-out fraction of the maskable weights at the end of the epoch.
        inference_flops: of the network at the end of the epoch, as a multiple of the dense one's.
        seconds: wall time of this epoch.
        replayed: told again after a resume, not trained again.
    """

    epoch: int
    n_epochs: int
    loss: tuple[float, ...]
    val_accuracy: tuple[float, ...]
    seconds: float
    explored: tuple[float, ...] = ()
    sparsity: tuple[float, ...] = ()
    inference_flops: tuple[float, ...] = ()
    replayed: bool = False
    bits_per_character: tuple[float, ...] = ()

    @property
    def mean_val_accuracy(self) -> float:
        """The mean over the seeds."""
        return math.fsum(self.val_accuracy) / len(self.val_accuracy)


@dataclass(frozen=True)
class TrainOutcome:
    """How a run ended. Tuples hold one number a seed; FLOPs are multiples of the dense network's.

    Attributes:
        status: complete, pruned (`on_epoch` said so) or stopped (`should_stop` said so; a checkpoint holds the rest).
        test_accuracy: empty unless complete.
        train_flops: of the whole training, against a dense one without `train_multiplier`.
        dense_flops: forward FLOPs of one sample (an image, or one whole sequence of text) through the dense network.
        n_parameters: of the network that was trained (fewer than the dense one's for `small_dense`).
        n_active: active maskable weights at the end, the same for every seed; sparsities and FLOPs are means.
        initial_layer_sparsity: by layer, before the first step; `layer_sparsity` is that of the end.
        seconds: wall time, earlier attempts included.
        bits_per_character: of the last epoch, on the validation part of a text; empty for images.
        test_bits_per_character: on its test part; empty unless complete.
    """

    status: Literal["complete", "pruned", "stopped"]
    history: tuple[EpochReport, ...]
    seeds: tuple[int, ...]
    val_accuracy: tuple[float, ...]
    test_accuracy: tuple[float, ...]
    loss: tuple[float, ...]
    inference_flops: float
    train_flops: float
    dense_flops: float
    n_parameters: int
    n_active: int
    realised_sparsity: float
    layer_sparsity: dict[str, float]
    epochs: int
    seconds: float
    environment: dict[str, str] = field(default_factory=dict)
    bits_per_character: tuple[float, ...] = ()
    test_bits_per_character: tuple[float, ...] = ()
    initial_layer_sparsity: dict[str, float] = field(default_factory=dict)
