"""What must hold in every seed, looked at from outside: at each write that the API server took,
after each pass, and in the end. Nothing here asks the operator's own code what is right.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from modelrelease_operator.api import names
from modelrelease_operator.api.status import PACKED, Evidence
from modelrelease_operator.errors import ReleaseError
from modelrelease_operator.traffic.gateway_api import HTTP_ROUTE
from testbed.simulation.cluster import OPERATOR, Cluster, Key, Object
from testbed.simulation.machines import RELEASE, Machines, Sample
from testbed.simulation.people import People
from testbed.simulation.scrapes import Look, Scrapes
from testbed.simulation.story import Tell

ERRORS = "errors"
"""Key of the counts of requests and failures in `status.evidence`."""
MIN_REQUESTS = 100
"""`analysis.minRequests` by default: nothing passes with fewer."""
UNDERWAY = frozenset({"Starting", "Shadowing", "Progressing", "Paused", "Promoting"})
WITH_USERS = frozenset({"Progressing", "Paused", "Promoting"})
BACK = frozenset({"SpecReverted", "Reopened", "Regression"})
"""Outcomes by which the revision that is still warm becomes stable again."""
PROVEN = frozenset({"Regression", "CanaryNotReady", "ArtifactRefused"})


@dataclass(frozen=True, slots=True)
class Violation:
    """An invariant that did not hold."""

    invariant: str
    words: str


@dataclass
class Audit:
    """Looks at everything that the operator does."""

    cluster: Cluster
    machines: Machines
    people: People
    scrapes: Scrapes
    tell: Tell
    violations: list[Violation] = field(default_factory=list)
    ready_pods_known: Callable[[], Mapping[str, Mapping[str, str]]] = dict
    """By name: the labels of the ready pods that the operator knows of."""
    replicas_told: Callable[[], int | None] = lambda: None
    """How many pods the spec asks for, as far as the operator was told; None where that cannot be
    followed."""
    _uids: set[str] = field(default_factory=set)
    """Of every release of the name that there ever was."""
    _failed: dict[str, str] = field(default_factory=dict)
    """By revision: what was proven against it."""
    _counted: dict[str, Sample] = field(default_factory=dict)
    """By pod: its newest sample of which the stored status knows."""
    _judged: set[str] = field(default_factory=set)
    """Pods that were known to be ready at that look."""
    _shown: dict[str, int] = field(default_factory=dict)
    """By revision: the requests that looks had been told when it became the canary."""
    _led_to: str | None = None
    """The canary in the shadow to which this pass has led users."""
    _asked: int | None = None
    """The pods that the spec asked for when the pass began."""
    _blind: float = 0.0
    _newest: float = 0.0

    def __post_init__(self) -> None:
        self.cluster.hears.append(self._heard)

    def fail(self, invariant: str, words: str) -> None:
        self.tell("!! {}: {}", invariant, words)
        self.violations.append(Violation(invariant, words))

    def _heard(self, key: Key, before: Object | None, after: Object | None, by: str) -> None:
        kind, name = key
        if kind == names.KIND:
            self._of_release(before, after, by)
        elif by == OPERATOR and kind != "Event":
            self._touched(kind, name, before)
            if kind == "Service" and name == RELEASE and after is not None:
                self._routed(before, after)
            if kind == "Deployment":
                self._workload(before, after)
            if kind == HTTP_ROUTE and after is not None:
                self._weighed(before, after)

    # What is touched

    def _touched(self, kind: str, name: str, before: Object | None) -> None:
        """Nothing foreign is ever written or deleted."""
        if before is None:
            return
        owners = before["metadata"].get("ownerReferences") or ()
        labels = before["metadata"].get("labels") or {}
        ours = any(owner["uid"] in self._uids for owner in owners)
        orphan = not owners and labels.get(names.LABEL_MANAGED_BY) == names.MANAGED_BY
        if not (ours or orphan) or before["metadata"]["uid"] in self.people.foreign:
            self.fail("nothing foreign is written", f"{kind} {name}")

    def _workload(self, before: Object | None, after: Object | None) -> None:
        """Stable keeps its pods, whatever becomes of a canary."""
        meta = (after or before or {})["metadata"]
        revision = (meta.get("labels") or {}).get(names.LABEL_REVISION)
        stable = self._status().get("stable") or {}
        if revision is None or revision != stable.get("revision"):
            return
        if after is None:
            self.fail("stable is untouched", f"the Deployment of stable {revision} is deleted")
        elif after["spec"]["replicas"] < min(self.people.replicas) and self._leads_to(revision):
            replicas = after["spec"]["replicas"]
            self.fail("stable is untouched", f"stable {revision} has {replicas} replicas")
        elif self._asked and after["spec"]["replicas"] < self._asked and self._leads_to(revision):
            words = f"stable {revision} has {after['spec']['replicas']} of {self._asked} replicas"
            self.fail("stable has the pods that are asked for", words)

    def _leads_to(self, revision: str) -> bool:
        """Return whether clients are led to a revision: where status could not be written for long,
        one that it calls stable may be the candidate by now.
        """
        selector = _selected(self.cluster.get("Service", RELEASE))
        return selector.get(names.LABEL_REVISION) in (None, revision)

    def _routed(self, before: Object | None, after: Object) -> None:
        """Nobody is led to where nothing was ever ready, or back to what has failed."""
        old, new = _selected(before), _selected(after)
        served = self._status().get("stable") and before is not None and self._reached(before)
        if served and not self._known(new):
            self.fail("clients are led to ready pods", f"{new} selects none")
        now_led = set(self._revisions(new)) - set(self._revisions(old) if before else ())
        self._meets_shadow(now_led)
        for revision in now_led:
            if self._status().get("stable") and revision not in self.machines.ever_ready:
                self.fail("a canary is ready before it is reached", revision)
            if revision in self._failed and not self._stays_by_a_gateway():
                why = self._failed[revision]
                self.fail("no weight rises after a failure", f"{revision} had failed: {why}")

    def _stays_by_a_gateway(self) -> bool:
        """Return whether a gateway sends clients to a canary that is on its way back, and nobody
        else could answer: they stay with it.
        """
        stable = _revision(self._status(), "stable") or ""
        return self.machines.gateway is not None and self.ready_of(stable) == 0

    def _weighed(self, before: Object | None, after: Object) -> None:
        """A route gives a canary no more than a step's share, or all; nothing after it failed."""
        selector = _selected(self.cluster.get("Service", f"{RELEASE}-canary"))
        revision, stable = selector.get(names.LABEL_REVISION), self._status().get("stable")
        weight, old = _canary_weight(after), _canary_weight(before) if before else 0
        if not weight or not stable or revision == stable["revision"]:
            return
        if weight > old and revision is not None:
            self._meets_shadow({revision})
        most = max(step["weight"] for step in self.people.settings["canary"]["steps"])
        if most < weight < 100 and self._is_whole(stable["revision"]):
            self.fail("no share beyond its step", f"{weight}, and not {most}, for {revision}")
        if revision not in self.machines.ever_ready:
            self.fail("a canary is ready before it is reached", f"{revision} by the route")
        lost = self.ready_of(stable["revision"]) == 0
        if weight > old and revision in self._failed and not lost:
            self.fail("no weight rises after a failure", f"{revision} by the route")

    def _meets_shadow(self, revisions: Collection[str]) -> None:
        """Take in that users are led to revisions now: is one of them compared in the dark?"""
        status = self._status()
        canary = _revision(status, "canary")
        if status.get("phase") == "Shadowing" and canary in revisions:
            self._led_to = canary

    def _shadow(self, old: Object, new: Object) -> None:
        """A pass that leaves a canary in the shadow has led no user to it."""
        canary = _revision(new, "canary")
        stays = old.get("phase") == new["phase"] == "Shadowing" and canary == self._led_to
        # What only says that passes fail decides nothing: the pass before may have left the shadow.
        if stays and canary is not None and old.get("canary") != new["canary"]:
            self.fail("a shadow has no users", canary)

    def begins_anew(self) -> None:
        """Take in that a pass begins, whatever became of the last."""
        self._led_to, self._asked = None, self.replicas_told()

    def _is_whole(self, revision: str) -> bool:
        """Return whether all pods of a revision are ready, as far as the operator was told: where
        some are not, those of the canary take what they cannot.
        """
        live = self.cluster.get("Deployment", names.workload_name(RELEASE, revision))
        return live is not None and self.ready_of(revision) >= live["spec"]["replicas"]

    def ready_of(self, revision: str) -> int:
        """Return how many pods of a revision the operator knows to be ready."""
        known = self.ready_pods_known().values()
        return sum(labels.get(names.LABEL_REVISION) == revision for labels in known)

    def _revisions(self, selector: Mapping[str, str]) -> Iterator[str]:
        """Return the revisions with pods that a selector of the main Service takes."""
        wanted = selector.get(names.LABEL_REVISION)
        for revision in {pod.revision for pod in self.machines.pods.values()}:
            if wanted in (None, revision):
                yield revision

    def _known(self, selector: Mapping[str, str]) -> bool:
        labels = self.ready_pods_known().values()
        return any(selector.items() <= each.items() for each in labels)

    def _reached(self, service: Object) -> bool:
        wanted = _selected(service).get(names.LABEL_REVISION)
        ready = [pod.revision for pod in self.machines.pods.values() if pod.ready]
        return bool(ready) if wanted is None else wanted in ready

    # What is remembered

    def _status(self) -> Object:
        live = self.cluster.get(names.KIND, RELEASE)
        return (live or {}).get("status") or {}

    def _of_release(self, before: Object | None, after: Object | None, by: str) -> None:
        if after is None:
            return
        if after["metadata"]["uid"] not in self._uids:
            self._uids.add(after["metadata"]["uid"])
            for known in (self._failed, self._counted, self._shown):
                known.clear()
        if by != OPERATOR:
            self._retried()
            return
        old, new = (before or {}).get("status") or {}, after["status"]
        self._weights(new)
        self._shadow(old, new)
        canary = _revision(new, "canary")
        if canary and canary != _revision(old, "canary"):
            self._shown[canary] = self.scrapes.shown(canary)
        self._failures(old, new)
        self._approvals(old, new)
        if old.get("stable") and _revision(old, "stable") != _revision(new, "stable"):
            self._pointer(old, new)
        self._counts(old, new)

    def _retried(self) -> None:
        """Forget a failure that a person asks to forget."""
        for given in self.people.given:
            if given.command == "retry":
                for revision in list(self._failed):
                    del self._failed[revision]

    def _weights(self, new: Object) -> None:
        weight, phase = new.get("weight", 0), new["phase"]
        if not 0 <= weight <= 100 or (
            weight and (not new.get("canary") or phase not in WITH_USERS)
        ):
            self.fail("weights add up", f"weight {weight} in {phase}")

    def _failures(self, old: Object, new: Object) -> None:
        """What was taken back leaves a trace, and is not tried again by itself."""
        canary, phase = _revision(new, "canary"), new["phase"]
        was = _revision(old, "canary")
        left = was and old["phase"] in UNDERWAY and (phase == "RollingBack" or canary is None)
        newest = (new.get("history") or [{}])[0]
        if left and newest.get("revision") != was:
            self.fail("every failure leaves a trace", f"{was} is gone from {old['phase']}")
        if left and not newest.get("message"):
            self.fail("every failure leaves a trace", f"nothing says why {was} is gone")
        for rejection in new.get("rejections") or ():
            known = {(each["revision"], each["at"]) for each in old.get("rejections") or ()}
            if (rejection["revision"], rejection["at"]) not in known:
                self._rejected(rejection, old)
        if canary in self._failed and phase in UNDERWAY:
            self.fail("no weight rises after a failure", f"{canary} is tried again")

    def _rejected(self, rejection: Object, old: Object) -> None:
        revision, reason = rejection["revision"], rejection["reason"]
        if reason in PROVEN:
            self._failed[revision] = rejection["message"]
        stable = (old.get("stable") or {}).get("version")
        behaviours = self.machines.behaviours
        calm = not self.people.ended_processes
        well = behaviours[rejection["version"]].well
        if reason == "Regression" and well and calm and (stable is None or behaviours[stable].well):
            self.fail("a healthy version is not convicted", rejection["message"])
        if reason == "ArtifactRefused" and not behaviours[rejection["version"]].refuses:
            self.fail("a healthy version is not convicted", rejection["message"])

    def _approvals(self, old: Object, new: Object) -> None:
        """An approval answers a question that was open when it was given."""
        canary, before = new.get("canary") or {}, old.get("canary") or {}
        if not canary.get("approved") or before.get("approved"):
            return
        given = [each for each in self.people.given if each.command == "approve"]
        if not given or not given[-1].asked or given[-1].canary != canary["revision"]:
            words = f"{given[-1].value if given else 'nothing'} counted for {canary['revision']}"
            self.fail("an approval answers a question", words)

    def _pointer(self, old: Object, new: Object) -> None:
        """Only what passed becomes stable, or what was stable before."""
        revision = _revision(new, "stable")
        entry: Object = next(iter(new.get("history") or ()), {})
        outcome = entry.get("outcome")
        if outcome in BACK and revision == _revision(old, "previous"):
            return
        canary = old.get("canary") or {}
        if outcome != "Promoted" or revision != canary.get("revision"):
            words = f"{revision} became stable by {outcome}"
            self.fail("stable is untouched", words)
            return
        if {canary["version"], revision} & self.people.asked_by_hand:
            return
        if any(each.command == "approve" for each in self.people.given):
            return
        shown = self.scrapes.shown(revision or "") - self._shown.get(revision or "", 0)
        if shown < MIN_REQUESTS:
            words = f"{revision} was shown with {shown} requests"
            self.fail("only what passed is promoted", words)
        behaviours, stable = self.machines.behaviours, old["stable"]["version"]
        if behaviours[canary["version"]].sick and not behaviours[stable].sick:
            self.fail("only what passed is promoted", f"{canary['version']} is sick")

    def _counts(self, old: Object, new: Object) -> None:
        """What the tests saw is what pods answered: nothing twice, and nothing left out."""
        looks = self.scrapes.looks
        if not looks or old.get("evidence") == new.get("evidence"):
            return
        before, after = _evidence(old), _evidence(new)
        if before.get("scraped") == after.get("scraped"):
            return
        canary, stable = _revision(new, "canary"), _revision(new, "stable")
        told = used(looks, set((after.get("scraped") or {}).values()), self._counted)
        known = (before.get("release") or {}).get(ERRORS)
        begun = before.get("started") and after.get("started")
        if begun and known and _step(old) == _step(new) and canary is not None:
            grown = [now - then for now, then in zip(after["release"][ERRORS], known, strict=True)]
            self._compare(told, canary, grown[:2])
            self._compare(told, stable or "", grown[2:])
        self._judged = set(self.ready_pods_known())
        for look in told:
            # What a pod shows that was never ready is not looked at.
            self._counted |= {
                pod: sample
                for pod, (_, sample) in look.samples.items()
                if pod in self._judged or pod in self._counted
            }
        looks.clear()

    def _compare(self, looks: list[Look], revision: str, grown: list[int]) -> None:
        """Hold what was counted of a revision against the looks since the last stored status: what
        the last of them says was counted, and no more than all of them say.
        """
        most = self._most(looks, revision)
        least = self._least(looks[-1], revision) if looks else (0, 0)
        for what, few, many, counted in zip(
            ("requests", "failures"), least, most, grown, strict=True
        ):
            if not few <= counted <= many:
                words = f"{counted} {what} of {revision} counted, {few} to {many} answered"
                self.fail("what is counted was answered", words)

    def _most(self, looks: list[Look], revision: str) -> tuple[int, int]:
        total, bad = 0, 0
        known = dict(self._counted)
        for look in looks:
            for pod, (of, sample) in look.samples.items():
                if of == revision:
                    grown = _grown(known.get(pod), sample)
                    total, bad = total + grown[0], bad + grown[1]
                    known[pod] = sample
        return total, bad

    def _least(self, look: Look, revision: str) -> tuple[int, int]:
        total, bad = 0, 0
        ready = self.ready_pods_known()
        for pod, (of, sample) in look.samples.items():
            known = self._counted.get(pod)
            same = known is not None and known.started == sample.started
            if of == revision and same and pod in self._judged and pod in ready:
                grown = _grown(known, sample)
                total, bad = total + grown[0], bad + grown[1]
        return total, bad

    # After a pass

    def passed(self, failed: Exception | None, spent: float, limit: float) -> None:
        """Look at how a pass ended, after so many seconds that count."""
        if failed is not None and not isinstance(failed, ReleaseError):
            self.fail("passes end with sentences", f"{type(failed).__name__}: {failed}")
        if failed is not None:
            return
        canary = self._status().get("canary") or {}
        revision = canary.get("revision")
        at = self.scrapes.newest.get(revision or "", 0.0)
        reached = {pod.revision for pod in self.machines.routed()}
        stable = _revision(self._status(), "stable")
        with_users = {revision, stable} <= reached and not canary.get("byHand")
        if at > self._newest or not with_users:
            self._newest, self._blind = max(at, self._newest), 0.0
            return
        self._blind += spent
        if self._blind > limit:
            words = f"{revision} has users and was not seen for {self._blind:.0f} s"
            self.fail("no canary keeps users unseen", words)
            self._blind = 0.0


