"""The two families of errors.

ReleaseError
  Invalid        a person must act: shown as a condition, looked at again when something changes
  Unavailable    the world must act: tried again with growing pauses
  Gone           the release was deleted: there is nothing left to do
"""


class ReleaseError(Exception):
    """Base of all errors that the operator raises on purpose; the text is a sentence for people."""


class Invalid(ReleaseError):
    """The input can never work as it is."""


class Unavailable(ReleaseError):
    """Something that is needed does not answer now."""


class Gone(ReleaseError):
    """The release no longer exists."""
