import copy
import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from rigl_core.distributions import erk, uniform
from rigl_core.errors import BadInput, UnknownName
from rigl_core.flops import TRAIN_FLOPS, forward_flops, inference_flops, train_flops
from rigl_core.masks import maskable_weights
from rigl_core.methods import METHODS
from rigl_core.models import MODELS
from rigl_core.models.dropout import seed_dropout


@pytest.fixture(scope="module")
def wrn_22_2():
    return MODELS["wrn_22_2"]()


def test_lenet_by_hand():
    flops = forward_flops(MODELS["lenet_300_100"](), (1, 28, 28))
    assert flops == {"fc1.weight": 2 * 784 * 300, "fc2.weight": 2 * 300 * 100, "fc3.weight": 2 * 100 * 10}


def test_convolutions_by_hand():
    model = nn.Sequential(
        nn.Conv2d(4, 6, (3, 5), stride=(2, 1), padding=(1, 0), groups=2),  # (4, 9, 11) -> (6, 5, 7)
        nn.Conv2d(6, 8, 3, dilation=2),  # -> (8, 1, 3)
        nn.Conv2d(8, 8, (1, 3), groups=8, padding="same", padding_mode="circular"),  # -> (8, 1, 3)
        nn.Flatten(),
        nn.Linear(24, 5),
    )
    assert forward_flops(model, (4, 9, 11)) == {
        "0.weight": 2 * (6 * 5 * 7) * (2 * 3 * 5),
        "1.weight": 2 * (8 * 1 * 3) * (6 * 3 * 3),
        "2.weight": 2 * (8 * 1 * 3) * (1 * 1 * 3),
        "4.weight": 2 * 24 * 5,
    }


def test_one_and_three_dimensional_convolutions_by_hand():
    assert forward_flops(nn.Conv1d(2, 3, 4), (2, 10)) == {"weight": 2 * (3 * 7) * (2 * 4)}
    assert forward_flops(nn.Conv3d(2, 3, 2), (2, 4, 4, 4)) == {"weight": 2 * (3 * 27) * (2 * 8)}


def test_a_linear_layer_over_extra_dimensions_counts_each_position():
    assert forward_flops(nn.Linear(6, 4), (5, 7, 6)) == {"weight": 2 * 5 * 7 * 6 * 4}


@settings(max_examples=40)
@given(
    c_in=st.integers(1, 3), c_out=st.integers(1, 3), groups=st.integers(1, 3), size=st.integers(6, 12),
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)), stride=st.integers(1, 3), padding=st.integers(0, 2),
)  # fmt: skip
def test_a_convolution_costs_two_flops_for_each_product_in_its_sum(c_in, c_out, groups, size, kernel, stride, padding):
    layer = nn.Conv2d(c_in * groups, c_out * groups, kernel, stride=stride, padding=padding, groups=groups, bias=False)
    # With all ones inside a large enough padded image, each output is its number of products; count them that way.
    layer.weight.data.fill_(1.0)
    padded = F.pad(torch.ones(1, c_in * groups, size, size), (padding,) * 4, value=1.0)
    n_products = F.conv2d(padded, layer.weight, stride=stride, groups=groups).sum().item()
    assert forward_flops(layer, (c_in * groups, size, size)) == {"weight": 2 * int(n_products)}


class TwiceAndNever(nn.Module):
    def __init__(self):
        super().__init__()
        self.twice = nn.Linear(3, 3)
        self.never = nn.Linear(3, 3)
        self.functional = nn.Conv2d(1, 2, 1)

    def forward(self, x):
        assert self.never.weight.dtype == torch.float32  # looking is not using
        scale = torch.ones(3)  # made on the way, on the default device
        x = self.twice(torch.relu(self.twice(x))) * scale
        return torch.conv2d(x, weight=self.functional.weight)


def test_a_layer_called_twice_counts_twice_and_one_never_called_counts_zero():
    assert forward_flops(TwiceAndNever(), (1, 2, 3)) == {
        "twice.weight": 2 * (2 * 2 * 3 * 3), "never.weight": 0, "functional.weight": 2 * (2 * 2 * 3)
    }  # fmt: skip


