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


def goals(by_name: Mapping[str, Summary]) -> list[Goal]:
    """Hold the figures of one run against the promises."""
    logistic, forest = fastest_rival(by_name, Work.LOGISTIC), fastest_rival(by_name, Work.FOREST)
    raw = by_name.get(RAW)
    return [
        _rate(
            "logistic pipeline: at least 10 times the fastest rival",
            by_name.get(LOGISTIC),
            logistic,
            10,
        ),
        _rate(
            "logistic pipeline: at least 0.7 of a bare ASGI function",
            by_name.get(LOGISTIC),
            raw,
            0.7,
        ),
        _rate(
            "logistic pipeline, scikit-learn untouched: at least 6 times the fastest rival",
            by_name.get(OPAQUE),
            logistic,
            6,
        ),
        _rate("forest: at least 10 times the fastest rival", by_name.get(FOREST), forest, 10),
        _rate(
            "forest, scikit-learn untouched: no slower than the fastest rival",
            by_name.get(FOREST_OPAQUE),
            forest,
            1,
        ),
        _tail(
            "logistic pipeline: p99 under a third of the best rival's",
            by_name.get(LOGISTIC),
            by_name,
            Work.LOGISTIC,
        ),
        _tail(
            "forest: p99 under a third of the best rival's",
            by_name.get(FOREST),
            by_name,
            Work.FOREST,
        ),
        _rate(
            "a lonely client: at least twice the tutorial app",
            by_name.get(LOGISTIC),
            by_name.get(TUTORIAL),
            2,
            connections=ONE,
        ),
        _memory(by_name.get(LOGISTIC)),
    ]


def _rate(
    text: str, ours: Summary | None, rival: Summary | None, factor: float, connections: int = MANY
) -> Goal:
    """Compare answers a second."""
    if ours is None or rival is None or not rival.rate(connections).middle:
        return Goal(text=text, met=None, measured="")
    our_rate, rival_rate = ours.rate(connections), rival.rate(connections)
    ratio = our_rate.middle / rival_rate.middle
    # What it costs: hardly touched by neighbours on the core, where answers a second are.
    cheaper = rival.cpu_us(connections) / max(ours.cpu_us(connections), 1e-9)
    # The worst that the rounds allow: our slowest beside their fastest.
    worst = our_rate.low / rival_rate.high
    measured = (
        f"{ratio:.2f} times ({our_rate.middle:,.0f} and {rival_rate.middle:,.0f} of "
        f"{rival.candidate.name}; "
    )
    bounds = f"worst pair of rounds {worst:.2f}; by CPU time {cheaper:.2f})"
    return Goal(text=text, met=ratio >= factor, measured=f"{measured}{bounds}")


def _tail(text: str, ours: Summary | None, by_name: Mapping[str, Summary], work: Work) -> Goal:
    rival = quickest_rival(by_name, work)
    if ours is None or rival is None:
        return Goal(text=text, met=None, measured="")
    our_p99, rival_p99 = ours.p99_ms(MANY), rival.p99_ms(MANY)
    both = f"{our_p99:.1f} ms and {rival_p99:.1f} ms of {rival.candidate.name}"
    measured = f"{our_p99 / rival_p99:.2f} ({both})"
    return Goal(text=text, met=our_p99 < rival_p99 / 3, measured=measured)


def _memory(ours: Summary | None) -> Goal:
    text = f"logistic pipeline: less than {MEMORY_MB} MB of memory"
    if ours is None:
        return Goal(text=text, met=None, measured="")
    most = max(visit.resident_mb for visit in ours.visits)
    return Goal(text=text, met=most < MEMORY_MB, measured=f"{most:.0f} MB at most")
