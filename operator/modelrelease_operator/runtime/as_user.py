"""ModelReleases as a person may read and change them: by their own kubeconfig, with their rights.

One request for each question and no discovery: this must work for a person who may do nothing else.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from kubernetes.aio import client as kube_client
from kubernetes.aio import config as kube_config

from modelrelease_operator.api import names
from modelrelease_operator.errors import Gone, Invalid, Unavailable
from modelrelease_operator.runtime.kube import TIMEOUT_SECONDS, Kube, Object, Objects, guarded
from modelrelease_operator.runtime.kubeconfig import reading_kubeconfig

FIELD_MANAGER: Final = "modelrelease"
"""Who wrote a command, as `status.commands` has it. Which user it was is in the audit log."""
PAGE: Final = 500
"""Releases that are read in one answer."""
_KIND: Final = (names.GROUP, names.VERSION)


@dataclass(frozen=True, slots=True, kw_only=True)
class AsUser:
    """The releases of one cluster, as one person may see them."""

    api: kube_client.CustomObjectsApi
    namespace: str
    """The one that was named, or else that of the kubeconfig's context."""

    @property
    def kube(self) -> Kube:
        """Return a client for objects beside releases, with the same person's rights."""
        return Kube(self.api.api_client)

    async def read(self, name: str) -> Object:
        """Return a release; raises Invalid with what to do where there is none."""
        if not name:
            # It would be asked for as the list of all.
            msg = f"a {names.KIND} has a name: `modelrelease status -A` lists those that there are"
            raise Invalid(msg)
        call = self.api.get_namespaced_custom_object(
            *_KIND, self.namespace, names.PLURAL, name, _request_timeout=TIMEOUT_SECONDS
        )
        return await self._one(call, name)

    async def patch(self, name: str, patch: dict[str, Any]) -> Object:
        """Merge a patch into a release and return it."""
        call = self.api.patch_namespaced_custom_object(
            *_KIND, self.namespace, names.PLURAL, name, patch,
            field_manager=FIELD_MANAGER,
            _content_type="application/merge-patch+json",
            _request_timeout=TIMEOUT_SECONDS,
        )  # fmt: skip
        return await self._one(call, name)

    async def _one(self, call: Awaitable[Any], name: str) -> Object:
        try:
            return await guarded(call, f"{names.KIND} {self.namespace}/{name}")
        except Gone as problem:
            _require_kind(problem)
            msg = f"{problem}; `modelrelease status -A` lists those that do"
            raise Invalid(msg) from problem

    async def releases(self, *, everywhere: bool) -> Objects:
        """Return the releases of the namespace, or of all namespaces."""
        found: Objects = []
        following: str | None = ""
        while following is not None:
            try:
                page = await self._page(following, everywhere=everywhere)
            except Unavailable as problem:
                if not following or getattr(problem.__cause__, "status", 0) != HTTPStatus.GONE:
                    raise
                # The place in the list has expired. All at once, as kubectl does: it has no place.
                found, page = [], await self._page("", everywhere=everywhere, most=None)
            found += page["items"]
            following = page["metadata"].get("continue") or None
        return found

    async def _page(self, following: str, *, everywhere: bool, most: int | None = PAGE) -> Object:
        where: dict[str, Any] = {"_request_timeout": TIMEOUT_SECONDS}
        if most:
            where["limit"] = most
        if following:
            where["_continue"] = following
        if everywhere:
            call = self.api.list_cluster_custom_object(*_KIND, names.PLURAL, **where)
            what = f"{names.KIND}s of all namespaces"
        else:
            call = self.api.list_namespaced_custom_object(
                *_KIND, self.namespace, names.PLURAL, **where
            )
            what = f"{names.KIND}s of namespace {self.namespace}"
        try:
            return await guarded(call, what)
        except Gone as problem:
            _require_kind(problem)
            raise


def _require_kind(problem: Gone) -> None:
    """Raise Invalid where it is the kind that the cluster does not know.

    A server that knows it answers with a Status object, one that does not with plain text.
    """
    if "page not found" in str(getattr(problem.__cause__, "body", "")):
        msg = (
            f"the cluster knows no {names.KIND}: install the chart there, or name another --context"
        )
        raise Invalid(msg) from problem


@asynccontextmanager
async def as_user(namespace: str | None, context: str | None) -> AsyncIterator[AsUser]:
    """Open the cluster of a context of the user's kubeconfig; by default the current one's."""
    with reading_kubeconfig():
        contexts, current = kube_config.list_kube_config_contexts()  # type: ignore[no-untyped-call]
        named = (entry for entry in contexts if entry["name"] == context)
        chosen = next(named, None) if context else current
        settings = kube_client.Configuration()
        loader = await kube_config.load_kube_config(context=context, client_configuration=settings)  # type: ignore[no-untyped-call]
        client = kube_client.ApiClient(settings)
        usual = (chosen or {}).get("context", {}).get("namespace") or "default"
    # Tokens of a plugin end after minutes, and a release is watched for longer.
    fresh = asyncio.create_task(kube_config.refresh_token(loader, settings))  # type: ignore[no-untyped-call]
    try:
        async with client as api:
            yield AsUser(api=kube_client.CustomObjectsApi(api), namespace=namespace or usual)
    finally:
        fresh.cancel()
        await asyncio.gather(fresh, return_exceptions=True)
