"""A compiled network computes what it computes without: through PyTorch's own operations, which give the same bits."""

from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rigl_core.compiled import CompiledModel, room_for_dropout
from rigl_core.models import MODELS
from rigl_core.models.dropout import Dropout, seed_dropout
from rigl_core.plan import Plan
from rigl_core.workplace import Workplace
from tests.rigl_core.test_recording import (
    BATCHES,
    CONFIG,
    N_STEPS,
    PERCEPTRON,
    TapeRecorder,
    advance,
    config_of,
    differences,
    replica_of,
)

COMPILED = Plan(compiled="aot_eager")
RECORDED = replace(COMPILED, recorded=True)


@pytest.mark.parametrize("plan", [COMPILED, RECORDED], ids=["computed", "recorded"])
@pytest.mark.parametrize("changes", [{}, {"method": "dense"}, {"clip_norm": 0.1}], ids=str)
def test_a_compiled_training_equals_a_plain_one(changes: dict[str, Any], plan: Plan) -> None:
    """With dropout, short batches and topology steps; its record says that it is one."""
    config = config_of(**changes)
    plain, compiled = replica_of(config, Plan()), replica_of(config, plan)
    for replica in (plain, compiled):
        advance(replica)
    assert not differences(plain, compiled)
    assert plain.take_loss() == compiled.take_loss()
    assert plain.evaluate("val") == compiled.evaluate("val")
    assert (plain.describe()["compiled"], compiled.describe()["compiled"]) == ("no", "aot_eager")


def test_low_precision_and_layout_are_compiled_too() -> None:
    plan = Plan(autocast=torch.bfloat16, channels_last=True)
    plain, compiled = replica_of(CONFIG, plan), replica_of(CONFIG, replace(plan, compiled="eager"))
    for replica in (plain, compiled):
        advance(replica, 0, BATCHES)
    assert not differences(plain, compiled)


def test_what_was_compiled_once_serves_other_replicas_trials_and_batches() -> None:
    advance(replica_of(CONFIG, RECORDED))
    other = config_of(method="set", lr=1 / 4)
    with torch.compiler.set_stance("fail_on_recompile"):
        replica = replica_of(CONFIG, RECORDED, seed=8)
        advance(replica)
        replica.begin_again(other, 9, N_STEPS)
        advance(replica)
    anew = replica_of(other, Plan(), seed=9)
    advance(anew)
    assert not differences(replica, anew)


@pytest.mark.parametrize("plan", [COMPILED, RECORDED], ids=["computed", "recorded"])
def test_a_run_is_resumed_with_or_without(plan: Plan) -> None:
    source, target = replica_of(CONFIG, Plan()), replica_of(CONFIG, plan)
    advance(source, 0, BATCHES + 2)
    advance(target, 0, BATCHES)
    target.load_state_dict(source.state_dict())
    back = replica_of(CONFIG, Plan())
    back.load_state_dict(deepcopy(target.state_dict()))  # an optimizer keeps the memory it is given
    for replica in (source, target, back):
        advance(replica, BATCHES + 2)
    assert not differences(source, target)
    assert not differences(source, back)


def test_a_worker_may_come_to_more_shapes_than_pytorch_keeps() -> None:
    place = Workplace(TapeRecorder)
    plan = Plan(compiled="eager", recorded=True)
    for batch_size in range(2, 12):
        config = config_of(**PERCEPTRON, batch_size=batch_size)
        (replica,) = place.replicas(config, place.task(config, None, "cpu"), plan, N_STEPS, {})
        replica.train_step(0, 0, 0)
        assert replica.take_loss() > 0.0


@pytest.mark.parametrize("name", MODELS)
def test_every_model_is_compiled_whole(name: str) -> None:
    """No break in its graph, which would be an error, and the same bits."""
    model, side = MODELS[name](), max(8, MODELS[name].smallest_image) if name != "lenet_300_100" else 28
    channels = 1 if name == "lenet_300_100" else 3
    inputs = torch.randn(2, channels, side, side) if MODELS[name].reads == "images" else torch.randint(257, (2, 6))
    streams = torch.Generator()
    seed_dropout(model.train(), streams)
    outputs = []
    for compute in (model, CompiledModel(model, "eager")):
        streams.manual_seed(1)
        outputs.append(compute(inputs))
    assert torch.equal(*outputs)


class Called(nn.Module):
    """Calls its layers in another order than it has them."""

    def __init__(self) -> None:
        super().__init__()
        self.second, self.first, self.never = Dropout(0.5), Dropout(0.25), Dropout(0.0)
        self.norm = nn.BatchNorm2d(3)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.never(self.second(self.norm(self.first(x))[:, :2]))
        return y


def test_room_for_dropout_is_found_in_the_order_of_the_calls() -> None:
    model = Called()
    room = room_for_dropout(model, torch.ones(2, 3, 4, 4).contiguous(memory_format=torch.channels_last))
    assert [(layer, tuple(keep.shape), keep.dtype) for layer, keep in room.items()] == [
        (model.first, (2, 3, 4, 4), torch.bool),
        (model.second, (2, 2, 4, 4), torch.bool),
    ]
    assert room[model.first].is_contiguous(memory_format=torch.channels_last)


def test_to_find_room_changes_nothing() -> None:
    model = MODELS["wrn_10_1"](dropout=0.5, image_size=(8, 8)).train()
    own = torch.Generator().manual_seed(1)
    seed_dropout(model, own)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    streams = torch.get_rng_state(), own.get_state()
    assert len(room_for_dropout(model, torch.ones(2, 3, 8, 8))) == 3
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert [torch.equal(*pair) for pair in zip(streams, (torch.get_rng_state(), own.get_state()), strict=True)]
    assert all(module.training and not module._forward_pre_hooks for module in model.modules())


class Fails(Called):
    def forward(self, x: Tensor) -> Tensor:
        super().forward(x)
        raise ValueError("after its layers")


def test_a_pass_that_fails_leaves_nothing_behind() -> None:
    model = Fails()
    with pytest.raises(ValueError, match="after its layers"):
        room_for_dropout(model, torch.ones(2, 3, 4, 4))
    assert all(module.training and not module._forward_pre_hooks for module in model.modules())


class Unknown(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        torch._dynamo.graph_break()
        return x + 1


def test_what_cannot_be_compiled_is_an_error_and_not_slow() -> None:
    model = CompiledModel(Unknown(), "eager")
    with pytest.raises(RuntimeError, match="graph_break"):
        model(torch.ones(2))
