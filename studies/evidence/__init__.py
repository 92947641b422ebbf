"""The evidence below the answer: one module a question, each with numbers (pure functions), a section, and its `KEYS`."""

from collections.abc import Mapping

from studies.reporting.section import MakeSection

SECTIONS: tuple[MakeSection, ...] = ()
"""In the order of the report."""

KEYS: Mapping[str, str] = {}
"""What summary.json holds below "evidence": path of a key, the section's name first, to its meaning."""
