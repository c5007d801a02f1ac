"""docs/reference/fields.md, which is written from the schema of the resource.

`python -m tests.support.fields_reference` writes it anew.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import yaml

ROOT: Final = Path(__file__).parents[2]
DOCUMENT: Final = ROOT / "docs/reference/fields.md"
INTRODUCTION: Final = """\
# Fields of a ModelRelease

Every field of `spec`. This page is written from the schema,
[crds/modelreleases.yaml](../../crds/modelreleases.yaml); what fields do together is told in
[the resource](modelrelease.md), and `kubectl explain modelrelease.spec --recursive` shows those of
the version that a cluster has.

A field in bold is required wherever what it is in is given. `[]` is each item of a list, and `.*`
each value of a map.
"""
THEIRS: Final = ("podTemplate",)
"""Fields whose insides are Kubernetes' own, which its reference tells."""

Schema = dict[str, Any]
Row = tuple[str, Schema, bool]


def document() -> str:
    """Return the whole page."""
    (version,) = yaml.safe_load((ROOT / "crds/modelreleases.yaml").read_text())["spec"]["versions"]
    spec = version["schema"]["openAPIV3Schema"]["properties"]["spec"]
    return INTRODUCTION + "".join(_sections(spec))


def _sections(spec: Schema) -> Iterator[str]:
    single = {name: node for name, node in spec["properties"].items() if not _inside(node)}
    for name, node in spec["properties"].items():
        if name not in single:
            rows = [(name, node, name in spec.get("required", ())), *_rows(name, node)]
            yield f"\n## spec.{name}\n\n{_table(rows)}"
    rest = [(name, node, name in spec.get("required", ())) for name, node in single.items()]
    if rest:
        yield f"\n## The rest of spec\n\n{_table(rest)}"


def _rows(path: str, node: Schema) -> Iterator[Row]:
    """Yield each field below a place, with whether it is required."""
    for step, inside in _inside(node):
        for name, child in inside.get("properties", {}).items():
            here = f"{path}{step}.{name}"
            yield here, child, name in inside.get("required", ())
            if name not in THEIRS:
                yield from _rows(here, child)


def _inside(node: Schema) -> list[tuple[str, Schema]]:
    """Return what is inside of an object, of a list's items, or of a map's values."""
    values = node.get("additionalProperties")
    places = [("", node), ("[]", node.get("items")), (".*", values)]
    return [(step, it) for step, it in places if isinstance(it, dict) and "properties" in it]


def _table(rows: list[Row]) -> str:
    lines = ["| field | type | default | meaning |", "|---|---|---|---|"]
    for path, node, required in rows:
        name = f"**`{path}`**" if required else f"`{path}`"
        default = f"`{_word(node['default'])}`" if "default" in node else ""
        meaning = _cell(node.get("description", ""))
        lines.append(f"| {name} | {_type(node)} | {default} | {meaning} |")
    return "\n".join(lines) + "\n"


def _type(node: Schema) -> str:
    if "enum" in node:
        return "one of " + ", ".join(f"`{_word(value)}`" for value in node["enum"])
    if node.get("x-kubernetes-int-or-string"):
        return "number or text"
    kind = str(node.get("type", "anything"))
    if kind == "array":
        return f"list of {_type(node.get('items', {}))}"
    if "additionalProperties" in node and kind == "object":
        return "map"
    return kind + _bounds(node)


def _bounds(node: Schema) -> str:
    low, high = node.get("minimum"), node.get("maximum")
    above = "above " if node.get("exclusiveMinimum") else ""
    below = "below " if node.get("exclusiveMaximum") else ""
    if low is not None and high is not None:
        return f", {above}{low} to {below}{high}"
    if low is not None:
        return f", {above or 'from '}{low}"
    return f", {below or 'up to '}{high}" if high is not None else ""


def _word(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    DOCUMENT.write_text(document())
