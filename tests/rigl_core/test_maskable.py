"""Which weights are masked: by kind of layer, by who else holds them, and by what becomes of them."""

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune, weight_norm

from rigl_core.errors import BadInput
from rigl_core.maskable import maskable_weights


def two() -> nn.Sequential:
    return nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 6))


def test_only_convolutions_and_linear_layers_are_maskable() -> None:
    """A peer masked normalisation and embeddings too."""
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.LayerNorm(8), nn.Embedding(5, 6), nn.Linear(8, 2),
        nn.Conv1d(4, 8, 3, groups=4), nn.Conv3d(1, 1, 1), nn.ConvTranspose2d(2, 2, 2), nn.LSTM(3, 4), nn.GRU(3, 4),
        nn.Bilinear(2, 2, 2),
    )  # fmt: skip
    assert list(maskable_weights(model)) == ["0.weight", "5.weight", "6.weight", "7.weight"]
    assert list(maskable_weights(nn.Linear(2, 2))) == ["weight"]


def test_projections_of_attention_are_linear_layers() -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    weights = maskable_weights(layer)
    assert {name: tuple(weight.shape) for name, weight in weights.items()} == {
        "self_attn.in_proj_weight": (24, 8),
        "self_attn.out_proj.weight": (8, 8),
        "linear1.weight": (16, 8),
        "linear2.weight": (8, 16),
    }
    assert sum(weight.numel() for weight in weights.values()) == sum(
        p.numel() for p in layer.parameters() if p.ndim > 1
    )
    apart = nn.MultiheadAttention(8, 2, kdim=4, vdim=6, add_bias_kv=True)
    assert list(maskable_weights(apart)) == ["q_proj_weight", "k_proj_weight", "v_proj_weight", "out_proj.weight"]


@pytest.mark.parametrize("embedding_first", [True, False])
def test_a_weight_tied_to_an_embedding_is_left_alone(embedding_first: bool) -> None:
    layers = [nn.Embedding(30, 16), nn.Linear(16, 30, bias=False)]
    model = nn.Sequential(*(layers if embedding_first else layers[::-1]), nn.Linear(3, 3))
    layers[1].weight = layers[0].weight
    assert list(maskable_weights(model)) == ["2.weight"]


def test_a_weight_that_two_linear_layers_share_is_listed_once() -> None:
    shared = two()
    shared[1].weight = shared[0].weight
    assert list(maskable_weights(shared)) == ["0.weight"]


def test_a_weight_that_a_module_of_the_users_holds_too_is_left_alone() -> None:
    model = two()
    model.register_parameter("again", model[1].weight)
    assert list(maskable_weights(model)) == ["0.weight"]


def test_frozen_weights_are_left_alone() -> None:
    model = two()
    model[0].requires_grad_(False)
    assert list(maskable_weights(model)) == ["1.weight"]
    parametrizations.weight_norm(model[0])  # and so is a layer that is frozen with what its weight is computed from
    model[0].requires_grad_(False)
    assert list(maskable_weights(model)) == ["1.weight"]
    model[1].weight.requires_grad_(False)  # its bias is trained
    assert maskable_weights(model) == {}


COMPUTED: dict[str, Callable[[nn.Module], object]] = {
    "WeightNorm": parametrizations.weight_norm,
    "SpectralNorm": parametrizations.spectral_norm,
    "Orthogonal": parametrizations.orthogonal,
    "L1Unstructured": lambda layer: prune.l1_unstructured(layer, "weight", 0.5),
}


@pytest.mark.parametrize("how", COMPUTED)
def test_a_weight_that_is_computed_from_others_is_refused_by_name(how: str) -> None:
    model = two()
    COMPUTED[how](model[1])
    with pytest.raises(BadInput, match=rf"weight 1\.weight is computed from other tensors \({how}\)"):
        maskable_weights(model)


@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
def test_weight_norm_of_before_is_refused_too() -> None:
    model = two()
    weight_norm(model[0])
    with pytest.raises(BadInput, match=r"weight 0\.weight is computed from other tensors \(WeightNorm\)"):
        maskable_weights(model)


def test_a_parametrised_projection_of_attention_is_refused() -> None:
    attention = nn.MultiheadAttention(8, 2)
    nn.utils.parametrize.register_parametrization(attention, "in_proj_weight", nn.Identity())
    with pytest.raises(BadInput, match="weight in_proj_weight is computed from other tensors"):
        maskable_weights(attention)


def test_a_parametrised_bias_and_hooks_are_no_obstacle() -> None:
    model = two()
    nn.utils.parametrize.register_parametrization(model[0], "bias", nn.Identity())
    model[1].register_forward_pre_hook(lambda module, inputs: None)
    assert list(maskable_weights(model)) == ["0.weight", "1.weight"]


@pytest.mark.filterwarnings("ignore:Lazy modules are a new feature:UserWarning")
@pytest.mark.filterwarnings("ignore:Complex modules are a new feature:UserWarning")
def test_weights_without_a_shape_or_of_other_numbers_are_refused() -> None:
    with pytest.raises(BadInput, match=r"weight 0\.weight has no shape yet"):
        maskable_weights(nn.Sequential(nn.LazyLinear(3)))
    with pytest.raises(BadInput, match=r"weight 0\.weight is torch\.complex64"):
        maskable_weights(two().to(torch.complex64))
