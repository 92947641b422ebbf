"""The nearest name, for who has typed another one."""

import pytest

from rigl_core.data import DATASETS
from rigl_core.errors import nearest
from rigl_core.methods import METHODS
from rigl_core.models import MODELS

KNOWN = [*METHODS, *MODELS, *DATASETS]


@pytest.mark.parametrize("name", KNOWN)
@pytest.mark.parametrize("typed", [str.upper, str.title, lambda name: name.replace("_", "-")])
def test_capitals_and_what_separates_words_do_not_matter(name: str, typed: "type[str]") -> None:
    assert nearest(typed(name), KNOWN) == [name]


@pytest.mark.parametrize(
    ("typed", "found"),
    [("rgil", "rigl"), ("WRN-22-2", "wrn_22_2"), ("CIFAR-100", "cifar100"), ("fashion", "fashion_mnist"),
     ("LeNet", "lenet_300_100"), ("statik", "static")],
)  # fmt: skip
def test_the_nearest_is_what_was_meant(typed: str, found: str) -> None:
    assert nearest(typed, KNOWN) == [found]


def test_several_near_ones_and_none() -> None:
    assert sorted(nearest("study-3", ["study-1", "Study_2", "other"], n=3)) == ["Study_2", "study-1"]
    assert nearest("xyz", ["study-1"]) == []
    assert nearest("--", ["--", "a"]) == ["--"]
    assert nearest("a", []) == []
