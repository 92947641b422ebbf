"""Reports that are rough but quick, for the tests that look at what is said in them."""

from dataclasses import replace

import pytest

from studies.evidence import importance, likeness
from studies.reporting.figure_style import STYLES


def resample_little(patch: pytest.MonkeyPatch) -> None:
    """Intervals that are rough but quick: most tests look at what is said of them, not at their width."""
    patch.setattr(importance, "RESAMPLES", 5)
    patch.setattr(importance, "SHADOWS", 6)
    patch.setattr(likeness, "RESAMPLES", 16)


def draw_no_png(patch: pytest.MonkeyPatch) -> None:
    """Figures without their PNG, which takes as long again as the rest of them."""
    patch.setitem(STYLES, "screen", replace(STYLES["screen"], files=()))
