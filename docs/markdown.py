"""What all pages that are made from the code begin with, and their tables."""

from collections.abc import Sequence

NOTICE = "<!-- Written by `python -m docs.generate`; a change here is lost. -->"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    return "\n".join([line(head), "|" + "---|" * len(head), *map(line, rows)])
