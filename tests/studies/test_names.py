"""What settings are called on a page: words for people, of every name that the service knows."""

import pytest

from rigl_core.config import TrainConfig
from rigl_core.data import DATASETS
from rigl_core.distributions import DISTRIBUTIONS, TITLES
from rigl_core.methods import METHODS
from rigl_core.models import MODELS
from studies import names


def test_every_name_that_can_be_typed_has_a_title_of_its_own() -> None:
    for titles in (
        [row.title for row in METHODS.values()],
        [row.title for row in MODELS.values()],
        [row.title for row in DATASETS.values()],
        [TITLES[key] for key in DISTRIBUTIONS],
    ):
        assert all(titles)
        assert len(set(titles)) == len(titles)


def test_no_setting_is_called_by_its_key_with_underscores() -> None:
    assert [name for name in TrainConfig.model_fields if "_" in names.symbol(name).replace("T_end", "")] == []
    assert len({names.words(name) for name in TrainConfig.model_fields}) == len(TrainConfig.model_fields)


@pytest.mark.parametrize(
    ("name", "symbol", "words"),
    [
        ("lr", "η", "learning rate η"),
        ("alpha", "α", "drop fraction α"),
        ("delta_t", "ΔT", "update interval ΔT"),
        ("batch_size", "batch size", "batch size"),
    ],
)
def test_parameters_by_hand(name: str, symbol: str, words: str) -> None:
    assert (names.symbol(name), names.words(name)) == (symbol, words)


def test_values_by_hand() -> None:
    assert names.title("method", "rigl_sg") == "RigL-SG"
    assert names.title("model", "lenet_300_100") == "LeNet-300-100"
    assert names.title("dataset", "fashion_mnist") == "Fashion-MNIST"
    assert names.title("distribution", "erk") == "ERK"
    assert names.title("optimizer", "adam") == "adam"
    assert names.title("lr", 0.1) == 0.1
    assert names.method("rigl 2×") == "RigL 2×"
    assert names.method("a_method_of_tomorrow") == "a_method_of_tomorrow"


def test_what_another_program_calls_alpha_is_no_drop_fraction() -> None:
    with names.as_they_are():
        assert (names.symbol("alpha"), names.words("alpha")) == ("alpha", "alpha")
        assert names.title("method", "rigl") == "rigl"
    assert names.words("alpha") == "drop fraction α"
