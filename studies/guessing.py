"""What a network reaches that learned nothing, known from the plan alone."""

import math
from collections.abc import Iterable

from rigl_core.data import get_dataset
from studies.spec import StudyPlan

NOTHING = 0.05
"""Of the way from guessing to no error, what a network that predicts one class may reach by luck; and half as much
again as guessing at most, which is less where there are many classes."""


def guessing(plan: StudyPlan) -> float:
    """Accuracy of guessing, a fraction; NaN where it is not known before training, as of text."""
    dataset = get_dataset(plan.base_config.dataset)
    known = dataset.kind == "images" and "dataset" not in plan.spec.search
    return 1 / dataset.n_classes(plan.base_config.dataset_options) if known else math.nan


def learned_nothing(accuracies: Iterable[float], guessed: float) -> bool:
    """Whether no seed's accuracy is clearly above guessing."""
    most = guessed + min(guessed / 2, NOTHING * (1 - guessed))
    highest = max(accuracies, default=math.nan)
    return highest <= most
