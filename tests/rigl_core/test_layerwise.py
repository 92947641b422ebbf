"""Layers worked on side by side: the same results in the same order, with no more threads than torch has."""

import threading
from collections.abc import Iterator

import pytest
import torch

from rigl_core import layerwise
from rigl_core.layerwise import each_layer


@pytest.fixture(autouse=True)
def _two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


WEIGHTS = {"a": torch.zeros(300), "b": torch.zeros(500_000), "c": torch.zeros(7), "d": torch.zeros(400_000)}


def test_large_networks_are_shared_out_between_threads_that_compute_with_one_each() -> None:
    both = threading.Barrier(2)
    threads = {}

    def work(name: str) -> int:
        if WEIGHTS[name].numel() > 1000:
            both.wait(60)  # broken if they came one after the other
        threads[name] = threading.get_ident()
        WEIGHTS[name].add(1.0)
        return torch.get_num_threads()

    assert list(each_layer(work, WEIGHTS).items()) == [(name, 1) for name in WEIGHTS]
    assert threads["b"] != threads["d"]
    assert threading.get_ident() not in threads.values()
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize("case", ["small", "one thread", "a device"])
def test_what_is_not_worth_threads_stays_where_it_is(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = WEIGHTS
    if case == "small":
        weights = {"a": torch.zeros(10), "b": torch.zeros(20)}
    elif case == "one thread":
        torch.set_num_threads(1)
    else:
        weights = {name: weight.to("meta") for name, weight in WEIGHTS.items()}
    here = threading.get_ident()
    assert each_layer(lambda _: threading.get_ident(), weights) == dict.fromkeys(weights, here)


def test_what_goes_wrong_in_a_layer_is_raised() -> None:
    def fail(name: str) -> None:
        raise ArithmeticError(name)

    with pytest.raises(ArithmeticError, match="b"):
        each_layer(fail, WEIGHTS)


def test_the_threads_are_made_once() -> None:
    assert layerwise._threads(2) is layerwise._threads(2)
