"""A network as a training begins with it: its weights, how many of them are active, its optimizer."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from rigl_core.config import TrainConfig
from rigl_core.data.task import Task
from rigl_core.distributions import DISTRIBUTIONS, Shape, layer_budgets
from rigl_core.errors import BadInput
from rigl_core.methods import get_method
from rigl_core.models import get_model
from rigl_core.runtime import derive_seed


def build_model(config: TrainConfig, data: Task, seed: int, *, narrow: bool | None = None) -> nn.Module:
    """The network of `config` for `data`, on the CPU, its weights a function of `seed` alone.

    Args:
        config: what to train.
        data: only what it says of itself to models matters (`model_arguments`).
        seed: of the weights.
        narrow: whether to build it at width √(1 − S); None as the method says.
    """
    options: dict[str, Any] = dict(config.model_options)
    if get_method(config.method).narrow if narrow is None else narrow:
        options["width_multiplier"] = math.sqrt(1.0 - config.sparsity)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "weights"))
        model: nn.Module = get_model(config.model)(**data.model_arguments(), **options)
    return model


def initial_budgets(config: TrainConfig, shapes: Mapping[str, Shape]) -> dict[str, int]:
    """How many weights of each layer are active at the start; all of them for a method that starts dense.

    Raises:
        BadInput: `config.layer_sparsity` is not for these layers.
    """
    method = get_method(config.method)
    if not method.sparse or method.ramp:
        return layer_budgets(shapes, dict.fromkeys(shapes, 0.0))
    if config.layer_sparsity is not None:
        check_layers(dict.fromkeys(shapes, "there"), dict.fromkeys(config.layer_sparsity, "there"), config.distribution)
        return layer_budgets(shapes, config.layer_sparsity)
    if config.distribution == "uniform" and get_model(config.model).reads == "text":
        # The first layer, which `uniform` leaves dense, is the embedding here, and that is never masked.
        return layer_budgets(shapes, dict.fromkeys(shapes, config.sparsity))
    return layer_budgets(shapes, DISTRIBUTIONS[config.distribution](shapes, config.sparsity))


def check_layers(own: Mapping[str, object], given: Mapping[str, object], source: str | None) -> None:
    """Refuse what another network ended with: layers by name, with their shapes where those are known."""
    for name in (*own, *given):
        theirs, ours = given.get(name, "not there"), own.get(name, "not there")
        if theirs != ours:
            raise BadInput(f"{source} does not fit this network: layer {name} is {theirs} in it and {ours} here.")


def make_optimizer(
    config: TrainConfig, model: nn.Module, weights: Mapping[str, nn.Parameter], *, fused: bool
) -> torch.optim.Optimizer:
    """The optimizer, with L2 on the maskable weights only, not on biases, normalisation, embeddings (report, §4)."""
    maskable = {id(weight) for weight in weights.values()}
    others = [parameter for parameter in model.parameters() if id(parameter) not in maskable]
    groups = [{"params": list(weights.values()), "weight_decay": config.weight_decay}]
    if others:
        groups.append({"params": others, "weight_decay": 0.0})
    if config.optimizer == "adam":
        capturable = fused and next(model.parameters()).device.type == "cuda"  # which only a GPU can take
        return torch.optim.Adam(groups, lr=config.lr, fused=fused, capturable=capturable)
    return torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum, nesterov=config.nesterov, fused=fused)
