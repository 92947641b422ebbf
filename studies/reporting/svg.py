"""Matplotlib figures as files: the same bytes for the same data, values on hover, colours from a theme.

A figure drawn here stands alone as a file with the light colours written out. `inline` turns its SVG into an element
of an HTML page, whose style sheet then decides the colours (`css_variables`) for light, dark and print. How large it is
and in which letters, says the style (`studies.reporting.figure_style`).
"""

import io
import re
import warnings
import xml.etree.ElementTree as ET  # reads only what matplotlib has just written here
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from studies.reporting.figure_style import WIDTH, current_style

__all__ = ["LIGHT", "THEME", "WIDTH", "Drawing", "Hover", "css_variables", "finish", "house_style", "inline", "panels"]

# name: (on white, on dark). Okabe and Ito's colour-blind-safe hues, darkened or lightened to 3:1 against their ground.
THEME: Mapping[str, tuple[str, str]] = {
    "paper": ("#ffffff", "#0f1419"),
    "ink": ("#1f2328", "#e6edf3"),
    "muted": ("#656d76", "#9aa4af"),
    "faint": ("#a9b1ba", "#5b6570"),
    "grid": ("#e3e7eb", "#273039"),
    "blue": ("#0072b2", "#56b4e9"),
    "vermilion": ("#d55e00", "#ff8a4c"),
    "green": ("#00835f", "#2fd0a0"),
    "purple": ("#b5548a", "#e8a0c8"),
    "ochre": ("#a06e00", "#e6b422"),
    "slate": ("#4d5a8f", "#a9b4ec"),
}
LIGHT = {name: light for name, (light, _dark) in THEME.items()}

_RC: dict[Any, Any] = {
    "svg.hashsalt": "rigl-study",  # identifiers would be random without
    "text.parse_math": False,  # a "$" in a name is a "$"
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": LIGHT["grid"],
    "grid.linewidth": 0.8,
    "axes.edgecolor": LIGHT["muted"],
    "axes.labelcolor": LIGHT["ink"],
    "axes.titlecolor": LIGHT["ink"],
    "text.color": LIGHT["ink"],
    "xtick.color": LIGHT["muted"],
    "ytick.color": LIGHT["muted"],
    "xtick.labelcolor": LIGHT["ink"],
    "ytick.labelcolor": LIGHT["ink"],
    "figure.facecolor": LIGHT["paper"],
    "axes.facecolor": LIGHT["paper"],
    "legend.frameon": False,
    "legend.fontsize": 9,
}
_SVG, _XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"

BETWEEN_ROWS = 0.5
"""Of the height of a line, what is added above and below the panels of a figure that has several rows of them: a title
belongs to what is below it, and the numbers above it to their axis."""

MAX_PIXELS = 4000
"""No side of a PNG is longer, however many panels there are."""

Hover = dict[str, Sequence[str]]
"""By the gid of an artist the texts shown over its marks: one for each mark of a scatter, a single one for a line."""


@dataclass(frozen=True)
class Drawing:
    """A finished figure.

    Attributes:
        name: its file name without the suffix.
        title: what it shows, in a few words.
        caption: how to read it.
        description: what there is to see, with the numbers, for people who do not see it.
        svg: the text of the SVG file.
        images: the figure's other files, by suffix.
    """

    kind: ClassVar[str] = "figure"

    name: str
    title: str
    caption: str
    description: str
    svg: str
    images: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def files(self) -> dict[str, str | bytes]:
        """Everything the figure is on the disk, by file name."""
        images = {f"{self.name}.{suffix}": content for suffix, content in self.images.items()}
        return {f"{self.name}.svg": self.svg, **images}


@contextmanager
def house_style() -> Iterator[None]:
    """Draw in the report's style, whatever the user's matplotlibrc says; the previous settings come back afterwards."""
    style = current_style()
    with mpl.rc_context(), warnings.catch_warnings():
        # A letter that the font lacks is a box in a PNG; in an SVG on a page the reader's own fonts have it.
        warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)
        warnings.filterwarnings("ignore", "Matplotlib currently does not support .* natively", UserWarning)
        warnings.filterwarnings("ignore", "constrained_layout not applied", UserWarning)  # it is drawn, if crowded
        mpl.rcdefaults()
        mpl.rcParams.update(_RC | {"font.family": style.fonts} | dict(style.settings))
        yield


def panels(n: int, *, columns: int, width: float, height: float, full: bool = False) -> tuple[Figure, list[Axes]]:
    """A figure of `n` equal panels in rows of `columns`.

    Args:
        n: how many.
        columns: how many stand side by side.
        width: of the figure on a screen, in inches; the style decides what becomes of it, and of `height`.
        height: of one row.
        full: whether the panels need the whole width of a page, though they stand below each other.
    """
    n_rows = -(-n // columns)
    width, height = current_style().size(columns, width, height, full=full)
    engine = ConstrainedLayoutEngine()
    if n_rows > 1:
        line = mpl.rcParams["font.size"] / 72
        engine.set(h_pad=engine.get()["h_pad"] + BETWEEN_ROWS * line)
        height += BETWEEN_ROWS * line
    figure = Figure(figsize=(width, height * n_rows), layout=engine)
    grid = figure.subplots(n_rows, columns, squeeze=False)
    axes = [ax for row in grid for ax in row]
    for spare in axes[n:]:
        spare.set_axis_off()
    return figure, axes[:n]


def finish(figure: Figure, *, name: str, title: str, caption: str, description: str, hover: Hover) -> Drawing:
    """The figure, drawn under `house_style`, as a `Drawing`; the words are those of its attributes.

    Args:
        figure: what was drawn.
        name: of its files.
        title: its name, also for people who hear the page.
        caption: how to read it.
        description: what there is to see, with the numbers.
        hover: what to show over which mark.
    """
    _fit_legends(figure)
    _lay_out(figure)
    svg = _svg(figure, title=title, description=description, hover=hover)
    images = {suffix: _WRITERS[suffix](figure, title, description) for suffix in current_style().files}
    return Drawing(name, title, caption, description, svg, images)


def _lay_out(figure: Figure) -> None:
    """Find the layout, which is half the work, once for all files, by what an SVG measures.

    Matplotlib would find it by drawing all of the figure in vain before it is saved.
    """
    FigureCanvasSVG(figure)
    figure.set_dpi(72)  # as an SVG is written
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)
    figure.set_layout_engine(None)


