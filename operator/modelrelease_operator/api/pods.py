"""Parts of a pod that a spec may hold, checked as far as it is ours to check."""

from typing import Annotated, Any

from pydantic import AfterValidator, Field


def _each_has_a_name(env: tuple[dict[str, Any], ...]) -> tuple[dict[str, Any], ...]:
    for item in env:
        if not isinstance(item.get("name"), str):
            msg = f"each variable needs a name, got {item!r}"
            raise ValueError(msg)
    return env


def _shaped_like_a_pod_template(template: dict[str, Any]) -> dict[str, Any]:
    for path in (("metadata",), ("spec",), ("metadata", "labels")):
        part: Any = template
        for key in path:
            part = (part or {}).get(key)
        if not isinstance(part, dict | None):
            msg = f"{'.'.join(path)} must be a mapping, got {part!r}"
            raise ValueError(msg)
    return template


Env = Annotated[tuple[dict[str, Any], ...], Field(max_length=100), AfterValidator(_each_has_a_name)]
PodTemplate = Annotated[dict[str, Any], AfterValidator(_shaped_like_a_pod_template)]
