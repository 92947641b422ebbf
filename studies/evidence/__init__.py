"""The evidence below the answer: a module a question, each with its numbers (pure functions), a section and `KEYS`."""

from collections.abc import Mapping

from studies.reporting.section import MakeSection

SECTIONS: tuple[MakeSection, ...] = ()
"""In the order of the report."""

KEYS: Mapping[str, str] = {}
"""What summary.json holds below "evidence": path of a key, the section's name first, to its meaning."""
