"""What a network reaches that learned nothing."""

import math
from typing import Any

import pytest

from studies.guessing import guessing, learned_nothing
from studies.spec import StudyPlan, StudySpec


def plan(search: dict[str, Any] | None = None, **fixed: Any) -> StudyPlan:
    strategy = {"sampler": "grid", "seeds": [0]}
    spec = StudySpec.model_validate({"name": "x", "fixed": fixed, "search": search or {}, "strategy": strategy})
    return spec.plans()[0]


@pytest.mark.parametrize(
    ("planned", "expected"),
    [
        (plan(), 0.1),
        (plan(dataset="cifar100", model="resnet50"), 0.01),
        (plan(dataset="synthetic"), 0.1),
        (plan(dataset="synthetic", dataset_options={"num_classes": 4}), 0.25),
        (plan(dataset="synthetic_text", model="char_gru"), math.nan),
        (plan({"dataset": ["digits", "fashion_mnist"]}), math.nan),
    ],
)
def test_guessing_is_one_of_the_classes(planned: StudyPlan, expected: float) -> None:
    assert guessing(planned) == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize(
    ("accuracies", "guessed", "nothing"),
    [
        ([0.10, 0.09], 0.1, True),
        ([0.145], 0.1, True),  # 5 % of the way up
        ([0.146], 0.1, False),
        ([0.10, 0.5], 0.1, False),  # one seed did
        ([0.015], 0.01, True),  # half as much again, where 5 % of the way would be 6 %
        ([0.016], 0.01, False),
        ([0.52], 0.5, True),
        ([0.53], 0.5, False),
        ([], 0.1, False),
        ([0.0], math.nan, False),
    ],
)
def test_what_is_clearly_above_guessing(accuracies: list[float], guessed: float, nothing: bool) -> None:
    assert learned_nothing(accuracies, guessed) == nothing
