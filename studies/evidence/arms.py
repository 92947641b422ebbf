"""Arms: what each method reached at each sparsity and distribution, by its best setting there.

Methods, distributions and published numbers are compared by arms. The best setting of an arm is chosen on validation
accuracy; test accuracy is looked up afterwards, as for the best of a pair.
"""

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pandas as pd

from rigl_core.methods import METHODS
from studies.analysis import find_reference, select_best, setting_of
from studies.frame import param_columns
from studies.guessing import guessing, learned_nothing
from studies.reporting.findings import Setting
from studies.spec import StudySpec, pair_in_words

MANY_MORE = 4
"""The best of more than so many times as many settings is ahead by luck that matters."""


@dataclass(frozen=True)
class Arm:
    """A method at a sparsity and a distribution.

    Attributes:
        study: its Optuna study.
        train_multiplier: how many times longer it was trained than the others' epochs say.
        trained: its best setting on validation.
        reference: the campaign's reference, where that is of this arm and complete.
        n_active: active maskable weights of that at the end; NaN where not told.
        n_compared: complete trials the setting was chosen from.
        guessing: accuracy of guessing, see `studies.guessing`.
    """

    study: str
    method: str
    sparsity: float
    distribution: str
    train_multiplier: float
    trained: Setting
    reference: Setting | None
    n_active: float
    n_compared: int
    guessing: float

    @property
    def name(self) -> str:
        """The method, and how many times longer it was trained: "rigl", "rigl 2×"."""
        return longer(self.method, self.train_multiplier)

    @property
    def place(self) -> str:
        """Sparsity and distribution in words, "S = 0.9 ERK"."""
        return pair_in_words(self.sparsity, self.distribution, None)

    @property
    def learned_nothing(self) -> bool:
        """Whether no seed is clearly better than guessing on validation."""
        return learned_nothing(self.trained.val_by_seed.values(), self.guessing)

    def reached(self) -> bool:
        """Whether its test accuracy is known."""
        return math.isfinite(self.trained.test_accuracy.mean)


def arms_of(frame: pd.DataFrame, spec: StudySpec) -> tuple[Arm, ...]:
    """Every arm with a complete trial: by study, sparsity and distribution, and the methods in the order of METHODS."""
    complete = frame[frame["state"] == "complete"]
    column = param_columns(frame).get("train_multiplier")
    everywhere = pd.Series(float(spec.fixed.get("train_multiplier", 1.0)), index=complete.index)
    # A column of its own would pass for a searched parameter.
    multiplier = complete[column] if column else everywhere
    guessed = {plan.name: guessing(plan) for plan in spec.plans()}
    arms = []
    for _key, trials in complete.groupby(["study", "sparsity", "distribution", "method", multiplier], observed=True):
        row, reference = select_best(trials), find_reference(trials)
        if row is not None:
            best = trials.loc[[row]].iloc[0]
            arms.append(
                Arm(
                    study=str(best["study"]),
                    method=str(best["method"]),
                    sparsity=float(best["sparsity"]),
                    distribution=str(best["distribution"]),
                    train_multiplier=float(multiplier.loc[row]),
                    trained=setting_of(trials, row),
                    reference=None if reference is None else setting_of(trials, reference),
                    n_active=math.nan if pd.isna(best["n_active"]) else float(best["n_active"]),
                    n_compared=len(trials),
                    guessing=guessed[str(best["study"])],
                )
            )
    studies = list(frame["study"].cat.categories)
    return tuple(sorted(arms, key=lambda arm: (studies.index(arm.study), arm.sparsity, arm.distribution, rank(arm))))


def rank(arm: Arm) -> tuple[int, str, float]:
    """Where its method stands among others: in the order of METHODS, unknown ones behind."""
    known = list(METHODS)
    at = known.index(arm.method) if arm.method in known else len(known)
    return at, arm.method, arm.train_multiplier


def unequal_luck(one: Arm, other: Arm) -> float:
    """By how much the p-value of a test of the two is multiplied, as the best of many is ahead by luck.

    A test that fails once in twenty finds one of k settings k times as often at most (Bonferroni). In 1,500 simulations
    of methods that are alike, with 3, 5 and 10 seeds, the best of 30 settings against the only one of another has
    p < 5 % in 9, 11 and 9 of 100, the best of 5 in 6, 6 and 7, multiplied in 1 at most; the best of 20 against the best
    of 5, or of as many, in no more than 5, so that nothing needs to be done there.
    """
    fewest, most = sorted((one.n_compared, other.n_compared))
    return most / fewest if most > MANY_MORE * fewest else 1.0


def luck_words(compared: Iterable[Sequence[Arm]]) -> str:
    """What is done about unequal luck, as a sentence behind others; "" where nothing is."""
    if any(unequal_luck(*pair) > 1 for arms in compared for pair in itertools.combinations(arms, 2)):
        return (
            " Some methods are the best of many more settings than others, and partly ahead by luck: the p-value of "
            "such a comparison is multiplied by how many times more there are."
        )
    return ""


def longer(name: str, times: float) -> str:
    """A name, and how many times longer than the others it was trained: "rigl", "rigl 2×"."""
    return name if times == 1 else f"{name} {times:g}×"


def finite(value: float) -> float | None:
    """A number as JSON has it: NaN and infinities are null."""
    return value if math.isfinite(value) else None
