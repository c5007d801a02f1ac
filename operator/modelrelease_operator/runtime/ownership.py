"""Whose an object is: its owner's uid is looked at before anything is written or deleted.

Three kinds of objects are a release's own: those that name its uid, those of an earlier release of
the same name (which cannot exist any more: a backup was restored), and those that nobody owns but
that carry both of our labels (their owner reference was lost, by `kubectl replace` or by a deletion
that orphaned them). The second and the third are adopted, because what serves must go on serving.
Everything else is somebody else's.
"""

from typing import Any

from modelrelease_operator.api import names
from modelrelease_operator.errors import Gone, Invalid
from modelrelease_operator.manifests import Owner, reference_to
from modelrelease_operator.runtime.kube import Kube, Object


def owner_of(release: Object) -> Owner:
    """Return a release as the owner of its objects."""
    meta = release["metadata"]
    return Owner(namespace=meta["namespace"], name=meta["name"], uid=meta["uid"])


def is_owned(obj: Object, owner: Owner) -> bool:
    """Return whether an object names the release, by uid, as its owner."""
    return any(
        reference.get("uid") == owner.uid
        for reference in obj["metadata"].get("ownerReferences") or ()
    )


def is_orphan_of(obj: Object, owner: Owner) -> bool:
    """Return whether an object was the release's or an earlier namesake's, without living owner."""
    owners = obj["metadata"].get("ownerReferences") or ()
    if owners:
        return all(_is_namesake(owner_reference, owner) for owner_reference in owners)
    labels = obj["metadata"].get("labels") or {}
    return bool(
        labels.get(names.LABEL_RELEASE) == owner.name
        and labels.get(names.LABEL_MANAGED_BY) == names.MANAGED_BY
    )


def is_ours(obj: Object, owner: Owner) -> bool:
    """Return whether an object is the release's, also one whose owner reference was lost."""
    return is_owned(obj, owner) or is_orphan_of(obj, owner)


async def read_ours(kube: Kube, owner: Owner, kind: str, name: str) -> Object | None:
    """Return an object that the release may write, or None when there is none of its name.

    Raises Invalid, naming both, when it is somebody else's.
    """
    try:
        live = await kube.get(kind, owner.namespace, name)
    except Gone:
        return None
    return checked(live, owner, kind)


def checked(live: Object, owner: Owner, kind: str) -> Object:
    """Return an object that the release may write; raise Invalid where it is somebody else's."""
    if is_ours(live, owner):
        return live
    raise Invalid(_refusal(live, owner, kind, live["metadata"]["name"]))


async def apply_ours(kube: Kube, owner: Owner, obj: Object, *, absent: bool = False) -> bool:
    """Apply an object of the release, to what was looked at and to nothing that came meanwhile.

    `absent`: it was just looked for and nobody has the name. Return whether anything was changed.
    """
    if kube.stands(obj):
        return False
    kind, name = obj["kind"], obj["metadata"]["name"]
    live = None if absent else await read_ours(kube, owner, kind, name)
    if live is None:
        await kube.apply(obj)
        return True
    if live["metadata"].get("ownerReferences") and not is_owned(live, owner):
        # Two controllers would be refused, and the old reference may be another manager's.
        live = await kube.adopt({**live, "kind": kind}, reference_to(owner))
    after = await kube.apply(
        {**obj, "metadata": {**obj["metadata"], "uid": live["metadata"]["uid"]}}
    )
    versions = [state["metadata"].get("resourceVersion") for state in (live, after)]
    if versions[0] != versions[1] or None in versions:
        return True
    kube.found_standing(obj)
    return False


async def delete_ours(kube: Kube, owner: Owner, kind: str, name: str, uid: str) -> bool:
    """Delete an object that was read as the release's own, if it is still the same."""
    await kube.delete(kind, owner.namespace, name, uid=uid)
    return True


def _is_namesake(reference: dict[str, Any], owner: Owner) -> bool:
    group = str(reference.get("apiVersion", "")).split("/")[0]
    return (group, reference.get("kind"), reference.get("name")) == (
        names.GROUP,
        names.KIND,
        owner.name,
    )


def _refusal(live: Object, owner: Owner, kind: str, name: str) -> str:
    where = f"{kind} {owner.namespace}/{name}"
    other = next(
        (
            reference.get("name")
            for reference in live["metadata"].get("ownerReferences") or ()
            if reference.get("kind") == names.KIND
            and str(reference.get("apiVersion", "")).startswith(names.GROUP)
        ),
        None,
    )
    if other:
        return (
            f"{where} exists and belongs to {names.KIND} {other}, and {names.KIND} {owner.name} "
            f"would need the same name: rename the release {owner.name} or {other}"
        )
    return (
        f"{where} exists and belongs to somebody else, and {names.KIND} {owner.name} would need "
        f"that name: rename the release, or delete the {kind} to let the release make its own"
    )
