"""What people ask for and do, at any moment: the scenario of a seed."""

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

from modelrelease_operator.api import names
from modelrelease_operator.api.durations import parse_duration
from modelrelease_operator.api.status import Phase, Status
from modelrelease_operator.core.release.commands import value_for
from testbed.simulation.cluster import Cluster, Object
from testbed.simulation.machines import RELEASE, Behaviour, Machines
from testbed.simulation.story import Tell
from testbed.simulation.virtual_time import Timeline

PERSON = "a person"
FOREIGN_LABEL = "foreign"
STEPS = (
    [{"weight": 50, "bake": "5s"}],
    [{"weight": 33, "bake": "0s"}, {"weight": 50, "bake": "5s"}],
    [{"weight": 25, "bake": "10s"}, {"weight": 50, "bake": "0s"}],
)
BEHAVIOURS = (
    Behaviour(),
    Behaviour(),
    Behaviour(start_seconds=12.0),
    Behaviour(errors=0.08),
    Behaviour(errors=0.5),
    Behaviour(slow=True),
    Behaviour(starts=False),
    Behaviour(refuses=True),
    Behaviour(dies_every=20.0),
    Behaviour(flaps_every=15.0),
)
INVALID: dict[str, Any] = {"canary": {"weight": 50, "steps": STEPS[1]}}
"""A part of a spec that no release can follow."""


def spec_of(version: str, settings: dict[str, Any]) -> Object:
    """Return the spec that asks for a version."""
    model = {"uri": f"pvc://models/{version}", "version": version, "sha256": f"{int(version):064d}"}
    return {"model": model, **settings}


def drawn_settings(random: Random, scrape: float) -> dict[str, Any]:
    """Draw how a release is tried: looks as often as scrapes are worth it."""
    return {
        "serving": {"replicas": random.choice((1, 2, 3))},
        "canary": {
            "steps": random.choice(STEPS),
            "startDeadline": "4m",
            "progressDeadline": random.choice(("5m", "1h")),
            "keepPrevious": random.choice(("0s", "10s", "30s")),
            "approval": random.choice(("Automatic", "Automatic", "Manual")),
        },
        "analysis": {
            "interval": f"{max(5, round(scrape))}s",
            "maxBlind": random.choice(("30s", "1m", "3m")),
        },
        "drift": {"enabled": False},
    }


@dataclass(frozen=True, slots=True)
class Given:
    """A command as it was given."""

    command: str
    value: str
    canary: str | None
    """The revision under test at that moment."""
    asked: bool
    """Whether a person was asked something then."""


