"""What we ask of the API server, with its errors mapped to ours.

Every write of an object is a server-side apply with one field manager: the same call creates,
changes and repairs. It names the uid that was read wherever there was one, so that it never lands
on a namesake made meanwhile. Nothing outside this module knows which client library is used.

The official client gives the connection, the TLS and the tokens. Its models and its dynamic client
are left out: they turn every answer into objects and back, which took more of a pass than the
decision.
"""

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from http import HTTPStatus
from math import inf
from types import TracebackType
from typing import Any
from urllib.parse import quote, urlencode
from urllib.request import getproxies

import aiohttp
from kubernetes.aio import client as kube_client
from kubernetes.aio import config as kube_config
from pydantic_core import from_json

from modelrelease_operator.api import names
from modelrelease_operator.errors import Conflict, Gone, Invalid, Unavailable
from modelrelease_operator.runtime.kubeconfig import reading_kubeconfig
from modelrelease_operator.runtime.namespaced_name import NamespacedName
from modelrelease_operator.traffic.claims import Conflict as RoutingConflict
from modelrelease_operator.traffic.inference_pools import INFERENCE_POOL
from modelrelease_operator.traffic.provider import Edit

Object = dict[str, Any]
Objects = list[Object]

RESOURCES = {
    "ModelRelease": (names.API_VERSION, names.PLURAL),
    "Deployment": ("apps/v1", "deployments"),
    "Job": ("batch/v1", "jobs"),
    "Service": ("v1", "services"),
    "Pod": ("v1", "pods"),
    "Event": ("v1", "events"),
    "Secret": ("v1", "secrets"),
    "Lease": ("coordination.k8s.io/v1", "leases"),
    "PodDisruptionBudget": ("policy/v1", "poddisruptionbudgets"),
    "HorizontalPodAutoscaler": ("autoscaling/v2", "horizontalpodautoscalers"),
    "HTTPRoute": ("gateway.networking.k8s.io/v1", "httproutes"),
    INFERENCE_POOL: ("inference.networking.k8s.io/v1", "inferencepools"),
    "Gateway": ("gateway.networking.k8s.io/v1", "gateways"),
    "CustomResourceDefinition": ("apiextensions.k8s.io/v1", "customresourcedefinitions"),
    "GatewayClass": ("gateway.networking.k8s.io/v1", "gatewayclasses"),
    "ValidatingAdmissionPolicy": ("admissionregistration.k8s.io/v1", "validatingadmissionpolicies"),
    "ValidatingAdmissionPolicyBinding": (
        "admissionregistration.k8s.io/v1", "validatingadmissionpolicybindings",
    ),
}  # fmt: skip

TIMEOUT_SECONDS = 15.0
MOST_AT_ONCE = 16
"""Requests under way together, watches apart: a thousand releases ask as politely as one."""
PAGE = 500
"""Objects in one answer to a list."""
QUIET_WATCH_SECONDS = 90
"""A watch is bookmarked about once a minute; one that is silent for longer is dead."""
WATCH_SECONDS = 300
"""After which the API server ends a watch, and the next begins where it ended."""

PROOF_SECONDS = 10.0
"""For which a token is used before it is looked up again."""

APPLY, MERGE, JSON, JSON_PATCH = (
    "application/apply-patch+yaml",
    "application/merge-patch+json",
    "application/json",
    "application/json-patch+json",
)
REFUSED = (
    HTTPStatus.BAD_REQUEST, HTTPStatus.FORBIDDEN, HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HTTPStatus.UNPROCESSABLE_ENTITY,
)  # fmt: skip
ANOTHER_OBJECT = "metadata.uid: Invalid value"
"""What the API server says, with 422, of an apply to another object than was read."""
OTHER_UID = "UID in"
"""What the API server says, with 409, of a deletion of another object than was read."""
REFUSED_AS_500 = (
    "failed to create typed patch object",
    "failed to convert new object",
    "convert new object",
    "request is too large",
)
"""What the API server says with status 500 of input that can never work: that an applied object
does not fit its schema (structured-merge-diff), and that it is too large (etcd)."""