def _fit_legends(figure: Figure) -> None:
    """Break legends that are wider than the figure into more rows, for which it grows; all of them stand below it."""
    for legend in list(figure.legends):
        handles, labels = list(filter(None, legend.legend_handles)), [text.get_text() for text in legend.get_texts()]
        extent = legend.get_window_extent()
        height, columns = extent.height, len(labels)
        while columns > 1 and extent.width > figure.bbox.width:
            columns -= 1
            legend.remove()
            legend = figure.legend(handles, labels, loc="outside lower left", ncols=columns)
            extent = legend.get_window_extent()
        wide, tall = figure.get_size_inches()
        figure.set_size_inches(wide, tall + (extent.height - height) / figure.dpi)


def _png(figure: Figure, title: str, description: str) -> bytes:
    dpi = min(current_style().dpi, MAX_PIXELS / max(figure.get_size_inches()))
    return _saved(
        figure, format="png", dpi=dpi, metadata={"Software": None, "Title": title, "Description": description}
    )


def _pdf(figure: Figure, title: str, description: str) -> bytes:
    no_metadata = dict.fromkeys(("Creator", "Producer", "CreationDate"))
    return _saved(figure, format="pdf", metadata={**no_metadata, "Title": title, "Subject": description})


_WRITERS = {"png": _png, "pdf": _pdf}


def _saved(figure: Figure, **options: Any) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, **options)
    return buffer.getvalue()


def _svg(figure: Figure, *, title: str, description: str, hover: Hover) -> str:
    no_metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    drawn = _saved(figure, format="svg", metadata=no_metadata)
    ET.register_namespace("", _SVG)
    ET.register_namespace("xlink", _XLINK)
    root = ET.fromstring(drawn)
    for element in root.iter(f"{{{_SVG}}}g"):
        _add_hover(element, hover.get(element.get("id", ""), ()))
    for tag, text in (("desc", description), ("title", title)):
        child = ET.Element(f"{{{_SVG}}}{tag}")
        child.text = text
        root.insert(0, child)
    font, fallback = current_style().fonts, current_style().fallback
    svg = ET.tostring(root, encoding="unicode")
    return _in_tags(svg, lambda tag: tag.replace(f"'{font}'", f"'{font}', {fallback}")) + "\n"


def inline(svg: str, prefix: str) -> str:
    """A rendered figure as an element of an HTML page: identifiers of its own, colours from `css_variables`.

    Args:
        svg: of a `Drawing`.
        prefix: unique among the figures of the page; letters, digits and "-".
    """

    def rewritten(tag: str) -> str:
        tag = re.sub(r'\bid="', f'id="{prefix}-', tag)
        tag = tag.replace("url(#", f"url(#{prefix}-").replace('href="#', f'href="#{prefix}-')
        for name, colour in LIGHT.items():
            tag = tag.replace(colour, f"var(--{name})")
        return tag

    svg = re.sub(r"<style[^>]*>.*?</style>", "", svg, flags=re.DOTALL)  # would style the whole page
    svg = _in_tags(svg, rewritten)
    # The page's text tells what there is to see; a tooltip with the title over all of the figure would be in the way.
    svg = re.sub(r"(<svg[^>]*>)\s*<title>.*?</title>\s*<desc>.*?</desc>", r"\1", svg, count=1, flags=re.DOTALL)
    width = re.search(r'\bwidth="([\d.]+)pt"', svg)
    scale = f"--wide: {float(width[1]) * 1.45:.0f}px" if width else ""
    return re.sub(r'<svg\b[^>]*?(viewBox="[^"]*")[^>]*>', rf'<svg \1 style="{scale}" aria-hidden="true">', svg, count=1)


def _in_tags(svg: str, rewrite: Callable[[str], str]) -> str:
    """SVG with its tags rewritten and all text left alone: a name on a figure may look like anything."""
    return re.sub(r"<[^>]*>", lambda tag: rewrite(tag[0]), svg)


def css_variables(*, dark: bool) -> str:
    """Declarations of the theme's colours for a style sheet."""
    return " ".join(f"--{name}: {colours[dark]};" for name, colours in THEME.items())


def _add_hover(group: ET.Element, texts: Sequence[str]) -> None:
    if not texts:
        return
    marks = [group] if len(texts) == 1 else list(_marks(group))
    for mark, text in zip(marks, texts, strict=True):
        title = ET.Element(f"{{{_SVG}}}title")
        title.text = text
        mark.insert(0, title)


def _marks(group: ET.Element) -> Iterator[ET.Element]:
    """The marks of a scatter in their order: uses of a shape defined once, or paths where that would be longer."""
    for child in group:
        if child.tag in (f"{{{_SVG}}}use", f"{{{_SVG}}}path"):
            yield child
        elif child.tag != f"{{{_SVG}}}defs":
            yield from _marks(child)
