"""A fake of the API server, for what a real one cannot be asked to do at will.

It refuses one write of one kind, ends a watch without a word, and counts every request. It knows
uids, resource versions, generations, server-side apply as far as one manager needs it,
preconditions, selectors, watches with bookmarks, and the status subresource. It checks no schema,
has no admission and no garbage collector: what must hold on a real API server is tested in
tests/cluster. A kubelet of a few lines makes the pods of Deployments.
"""

import asyncio
import itertools
import json
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

Object = dict[str, Any]
Key = tuple[str, str, str]
"""Plural, namespace and name."""
Refusal = Callable[[str, str, Object], tuple[int, str] | None]
"""From method, plural and object to the status and the message of a refusal, or None."""

KINDS = {
    "modelreleases": ("modelrelease.dev/v1alpha1", "ModelRelease"),
    "deployments": ("apps/v1", "Deployment"),
    "jobs": ("batch/v1", "Job"),
    "services": ("v1", "Service"),
    "pods": ("v1", "Pod"),
    "events": ("v1", "Event"),
    "secrets": ("v1", "Secret"),
    "leases": ("coordination.k8s.io/v1", "Lease"),
    "poddisruptionbudgets": ("policy/v1", "PodDisruptionBudget"),
    "horizontalpodautoscalers": ("autoscaling/v2", "HorizontalPodAutoscaler"),
    "httproutes": ("gateway.networking.k8s.io/v1", "HTTPRoute"),
    "inferencepools": ("inference.networking.k8s.io/v1", "InferencePool"),
    "gateways": ("gateway.networking.k8s.io/v1", "Gateway"),
    "gatewayclasses": ("gateway.networking.k8s.io/v1", "GatewayClass"),
    "namespaces": ("v1", "Namespace"),
    "customresourcedefinitions": ("apiextensions.k8s.io/v1", "CustomResourceDefinition"),
    "validatingadmissionpolicies": (
        "admissionregistration.k8s.io/v1",
        "ValidatingAdmissionPolicy",
    ),
    "validatingadmissionpolicybindings": (
        "admissionregistration.k8s.io/v1",
        "ValidatingAdmissionPolicyBinding",
    ),
}
WHOLE_CLUSTER = (
    "gatewayclasses",
    "namespaces",
    "customresourcedefinitions",
    "validatingadmissionpolicies",
    "validatingadmissionpolicybindings",
)
REVIEWS = "selfsubjectaccessreviews"
BY_KIND = {kind: plural for plural, (_, kind) in KINDS.items()}