def _selected(service: Object | None) -> dict[str, str]:
    selector: dict[str, str] = ((service or {}).get("spec") or {}).get("selector") or {}
    return selector


def _canary_weight(route: Object) -> int:
    """Return the share of the canary's Service, the second behind a route."""
    weight: int = route["spec"]["rules"][-1]["backendRefs"][1]["weight"]
    return weight


def _revision(status: Object, arm: str) -> str | None:
    revision: str | None = (status.get(arm) or {}).get("revision")
    return revision


def _evidence(status: Object) -> Object:
    """Return the evidence as it is stored, unpacked where it is large."""
    stored: Object = status.get("evidence") or {}
    if PACKED in stored:
        return Evidence.model_validate(stored).model_dump(by_alias=True)
    return stored


def used(looks: list[Look], times: Collection[float], counted: Mapping[str, Sample]) -> list[Look]:
    """Return the looks up to the last of which something new was counted.

    `times` are those of the newest samples that were counted, `counted` the pods' samples before.
    A look that lacks an arm may not be counted, though it shows others' samples once more: what is
    new in it comes with a later one.
    """
    shown = {(pod, sample.at) for pod, sample in counted.items()}
    last = 0
    for number, look in enumerate(looks, 1):
        new = {(pod, sample.at) for pod, (_, sample) in look.samples.items()} - shown
        if any(at in times for _, at in new):
            last = number
        shown |= new
    return looks[:last]


def _grown(known: Sample | None, sample: Sample) -> tuple[int, int]:
    """Return the requests and the failures since a sample of the same pod."""
    if known is None or known.started != sample.started:
        return sample.total, sample.bad
    return sample.total - known.total, sample.bad - known.bad


def _step(status: Object) -> tuple[Any, ...]:
    canary = status.get("canary") or {}
    return tuple(canary.get(key) for key in ("revision", "step", "stepSince"))
