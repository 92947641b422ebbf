"""Numbers and names in words, the same in the terminal, the report and the captions. Plain text, no markup.

Accuracies are fractions everywhere else; here they become percent, and differences of accuracies become points.
"""

import math
from collections.abc import Mapping, Sequence

from studies import names
from studies.gain import Gain
from studies.reporting.findings import Difference, Estimate
from studies.reporting.measure import ACCURACY
from studies.search_space import Axis, Params, Range, Value

NOT_KNOWN = "–"
"""Stands in tables where there is no value."""


def percent(estimate: Estimate, digits: int | None = None) -> str:
    """An accuracy with its standard deviation over seeds, "84.6 ± 0.2 %"; the spread decides how many `digits`."""
    if math.isnan(estimate.mean):
        return NOT_KNOWN
    digits = decimals(estimate.std) if digits is None else digits
    spread = "" if math.isnan(estimate.std) else f" ± {100 * estimate.std:.{digits}f}"
    return f"{100 * estimate.mean:.{digits}f}{spread} %"


def points(difference: Difference) -> str:
    """A difference of accuracies with its standard deviation over seeds, "+0.5 ± 0.2 points"."""
    digits = decimals(difference.std)
    spread = "" if math.isnan(difference.std) else f" ± {100 * difference.std:.{digits}f}"
    return f"{signed(100 * difference.mean, digits)}{spread} points"


def in_points(fraction: float) -> str:
    """A difference of accuracies in hundredths of a point, "+0.52"."""
    return ACCURACY.difference(fraction)


def gained(gain: Gain) -> str:
    """A gain in points and its 95 % interval, "+0.5 (−0.2 to +1.2)"."""
    digits = decimals(gain.std)
    return f"{signed(100 * gain.mean, digits)} ({interval(gain)})"


def interval(gain: Gain) -> str:
    """The 95 % interval of a gain in points, "−0.2 to +1.2"."""
    digits = decimals(gain.std)
    return f"{signed(100 * gain.low, digits)} to {signed(100 * gain.high, digits)}"


def number(value: Value) -> str:
    """A parameter's value with three significant digits; all of them are in trials.csv."""
    if isinstance(value, bool | str):
        return str(value)
    if isinstance(value, int):
        return str(value)
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def shortened(name: str, at_most: int = 26) -> str:
    """What a parameter is called where there is little room; other programs' names may be sentences."""
    words = names.words(name)
    return words if len(words) <= at_most else cut(names.symbol(name), at_most)


def cut(text: str, at_most: int = 26) -> str:
    """The beginning of a text that is longer."""
    return text if len(text) <= at_most else f"{text[: at_most - 1]}…"


def setting(params: Params) -> str:
    """Parameters and values, "η 0.1, α 0.3, ΔT 100"."""
    return ", ".join(f"{names.symbol(name)} {number(names.title(name, value))}" for name, value in params.items())


def searched(search: Mapping[str, Axis | None]) -> str:
    """The axes of a search box, "searched: η 0.01 to 1 (log); α 0.1, 0.3"; an axis of None is not known."""
    axes = [
        f"{names.symbol(name)} {NOT_KNOWN if axis is None else axis}"
        + (" (log)" if isinstance(axis, Range) and axis.log else "")
        for name, axis in search.items()
    ]
    return f"searched: {'; '.join(axes) or 'nothing'}"


def multiple(value: float) -> str:
    """A multiple of the dense network's cost, "0.24×"."""
    return NOT_KNOWN if math.isnan(value) else f"{value:.3g}×"


def duration(seconds: float) -> str:
    """A time span, "12.5 s", "3.4 min", "2.1 h"."""
    if math.isnan(seconds):
        return NOT_KNOWN
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:,.1f} {unit}"
    return f"{seconds:.3g} s"


def time_unit(longest: float) -> tuple[str, float]:
    """The unit for an axis of times up to `longest` seconds, and its seconds."""
    for unit, size in (("hours", 3600.0), ("minutes", 60.0)):
        if longest >= 3 * size:
            return unit, size
    return "seconds", 1.0


def seeds(n: int) -> str:
    """A number of seeds in words."""
    return count(n, "seed")


def count(n: int, noun: str) -> str:
    """A number and its noun, "1 trial", "2 trials"."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def listed(names: Sequence[str]) -> str:
    """Names in a sentence, "lr, alpha and delta_t"."""
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last


def correlation(value: float) -> str:
    """A correlation with two digits, "−0.42"."""
    return f"{value:.2f}".replace("-", "−")


def decimals(std: float) -> int:
    """Tenths of a point, or hundredths where the spread would otherwise be printed as 0.0."""
    return 2 if 100 * std < 0.095 else 1


def signed(value: float, digits: int) -> str:
    """A difference with its sign, "+0.5"; what rounds to nothing has none."""
    if math.isnan(value):
        return NOT_KNOWN
    text = f"{value:+.{digits}f}"
    return f"{0:.{digits}f}" if float(text) == 0 else text.replace("-", "−")