@dataclass
class ApiServer:
    """Objects in memory, served by HTTP on the loopback."""

    port: int = 0
    pods_start: bool = True
    """Whether pods become ready; otherwise their image cannot be pulled."""
    refuse: Refusal = lambda method, plural, obj: None
    objects: dict[Key, Object] = field(default_factory=dict)
    requests: Counter[str] = field(default_factory=Counter)
    writes: Counter[str] = field(default_factory=Counter)
    """By who asked: the user of its kubeconfig. Those of Leases are not counted."""
    silent: set[str] = field(default_factory=set)
    """Plurals whose watches end at once and say nothing."""
    absent: set[str] = field(default_factory=lambda: {"httproutes"})
    """Plurals that the cluster does not serve."""
    openapi: Object = field(default_factory=dict)
    """What it publishes of the schemas of a group."""
    documents: dict[str, Object] = field(default_factory=dict)
    """By path: what it says of itself, instead of what this server would."""
    may_not: set[str] = field(default_factory=set)
    """Verbs and plurals that who asks is said not to be allowed, the latter as `plural` or as
    `namespace/plural`.
    """
    _serial: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    _watchers: dict[str, list[asyncio.Queue[Object]]] = field(default_factory=dict)
    _log: dict[str, list[Object]] = field(default_factory=dict)
    _kubelet: asyncio.Task[None] | None = None
    _dirty: set[Key] = field(default_factory=set)
    _pods: dict[tuple[str, str], dict[Key, None]] = field(default_factory=dict)
    """By namespace and Deployment: its pods, oldest first."""

    async def start(self) -> "ApiServer":
        app = web.Application(client_max_size=8 * 2**20)
        app.router.add_route("*", "/{path:.*}", self._serve)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port)
        await site.start()
        self.port = self._runner.addresses[0][1]
        self._kubelet = asyncio.create_task(self._run_pods())
        return self

    async def stop(self) -> None:
        if self._kubelet:
            self._kubelet.cancel()
            with suppress(asyncio.CancelledError):
                await self._kubelet
        for queues in self._watchers.values():
            for queue in queues:
                queue.put_nowait({"end": True})
        await self._runner.cleanup()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def kubeconfig(self, folder: Path, user: str = "fake") -> Path:
        """Write what a client needs to find this server."""
        path = folder / "kubeconfig"
        cluster = {"name": "fake", "cluster": {"server": self.url}}
        context = {"name": "fake", "context": {"cluster": "fake", "user": user}}
        account = {"name": user, "user": {"token": user}}
        text = {
            "apiVersion": "v1", "kind": "Config", "current-context": "fake",
            "clusters": [cluster], "contexts": [context], "users": [account],
        }  # fmt: skip
        path.write_text(json.dumps(text))
        return path

    # What a test does as a person or as another controller would.

    def put(self, kind: str, name: str, namespace: str = "ml", **parts: Any) -> Object:
        """Create or replace an object; its uid stays if it is there already."""
        plural = BY_KIND[kind]
        key = (plural, namespace, name)
        before = self.objects.get(key)
        meta = {"name": name, "namespace": namespace, **parts.pop("metadata", {})}
        obj = {"apiVersion": KINDS[plural][0], "kind": kind, "metadata": meta, **parts}
        if before and "status" in before:
            obj.setdefault("status", before["status"])
        return self._store(key, obj, before)

    def get(self, kind: str, name: str, namespace: str = "ml") -> Object:
        return self.objects[BY_KIND[kind], namespace, name]

    def has(self, kind: str, name: str, namespace: str = "ml") -> bool:
        return (BY_KIND[kind], namespace, name) in self.objects

    def of(self, kind: str, namespace: str | None = None) -> list[Object]:
        plural = BY_KIND[kind]
        return [
            obj for (kind_plural, space, _), obj in self.objects.items()
            if kind_plural == plural and namespace in (None, space)
        ]  # fmt: skip

    def remove(
        self, kind: str, name: str, namespace: str = "ml", *, to_watches: bool = True
    ) -> None:
        """Delete an object; `told=False` keeps it from the watches, as an outage would."""
        self._drop((BY_KIND[kind], namespace, name), to_watches=to_watches)

    def reasons(self, name: str = "qna") -> list[str]:
        """Return the reasons of the Events about a release, oldest first."""
        return [
            event["reason"] for event in self.of("Event") if event["involvedObject"]["name"] == name
        ]

    def condition(self, kind: str, name: str = "qna", namespace: str = "ml") -> Object:
        status = self.get("ModelRelease", name, namespace).get("status", {})
        return next(
            (condition for condition in status.get("conditions", ()) if condition["type"] == kind),
            {},
        )

    @property
    def busy(self) -> bool:
        """Whether Deployments wait for their pods."""
        return bool(self._dirty)

    # The server.

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        parts = request.path.strip("/").split("/")
        if parts[:2] == ["openapi", "v3"]:
            return web.json_response(self.openapi)
        if discovery := self.documents.get(request.path) or _discovery(parts, self.absent):
            return web.json_response(discovery)
        beyond_version = parts[2:] if parts[0] == "api" else parts[3:]
        if not beyond_version:
            return web.Response(status=404, text="404 page not found\n")
        namespace, plural, name, status = _parse_path(beyond_version)
        if plural == REVIEWS:
            return self._review(await request.json())
        if plural not in KINDS or plural in self.absent:
            return _refused(404, "the server could not find the requested resource")
        watching = request.query.get("watch") == "true"
        verb = request.method
        if watching:
            verb = "WATCH"
        elif verb == "GET" and not name:
            verb = "LIST"
        resource = f"{plural}/status" if status else plural
        self.requests[f"{verb} {resource}"] += 1
        self._count(verb, plural, request)
        body = json.loads(await request.text() or "null") or {}
        if refusal := self.refuse(verb, resource, body):
            return _refused(*refusal)
        if watching:
            return await self._watch(request, plural, namespace)
        key = (plural, namespace or "", name)
        handlers: dict[str, Callable[[], web.Response]] = {
            "GET": lambda: (
                web.json_response(self.objects[key]) if key in self.objects else _missing(key)
            ),
            "LIST": lambda: self._list(request, plural, namespace),
            "PATCH": lambda: self._patch(request, key, body, status=status),
            "POST": lambda: self._create(plural, namespace or "", body),
            "PUT": lambda: self._put(key, body),
            "DELETE": lambda: self._delete(key, body),
        }
        return handlers[verb]()

    def _review(self, review: Object) -> web.Response:
        asked = review["spec"]["resourceAttributes"]
        plural, namespace = asked["resource"], asked.get("namespace", "")
        refused = self.may_not & {asked["verb"], plural, f"{namespace}/{plural}"}
        return web.json_response({**review, "status": {"allowed": not refused}})

    def _count(self, verb: str, plural: str, request: web.Request) -> None:
        if verb not in ("GET", "LIST", "WATCH") and plural != "leases":
            self.writes[request.headers.get("Authorization", "").removeprefix("Bearer ")] += 1

    def _list(self, request: web.Request, plural: str, namespace: str | None) -> web.Response:
        is_selected = _selected(request.query.get("labelSelector", ""))
        items = [
            obj for (obj_plural, space, _), obj in self.objects.items()
            if obj_plural == plural and namespace in (None, space) and is_selected(obj)
        ]  # fmt: skip
        version, kind = KINDS[plural]
        meta = {"resourceVersion": str(next(self._serial))}
        return web.json_response(
            {"apiVersion": version, "kind": f"{kind}List", "metadata": meta, "items": items}
        )

    async def _watch(
        self, request: web.Request, plural: str, namespace: str | None
    ) -> web.StreamResponse:
        is_selected = _selected(request.query.get("labelSelector", ""))
        since = int(request.query.get("resourceVersion") or 0)
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        if plural in self.silent:
            return response
        queue: asyncio.Queue[Object] = asyncio.Queue()
        for event in self._log.get(plural, ()):
            if int(event["object"]["metadata"]["resourceVersion"]) > since:
                queue.put_nowait(event)
        queues = self._watchers.setdefault(plural, [])
        queues.append(queue)
        try:
            while True:
                try:
                    event = await asyncio.wait_for(queue.get(), 20)
                except TimeoutError:
                    meta = {"resourceVersion": str(next(self._serial))}
                    event = {
                        "type": "BOOKMARK",
                        "object": {"kind": KINDS[plural][1], "metadata": meta},
                    }
                if event.get("end") or plural in self.silent:
                    return response
                obj = event["object"]
                space = obj["metadata"].get("namespace")
                if event["type"] == "BOOKMARK" or (namespace in (None, space) and is_selected(obj)):
                    await response.write(json.dumps(event).encode() + b"\n")
        except (ConnectionError, asyncio.CancelledError):
            return response
        finally:
            queues.remove(queue)

    def end_watches(self, plural: str) -> None:
        """End every watch of a kind, as a restart of the API server does."""
        for queue in self._watchers.get(plural, ()):
            queue.put_nowait({"end": True})

    def _edit(self, key: Key, operations: list[Object]) -> web.Response:
        """Make a JSON patch of tests, additions and removals of single fields."""
        before = self.objects.get(key)
        if before is None:
            return _missing(key)
        after: Object = json.loads(json.dumps(before))
        for operation in operations:
            parts = operation["path"].strip("/").split("/")
            *parents, last = (part.replace("~1", "/") for part in parts)
            place: Any = after
            for part in parents:
                place = place[int(part) if isinstance(place, list) else part]
            if operation["op"] == "add":
                place[last] = operation["value"]
            elif operation["op"] == "remove":
                del place[last]
            elif place.get(last) != operation["value"]:
                return _refused(422, f"testing value {operation['path']} failed: test failed")
        return web.json_response(self._store(key, after, before))

    def _patch(
        self, request: web.Request, key: Key, body: Object | list[Object], *, status: bool
    ) -> web.Response:
        before = self.objects.get(key)
        if isinstance(body, list):
            return self._edit(key, body)
        meta = body.get("metadata", {})
        if before is None and (status or "merge" in request.content_type):
            return _missing(key)
        if before is None and meta.get("uid"):
            return _refused(
                409,
                "uid mismatch: the provided object specified uid, and no existing object was found",
            )
        resource_version = meta.get("resourceVersion")
        if (
            before
            and resource_version
            and resource_version != before["metadata"]["resourceVersion"]
        ):
            return _refused(
                409, "the object has been modified; please apply your changes to the latest version"
            )
        if (
            before
            and not status
            and meta.get("uid", before["metadata"]["uid"]) != before["metadata"]["uid"]
        ):
            # As a real API server has it. To the uid in what is applied to a status it pays no
            # heed.
            return _refused(
                422, f'metadata.uid: Invalid value: "{meta["uid"]}": field is immutable'
            )
        if status:
            after = {**(before or {}), "status": body["status"]}
        else:
            metadata = {name: meta[name] for name in meta if name not in ("uid", "resourceVersion")}
            owners = _owners(
                (before or {}).get("metadata", {}), metadata, merge="merge" in request.content_type
            )
            if sum(bool(owner.get("controller")) for owner in owners) > 1:
                return _refused(422, "Only one reference can have Controller set to true")
            merged = _merged((before or {}).get("metadata", {}), metadata) | {
                "ownerReferences": owners
            }
            after = _merged(before or {}, {name: body[name] for name in body if name != "metadata"})
            after = {**after, "metadata": merged}
        if request.query.get("dryRun"):
            return web.json_response(after)
        return web.json_response(self._store(key, after, before))

    def _create(self, plural: str, namespace: str, body: Object) -> web.Response:
        key = (plural, namespace, body["metadata"]["name"])
        if key in self.objects:
            return _refused(409, f'{plural} "{key[2]}" already exists')
        return web.json_response(self._store(key, body, None), status=201)

    def _put(self, key: Key, body: Object) -> web.Response:
        before = self.objects.get(key)
        if before is None:
            return _missing(key)
        if body["metadata"].get("resourceVersion") != before["metadata"]["resourceVersion"]:
            return _refused(409, "the object has been modified")
        return web.json_response(self._store(key, body, before))

    def _delete(self, key: Key, body: Object) -> web.Response:
        before = self.objects.get(key)
        if before is None:
            return _missing(key)
        uid = body.get("preconditions", {}).get("uid")
        if uid and uid != before["metadata"]["uid"]:
            return _refused(409, "the UID in the precondition does not match the UID in record")
        self._drop(key)
        return web.json_response({"kind": "Status", "status": "Success"})

    def _store(self, key: Key, obj: Object, before: Object | None) -> Object:
        old = (before or {}).get("metadata", {})
        spec_same = before is not None and before.get("spec") == obj.get("spec")
        meta = {
            **obj["metadata"],
            "namespace": key[1],
            "uid": old.get("uid") or obj["metadata"].get("uid") or f"uid-{next(self._serial)}",
            "generation": old.get("generation", 0) + int(not spec_same),
        }
        after = {**obj, "metadata": meta}
        if before is not None and after == {**before, "metadata": {**old}}:
            return before
        meta["resourceVersion"] = str(next(self._serial))
        self.objects[key] = after
        self._notify(key[0], "MODIFIED" if before else "ADDED", after)
        if key[0] == "deployments":
            self._dirty.add(key)
        if key[0] == "pods" and "of" in meta:
            self._pods.setdefault((key[1], meta["of"]), {})[key] = None
        return after

    def _drop(self, key: Key, *, to_watches: bool = True) -> None:
        obj = self.objects.pop(key)
        obj = {
            **obj,
            "metadata": {**obj["metadata"], "resourceVersion": str(next(self._serial))},
        }
        if to_watches:
            self._notify(key[0], "DELETED", obj)
        if key[0] == "pods":
            self._pods.get((key[1], obj["metadata"].get("of", "")), {}).pop(key, None)
        if key[0] == "deployments":
            for pod in list(self._pods.get(key[1:], ())):
                self._drop(pod)

    def _notify(self, plural: str, kind: str, obj: Object) -> None:
        if plural == "events":
            return
        event = {"type": kind, "object": obj}
        self._log.setdefault(plural, []).append(event)
        for queue in self._watchers.get(plural, ()):
            queue.put_nowait(event)

    async def _run_pods(self) -> None:
        """Make, start and remove the pods of Deployments,
        as their controllers and kubelets would.
        """
        while True:
            await asyncio.sleep(0.05)
            dirty, self._dirty = self._dirty, set()
            for key in dirty:
                if deployment := self.objects.get(key):
                    self._scale(key, deployment)

    def _scale(self, key: Key, deployment: Object) -> None:
        pods = list(self._pods.get(key[1:], ()))
        replicas = deployment["spec"]["replicas"]
        for pod in pods[replicas:]:
            self._drop(pod)
        for _ in range(replicas - len(pods)):
            name = f"{key[2]}-{next(self._serial)}"
            labels = deployment["spec"]["template"]["metadata"]["labels"]
            self.put(
                "Pod",
                name,
                key[1],
                metadata={"labels": labels, "of": key[2]},
                status=self._pod_status(),
            )
        status = {"observedGeneration": deployment["metadata"]["generation"]}
        after = {**deployment, "status": status}
        if deployment.get("status") != status:
            self._store(key, after, deployment)
            self._dirty.discard(key)

    def _pod_status(self) -> Object:
        if self.pods_start:
            return {"conditions": [{"type": "Ready", "status": "True"}]}
        waiting = {"reason": "ImagePullBackOff", "message": "no such image"}
        return {
            "conditions": [{"type": "Ready", "status": "False"}],
            "containerStatuses": [{"name": "predictor", "state": {"waiting": waiting}}],
        }


