"""Users read the words of this project, never pydantic's."""

import re
from typing import Any

import pytest
from pydantic import ValidationError

from rigl_core.config import TrainConfig
from studies.complaints import one_line
from studies.spec import StudySpec

SETTINGS: dict[str, tuple[Any, str]] = {
    "seeds": ((), "seeds = (): it must have 1 or more values"),
    "method": (3, "method = 3: it must be a text"),
    "epochs": ("x", "epochs = 'x': it must be a whole number"),
    "delta_t": (1.5, "delta_t = 1.5: it must be a whole number"),
    "batch_size": (0, "batch_size = 0: it must be 1 or more"),
    "lr": (0, "lr = 0: it must be greater than 0"),
    "momentum": (1, "momentum = 1: it must be less than 1"),
    "alpha": (2, "alpha = 2: it must be 1 or less"),
    "text_sha256": ("abc", "text_sha256 = 'abc': it must be 64 of the digits 0-9 and a-f, as `sha256sum` prints them"),
    "t_end_fraction": (75, "t_end_fraction = 75: it must be 1 or less; 75 % is 0.75"),
    "lr_drop_factor": (100, "lr_drop_factor = 100: it must be 1 or less"),
    "weight_decay": (float("nan"), "weight_decay = nan: it must be a finite number"),
    "sparsity": ([1], "sparsity = [1]: it must be a number"),
    "nesterov": ("maybe", "nesterov = 'maybe': it must be true or false"),
    "model_options": (3, "model_options = 3: it must be a table"),
    "augmentation": ("x", "augmentation = 'x': it must be 'none', 'crop_flip' or 'resized_crop_flip'"),
}


@pytest.mark.parametrize("key", SETTINGS)
def test_a_setting(key: str) -> None:
    value, told = SETTINGS[key]
    with pytest.raises(ValidationError) as caught:
        TrainConfig.model_validate({key: value})
    assert one_line(caught.value) == told


SECTIONS: dict[str, tuple[dict[str, Any], str]] = {
    "a text for seeds": ({"strategy": {"seeds": "x"}}, "strategy.seeds = 'x': it must be a list"),
    "no seeds": ({"strategy": {"seeds": []}}, "strategy.seeds = []: it must have 1 or more values"),
    "no sparsity": ({"pairs": {"sparsity": []}}, "pairs.sparsity = []: it must have 1 or more values (1 more)"),
    "no distribution": ({"pairs": {"sparsity": 0.9}}, "pairs.distribution: it is missing"),
    "no table": ({"strategy": 3}, "strategy = 3: it must be a table"),
    "a union": ({"search": {"lr": [None]}}, "search.lr.values.0 = None: it must be a number, a text, true or false"),
    "a range of words": ({"search": {"lr": {"low": "a", "high": 2}}}, "search.lr.low = 'a': it must be a"),
}


@pytest.mark.parametrize("case", SECTIONS)
def test_a_section(case: str) -> None:
    changes, told = SECTIONS[case]
    with pytest.raises(ValidationError) as caught:
        StudySpec.model_validate({"name": "x", **changes})
    assert one_line(caught.value).startswith(told)
    assert not re.search(r"valid|[Tt]uple|Input|item|dictionary|instance", one_line(caught.value))