@dataclass
class People:
    """Those who write specs and annotations, and those who only share the namespace."""

    cluster: Cluster
    machines: Machines
    timeline: Timeline
    random: Random
    tell: Tell
    settings: dict[str, Any]
    version: str = "1"
    careful_from: float = float("inf")
    asked_by_hand: set[str] = field(default_factory=set)
    """Versions that somebody promoted, approved, aborted or retried by annotation."""
    given: list[Given] = field(default_factory=list)
    replicas: set[int] = field(default_factory=set)
    """Every number of pods that was asked for."""
    ended_processes: bool = False
    foreign: dict[str, Object] = field(default_factory=dict)
    """By uid: objects that are not the release's, as they must stay."""
    _read: tuple[Object, Status] | None = None
    """The stored status that was read last, and what it says."""

    @property
    def blind_seconds(self) -> float:
        """How long a canary may keep users unseen, by the spec."""
        return parse_duration(self.settings["analysis"]["maxBlind"]).total_seconds()

    def say_of_canary(self, **said: Any) -> None:
        """Add to what the release says of its canaries."""
        self.settings = {**self.settings, "canary": {**self.settings["canary"], **said}}

    def release(self, version: str, **changes: Any) -> None:
        """Ask for a version."""
        self.version = version
        self.replicas.add(self.settings["serving"]["replicas"])
        self.tell("a person asks for version {} {}", version, changes or "")
        self.cluster.put(
            names.KIND, RELEASE, PERSON, spec={**spec_of(version, self.settings), **changes}
        )

    def annotate(self, command: str, value: str) -> None:
        """Give a command."""
        live = self.cluster.get(names.KIND, RELEASE)
        if live is None:
            return
        self.tell("a person annotates {}={}", command, value)
        canary = self.status().canary
        asked = canary is not None and canary.question is not None
        self.given.append(Given(command, value, canary.revision if canary else None, asked))
        notes = {**(live["metadata"].get("annotations") or {}), f"{names.GROUP}/{command}": value}
        self.cluster.put(names.KIND, RELEASE, PERSON, metadata={"annotations": notes})

    def status(self) -> Status:
        """Return what they can read."""
        stored = self.stored_status()
        if self._read is None or self._read[0] is not stored:
            self._read = stored, Status.parse(stored)
        return self._read[1]

    def stored_status(self) -> Object:
        """Return the same as it is stored, empty where there is none."""
        live = self.cluster.get(names.KIND, RELEASE) or {}
        return live.get("status") or NOTHING

    def plan(self, begins: float, ends: float) -> None:
        """Draw what they do in a span of time."""
        for _ in range(self.random.choice((0, 1, 1, 2, 4))):
            act = self.random.choice(self._acts())
            delay = self.random.uniform(begins, ends) - self.timeline.now
            self.timeline.after(max(0.0, delay), act)

    def _acts(self) -> tuple[Callable[[], None], ...]:
        return (
            self._asks_for_another, self._asks_for_another, self._goes_back, self._commands,
            self._commands, self._commands, self._pauses, self._edits_badly, self._scales,
            self._deletes_the_release, self._opens_the_service, self._deletes_an_object,
            self._scales_a_deployment, self._takes_an_owner_away, self._makes_a_namesake,
            self._evicts_a_pod, self._ends_a_process, self._loses_all_of_stable,
        )  # fmt: skip

    def _asks_for_another(self) -> None:
        self.release(self.random.choice("123"))

    def _goes_back(self) -> None:
        stable = self.status().stable
        self.release(stable.version if stable else "1")

    def _commands(self) -> None:
        """Give a command that fits, or one about something else or from before."""
        status = self.status()
        command = self.random.choice(("approve", "approve", "approve", "abort", "promote", "retry"))
        target = status.canary or status.stable
        if target is None:
            return
        value = target.revision
        if self.random.random() < 0.3:
            value = self.random.choice((target.version, "3", f"{target.revision}/anyway"))
        if command != "approve" or value.endswith("anyway"):
            self.asked_by_hand.update((target.version, value))
        self.annotate(command, value)

    def _pauses(self) -> None:
        self.release(self.version, paused=True)
        self.timeline.after(self.random.uniform(5, 60), self._goes_on)

    def _goes_on(self) -> None:
        if self.cluster.get(names.KIND, RELEASE) is not None:
            self.release(self.version)

    def _edits_badly(self) -> None:
        self.release(self.version, **INVALID)
        self.timeline.after(self.random.uniform(5, 60), self._goes_on)

    def _scales(self) -> None:
        self.settings = {
            **self.settings,
            "serving": {**self.settings["serving"], "replicas": self.random.choice((1, 2, 4))},
        }
        self.release(self.version)

    def _deletes_the_release(self) -> None:
        self.tell("a person deletes the release")
        self.cluster.drop(names.KIND, RELEASE, PERSON)
        delay = self.random.choice((0.05, 2.0, 20.0))
        self.timeline.after(delay, lambda: self.release(self.version))

    def _opens_the_service(self) -> None:
        main = self.cluster.get("Service", RELEASE)
        if main is None or main["metadata"]["uid"] in self.foreign:
            return
        self.tell("a person opens the Service to every revision")
        opened = {**main["spec"], "selector": {names.LABEL_RELEASE: RELEASE}}
        self.cluster.put("Service", RELEASE, PERSON, spec=opened)

    def _own(self, *kinds: str) -> list[Object]:
        return [
            obj for kind in kinds for obj in self.cluster.of(kind)
            if obj["metadata"]["uid"] not in self.foreign
        ]  # fmt: skip

    def _deletes_an_object(self) -> None:
        if there := self._own("Deployment", "Service"):
            obj = self.random.choice(there)
            self.tell("a person deletes {} {}", obj["kind"], obj["metadata"]["name"])
            self.cluster.drop(obj["kind"], obj["metadata"]["name"], PERSON)

    def _scales_a_deployment(self) -> None:
        if there := self._own("Deployment"):
            obj = self.random.choice(there)
            self.tell("a person scales {}", obj["metadata"]["name"])
            spec = {**obj["spec"], "replicas": self.random.choice((1, 5))}
            self.cluster.put("Deployment", obj["metadata"]["name"], PERSON, spec=spec)

    def _takes_an_owner_away(self) -> None:
        if there := self._own("Deployment", "Service"):
            obj = self.random.choice(there)
            self.tell("a person takes the owner of {} away", obj["metadata"]["name"])
            meta: Object = {"ownerReferences": []}
            self.cluster.put(obj["kind"], obj["metadata"]["name"], PERSON, metadata=meta)

    def _makes_a_namesake(self) -> None:
        """Make an object of another owner under a name that the release needs."""
        kind, name = self.random.choice(
            [("Service", each) for each in names.service_names(RELEASE)]
            + [("Deployment", f"{RELEASE}-other")]
        )
        live = self.cluster.get(kind, name)
        if live is not None and live["metadata"]["uid"] in self.foreign:
            return
        self.tell("somebody else has {} {} by now", kind, name)
        if live is not None:
            self.cluster.drop(kind, name, PERSON)
        spec = {"selector": {"app": "other"}, "replicas": 0, "template": {"metadata": {}}}
        meta = {"labels": {names.LABEL_RELEASE: RELEASE}, "ownerReferences": [OTHER_OWNER]}
        made = self.cluster.put(kind, name, PERSON, spec=spec, metadata=meta)
        self.foreign[made["metadata"]["uid"]] = made
        self.timeline.after(self.random.uniform(20, 90), lambda: self._removes(made))

    def _removes(self, made: Object) -> None:
        """Clear a name again, so that the release can end."""
        kind, meta = made["kind"], made["metadata"]
        live = self.cluster.get(kind, meta["name"])
        if live is not None and live["metadata"]["uid"] == meta["uid"]:
            self.tell("somebody else removes {} {}", kind, meta["name"])
            del self.foreign[meta["uid"]]
            self.cluster.drop(kind, meta["name"], PERSON)

    def _evicts_a_pod(self) -> None:
        if self.machines.pods:
            name = self.random.choice(sorted(self.machines.pods))
            self.tell("pod {} is evicted", name)
            self.machines.lose_pod(name)

    def _ends_a_process(self) -> None:
        if self.machines.pods:
            name = self.random.choice(sorted(self.machines.pods))
            self.ended_processes = True
            self.tell("a process of pod {} ends", name)
            self.machines.end_process(name)

    def _loses_all_of_stable(self) -> None:
        stable = self.status().stable
        for pod in list(self.machines.pods.values()):
            if stable and pod.revision == stable.revision:
                self.tell("pod {} of stable is evicted", pod.name)
                self.machines.lose_pod(pod.name)

    # What a careful person does once the storm is over.

    def tidy_up(self) -> None:
        """Leave a spec that can be followed, and nothing in its way."""
        self.careful_from = self.timeline.now
        for made in list(self.foreign.values()):
            self._removes(made)
        live = self.cluster.get(names.KIND, RELEASE)
        if live is None or live["spec"] != spec_of(self.version, self.settings):
            self.release(self.version)

    def answer_soon(self) -> None:
        """Look at what is asked, once the storm is over."""
        if self.careful_from <= self.timeline.now:
            self.careful_from = self.timeline.now + 30.0
            self.answer()

    def answer(self) -> None:
        """Answer what is asked."""
        if "question" not in (self.stored_status().get("canary") or ()):
            return
        status = self.status()
        canary = status.canary
        asks = status.phase in (Phase.PAUSED, Phase.SHADOWING)
        if canary is None or canary.question is None or not asks:
            return
        note = None if self.random.random() < 0.5 else "anyway"
        value = value_for(status, "approve", canary.revision, note)
        live = self.cluster.get(names.KIND, RELEASE)
        notes = live["metadata"].get("annotations") or {} if live else {}
        if notes.get(names.ANNOTATION_APPROVE) != value:
            self.annotate("approve", value)


NOTHING: Object = {}
"""The status of a release that has none yet."""
OTHER_OWNER: Object = {
    "apiVersion": "apps/v1", "kind": "StatefulSet", "name": "other", "uid": "uid-of-another",
    "controller": True,
}  # fmt: skip
