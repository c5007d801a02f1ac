"""What a pod template may set: whoever installs the operator says it, because its account makes the
pods.

An allowed path lets everything below it through. Items of lists have no index in a path.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Self

from modelrelease_operator.api.retrain import Retrain
from modelrelease_operator.api.spec import ReleaseSpec
from modelrelease_operator.errors import Invalid

SETTING = "podTemplates.allowed"
"""The chart's value."""
LEVELS: dict[str, tuple[str, ...]] = {
    "none": (),
    "scheduling": (
        "metadata.annotations",
        "metadata.labels",
        "spec.affinity",
        "spec.containers.name",
        "spec.containers.resources",
        "spec.dnsConfig",
        "spec.dnsPolicy",
        "spec.enableServiceLinks",
        "spec.hostAliases",
        "spec.initContainers.name",
        "spec.initContainers.resources",
        "spec.nodeSelector",
        "spec.overhead",
        "spec.preemptionPolicy",
        "spec.priorityClassName",
        "spec.runtimeClassName",
        "spec.schedulerName",
        "spec.securityContext.fsGroup",
        "spec.securityContext.fsGroupChangePolicy",
        "spec.securityContext.runAsGroup",
        "spec.securityContext.runAsUser",
        "spec.securityContext.supplementalGroups",
        "spec.terminationGracePeriodSeconds",
        "spec.tolerations",
        "spec.topologySpreadConstraints",
    ),
    "all": ("",),
}
"""Scheduling: where pods run, and as which number.
Nothing that reaches beyond the pod, no privilege.
"""
_PATH = r"(metadata|spec)(\.[A-Za-z][A-Za-z0-9]*)*"

_Parts = tuple[str, ...]
"""A path, taken apart: a key may hold dots."""
_UNPRIVILEGED: dict[str, Any] = {
    "allowPrivilegeEscalation": False,
    "privileged": False,
    "procMount": "Default",
    "runAsNonRoot": True,
}
"""Fields of an own container's securityContext, and the one value that asks for no privilege."""
_PRIVILEGES = frozenset(
    {"add", "appArmorProfile", "hostPort", "seLinuxOptions", "seccompProfile", "volumeDevices"}
)
"""Fields that ask for one whatever they say; `add` is of capabilities."""
_VOLUMES = frozenset(
    {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "image", "name",
    "persistentVolumeClaim",
     "projected", "secret"}
)  # fmt: skip
"""What a volume may be: nothing of the node's own."""


@dataclass(frozen=True, slots=True)
class Allowed:
    """The paths of a pod template that may be set."""

    paths: tuple[str, ...]

    @classmethod
    @lru_cache(maxsize=16)
    def parse(cls, text: str) -> Self:
        """Read a level, or paths separated by commas; raise ValueError for anything else."""
        if text in LEVELS:
            return cls(LEVELS[text])
        paths = tuple(part.strip() for part in text.split(",") if part.strip())
        if wrong := [path for path in paths if not re.fullmatch(_PATH, path)]:
            msg = (
                f"must be {', '.join(LEVELS)} or paths such as spec.tolerations, got "
                f"{', '.join(wrong)}"
            )
            raise ValueError(msg)
        return cls(paths)

    def refusal_of_serving(self, spec: ReleaseSpec) -> str | None:
        """Return why what a spec asks of its pods is not allowed, or None."""
        where = "spec.serving"
        fields = [f"{where}.podTemplate.{path}" for path in self._beyond(spec.serving.pod_template)]
        if self.paths != LEVELS["all"]:
            fields += [f"{where}.{path}" for path in _privileges(spec.serving.pod_fields())]
        return _sentence(fields)

    def check_retrain(self, retrain: Retrain) -> None:
        """Raise Invalid when the Job's pod template sets what is not allowed."""
        if refusal := _sentence(
            [f"spec.retrain.podTemplate.{path}" for path in self._beyond(retrain.pod_template)]
        ):
            raise Invalid(refusal)

    def _beyond(self, template: Mapping[str, Any]) -> list[str]:
        return sorted({".".join(path) for path in _paths(template) if not self._lets(path)})

    def _lets(self, path: _Parts) -> bool:
        allowed = (tuple(pattern.split(".")) if pattern else () for pattern in self.paths)
        return any(path[: len(parts)] == parts for parts in allowed)


EVERYTHING = Allowed(LEVELS["all"])


def _sentence(fields: list[str]) -> str | None:
    if not fields:
        return None
    which = ", ".join(fields)
    return (
        f"{which} may not be set here: the operator's chart value {SETTING} does not allow it. "
        "Use the fields of spec.serving that need no template, or ask whoever installed the "
        "operator"
    )


def _paths(value: Any, path: _Parts = ()) -> Iterator[_Parts]:
    """Yield the path of every leaf; a mapping with nothing in it asks for nothing."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _paths(item, (*path, str(key)))
    elif (
        isinstance(value, list | tuple)
        and value
        and all(isinstance(item, Mapping) for item in value)
    ):
        for item in value:
            yield from _paths(item, path)
    else:
        yield path


def _privileges(fields: Mapping[str, Any]) -> Iterator[str]:
    """Yield what of the own containers and volumes asks for a privilege."""
    for volume in fields.get("volumes", ()):
        yield from (f"volumes.{volume['name']}.{kind}" for kind in volume if kind not in _VOLUMES)
    for part in ("initContainers", "sidecars"):
        for container in fields.get(part, ()):
            yield from (f"{part}.{container['name']}.{path}" for path in _privileges_of(container))


def _privileges_of(container: Mapping[str, Any]) -> Iterator[str]:
    context = container.get("securityContext") or {}
    for name, harmless in _UNPRIVILEGED.items():
        if isinstance(context, Mapping) and context.get(name) not in (None, harmless):
            yield f"securityContext.{name}"
    yield from sorted(
        {".".join(path) for path in _paths(container) if _PRIVILEGES.intersection(path)}
    )
