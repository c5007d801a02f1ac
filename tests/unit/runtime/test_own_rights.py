"""What the operator asks of its own account before it begins."""

import asyncio

import pytest

from modelrelease_operator.errors import Invalid
from modelrelease_operator.runtime import own_rights as module
from modelrelease_operator.runtime.kube import Kube
from modelrelease_operator.runtime.own_rights import kind_served, own_rights
from testbed.api_server import ApiServer
from testbed.operating import PATIENCE_SECONDS


async def test_an_account_with_roles_only_is_told_of_in_the_log(
    server: ApiServer, kube: Kube, caplog: pytest.LogCaptureFixture
):
    server.may_not = {"customresourcedefinitions", "namespaces", "gateways", "gatewayclasses"}
    found = await own_rights(kube, ("ml",))
    assert (found.namespaces, found.scans) == (("ml",), False)
    assert [f"this operator works with less: {each}" for each in found.without] == caplog.messages
    assert len(caplog.messages) == 3


async def test_the_whole_cluster_is_never_what_is_left_of_namespaces_that_are_closed(
    server: ApiServer, kube: Kube
):
    """No namespaces mean all of them."""
    server.may_not = {"namespaces", "ml/modelreleases", "web/modelreleases"}
    with pytest.raises(Invalid, match="may not list and watch modelreleases in any of ml, web"):
        await own_rights(kube, ("ml", "web"))
    server.may_not.remove("web/modelreleases")
    assert (await own_rights(kube, ("ml", "web"))).namespaces == ("web",)


async def test_where_nobody_answers_what_was_asked_for_is_tried(
    server: ApiServer, kube: Kube, caplog: pytest.LogCaptureFixture
):
    await server.stop()
    found = await own_rights(kube, ("ml",))
    assert (found.namespaces, found.scans, found.without) == (("ml",), True, ())
    assert "could not be asked" in caplog.text


async def test_a_kind_that_somebody_else_has_to_apply_is_waited_for(
    server: ApiServer, kube: Kube, caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
):  # fmt: skip
    monkeypatch.setattr(module, "SERVED_AGAIN_SECONDS", 0.01)
    server.absent.add("modelreleases")
    waiting = asyncio.create_task(kind_served(kube))
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not caplog.messages:  # noqa: ASYNC110 - a log tells nobody
            await asyncio.sleep(0.01)
    assert not waiting.done()
    assert "somebody who may has to apply crds/modelreleases.yaml" in caplog.text
    server.absent.remove("modelreleases")
    async with asyncio.timeout(PATIENCE_SECONDS):
        await waiting
