"""The character-level GRU: equal to PyTorch's own GRU, with the paper's sizes, masked where it may be."""

import pytest
import torch
from torch import nn

from rigl_core.errors import BadInput
from rigl_core.masks import maskable_weights
from rigl_core.models import MODELS
from rigl_core.models.char_gru import LinearGru


@pytest.fixture
def twins() -> tuple[LinearGru, nn.GRU]:
    torch.manual_seed(0)
    ours, theirs = LinearGru(5, 7).double(), nn.GRU(5, 7, batch_first=True).double()
    with torch.no_grad():
        theirs.weight_ih_l0.copy_(ours.input.weight)
        theirs.bias_ih_l0.copy_(ours.input.bias)
        theirs.weight_hh_l0.copy_(ours.recurrent.weight)
        theirs.bias_hh_l0.copy_(ours.recurrent.bias)
    return ours, theirs


def test_states_and_gradients_equal_those_of_pytorch(twins: tuple[LinearGru, nn.GRU]) -> None:
    ours, theirs = twins
    x = torch.randn(3, 11, 5, dtype=torch.float64)
    x_ours, x_theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    states, expected = ours(x_ours), theirs(x_theirs)[0]
    torch.testing.assert_close(states, expected, rtol=0, atol=1e-12)
    weights = torch.randn_like(expected)
    (states * weights).sum().backward()
    (expected * weights).sum().backward()
    torch.testing.assert_close(x_ours.grad, x_theirs.grad, rtol=0, atol=1e-12)
    for mine, other in (
        (ours.input.weight, theirs.weight_ih_l0), (ours.input.bias, theirs.bias_ih_l0),
        (ours.recurrent.weight, theirs.weight_hh_l0), (ours.recurrent.bias, theirs.bias_hh_l0),
    ):  # fmt: skip
        torch.testing.assert_close(mine.grad, other.grad, rtol=0, atol=1e-12)


def test_one_step_by_hand() -> None:
    gru = LinearGru(1, 1)
    with torch.no_grad():
        gru.input.weight.copy_(torch.tensor([[1.0], [2.0], [3.0]]))
        gru.recurrent.weight.copy_(torch.tensor([[4.0], [5.0], [6.0]]))
        gru.input.bias.fill_(0.1)
        gru.recurrent.bias.fill_(0.2)
    state = torch.zeros(())
    expected = []
    for x in (0.5, -1.0):
        r, z = torch.sigmoid(x + 4 * state + 0.3), torch.sigmoid(2 * x + 5 * state + 0.3)
        n = torch.tanh(3 * x + 0.1 + r * (6 * state + 0.2))
        state = (1 - z) * n + z * state
        expected.append(float(state))
    assert gru(torch.tensor([[[0.5], [-1.0]]])).flatten().tolist() == pytest.approx(expected, abs=1e-6)


def test_it_starts_as_pytorchs_does() -> None:
    gru = LinearGru(300, 64)
    assert max(float(p.detach().abs().max()) for p in gru.parameters()) <= 1 / 8
    assert float(gru.input.weight.detach().std()) == pytest.approx(1 / 8 / 3**0.5, rel=0.05)


def test_the_papers_sizes() -> None:
    model = MODELS["char_gru"](num_classes=256)
    assert model.embedding.weight.shape == (256, 128)
    assert {name: tuple(weight.shape) for name, weight in maskable_weights(model).items()} == {
        "gru.input.weight": (3 * 512, 128),
        "gru.recurrent.weight": (3 * 512, 512),
        "hidden1.weight": (256, 512),
        "hidden2.weight": (128, 256),
        "logits.weight": (256, 128),
    }


def test_logits_at_every_position_depend_on_what_came_before_only() -> None:
    torch.manual_seed(0)
    model = MODELS["char_gru"](num_classes=9, width=0.1)
    symbols = torch.randint(9, (2, 6))
    logits = model(symbols)
    assert logits.shape == (2, 6, 9)
    changed = symbols.clone()
    changed[:, 4] = (symbols[:, 4] + 1) % 9
    again = model(changed)
    torch.testing.assert_close(again[:, :4], logits[:, :4])
    assert (again[:, 4:] != logits[:, 4:]).any(dim=2).all()


def test_width_scales_everything_but_the_symbols() -> None:
    model = MODELS["char_gru"](num_classes=9, width=0.25, width_multiplier=0.5)
    assert [tuple(weight.shape) for weight in maskable_weights(model).values()] == [
        (192, 16), (192, 64), (32, 64), (16, 32), (9, 16)
    ]  # fmt: skip
    assert MODELS["char_gru"](num_classes=9, width=1e-6).gru.n_units == 1
    for width in (0.0, -1.0, float("inf"), float("nan")):
        with pytest.raises(BadInput, match=f"width is {width}"):
            MODELS["char_gru"](width=width)
