"""Laying a user's pod template over ours.

Mappings are merged key by key, lists of named things (containers, volumes, env) item by item, and
everything else is replaced: the rules of a strategic merge patch that pod templates need.
"""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

MERGE_KEYS = ("name", "mountPath", "containerPort", "topologyKey")
"""What names an item of a list, in order of preference."""


def merged(base: Any, overlay: Any) -> Any:
    """Return `base` with `overlay` laid over it; neither is changed."""
    if isinstance(base, Mapping) and isinstance(overlay, Mapping):
        result = {key: deepcopy(value) for key, value in base.items()}
        for key, value in overlay.items():
            result[key] = merged(result[key], value) if key in result else deepcopy(value)
        return result
    if _is_list(base) and _is_list(overlay) and (key := _merge_key(base, overlay)):
        return _merged_items(base, overlay, key)
    return deepcopy(overlay)


def _merged_items(base: Sequence[Any], overlay: Sequence[Any], key: str) -> list[Any]:
    over = {item[key]: item for item in overlay}
    result = [merged(item, over.pop(item[key])) if item[key] in over else deepcopy(item) for item in base]
    return result + [deepcopy(item) for item in over.values()]


def _merge_key(*lists: Sequence[Any]) -> str | None:
    items = [item for each in lists for item in each]
    for key in MERGE_KEYS:
        if items and all(isinstance(item, Mapping) and key in item for item in items):
            return key
    return None


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)
