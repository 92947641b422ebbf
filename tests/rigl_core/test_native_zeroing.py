"""Compiled zeroing outside of masks against PyTorch's selection, bit for bit; and which networks take it."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rigl_core.mask_memory import MaskMemory
from rigl_core.native import build, zeroing

pytestmark = pytest.mark.skipif(isinstance(build.topology(), str), reason=f"no native code: {build.topology()}")


def bits(tensor: Tensor) -> list[int]:
    return tensor.contiguous().view(torch.int32).flatten().tolist()


@given(
    st.lists(st.lists(st.tuples(st.floats(width=32), st.booleans()), max_size=40), min_size=1, max_size=4),
    st.integers(1, 2),
    st.booleans(),
)
def test_every_number_becomes_what_pytorch_makes_of_it(
    layers: list[list[tuple[float, bool]]], threads: int, only_not_finite: bool
) -> None:
    tensors = [torch.tensor([value for value, _ in layer], dtype=torch.float32) for layer in layers]
    masks = [torch.tensor([active for _, active in layer], dtype=torch.bool) for layer in layers]
    expected = [
        torch.where(mask | (tensor.isfinite() if only_not_finite else mask), tensor, 0.0)
        for tensor, mask in zip(tensors, masks, strict=True)
    ]
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        zeroing.zero_outside(tensors, masks, only_not_finite=only_not_finite)
    finally:
        torch.set_num_threads(before)
    for tensor, wanted in zip(tensors, expected, strict=True):
        nan = wanted.isnan()
        assert torch.equal(tensor.isnan(), nan)  # of what kind a NaN is does not matter
        assert bits(tensor[~nan]) == bits(wanted[~nan])


@pytest.mark.parametrize("like", ["both channels last", "another layout", "another type", "with gaps"])
def test_however_a_tensor_lies_in_memory(like: str) -> None:
    values = torch.randn(4, 3, 2, 2)
    mask = values > 0
    tensor = values.clone()
    if like in ("both channels last", "another layout"):
        mask = mask.to(memory_format=torch.channels_last)
    if like == "both channels last":
        tensor = tensor.to(memory_format=torch.channels_last)
    if like == "another type":
        tensor = tensor.double()
    if like == "with gaps":
        tensor = torch.zeros(4, 3, 2, 4)[..., ::2].copy_(values)
    zeroing.zero_outside([tensor], [mask])
    assert torch.equal(tensor, values.to(tensor.dtype) * mask)


def test_only_large_networks_of_usual_numbers_on_a_cpu() -> None:
    large, small = torch.empty(zeroing.WORTH_IT), torch.empty(zeroing.WORTH_IT - 1)
    assert zeroing.suits([large])
    assert not zeroing.suits([small])
    assert not zeroing.suits([large, small.double()])
    assert not zeroing.suits([large, large.to("meta")])


def test_no_memory_is_spent_on_numbers_that_nothing_needs() -> None:
    weights = {"w": torch.empty(zeroing.WORTH_IT)}
    assert MaskMemory.like(weights).numbers == {}
    assert MaskMemory.like({"w": torch.empty(10)}).numbers.keys() == {"w"}
    assert MaskMemory.like({"w": torch.empty(10)}, numbers=False).numbers == {}


@settings(max_examples=50)
@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=20))
def test_what_is_newborn_is_told_alike_with_numbers_and_without(active: list[tuple[bool, bool]]) -> None:
    old, new = (torch.tensor(column) for column in zip(*active, strict=True))
    told = []
    for numbers in (True, False):
        memory = MaskMemory.like({"w": torch.empty(len(active))}, numbers=numbers)
        memory.fill({"w": old})
        others = memory.move_to([new], newborn=True)
        told.append((others["w"] * 1.0).tolist())
        assert torch.equal(memory.masks["w"], new)
        values = {"w": torch.ones(len(active))}
        memory.zero_outside(values)
        assert values["w"].tolist() == new.float().tolist()
    assert told[0] == told[1] == [float(was or not now) for was, now in active]
