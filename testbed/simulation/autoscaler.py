"""An autoscaler that aims at the release: a person's, or the release's own."""

from dataclasses import dataclass
from random import Random
from typing import Any

from modelrelease_operator.api import names
from modelrelease_operator.manifests.autoscaler import HPA
from testbed.simulation.machines import RELEASE
from testbed.simulation.people import OTHER_OWNER, PERSON, People

OWN: dict[str, Any] = {"autoscaling": {"minReplicas": 1, "maxReplicas": 4}}
"""What a release says that has one of its own."""


@dataclass
class Autoscaler:
    """Sets the release's number of pods now and then, while there is one."""

    people: People
    random: Random

    def plan(self, seconds: float) -> None:
        """Draw whose it is, when it is made and removed, and when it scales."""
        timeline, own = self.people.timeline, self.random.random() < 0.5
        if own:
            serving = {**self.people.settings["serving"], **OWN}
            self.people.settings = {**self.people.settings, "serving": serving}
            timeline.after(self.random.uniform(0.0, 2 * seconds), self._deletes_own)
        else:
            timeline.after(self.random.uniform(0.0, seconds / 2), self._makes)
        for _ in range(3):
            timeline.after(self.random.uniform(seconds / 4, seconds), self._scales)

    def _makes(self) -> None:
        """Have a person make one, which is nobody's but theirs."""
        people = self.people
        aim = {"apiVersion": names.API_VERSION, "kind": names.KIND, "name": RELEASE}
        spec = {"scaleTargetRef": aim, "minReplicas": 1, "maxReplicas": 4}
        people.tell("a person makes an autoscaler")
        meta = {"ownerReferences": [OTHER_OWNER]}
        made = people.cluster.put(HPA, "theirs", PERSON, spec=spec, metadata=meta)
        people.foreign[made["metadata"]["uid"]] = made

    def _deletes_own(self) -> None:
        self.people.tell("a person deletes the release's autoscaler")
        self.people.cluster.drop(HPA, RELEASE, PERSON)

    def _scales(self) -> None:
        """Write what an autoscaler writes: the replicas of the release's scale."""
        people = self.people
        live = people.cluster.get(names.KIND, RELEASE)
        if live is None or not people.cluster.of(HPA):
            return
        number = self.random.choice((1, 2, 3, 4))
        people.tell("an autoscaler asks for {} pods", number)
        serving = {**people.settings["serving"], "replicas": number}
        people.settings = {**people.settings, "serving": serving}
        people.replicas.add(number)
        scaled = {**live["spec"]["serving"], "replicas": number}
        people.cluster.put(
            names.KIND, RELEASE, "an autoscaler", spec={**live["spec"], "serving": scaled}
        )
