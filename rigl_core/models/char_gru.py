"""The character-level GRU of the RigL paper, made of linear layers: they can be masked, and their FLOPs counted."""

import math

import torch
from torch import Tensor, nn

from rigl_core.errors import BadInput

EMBEDDING, UNITS, READOUT = 128, 512, (256, 128)


class LinearGru(nn.Module):
    """One layer of gated recurrent units (Cho et al. 2014), with the numbers of `torch.nn.GRU` (batch first).

    With x the input and h the state, and the three gates stacked in the order r, z, n in both weights:

        r = σ(W_r x + b_r + U_r h + c_r)
        z = σ(W_z x + b_z + U_z h + c_z)
        n = tanh(W_n x + b_n + r ⊙ (U_n h + c_n))
        h ← (1 − z) ⊙ n + z ⊙ h

    `nn.GRU` keeps W and U in parameters of its own, out of sight of everything that looks for linear layers. Here they
    are `input.weight` (`weight_ih_l0` there) and `recurrent.weight` (`weight_hh_l0`) of two `nn.Linear`: W is applied
    to the whole sequence at once, U once a position. Weights and biases start uniform in ±1/√n_units, as there.

    Args:
        n_inputs: size of x.
        n_units: size of h.
    """

    def __init__(self, n_inputs: int, n_units: int) -> None:
        super().__init__()
        self.n_units = n_units
        self.input = nn.Linear(n_inputs, 3 * n_units)
        self.recurrent = nn.Linear(n_units, 3 * n_units)
        bound = 1.0 / math.sqrt(n_units)
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        """States (N, L, n_units) at all positions of the sequences `x` (N, L, n_inputs); before each it is zero."""
        state = x.new_zeros(len(x), self.n_units)
        states = []
        for from_input in self.input(x).unbind(1):
            input_r, input_z, input_n = from_input.chunk(3, dim=1)
            state_r, state_z, state_n = self.recurrent(state).chunk(3, dim=1)
            r = torch.sigmoid(input_r + state_r)
            z = torch.sigmoid(input_z + state_z)
            n = torch.tanh(input_n + r * state_n)
            state = n + z * (state - n)
            states.append(state)
        return torch.stack(states, dim=1)


class CharGru(nn.Module):
    """Embedding, GRU, two hidden linear layers with ReLU, and logits for the next symbol at every position.

    Evci et al. 2020, §4.2, with 128, 512, 256 and 128 units. Maskable are, in model order, `gru.input.weight`,
    `gru.recurrent.weight`, `hidden1.weight`, `hidden2.weight` and `logits.weight`; the embedding is not.

    Args:
        num_classes: number of symbols V.
        n_embedding: size of a symbol's embedding.
        n_units: size of the GRU's state.
        n_hidden: units of the two hidden layers of the readout.
    """

    def __init__(self, num_classes: int, n_embedding: int, n_units: int, n_hidden: tuple[int, int]) -> None:
        super().__init__()
        self.embedding = nn.Embedding(num_classes, n_embedding)
        self.gru = LinearGru(n_embedding, n_units)
        self.hidden1 = nn.Linear(n_units, n_hidden[0])
        self.hidden2 = nn.Linear(n_hidden[0], n_hidden[1])
        self.logits = nn.Linear(n_hidden[1], num_classes)

    def forward(self, symbols: Tensor) -> Tensor:
        """Logits (N, L, V) for the symbol after each of `symbols`, int64 (N, L); the state is zero before the first."""
        x = self.gru(self.embedding(symbols))
        x = torch.relu(self.hidden1(x))
        x = torch.relu(self.hidden2(x))
        logits: Tensor = self.logits(x)
        return logits


def char_gru(*, num_classes: int = 257, width: float = 1.0, width_multiplier: float = 1.0) -> CharGru:
    """`CharGru` at any width.

    Args:
        num_classes: number of symbols: the characters of the text and one for all that are unknown.
        width: scales the embedding and all hidden layers, rounded, at least 1 unit each.
        width_multiplier: the same, for the method `small_dense`.

    Raises:
        BadInput: a width that is not above 0.
    """
    if not 0.0 < width < math.inf:
        raise BadInput(f"width is {width}; it multiplies the units and must be above 0.")
    scale = width * width_multiplier

    def scaled(units: int) -> int:
        return max(1, round(scale * units))

    return CharGru(num_classes, scaled(EMBEDDING), scaled(UNITS), (scaled(READOUT[0]), scaled(READOUT[1])))
