"""What a method did with its weights during training, over the trials of a pair that were trained as long."""

from collections.abc import Mapping
from dataclasses import dataclass

from studies.coordinates import Array

MOVED = 0.001
"""A layer's sparsity has changed if it differs by more than this from that of the start."""


@dataclass(frozen=True)
class Trajectory:
    """A method at a pair, and how long it was trained where that was searched.

    Attributes:
        study: the Optuna study.
        place: the pair in words.
        method: the method trained.
        name: what it is called among others: its method, and its length where that was searched, "rigl 2×".
        label: place and name in words; without the name where there is only one.
        n_trials: complete trials that the numbers are over.
        initial: sparsity by layer before the first step, their mean; empty where no trial told.
        final: the same at the end.
        explored: R_s by epoch: least, mean and most over the trials, (3, epochs).
        flops: inference FLOPs by epoch, likewise.
    """

    study: str
    place: str
    method: str
    name: str
    label: str
    n_trials: int
    initial: Mapping[str, float]
    final: Mapping[str, float]
    explored: Array
    flops: Array

    @property
    def is_sparse(self) -> bool:
        """Whether any layer lost a weight."""
        return any(sparsity > 0 for sparsity in self.final.values())

    @property
    def begins_dense(self) -> bool:
        """Whether training began with every weight, as pruning does."""
        return bool(self.initial) and not any(self.initial.values())

    @property
    def largest_move(self) -> tuple[str, float] | None:
        """The layer whose sparsity changed most, and by how much; None where the start is not known or was dense."""
        if self.begins_dense:
            return None
        changes = {name: self.final[name] - before for name, before in self.initial.items() if name in self.final}
        return max(changes.items(), key=lambda change: abs(change[1])) if changes else None

    @property
    def moved(self) -> bool:
        """Whether any layer ended with another sparsity than it began with."""
        return self.largest_move is not None and abs(self.largest_move[1]) > MOVED
