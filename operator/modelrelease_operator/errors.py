"""The two families of errors.

ReleaseError
  Invalid        a person must act: shown as a condition, looked at again when something changes
    NotRead      not by the operator: a pod can read it
  Unavailable    the world must act: tried again with growing pauses
    Conflict     what was read is no longer what is there: read it again
  Gone           the release was deleted: there is nothing left to do
"""

LONGEST = 4000
"""Characters of a sentence: it goes into status, and may quote what somebody else wrote."""


class ReleaseError(Exception):
    """Base of all errors that the operator raises on purpose; the text is a sentence for people."""

    def __init__(self, message: str = "") -> None:
        more = len(message) - LONGEST
        super().__init__(
            f"{message[:LONGEST]} … ({more:,} more characters)" if more > 0 else message
        )


class Invalid(ReleaseError):
    """The input can never work as it is."""


class NotRead(Invalid):
    """The operator cannot read an artifact, which a pod can."""

    def __init__(self, message: str, *, location: str | None = None) -> None:
        super().__init__(message)
        self.location = location
        """Where it is for good; None: where it was looked for."""


class Unavailable(ReleaseError):
    """Something that is needed does not answer now."""


class Conflict(Unavailable):
    """What was read has changed, or has become another object of the same name."""


class Gone(ReleaseError):
    """The release no longer exists."""
