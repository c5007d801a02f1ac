"""What one check of a cluster found, and what it could not see."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

Object = dict[str, Any]


class Result(StrEnum):
    """How a check ended."""

    OK = "ok"
    WARNING = "warning"
    """It works, and not as well as it could."""
    WRONG = "wrong"
    """Releases do not work, or this one does not, until somebody acts."""
    UNSEEN = "could not look"
    """Neither good nor bad: the person has no right to it, or no way there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One check: what was found, and what to do where that is not as it should be."""

    about: str
    """`cluster`, or a release as `namespace/name`."""
    check: str
    result: Result
    says: str
    remedy: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Unseen:
    """Stands for what could not be read."""

    why: str
    refused: bool = False
    """Whether the API server answered and said no."""


@dataclass(frozen=True, slots=True)
class Subject:
    """Makes the findings about one thing."""

    about: str

    def ok(self, check: str, says: str) -> Finding:
        """Return that a check found what it should."""
        return Finding(about=self.about, check=check, result=Result.OK, says=says)

    def warning(self, check: str, says: str, remedy: str | None = None) -> Finding:
        """Return something that could be better."""
        return Finding(
            about=self.about, check=check, result=Result.WARNING, says=says, remedy=remedy
        )

    def wrong(self, check: str, says: str, remedy: str | None = None) -> Finding:
        """Return something that does not work."""
        return Finding(about=self.about, check=check, result=Result.WRONG, says=says, remedy=remedy)

    def unseen(self, check: str, says: str, remedy: str | None = None) -> Finding:
        """Return that something could not be looked at."""
        return Finding(
            about=self.about, check=check, result=Result.UNSEEN, says=says, remedy=remedy
        )
