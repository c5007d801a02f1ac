"""Asking the API server, once at the start, what the operator's own account may do."""

import asyncio
import logging
from collections.abc import Sequence

from modelrelease_operator.api import names
from modelrelease_operator.core.own_rights import OwnRights, Right, judged, wanted
from modelrelease_operator.errors import Gone, Invalid, ReleaseError
from modelrelease_operator.runtime.kube import Kube

log = logging.getLogger("modelrelease.operator")
SERVED_AGAIN_SECONDS = 5.0


async def own_rights(kube: Kube, namespaces: Sequence[str]) -> OwnRights:
    """Return where the operator works, and log what it works without.

    Raises Invalid where it may read releases nowhere. Where nobody answers, nothing is lost: what
    cannot be read says so when it is.
    """
    rights = wanted(namespaces)
    try:
        answers = await asyncio.gather(*(_may(kube, right) for right in rights))
    except ReleaseError as problem:
        log.warning("what this operator may do could not be asked: %s", problem)
        return OwnRights(tuple(namespaces), scans=True, without=())
    found = judged(namespaces, {right for right, may in zip(rights, answers, strict=True) if may})
    for sentence in found.without:
        log.warning("this operator works with less: %s", sentence)
    if namespaces and not found.namespaces:
        msg = (
            f"this operator may not list and watch {names.PLURAL} in any of "
            f"{', '.join(namespaces)}: the chart makes a Role in each of watchNamespaces"
        )
        raise Invalid(msg)
    return found


async def kind_served(kube: Kube) -> None:
    """Wait until the cluster serves our kind: without a watch of kinds its coming is not told."""
    said = False
    while True:
        try:
            await kube.document(f"/apis/{names.API_VERSION}", f"API {names.API_VERSION}")
        except Gone:
            if not said:
                log.warning(
                    "the cluster serves no %s in %s yet: somebody who may has to apply "
                    "crds/modelreleases.yaml; waiting", names.PLURAL, names.API_VERSION,
                )  # fmt: skip
            said = True
        except ReleaseError as problem:
            log.warning("%s", problem)
        else:
            return
        await asyncio.sleep(SERVED_AGAIN_SECONDS)


async def _may(kube: Kube, right: Right) -> bool:
    return await kube.may(
        right.verb, right.resource, right.namespace, group=right.group, name=right.name
    )
