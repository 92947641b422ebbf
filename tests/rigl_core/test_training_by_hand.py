"""The settings of a recipe as training applies them, against an oracle that takes every step by hand."""

import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from rigl_core.config import TrainConfig
from rigl_core.data.task import load_task
from rigl_core.replica import Replica
from tests.rigl_core.numpy_reference import Adam, Sgd

IMAGES = {"channels": 1, "height": 8, "width": 8, "num_classes": 4, "n_train": 64, "n_eval": 8}
TEXT = {"n_characters": 64 * 8 * 10 // 9 + 20, "sequence_length": 8}
SYNTHETIC = {"dataset": "synthetic", "dataset_options": IMAGES}
NETWORKS = {
    "lenet_300_100": SYNTHETIC,  # has biases
    "wrn": {**SYNTHETIC, "model_options": {"depth": 10, "width": 0.25}},  # has normalisation
    "char_gru": {"dataset": "synthetic_text", "dataset_options": TEXT, "model_options": {"width": 0.05}},  # embedding
}
BATCH, BATCHES_PER_EPOCH = 16, 4
# lr 0.06, 3 steps of warm-up, from then on halved every 2 steps.
LEARNING_RATES = (0.02, 0.04, 0.06, 0.06, 0.06, 0.03, 0.03, 0.015, 0.015)
SMOOTHING, CLIP_NORM, WEIGHT_DECAY = 0.3, 0.1, 0.1


def smoothed_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy with a target of 1 − ε on the class and ε shared out evenly (Szegedy et al. 2016, §7)."""
    log_p = logits.log_softmax(-1)
    of_target = log_p.gather(-1, targets.unsqueeze(-1)).squeeze(-1)
    return -((1 - SMOOTHING) * of_target + SMOOTHING * log_p.mean(-1)).mean()


class ByHand:
    """A copy of a network, trained with fixed masks by the formulas, one NumPy optimizer a parameter."""

    def __init__(self, model: nn.Module, masks: dict[str, Tensor], optimizer: str) -> None:
        self.model, self.masks = copy.deepcopy(model).train(), masks
        self.parameters = dict(self.model.named_parameters())
        rule = Sgd if optimizer == "sgd" else Adam
        self.optimizers = {
            name: rule(lr=0.0, weight_decay=WEIGHT_DECAY if self.decays(name) else 0.0) for name in self.parameters
        }

    def decays(self, name: str) -> bool:
        """Matrices and kernels do; biases, normalisation (both of one dimension) and embeddings do not."""
        return self.parameters[name].ndim > 1 and "embedding" not in name

    def step(self, inputs: Tensor, targets: Tensor, lr: float) -> float:
        """One step; returns the norm of the gradients before they were clipped."""
        self.model.zero_grad()
        smoothed_loss(self.model(inputs), targets).backward()
        gradients = {name: parameter.grad.numpy() for name, parameter in self.parameters.items()}
        for name, mask in self.masks.items():
            gradients[name] = gradients[name] * mask.numpy()
        norm = float(np.sqrt(sum((gradient**2).sum() for gradient in gradients.values())))
        scale = min(1.0, CLIP_NORM / (norm + 1e-6))  # PyTorch's 1e-6; Adam tells the difference where g ≈ −λw
        for name, parameter in self.parameters.items():
            self.optimizers[name].lr = lr
            clipped = gradients[name] * scale
            parameter.data = torch.from_numpy(self.optimizers[name].step(0, parameter.detach().numpy(), clipped))
        return norm


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("network", NETWORKS)
def test_weights_are_those_of_a_training_by_hand(network: str, optimizer: str) -> None:
    config = TrainConfig.model_validate(
        {
            "method": "static", "sparsity": 0.5, "model": network, **NETWORKS[network], "optimizer": optimizer,
            "lr": 0.06, "warmup_steps": 3, "lr_drop_every": 2, "lr_drop_factor": 0.5, "batch_size": BATCH, "epochs": 3,
            "label_smoothing": SMOOTHING, "clip_norm": CLIP_NORM, "weight_decay": WEIGHT_DECAY,
        }
    )  # fmt: skip
    replica = Replica(config, load_task(config), 0, len(LEARNING_RATES), "cpu")
    # In double precision, so that a difference of 1e-6 is never one of rounding.
    replica.model.double()
    replica.augment = lambda inputs, _: inputs.double() if inputs.is_floating_point() else inputs
    by_hand = ByHand(replica.model, replica.masks.masks, optimizer)
    norms = []
    for step, lr in enumerate(LEARNING_RATES):
        epoch, batch = divmod(step, BATCHES_PER_EPOCH)
        chosen = replica.order(epoch)[batch * BATCH : (batch + 1) * BATCH]
        inputs, targets = replica.data.batch(chosen)
        norms.append(by_hand.step(replica.augment(inputs, replica.augment_random), targets, lr))
        replica.train_step(epoch, batch, step)
        for name, parameter in replica.model.named_parameters():
            expected = by_hand.parameters[name].detach()
            np.testing.assert_allclose(parameter.detach(), expected, atol=1e-6, rtol=0, err_msg=f"{name} at {step}")
    assert max(norms) > CLIP_NORM, "nothing was clipped: this test no longer shows that clip_norm matters"
