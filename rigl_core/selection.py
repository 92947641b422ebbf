"""Select the best n of many: what every topology step spends its time on.

Two ways to the same masks. On a device, a threshold from `torch.topk` and a running count: nothing is read back, so
the host never waits. On a CPU, where a full sort or top-k is the slowest thing a step does, only the few candidates
that can matter are looked at: those above a bound that a sample of the scores gives, partitioned by NumPy.
"""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

SAMPLE = 8192
"""So many scores of a layer say where the n best begin. Smaller layers are looked at whole."""

SPREAD = 6.0
"""The bound leaves room for so many standard deviations of what the sample says: it is practically never too high."""

Floats = NDArray[np.floating]
Bools = NDArray[np.bool_]


def select_top(scores: Tensor, n: int, among: Tensor) -> Tensor:
    """The `n` highest-scoring positions among the candidates; ties go to the lower flat index.

    Args:
        scores: any shape, floating point. NaN counts as the lowest score.
        n: how many to select; at most the number of candidates.
        among: bool tensor of the same shape, True = candidate.

    Returns:
        Bool tensor of the same shape with exactly `n` True, all among the candidates. The same on every device.
    """
    if n == 0:
        return torch.zeros_like(among)
    return (_select_on_cpu if scores.device.type == "cpu" else _select_on_device)(scores, n, among)


def _select_on_device(scores: Tensor, n: int, among: Tensor) -> Tensor:
    """The n-th largest score is the same whatever the order of ties; a running count settles which of them belong."""
    limits = torch.finfo(scores.dtype)
    finite = torch.nan_to_num(scores, nan=limits.min, posinf=limits.max, neginf=limits.min)
    flat = finite.masked_fill(~among, -math.inf).flatten()  # of torch.where with a number the host waits
    threshold = torch.topk(flat, n, sorted=True).values[-1]
    above = flat > threshold
    tied = flat == threshold
    taken = above | (tied & (tied.cumsum(0) <= n - above.sum()))
    return taken.view_as(among)


def _select_on_cpu(scores: Tensor, n: int, among: Tensor) -> Tensor:
    if scores.dtype not in (torch.float32, torch.float64):  # NumPy has no bfloat16; float32 holds its every value
        scores = scores.float()
    flat, candidate = scores.detach().numpy().reshape(-1), among.numpy().reshape(-1)
    places = _contenders(flat, n, candidate)
    values = flat[places]
    limits = np.finfo(values.dtype)
    np.nan_to_num(values, copy=False, nan=limits.min, posinf=limits.max, neginf=limits.min)
    threshold = np.partition(values, len(values) - n)[len(values) - n]
    best = values > threshold
    best[np.flatnonzero(values == threshold)[: n - np.count_nonzero(best)]] = True
    taken = np.zeros_like(candidate)
    taken[places[best]] = True
    return torch.from_numpy(taken).view_as(among)


def _contenders(flat: Floats, n: int, candidate: Bools) -> NDArray[np.intp]:
    """Places, ascending, among which the n best candidates surely are: as few as a sample of the scores allows."""
    bound = _lower_bound(flat, n, candidate)
    if bound is not None:
        places = np.flatnonzero(flat > bound)  # NaN is not above anything
        places = places[candidate[places]]
        if len(places) >= n:
            return places
    return np.flatnonzero(candidate)


def _lower_bound(flat: Floats, n: int, candidate: Bools) -> np.floating | None:
    """A score that a little more than n candidates exceed; None where looking for one is not worth it, or not safe."""
    stride = len(flat) // SAMPLE
    while stride % 2 == 0 or stride % 3 == 0:  # in step with a kernel's height and width it would see one corner of it
        stride -= 1
    if stride < 2:
        return None
    sample = flat[::stride][candidate[::stride]]
    expected = n / stride
    wanted = math.ceil(expected + SPREAD * math.sqrt(expected) + SPREAD)
    if 2 * wanted > len(sample):  # so many that to look at all candidates costs no more
        return None
    bound: np.floating = np.partition(sample, len(sample) - wanted)[len(sample) - wanted]
    return bound if np.isfinite(bound) else None
