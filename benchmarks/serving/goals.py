"""What the predictor must show beside the others, and whether it did. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from benchmarks.serving.candidates import Work
from benchmarks.serving.figures import MANY, ONE, Summary, fastest_rival, quickest_rival

LOGISTIC: Final = "ours-logistic"
OPAQUE: Final = "ours-logistic-opaque"
FOREST: Final = "ours-forest"
FOREST_OPAQUE: Final = "ours-forest-opaque"
RAW: Final = "raw-asgi"
TUTORIAL: Final = f"tutorial-{Work.LOGISTIC}"
MEMORY_MB: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """One promise and what was measured."""

    text: str
    met: bool | None
    """None: not all that it needs took part."""
    measured: str

    @property
    def verdict(self) -> str:
        """In a word."""
        return {True: "met", False: "MISSED", None: "not measured"}[self.met]


def goals(found: Mapping[str, Summary]) -> list[Goal]:
    """Hold the figures of one run against the promises."""
    logistic, forest = fastest_rival(found, Work.LOGISTIC), fastest_rival(found, Work.FOREST)
    raw = found.get(RAW)
    return [
        _rate(
            "logistic pipeline: at least 10 times the fastest rival",
            found.get(LOGISTIC),
            logistic,
            10,
        ),
        _rate(
            "logistic pipeline: at least 0.7 of a bare ASGI function", found.get(LOGISTIC), raw, 0.7
        ),
        _rate(
            "logistic pipeline, scikit-learn untouched: at least 6 times the fastest rival",
            found.get(OPAQUE),
            logistic,
            6,
        ),
        _rate("forest: at least 10 times the fastest rival", found.get(FOREST), forest, 10),
        _rate(
            "forest, scikit-learn untouched: no slower than the fastest rival",
            found.get(FOREST_OPAQUE),
            forest,
            1,
        ),
        _tail(
            "logistic pipeline: p99 under a third of the best rival's",
            found.get(LOGISTIC),
            found,
            Work.LOGISTIC,
        ),
        _tail(
            "forest: p99 under a third of the best rival's", found.get(FOREST), found, Work.FOREST
        ),
        _rate(
            "a lonely client: at least twice the tutorial app",
            found.get(LOGISTIC),
            found.get(TUTORIAL),
            2,
            connections=ONE,
        ),
        _memory(found.get(LOGISTIC)),
    ]


def _rate(
    text: str, ours: Summary | None, other: Summary | None, needed: float, connections: int = MANY
) -> Goal:
    """Compare answers a second."""
    if ours is None or other is None or not other.rate(connections).middle:
        return Goal(text=text, met=None, measured="")
    mine, theirs = ours.rate(connections), other.rate(connections)
    ratio = mine.middle / theirs.middle
    # What it costs: hardly touched by neighbours on the core, where answers a second are.
    cheaper = other.cpu_us(connections) / max(ours.cpu_us(connections), 1e-9)
    # The worst that the rounds allow: our slowest beside their fastest.
    worst = mine.low / theirs.high
    measured = (
        f"{ratio:.2f} times ({mine.middle:,.0f} and {theirs.middle:,.0f} of "
        f"{other.candidate.name}; "
    )
    rest = f"worst pair of rounds {worst:.2f}; by CPU time {cheaper:.2f})"
    return Goal(text=text, met=ratio >= needed, measured=f"{measured}{rest}")


def _tail(text: str, ours: Summary | None, found: Mapping[str, Summary], work: Work) -> Goal:
    rival = quickest_rival(found, work)
    if ours is None or rival is None:
        return Goal(text=text, met=None, measured="")
    mine, theirs = ours.p99_ms(MANY), rival.p99_ms(MANY)
    measured = f"{mine / theirs:.2f} ({mine:.1f} ms and {theirs:.1f} ms of {rival.candidate.name})"
    return Goal(text=text, met=mine < theirs / 3, measured=measured)


def _memory(ours: Summary | None) -> Goal:
    text = f"logistic pipeline: less than {MEMORY_MB} MB of memory"
    if ours is None:
        return Goal(text=text, met=None, measured="")
    most = max(visit.resident_mb for visit in ours.visits)
    return Goal(text=text, met=most < MEMORY_MB, measured=f"{most:.0f} MB at most")
