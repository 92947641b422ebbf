"""The results of the analysis as plain values: what every table, figure, sentence and file of a report is made from."""

import enum
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy import stats

from studies.box import Box
from studies.gain import Gain
from studies.reporting.measure import ACCURACY, Measure
from studies.search_space import Params

CONFIDENCE = 0.95
"""Level of every interval in the report."""

REACH = float(stats.norm.ppf((1 + CONFIDENCE) / 2))
"""From a normal distribution's mean to either end of its interval, in standard deviations."""

MARGIN = 0.0025
"""A gain in accuracy below this, a quarter of a point, is not worth tuning for, unless the user says otherwise."""


class Verdict(enum.StrEnum):
    """What the gain on test from reference to best allows to say."""

    PAYS = "pays"
    "The 95 % interval of what the best found gains lies above 0, and is not shown to be below the margin."
    DOES_NOT_PAY = "does_not_pay"
    "Nothing in the box gains the margin: the box was seen, and the 95 % interval of the most it gives ends below."
    NOTHING_FOUND = "nothing_found"
    "The 95 % interval of what the best found gains ends below the margin; the box may hold better settings."
    UNDECIDED = "undecided"
    "Neither."
    NO_INTERVAL = "no_interval"
    "There is a difference but nothing says how sure it is: one seed, or the same difference on every seed."
    REFERENCE_IS_BEST = "reference_is_best"
    "Nothing that was tried beat the reference on validation; the box may hold better settings."
    ONLY_REFERENCE = "only_reference"
    "Nothing but the reference is complete."
    NOT_SEARCHED = "not_searched"
    "There was only one setting to train."
    NOT_TUNED = "not_tuned"
    "Trials differ only in what is trained, such as the method, which is compared and not tuned."
    NO_REFERENCE = "no_reference"
    "No reference was named or it is not complete; there is nothing to compare with."
    NO_TEST = "no_test"
    "Best and reference share no seed with a test accuracy for both."
    NOTHING_COMPLETE = "nothing_complete"
    "No trial is complete."


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds and their spread.

    Attributes:
        mean: NaN where there is no value, or one of them is NaN: a seed that went wrong is not dropped quietly.
        std: standard deviation over seeds (n - 1 in the denominator), NaN for fewer than two.
        n: number of seeds.
    """

    mean: float
    std: float
    n: int

    @classmethod
    def of(cls, values: Sequence[float]) -> "Estimate":
        """The estimate from one value a seed."""
        mean = math.fsum(values) / len(values) if values else math.nan
        std = float(np.std(values, ddof=1)) if len(values) > 1 else math.nan
        return cls(mean, std, len(values))


@dataclass(frozen=True)
class Setting:
    """One complete trial: its parameters and what they reached.

    Attributes:
        inference_flops: multiple of the dense network's; train_flops likewise.
        val_by_seed: validation accuracy by seed; test_by_seed likewise.
        bits_by_seed: validation bits per character by seed, empty for images; test_bits_by_seed likewise.
        runs: numbers of the trials that ran it, where there are several, whose mean it reached: of other programs.
    """

    number: int
    params: Params
    val_by_seed: Mapping[int, float]
    test_by_seed: Mapping[int, float]
    inference_flops: float
    train_flops: float
    realised_sparsity: float
    seconds: float
    bits_by_seed: Mapping[int, float] = field(default_factory=dict)
    test_bits_by_seed: Mapping[int, float] = field(default_factory=dict)
    runs: tuple[int, ...] = ()

    @property
    def val_accuracy(self) -> Estimate:
        """Validation accuracy over seeds."""
        return Estimate.of(list(self.val_by_seed.values()))

    @property
    def test_accuracy(self) -> Estimate:
        """Test accuracy over seeds."""
        return Estimate.of(list(self.test_by_seed.values()))


@dataclass(frozen=True)
class Difference:
    """Best minus reference, paired by seed: the seed's data order and initial weights are common to both.

    Attributes:
        by_seed: the difference for each seed that both trained.
        mean: their mean.
        std: their standard deviation, NaN for fewer than two seeds.
        standard_error: of the mean; NaN for fewer than two seeds.
        low: lower end of the 95 % t-interval (`CONFIDENCE`) of the mean; None where there is none, that is for one
            seed or when every seed gives the same difference.
        high: upper end.
    """

    by_seed: Mapping[int, float]
    mean: float
    std: float
    standard_error: float
    low: float | None
    high: float | None

    @property
    def n(self) -> int:
        """Number of seeds compared."""
        return len(self.by_seed)


@dataclass(frozen=True)
class PairResult:
    """What is known about one study, that is one (sparsity, distribution) pair.

    Attributes:
        label: the pair in words, "S = 0.98 erk".
        counts: number of trials in each of `STATES`.
        reference: the finished reference, if any.
        reference_state: where the reference stands: one of `STATES`, or None if no trial has its parameters.
        best: the complete trial with the highest validation accuracy; the reference where it is as high. Of those that
            train what the reference trains; where nothing else varied, of all but the dense network.
        n_compared: trials the best was chosen from: complete, or stopped early because others were better.
        val_difference: best minus reference on validation: biased upwards, because it was selected for.
        test_difference: best minus reference on test: on average too high as well, because both accuracies of a network
            share its luck.
        gain: what is left of it without that luck; see `studies.gain`.
        margin: the gain, a fraction, below which tuning does not pay.
        box: what is known of settings that were not tried; None where nothing was tuned or compared.
    """

    study: str
    label: str
    counts: Mapping[str, int]
    reference: Setting | None
    reference_state: str | None
    best: Setting | None
    n_compared: int
    val_difference: Difference | None
    test_difference: Difference | None
    gain: Gain | None
    margin: float
    verdict: Verdict
    box: Box | None = None

    @property
    def is_provisional(self) -> bool:
        """Whether trials wait or run, so that the verdict may still change."""
        return self.n_unfinished > 0

    @property
    def n_unfinished(self) -> int:
        """Trials that may still change the result."""
        return self.counts["waiting"] + self.counts["running"]


@dataclass(frozen=True)
class Analysis:
    """Every pair of a campaign.

    Attributes:
        params: names of the searched parameters.
        n_seeds: the smallest number of seeds among complete trials, None before one has finished.
        margin: the gain, a fraction, below which tuning does not pay.
        measure: what trials were compared by.
        compared: those of `params` that say what is trained, so that only trials which agree in them tell of tuning.
    """

    campaign: str
    params: tuple[str, ...]
    pairs: tuple[PairResult, ...]
    n_seeds: int | None
    margin: float
    measure: Measure = ACCURACY
    compared: tuple[str, ...] = ()

    @property
    def tuned(self) -> tuple[str, ...]:
        """The other parameters."""
        return tuple(name for name in self.params if name not in self.compared)

    def total(self, state: str) -> int:
        """Number of trials in this state over all pairs."""
        return sum(pair.counts[state] for pair in self.pairs)

    @property
    def n_unfinished(self) -> int:
        """Trials waiting or running."""
        return sum(pair.n_unfinished for pair in self.pairs)
