"""Parts of a pod that a spec may hold, checked as far as it is ours to check."""

from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    Field,
    StrictFloat,
    StrictInt,
    StrictStr,
    StringConstraints,
    ValidationInfo,
    model_validator,
)

from modelrelease_operator.api.model import Model
from modelrelease_operator.api.strictness import is_strict

ENV_NAME_PATTERN = r"^[ -<>-~]+$"
"""What Kubernetes 1.34 takes; an older one says so itself."""
QUANTITY_PATTERN = (
    r"^\+?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))"
    r"(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))))?$"
)
"""A quantity of Kubernetes (k8s.io/apimachinery, api/resource) that is not below 0."""

CREDENTIALS = "credentialsSecretRef"
"""Beside the pod fields of a recipe: the Secret that the artifact is fetched with."""

CACHE = "cache"
"""Beside them, too: the claim that keeps artifacts."""

SIGNATURE = "signature"
"""Beside them, too: the key that the artifact must be signed with."""

IMAGE_VOLUME = "imageVolume"
"""Beside them, too: that the node mounts the artifact, which is an image, and where in it it is."""

OUR_CONTAINERS = ("fetch", "verify-signature", "predictor")
CACHE_VOLUME = "modelrelease-artifacts"
"""Of the claim that keeps artifacts."""
OUR_VOLUMES = ("model", "source", "tmp", CACHE_VOLUME)
UNMOUNTED = (CACHE_VOLUME,)
"""Which no server may mount: it would write where every release of the claim keeps artifacts."""
CPU_FROM = ("requests", "limits")
LONGEST_NAME = 63
OUR_PATHS = ("/models", "/tmp")  # noqa: S108 - paths inside of containers

STRINGS, OBJECT, LIST, NAMED = "map of strings", "object", "array", "array of named"
TEXT, WHOLE, TRUTH = "string", "integer", "boolean"
_KINDS: dict[str, type | tuple[type, ...]] = {
    STRINGS: dict, OBJECT: dict, LIST: list, NAMED: list, TEXT: str, WHOLE: int, TRUTH: bool,
}  # fmt: skip

POD_METADATA = {"labels": STRINGS, "annotations": STRINGS}
POD_SPEC = {
    **dict.fromkeys(("activeDeadlineSeconds", "priority", "terminationGracePeriodSeconds"), WHOLE),
    **dict.fromkeys(("affinity", "dnsConfig", "os", "resources", "securityContext"), OBJECT),
    **dict.fromkeys(("nodeSelector", "overhead"), OBJECT),
    **dict.fromkeys(
        ("hostAliases", "readinessGates", "resourceClaims", "schedulingGates", "tolerations",
         "topologySpreadConstraints"), LIST),
    **dict.fromkeys(("containers", "imagePullSecrets", "initContainers", "volumes"), NAMED),
    **dict.fromkeys(
        ("dnsPolicy", "hostname", "nodeName", "preemptionPolicy", "priorityClassName",
        "restartPolicy",
         "runtimeClassName", "schedulerName", "serviceAccountName", "subdomain"), TEXT),
    **dict.fromkeys(
        ("automountServiceAccountToken", "enableServiceLinks", "hostIPC", "hostNetwork", "hostPID",
         "hostUsers", "setHostnameAsFQDN", "shareProcessNamespace"), TRUTH),
}  # fmt: skip
"""What kind of value a field of a pod template has; null takes it away.
The schema says the same.
"""


class _Asked(Model):
    def to_dict(self) -> dict[str, Any]:
        """Return what was given, as it was given."""
        return self.model_dump(mode="json", by_alias=True, exclude_unset=True)


class EnvVar(_Asked):
    """A variable of a container."""

    name: Annotated[str, StringConstraints(pattern=ENV_NAME_PATTERN, min_length=1, max_length=253)]
    value: str | None = None
    value_from: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _has_one_source(self, info: ValidationInfo) -> Self:
        if is_strict(info) and self.value is not None and self.value_from is not None:
            msg = f"set either value or valueFrom of the variable {self.name}, not both"
            raise ValueError(msg)
        return self


def _only_stored(value: float, info: ValidationInfo) -> float:
    if is_strict(info):
        msg = f"a quantity that is no whole number must be text, got {value:g}: put it in quotes"
        raise ValueError(msg)
    return value


Quantity = (
    StrictInt
    | Annotated[StrictFloat, AfterValidator(_only_stored)]
    | Annotated[StrictStr, StringConstraints(pattern=QUANTITY_PATTERN, max_length=64)]
)
Quantities = dict[str, Quantity | None]


class Resources(_Asked):
    """What a container asks for and may use."""

    limits: Quantities | None = None
    requests: Quantities | None = None
    claims: tuple[dict[str, Any], ...] | None = None


def _each_name_once(env: tuple[EnvVar, ...]) -> tuple[EnvVar, ...]:
    names = [item.name for item in env]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        msg = f"each variable may be given once, got more of {', '.join(twice)}"
        raise ValueError(msg)
    return env


def _shaped_like_a_pod_template(template: dict[str, Any]) -> dict[str, Any]:
    for part, fields in (("metadata", POD_METADATA), ("spec", POD_SPEC)):
        value = template.get(part)
        if not isinstance(value, dict | None):
            msg = f"{part} must be a mapping, got {value!r}"
            raise ValueError(msg)
        for name, kind in fields.items():
            _require((value or {}).get(name), kind, f"{part}.{name}")
    return template


