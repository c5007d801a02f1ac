"""The API server, asked by one client that stays: a kubectl for each look would take a core."""

import json
import re
import time
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from kubernetes.client import ApiClient
from kubernetes.config import new_client_from_config
from urllib3.exceptions import HTTPError

from benchmarks.rollouts.figures import Counts
from examples.fixtures import LoadStats

CLIENTS: Final = "load"
_CPU: Final = re.compile(r"^process_cpu_seconds_total(?:\{\})? (\S+)$", re.MULTILINE)
_TIMEOUT_SECONDS: Final = 10
_TRIES: Final = 3

Object = dict[str, Any]


class UnansweredError(Exception):
    """The API server refused, or had no answer."""


@dataclass(kw_only=True)
class Api:
    """Reads, and nothing else."""

    kubeconfig: Path
    _pods: dict[tuple[str, str], str] = field(default_factory=dict)
    """Names of pods that do not change while they are looked at, by namespace and label."""

    @cached_property
    def _client(self) -> ApiClient:
        client: ApiClient = new_client_from_config(str(self.kubeconfig))  # type: ignore[no-untyped-call]
        return client

    def text(self, path: str) -> str:
        """Return what lies at a path; ask again where nobody answers, then raise UnansweredError.

        On a full machine the API server is late now and then, and a measurement is minutes long.
        """
        for _ in range(_TRIES - 1):
            try:
                return self._text(path)
            except UnansweredError:
                time.sleep(1)
        return self._text(path)

    def _text(self, path: str) -> str:
        request = self._client.param_serialize(
            "GET", path, header_params={}, auth_settings=["BearerToken"]
        )
        try:
            answer = self._client.call_api(*request, _request_timeout=_TIMEOUT_SECONDS)
            content: str = (answer.read() or b"").decode()  # type: ignore[no-untyped-call]
        except HTTPError as error:
            msg = f"GET {path}: {error}"
            raise UnansweredError(msg) from error
        if answer.status != 200:
            msg = f"GET {path} answered {answer.status}: {content[:200]}"
            raise UnansweredError(msg)
        return content

    def object(self, path: str) -> Object:
        """Return an object or a list."""
        found: Object = json.loads(self.text(path))
        return found

    def custom(self, group: str, plural: str, space: str, name: str) -> Object:
        """Return an object of a group of somebody's own, such as `argoproj.io/v1alpha1`."""
        return self.object(f"/apis/{group}/namespaces/{space}/{plural}/{name}")

    def pods(self, space: str) -> set[str]:
        """Return the uids of a namespace's pods that serve, without the clients' own."""
        path = f"/api/v1/namespaces/{space}/pods?labelSelector=app!%3D{CLIENTS}"
        return {pod["metadata"]["uid"] for pod in self.object(path)["items"]}

    def counts(self, space: str) -> Counts:
        """Return what the clients of a namespace saw so far."""
        pod = self._pod(space, f"app={CLIENTS}")
        stats = LoadStats.parse(
            self.object(f"/api/v1/namespaces/{space}/pods/{pod}:8000/proxy/stats")
        )
        counts: dict[tuple[str, str], int] = {}
        for _, version, outcome, count in stats.outcomes:
            counts[version, outcome] = counts.get((version, outcome), 0) + count
        return counts

    def probes_failed(self, space: str) -> int:
        """Return how many probes of a namespace's pods failed, as far as Events remember."""
        path = f"/api/v1/namespaces/{space}/events?fieldSelector=reason%3DUnhealthy"
        return sum(event.get("count") or 1 for event in self.object(path)["items"])

    def cpu_seconds(self, space: str, label: str, port: int) -> float | None:
        """Return the processor time that a program counts of itself, by its pod's label."""
        pod = self._pod(space, label)
        metrics = self.text(f"/api/v1/namespaces/{space}/pods/{pod}:{port}/proxy/metrics")
        found = _CPU.search(metrics)
        return float(found[1]) if found else None

    def _pod(self, space: str, label: str) -> str:
        if (space, label) not in self._pods:
            path = f"/api/v1/namespaces/{space}/pods?labelSelector={label.replace('=', '%3D')}"
            names = [
                pod["metadata"]["name"]
                for pod in self.object(path)["items"]
                if "deletionTimestamp" not in pod["metadata"]
            ]
            if not names:
                msg = f"namespace {space} has no pod with the label {label}"
                raise UnansweredError(msg)
            self._pods[space, label] = names[0]
        return self._pods[space, label]
