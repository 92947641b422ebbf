import copy

import pytest
import torch
from torch import nn

from rigl_core.errors import BadInput
from rigl_core.models import MODELS
from rigl_core.models.dropout import LEVELS, Dropout, seed_dropout


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_is_the_identity_when_evaluating_or_when_p_is_zero():
    x = torch.randn(5, 7)
    state = torch.get_rng_state()
    assert Dropout(0.5).eval()(x) is x
    assert Dropout(0.0).train()(x) is x
    assert torch.equal(torch.get_rng_state(), state)


def test_drops_a_fraction_p_and_scales_the_rest():
    y = Dropout(0.3, generator()).train()(torch.ones(100_000))
    assert y.unique().tolist() == pytest.approx([0.0, 1 / 0.7], rel=1 / LEVELS)
    assert (y == 0).float().mean().item() == pytest.approx(0.3, abs=0.01)


def test_something_is_always_kept():
    assert torch.isfinite(Dropout(0.999999, generator())(torch.ones(1000))).all()


def test_gradients_go_through_the_elements_that_were_kept():
    x = torch.ones(100, requires_grad=True)
    y = Dropout(0.5, generator()).train()(x)
    y.sum().backward()
    assert torch.equal(x.grad, y.detach())


def test_draws_from_its_own_generator_only():
    x = torch.ones(1000)
    state = torch.get_rng_state()
    layer = Dropout(0.5, generator(3)).train()
    first = layer(x)
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(layer(x), first)
    assert torch.equal(Dropout(0.5, generator(3)).train()(x), first)


def test_without_a_generator_it_draws_from_the_global_one():
    x = torch.ones(1000)
    torch.manual_seed(5)
    first = Dropout(0.5).train()(x)
    torch.manual_seed(5)
    assert torch.equal(Dropout(0.5).train()(x), first)


def test_replicas_in_lockstep_are_what_they_are_alone_and_resume():
    x = torch.randn(4, 3, 8, 8)

    def replica(seed):
        torch.manual_seed(0)
        model = MODELS["wrn_10_1"](dropout=0.5, image_size=(8, 8)).train()
        own = generator(seed)
        seed_dropout(model, own)
        return model, own

    alone, _ = replica(1)
    expected = [alone(x) for _ in range(4)]
    (one, one_generator), (two, _) = replica(1), replica(2)
    got = []
    for _ in range(2):
        got.append(one(x))
        assert not torch.equal(two(x), got[-1])
    saved_weights, saved_generator = copy.deepcopy(one.state_dict()), one_generator.get_state()
    resumed, resumed_generator = replica(9)
    resumed.load_state_dict(saved_weights)
    resumed_generator.set_state(saved_generator)
    got += [resumed(x) for _ in range(2)]
    assert all(torch.equal(a, b) for a, b in zip(got, expected, strict=True))


def test_seed_dropout_reaches_every_layer_and_can_be_undone():
    model = nn.Sequential(Dropout(0.1), nn.Sequential(nn.ReLU(), Dropout(0.2)))
    own = generator()
    seed_dropout(model, own)
    assert model[0].generator is own
    assert model[1][1].generator is own
    seed_dropout(model, None)
    assert model[0].generator is None
    assert model[1][1].generator is None


@pytest.mark.parametrize("p", [-0.1, 1.0, float("nan")])
def test_a_probability_out_of_range_is_refused(p):
    with pytest.raises(BadInput, match="dropout is"):
        Dropout(p)
