"""The evidence below the answer: a module a question, each with its numbers (pure functions), a section and `KEYS`."""

from collections.abc import Mapping

from studies.evidence import importance_section
from studies.reporting.section import MakeSection

SECTIONS: tuple[MakeSection, ...] = (importance_section.section,)
"""In the order of the report."""

KEYS: Mapping[str, str] = {**importance_section.KEYS}
"""What summary.json holds below "evidence": path of a key, the section's name first, to its meaning."""
