"""How a method is drawn: the same colour, shape and line in every figure, whichever others stand beside it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from matplotlib.typing import LineStyleType

from rigl_core.methods import METHODS
from studies.reporting import marks

MARKERS = (*marks.PAIR_MARKERS, "p", "*")
"""One for each of METHODS."""
LINES: tuple[LineStyleType, ...] = ("solid", (0, (5, 2)), (0, (1, 1.5)), (0, (6, 2, 1, 2)))


@dataclass(frozen=True)
class Look:
    """Colour, marker and line of a method."""

    colour: str
    marker: str
    line: LineStyleType


def look(method: str, position: int = 0) -> Look:
    """The look of a method; of one that METHODS does not have, that of its `position` behind those."""
    known = list(METHODS)
    i = known.index(method) if method in known else len(known) + position
    return Look(marks.pair_colour(i), MARKERS[i % len(MARKERS)], LINES[i % len(LINES)])


def looks_of(methods: Mapping[str, str]) -> dict[str, Look]:
    """How each name is drawn: in the colour and shape of its method, and trained longer with another line.

    Args:
        methods: by what they are called, "rigl" and "rigl 2×".
    """
    known = list(dict.fromkeys(methods.values()))
    looks = {}
    for name, method in methods.items():
        own = look(method, known.index(method))
        longer = [other for other, its in methods.items() if its == method].index(name)
        looks[name] = replace(own, line=LINES[(LINES.index(own.line) + longer) % len(LINES)])
    return looks
