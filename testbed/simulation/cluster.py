"""An API server in memory, as far as passes use it, and without the way there.

It has uids, resource versions, generations, server-side apply with the fields of one manager,
merge patches, preconditions, selectors, the status subresource and a log of what happened for
watches. It checks no schema. `testbed/api_server.py` speaks HTTP, for tests of the client; this one
answers ten thousand requests a second.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from modelrelease_operator.runtime.kube import APPLY, RESOURCES

Object = dict[str, Any]
Key = tuple[str, str]
"""Kind and name: there is one namespace."""
Answer = tuple[int, Object]
Written = Callable[[Key, Object | None, Object | None, str], None]
"""Told of each change: of what, as it was, as it is (None: gone), and who made it."""

SPACE = "ml"
OPERATOR = "the operator"
KIND_OF = {plural: kind for kind, (_, plural) in RESOURCES.items()}
SERVED = (
    "ModelRelease", "Deployment", "Service", "Pod", "Job", "Event", "PodDisruptionBudget",
    "HorizontalPodAutoscaler",
)  # fmt: skip
AT_TIMES = ("HTTPRoute",)
"""Kinds that some clusters serve, and some from a moment on."""
UNTOLD = frozenset({"Event"})
"""Kinds that nobody watches."""


@dataclass(frozen=True, slots=True)
class Request:
    """What a client asks."""

    method: str
    kind: str
    name: str = ""
    status: bool = False
    query: Mapping[str, str] = field(default_factory=dict)
    body: Any = None
    content: str = ""

    @property
    def writes(self) -> bool:
        return self.method != "GET"

    @property
    def words(self) -> str:
        """Say it in a story."""
        name = self.name or ((self.body or {}).get("metadata") or {}).get("name", "")
        part = "/status" if self.status else ""
        return f"{self.method} {self.kind} {name}{part}".strip()


def parsed(method: str, path: str, query: Mapping[str, str], body: Any, content: str) -> Request:
    """Read a request as the client sends it."""
    parts = path.strip("/").split("/")
    beyond = parts[2:] if parts[0] == "api" else parts[3:]
    if beyond[0] == "namespaces" and len(beyond) > 2:
        beyond = beyond[2:]
    name = beyond[1] if len(beyond) > 1 else ""
    return Request(
        method=method, kind=KIND_OF[beyond[0]], name=name, status=beyond[2:] == ["status"],
        query=query, body=body, content=content,
    )  # fmt: skip


@dataclass
class Cluster:
    """The objects, and what happened to them."""

    objects: dict[Key, Object] = field(default_factory=dict)
    log: dict[str, list[tuple[str, Object]]] = field(
        default_factory=lambda: {kind: [] for kind in (*SERVED, *AT_TIMES)}
    )
    """By kind: the type of each change and the object, for watches."""
    served: frozenset[str] = frozenset(SERVED)
    hears: list[Written] = field(default_factory=list)
    _applied: dict[Key, Object] = field(default_factory=dict)
    """By object: what the operator applied last, whose fields are its own."""
    _serial: int = 0

    def next_serial(self) -> int:
        self._serial += 1
        return self._serial

    # As people and controllers speak.

    def get(self, kind: str, name: str) -> Object | None:
        return self.objects.get((kind, name))

    def of(self, kind: str) -> list[Object]:
        return [obj for key, obj in self.objects.items() if key[0] == kind]

    def put(self, kind: str, name: str, by: str, **parts: Any) -> Object:
        """Create an object, or replace the parts that are given."""
        key = (kind, name)
        before = self.objects.get(key)
        meta = {**(before or {}).get("metadata", {}), **parts.pop("metadata", {})}
        base = before or {"apiVersion": RESOURCES[kind][0], "kind": kind}
        return self._store(key, {**base, **parts, "metadata": {**meta, "name": name}}, before, by)

    def drop(self, kind: str, name: str, by: str) -> None:
        """Delete an object, if it is there."""
        key = (kind, name)
        before = self.objects.pop(key, None)
        if before is None:
            return
        self._applied.pop(key, None)
        meta = {**before["metadata"], "resourceVersion": str(self.next_serial())}
        if kind not in UNTOLD:
            self.log[kind].append(("DELETED", {**before, "metadata": meta}))
        for hears in self.hears:
            hears(key, before, None, by)

    # As the operator's client speaks.

    def answer(self, request: Request) -> Answer:
        """Do what is asked; return the status and the body of the answer."""
        if request.kind not in self.served:
            return _refused(404, "the server could not find the requested resource")
        match request.method:
            case "GET":
                return self._read(request)
            case "PATCH":
                return self._patch(request)
            case "POST":
                return self._create(request)
            case "DELETE":
                return self._delete(request)
            case _:
                return _refused(405, "no pass asks this")

    def _read(self, request: Request) -> Answer:
        if not request.name:
            wanted = _selector(request.query.get("labelSelector", ""))
            items = [obj for obj in self.of(request.kind) if wanted(obj)]
            return 200, {"metadata": {"resourceVersion": str(self._serial)}, "items": items}
        obj = self.get(request.kind, request.name)
        return (200, obj) if obj else _missing(request)

    def _create(self, request: Request) -> Answer:
        key = (request.kind, request.body["metadata"]["name"])
        if key in self.objects:
            return _refused(409, f"{key[0]} {key[1]} already exists")
        return 201, self._store(key, request.body, None, OPERATOR)

    def _delete(self, request: Request) -> Answer:
        live = self.get(request.kind, request.name)
        if live is None:
            return _missing(request)
        uid = (request.body.get("preconditions") or {}).get("uid")
        if uid and uid != live["metadata"]["uid"]:
            return _refused(409, "the UID in the precondition does not match the UID in record")
        self.drop(request.kind, request.name, OPERATOR)
        return 200, {"kind": "Status", "status": "Success"}

    def _patch(self, request: Request) -> Answer:
        key, meta = (request.kind, request.name), request.body["metadata"]
        before = self.objects.get(key)
        applies = request.content == APPLY
        if before is None and (request.status or not applies):
            return _missing(request)
        if before is None and meta.get("uid"):
            return _refused(409, "uid mismatch: no existing object was found")
        if before is not None and (trouble := _precondition(before["metadata"], request)):
            return trouble
        if request.status:
            after = {**(before or {}), "status": request.body["status"]}
        elif applies:
            after = _after_apply(before or {}, request.body, self._applied.get(key, {}))
        else:
            own = {name: part for name, part in meta.items() if name not in FENCES}
            after = {**(before or {}), "metadata": {**(before or {})["metadata"], **own}}
        owners = after["metadata"].get("ownerReferences") or ()
        if sum(bool(owner.get("controller")) for owner in owners) > 1:
            return _refused(422, "Only one reference can have Controller set to true")
        if applies and not request.status:
            self._applied[key] = request.body
        return 200, self._store(key, after, before, OPERATOR)

    def _store(self, key: Key, obj: Object, before: Object | None, by: str) -> Object:
        old = before["metadata"] if before else {}
        same_spec = before is not None and before.get("spec") == obj.get("spec")
        meta = {
            **obj["metadata"],
            "namespace": SPACE,
            "uid": old.get("uid") or f"uid-{self.next_serial()}",
            "generation": old.get("generation", 0) + (not same_spec),
        }
        after = {**obj, "metadata": meta}
        if before is not None and after == before:
            return before
        meta["resourceVersion"] = str(self.next_serial())
        self.objects[key] = after
        if key[0] not in UNTOLD:
            self.log[key[0]].append(("MODIFIED" if before else "ADDED", after))
        for hears in self.hears:
            hears(key, before, after, by)
        return after


FENCES = ("uid", "resourceVersion")


def _precondition(live: Object, request: Request) -> Answer | None:
    meta = request.body["metadata"]
    version = meta.get("resourceVersion")
    if version and version != live["resourceVersion"]:
        return _refused(409, "the object has been modified; please apply your changes again")
    # A real API server takes no notice of a uid in what is applied to a status.
    if not request.status and meta.get("uid", live["uid"]) != live["uid"]:
        return _refused(422, f'metadata.uid: Invalid value: "{meta["uid"]}": field is immutable')
    return None


def _after_apply(live: Object, wanted: Object, last: Object) -> Object:
    meta = {name: part for name, part in wanted["metadata"].items() if name not in FENCES}
    old = live.get("metadata", {})
    after = _merged(live, {**wanted, "metadata": {}}, {**last, "metadata": {}})
    merged = _merged(old, meta, last.get("metadata", {}))
    if "ownerReferences" in meta:
        mine = {owner["uid"] for owner in meta["ownerReferences"]}
        others = [each for each in old.get("ownerReferences") or () if each["uid"] not in mine]
        merged["ownerReferences"] = [*others, *meta["ownerReferences"]]
    return {**after, "metadata": merged}


def _merged(live: Object, wanted: Object, last: Object) -> Object:
    """Return what one manager's apply makes of a mapping: what it set before, and no more, goes."""
    result = {key: part for key, part in live.items() if key not in last or key in wanted}
    result |= {key: live[key] for key in FENCES if key in live}
    for key, value in wanted.items():
        old = result.get(key)
        if isinstance(value, dict) and isinstance(old, dict) and key != "selector":
            before = last.get(key)
            result[key] = _merged(old, value, before if isinstance(before, dict) else {})
        elif value is not None:
            result[key] = value
    return result


def _selector(text: str) -> Callable[[Object], bool]:
    rules = [part.partition("=") for part in text.split(",") if part]

    def takes(obj: Object) -> bool:
        labels = obj["metadata"].get("labels") or {}
        return all(
            labels.get(key) == value if sign else key in labels for key, sign, value in rules
        )

    return takes


def _missing(request: Request) -> Answer:
    return _refused(404, f'{request.kind} "{request.name}" not found')


def _refused(code: int, message: str) -> Answer:
    return code, {"kind": "Status", "status": "Failure", "message": message, "code": code}
