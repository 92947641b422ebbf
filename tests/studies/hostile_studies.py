"""Studies of other programs with any number and any name that Optuna stores, as a strategy of Hypothesis."""

import math
import sys
import warnings
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import optuna
from hypothesis import strategies as st
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

NAMES = (
    *("lr", "alpha", "value", "state", "number", "params_value", "params_params_state", "study", "curve"),
    *("a\x1f\x1b[31mred", "a\x00b", "a\x9b2J", "line\nbreak", "\u202eevil", "\u2028", "", " ", "\u200b", "\u3164"),
    *("学習率", "ตัวแปร", "عربي", "😀", "𓀀", "é" * 400, "x" * 400, "../../etc", "a/b", "a-b", "..", "NUL"),
    *("<script>alert(1)</script>", 'id="x"', "'DejaVu Sans'", '#ffffff url(#a) href="#b"', "</svg>", "]]>"),
    *("=cmd|' /C calc'!A0", "@sum", "[red]", "| a | b |", "**bold**", "$\\frac{1}", "%s{0}", "x=1,y=2", "&amp;"),
)
HUGE = (sys.float_info.max, -sys.float_info.max, 1e308, -1e308, 1e300, math.inf, -math.inf)
TINY = (5e-324, -5e-324, 1e-310, sys.float_info.min, 1e-300, 0.0, -0.0)
USUAL = (0.1, 0.25, 0.5, 0.7, 1.0, 2.0)
CHOICES = (
    *(None, True, False, 0, 1, 1.0, -1, 2**53 + 1, 2**63, 2**70, 10**400, math.inf, -math.inf, math.nan, 1e-320),
    *("1", "None", "true", "64,32", "x=1", "a\x1b[2J", "", " ", "nan", "'quoted'", '"double"', "(64, 32)", "z" * 400),
    *([64, 32], [64], [], [[1], None], "<b>", "=1+1", "学"),
)
DISTRIBUTIONS: tuple[BaseDistribution, ...] = (
    FloatDistribution(0.0, 1.0),
    FloatDistribution(1e-4, 1.0, log=True),
    FloatDistribution(1e-300, 1.0, log=True),
    FloatDistribution(5e-324, 1e-310, log=True),
    FloatDistribution(1e-300, 1e300, log=True),
    FloatDistribution(-1e308, 1e308),
    FloatDistribution(0.5, 0.5),
    FloatDistribution(0.0, 5e-324),
    FloatDistribution(1e15, 1e15 + 0.25),
    FloatDistribution(0.0, 1.0, step=0.25),
    IntDistribution(0, 10),
    IntDistribution(3, 3),
    IntDistribution(0, 2**62),
    IntDistribution(-(2**62), 2**62),
    IntDistribution(1, 2**60, log=True),
    IntDistribution(0, 2**70),
)

names = st.one_of(st.sampled_from(NAMES), st.text(st.characters(exclude_categories=["Cs"]), max_size=12))
numbers = st.one_of(st.sampled_from(USUAL), st.sampled_from(USUAL + TINY + HUGE), st.floats(allow_nan=False))
likely = st.sampled_from([*USUAL, *USUAL, *USUAL, *TINY, *HUGE])
choices = st.lists(st.sampled_from(CHOICES), min_size=1, max_size=5, unique_by=repr)


def _category(values: list[Any]) -> CategoricalDistribution:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Choices for a categorical distribution")  # should be what they are not
        return CategoricalDistribution(values)


distributions = st.one_of(st.sampled_from(DISTRIBUTIONS), st.sampled_from(DISTRIBUTIONS[:2]), choices.map(_category))
states = st.sampled_from([TrialState.COMPLETE] * 8 + [TrialState.PRUNED] * 2 + list(TrialState))


@dataclass(frozen=True)
class Hostile:
    """A study to store.

    Attributes:
        name: of the study; metric: of its values.
        trials: of it.
    """

    name: str
    metric: str | None
    direction: StudyDirection
    trials: tuple[FrozenTrial, ...]

    def store(self, storage: BaseStorage) -> optuna.Study:
        """Put it into a storage."""
        study_id = storage.create_new_study([self.direction], self.name)
        if self.metric is not None:
            storage.set_study_system_attr(study_id, "study:metric_names", [self.metric])
        for trial in self.trials:
            storage.create_new_trial(study_id, template_trial=trial)
        return optuna.load_study(study_name=self.name, storage=storage)


@st.composite
def hostile_studies(draw: st.DrawFn) -> Hostile:
    """Studies of up to 24 trials and four parameters."""
    boxes = draw(st.dictionaries(names, distributions, max_size=4))
    is_constrained = draw(st.booleans())
    n_trials = draw(st.integers(0, 24))
    trials = tuple(draw(_trial(number, boxes, is_constrained)) for number in range(n_trials))
    direction = draw(st.sampled_from([StudyDirection.MINIMIZE, StudyDirection.MAXIMIZE]))
    return Hostile(draw(names), draw(st.none() | names), direction, trials)


@st.composite
def _trial(draw: st.DrawFn, number: int, boxes: dict[str, BaseDistribution], is_constrained: bool) -> FrozenTrial:
    state = draw(states)
    having = {key: box for key, box in boxes.items() if draw(st.integers(0, 9))}
    params = {} if state == TrialState.WAITING else {key: draw(_value(box)) for key, box in having.items()}
    attrs: dict[str, Any] = {}
    if is_constrained and draw(st.booleans()):
        limits = draw(st.lists(st.sampled_from([-1.0, 0.0, 5e-324, 1.0, math.inf, -math.inf]), max_size=2))
        attrs = draw(
            st.sampled_from([{"constraints": limits}, {f"constraints:k{i}": limit for i, limit in enumerate(limits)}])
        )
    value = draw(likely | numbers) if state == TrialState.COMPLETE else None
    steps = draw(st.lists(st.integers(0, 6), max_size=4, unique=True))
    began = datetime(2026, 1, 1, 0, number)
    return FrozenTrial(
        number=number,
        trial_id=-1,
        state=state,
        value=value,
        datetime_start=None if state == TrialState.WAITING else began,
        datetime_complete=began if state.is_finished() else None,
        params=params,
        distributions={key: having[key] for key in params},
        user_attrs={},
        system_attrs=attrs,
        intermediate_values={step: draw(likely | st.just(math.nan)) for step in steps},
    )


def _value(box: BaseDistribution) -> st.SearchStrategy[Any]:
    if isinstance(box, CategoricalDistribution):
        return st.sampled_from(box.choices)
    if isinstance(box, IntDistribution):
        inside = st.integers(box.low, box.high)
        return st.one_of(inside, inside, st.sampled_from([box.low, box.high, 2**55]))
    assert isinstance(box, FloatDistribution)
    inside = st.floats(box.low, box.high)
    outside = [5.0, math.inf, 1e308] if box.log else [5.0, math.inf, -math.inf, 1e308]
    return st.one_of(inside, inside, st.sampled_from([box.low, box.high, *outside]))
