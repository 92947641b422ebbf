"""Scores of all kinds that a selection may meet, of so many weights."""

from collections.abc import Callable

import numpy as np

KINDS: dict[str, Callable[[np.random.Generator, int], np.ndarray]] = {
    "smooth": lambda rng, size: np.abs(rng.normal(size=size)),
    "heavy tails": lambda rng, size: np.abs(rng.standard_cauchy(size)),
    "sorted, so that places mean much": lambda rng, size: np.sort(rng.random(size)),
    "best at the end": lambda rng, size: (np.arange(size) > 0.97 * size) * rng.random(size),
    "mostly ties": lambda rng, size: rng.integers(0, 3, size).astype(float),
    "periodic like a kernel": lambda rng, size: (np.arange(size) % 9 == 4) + 1e-3 * rng.random(size),
    "all equal": lambda rng, size: np.zeros(size),
    "some not a number": lambda rng, size: np.where(rng.random(size) < 0.3, np.nan, rng.random(size)),
    "infinite": lambda rng, size: np.where(rng.random(size) < 0.5, np.inf, rng.random(size)),
}
