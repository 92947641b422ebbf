"""The compiled topology step against the plain rule of one layer: same masks, exact counts, ties by index."""

from collections.abc import Mapping

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from rigl_core import topology
from rigl_core.errors import BadInput
from rigl_core.masks import MaskState, init_masks, update_mask
from rigl_core.methods import METHODS
from rigl_core.native import build
from rigl_core.native import drop_and_grow as native
from rigl_core.scores import Layer
from rigl_core.selection import sample_stride
from tests.rigl_core.score_kinds import KINDS

pytestmark = pytest.mark.skipif(isinstance(build.topology(), str), reason=f"no native code: {build.topology()}")

T, F = True, False


def natively(mask: Tensor, drop: Tensor, grow: Tensor, n_keep: int, n_grow: int) -> Tensor:
    new = native.drop_and_grow(
        masks={"only": mask},
        drop_scores={"only": drop},
        grow_scores={"only": grow},
        n_keep={"only": n_keep},
        n_grow={"only": n_grow},
    )
    return new["only"]


def test_by_hand() -> None:
    mask = torch.tensor([T, T, T, T, F, F, F, F])
    drop = torch.tensor([4.0, -3.0, 2.0, -2.0, 9.0, 9.0, 9.0, 9.0])
    grow = torch.tensor([9.0, 9.0, 5.0, 1.0, -5.0, 1.0, 0.0, 5.0])
    # 0, 1 and the first of two at 2 are kept; 5 at the lowest index (not kept), then the next
    assert natively(mask, drop, grow, 3, 2).int().tolist() == [1, 1, 1, 0, 1, 0, 0, 1]
    # what is dropped may be grown again: 2 by its score of 5, before 4 with the same
    assert natively(mask, drop, grow, 2, 1).int().tolist() == [1, 1, 1, 0, 0, 0, 0, 0]


def test_nan_is_the_lowest_and_infinity_the_largest_number() -> None:
    nan, inf, largest = float("nan"), float("inf"), torch.finfo(torch.float32).max
    everywhere, scores = torch.ones(6, dtype=torch.bool), torch.tensor([nan, 0.0, -nan, largest, -inf, 1e-45])
    kept = [natively(everywhere, scores, scores, n, 0).int().tolist() for n in range(7)]
    assert kept == [
        [0, 0, 0, 0, 0, 0],
        [0, 0, 0, 1, 0, 0],
        [0, 0, 0, 1, 1, 0],
        [0, 0, 0, 1, 1, 1],
        [0, 1, 0, 1, 1, 1],
        [1, 1, 0, 1, 1, 1],
        [1, 1, 1, 1, 1, 1],
    ]


