"""What can go wrong, by what should happen next.

* `RefusedError`: the artifact can never work; exit with `EXIT_REFUSED`, do not try again.
* `UnreachableError`: the artifact could not be brought here in time, or what checks it is not right
  yet; exit with 1, try again.
* `BadRequestError`: the client's mistake; a 4xx problem document.
* `ModelFailedError`: the model's mistake; a 500 problem document.
* `BusyError`: more requests than the model can answer; a 503 problem document.

Every message is one sentence for the person who has to act.
"""


class RefusedError(Exception):
    """The artifact can never work, however often it is tried."""


class UnreachableError(Exception):
    """The artifact could not be copied or checked, and a later try may succeed."""


class ModelFailedError(Exception):
    """The model answered with something that is not an answer."""


class NoAnswerError(ModelFailedError):
    """The model's answers are of a kind that is not served, for these rows and all others."""


class BadRequestError(Exception):
    """A request that cannot be answered, with the place of the first mistake."""

    def __init__(
        self, status: int, detail: str, *, row: int | None = None, feature: str | None = None
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.row = row
        self.feature = feature


class BusyError(Exception):
    """More came than can be answered soon, and memory must not grow by it: a 503 document."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"{reason}: try again in a second")
