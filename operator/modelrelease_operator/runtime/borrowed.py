"""Writing single fields of what others own: the weights in a route that a release only names."""

from collections.abc import Callable, Sequence

from modelrelease_operator.api import names
from modelrelease_operator.errors import Conflict, Gone, Invalid, ReleaseError
from modelrelease_operator.runtime.kube import Kube, Object
from modelrelease_operator.traffic.provider import Edit, ObjectKey

TRIES = 3
"""While others write the object, too: each try begins with what is there by then."""

Edits = Callable[[Object], Sequence[Edit]]


async def edit_borrowed(kube: Kube, namespace: str, key: ObjectKey, edits: Edits) -> Object | None:
    """Make an object of others as `edits` wants it; return it if anything was changed.

    An object that is gone is none of ours to make.
    """
    refusal: ReleaseError | None = None
    for _ in range(TRIES):
        try:
            live = await kube.borrowed(key[0], namespace, key[1])
            wanted = edits(live) if live else ()
            if live is None or not wanted:
                return None
            return await kube.edit(live, wanted)
        except Gone:
            return None
        except (Conflict, Invalid) as problem:
            refusal = problem
    assert refusal is not None  # noqa: S101 - every way to here has set it
    raise refusal


def last_writer(obj: Object) -> str:
    """Return who beside the operator wrote an object's spec last, as the API server remembers."""
    wrote = [
        entry
        for entry in obj["metadata"].get("managedFields") or ()
        if entry.get("manager") != names.FIELD_MANAGER and "f:spec" in (entry.get("fieldsV1") or {})
    ]
    if not wrote:
        return "somebody"
    last = max(wrote, key=lambda entry: entry.get("time") or "")
    return str(last.get("manager", "somebody"))
