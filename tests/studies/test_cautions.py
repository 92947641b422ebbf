"""What is said of a specification that is possible and hardly meant."""

from typing import Any

import pytest

from studies.catalogue import catalogue_names
from studies.cautions import cautions
from studies.spec import StudySpec
from studies.spec_file import load_spec


def planned(search: dict[str, Any], reference: dict[str, Any] | None = None, **fixed: Any) -> StudySpec:
    usual = {"dataset": "digits", "epochs": 2}  # 22 steps of 128 images, and 16 of them for masks
    return StudySpec.model_validate(
        {
            "name": "x",
            "fixed": {key: value for key, value in {**usual, **fixed}.items() if key not in search},
            "search": search,
            "strategy": {"sampler": "random", "n_trials": 2, "seeds": [0], "reference": reference},
        }
    )


@pytest.mark.parametrize("name", catalogue_names())
def test_the_catalogue_is_meant_as_it_is(name: str) -> None:
    assert cautions(load_spec(name)) == []


@pytest.mark.parametrize(
    ("search", "fixed", "at"),
    [
        ({"lr": [0.1, 0.2]}, {"delta_t": 15}, None),
        ({"lr": [0.1, 0.2]}, {"delta_t": 16}, "at delta_t = 16"),
        ({"delta_t": {"low": 5, "high": 20, "step": 5}}, {}, "at delta_t = 20"),
        ({"delta_t": [5, 30], "epochs": [2, 4]}, {}, "at delta_t = 30"),
        ({"delta_t": [5, 30], "epochs": [4, 8]}, {}, None),
        ({"delta_t": [5, 30]}, {"method": "static"}, None),
        ({"method": ["static", "set"]}, {"delta_t": 30}, "the masks of set never change"),
        ({"delta_t": [5, 30]}, {"t_end_fraction": 0.0}, None),
        ({"delta_t": [5, 30]}, {"dataset": "synthetic_text", "model": "char_gru"}, None),  # of unknown length
    ],
    ids=str,
)
def test_masks_that_would_never_change(search: dict[str, Any], fixed: dict[str, Any], at: str | None) -> None:
    told = cautions(planned(search, **fixed))
    assert len(told) == (at is not None)
    assert at is None or at in told[0]


def test_it_says_how_many_steps_there_are() -> None:
    [told] = cautions(planned({"delta_t": [5, 20]}, {"delta_t": 5}))
    assert told == (
        "at delta_t = 20 the masks of rigl never change: of 22 steps they may in the first 16; "
        "lower delta_t or train longer"
    )


@pytest.mark.parametrize(
    ("search", "fixed", "told"),
    [
        ({"lr": [0.1, 0.2]}, {"delta_t": 5, "warmup_steps": 22}, []),
        ({"lr": [0.1, 0.2]}, {"delta_t": 5, "warmup_steps": 23}, ["the warm-up of rigl takes 23 steps"]),
        (
            {"warmup_steps": [0, 30]},
            {"delta_t": 5},
            ["the warm-up of rigl takes 30 steps, and the training has 22: it"],
        ),
        (
            {"method": ["rigl", "pruning"]},
            {"delta_t": 5, "ramp_start": 5},
            ["the warm-up of pruning takes 3,500 steps"],
        ),
        ({"lr": [0.1, 0.2]}, {"delta_t": 50, "warmup_steps": 99}, ["at delta_t = 50", "the warm-up of rigl"]),
    ],
    ids=str,
)
def test_a_warm_up_that_does_not_end(search: dict[str, Any], fixed: dict[str, Any], told: list[str]) -> None:
    said = cautions(planned(search, **fixed))
    assert len(said) == len(told)
    assert all(one.startswith(beginning) for one, beginning in zip(said, told, strict=True))
