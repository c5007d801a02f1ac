"""Whether a cluster's schema of a ModelRelease has the fields that this command line knows."""

from collections.abc import Iterator
from typing import Any

from modelrelease_operator.api import names
from modelrelease_operator.api.spec import ReleaseSpec

FREE = "x-kubernetes-preserve-unknown-fields"
"""On an object of which the schema leaves the fields open."""
GROUP_VERSION_KIND = "x-kubernetes-group-version-kind"

Schema = dict[str, Any]


def published_spec(document: Schema) -> Schema | None:
    """Return the schema of a spec in the API server's OpenAPI v3 document of our group, or None."""
    schemas: Schema = document.get("components", {}).get("schemas", {})
    for schema in schemas.values():
        kinds = {each.get("kind") for each in schema.get(GROUP_VERSION_KIND, ())}
        if names.KIND in kinds:
            spec: Schema | None = schema.get("properties", {}).get("spec")
            return spec
    return None


def differences(spec: Schema) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the fields that the cluster lacks, and those that this command line does not know.

    Of a field that is missing its parts are not named.
    """
    models: Schema = ReleaseSpec.model_json_schema(by_alias=True)
    here = sorted(_differences("spec", spec, models, models.get("$defs", {})))
    lacking = tuple(path for path, in_cluster in here if not in_cluster)
    newer = tuple(path for path, in_cluster in here if in_cluster)
    return lacking, newer


def _differences(
    path: str, theirs: Schema, ours: Schema, definitions: Schema
) -> Iterator[tuple[str, bool]]:
    """Yield each field that one of two schemas lacks, and whether the cluster's has it."""
    ours = _resolved(ours, definitions)
    if theirs.get(FREE):
        return
    their_fields, our_fields = theirs.get("properties", {}), ours.get("properties", {})
    for name in their_fields.keys() ^ our_fields.keys():
        yield f"{path}.{name}", name in their_fields
    for name in their_fields.keys() & our_fields.keys():
        yield from _differences(f"{path}.{name}", their_fields[name], our_fields[name], definitions)
    if "items" in theirs and "items" in ours:
        yield from _differences(f"{path}[]", theirs["items"], ours["items"], definitions)


def _resolved(node: Schema, definitions: Schema) -> Schema:
    """Follow a reference, and leave the null out of "this or null"."""
    if "$ref" in node:
        return _resolved(definitions[node["$ref"].rsplit("/", 1)[1]], definitions)
    options = [option for option in node.get("anyOf", ()) if option.get("type") != "null"]
    return _resolved(options[0], definitions) if len(options) == 1 else node