class Kube:
    """A client of the API server for the kinds of objects that a release is made of."""

    def __init__(self, api: Any) -> None:
        self.api = api
        self._turn = asyncio.Semaphore(MOST_AT_ONCE)
        self._proven: tuple[float, dict[str, str]] = (float("-inf"), {})
        self.write_seconds: Callable[[], float] = lambda: inf
        """Within which a write must be over, 0 where none may be made: asked before every one but
        those of the Lease itself.
        """

    @classmethod
    async def connect(cls) -> "Kube":
        """Connect as the pod's service account, or by the user's kubeconfig outside a cluster.

        Raises Invalid where there is neither.
        """
        settings = kube_client.Configuration()
        try:
            kube_config.load_incluster_config(client_configuration=settings)  # type: ignore[no-untyped-call]
        except kube_config.ConfigException:
            with reading_kubeconfig():
                await kube_config.load_kube_config(client_configuration=settings)  # type: ignore[no-untyped-call]
        settings.connection_pool_maxsize = 0  # No limit: watches hold theirs, requests take turns.
        # Trusting the environment has aiohttp look for a netrc file, in a thread, at every request.
        settings.client_session_kwargs = {"trust_env": bool(getproxies())}
        return cls(kube_client.ApiClient(settings))

    async def close(self) -> None:
        """Close the connections."""
        await self.api.close()

    async def get(self, kind: str, namespace: str, name: str) -> Object:
        """Return an object; raise Gone when there is none."""
        return await self._ask(
            "GET", _path(kind, namespace, name), what=f"{kind} {namespace}/{name}"
        )

    async def known(self, kind: str, namespace: str, name: str) -> Object | None:
        """Return an object, or None when there is none."""
        try:
            return await self.get(kind, namespace, name)
        except Gone:
            return None

    async def routing_conflict(self, key: NamespacedName) -> RoutingConflict | None:  # noqa: ARG002 - for who knows
        """Return why a release may not have its requests; None as far as one client can tell."""
        return None

    async def list(self, kind: str, namespace: str, labels: Mapping[str, str]) -> Objects:
        """Return the objects that carry all the labels."""
        selector = ",".join(f"{key}={value}" for key, value in labels.items())
        return (await self.list_all(kind, namespace, selector))[0]

    async def list_all(
        self, kind: str, namespace: str | None, selector: str
    ) -> tuple[Objects, str]:
        """Return a namespace's selected objects (None: of all), and the list's version."""
        path, what = _path(kind, namespace), f"{kind} list in {namespace or 'all namespaces'}"
        query = {"limit": str(PAGE), **({"labelSelector": selector} if selector else {})}
        items: Objects = []
        while True:
            listed = await self._ask("GET", path, query=query, what=what)
            items += listed.get("items") or []
            version = listed.get("metadata", {}).get("resourceVersion", "")
            if not (token := listed.get("metadata", {}).get("continue")):
                return items, version
            query["continue"] = token

    async def watch(
        self, kind: str, namespace: str | None, selector: str, since: str
    ) -> AsyncIterator[tuple[str, Object]]:
        """Yield what happens to the objects that a selector takes, until the watch ends.

        Raises Unavailable when it breaks off, says an error, or is silent for longer than bookmarks
        are.
        """
        what = f"watch of {kind} in {namespace or 'all namespaces'}"
        query = {
            "watch": "true", "allowWatchBookmarks": "true", "resourceVersion": since,
            "timeoutSeconds": str(WATCH_SECONDS),
            **({"labelSelector": selector} if selector else {}),
        }  # fmt: skip
        path = _path(kind, namespace)
        async with _ErrorsOf(what), self._open("GET", path, query, None, JSON, None) as answer:
            await _raise_refusal(answer, what)
            lines = answer.content
            while True:
                async with asyncio.timeout(QUIET_WATCH_SECONDS):
                    line = await lines.readline()
                if not line:
                    return
                event = from_json(line)
                if event["type"] == "ERROR":
                    raise _problem(event["object"].get("code", 500), event["object"], what)
                yield event["type"], event["object"]

    async def apply(self, obj: Object, *, dry_run: bool = False) -> Object:
        """Create or change an object so that every field given is as given.

        With a uid in its metadata it changes that object and no other: raises Conflict if it is
        gone.
        """
        meta, kind = obj["metadata"], obj["kind"]
        query = {
            "fieldManager": names.FIELD_MANAGER,
            "force": "true",
            **({"dryRun": "All"} if dry_run else {}),
        }
        what = f"{kind} {meta['namespace']}/{meta['name']}"
        path = _path(kind, meta["namespace"], meta["name"])
        return await self._ask("PATCH", path, query=query, body=obj, content=APPLY, what=what)

    def stands(self, obj: Object) -> bool:  # noqa: ARG002 - for who knows
        """Return whether an object is known to be as it is asked to be. Nobody knows it here."""
        return False

    def found_standing(self, obj: Object) -> None:
        """Take in that an object was applied, and that this changed nothing."""

    async def adopt(self, obj: Object, owner: Object) -> Object:
        """Make one owner the only one of an object as it was read, not as it was changed since."""
        meta, kind = obj["metadata"], obj["kind"]
        read = {key: meta[key] for key in ("uid", "resourceVersion")}
        body = {"metadata": {**read, "ownerReferences": [owner]}}
        what = f"{kind} {meta['namespace']}/{meta['name']}"
        path = _path(kind, meta["namespace"], meta["name"])
        query = {"fieldManager": names.FIELD_MANAGER}
        return await self._ask("PATCH", path, query=query, body=body, content=MERGE, what=what)

    async def edit(self, live: Object, edits: Sequence[Edit]) -> Object:
        """Change single fields of an object of somebody else, if it is as its tests expect.

        Raises Invalid where a test fails, or where the API server refuses the change.
        """
        meta, kind = live["metadata"], live["kind"]
        what = f"{kind} {meta['namespace']}/{meta['name']}"
        path = _path(kind, meta["namespace"], meta["name"])
        query = {"fieldManager": names.FIELD_MANAGER}
        return await self._ask(
            "PATCH", path, query=query, body=list(edits), content=JSON_PATCH, what=what
        )

    async def borrowed(self, kind: str, namespace: str, name: str) -> Object | None:
        """Return an object of somebody else, or None when there is none."""
        return await self.known(kind, namespace, name)

    async def apply_status(self, release: Object, status: Object) -> Object:
        """Replace a release's status as it was read; raise Conflict on a newer one or a namesake's.

        By the version: the API server takes no notice of a uid in what is applied to a status.
        """
        meta = release["metadata"]
        namespace, name = meta["namespace"], meta["name"]
        body = {
            "apiVersion": names.API_VERSION,
            "kind": names.KIND,
            "metadata": {
                "name": name,
                "namespace": namespace,
                "resourceVersion": meta["resourceVersion"],
            },
            "status": status,
        }
        return await self._ask(
            "PATCH", _path(names.KIND, namespace, name) + "/status", body=body, content=APPLY,
            query={"fieldManager": names.FIELD_MANAGER, "force": "true"},
            what=f"status of {names.KIND} {namespace}/{name}",
        )  # fmt: skip

    async def delete(self, kind: str, namespace: str, name: str, *, uid: str) -> None:
        """Delete an object and what it owns; one that is gone, or another by now, is fine.

        Raises Conflict where it is still there: writes that came together are refused, too.
        """
        body = {
            "apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background",
            "preconditions": {"uid": uid},
        }  # fmt: skip
        path, what = _path(kind, namespace, name), f"{kind} {namespace}/{name}"
        try:
            await self._ask("DELETE", path, body=body, what=what)
        except Gone:
            return
        except Conflict as problem:
            if OTHER_UID not in str(problem):
                raise

    async def create(self, obj: Object) -> Object:
        """Create an object; raise Conflict when there is one of its name."""
        meta, kind = obj["metadata"], obj["kind"]
        query = {"fieldManager": names.FIELD_MANAGER}
        what = f"{kind} {meta['namespace']}/{meta['name']}"
        return await self._ask(
            "POST", _path(kind, meta["namespace"]), query=query, body=obj, what=what
        )

    async def replace(self, obj: Object) -> Object:
        """Replace an object as it was read; raise Conflict when it has changed since."""
        meta, kind = obj["metadata"], obj["kind"]
        query = {"fieldManager": names.FIELD_MANAGER}
        what, path = (
            f"{kind} {meta['namespace']}/{meta['name']}",
            _path(kind, meta["namespace"], meta["name"]),
        )
        return await self._ask("PUT", path, query=query, body=obj, what=what)

    async def document(self, path: str, what: str) -> Object:
        """Return what the API server says of itself at a path, such as `/version`."""
        return await self._ask("GET", path, what=what)

    async def may(
        self, verb: str, resource: str, namespace: str | None, *, group: str = names.GROUP,
        name: str = "",
    ) -> bool:  # fmt: skip
        """Return whether whoever asks may do something with a resource; None: in all namespaces.

        `name` is of a single object; none of them for any.
        """
        attributes = {"group": group, "resource": resource, "verb": verb, "name": name}
        if namespace:
            attributes["namespace"] = namespace
        review = {
            "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": attributes},
        }  # fmt: skip
        answer = await self._ask(
            "POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", body=review,
            what=f"whether you may {verb} {resource}",
        )  # fmt: skip
        return bool((answer.get("status") or {}).get("allowed"))

    async def whose(self, token: str) -> Object | None:
        """Return the user (username, groups, uid, extra) of a bearer token; None for nobody's."""
        review = {
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview",
            "spec": {"token": token},
        }  # fmt: skip
        answer = await self._ask(
            "POST", "/apis/authentication.k8s.io/v1/tokenreviews", body=review,
            what="whose a token is",
        )  # fmt: skip
        status = answer.get("status") or {}
        user: Object = status.get("user") or {}
        return user if status.get("authenticated") is True and user.get("username") else None

    async def may_get(self, user: Object, path: str) -> bool:
        """Return whether a user may get a path that is no resource, such as `/metrics`."""
        who = {key: user[key] for key in ("groups", "uid", "extra") if user.get(key)}
        asked = {"nonResourceAttributes": {"path": path, "verb": "get"}}
        review = {
            "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
            "spec": {"user": user["username"], **who, **asked},
        }  # fmt: skip
        answer = await self._ask(
            "POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", body=review,
            what=f"whether {user['username']} may get {path}",
        )  # fmt: skip
        return (answer.get("status") or {}).get("allowed") is True

    async def event(self, about: Object, reason: str, message: str, *, warning: bool) -> None:
        """Record an Event about an object."""
        meta = about["metadata"]
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        # An Event's name is a DNS subdomain, of at most 253 characters.
        name = f"{meta['name'][:230].rstrip('.-')}.{uuid.uuid4().hex[:16]}"
        body = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": name, "namespace": meta["namespace"]},
            "involvedObject": {
                "apiVersion": names.API_VERSION, "kind": names.KIND, "name": meta["name"],
                "namespace": meta["namespace"], "uid": meta["uid"],
            },
            "reason": reason,
            "message": message[:1024],
            "type": "Warning" if warning else "Normal",
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
            "source": {"component": names.FIELD_MANAGER},
            "reportingComponent": names.FIELD_MANAGER,
        }  # fmt: skip
        await self._ask(
            "POST", _path("Event", meta["namespace"]), body=body, what=f"Event {reason}"
        )

    async def _ask(
        self, method: str, path: str, *, what: str, query: Mapping[str, str] | None = None,
        body: Object | Sequence[Edit] | None = None, content: str = JSON,
    ) -> Object:  # fmt: skip
        """Ask once, when it is this request's turn; return the answer's object."""
        limit = asyncio.timeout(TIMEOUT_SECONDS + 1)
        async with self._turn, _ErrorsOf(what), limit:
            # Looked up now: nothing is waited for between the look at the Lease and a write.
            await self._proof()
            seconds = TIMEOUT_SECONDS if method == "GET" else self._seconds_to_write(what)
            async with self._open(method, path, query, body, content, seconds) as answer:
                await _raise_refusal(answer, what)
                return await self._read(answer)

    async def _read(self, answer: aiohttp.ClientResponse) -> Object:
        """Return the object that an answer tells of."""
        obj: Object = from_json(await answer.read())
        return obj

    def _seconds_to_write(self, what: str) -> float:
        """Return what a write may take; raise Unavailable where another may write by now."""
        seconds = min(TIMEOUT_SECONDS, self.write_seconds())
        if seconds <= 0:
            msg = f"{what}: not written, because another operator may act by now"
            raise Unavailable(msg)
        return seconds

    async def _proof(self) -> dict[str, str]:
        """Return the headers that prove who asks, looked up now and then, as tokens are rotated."""
        until, headers = self._proven
        if time.monotonic() > until:
            headers = {}
            await self.api.update_params_for_auth(headers, [], ["BearerToken"], "", "", None)
            self._proven = (time.monotonic() + PROOF_SECONDS, headers)
        return headers

    @asynccontextmanager
    async def _open(
        self, method: str, path: str, query: Mapping[str, str] | None,
        body: Object | Sequence[Edit] | None, content: str, seconds: float | None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:  # fmt: skip
        settings = self.api.configuration
        proof = await self._proof()
        headers = {
            "Accept": JSON,
            "Content-Type": content,
            "User-Agent": names.FIELD_MANAGER,
            **proof,
        }
        url = f"{settings.host}{path}"
        if query:
            url = f"{url}?{urlencode(query)}"
        limit = aiohttp.ClientTimeout(total=seconds, sock_connect=TIMEOUT_SECONDS)
        answer = await self.api.rest_client.request(
            method, url, headers=headers, body=body, _request_timeout=limit
        )
        response: aiohttp.ClientResponse = answer.response
        try:
            yield response
        finally:
            if response.content.at_eof():
                response.release()
            else:
                # Not read to its end (a watch): its connection goes back to no pool.
                response.close()


def _path(kind: str, namespace: str | None, name: str = "") -> str:
    version, plural = RESOURCES[kind]
    root = f"/apis/{version}" if "/" in version else f"/api/{version}"
    space = f"/namespaces/{quote(namespace, safe='')}" if namespace else ""
    item = f"/{quote(name, safe='')}" if name else ""
    return f"{root}{space}/{plural}{item}"


async def _raise_refusal(answer: aiohttp.ClientResponse, what: str) -> None:
    if answer.status < HTTPStatus.BAD_REQUEST:
        return
    raw = await answer.text(errors="replace")
    try:
        reply = json.loads(raw)
    except ValueError:
        reply = None
    raise _problem(
        answer.status, reply if isinstance(reply, dict) else {"message": raw[:500]}, what
    )


def _problem(code: int, answer: Object, what: str) -> Exception:
    """Return our error for a Status: the server's sentence, without the JSON around it."""
    message = str(answer.get("message") or answer.get("reason") or "no more is said").strip()
    text = f"{what}: the API server answered {code}: {message}"
    if code == HTTPStatus.NOT_FOUND:
        return Gone(
            f"{what} does not exist ({message})"
            if "namespaces" in message
            else f"{what} does not exist"
        )
    if code == HTTPStatus.CONFLICT or ANOTHER_OBJECT in message:
        return Conflict(text)
    refused = code == HTTPStatus.INTERNAL_SERVER_ERROR and any(
        part in message for part in REFUSED_AS_500
    )
    return Invalid(text) if code in REFUSED or refused else Unavailable(text)


class _ErrorsOf:
    """Turns the client's errors into ours, each naming the object.

    A class, because a context manager made of a generator takes three times as long, and each
    request has one.
    """

    __slots__ = ("_what",)

    def __init__(self, what: str) -> None:
        self._what = what

    async def __aenter__(self) -> None:
        """There is nothing to open."""

    async def __aexit__(
        self, kind: object, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(problem, kube_client.ApiException):
            answer = {"message": str(problem.reason)}
            raise _problem(problem.status or 0, answer, self._what) from problem
        if isinstance(problem, TimeoutError | aiohttp.ClientError | OSError | ValueError):
            why = problem or type(problem).__name__
            msg = f"{self._what}: the API server does not answer: {why}"
            raise Unavailable(msg) from problem


async def guarded(call: Awaitable[Any], what: str) -> Object:
    """Wait for an answer; turn the client's errors into ours, each naming the object."""
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS + 1):
            answer = await call
    except kube_client.ApiException as problem:
        try:
            reply = json.loads(problem.body or "")
        except (TypeError, ValueError):
            reply = None
        if not isinstance(reply, dict):
            reply = {"message": str(problem.body or problem.reason)[:500]}
        raise _problem(problem.status or 0, reply, what) from problem
    except (TimeoutError, aiohttp.ClientError, OSError) as problem:
        msg = f"{what}: the API server does not answer: {problem or type(problem).__name__}"
        raise Unavailable(msg) from problem
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        msg = f"{what}: what answers is no API server: is there a proxy or a login page before it?"
        raise Unavailable(msg)
    return answer
