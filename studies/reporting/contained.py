"""A part of a report that cannot be made costs itself only: the page says so in its place, and everything else stays.

Sections and figures are made by functions that `section` and `figure` wrap here. The text that stands where such a part
would be has the role "failed"; from it the command line knows what to say, and that it did not do all it was asked for.
"""

import functools
import json
import logging
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import numpy as np

from studies.reporting.section import Section, Text

logger = logging.getLogger("rigl_study.report")

CAUGHT: tuple[type[Exception], ...] = (Exception,)
"""What may go wrong with a part. The tests catch nothing, lest they pass over a fault of ours."""

P = ParamSpec("P")
T = TypeVar("T")


def attempt(what: str, make: Callable[[], T]) -> T | Text:
    """What `make` returns, or the text that it could not be made.

    A number that is too large for its arithmetic is an error here: all that follows from it would be wrong.
    """
    try:
        with np.errstate(over="raise", invalid="raise", divide="raise"):
            return make()
    except CAUGHT as error:
        logger.debug("%s could not be made", what, exc_info=error)
        why = f"{type(error).__name__}: {error}".rstrip(".")
        return Text(f"{what} could not be made ({why}). All trials are in trials.csv.", "failed")


def figure(name: str) -> Callable[[Callable[P, T]], Callable[P, T | Text]]:
    """Wraps a function that draws the figure of this name."""

    def wrap(draw: Callable[P, T]) -> Callable[P, T | Text]:
        @functools.wraps(draw)
        def drawn(*args: P.args, **kwargs: P.kwargs) -> T | Text:
            return attempt(f'The figure "{name}"', lambda: draw(*args, **kwargs))

        return drawn

    return wrap


def section(name: str, title: str) -> Callable[[Callable[P, Section | None]], Callable[P, Section | None]]:
    """Wraps a function that makes the section of this name; `title` is the heading of one that could not be made."""

    def wrap(make: Callable[P, Section | None]) -> Callable[P, Section | None]:
        @functools.wraps(make)
        def made(*args: P.args, **kwargs: P.kwargs) -> Section | None:
            def whole() -> Section | None:
                found = make(*args, **kwargs)
                json.dumps(found and dict(found.summary), allow_nan=False)  # summary.json could not hold another one
                return found

            found = attempt(f'The section "{title}"', whole)
            return Section(name, title, title, (found,)) if isinstance(found, Text) else found

        return made

    return wrap
