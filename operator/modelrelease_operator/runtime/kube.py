"""The six things that we ask of the API server, with its errors mapped to ours.

Every write is a server-side apply with one field manager: the same call creates, changes and
repairs. Nothing outside this module knows which client library is used.
"""

import asyncio
import uuid
from collections.abc import Awaitable
from datetime import UTC, datetime
from typing import Any

import aiohttp
from kubernetes.aio import client as kube_client
from kubernetes.aio import config as kube_config
from kubernetes.aio.dynamic import DynamicClient

from modelrelease_operator.api import names
from modelrelease_operator.errors import Gone, Invalid, Unavailable

Object = dict[str, Any]

RESOURCES = {
    "ModelRelease": names.API_VERSION,
    "Deployment": "apps/v1",
    "Job": "batch/v1",
    "Service": "v1",
    "Pod": "v1",
    "Event": "v1",
    "Secret": "v1",
}

TIMEOUT_SECONDS = 15


class Kube:
    """A client of the API server for the kinds of objects that a release is made of."""

    def __init__(self, dynamic: Any, api: Any) -> None:
        self._dynamic = dynamic
        self._api = api
        self._resources: dict[str, Any] = {}

    @classmethod
    async def connect(cls) -> "Kube":
        """Connect as the pod's service account, or by the user's kubeconfig outside a cluster."""
        try:
            kube_config.load_incluster_config()  # type: ignore[no-untyped-call]
        except kube_config.ConfigException:
            await kube_config.load_kube_config()  # type: ignore[no-untyped-call]
        api = kube_client.ApiClient()
        return cls(await DynamicClient(api), api)  # type: ignore[no-untyped-call]

    async def close(self) -> None:
        """Close the connections."""
        await self._api.close()

    async def get(self, kind: str, namespace: str, name: str) -> Object:
        """Return an object; raise Gone when there is none."""
        resource = await self._resource(kind)
        return await self._call(
            self._dynamic.get(resource, name=name, namespace=namespace), f"{kind} {namespace}/{name}"
        )

    async def list(self, kind: str, namespace: str, labels: dict[str, str]) -> list[Object]:
        """Return the objects that carry all the labels."""
        resource = await self._resource(kind)
        selector = ",".join(f"{key}={value}" for key, value in labels.items())
        found = await self._call(
            self._dynamic.get(resource, namespace=namespace, label_selector=selector),
            f"{kind} list in {namespace}",
        )
        items: list[Object] = found.get("items", [])
        return items

    async def apply(self, obj: Object) -> Object:
        """Create or change an object so that every field given is as given."""
        meta, kind = obj["metadata"], obj["kind"]
        resource = await self._resource(kind)
        call = self._dynamic.server_side_apply(
            resource, body=obj, name=meta["name"], namespace=meta["namespace"],
            field_manager=names.FIELD_MANAGER, force_conflicts=True, _request_timeout=TIMEOUT_SECONDS,
        )  # fmt: skip
        return await self._call(call, f"{kind} {meta['namespace']}/{meta['name']}")

    async def apply_status(self, namespace: str, name: str, status: Object) -> Object:
        """Replace the status of a release, as far as it is ours."""
        resource = await self._resource(names.KIND)
        body = {
            "apiVersion": names.API_VERSION,
            "kind": names.KIND,
            "metadata": {"name": name, "namespace": namespace},
            "status": status,
        }
        path = resource.path(name=name, namespace=namespace) + "/status"
        call = self._dynamic.request(
            "patch", path, body=body, content_type="application/apply-patch+yaml",
            field_manager=names.FIELD_MANAGER, force_conflicts=True, _request_timeout=TIMEOUT_SECONDS,
        )  # fmt: skip
        return await self._call(call, f"status of {names.KIND} {namespace}/{name}")

    async def delete(self, kind: str, namespace: str, name: str) -> None:
        """Delete an object and what it owns; one that is gone already is fine."""
        resource = await self._resource(kind)
        call = self._dynamic.delete(
            resource, name=name, namespace=namespace, propagation_policy="Background",
            _request_timeout=TIMEOUT_SECONDS,
        )  # fmt: skip
        try:
            await self._call(call, f"{kind} {namespace}/{name}")
        except Gone:
            return

    async def event(self, about: Object, reason: str, message: str, *, warning: bool) -> None:
        """Record an Event about an object."""
        meta = about["metadata"]
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        body = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": f"{meta['name']}.{uuid.uuid4().hex[:16]}", "namespace": meta["namespace"]},
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
        resource = await self._resource("Event")
        await self._call(
            self._dynamic.create(resource, body=body, namespace=meta["namespace"]), f"Event {reason}"
        )

    async def _resource(self, kind: str) -> Any:
        if kind not in self._resources:
            found = self._dynamic.resources.get(api_version=RESOURCES[kind], kind=kind)
            self._resources[kind] = await _guard(found, f"API of kind {kind}")
        return self._resources[kind]

    async def _call(self, call: Awaitable[Any], what: str) -> Object:
        answer = await _guard(call, what)
        result: Object = answer.to_dict() if hasattr(answer, "to_dict") else dict(answer)
        return result


async def read_as_user(kind: str, name: str, namespace: str | None, context: str | None) -> Object:
    """Read one object by the user's kubeconfig: of that context, and of its namespace when none is given.

    One request, no discovery: this must work for a person who may read nothing else.
    """
    try:
        contexts, current = kube_config.list_kube_config_contexts()  # type: ignore[no-untyped-call]
        chosen = next((it for it in contexts if it["name"] == context), None) if context else current
        settings = kube_client.Configuration()
        await kube_config.load_kube_config(context=context, client_configuration=settings)  # type: ignore[no-untyped-call]
    except kube_config.ConfigException as problem:
        msg = f"the kubeconfig cannot be used: {problem}; set KUBECONFIG, or name a context that it has"
        raise Invalid(msg) from problem
    namespace = namespace or (chosen or {}).get("context", {}).get("namespace") or "default"
    async with kube_client.ApiClient(settings) as api:
        call = kube_client.CustomObjectsApi(api).get_namespaced_custom_object(
            names.GROUP, names.VERSION, namespace, names.PLURAL, name, _request_timeout=TIMEOUT_SECONDS
        )
        try:
            found: Object = await _guard(call, f"{kind} {namespace}/{name}")
        except Gone as problem:
            # A server that knows the kind answers with a Status object, one that does not with plain text.
            if "page not found" in str(getattr(problem.__cause__, "body", "")):
                msg = f"the cluster knows no {kind}: install the chart there, or name another --context"
                raise Invalid(msg) from problem
            raise
    return found


async def _guard(call: Awaitable[Any], what: str) -> Any:
    """Wait for an answer; turn the client's errors into ours, each naming the object."""
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS + 1):
            return await call
    except kube_client.ApiException as problem:
        if problem.status == 404:
            msg = f"{what} does not exist"
            raise Gone(msg) from problem
        said = f"{what}: the API server answered {problem.status} {problem.reason}: {problem.body}"
        if problem.status in (400, 403, 422):
            raise Invalid(said) from problem
        raise Unavailable(said) from problem
    except (TimeoutError, aiohttp.ClientError, OSError) as problem:
        msg = f"{what}: the API server does not answer: {problem or type(problem).__name__}"
        raise Unavailable(msg) from problem
