"""How alike two pairs rank settings, where there is little to tell."""

import numpy as np

from studies.evidence.finished import models_of
from studies.evidence.likeness import likeness
from tests.studies.test_evidence_truth import Made, evidence, flat


def test_of_ranks_that_are_mostly_noise_nothing_is_said() -> None:
    campaign = evidence(np.random.default_rng(0), [flat, flat], Made("random", n_seeds=2, n_trials=14))
    first, second = campaign.analysis.pairs
    assert likeness(campaign.frame, first, second, models_of(campaign, [first, second])) is None
