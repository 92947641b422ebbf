"""Several tests at once: Holm's step-down correction of p-values."""

from collections.abc import Sequence


def holm(p_values: Sequence[float]) -> list[float]:
    """Corrected p-values, in the order given: reject those below 5 %, and any false rejection at all has 5 % chance.

    Holm 1979, "A simple sequentially rejective multiple test procedure": of m tests, the i-th smallest p-value (from
    0) is multiplied by m − i; none may come out below one that was smaller, nor above 1. SciPy corrects for false
    discoveries only, and statsmodels is a large dependency for these lines.

    Args:
        p_values: of tests on the same question; they need not be independent.
    """
    ascending = sorted(range(len(p_values)), key=lambda i: p_values[i])
    corrected = [0.0] * len(p_values)
    so_far = 0.0
    for rank, i in enumerate(ascending):
        so_far = max(so_far, min(1.0, (len(p_values) - rank) * p_values[i]))
        corrected[i] = so_far
    return corrected
