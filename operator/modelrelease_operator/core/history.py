"""What was decided of a release, with what follows from its order: who served, and who decided."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from modelrelease_operator.api.status import HistoryEntry, Reason, Status
from modelrelease_operator.core.release.transitions import BACK_TO

BEGIN_TO_SERVE: Final = (Reason.FIRST_VERSION_SERVES, Reason.STATUS_LOST, Reason.PROMOTED)
"""Outcomes after which their revision serves."""
Revision = tuple[str, str]
"""A revision and its version."""
BY_SPEC: Final = (Reason.SPEC_REVERTED, Reason.SUPERSEDED)
BY_COMMAND: Final[Mapping[str, str]] = {Reason.PROMOTED_BY_HAND: "promote", Reason.ABORTED: "abort"}
"""By outcome: the command of a person that brings it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """One thing that was decided, with what follows from the others."""

    entry: HistoryEntry
    served: str | None
    """The version that served when it was decided; None where that is not told."""
    by: str


def told_of(status: Status) -> Iterator[Told]:
    """Yield what was decided, the newest first, with the version that served then."""
    for entry, served in zip(status.history, reversed(_served(status)), strict=True):
        yield Told(entry=entry, served=served, by=_by(entry, status))


def _served(status: Status) -> list[str | None]:
    """Return the version that served before each entry, the oldest entry first.

    A revision that was promoted serves from then on. What is decided of the very one that serves
    is said after a promotion: it was compared again, or taken back.
    """
    entries = status.history[::-1]
    stays = not any(map(_moves, entries))
    now = (status.stable.revision, status.stable.version) if status.stable and stays else None
    before: Revision | None = None
    versions: list[str | None] = []
    for entry in entries:
        versions.append(now[1] if now else None)
        if _moves(entry):
            before, now = now, (entry.revision, entry.version)
        elif now and entry.revision == now[0]:
            before, now = None, before
    return versions


def _moves(entry: HistoryEntry) -> bool:
    """Return whether a decision made its revision the one that serves."""
    back = entry.outcome is Reason.SPEC_REVERTED and entry.message.startswith(BACK_TO)
    return back or entry.outcome in BEGIN_TO_SERVE


def _by(entry: HistoryEntry, status: Status) -> str:
    """Say who decided it. Of a person's command only the last of its kind is kept."""
    if entry.outcome in BY_SPEC:
        return "spec"
    kind = BY_COMMAND.get(entry.outcome)
    if kind is None:
        return "operator"
    for seen in status.commands or ():
        about_it = seen.about == entry.revision and seen.at <= entry.at
        if seen.command == kind and seen.taken and about_it and seen.by:
            return seen.by
    return "a person"
