"""Select the best n of many: what every topology step spends its time on.

Two ways to the same selection. On a device all layers are selected from at once, by sorting: a dozen launches whatever
the number of layers, and nothing is read back, so the host never waits. On a CPU, where a full sort or top-k is the
slowest thing a step does, a sample of the scores says between which two values the n-th best lies: what is above is
taken, what is below is not, both by comparing at the speed of memory, and only the few between are put in order.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

SMALL = 16_384
"""Layers up to this size are looked at whole: to sample them costs more than it saves."""

FEW = 4
"""A layer of N candidates is sampled where fewer than N / FEW are selected, and fewer weights are none."""

STRIDE = 1.5
"""Of N weights, N^⅔ / STRIDE are looked at: then to look costs as much as to order what it leaves open."""

SPREAD = 4.0
"""A sample is trusted to so many standard deviations; one time in 10,000 it is wrong, and the layer looked at whole."""

Floats = NDArray[np.floating]
Bools = NDArray[np.bool_]
Places = NDArray[np.intp]


@dataclass(frozen=True)
class PerLayer:
    """So many of each layer of a network whose layers lie one after another in a flat tensor.

    Attributes:
        sizes: weights of each layer.
        counts: how many of them.
    """

    sizes: tuple[int, ...]
    counts: tuple[int, ...]


def select_top(scores: Tensor, n: int | PerLayer, among: Tensor) -> Tensor:
    """The `n` highest-scoring positions among the candidates; ties go to the lower flat index.

    Args:
        scores: any shape, floating point. NaN counts as the lowest score.
        n: how many to select, of all or of each layer; at most the number of candidates there.
        among: bool tensor of the same shape, True = candidate.

    Returns:
        Bool tensor of the same shape with exactly `n` True, all among the candidates. The same on every device.
    """
    if isinstance(n, PerLayer):
        return _select_by_sorting(scores, n, among)
    if n == 0:
        return torch.zeros_like(among)
    if scores.device.type == "cpu":
        return _select_on_cpu(scores, n, among)
    return _select_by_sorting(scores, PerLayer((scores.numel(),), (n,)), among)


def _select_by_sorting(scores: Tensor, n: PerLayer, among: Tensor) -> Tensor:
    """The best come first in each layer; the sorts are stable, so that ties keep the order of their places."""
    limits, device = torch.finfo(scores.dtype), scores.device
    finite = torch.nan_to_num(scores, nan=limits.min, posinf=limits.max, neginf=limits.min)
    finite = finite.masked_fill(~among, -math.inf).flatten()  # for torch.where with a number the host waits
    order = finite.sort(descending=True, stable=True).indices
    sizes, counts = np.array(n.sizes, dtype=np.int64), np.array(n.counts, dtype=np.int64)
    lengths, ends = (without_waiting(numbers, device) for numbers in (sizes, np.cumsum(sizes) - sizes + counts))
    if len(sizes) > 1:
        layers = torch.arange(len(sizes), dtype=torch.int16, device=device)
        layer_of = layers.repeat_interleave(lengths, output_size=order.numel())
        order = order.take(layer_of.take(order).sort(stable=True).indices)
    # The places of a layer are now where the layer lies in the flat tensor, the best first, up to its end of `ends`.
    best = torch.arange(order.numel(), device=device) < ends.repeat_interleave(lengths, output_size=order.numel())
    return torch.empty_like(best).scatter_(0, order, best).view_as(among)


def without_waiting(numbers: NDArray[np.int64], device: torch.device) -> Tensor:
    """Numbers of the host, on a device: a copy from pageable memory would wait for everything launched before."""
    tensor = torch.from_numpy(numbers)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def _select_on_cpu(scores: Tensor, n: int, among: Tensor) -> Tensor:
    if scores.dtype not in (torch.float32, torch.float64):  # NumPy has no bfloat16; float32 holds its every value
        scores = scores.float()
    flat, candidate = scores.detach().numpy().reshape(-1), among.numpy().reshape(-1)
    places = _contenders(flat, n, candidate)
    taken = np.zeros_like(candidate)
    taken[places] = _best(flat.take(places), n)
    return torch.from_numpy(taken).view_as(among)


def _contenders(flat: Floats, n: int, candidate: Bools) -> Places:
    """Places, ascending, among which the n best candidates surely are: as few as a sample of the scores allows."""
    n_candidates = int(np.count_nonzero(candidate))
    if FEW * max(n, len(flat) - n_candidates, SMALL) < n_candidates:
        contend = flat >= _lower_bound(flat, n / n_candidates, candidate)  # which NaN never is
        contend &= candidate
        places = np.flatnonzero(contend)
        if len(places) >= n:
            return places
    return np.flatnonzero(candidate)


def _lower_bound(flat: Floats, fraction: float, candidate: Bools) -> float:
    """A score that a little more than this fraction of the candidates should reach; infinite where there is none."""
    stride = sample_stride(len(flat))
    sample = flat[::stride][candidate[::stride]]
    wanted = surely_reached(fraction * len(sample))
    bound = np.partition(sample, len(sample) - wanted)[len(sample) - wanted] if wanted <= len(sample) else -math.inf
    return float(bound) if math.isfinite(bound) else -math.inf


def sample_stride(size: int) -> int:
    """Every how many weights one of a layer of `size` is sampled."""
    stride = round(STRIDE * math.cbrt(size))
    while stride % 2 == 0 or stride % 3 == 0:  # in step with a kernel's height and width it would see one corner of it
        stride += 1
    return stride


def surely_reached(expected: float) -> int:
    """How many of a sample reach lower than the best of all do, of whom this many are expected in the sample."""
    return math.ceil(expected + SPREAD * (math.sqrt(expected) + 1))


def _best(values: Floats, n: int) -> Bools:
    """Where the `n` highest of the values are, of equal ones the first."""
    if not np.isfinite(values).all():
        limits = np.finfo(values.dtype)
        low, high = float(limits.min), float(limits.max)
        np.nan_to_num(values, copy=False, nan=low, posinf=high, neginf=low)
    threshold = np.partition(values, len(values) - n)[len(values) - n]
    best: Bools = values > threshold
    best[np.flatnonzero(values == threshold)[: n - np.count_nonzero(best)]] = True
    return best
