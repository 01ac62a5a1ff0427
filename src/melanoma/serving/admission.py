"""What a server takes at once: budgets that all requests share, and the end of a request's work."""

import threading
import time
from types import TracebackType
from typing import Self

from melanoma.errors import MelanomaError

LARGE_FRACTION = 0.75  # of a budget that large requests may fill; the rest is for small ones


class WorkEnded(MelanomaError):  # noqa: N818  # a state of the request, not a fault
    """The answer is no longer wanted: the deadline has passed, or the client has left."""


class Work:
    """The work for one request. It ends at a deadline, or earlier when nobody waits for the answer."""

    def __init__(self, seconds: float) -> None:
        """End after this time at the latest."""
        self.started = time.monotonic()
        self._deadline = self.started + seconds
        self._ended = threading.Event()

    @property
    def seconds_left(self) -> float:
        """Until the deadline; negative after it."""
        return self._deadline - time.monotonic()

    def end(self) -> None:
        """Nobody waits for the answer any more."""
        self._ended.set()

    def require_wanted(self) -> None:
        """Raise where the work has ended.

        Raises:
            WorkEnded: It has.
        """
        if self._ended.is_set() or self.seconds_left < 0:
            raise WorkEnded("nobody waits for this answer any more")


class Budget:
    """An amount that all requests of a server share. Used by one thread, the event loop's."""

    def __init__(self, most: int, *, small: int) -> None:
        """`most` in all; a share of up to `small` may use the part that larger shares may not."""
        self._most, self._small = most, small
        self.taken = 0

    def share(self) -> "Share":
        """A request's part of it, empty at first; a context manager that gives it back."""
        return Share(self)

    def fits(self, amount: int, *, held: int) -> bool:
        """Whether a share of `held` can grow by `amount`."""
        is_small = held + amount <= self._small
        return self.taken + amount <= self._most * (1 if is_small else LARGE_FRACTION)


class Share:
    """What one request holds of a budget."""

    def __init__(self, budget: Budget) -> None:
        """Nothing yet."""
        self._budget, self.held = budget, 0

    def take(self, amount: int) -> bool:
        """Take more, or give some back; False, and nothing taken, where the budget has no more."""
        if amount > 0 and not self._budget.fits(amount, held=self.held):
            return False
        self.held += amount
        self._budget.taken += amount
        return True

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give all of it back."""
        self.take(-self.held)
