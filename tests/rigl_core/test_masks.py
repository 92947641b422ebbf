"""Masks: the truth table of one topology update, exact counts, ties."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rigl_core.errors import BadInput
from rigl_core.masks import MaskState, init_masks, update_mask

T, F = True, False


def vector(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float32)


# Eight weights, six of them active; the dense gradient is largest at positions 7, 0, 4, 6 (worked by hand):
#   position         0     1     2     3     4     5     6     7
WEIGHTS = vector(0.0, 1.0, 0.5, -1.5, 0.1, 8.0, -2.0, 0.0)
ACTIVE = torch.tensor([F, T, T, T, T, T, T, F])
GRADIENT = vector(3.0, 0.1, -0.2, 0.0, -2.0, 0.3, 1.0, -4.0)


@pytest.mark.parametrize(
    ("n_drop", "expected"),
    [
        # nothing moves
        (0, [F, T, T, T, T, T, T, F]),
        # 4 (|w| 0.1) is dropped; of the rest {0, 4, 7} position 7 (|g| 4) is grown
        (1, [F, T, T, T, F, T, T, T]),
        # 4 and 2 are dropped; 7 and 0 are grown
        (2, [T, T, F, T, F, T, T, T]),
        # 4, 2, 1 are dropped; 7, 0 and 4 (|g| 2) are grown: 4 comes straight back
        (3, [T, F, F, T, T, T, T, T]),
        # 4, 2, 1, 3 are dropped; 7, 0, 4, 2 (|g| 0.2) are grown
        (4, [T, F, T, F, T, T, T, T]),
        # all are dropped: the six largest gradients 7, 0, 4, 6, 5, 2
        (6, [T, F, T, F, T, T, T, T]),
    ],
)
def test_truth_table_of_a_rigl_update(n_drop: int, expected: list[bool]) -> None:
    new = update_mask(ACTIVE, drop_score=WEIGHTS.abs(), grow_score=GRADIENT.abs(), n_keep=6 - n_drop, n_grow=n_drop)
    assert new.tolist() == expected


@given(data=st.data(), size=st.integers(1, 60))
def test_update_keeps_the_counts_and_the_best(data: st.DataObject, size: int) -> None:
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 999)))
    n_active = data.draw(st.integers(1, size))
    n_drop = data.draw(st.integers(0, n_active))
    mask = init_masks({"w": (size,)}, {"w": n_active}, generator).masks["w"]
    drop, grow = torch.rand(size, generator=generator), torch.rand(size, generator=generator)
    new = update_mask(mask, drop_score=drop, grow_score=grow, n_keep=n_active - n_drop, n_grow=n_drop)
    assert int(new.sum()) == n_active
    # every dropped weight scores no higher than every kept one; every position left out grows no better
    kept, dropped = mask & new, mask & ~new
    if dropped.any() and kept.any():
        order = torch.argsort(torch.where(mask, drop, -1.0), descending=True)[: n_active - n_drop]
        assert set(order.tolist()) <= set(new.nonzero().flatten().tolist())
    newborn, left_out = new & ~mask, ~new
    if newborn.any() and left_out.any():
        assert grow[newborn].min() >= grow[left_out].max()


@given(data=st.data(), size=st.integers(2, 40))
def test_update_commutes_with_permutation_when_scores_differ(data: st.DataObject, size: int) -> None:
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 999)))
    n_active = data.draw(st.integers(1, size))
    n_drop = data.draw(st.integers(0, n_active))
    mask = init_masks({"w": (size,)}, {"w": n_active}, generator).masks["w"]
    drop = torch.randperm(size, generator=generator).float()
    grow = torch.randperm(size, generator=generator).float()
    p = torch.randperm(size, generator=generator)

    def update(m: torch.Tensor, d: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
        return update_mask(m, drop_score=d, grow_score=g, n_keep=n_active - n_drop, n_grow=n_drop)

    assert torch.equal(update(mask, drop, grow)[p], update(mask[p], drop[p], grow[p]))


def test_impossible_counts_are_refused() -> None:
    with pytest.raises(BadInput, match="cannot keep 6 and grow 3 weights of a layer of 8"):
        update_mask(ACTIVE, drop_score=WEIGHTS, grow_score=GRADIENT, n_keep=6, n_grow=3)
    for n_keep, n_grow in ((-1, 3), (3, -1)):
        with pytest.raises(BadInput, match=f"cannot keep {n_keep} and grow {n_grow} weights of a layer of 8"):
            update_mask(ACTIVE, drop_score=WEIGHTS, grow_score=GRADIENT, n_keep=n_keep, n_grow=n_grow)
    with pytest.raises(BadInput, match="layer w has 4 weights and cannot keep 5"):
        init_masks({"w": (2, 2)}, {"w": 5}, torch.Generator())


def test_initial_masks_have_exact_counts_and_depend_on_the_seed_alone() -> None:
    shapes, budgets = {"a": (30, 7), "b": (5, 4, 3, 3), "c": (1, 1)}, {"a": 17, "b": 180, "c": 0}
    one = init_masks(shapes, budgets, torch.Generator().manual_seed(5))
    two = init_masks(shapes, budgets, torch.Generator().manual_seed(5))
    other = init_masks(shapes, budgets, torch.Generator().manual_seed(6))
    assert {name: int(mask.sum()) for name, mask in one.masks.items()} == budgets == one.n_active
    assert all(torch.equal(one.masks[name], two.masks[name]) for name in shapes)
    assert not torch.equal(one.masks["a"], other.masks["a"])
    assert one.sparsity() == pytest.approx(1 - 197 / 391)
    assert one.sparsities() == pytest.approx({"a": 1 - 17 / 210, "b": 0.0, "c": 1.0})


def test_mask_state_counts_are_plain_integers() -> None:
    state = MaskState({"w": torch.ones(3, dtype=torch.bool)}, {"w": 3})
    assert isinstance(state.sparsity(), float)
    assert state.sparsity() == 0.0
