"""Text to learn character by character: read from a file, split, cut into sequences."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from torch import Tensor

from rigl_core.data.text_file import find_text
from rigl_core.errors import BadInput, DataUnavailable

SEQUENCE_LENGTH = 512
"""Of the RigL paper (Evci et al. 2020, appendix I)."""

UNKNOWN = 0
"""The symbol of every character that does not occur in the training part. The vocabulary begins at 1."""

EVAL_SEQUENCES = 32
"""Sequences a forward pass when evaluating; has no effect on results beyond rounding."""


@dataclass(frozen=True, eq=False)
class TextData:
    """A text, split for training, validation (which selects) and test (which selection never looks at).

    A `rigl_core.data.task.Task`: an item is a window of `sequence_length` characters, its targets the same window one
    character later. Windows lie one after the other without overlap, and what is left at the end of a part is not used.
    A network sees each window on its own, its state zero at the beginning: bits per character are those of characters
    predicted from at most `sequence_length` predecessors, and longer windows make them better.

    Attributes:
        name: key of DATASETS.
        train: symbols, uint8 or int32, (T,).
        val: likewise.
        test: likewise.
        vocabulary: the characters of the training part in the order of their symbols, which begin at 1.
        sequence_length: L.

    Raises (on construction):
        BadInput: a part is shorter than one window and the character after it.
    """

    name: str
    train: Tensor
    val: Tensor
    test: Tensor
    vocabulary: str
    sequence_length: int

    predicts_characters: ClassVar[bool] = True
    input_dtype: ClassVar[torch.dtype] = torch.int64

    def __post_init__(self) -> None:
        for part in ("train", "val", "test"):
            if (n := len(getattr(self, part))) <= self.sequence_length:
                raise BadInput(
                    f'data set "{self.name}": its {part} part has {n} characters, and one sequence needs '
                    f"{self.sequence_length + 1}; take a longer text or a smaller sequence_length."
                )

    @property
    def num_classes(self) -> int:
        """How many symbols there are, the one for unknown characters included."""
        return len(self.vocabulary) + 1

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of what the network takes, one window: (L,)."""
        return (self.sequence_length,)

    @property
    def n_train(self) -> int:
        """How many windows there are to train on."""
        return self._n_windows(self.train)

    def _n_windows(self, part: Tensor) -> int:
        return (len(part) - 1) // self.sequence_length

    def model_arguments(self) -> dict[str, Any]:
        """What a model must know of the data: `num_classes`."""
        return {"num_classes": self.num_classes}

    def to(self, device: torch.device | str) -> Self:
        """The same text with all symbols on `device`; itself where they are there already."""
        train, val, test = (part.to(device) for part in (self.train, self.val, self.test))
        if train is self.train and val is self.val and test is self.test:
            return self
        return replace(self, train=train, val=val, test=test)

    def first(self, n: int) -> Self:
        """The same text with only the first `n` training windows; the vocabulary, validation and test stay whole.

        Raises:
            BadInput: `n` is not between 1 and the number of training windows.
        """
        if not 1 <= n <= self.n_train:
            raise BadInput(f'train_size is {n}; data set "{self.name}" has 1 to {self.n_train} training sequences.')
        return replace(self, train=self.train[: n * self.sequence_length + 1])

    def batch(self, chosen: Tensor) -> tuple[Tensor, Tensor]:
        """The training windows at the indices `chosen` (N,): symbols and the symbols after them, both int64 (N, L)."""
        return self._windows(self.train, chosen)

    def held_out(self, part: Literal["val", "test"]) -> Iterator[tuple[Tensor, Tensor]]:
        """All windows of a held-out part, in batches as `batch` gives them."""
        symbols = self.val if part == "val" else self.test
        every = torch.arange(self._n_windows(symbols), device=symbols.device)
        for start in range(0, len(every), EVAL_SEQUENCES):
            yield self._windows(symbols, every[start : start + EVAL_SEQUENCES])

    def _windows(self, symbols: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor]:
        offsets = torch.arange(self.sequence_length + 1, device=chosen.device)
        windows = symbols[chosen[:, None] * self.sequence_length + offsets].to(torch.int64)
        return windows[:, :-1], windows[:, 1:]


def split_text(name: str, text: str, sequence_length: float) -> TextData:
    """Make `TextData` of a text: its first 90 % to train, the next 5 % to validate, the last 5 % to test.

    Nothing is shuffled across the cuts: neighbouring sentences are too alike for that.

    Args:
        name: key of DATASETS.
        text: any characters.
        sequence_length: L; study files hold every number as a float, 512.0 is as good as 512.

    Raises:
        BadInput: `sequence_length` is not a whole number of at least 1, or too large for the text.
    """
    if sequence_length < 1 or sequence_length != int(sequence_length):
        raise BadInput(
            f'data set "{name}": sequence_length is {sequence_length}; it must be a whole number of at least 1.'
        )
    n_train, n_val = len(text) * 90 // 100, len(text) * 5 // 100
    points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)  # one for each character
    known = np.unique(points[:n_train])
    if len(known) == 0:
        raise BadInput(f'data set "{name}": the text is empty or nearly so ({len(text)} characters).')
    places = np.searchsorted(known, points).clip(max=len(known) - 1)
    symbols = np.where(known[places] == points, places + 1, UNKNOWN)
    compact = torch.from_numpy(symbols.astype(np.uint8 if len(known) < 256 else np.int32))
    return TextData(
        name,
        train=compact[:n_train],
        val=compact[n_train : n_train + n_val],
        test=compact[n_train + n_val :],
        vocabulary="".join(map(chr, known.tolist())),
        sequence_length=int(sequence_length),
    )


def load(
    *,
    text_file: str | None = None,
    text_sha256: str | None = None,
    sequence_length: float = SEQUENCE_LENGTH,
    data_dir: Path | None = None,
    download: bool = True,  # noqa: ARG001 - as every data set
) -> TextData:
    """A text file of the user's.

    Args:
        text_file: its path; see `rigl_core.data.text_file` for where a relative one is looked for.
        text_sha256: of its bytes, in hexadecimal; any other content is refused.
        sequence_length: L.
        data_dir: where to look first.
        download: not used; nothing is ever downloaded.

    Raises:
        BadInput: no file is named, or it is too short for `sequence_length`.
        DataUnavailable: it is not there, is another text, or is not UTF-8.
    """
    if text_file is None or text_sha256 is None:
        raise BadInput('data set "text" is a file of yours: a run names it with text_file and text_sha256.')
    path = find_text(text_file, text_sha256, data_dir)
    try:
        text = path.read_bytes().decode("utf-8")  # as it is: line ends are characters too
    except UnicodeDecodeError as error:
        raise DataUnavailable(
            f"the text {path} is not UTF-8 (byte {error.object[error.start]:#04x} at position {error.start}); "
            "convert it, for example with iconv."
        ) from error
    return split_text("text", text, sequence_length)
