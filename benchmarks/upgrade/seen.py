"""What of a release an upgrade must leave as it is, and what came of it. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

ARMS: Final = ("stable", "canary", "previous", "rejected")
RELEASE: Final = "modelrelease.dev/release"

Object = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One look at a release."""

    pods: Mapping[str, int]
    """Restarts of the containers of each pod, by name."""
    targets: frozenset[str]
    """Ready addresses behind the release's Service: where its users go."""
    status: Mapping[str, Any]
    """Phase, weight, and the revision of each arm."""


def seen(release: Object, pods: Sequence[Object], slices: Sequence[Object]) -> Seen:
    """Return a look out of a release and the pods and EndpointSlices of its namespace."""
    status: Object = release.get("status", {})
    arms = {arm: status[arm]["revision"] for arm in ARMS if status.get(arm)}
    return Seen(
        pods={pod["metadata"]["name"]: _restarts(pod) for pod in pods},
        targets=frozenset(
            address
            for each in slices
            for endpoint in each.get("endpoints") or ()
            if endpoint.get("conditions", {}).get("ready", True)
            for address in endpoint["addresses"]
        ),
        status={"phase": status.get("phase"), "weight": status.get("weight", 0), **arms},
    )


def _restarts(pod: Object) -> int:
    kinds = ("initContainerStatuses", "containerStatuses")
    return sum(each["restartCount"] for kind in kinds for each in pod["status"].get(kind, ()))


def differences(before: Seen, after: Seen) -> list[str]:
    """Say in words what is another; empty where nothing is."""
    words = []
    for name in sorted({*before.pods, *after.pods}):
        was, now = before.pods.get(name), after.pods.get(name)
        if was is None:
            words.append(f"pod {name} is new")
        elif now is None:
            words.append(f"pod {name} is gone")
        elif was != now:
            words.append(f"pod {name} was restarted {now - was} times")
    if before.targets != after.targets:
        words.append(f"the Service led to {len(before.targets)} pods, and others of them")
    for key in sorted({*before.status, *after.status}):
        was, now = before.status.get(key), after.status.get(key)
        if was != now:
            words.append(f"{key} was {was}, and is {now}")
    return words


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What became of one release over one change of the operator."""

    change: str
    """Which way, such as `abc1234 → this`."""
    story: str
    looks: int
    """How often it was looked at while the operator changed, and for a while after."""
    moved: tuple[str, ...]
    """What one of these looks showed that was not so before."""
    ended: str
    as_expected: bool
    requests: int
    failed: Mapping[str, int]
    """Requests that were not answered well, from before the change to the end, without those that
    a faulty version answered itself."""

    @property
    def missed(self) -> bool:
        """Whether something was not as it must be."""
        return bool(self.moved or self.failed) or not self.as_expected


def as_markdown(rows: Sequence[Row]) -> str:
    """Return the table, and whatever needs a word."""
    lines = [
        "| change | the release, at the change | looks | moved | ended | requests | failed |",
        "|---|---|---:|---:|---|---:|---:|",
    ]
    for row in rows:
        mark = "" if row.as_expected else " **(missed)**"
        lines.append(
            f"| {row.change} | {row.story} | {row.looks} | {len(row.moved)} | {row.ended}{mark} "
            f"| {row.requests:,} | {sum(row.failed.values()):,} |"
        )
    for row in rows:
        told = [*row.moved, *(f"{count} requests: {kind}" for kind, count in row.failed.items())]
        if told:
            lines += ["", f"- {row.change}, {row.story}: {'; '.join(told)}"]
    return "\n".join(lines)
