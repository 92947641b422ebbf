"""A section of a report: texts, tables and figures in the order of reading, and what summary.json holds of them.

A section is a pure function of `Evidence`; `studies.report.SECTIONS` has all of them. The templates know the kinds of
blocks and nothing of what they say, so a new section needs no template.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Protocol

import pandas as pd

from studies.frame import Provenance
from studies.reporting.findings import Analysis
from studies.reporting.svg import Drawing
from studies.search_space import Axis
from studies.tables import Table


class Searched(Protocol):
    """Trials of any program, a campaign's or another's: all that a section on the searched parameters looks at."""

    @property
    def frame(self) -> pd.DataFrame:
        """The trials, of the schema of `studies.frame`."""

    @property
    def analysis(self) -> Analysis:
        """What they say about reference and best, and what they are compared by."""

    @property
    def search(self) -> Mapping[str, Axis | None]:
        """Axis of every parameter; None where it is not known, and the values seen must do."""

    @property
    def sampler(self) -> str:
        """Name of what chose the parameters, of `studies.strategies.SAMPLERS`; "" if it is not known."""

    @property
    def memo(self) -> dict[str, Any]:
        """What one section has found out and another will ask for, by name; see `models_of`."""


@dataclass(frozen=True)
class Evidence:
    """Everything that a section may look at.

    Attributes:
        frame: the trials, from `studies.frame.load_frame`.
        analysis: what `studies.analysis.analyse` made of them.
        provenance: the specification and versions they come from.
        memo: what one section has found out and another will ask for, by name; see `models_of`.
    """

    frame: pd.DataFrame
    analysis: Analysis
    provenance: Provenance
    memo: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def search(self) -> Mapping[str, Axis]:
        """Axis of every searched parameter."""
        return self.provenance.spec.search

    @property
    def sampler(self) -> str:
        """Name of what chose the parameters."""
        return self.provenance.spec.strategy.sampler


@dataclass(frozen=True)
class Text:
    """A paragraph of plain text.

    Attributes:
        text: without markup.
        role: "finding" for what the section found, first and in bold; "note" for how to read what stands above it;
            "missing" for why something is not there; "failed" for a part that could not be made; else "text".
    """

    kind: ClassVar[str] = "text"

    text: str
    role: Literal["finding", "text", "note", "missing", "failed"] = "text"


@dataclass(frozen=True)
class Terms:
    """Terms, each with a sentence about it."""

    kind: ClassVar[str] = "terms"

    terms: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Source:
    """The text of a file, folded away."""

    kind: ClassVar[str] = "source"

    title: str
    text: str


Block = Text | Terms | Table | Drawing | Source


@dataclass(frozen=True)
class Section:
    """A part of the page with a heading of its own.

    Attributes:
        name: its anchor, and its key in summary.json; unique.
        title: its heading.
        link: its name in the table of contents, shorter than the title.
        blocks: what it consists of, in the order of reading.
        summary: its numbers as JSON has them, by name; nothing for sections that only repeat what stands elsewhere.
    """

    name: str
    title: str
    link: str
    blocks: tuple[Block, ...]
    summary: Mapping[str, Any] = field(default_factory=dict)

    @property
    def drawings(self) -> tuple[Drawing, ...]:
        """The figures among its blocks."""
        return tuple(block for block in self.blocks if isinstance(block, Drawing))


MakeSection = Callable[[Evidence], Section | None]
"""A section of these trials; None where the question it answers does not arise."""
