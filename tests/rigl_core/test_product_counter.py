"""FLOPs of every kind of product, held to PyTorch's own counter, and with masks to the products that are not zero."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode, flop_registry, register_flop_formula

from rigl_core.errors import BadInput
from rigl_core.flops import OTHER_PRODUCTS, forward_flops, inference_flops
from rigl_core.masks import maskable_weights
from rigl_core.product_counter import ProductCounter

aten = torch.ops.aten


class Net(nn.Module):
    """Modules by name, and a function of them and the input."""

    def __init__(self, function, **modules):
        super().__init__()
        self.function = function
        for name, module in modules.items():
            setattr(self, name, module)

    def forward(self, x):
        return self.function(self, x)


def linear(n_in=8, n_out=6):
    return nn.Linear(n_in, n_out, dtype=torch.float64)


def attention():
    return nn.MultiheadAttention(8, 2, batch_first=True, dtype=torch.float64)


def attention_by_hand(net, x):
    q, k, v = net.qkv(x).chunk(3, dim=-1)
    return torch.softmax(q @ k.transpose(1, 2), dim=-1) @ v


def heads_by_torch(net, x):
    q, k, v = net.qkv(x).view(1, 5, 3, 2, 4).permute(2, 0, 3, 1, 4)
    return F.scaled_dot_product_attention(q, k, v)


def queries_are_fewer(net, x):
    """As in `nn.MultiheadAttention` with keys of another length: parts of a projection are used differently often."""
    w_q, w_kv = net.qkv.weight.split([8, 16])
    b_q, b_kv = net.qkv.bias.split([8, 16])
    return F.linear(x[:, :2], w_q, b_q) @ F.linear(x, w_kv, b_kv)[..., :8].transpose(1, 2)


def renormed(net, x):
    net.a.weight.data = torch.renorm(net.a.weight.data, 2, 0, 1.0)
    return net.a(x)


def in_inference_mode(net, x):
    with torch.inference_mode():
        return net.a(x)


SEQUENCE, VECTOR, IMAGE = (5, 8), (8,), (4, 6, 6)
DOUBLE = {"dtype": torch.float64}

USES = {
    "a layer called twice": (Net(lambda n, x: n.a(n.a(x)), a=linear(8, 8)), VECTOR),
    "tied": (Net(lambda n, x: n.a(x) @ n.a.weight, a=linear()), VECTOR),
    "weight times input": (Net(lambda n, x: n.a.weight @ x.transpose(1, 2), a=linear()), SEQUENCE),
    "einsum": (Net(lambda n, x: torch.einsum("bik,ok->bio", x, n.a.weight), a=linear()), SEQUENCE),
    "inner and tensordot": (
        Net(lambda n, x: torch.inner(x, n.a.weight) + torch.tensordot(x, n.a.weight, ([-1], [1])), a=linear()),
        SEQUENCE,
    ),
    "expanded": (Net(lambda n, x: torch.bmm(x.transpose(0, 1), n.a.weight.t().expand(5, 8, 6)), a=linear()), SEQUENCE),
    "a bias that is a weight": (
        Net(lambda n, x: torch.addmm(n.b.weight, n.a(x)[0], n.c.weight), a=linear(), b=linear(6, 5), c=linear(6, 6)),
        SEQUENCE,
    ),
    "chunks": (Net(lambda n, x: torch.stack([F.linear(x, w) for w in n.a.weight.chunk(3)]), a=linear(8, 24)), SEQUENCE),
    "parts, used differently often": (
        Net(lambda n, x: F.linear(F.linear(x, n.a.weight[:4]), n.a.weight[4:, 1:5]), a=linear(8, 8)),
        SEQUENCE,
    ),
    "every second row": (Net(lambda n, x: F.linear(x, n.a.weight[::2, 3:]), a=linear(11, 6)), SEQUENCE),
    "fewer queries": (Net(queries_are_fewer, qkv=linear(8, 24)), SEQUENCE),
    "attention by hand": (Net(attention_by_hand, qkv=linear(8, 24)), SEQUENCE),
    "attention's own function": (Net(heads_by_torch, qkv=linear(8, 24)), SEQUENCE),
    "nn.MultiheadAttention": (
        Net(lambda n, x: n.a(n.m(x, x, x, need_weights=False)[0]), m=attention(), a=linear()),
        SEQUENCE,
    ),
    "cross attention": (Net(lambda n, x: n.a(n.m(x[:, :2], x, x)[0]), m=attention(), a=linear()), SEQUENCE),
    "baddbmm": (Net(lambda n, x: torch.baddbmm(x[:, :, :5], n.a(x), x.transpose(1, 2)), a=linear(8, 8)), SEQUENCE),
    "scaled": (Net(lambda n, x: F.linear(x, n.a.weight * 0.5), a=linear()), VECTOR),
    "scaled by row": (Net(lambda n, x: F.linear(x, n.a.weight / n.a.bias.exp()[:, None]), a=linear()), VECTOR),
    "two in one": (
        Net(lambda n, x: F.linear(x, torch.cat([n.a.weight, n.b.weight[:2]])), a=linear(), b=linear()),
        VECTOR,
    ),
    "in another type": (Net(lambda n, x: F.linear(x.float(), n.a.weight.float()), a=linear()), VECTOR),
    "with a norm": (Net(renormed, a=linear()), VECTOR),
    "in inference mode": (Net(in_inference_mode, a=linear()), VECTOR),
    "grouped": (
        nn.Sequential(nn.Conv2d(4, 6, 3, groups=2, stride=2, **DOUBLE), nn.Conv2d(6, 6, 2, groups=6, **DOUBLE)),
        IMAGE,
    ),
    "a linear weight as kernel": (Net(lambda n, x: F.conv2d(x, n.a.weight.view(6, 4, 1, 2)), a=linear()), IMAGE),
    "transposed": (
        nn.Sequential(nn.Conv2d(4, 4, 3, **DOUBLE), nn.ConvTranspose2d(4, 6, 3, stride=2, groups=2, **DOUBLE)),
        IMAGE,
    ),
    "a kernel turned round": (
        Net(lambda n, x: F.conv_transpose2d(n.c(x), n.c.weight), c=nn.Conv2d(4, 6, 3, **DOUBLE)),
        IMAGE,
    ),
    "unfolded": (Net(lambda n, x: n.a.weight @ F.unfold(x, 3), a=linear(36, 6)), IMAGE),
}
"""Networks without zeros among their activations."""

NOT_COUNTED_BY_PYTORCH = {
    "weight times vector": (Net(lambda n, x: n.a.weight @ x[0], a=linear()), VECTOR),
    "vector times weight": (Net(lambda n, x: torch.addmv(x[0, :6], n.a.weight, x[0]), a=linear()), VECTOR),
    "addbmm and in place": (
        Net(
            lambda n, x: torch.addbmm(n.a(x)[0], x, n.b.weight.t()[None]).addmm_(x[0], n.a.weight.t()),
            a=linear(),
            b=linear(),
        ),
        SEQUENCE,
    ),
}

DENSE_ONLY = {
    "tied with an embedding": (
        Net(
            lambda n, x: F.linear(n.b(F.embedding(x.abs().long(), n.a.weight)), n.a.weight),
            a=linear(8, 11),
            b=linear(8, 8),
        ),
        (4,),
    ),
    "transposed, 1 dimension": (nn.Sequential(nn.Conv1d(3, 4, 3), nn.ConvTranspose1d(4, 6, 3, stride=2)), (3, 12)),
    "transposed, 3 dimensions": (nn.Sequential(nn.Conv3d(3, 4, 3), nn.ConvTranspose3d(4, 6, 3)), (3, 6, 6, 6)),
    "LSTM": (
        Net(lambda n, x: n.a(n.r(x)[0]), r=nn.LSTM(8, 7, 2, batch_first=True, bidirectional=True), a=nn.Linear(14, 3)),
        SEQUENCE,
    ),
    "LSTM with projection": (
        Net(lambda n, x: n.a(n.r(x)[0]), r=nn.LSTM(8, 7, proj_size=3), a=nn.Linear(3, 3)),
        SEQUENCE,
    ),
    "GRU": (Net(lambda n, x: n.a(n.r(x)[0]), r=nn.GRU(8, 7, 2, batch_first=True), a=nn.Linear(7, 3)), SEQUENCE),
    "RNN": (Net(lambda n, x: n.a(n.r(x)[0]), r=nn.RNN(8, 7, batch_first=True), a=nn.Linear(7, 3)), SEQUENCE),
    "LSTM cell": (Net(lambda n, x: n.a(n.r(x)[0]), r=nn.LSTMCell(8, 7), a=nn.Linear(7, 3)), VECTOR),
    "encoder": (
        nn.Sequential(
            nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2), nn.Linear(8, 3)
        ),
        SEQUENCE,
    ),
    "transformer": (Net(lambda n, x: n.t(x, x[:, :3]), t=nn.Transformer(8, 2, 1, 1, 16, batch_first=True)), SEQUENCE),
    "in low precision": (nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 3)).bfloat16(), SEQUENCE),
    "padded": (nn.Conv2d(4, 6, 3, padding=2, dilation=2), IMAGE),
}


def by_pytorch(net, shape):
    """What FlopCounterMode counts on the meta device, where no product hides in a kernel of a library."""
    net = copy.deepcopy(net).to("meta").eval()
    with FlopCounterMode(display=False) as counter, torch.device("meta"), torch.no_grad():
        net(torch.empty(1, *shape, dtype=next(net.parameters()).dtype))
    return counter.get_total_flops()


@pytest.mark.parametrize(("net", "shape"), [*USES.values(), *DENSE_ONLY.values()], ids=[*USES, *DENSE_ONLY])
def test_the_sum_is_that_of_pytorchs_own_counter(net, shape):
    flops = forward_flops(net, shape)
    weights = list(maskable_weights(net))
    assert list(flops) in (weights, [*weights, OTHER_PRODUCTS])
    assert sum(flops.values()) == by_pytorch(net, shape) > 0


class NonZeroProducts(TorchDispatchMode):
    """Counts, by brute force, the multiplications in products and convolutions of two factors that are not zero."""

    n = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        packet, kwargs = func._overloadpacket, kwargs or {}
        if packet in (aten.mm, aten.bmm, aten.mv):
            self._count(torch.matmul, args[0], args[1])
        elif packet in (aten.addmm, aten.addmm_, aten.addmv, aten.baddbmm, aten.addbmm):
            self._count(torch.matmul, args[1], args[2])
        elif packet is aten.convolution:
            self._count(lambda x, w: func(x, w, None, *args[3:]), args[0], args[1])
        else:
            with self:
                result = func.decompose(*args, **kwargs)
            if result is not NotImplemented:
                return result
        return func(*args, **kwargs)

    def _count(self, product, one, other):
        self.n += int(product((one != 0).double(), (other != 0).double()).sum())


def masked(net, weights, sparsity):
    """A copy of the network with random masks, which have been applied: the copy, its sparsities and masks.

    Biases are not zero, so that an output whose weights are all masked still is a factor of the products after it.
    """
    net, generator = copy.deepcopy(net), torch.Generator().manual_seed(5)
    masks = {name: torch.rand(weight.shape, generator=generator) >= sparsity for name, weight in weights.items()}
    with torch.no_grad():
        for name, mask in masks.items():
            net.get_parameter(name).mul_(mask)
        for name, parameter in net.named_parameters():
            if name.endswith("bias"):
                parameter.fill_(0.1)
    return net, {name: 1.0 - mask.double().mean().item() for name, mask in masks.items()}, masks


@pytest.mark.parametrize("sparsity", [0.0, 0.6])
@pytest.mark.parametrize(
    ("net", "shape"), [*USES.values(), *NOT_COUNTED_BY_PYTORCH.values()], ids=[*USES, *NOT_COUNTED_BY_PYTORCH]
)
def test_with_masks_only_products_that_are_not_zero_count(net, shape, sparsity):
    net, sparsities, masks = masked(net, maskable_weights(net), sparsity)
    flops = forward_flops(net, shape)
    sample = torch.randn(1, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    with NonZeroProducts() as counter, torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        net.train()(sample)  # in evaluation mode, nn.MultiheadAttention is one operation
    assert inference_flops(flops, sparsities, masks) == pytest.approx(2 * counter.n, rel=1e-12)


def test_the_packed_projection_of_attention_counts_where_it_is_told_to_be_maskable():
    net = nn.MultiheadAttention(8, 2, bias=False, batch_first=True, device="meta")
    sample = torch.empty(1, 5, 8, device="meta")
    with ProductCounter({"in": net.in_proj_weight, "out": net.out_proj.weight}, sample) as counter, torch.no_grad():
        net(sample, sample, sample)
        assert counter.flops_of_elements() == {"in": 2 * 5, "out": 2 * 5}
        net(sample[:, :2], sample, sample)
        assert counter.others == 2 * (5 * 5 * 8) + 2 * (2 * 5 * 8) + 2 * (2 * 5 * 8) + 2 * (5 * 5 * 8)
    flops = counter.flops_of_elements()
    assert flops["out"] == 2 * (5 + 2)
    assert flops["in"][:8].unique().tolist() == [2 * (5 + 2)]
    assert flops["in"][8:].unique().tolist() == [2 * (5 + 5)]


def test_a_weight_that_a_parametrisation_makes_counts_as_dense():
    net = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(8, 6)), nn.Linear(6, 3)).to("meta")
    sample = torch.empty(1, 8, device="meta")
    with ProductCounter({"1.weight": net[1].weight}, sample) as counter, torch.no_grad():
        net(sample)
    assert counter.others == 2 * 8 * 6
    assert counter.flops_of_elements() == {"1.weight": 2 * 3 * 6 / (3 * 6)}


def test_a_weight_in_any_memory_format_counts_by_its_own_mask():
    net = Net(lambda n, x: F.conv2d(x, n.c.weight[:, :2]), c=nn.Conv2d(4, 6, 3, **DOUBLE))
    net.c = net.c.to(memory_format=torch.channels_last)
    flops = forward_flops(net, (2, 6, 6))
    each = flops.by_element["c.weight"]
    assert each[:, :2].unique().tolist() == [2 * 16]
    assert each[:, 2:].unique().tolist() == [0]


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_a_view_kept_as_an_attribute_is_the_weight(device):
    net = Net(lambda n, x: n.a(x) @ n.turned.t() @ n.same.t() @ n.own, a=linear(), b=linear()).to(device)
    net.turned = net.a.weight.data.t()
    net.__dict__["same"] = net.a.weight
    net.own = torch.ones(6, 2, dtype=torch.float64, device=device)
    assert forward_flops(net, (8,)) == {"a.weight": 3 * (2 * 8 * 6), "b.weight": 0, OTHER_PRODUCTS: 2 * 6 * 2}


REFUSED = {
    "a difference": (Net(lambda n, x: F.linear(x, n.a.weight - 1.0), a=linear()), r"a\.weight .*what sub made"),
    "scaled by the sample": (Net(lambda n, x: F.linear(x, n.a.weight * x), a=linear()), r"a\.weight .*what mul made"),
    "a quotient by a weight": (Net(lambda n, x: F.linear(x, 1.0 / n.a.weight), a=linear()), r"a\.weight .*reciprocal"),
    "a part of a copy": (
        Net(lambda n, x: F.linear(x, n.a.weight.float().double()[:2]), a=linear()),
        "a part of a copy",
    ),
    "written in place": (Net(lambda n, x: n.a(x) + n.a.weight.data.add_(1.0).sum() + n.a(x), a=linear()), "add_"),
    "two weights": (Net(lambda n, x: x @ (n.a.weight.T @ n.b.weight.T), a=linear(), b=linear(6, 8)), "a.weight and b"),
    "a weight in a convolution": (
        Net(lambda n, x: F.conv2d(n.a.weight[None, None], x.view(1, 1, 2, 4)), a=linear()),
        "a.weight .*applied to",
    ),
    "never in a product": (Net(lambda n, x: (n.a.weight * x).sum(), a=linear()), r"a\.weight .*only used in mul"),
    "a kernel of a library": (
        Net(lambda n, x: n.b(n.a(x), x), a=linear(), b=nn.Bilinear(6, 8, 3, **DOUBLE)),
        "_trilinear",
    ),
    "a sparse factor": (Net(lambda n, x: torch.mm(x.to_sparse(), n.a.weight.t()), a=linear()), "sparse"),
    "a network that fails": (Net(lambda n, x: n.b(x), a=linear()), r"sample of shape \(8,\).*'b'"),
}


@pytest.mark.parametrize(("net", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_counted_is_refused_by_name(net, message):
    with pytest.raises(BadInput, match=message):
        forward_flops(net, (8,))


def test_a_use_without_products_costs_nothing():
    looked_up = Net(lambda n, x: n.b(F.embedding(x.long(), n.a.weight)), a=linear(8, 11), b=linear())
    assert forward_flops(looked_up, (4,)) == {"a.weight": 0, "b.weight": 4 * 2 * 8 * 6}
    penalised = Net(lambda n, x: n.b(x), a=linear(8, 11), b=linear())
    penalised.function = lambda n, x: (n.b(x), n.a.weight.square().sum())
    assert forward_flops(penalised, (8,)) == {"a.weight": 0, "b.weight": 2 * 8 * 6}


def test_an_operation_of_another_library_counts_by_its_formula_or_is_refused():
    @torch.library.custom_op("rigl_study_test::times", mutates_args=())
    def times(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        return one @ other

    times.register_fake(lambda one, other: one.new_empty(one.shape[0], other.shape[1]))
    net = Net(lambda n, x: times(n.a(x), n.a.weight), a=linear())
    with pytest.raises(BadInput, match=r"rigl_study_test\.times.*register_flop_formula"):
        forward_flops(net, (8,))
    packet = torch.ops.rigl_study_test.times
    register_flop_formula(packet)(lambda one, other, **_: 2 * math.prod(one) * other[1])
    try:
        with pytest.raises(BadInput, match=r"a\.weight .*an argument of times"):
            forward_flops(net, (8,))
        net.function = lambda n, x: times(n.a(x), x.new_empty(6, 2))
        assert forward_flops(net, (8,)) == {"a.weight": 2 * 8 * 6, OTHER_PRODUCTS: 2 * 6 * 2}
    finally:
        del flop_registry[packet]