def _parse_path(parts: list[str]) -> tuple[str | None, str, str, bool]:
    """Return namespace, plural and name of a path, and whether it is the status that is meant."""
    namespace = None
    if parts[0] == "namespaces" and len(parts) > 2:
        namespace, parts = parts[1], parts[2:]
    return namespace, parts[0], parts[1] if len(parts) > 1 else "", parts[2:] == ["status"]


def _discovery(parts: list[str], absent: Collection[str]) -> Object | None:
    """Answer what a client asks to learn which kinds there are."""
    match parts:
        case ["version"]:
            return {"major": "1", "minor": "36"}
        case ["api"]:
            return {"kind": "APIVersions", "versions": ["v1"]}
        case ["apis"]:
            groups = sorted({version for version, _ in KINDS.values() if "/" in version})
            return {
                "kind": "APIGroupList",
                "groups": [_group(group_version) for group_version in groups],
            }
        case ["api", "v1"]:
            return {"kind": "APIResourceList", "groupVersion": "v1", "resources": _resources("v1")}
        case ["apis", group, version]:
            name = f"{group}/{version}"
            resources = [each for each in _resources(name) if each["name"] not in absent]
            # A real one answers with 404 for a group that it does not have.
            if not resources:
                return None
            return {"kind": "APIResourceList", "groupVersion": name, "resources": resources}
        case _:
            return None


