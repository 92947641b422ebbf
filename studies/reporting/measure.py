"""What trials are compared by and how its values are written: accuracies as percent, another program's as they are.

Inside a report more is better; where a study minimises, its values are turned around when it is read, and turned back
here before anybody sees them.
"""

import math
from dataclasses import dataclass

from matplotlib.ticker import FuncFormatter


@dataclass(frozen=True)
class Measure:
    """A kind of value.

    Attributes:
        name: what it is called, in running text.
        step: after what it is looked at while a trial goes on.
        first: the number of the first step, as people count them.
        course: how its course over the steps is described.
        grain: differences that are too small to look at, for the axes of figures.
        sign: -1 where the values inside are turned around.
        is_fraction: whether it is written as percent.
    """

    name: str
    step: str = "epoch"
    first: int = 1
    course: str = ""
    grain: float = 0.005
    sign: int = 1
    is_fraction: bool = False

    @property
    def title(self) -> str:
        """Its name at the beginning of a sentence."""
        return f"{self.name[:1].upper()}{self.name[1:]}"

    @property
    def label(self) -> str:
        """What an axis of differences is labelled with."""
        return "points" if self.is_fraction else f"{self.name}, + is better"

    def text(self, value: float, digits: int = 2) -> str:
        """A value as people write it; `digits` are the decimals of percent."""
        if math.isnan(value):
            return "–"
        return f"{100 * value:.{digits}f} %" if self.is_fraction else self.plain(self.sign * value)

    def difference(self, value: float) -> str:
        """How much better one is than another, with its sign; never turned around, as more is better."""
        if self.is_fraction:
            text = f"{100 * value:+.2f}"
            return "0.00" if float(text) == 0 else text.replace("-", "−")
        return "0" if value == 0 else f"{value:+.3g}".replace("-", "−")

    def amount(self, value: float, digits: int = 2) -> str:
        """The size of a difference with its unit; `digits` are the decimals of points."""
        return f"{100 * value:.{digits}f} points" if self.is_fraction else self.plain(float(f"{value:.3g}"))

    def ticks(self) -> FuncFormatter:
        """How the ticks of an axis are written."""
        if self.is_fraction:
            return FuncFormatter(lambda fraction, _position: f"{100 * fraction:.4g} %")
        return FuncFormatter(lambda value, _position: self.plain(self.sign * value))

    def difference_ticks(self) -> FuncFormatter:
        """How the ticks of an axis of differences are written."""
        scale = 100 if self.is_fraction else 1
        return FuncFormatter(lambda value, _position: f"{scale * value:+.3g}".replace("-", "−") if value else "0")

    @staticmethod
    def plain(value: float) -> str:
        """A number with four significant digits."""
        return f"{value + 0.0:.4g}".replace("-", "−")


ACCURACY = Measure(
    "validation accuracy", course="Mean validation accuracy over seeds after each epoch.", is_fraction=True
)
