"""How a release ended, and what it was on the way there."""

from collections.abc import Callable
from datetime import datetime
from enum import StrEnum

from modelrelease_operator.api.status import Phase, Status


class End(StrEnum):
    """How a release ended, as `plan`, `simulate` and `replay` name it."""

    PROMOTED = "promoted"
    ROLLED_BACK = "rolled_back"
    INCONCLUSIVE = "inconclusive"
    UNDECIDED = "undecided"
    """Its recording ended first: what is simulated or planned ends otherwise."""


IN_SHADOW = -1
"""Stands for the step of a release in which no user meets the canary; the first with users is 0."""
DECIDED = (End.PROMOTED, End.ROLLED_BACK, End.INCONCLUSIVE)

Watch = Callable[[datetime, Status], object]
"""Told the status after each look."""


def unwatched(_: datetime, __: Status) -> None:
    """Take no notice."""


def end_of(status: Status, *, canary: str) -> End | None:
    """Return how the release of a canary, by its revision, ended; None while it goes on."""
    if status.phase is Phase.ROLLING_BACK:
        return End.ROLLED_BACK
    asks = status.phase in (Phase.PAUSED, Phase.SHADOWING)
    if asks and status.canary and status.canary.inconclusive:
        return End.INCONCLUSIVE
    if status.phase is Phase.STABLE and status.stable and status.stable.revision == canary:
        return End.PROMOTED
    return None
