"""The evidence below the answer: a module a question, each with its numbers (pure functions), a section and `KEYS`."""

from collections.abc import Mapping
from dataclasses import replace

from studies.evidence import (
    cost,
    health,
    importance_section,
    layers,
    methods,
    published,
    response_section,
    stopping_section,
    transfer_section,
)
from studies.reporting.section import Evidence, MakeSection

SECTIONS: tuple[MakeSection, ...] = (
    importance_section.section,
    response_section.section,
    transfer_section.section,
    stopping_section.section,
    methods.section,
    cost.section,
    layers.section,
    health.section,
    published.section,
)
"""In the order of the report."""

COURSES = ("curve", "explored", "inference_flops_by_epoch", "layer_sparsity", "initial_layer_sparsity", "environment")
"""Columns with many values a trial, by epoch or by layer: nearly all of what the trials weigh."""


def without_courses(known: Evidence) -> Evidence:
    """What a section has to do with that looks at none of them, and is quickly sent to another process."""
    return replace(known, frame=known.frame.drop(columns=list(COURSES)), memo={})


KEYS: Mapping[str, str] = {
    **importance_section.KEYS,
    **response_section.KEYS,
    **transfer_section.KEYS,
    **stopping_section.KEYS,
    **methods.KEYS,
    **cost.KEYS,
    **layers.KEYS,
    **health.KEYS,
    **published.KEYS,
}
"""What summary.json holds below "evidence": path of a key, the section's name first, to its meaning."""