@given(
    st.lists(
        st.tuples(st.floats(width=32), st.sampled_from([-2.0, -1.0, 0.0, 1.0, float("nan")]), st.booleans()),
        max_size=40,
    ),
    st.data(),
)
def test_it_is_the_rule_of_one_layer(weights: list[tuple[float, float, bool]], data: st.DataObject) -> None:
    drop, grow = (torch.tensor([weight[i] for weight in weights]) for i in (0, 1))
    mask = torch.tensor([weight[2] for weight in weights], dtype=torch.bool)
    n_keep = data.draw(st.integers(0, int(mask.sum())))
    n_grow = data.draw(st.integers(0, len(weights) - n_keep))
    expected = update_mask(mask, drop_score=drop.abs(), grow_score=grow.abs(), n_keep=n_keep, n_grow=n_grow)
    assert torch.equal(natively(mask, drop, grow, n_keep, n_grow), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_a_sample_spares_work_and_changes_nothing(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "SMALL", 500)
    rng = np.random.default_rng(0)
    for size, density, dropped, grown in (
        (5_000, 0.1, 0.3, 0.03), (4_999, 0.9, 0.5, 0.05), (20_000, 0.5, 0.999, 0.001), (501, 1.0, 0.2, 0.2),
    ):  # fmt: skip
        drop, grow = (torch.from_numpy(KINDS[kind](rng, size)).float() for _ in range(2))
        mask = torch.from_numpy(rng.random(size) < density)
        n_keep = int((1 - dropped) * int(mask.sum()))
        n_grow = int(grown * size)
        expected = update_mask(mask, drop_score=drop, grow_score=grow, n_keep=n_keep, n_grow=n_grow)
        assert torch.equal(natively(mask, -drop, grow, n_keep, n_grow), expected)


def test_a_sample_that_misleads_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "SMALL", 500)
    everywhere, scores = torch.ones(5_000, dtype=torch.bool), torch.ones(5_000)
    scores[:: sample_stride(5_000)] = 2.0  # all that is sampled is better than nearly all that is not
    expected = update_mask(everywhere, drop_score=scores, grow_score=scores, n_keep=500, n_grow=600)
    assert torch.equal(natively(everywhere, scores, scores, 500, 600), expected)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_any_number_of_threads_any_layout(threads: int) -> None:
    generator = torch.Generator().manual_seed(threads)
    shapes = {"a": (3, 4, 5, 5), "b": (70_000, 2), "c": (1,), "d": (0, 3), "e": (20_000,)}
    scores = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    scores["a"] = scores["a"].to(memory_format=torch.channels_last)
    scores["b"] = scores["b"].T.contiguous().T
    budgets = {name: score.numel() // 3 for name, score in scores.items()}
    masks = init_masks(shapes, budgets, generator).masks
    masks["a"] = masks["a"].to(memory_format=torch.channels_last)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        new = native.drop_and_grow(masks=masks, drop_scores=scores, grow_scores=scores, n_keep=budgets, n_grow=budgets)
    finally:
        torch.set_num_threads(before)
    for name, score in scores.items():
        expected = update_mask(
            masks[name], drop_score=score.abs(), grow_score=score.abs(), n_keep=budgets[name], n_grow=budgets[name]
        )
        assert torch.equal(new[name], expected), name
        assert int(new[name].sum()) == 2 * budgets[name]


@pytest.mark.parametrize(
    ("n_keep", "n_grow", "why"),
    [(3, 0, "mask and its count disagree"), (2, 3, "cannot keep 2 and grow 3"), (-1, 0, "cannot keep -1")],
)
def test_counts_that_cannot_be_are_refused(n_keep: int, n_grow: int, why: str) -> None:
    with pytest.raises(BadInput, match=why):
        natively(torch.tensor([T, T, F, F]), torch.ones(4), torch.ones(4), n_keep, n_grow)


def network(n: int, dtype: torch.dtype = torch.float32) -> tuple[dict[str, Layer], MaskState]:
    generator = torch.Generator().manual_seed(n)
    shapes = {"small": (5, 7), "large": (n,)}
    layers = {
        name: Layer(*(torch.randn(shape, generator=generator, dtype=dtype) for _ in range(3)), generator)
        for name, shape in shapes.items()
    }
    return layers, init_masks(shapes, {"small": 15, "large": n // 10}, generator)


@pytest.mark.parametrize("method", [name for name, row in METHODS.items() if row.drop is not None])
def test_every_method_moves_its_masks_as_without(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    moved: list[Mapping[str, Tensor]] = []
    for worth_it, step in ((0, "updated_each"), (10**9, "updated_natively")):
        layers, masks = network(3_000)
        monkeypatch.setattr(native, "WORTH_IT", worth_it)
        with monkeypatch.context() as other_way:
            other_way.setattr(topology, step, lambda *_: pytest.fail("went the other way"))
            new, _ = topology.drop_and_grow(layers, masks, METHODS[method], 0.3)
        moved.append(new.masks)
    assert all(torch.equal(moved[0][name], mask) for name, mask in moved[1].items())


def test_who_goes_this_way(monkeypatch: pytest.MonkeyPatch) -> None:
    assert native.suits(network(native.WORTH_IT)[0])
    assert not native.suits(network(1_000)[0])
    assert not native.suits(network(native.WORTH_IT, torch.float64)[0])
    monkeypatch.setattr(native, "topology", lambda: "there is no C compiler")
    assert not native.suits(network(native.WORTH_IT)[0])
