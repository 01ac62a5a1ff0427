"""Admission control of a server: budgets shared by all requests, and the end of a request's work."""

import threading
import time
from types import TracebackType
from typing import Self

from melanoma.errors import MelanomaError

LARGE_FRACTION = 0.75  # of a budget that large requests may fill; the rest is for small ones


class WorkEnded(MelanomaError):  # noqa: N818  # a state of the request, not a fault
    """The answer is no longer wanted: the deadline has passed, or the client has left."""


class Work:
    """The work for one request. It ends at a deadline, or earlier if nobody waits for the answer."""

    def __init__(self, seconds: float) -> None:
        """Start the work with a time limit."""
        self.started = time.monotonic()
        self._deadline = self.started + seconds
        self._ended = threading.Event()

    @property
    def seconds_left(self) -> float:
        """Seconds until the deadline; negative after it."""
        return self._deadline - time.monotonic()

    def end(self) -> None:
        """End the work because nobody waits for the answer."""
        self._ended.set()

    def require_wanted(self) -> None:
        """Raise if the work has ended.

        Raises:
            WorkEnded: The deadline has passed, or nobody waits.
        """
        if self._ended.is_set() or self.seconds_left < 0:
            raise WorkEnded("the client has closed the connection")


class Budget:
    """An amount that all requests of a server share. Used by one thread, the event loop's."""

    def __init__(self, most: int, *, small: int) -> None:
        """Set the total `most`; only shares up to `small` may use the part reserved for small requests."""
        self._most, self._small = most, small
        self.taken = 0

    def share(self) -> "Share":
        """An empty share of the budget; a context manager that returns it."""
        return Share(self)

    def fits(self, amount: int, *, held: int) -> bool:
        """Whether a share of `held` can grow by `amount`."""
        is_small = held + amount <= self._small
        return self.taken + amount <= self._most * (1 if is_small else LARGE_FRACTION)


class Share:
    """Part of a budget that one request holds."""

    def __init__(self, budget: Budget) -> None:
        """Start with an empty share."""
        self._budget, self.held = budget, 0

    def take(self, amount: int) -> bool:
        """Take more, or return some; False without a change if the budget is exhausted."""
        if amount > 0 and not self._budget.fits(amount, held=self.held):
            return False
        self.held += amount
        self._budget.taken += amount
        return True

    def __enter__(self) -> Self:
        """Return the share."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Return all of it to the budget."""
        self.take(-self.held)
