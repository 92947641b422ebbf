"""Which topology step is to be made at which call of `SparseOptimizer.step`."""

import operator

from rigl_core.errors import BadInput
from rigl_core.schedules import CubicRamp, UpdateSchedule


class Agenda:
    """Keeps up with the numbers of the steps, so that no topology step is lost that a loop leaves out.

    Args:
        schedule: of the topology steps; None for a method that makes none.

    Attributes:
        last: the number of the last step; None before the first.
    """

    def __init__(self, schedule: UpdateSchedule | CubicRamp | None) -> None:
        self._schedule = schedule
        self.last: int | None = None
        self._next: int | None = None  # the topology step that was next after `last`

    def number(self, step: int | None) -> int:
        """The number of a step; None is the one after the last.

        Raises:
            BadInput: it is no whole number.
        """
        if step is None:
            return 0 if self.last is None else self.last + 1
        try:
            return operator.index(step)
        except TypeError:
            raise BadInput(f"step is a {type(step).__name__}; it must be the number of the step, from 0.") from None

    def go_on_from(self, last: int | None) -> None:
        """The step `last` was made; None forgets all steps."""
        self.last = last
        if last is None:
            self._next = None
        elif self._schedule is not None and (self._next is None or self._next <= last):
            self._next = self._schedule.next_update(last)

    def is_scheduled(self, step: int) -> bool:
        """Whether the schedule has a topology step at `step`."""
        return self._schedule is not None and self._schedule.is_update_step(step)

    def is_overdue(self, step: int) -> bool:
        """Whether a topology step before `step` was left out."""
        return self._next is not None and self._next < step

    def topology_step_at(self, step: int) -> int:
        """The topology step of the schedule to make at `step`: the last that was left out, or this one."""
        latest, following = step, self._next
        while self._schedule is not None and following is not None and following <= step:
            latest, following = following, self._schedule.next_update(following)
        return latest