def _require(value: Any, kind: str, where: str) -> None:
    if value is None:
        return
    fits = isinstance(value, _KINDS[kind]) and not (kind == WHOLE and isinstance(value, bool))
    wanted = {STRINGS: "a mapping", OBJECT: "a mapping", LIST: "a list", NAMED: "a list"}.get(
        kind, f"of type {kind}"
    )
    if fits and kind == STRINGS:
        fits, wanted = (
            all(isinstance(item, str | None) for item in value.values()),
            "a mapping of strings",
        )
    if fits and kind in (LIST, NAMED):
        fits, wanted = all(isinstance(item, dict) for item in value), "a list of mappings"
    if fits and kind == NAMED:
        fits, wanted = (
            all(isinstance(item.get("name"), str) for item in value),
            "a list of mappings with a name",
        )
    if not fits:
        msg = f"{where} must be {wanted}, got {value!r}"
        raise ValueError(msg)


def _with(*required: str) -> AfterValidator:
    def check(items: tuple[dict[str, Any], ...]) -> tuple[dict[str, Any], ...]:
        for item in items:
            if missing := [
                key for key in required if not (isinstance(item.get(key), str) and item[key])
            ]:
                msg = f"each item needs {' and '.join(missing)}, got {item!r}"
                raise ValueError(msg)
        return items

    return AfterValidator(check)


def _of_a_label(items: tuple[dict[str, Any], ...]) -> tuple[dict[str, Any], ...]:
    if long := [item["name"] for item in items if len(item["name"]) > LONGEST_NAME]:
        msg = f"a name has at most {LONGEST_NAME} characters, got {long[0]}"
        raise ValueError(msg)
    return items


def _once(key: str) -> AfterValidator:
    def check(items: tuple[dict[str, Any], ...]) -> tuple[dict[str, Any], ...]:
        keys = [item[key] for item in items]
        if twice := sorted({key_of_item for key_of_item in keys if keys.count(key_of_item) > 1}):
            msg = f"each {key} may be given once, got more of {', '.join(twice)}"
            raise ValueError(msg)
        return items

    return AfterValidator(check)


Env = Annotated[tuple[EnvVar, ...], Field(max_length=100), AfterValidator(_each_name_once)]
PodTemplate = Annotated[dict[str, Any], AfterValidator(_shaped_like_a_pod_template)]
ObjectName = Annotated[
    str,
    StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", min_length=1, max_length=253),
]
Items = tuple[dict[str, Any], ...]
Containers = Annotated[
    Items, Field(max_length=20), _with("name", "image"), AfterValidator(_of_a_label), _once("name")
]


class PodFields(_Asked):
    """Fields of a pod that need no template: where it may run, and what runs beside and before."""

    image_pull_secrets: Annotated[Items, Field(max_length=20), _with("name"), _once("name")] = ()
    service_account_name: ObjectName | None = None
    node_selector: dict[str, str] = Field(default_factory=dict)
    affinity: dict[str, Any] = Field(default_factory=dict)
    tolerations: Annotated[Items, Field(max_length=100)] = ()
    topology_spread_constraints: Annotated[
        Items, Field(max_length=20), _with("topologyKey", "whenUnsatisfiable")
    ] = ()
    priority_class_name: ObjectName | None = None
    runtime_class_name: ObjectName | None = None
    init_containers: Containers = ()
    """Run before the artifact is fetched, in this order."""
    sidecars: Containers = ()
    """Started before everything else and stopped after the predictor."""
    volumes: Annotated[
        Items, Field(max_length=50), _with("name"), AfterValidator(_of_a_label), _once("name")
    ] = ()
    volume_mounts: Annotated[
        Items,
        Field(max_length=50),
        _with("name", "mountPath"),
        AfterValidator(_of_a_label),
        _once("mountPath"),
    ] = ()
    """Mounted where the artifact is fetched and where it is served."""

    @model_validator(mode="after")
    def _takes_no_name_of_ours(self) -> Self:
        ours = (
            ("initContainers", self.init_containers, "name", OUR_CONTAINERS),
            ("sidecars", self.sidecars, "name", OUR_CONTAINERS),
            ("volumes", self.volumes, "name", OUR_VOLUMES),
            ("volumeMounts", self.volume_mounts, "mountPath", OUR_PATHS),
            ("volumeMounts", self.volume_mounts, "name", UNMOUNTED),
        )
        for field, items, key, taken in ours:
            if reserved := [item[key] for item in items if item[key] in taken]:
                msg = f"{field} must not have the {key} {reserved[0]}, which is the operator's"
                raise ValueError(msg)
        before = {item["name"] for item in self.init_containers}
        if both := [item["name"] for item in self.sidecars if item["name"] in before]:
            msg = f"a sidecar and an init container must not share the name {both[0]}"
            raise ValueError(msg)
        return self

    def pod_fields(self) -> dict[str, Any]:
        """Return those of these fields that were given, as in the spec."""
        return self.model_dump(
            mode="json", by_alias=True, exclude_unset=True, include=set(PodFields.model_fields)
        )


def requests_cpu(resources: Resources, template: Mapping[str, Any]) -> bool:
    """Return whether the predictor requests CPU; a limit alone is a request, too.

    Without any resources it has the default's.
    """
    given = resources.to_dict() or {"requests": {"cpu": "default"}}
    containers = (template.get("spec") or {}).get("containers") or ()
    predictors = [each for each in containers if each.get("name") == OUR_CONTAINERS[-1]]
    laid_over = (predictors[0].get("resources") or {}) if predictors else {}
    parts = [{**(given.get(of) or {}), **(laid_over.get(of) or {})} for of in CPU_FROM]
    return any(part.get("cpu") is not None for part in parts)


def has_null(value: Any) -> bool:
    """Return whether there is a null anywhere in a value."""
    if isinstance(value, Mapping):
        return any(has_null(item) for item in value.values())
    if isinstance(value, list | tuple):
        return any(has_null(item) for item in value)
    return value is None
