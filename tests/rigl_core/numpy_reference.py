"""Every method once more, in NumPy, by the letter of the papers and with nothing shared with `rigl_core`.

A perceptron of two weight matrices without biases, softmax cross-entropy, SGD with Nesterov momentum or Adam. Slow and
plain on purpose: Python loops over sorted positions, no thresholds, no tensors of PyTorch.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

Matrix = np.ndarray


def loss_gradients(w1: Matrix, w2: Matrix, x: Matrix, y: Matrix) -> tuple[Matrix, Matrix]:
    """Gradients of the mean cross-entropy; x (N, I), w1 (H, I), w2 (K, H), labels y (N,)."""
    z = x @ w1.T
    h = np.maximum(z, 0)
    logits = h @ w2.T
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    p[np.arange(len(y)), y] -= 1
    p /= len(y)
    return ((p @ w2) * (z > 0)).T @ x, p.T @ h


@dataclass
class Sgd:
    lr: float
    momentum: float = 0.9
    weight_decay: float = 0.0
    buffers: dict[int, Matrix] = field(default_factory=dict)

    def step(self, i: int, w: Matrix, g: Matrix) -> Matrix:
        g = g + self.weight_decay * w
        buffer = self.momentum * self.buffers[i] + g if i in self.buffers else g.copy()
        self.buffers[i] = buffer
        return w - self.lr * (g + self.momentum * buffer)

    def moments(self, i: int) -> list[Matrix]:
        return [self.buffers[i]] if i in self.buffers else []

    def signal(self, i: int, like: Matrix) -> Matrix:
        return self.buffers.get(i, np.zeros_like(like))


@dataclass
class Adam:
    lr: float
    weight_decay: float = 0.0
    t: dict[int, int] = field(default_factory=dict)
    first: dict[int, Matrix] = field(default_factory=dict)
    second: dict[int, Matrix] = field(default_factory=dict)

    def step(self, i: int, w: Matrix, g: Matrix) -> Matrix:
        g = g + self.weight_decay * w
        self.t[i] = self.t.get(i, 0) + 1
        self.first[i] = 0.9 * self.first.get(i, np.zeros_like(w)) + 0.1 * g
        self.second[i] = 0.999 * self.second.get(i, np.zeros_like(w)) + 0.001 * g * g
        m = self.first[i] / (1 - 0.9 ** self.t[i])
        v = self.second[i] / (1 - 0.999 ** self.t[i])
        return w - self.lr * m / (np.sqrt(v) + 1e-8)

    def moments(self, i: int) -> list[Matrix]:
        return [self.first[i], self.second[i]] if i in self.first else []

    def signal(self, i: int, like: Matrix) -> Matrix:
        return self.first[i] / (np.sqrt(self.second[i]) + 1e-8) if i in self.first else np.zeros_like(like)


def best(scores: Matrix, candidates: list[int], n: int) -> set[int]:
    flat = scores.ravel()
    return set(sorted(candidates, key=lambda position: (-flat[position], position))[:n])


def share_out(n_grow: int, kept: list[int], sizes: list[int], statistic: list[float]) -> list[int]:
    """One weight at a time would do for two layers: fill proportionally, give the overflow to the other."""
    total = sum(statistic)
    exact = [n_grow * s / total if total > 0 else n_grow * (n - k) / (sum(sizes) - sum(kept))
             for s, n, k in zip(statistic, sizes, kept, strict=True)]  # fmt: skip
    first = min(sizes[0] - kept[0], math.floor(exact[0] + 0.5) if exact[0] % 1 != 0.5 else math.ceil(exact[0]))
    first = max(first, n_grow - (sizes[1] - kept[1]))
    return [first, n_grow - first]


class Reference:
    """Plays one method; `weights`, `masks` are lists of two matrices."""

    def __init__(
        self, method: str, weights: list[Matrix], masks: list[Matrix], optimizer: Sgd | Adam,
        *, alpha: float, delta_t: int, t_end: int, t_start: int, sparsity: float,
    ) -> None:  # fmt: skip
        self.method, self.optimizer = method, optimizer
        self.masks = [mask.copy() for mask in masks]
        self.weights = [w * m for w, m in zip(weights, masks, strict=True)]
        self.alpha, self.delta_t, self.t_end, self.t_start, self.sparsity = alpha, delta_t, t_end, t_start, sparsity

    def is_update(self, step: int) -> bool:
        if self.method in ("dense", "small_dense", "static"):
            return False
        if self.method == "pruning":
            inside = self.t_start < step < self.t_end and (step - self.t_start) % self.delta_t == 0
            return inside or step == self.t_end
        return 0 < step < self.t_end and step % self.delta_t == 0

    def step(self, step: int, x: Matrix, y: Matrix, random: Callable[[int], Matrix]) -> None:
        gradients = list(loss_gradients(*self.weights, x, y))
        if self.is_update(step):
            if self.method == "pruning":
                self.prune(step)
            else:
                self.drop_and_grow(step, gradients, random)
            return
        for i in (0, 1):
            gradient = gradients[i] if self.method == "snfs" else gradients[i] * self.masks[i]
            self.weights[i] = self.optimizer.step(i, self.weights[i], gradient) * self.masks[i]

    def prune(self, step: int) -> None:
        progress = min(1.0, (step - self.t_start) / (self.t_end - self.t_start))
        sparsity = self.sparsity * (1 - (1 - progress) ** 3)
        sizes = [w.size for w in self.weights]
        flat = np.concatenate([np.abs(w).ravel() for w in self.weights])
        active = [int(p) for p in np.flatnonzero(np.concatenate([m.ravel() for m in self.masks]))]
        kept = best(flat, active, round((1 - sparsity) * sum(sizes)))
        everything = np.isin(np.arange(sum(sizes)), list(kept))
        self.change([everything[: sizes[0]], everything[sizes[0] :]])

    def drop_and_grow(self, step: int, gradients: list[Matrix], random: Callable[[int], Matrix]) -> None:
        fraction = self.alpha / 2 * (1 + math.cos(math.pi * step / self.t_end))
        signals = [self.optimizer.signal(i, self.weights[i]) for i in (0, 1)]
        n_active = [int(m.sum()) for m in self.masks]
        n_drop = [int(fraction * n) for n in n_active]
        kept = [
            best(np.abs(self.weights[i]), [int(p) for p in np.flatnonzero(self.masks[i])], n_active[i] - n_drop[i])
            for i in (0, 1)
        ]
        n_grow = n_drop
        if self.method in ("snfs", "rigl_sm", "rigl_sg"):
            source = gradients if self.method == "rigl_sg" else signals
            statistic = [float(np.abs(source[i])[self.masks[i]].mean()) for i in (0, 1)]
            sizes = [w.size for w in self.weights]
            n_grow = share_out(sum(n_drop), [len(k) for k in kept], sizes, statistic)
        new = []
        for i in (0, 1):
            if n_grow[i] == n_drop[i] == 0:
                new.append(self.masks[i].ravel())
                continue
            scores = random(i) if self.method == "set" else np.abs((signals if self.method == "snfs" else gradients)[i])
            rest = [p for p in range(self.weights[i].size) if p not in kept[i]]
            active = kept[i] | best(scores, rest, n_grow[i])
            new.append(np.isin(np.arange(self.weights[i].size), list(active)))
        self.change(new)

    def change(self, flat: list[Matrix]) -> None:
        for i in (0, 1):
            new = flat[i].reshape(self.weights[i].shape)
            newborn = new & ~self.masks[i]
            self.weights[i] = self.weights[i] * new
            for moment in self.optimizer.moments(i):
                if self.method == "snfs":
                    moment[newborn] = 0
                else:
                    moment[~new] = 0
            self.masks[i] = new
