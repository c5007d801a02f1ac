"""One reading: an answer, nothing, or why it could not be had."""

from collections.abc import Awaitable
from typing import TypeVar

from modelrelease_operator.core.checkup.finding import Unseen
from modelrelease_operator.errors import Gone, Invalid, ReleaseError

T = TypeVar("T")


async def seen(reading: Awaitable[T]) -> T | Unseen | None:
    """Return what was read, None where it is not there, and Unseen where nobody knows."""
    try:
        return await reading
    except Gone:
        return None
    except ReleaseError as problem:
        return Unseen(why=str(problem), refused=isinstance(problem, Invalid))