def test_a_recurrent_layer_counts_once_for_each_position_of_a_sequence():
    model = MODELS["char_gru"](num_classes=30)
    assert forward_flops(model, (7,), torch.int64) == {
        "gru.input.weight": 7 * 2 * 128 * 3 * 512, "gru.recurrent.weight": 7 * 2 * 512 * 3 * 512,
        "hidden1.weight": 7 * 2 * 512 * 256, "hidden2.weight": 7 * 2 * 256 * 128, "logits.weight": 7 * 2 * 128 * 30,
    }  # fmt: skip


def test_numbers_of_the_wrong_type_are_refused():
    with pytest.raises(BadInput, match=r"one sample of shape \(7,\)"):
        forward_flops(MODELS["char_gru"](num_classes=30), (7,))


def test_a_sample_has_the_type_of_the_weights():
    assert forward_flops(nn.Linear(3, 2).double(), (3,)) == {"weight": 2 * 3 * 2}


def test_a_weight_shared_by_two_layers_counts_under_its_first_name():
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[1].weight = model[0].weight
    flops = forward_flops(model, (3,))
    assert flops["0.weight"] == 2 * (2 * 9)
    assert sum(flops.values()) == 2 * (2 * 9)


def test_a_weight_whose_use_cannot_be_counted_is_an_error_not_zero():
    class Standardised(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(1, 2, 3)

        def forward(self, x):
            return F.conv2d(x, torch.sub(self.conv.weight, 1.0))

    with pytest.raises(BadInput, match=r"conv\.weight cannot be counted.*sub"):
        forward_flops(Standardised(), (1, 5, 5))


def test_a_counted_weight_may_be_looked_at_besides():
    class Penalised(nn.Linear):
        def forward(self, x):
            self.penalty = self.weight.square().sum()
            return super().forward(x)

    assert forward_flops(Penalised(5, 3), (5,)) == {"weight": 30}


def test_wrn_22_2_costs_315_5_mflops(wrn_22_2):
    assert sum(forward_flops(wrn_22_2, (3, 32, 32)).values()) == pytest.approx(315.5e6, abs=0.05e6)


@pytest.mark.parametrize(
    ("distribution", "sparsity", "multiple"),
    [(erk, 0.9, 0.17), (erk, 0.8, 0.35), (uniform, 0.9, 0.10), (uniform, 0.8, 0.20)],
)
def test_wrn_22_2_has_the_published_multiples_of_dense_inference_flops(wrn_22_2, distribution, sparsity, multiple):
    flops = forward_flops(wrn_22_2, (3, 32, 32))
    shapes = {name: tuple(weight.shape) for name, weight in maskable_weights(wrn_22_2).items()}
    f_s = inference_flops(flops, distribution(shapes, sparsity))
    assert round(f_s / sum(flops.values()), 2) == multiple


def test_leaves_the_model_and_every_generator_as_they_were():
    """A peer's query left its hooks behind and moved the statistics of BatchNorm."""
    model = MODELS["wrn_10_1"](dropout=0.5).train()
    own = torch.Generator().manual_seed(4)
    seed_dropout(model, own)
    calls = []
    model.conv1.register_forward_hook(lambda *_: calls.append("forward"))
    model.conv1.register_forward_pre_hook(lambda *_: calls.append("pre"))
    model.fc.weight.grad = torch.ones_like(model.fc.weight)
    before = copy.deepcopy(model.state_dict())
    training = {name: module.training for name, module in model.named_modules()}
    hooks = {name: (len(m._forward_hooks), len(m._forward_pre_hooks)) for name, m in model.named_modules()}
    states = torch.get_rng_state(), own.get_state()

    forward_flops(model, (3, 32, 32))

    assert calls == []
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert {name: module.training for name, module in model.named_modules()} == training
    assert {name: (len(m._forward_hooks), len(m._forward_pre_hooks)) for name, m in model.named_modules()} == hooks
    assert torch.equal(torch.get_rng_state(), states[0])
    assert torch.equal(own.get_state(), states[1])
    assert all(parameter.device.type == "cpu" and parameter.requires_grad for parameter in model.parameters())
    assert torch.equal(model.fc.weight.grad, torch.ones_like(model.fc.weight))
    assert torch.zeros(1).device.type == "cpu"
    model(torch.zeros(2, 3, 32, 32))
    assert calls == ["pre", "forward"]


def test_a_sample_of_the_wrong_shape_is_refused():
    with pytest.raises(BadInput, match=r"one sample of shape \(1, 8, 8\)"):
        forward_flops(MODELS["wrn_10_1"](), (1, 8, 8))


def test_a_model_without_maskable_weights_is_refused():
    with pytest.raises(BadInput, match="no maskable weights"):
        forward_flops(nn.BatchNorm2d(3), (3, 4, 4))


def test_inference_flops_by_hand():
    assert inference_flops({"a": 100, "b": 10}, {"a": 0.75, "b": 0.0}) == 35.0
    assert inference_flops({"a": 100}, {"a": 1.0}) == 0.0


def test_inference_flops_needs_a_sparsity_for_each_layer():
    with pytest.raises(BadInput, match="layer b"):
        inference_flops({"a": 100, "b": 10}, {"a": 0.5})
    for sparsity in (1.5, -0.5, math.nan):
        with pytest.raises(BadInput, match=rf"layer a has sparsity {sparsity}"):
            inference_flops({"a": 100}, {"a": sparsity})


def test_train_flops_by_hand():
    assert train_flops("dense", 1.0, 10.0, 100) == 30.0
    assert train_flops("static", 1.0, 10.0, 100) == 3.0
    assert train_flops("set", 1.0, 10.0, 100) == 3.0
    assert train_flops("rigl", 1.0, 10.0, 3) == (3 * 3 + 2 + 10) / 4
    # two of four steps with a dense weight gradient: 2 · (3 · 1) + 2 · (2 · 1 + 10)
    assert train_flops("rigl", 1.0, 10.0, 3, grow_accumulation=2) == (6 + 24) / 4
    assert train_flops("set", 1.0, 10.0, 3, grow_accumulation=2) == 3.0


def test_every_method_has_a_rule():
    assert {method.train_flops for method in METHODS.values()} == set(TRAIN_FLOPS)


@pytest.mark.parametrize(
    ("method", "f_s", "multiple"),
    [("rigl", None, 0.35), ("snfs", 0.49, 0.66)],  # the report, table 1: WRN-22-2 at S = 0.8 ERK, ΔT = 100
)
def test_published_train_flop_multiples(method, f_s, multiple):
    if f_s is None:
        model = MODELS["wrn_22_2"](num_classes=10, in_channels=3, image_size=(32, 32))
        flops = forward_flops(model, (3, 32, 32))
        shapes = {name: tuple(weight.shape) for name, weight in maskable_weights(model).items()}
        f_s = inference_flops(flops, erk(shapes, 0.8)) / sum(flops.values())
    assert round(train_flops(method, f_s, 1.0, 100) / 3, 2) == multiple


def test_train_flops_of_an_unknown_method():
    with pytest.raises(UnknownName, match='Did you mean "rigl"'):
        train_flops("rigel", 1.0, 10.0, 100)


@given(st.floats(0.01, 1.0), st.integers(1, 10_000))
def test_rigl_costs_between_static_and_dense_and_tends_to_static(f_s, delta_t):
    static, dense = train_flops("static", f_s, 1.0, delta_t), train_flops("dense", f_s, 1.0, delta_t)
    cost = train_flops("rigl", f_s, 1.0, delta_t)
    assert static * (1 - 1e-9) <= cost <= dense * (1 + 1e-9)
    assert cost - static == pytest.approx((1.0 - f_s) / (delta_t + 1))
