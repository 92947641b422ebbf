"""A page of a report: what stands on the first screen, the sections below, and the two forms it takes.

The templates know the kinds of blocks and nothing of what they say: whatever is told as blocks, they print.
"""

import re
from dataclasses import dataclass

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from studies import tables
from studies.printable import printable
from studies.reporting.health import Concern
from studies.reporting.section import Block, Section, Text
from studies.reporting.svg import Drawing, css_variables, inline


@dataclass(frozen=True)
class Page:
    """Everything that there is to read, in the order of reading.

    Attributes:
        title: what the report is about, its heading.
        description: more about it; may be empty.
        plan: what was asked for, in a line.
        question: what the first screen answers.
        answer: in a sentence or two.
        concerns: what to know before believing it.
        first: the evidence of the first screen.
        sections: what stands below it.
        refresh: seconds after which a browser reads the page again, while it is still being written; None: never.
    """

    title: str
    description: str
    plan: str
    question: str
    answer: str
    concerns: tuple[Concern, ...]
    first: tuple[Block, ...]
    sections: tuple[Section, ...]
    refresh: int | None = None

    @property
    def drawings(self) -> tuple[Drawing, ...]:
        """Its figures."""
        return tuple(block for block in self._blocks if isinstance(block, Drawing))

    @property
    def failures(self) -> tuple[str, ...]:
        """What could not be made, a sentence each."""
        texts = (block for block in self._blocks if isinstance(block, Text))
        return tuple(dict.fromkeys(text.text for text in texts if text.role == "failed"))

    @property
    def _blocks(self) -> list[Block]:
        return [*self.first, *(block for section in self.sections for block in section.blocks)]

    def files(self) -> dict[str, str | bytes]:
        """The page as HTML and as Markdown, and its figures, by name relative to the report's folder."""
        figures = {f"figures/{name}": file for drawing in self.drawings for name, file in drawing.files.items()}
        return {
            "report.html": _environment(html=True).get_template("report.html.j2").render(page=self),
            "report.md": _environment(html=False).get_template("report.md.j2").render(page=self),
            **figures,
        }


def _environment(*, html: bool) -> Environment:
    environment = Environment(
        loader=PackageLoader("studies", "templates"),
        autoescape=html,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=_printable,
    )
    environment.filters["md"] = tables.markdown_text
    environment.filters["inline_svg"] = _inline_svg
    environment.filters["linked"] = _linked
    environment.filters["whole_parts"] = _whole_parts
    environment.globals["light"] = Markup(css_variables(dark=False))
    environment.globals["dark"] = Markup(css_variables(dark=True))
    return environment


def _printable(value: object) -> object:
    """What is put into a page: HTML has no control characters, and a reader should see that a text has them."""
    return printable(value, keep="\n") if isinstance(value, str) and not isinstance(value, Markup) else value


def _linked(text: str) -> Markup:
    """A text in which the names of the report's other files are links to them, except on paper.

    A link in a printed PDF is the address of the file where it was printed, and so the folders of whoever did.
    """
    both = r'<a class="on-screen" href="\g<0>">\g<0></a><span class="on-paper">\g<0></span>'
    return Markup(re.sub(r"\b(?:trials\.csv|summary\.json)\b", both, str(escape(text))))


def _whole_parts(cell: str) -> str | Markup:
    """The cell of a table; if it is a setting, "lr 0.1, alpha 0.3", lines break between its parts only."""
    parts = cell.split(", ")
    if not all(re.fullmatch(r"\S{1,26} \S{1,26}", part) for part in parts):
        return cell
    whole = Markup(", ").join(Markup('<span class="part">{}</span>').format(part) for part in parts)
    return Markup("<span>{}</span>").format(whole)  # one element, as a narrow screen lays out those of a cell


def _inline_svg(svg: str, prefix: str) -> Markup:
    return Markup(inline(svg, prefix))
