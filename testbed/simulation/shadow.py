"""Pairs of answers: what stable's pods copy to a canary in the dark, and what comes of that."""

from dataclasses import dataclass, field
from typing import Any

from modelrelease_contract import shadow as words
from modelrelease_operator.api import names
from modelrelease_operator.core.observed import PairCounter
from testbed.simulation.machines import RELEASE, Machines, Pod

OWN: dict[str, Any] = {"pairs": 100, "deadline": "1m"}
"""What a release says that has its canaries compared first."""
COPIES = 20.0
"""A second, of each of stable's pods."""
LONGEST = 30.0
"""Seconds before a look in which copies can have been made: each look is some 5 to 60 s apart."""


@dataclass
class Pairs:
    """The counters of stable's processes: evenly grown, and scraped now and then."""

    machines: Machines
    interval: float
    """Seconds between two scrapes."""
    _made: dict[tuple[str, float], float] = field(default_factory=dict)
    """By process: the pairs that it made."""
    _shown: dict[str, tuple[float, tuple[PairCounter, ...]]] = field(default_factory=dict)
    """By pod: when it was scraped last, and what it showed."""
    _made_at: float = 0.0

    def read(self, *, stable: str, canary: str) -> tuple[PairCounter, ...]:
        """Return what stable's pods show by now of pairs with the canary."""
        now, pods = self.machines.timeline.now, list(self.machines.pods.values())
        asked = next((pod for pod in pods if pod.revision == canary and pod.ready), None)
        if asked is not None and self._leads_to(canary):
            for pod in pods:
                if pod.revision == stable and pod.ready:
                    since = max(self._made_at, now - LONGEST, pod.started)
                    process = (pod.name, pod.started)
                    self._made[process] = self._made.get(process, 0.0) + COPIES * (now - since)
                    self._scrape(pod, asked)
        self._made_at = now
        return tuple(row for _, rows in self._shown.values() for row in rows)

    def _leads_to(self, canary: str) -> bool:
        """Return whether the canary's own Service leads to it, by which stable's pods ask."""
        service = self.machines.cluster.get("Service", f"{RELEASE}-canary")
        selector = ((service or {}).get("spec") or {}).get("selector") or {}
        return bool(selector.get(names.LABEL_REVISION) == canary)

    def _scrape(self, pod: Pod, asked: Pod) -> None:
        now = self.machines.timeline.now
        at, _ = self._shown.get(pod.name, (0.0, ()))
        if now - at < self.interval:
            return
        total = int(self._made[pod.name, pod.started])
        own, theirs = (self.machines.behaviours[each.version] for each in (pod, asked))
        failed, missed = int(total * theirs.errors), int(total * own.errors)
        slower = total if theirs.slow and not own.slow else 0
        counts = {
            words.SAME: total - failed - missed,
            words.CANARY_FAILED: failed,
            words.STABLE_FAILED: missed,
            words.CANARY_SLOWER: slower,
            words.ALIKE: total - slower,
        }
        process = f"{pod.name}@{pod.started}"
        rows = [PairCounter(process=process, result=it, value=counts[it]) for it in counts]
        self._shown[pod.name] = (now, tuple(rows))
