"""Seeds, devices and the record of the machine."""

from importlib.metadata import PackageNotFoundError

import pytest
import torch

from rigl_core import runtime
from rigl_core.errors import BadInput
from rigl_core.runtime import derive_seed, environment, make_generator, resolve_device, set_threads


def test_derived_seeds_are_stable_and_distinct() -> None:
    # Written down: a change would silently break every checkpoint and every repetition of an old study.
    assert derive_seed(0, "masks") == 5936103782445480539
    seeds = {derive_seed(seed, word, n) for seed in range(20) for word in ("order", "masks") for n in range(20)}
    assert len(seeds) == 800
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert derive_seed(1, "order", 23) != derive_seed(12, "order", 3)


def test_generators_are_independent_of_the_global_one() -> None:
    one = torch.rand(3, generator=make_generator(1, "x"))
    torch.rand(5)
    assert torch.equal(one, torch.rand(3, generator=make_generator(1, "x")))


def test_devices() -> None:
    assert resolve_device("cpu") == "cpu"
    assert resolve_device("auto") in {"cpu", "cuda", "mps"}


@pytest.mark.parametrize("text", ["gpu", "", "cuda:99", "cuda:x", "xla", "meta"])
def test_bad_devices(text: str) -> None:
    with pytest.raises(BadInput, match=f'device "{text}"'):
        resolve_device(text)


def test_environment_names_versions_and_device() -> None:
    before = torch.get_num_threads()
    set_threads(1)
    record = environment("cpu")
    set_threads(before)
    assert record["torch"] == torch.__version__
    assert record["device"] == "cpu"
    assert record["threads"] == "1"
    assert all(isinstance(value, str) and value for value in record.values())


def test_a_bare_copy_of_the_source_is_recorded_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(runtime, "version", unknown)
    assert environment("cpu")["rigl_study"] == "not installed"