def _group(group_version: str) -> Object:
    group, version = group_version.split("/")
    preferred = {"groupVersion": group_version, "version": version}
    return {"name": group, "versions": [preferred], "preferredVersion": preferred}


def _resources(group_version: str) -> list[Object]:
    verbs = ["get", "list", "watch", "create", "update", "patch", "delete"]
    return [
        {
            "name": plural,
            "singularName": kind.lower(),
            "namespaced": plural not in WHOLE_CLUSTER,
            "kind": kind,
            "verbs": verbs,
        }
        for plural, (version, kind) in KINDS.items()
        if version == group_version
    ]


def _selected(selector: str) -> Callable[[Object], bool]:
    requirements = [part.partition("=") for part in selector.split(",") if part]

    def is_selected(obj: Object) -> bool:
        labels = obj["metadata"].get("labels") or {}
        return all(
            labels.get(key) == value if sign else key in labels for key, sign, value in requirements
        )

    return is_selected


def _merged(before: Mapping[str, Any], after: Mapping[str, Any]) -> Object:
    """Return what one manager's apply makes of an object:
    mappings are merged, the rest is replaced.
    """
    result = dict(before)
    for key, value in after.items():
        old = result.get(key)
        if isinstance(value, dict) and isinstance(old, dict) and key != "selector":
            result[key] = _merged(old, value)
        else:
            result[key] = value
    return result


def _owners(before: Object, applied: Object, *, merge: bool) -> list[Object]:
    if "ownerReferences" not in applied:
        return list(before.get("ownerReferences", ()))
    applied_uids = {owner["uid"] for owner in applied["ownerReferences"]}
    if merge:
        return list(applied["ownerReferences"])
    earlier = before.get("ownerReferences", ())
    others = [owner for owner in earlier if owner["uid"] not in applied_uids]
    return [*others, *applied["ownerReferences"]]


def _missing(key: Key) -> web.Response:
    return _refused(404, f'{key[0]} "{key[2]}" not found')


def _refused(code: int, message: str) -> web.Response:
    status = {
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "message": message,
        "code": code,
    }
    return web.json_response(status, status=code)
