"""How large figures are, in which letters, and as which files: on a screen, or in a paper.

A renderer chooses the style once (`drawn_in`) for all that is drawn within. What draws a figure does not know it: it
takes its panels from `studies.reporting.svg.panels` and gives them to `finish`.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from studies.errors import UnknownName

WIDTH = 9.2
"""Of a figure with panels side by side on a screen, in inches; other styles, and narrow figures, scale it."""


@dataclass(frozen=True)
class Style:
    """A way to draw.

    Attributes:
        wide: width in inches of a figure that asks for `WIDTH` and has panels side by side.
        narrow: width of one whose panels stand below each other.
        height: a panel's height, as a multiple of what is asked for.
        fonts: the letters, by the name that matplotlib brings them under: the layout is the same on every machine.
        fallback: families to name behind it in an SVG whose text is text, for machines that lack it.
        files: suffixes of the files a figure becomes besides its SVG.
        dpi: pixels an inch of those that have any.
        settings: matplotlib's, besides the house's.
    """

    wide: float
    narrow: float
    height: float
    fonts: str
    fallback: str
    files: tuple[str, ...]
    dpi: int
    settings: Mapping[str, Any] = field(default_factory=dict)

    def size(self, columns: int, width: float, height: float, *, full: bool = False) -> tuple[float, float]:
        """Width of a figure and height of a row of its panels in inches, from those asked for."""
        own = self.wide if columns > 1 or full else self.narrow
        return own * width / WIDTH, self.height * height


STYLES: Mapping[str, Style] = {
    "screen": Style(
        wide=WIDTH,
        narrow=5.4,  # a telephone shows it whole, with letters that can be read; see .drawing in report.css
        height=1.0,
        fonts="DejaVu Sans",
        fallback="Verdana, sans-serif",
        files=("png",),
        dpi=160,
        settings={"svg.fonttype": "none"},
    ),
    # Of a two-column page: one column is 3.35 inches wide, both 6.9.
    "paper": Style(
        wide=6.9,
        narrow=3.35,
        height=0.75,
        fonts="STIXGeneral",
        fallback="'STIX Two Text', 'Times New Roman', serif",
        files=("pdf", "png"),
        dpi=300,
        settings={
            "svg.fonttype": "path",  # letters as outlines: a typesetter has other fonts
            "pdf.fonttype": 42,  # TrueType, which every publisher takes
            "font.size": 8,
            "axes.titlesize": 9,
            "axes.titleweight": "normal",
            "legend.fontsize": 8,
            "axes.linewidth": 0.6,
            "grid.linewidth": 0.5,
        },
    ),
}
"""Names that `--style` takes."""

_current: ContextVar[Style] = ContextVar("figure style", default=STYLES["screen"])


def current_style() -> Style:
    """What to draw in."""
    return _current.get()


@contextmanager
def drawn_in(name: str) -> Iterator[None]:
    """Draw everything within in this style.

    Raises:
        UnknownName: there is none of that name.
    """
    if name not in STYLES:
        raise UnknownName("style", name, STYLES)
    token = _current.set(STYLES[name])
    try:
        yield
    finally:
        _current.reset(token)
