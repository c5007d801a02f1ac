"""The acts of the loop, and the time that each part took."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console

from cluster import Cluster
from examples import fixtures
from examples.loop import objects
from examples.waiting import NotSeenError, wait_until

WITHIN_SECONDS = 600
"""Longer than any part takes: training in a Job takes a minute or two."""
Status = dict[str, Any]


@dataclass(slots=True, kw_only=True)
class Loop:
    """One release that follows a registry's alias, with clients that call it."""

    cluster: Cluster
    space: str
    rps: float
    console: Console = field(default_factory=Console)
    parts: list[tuple[str, float]] = field(default_factory=list)
    """What came about, and after how many seconds of waiting for it."""
    _last_line: str = ""

    def stage(self) -> None:
        """Put everything in place: the registry, version 1, the release and its clients."""
        self.cluster.kubectl(
            "delete", "namespace", self.space, "--ignore-not-found", "--wait", "--timeout=180s"
        )
        fixtures.apply(self.cluster, fixtures.namespace(self.space))
        self._announce("A real MLflow server starts in the cluster, with its registry")
        fixtures.apply(self.cluster, *objects.registry(self.space))
        name = f"deployment/{objects.REGISTRY}"
        self.cluster.kubectl("rollout", "status", "-n", self.space, name, "--timeout=300s")
        self._announce("A Job trains version 1 and registers it as candidate and champion")
        fixtures.apply(self.cluster, objects.first_training(self.space))
        self._job_ends(objects.TRAINED_BY)
        self._announce(
            f"The release follows models:/{objects.MODEL}@candidate; clients call it at "
            f"{self.rps:g}/s"
        )
        self._release()
        self._watch("version 1 serves", lambda latest: latest.get("phase") == "Stable")
        self._clients({})
        self._watch(
            "a window without drift",
            lambda latest: latest.get("drift", {}).get("windows", "").endswith("S"),
        )

    def closes(self, feature: str, deviations: float) -> None:
        """Let the data drift, and watch it come right by itself."""
        shifts = {feature: deviations}
        self._announce(
            f"The world changes: {feature} of every request moves by {deviations:g} standard "
            "deviations"
        )
        self._release("--drawn", "8000", "--shift", f"{feature}={deviations}")
        self._clients(shifts)
        drifted = self._watch(f"Drifted names {feature}", lambda latest: _drifted(latest, feature))
        self._print_once(drifted["drift"]["message"])
        started = self._watch(
            "a retraining is started", lambda latest: latest.get("retrain", {}).get("job")
        )
        self._print_once(f"the operator started Job {started['retrain']['job']}")
        before = started["stable"]["version"]
        self._watch(
            "the new version is registered and tried",
            lambda latest: latest.get("canary", {}).get("version"),
        )
        promoted = self._watch(
            "it is promoted",
            lambda latest: _settled(latest) and latest["stable"]["version"] != before,
        )
        self._print_once(promoted["message"])
        self._watch(
            "the drift is gone", lambda latest: not _drifted(latest) and _fresh_window(latest)
        )
        self._expect_champion(promoted["stable"]["version"])

    def refuses(self, feature: str, deviations: float) -> None:
        """Let the data drift again, and a retraining go wrong: nothing may change."""
        self._announce(
            f"The world changes again ({feature}), and this time the retraining is spoilt: one "
            "tiny step"
        )
        champion = self._status()["stable"]["version"]
        earlier = self._status().get("retrain", {}).get("job")
        self._release(
            "--drawn",
            "8000",
            "--shift",
            f"{feature}={deviations}",
            "--max-steps",
            "1",
            "--batch-size",
            "2",
        )
        self._clients({feature: deviations})
        self._watch(f"Drifted names {feature}", lambda latest: _drifted(latest, feature))
        ended = self._watch(
            "the spoilt model is refused",
            lambda latest: (
                latest.get("retrain", {}).get("job") not in (None, earlier)
                and latest["retrain"].get("outcome")
            ),
        )
        self._print_once(ended["retrain"].get("message", ""))
        if ended["retrain"]["outcome"] == "Succeeded" or ended["stable"]["version"] != champion:
            msg = f"the spoilt model was not refused; last seen: {ended}"
            raise NotSeenError(msg)
        self._expect_champion(champion)

    def summarise(self, elapsed: float) -> None:
        """Print what came about, with times, and where to look."""
        self.console.print("\n== What came about\n", style="bold")
        for part, seconds in self.parts:
            self.console.print(f"{seconds:6.0f} s  {part}", highlight=False)
        stats = fixtures.LoadStats.read(self.cluster, self.space)
        lost = stats.failures()
        self.console.print(f"\nUsers sent {stats.sent:,} requests since the last change of the "
                           f"world; {sum(lost.values())} failed.", highlight=False)  # fmt: skip
        print(
            f"""
The whole took {elapsed:.0f} s. The cluster is still up. Look around:

  export KUBECONFIG={self.cluster.kubeconfig}
  kubectl get modelreleases -n {self.space} -o wide
  kubectl get jobs -n {self.space}
  kubectl port-forward -n {self.space} service/{objects.REGISTRY} 5000:80    (MLflow at http://localhost:5000)

Remove everything again:  make cluster-down NAME=demo"""
        )

    def _release(self, *arguments: str) -> None:
        """Apply the ModelRelease; `arguments` are what a retraining is told of the data."""
        fixtures.apply(
            self.cluster, objects.release(self.space, objects.retraining(self.space, *arguments))
        )

    def _clients(self, shifts: dict[str, float]) -> None:
        """Let clients call, with rows of a world that moved so far."""
        url = f"http://{objects.MODEL}.{self.space}/predict"
        fixtures.apply(
            self.cluster,
            *fixtures.load_generator(
                self.space, url=url, rps=self.rps, seconds=3600, shifts=shifts
            ),
        )
        fixtures.restart(self.cluster, self.space)

    def _status(self) -> Status:
        raw = self.cluster.kubectl(
            "get", "modelrelease", objects.MODEL, "-n", self.space, "-o", "json"
        )
        document = json.loads(raw)
        current = (
            document.get("status", {}).get("observedGeneration")
            == document["metadata"]["generation"]
        )
        status: Status = document["status"] if current else {}
        return status

    def _watch(self, part: str, is_done: Callable[[Status], Any]) -> Status:
        """Wait for one part of the loop, saying what the release says meanwhile."""
        began = time.monotonic()

        def look() -> Status:
            status = self._status()
            self._print_once(status.get("message", ""))
            return status

        status = wait_until(
            part,
            look,
            lambda latest: bool(latest) and bool(is_done(latest)),
            within=WITHIN_SECONDS,
            every=1,
        )
        self.parts.append((part, time.monotonic() - began))
        self.console.print(
            f"   -> {part} ({self.parts[-1][1]:.0f} s)", highlight=False, style="green"
        )
        return status

    def _job_ends(self, name: str) -> None:
        """Wait for a Job, and complain with its log when it failed."""
        began = time.monotonic()

        def look() -> Status:
            job = json.loads(
                self.cluster.kubectl("get", "job", name, "-n", self.space, "-o", "json")
            )
            return {
                condition["type"]: condition["status"]
                for condition in job.get("status", {}).get("conditions", [])
            }

        ended = wait_until(
            f"Job {name} to end", look, lambda latest: "True" in (latest.get("Complete"),
            latest.get("Failed")),
            within=WITHIN_SECONDS, every=1,
        )  # fmt: skip
        if ended.get("Failed") == "True":
            log = self.cluster.kubectl("logs", "-n", self.space, f"job/{name}", check=False)
            msg = f"Job {name} failed:\n{log[-2000:]}"
            raise NotSeenError(msg)
        self.parts.append((f"Job {name} ended", time.monotonic() - began))

    def _expect_champion(self, version: str) -> None:
        """Ask the registry who the champion is."""
        path = (
            f"/api/v1/namespaces/{self.space}/services/{objects.REGISTRY}:80/proxy/api/2.0/mlflow"
        )
        query = f"{path}/registered-models/alias?name={objects.MODEL}&alias=champion"

        def look() -> str:
            model_version = json.loads(self.cluster.kubectl("get", "--raw", query))["model_version"]
            tags = {tag["key"]: tag["value"] for tag in model_version["tags"]}
            return str(tags["modelrelease.version"])

        wait_until(
            f"the registry's champion to be {version}",
            look,
            lambda latest: latest == version,
            within=60,
        )
        self._print_once(f"champion in the registry: {version}")

    def _announce(self, text: str) -> None:
        self.console.print(f"\n== {text}", style="bold", highlight=False, soft_wrap=True)

    def _print_once(self, text: str) -> None:
        """Print a line of the story, once."""
        if text and text != self._last_line:
            self._last_line = text
            self.console.print(f"      {text}", highlight=False, soft_wrap=True)


def _condition(status: Status, kind: str) -> Status:
    condition: Status = next(
        (candidate for candidate in status.get("conditions", []) if candidate["type"] == kind), {}
    )
    return condition


def _drifted(status: Status, feature: str = "") -> bool:
    condition = _condition(status, "Drifted")
    return condition.get("status") == "True" and feature in condition.get("message", "")


def _settled(status: Status) -> bool:
    return status.get("phase") == "Stable" and not status.get("canary")


def _fresh_window(status: Status) -> bool:
    """Whether a window of the serving revision has closed without drift."""
    drift = status.get("drift", {})
    return bool(
        drift.get("revision") == status["stable"]["revision"]
        and drift.get("windows", "").endswith("S")
    )
