"""Laying a user's pod template over ours.

Mappings are merged key by key, lists of named things (containers, volumes, env) item by item, and
everything else is replaced; null takes a key away. The rules of a strategic merge patch that pod
templates need.
"""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from itertools import chain
from typing import Any

MERGE_KEYS = ("mountPath", "name", "containerPort", "topologyKey")
"""What names an item of a list, by preference: a volume may be mounted at several paths."""
PLAIN = frozenset({str, int, float, bool, type(None)})
"""Types whose values nobody can change."""


def merged(base: Any, overlay: Any) -> Any:
    """Return `base` with `overlay` laid over it; neither is changed."""
    if type(overlay) in PLAIN:
        return overlay
    if isinstance(base, Mapping) and isinstance(overlay, Mapping):
        result = {key: None if key in overlay else copied(value) for key, value in base.items()}
        for key, value in overlay.items():
            if value is None:
                result.pop(key, None)
            else:
                result[key] = merged(base.get(key), value)
        return result
    if _is_list(base) and _is_list(overlay) and (key := _merge_key(base, overlay)):
        return _merged_items(base, overlay, key)
    if isinstance(overlay, Mapping):
        return merged({}, overlay)
    return [merged(None, item) for item in overlay] if _is_list(overlay) else copied(overlay)


def without_nulls(value: Any) -> Any:
    """Return a copy that the API server takes: null stands for what is not there."""
    return merged(None, value)


def copied(value: Any) -> Any:
    """Return a copy that shares no mapping and no list with `value`.

    What JSON is made of has no cycles, which `deepcopy` looks for at each step: it took half of a
    pass.
    """
    kind = type(value)
    if kind is dict:
        return {key: copied(item) for key, item in value.items()}
    if kind is list:
        return [copied(item) for item in value]
    return value if kind in PLAIN else deepcopy(value)


def _merged_items(base: Sequence[Any], overlay: Sequence[Any], key: str) -> list[Any]:
    over = {item[key]: item for item in overlay}
    result = [
        merged(item, over.pop(item[key])) if item[key] in over else copied(item) for item in base
    ]
    return result + [merged(None, item) for item in over.values()]


def _merge_key(*lists: Sequence[Any]) -> str | None:
    items = list(chain.from_iterable(lists))
    for key in MERGE_KEYS:
        if items and all(_is_named(item, key) for item in items):
            return key
    return None


def _is_named(item: Any, key: str) -> bool:
    return isinstance(item, Mapping) and isinstance(item.get(key), str | int)


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)
