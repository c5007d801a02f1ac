"""Writes a model in skops' format, so that the same model gives the same bytes.

skops names arrays and objects by their address in memory and stamps its files with the time. Both
say nothing of the model, and would give every export another digest.
"""

import io
import json
import zipfile
from typing import Any, Final

import skops.io

_SCHEMA: Final = "schema.json"
_EPOCH: Final = (1980, 1, 1, 0, 0, 0)
"""The earliest time that a zip archive can hold."""


def skops_bytes(model: Any) -> bytes:
    """Return `model` as skops writes it, with addresses counted from 0 and no times."""
    with zipfile.ZipFile(io.BytesIO(skops.io.dumps(model))) as dumped:
        tree = json.loads(dumped.read(_SCHEMA))
        arrays = {name: dumped.read(name) for name in dumped.namelist() if name != _SCHEMA}
    ids: dict[int, int] = {}
    names: dict[str, str] = {}
    schema = _renumber(tree, ids, names)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for old, new in names.items():
            archive.writestr(_entry(new), arrays[old])
        archive.writestr(_entry(_SCHEMA), json.dumps(schema, indent=1))
    return buffer.getvalue()


def _renumber(node: Any, ids: dict[int, int], names: dict[str, str]) -> Any:
    """Return the tree with ids and file names counted in the order in which they appear."""
    if isinstance(node, dict):
        return {key: _renumbered(key, value, ids, names) for key, value in node.items()}
    if isinstance(node, list):
        return [_renumber(item, ids, names) for item in node]
    return node


def _renumbered(key: str, value: Any, ids: dict[int, int], names: dict[str, str]) -> Any:
    if key == "__id__":
        return ids.setdefault(value, len(ids))
    if key == "file" and isinstance(value, str):
        return names.setdefault(value, f"{len(names)}.{value.rpartition('.')[2]}")
    return _renumber(value, ids, names)


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, date_time=_EPOCH)
    entry.compress_type = zipfile.ZIP_DEFLATED
    return entry
