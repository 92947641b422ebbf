"""Texts: found by path and content, split, cut into windows, and never another one than the one meant."""

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from rigl_core.config import TrainConfig
from rigl_core.data import find
from rigl_core.data.synthetic_text import load as synthetic
from rigl_core.data.task import load_task
from rigl_core.data.text import UNKNOWN, TextData, load, split_text
from rigl_core.data.text_file import find_text, text_digest
from rigl_core.errors import BadInput, DataUnavailable

RHYME = "Der Mond ist rund,\nдень за днём — one by one.\r\n"
"""Umlauts, Cyrillic, a dash, both kinds of line end; written for this test."""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "corpus.txt"
    path.write_bytes((RHYME * 40).encode())
    return path


@pytest.fixture(autouse=True)
def _empty_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(find.ENVIRONMENT_VARIABLE, raising=False)
    monkeypatch.setattr(find, "cache_dir", lambda: tmp_path / "cache")


def text_of(data: TextData, symbols: torch.Tensor) -> str:
    return "".join("\ufffd" if symbol == UNKNOWN else data.vocabulary[symbol - 1] for symbol in symbols.tolist())


def test_the_text_comes_back_from_its_three_parts(file: Path) -> None:
    data = load(text_file=str(file), text_sha256=text_digest(file), sequence_length=16)
    whole = RHYME * 40
    assert data.vocabulary == "".join(sorted(set(whole)))
    assert text_of(data, data.train) + text_of(data, data.val) + text_of(data, data.test) == whole
    assert (len(data.train), len(data.val)) == (len(whole) * 90 // 100, len(whole) * 5 // 100)
    assert data.train.dtype == torch.uint8
    assert (data.name, data.num_classes, data.input_shape) == ("text", len(set(whole)) + 1, (16,))
    assert data.model_arguments() == {"num_classes": data.num_classes}


def test_windows_lie_side_by_side_and_targets_are_one_character_later() -> None:
    data = split_text("text", "abcdefghij" * 10, 4.0)  # 90 characters to train: 22 windows, 88 + 1 characters
    assert data.n_train == 22
    inputs, targets = data.batch(torch.tensor([0, 2, 21]))
    assert inputs.dtype == targets.dtype == torch.int64
    assert [text_of(data, window) for window in inputs] == ["abcd", "ijab", "efgh"]
    assert [text_of(data, window) for window in targets] == ["bcde", "jabc", "fghi"]


def test_held_out_parts_are_covered_once_and_not_taken_for_each_other() -> None:
    data = split_text("text", "abcdefghij" * 1900 + "jihgfedcba" * 100, 7)
    assert not torch.equal(data.val, data.test)
    for part, symbols in (("val", data.val), ("test", data.test)):
        batches = list(data.held_out(part))
        assert len(batches) > 1
        inputs, targets = (torch.cat(tensors).flatten() for tensors in zip(*batches, strict=True))
        n_used = (len(symbols) - 1) // 7 * 7
        assert torch.equal(inputs, symbols[:n_used].long())
        assert torch.equal(targets, symbols[1 : n_used + 1].long())


def test_a_character_that_training_has_not_is_the_reserved_symbol() -> None:
    data = split_text("text", "ab" * 45 + "abcba" + "zabaa", 4)
    assert data.vocabulary == "ab"
    assert data.val.tolist() == [1, 2, UNKNOWN, 2, 1]
    assert data.test.tolist() == [UNKNOWN, 1, 2, 1, 1]
    assert data.num_classes == 3


def test_more_characters_than_fit_a_byte() -> None:
    text = "".join(map(chr, range(0x4E00, 0x4E00 + 300))) * 4
    data = split_text("text", text, 8)
    assert data.train.dtype == torch.int32
    assert text_of(data, data.train) == text[:1080]


@pytest.mark.parametrize(("n_characters", "dtype"), [(255, torch.uint8), (256, torch.int32)])
def test_symbols_take_a_byte_as_long_as_they_fit(n_characters: int, dtype: torch.dtype) -> None:
    text = "".join(map(chr, range(0x4E00, 0x4E00 + n_characters))) * 20
    data = split_text("text", text, 8)
    assert data.train.dtype == dtype
    assert int(data.train.max()) == n_characters  # symbols begin at 1
    assert text_of(data, data.test) == text[-len(data.test) :]


def test_a_part_of_one_window_and_the_character_after_it_is_long_enough() -> None:
    data = split_text("text", "ab" * 50, 4)  # 90, 5 and 5 characters
    assert [len(list(data.held_out(part))) for part in ("val", "test")] == [1, 1]
    with pytest.raises(BadInput, match="its val part has 5 characters, and one sequence needs 6"):
        split_text("text", "ab" * 50, 5)


def test_the_last_window_has_a_character_after_it_and_the_first_ones_are_as_many_as_asked_for() -> None:
    text = "abcdefghijk" * 100
    for length in (1, 2, 5, 54):
        data = split_text("text", text, length)  # 990 characters to train
        assert data.n_train == 989 // length
        last = data.batch(torch.tensor([data.n_train - 1]))[1]
        assert text_of(data, last[0]) == text[data.n_train * length - length + 1 : data.n_train * length + 1]
        assert [data.first(n).n_train for n in (1, 2, data.n_train)] == [1, 2, data.n_train]


def test_fractions_of_a_character_go_to_the_test_part() -> None:
    data = split_text("text", "a" * 1999, 8)
    assert [len(part) for part in (data.train, data.val, data.test)] == [1799, 99, 101]


def test_only_the_first_windows() -> None:
    whole = split_text("text", "abcdefghij" * 10, 4)
    part = whole.first(3)
    assert part.n_train == 3
    assert part.vocabulary == whole.vocabulary
    assert torch.equal(part.batch(torch.arange(3))[1], whole.batch(torch.arange(3))[1])
    assert whole.first(22).n_train == 22
    for n in (0, 23):
        with pytest.raises(BadInput, match=f'train_size is {n}; data set "text" has 1 to 22 training sequences'):
            whole.first(n)


def test_it_moves_between_devices() -> None:
    here = split_text("text", "abcdefghij" * 10, 4)
    assert here.to("cpu") is here
    moved = here.to("meta")
    assert {part.device.type for part in (moved.train, moved.val, moved.test)} == {"meta"}


@pytest.mark.parametrize(
    ("text", "length", "complaint"),
    [
        ("abc" * 10, 4, "its val part has 1 characters, and one sequence needs 5"),
        ("", 4, "the text is empty or nearly so"),
        ("abc", 0, "sequence_length is 0; it must be a whole number of at least 1"),
        ("abc", 2.5, "sequence_length is 2.5"),
    ],
)
def test_texts_too_short_and_lengths_out_of_range(text: str, length: float, complaint: str) -> None:
    with pytest.raises(BadInput, match=complaint):
        split_text("text", text, length)


def test_the_digest_is_sha256sums(file: Path) -> None:
    assert text_digest(file) == hashlib.sha256(file.read_bytes()).hexdigest()
    with pytest.raises(DataUnavailable, match=r"cannot read the text .*nowhere: No such file"):
        text_digest(file.parent / "nowhere")


def test_a_relative_path_is_looked_for_where_data_are(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = text_digest(file)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    with pytest.raises(DataUnavailable, match=r"corpus.txt is not on this machine; .*cache and the current folder"):
        find_text("corpus.txt", digest)
    assert find_text("corpus.txt", digest, tmp_path) == file
    monkeypatch.setenv(find.ENVIRONMENT_VARIABLE, str(tmp_path))
    assert find_text("corpus.txt", digest) == file
    (elsewhere / "corpus.txt").write_text("another text of the same name")
    assert find_text("corpus.txt", digest) == file
    assert find_text("corpus.txt", text_digest(elsewhere / "corpus.txt")) == Path("corpus.txt")


def test_a_text_that_was_changed_is_refused(file: Path) -> None:
    digest = text_digest(file)
    config = TrainConfig(model="char_gru", dataset="text", text_file=str(file), text_sha256=digest,
                         dataset_options={"sequence_length": 16})  # fmt: skip
    assert isinstance(load_task(config), TextData)
    file.write_bytes(file.read_bytes() + b"!")
    with pytest.raises(DataUnavailable, match=f"SHA-256 begins with {digest[:12]}; found .*{text_digest(file)[:12]}"):
        load_task(config)


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "latin1.txt"
    path.write_bytes(b"caf\xe9 " * 100)
    with pytest.raises(DataUnavailable, match=r"latin1.txt is not UTF-8 \(byte 0xe9 at position 3\)"):
        load(text_file=str(path), text_sha256=text_digest(path))


def test_a_file_must_be_named() -> None:
    with pytest.raises(BadInput, match="a run names it with text_file and text_sha256"):
        load()


def test_finds_texts_without_loading_torch() -> None:
    program = "import rigl_core.data.text_file, rigl_core.config, sys; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True, timeout=60)


def test_made_up_sentences_are_the_same_every_time() -> None:
    first, second = (synthetic(n_characters=3000.0, sequence_length=16.0) for _ in range(2))
    assert torch.equal(first.train, second.train)
    assert len(first.train) + len(first.val) + len(first.test) == 3000
    assert text_of(first, first.train).splitlines()[0].endswith(".")
    assert first.name == "synthetic_text"
    with pytest.raises(BadInput, match=r"n_characters is 0\.5"):
        synthetic(n_characters=0.5)
    with pytest.raises(BadInput, match="one sequence needs 65"):
        synthetic(n_characters=100)
