"""Made-up sentences that a network can learn to spell and to continue, of any length: for tests and for timing."""

from pathlib import Path

import numpy as np

from rigl_core.data.text import TextData, split_text
from rigl_core.errors import BadInput

_SEED = 0
_SENTENCE = ("the", "adjective", "noun", "verb", "the", "noun", "adverb")
_WORDS = {
    "the": ("the", "a", "every", "no"),
    "adjective": ("old", "small", "green", "quiet", "early", "sparse", "hidden", "broken"),
    "noun": ("gardener", "river", "lantern", "weight", "letter", "winter", "ladder", "violin"),
    "verb": ("follows", "carries", "forgets", "repairs", "counts", "crosses", "answers", "keeps"),
    "adverb": ("slowly", "again", "in the rain", "at night", "without a word", "by chance", "at last", "twice"),
}


def load(
    *,
    n_characters: float = 50_000,
    sequence_length: float = 64,
    data_dir: Path | None = None,  # noqa: ARG001 - as every data set
    download: bool = True,  # noqa: ARG001 - as every data set
) -> TextData:
    """Sentences of one pattern, each of its words drawn at random from a few. The same on every call.

    Args:
        n_characters: length of the whole text.
        sequence_length: L.
        data_dir: not used; nothing is read from files.
        download: not used; nothing is ever downloaded.

    Raises:
        BadInput: a number that is not whole or below 1, or a text too short for `sequence_length`.
    """
    if n_characters < 1 or n_characters != int(n_characters):
        raise BadInput(
            f'data set "synthetic_text": n_characters is {n_characters}; it must be a whole number of at least 1.'
        )
    random = np.random.RandomState(_SEED)  # its numbers are the same in every version of NumPy
    sentences: list[str] = []
    length = 0
    while length < n_characters:
        words = [_WORDS[kind][random.randint(len(_WORDS[kind]))] for kind in _SENTENCE]
        sentences.append(" ".join(words).capitalize() + ".\n")
        length += len(sentences[-1])
    return split_text("synthetic_text", "".join(sentences)[: int(n_characters)], sequence_length)
