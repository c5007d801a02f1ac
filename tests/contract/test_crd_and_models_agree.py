"""The schema that the API server checks and the models that the operator reads with say the same.

Both schemas are walked side by side, so a field that is added to one alone fails here.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from pydantic import BaseModel

from modelrelease_contract import schemes
from modelrelease_operator.api import names, pods
from modelrelease_operator.api.durations import DURATION_PATTERN, SCHEMA_RULES
from modelrelease_operator.api.queries import EXTRAPOLATES, QUERY_PATTERN
from modelrelease_operator.api.spec import Approval, OnInsufficientEvidence, ReleaseSpec, Serving
from modelrelease_operator.api.status import Condition, GateStatus, Phase, Status, Verdict
from modelrelease_operator.errors import Invalid

ROOT = Path(__file__).parents[2]
CRD: dict[str, Any] = yaml.safe_load((ROOT / "crds/modelreleases.yaml").read_text())
(VERSION,) = CRD["spec"]["versions"]
OPEN_API = VERSION["schema"]["openAPIV3Schema"]
SPEC, STATUS = OPEN_API["properties"]["spec"], OPEN_API["properties"]["status"]
MODELS = ReleaseSpec.model_json_schema(by_alias=True)

Pair = tuple[str, dict[str, Any], dict[str, Any]]


def resolved(node: dict[str, Any]) -> dict[str, Any]:
    """Follow a reference, and leave the null out of "this or null"."""
    if "$ref" in node:
        node = {**MODELS["$defs"][node["$ref"].rsplit("/", 1)[1]], **node}
    options = [option for option in node.get("anyOf", ()) if option.get("type") != "null"]
    if options:
        (option,) = options
        return {**resolved(option), "default": node.get("default")}
    return node


def pairs(path: str = "spec", crd: Any = SPEC, model: Any = MODELS) -> Iterator[Pair]:
    """Yield every place of the spec with what both schemas say about it."""
    model = resolved(model)
    yield path, crd, model
    for name in sorted({*crd.get("properties", ()), *model.get("properties", ())}):
        here = f"{path}.{name}"
        crd_child, model_child = crd["properties"].get(name), model.get("properties", {}).get(name)
        if free(crd):
            continue
        assert crd_child is not None, f"{here} is in the models but not in the CRD"
        assert model_child is not None, f"{here} is in the CRD but not in the models"
        yield from pairs(here, crd_child, model_child)
    if "items" in crd and not free(crd["items"]):
        yield from pairs(f"{path}[]", crd["items"], model["items"])


def free(crd: dict[str, Any]) -> bool:
    """Return whether the CRD leaves an object to others (a pod's own fields)."""
    return bool(crd.get("x-kubernetes-preserve-unknown-fields"))


PLACES = list(pairs())
BY_PATH = {path: (crd, model) for path, crd, model in PLACES}
each_place = pytest.mark.parametrize(
    ("path", "crd", "model"), PLACES, ids=[path for path, *_ in PLACES]
)


def rules(crd: dict[str, Any]) -> str:
    return " && ".join(rule["rule"] for rule in crd.get("x-kubernetes-validations", ()))


def test_the_walk_reaches_the_deepest_places():
    assert {"spec.analysis.gates[].errorRate.tolerated.ratio", "spec.canary.steps[].bake"} <= set(
        BY_PATH
    )
    assert len(PLACES) > 45


@each_place
def test_types_agree(path: str, crd: dict[str, Any], model: dict[str, Any]):
    assert crd["type"] == model["type"]


@each_place
def test_required_fields_agree(path: str, crd: dict[str, Any], model: dict[str, Any]):
    if not free(crd):
        assert sorted(crd.get("required", ())) == sorted(model.get("required", ()))


@each_place
def test_unknown_fields_are_pruned_by_the_server_and_ignored_by_the_operator(
    path: str, crd: dict[str, Any], model: dict[str, Any]
):
    """A newer schema fills in defaults that this operator does not know."""
    if "properties" in crd and not free(crd):
        assert model.get("additionalProperties", True) is not False


@each_place
def test_rules_that_both_sides_spell_agree(path: str, crd: dict[str, Any], model: dict[str, Any]):
    spelled = model.get(SCHEMA_RULES, [])
    assert [rule for rule in crd.get(SCHEMA_RULES, []) if rule in spelled] == spelled


def test_every_duration_has_its_bounds_in_the_schema():
    durations = [path for path, crd, _ in PLACES if crd.get("pattern") == DURATION_PATTERN]
    assert len(durations) == 13
    for path in durations:
        crd, model = BY_PATH[path]
        assert crd[SCHEMA_RULES] == model[SCHEMA_RULES], path


def test_unknown_fields_are_refused_where_a_persons_own_words_are_read():
    wrong: tuple[dict[str, Any], ...] = (
        {"canari": {}},
        {"canary": {"wait": "5m"}},
        {"serving": {"env": [{"name": "A", "v": "1"}]}},
    )
    for parts in wrong:
        raw = {"model": {"uri": "http://store/qna/1"}, **parts}
        assert ReleaseSpec.parse(raw)
        with pytest.raises(Invalid, match="Extra inputs are not permitted"):
            ReleaseSpec.parse(raw, strict=True)


KINDS = {
    pods.STRINGS: {
        "type": "object",
        "nullable": True,
        "additionalProperties": {"type": "string", "nullable": True},
    },
    pods.LIST: {
        "type": "array",
        "nullable": True,
        "items": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
    },
    pods.NAMED: {
        "type": "array",
        "nullable": True,
        "items": {
            "type": "object",
            "required": ["name"],
            "x-kubernetes-preserve-unknown-fields": True,
            "properties": {"name": {"type": "string"}},
        },
    },
    pods.OBJECT: {"type": "object", "nullable": True, "x-kubernetes-preserve-unknown-fields": True},
}


@pytest.mark.parametrize("path", ["spec.serving.podTemplate", "spec.retrain.podTemplate"])
def test_kinds_of_fields_of_a_pod_template_agree(path: str):
    crd, _ = BY_PATH[path]
    for part, fields in (("metadata", pods.POD_METADATA), ("spec", pods.POD_SPEC)):
        found = crd["properties"][part]["properties"]
        assert found == {
            name: KINDS.get(kind, {"type": kind, "nullable": True}) for name, kind in fields.items()
        }


@pytest.mark.parametrize(
    ("field", "key", "ours"),
    [
        ("initContainers", "name", pods.OUR_CONTAINERS),
        ("sidecars", "name", pods.OUR_CONTAINERS),
        ("volumes", "name", pods.OUR_VOLUMES),
        ("volumeMounts", "mountPath", pods.OUR_PATHS),
        ("volumeMounts", "name", pods.UNMOUNTED),
    ],
)
def test_what_only_the_operator_may_name_agrees(field: str, key: str, ours: tuple[str, ...]):
    item = BY_PATH[f"spec.serving.{field}"][0]["items"]
    assert rules(item["properties"][key]) == f"!(self in {list(ours)})"


@pytest.mark.parametrize("path", ["spec.serving.resources", "spec.retrain.resources"])
def test_what_a_quantity_is_agrees(path: str):
    crd, _ = BY_PATH[path]
    for name in ("limits", "requests"):
        quantity = crd["properties"][name]["additionalProperties"]
        assert (quantity["pattern"], quantity["maxLength"]) == (pods.QUANTITY_PATTERN, 64)
        assert quantity["x-kubernetes-int-or-string"] is True


@each_place
def test_bounds_agree(path: str, crd: dict[str, Any], model: dict[str, Any]):
    for key in (
        "minimum",
        "maximum",
        "minLength",
        "maxLength",
        "minItems",
        "maxItems",
        "pattern",
        "enum",
    ):
        assert crd.get(key) == model.get(key), key
    for key, sign in (("exclusiveMinimum", ">"), ("exclusiveMaximum", "<")):
        if key in model:
            assert f"self {sign} {float(model[key])}" in rules(crd)
    for sign, bound in re.findall(r"self ([<>]) ([0-9.]+)", rules(crd)):
        key = {">": "exclusiveMinimum", "<": "exclusiveMaximum"}[sign]
        assert model.get(key) == float(bound)


@each_place
def test_defaults_of_values_agree(path: str, crd: dict[str, Any], model: dict[str, Any]):
    if crd["type"] not in ("object", "array"):
        assert crd.get("default") == model.get("default")


def defaulted(value: Any, crd: dict[str, Any]) -> Any:
    """Fill in defaults as the API server does."""
    if isinstance(value, dict):
        filled = dict(value)
        for name, child in crd.get("properties", {}).items():
            if name not in filled and "default" in child:
                filled[name] = child["default"]
            if name in filled:
                filled[name] = defaulted(filled[name], child)
        return filled
    if isinstance(value, list):
        return [defaulted(item, crd["items"]) for item in value]
    return value


@pytest.mark.parametrize(
    "raw",
    [
        {},
        {"canary": {"weight": 20}},
        {
            "canary": {"steps": [{"weight": 5}, {"weight": 9, "bake": "1s"}]},
            "serving": {"image": "i"},
        },
        {"analysis": {"gates": [{"name": "a", "errorRate": {}}, {"name": "b", "latency": {}}]}},
        {"analysis": {"gates": [{"name": "b", "latency": {"tolerated": {"ratio": 2}}}]}},
        {"analysis": {"gates": [{"name": "b", "latency": {"tolerated": {"milliseconds": 2}}}]}},
        {"drift": {"sustained": {"windows": 3}}},
        {"analysis": {"gates": [{"name": "b", "predictions": {}}]}},
        {"serving": {"autoscaling": {}}},
    ],
    ids=[
        "nothing",
        "weight",
        "steps",
        "empty gates",
        "half a slowdown",
        "its other half",
        "drift",
        "answers",
        "autoscaling",
    ],
)
def test_what_the_server_fills_in_means_the_same_as_what_was_left_out(raw: dict[str, Any]):
    raw = {"model": {"uri": "http://store/qna/1"}, **raw}
    assert ReleaseSpec.parse(defaulted(raw, SPEC)) == ReleaseSpec.parse(raw)


@pytest.mark.parametrize("path", ["counts.bad", "counts.total", "threshold.query"])
def test_what_a_query_may_say_agrees(path: str):
    found = rules(BY_PATH[f"spec.analysis.gates[].{path}"][0])
    assert QUERY_PATTERN in found
    assert (EXTRAPOLATES in found) == path.startswith("counts")
    assert ("self.contains('{{revision}}')" in found) == path.startswith("counts")


def test_the_places_of_models_agree():
    assert schemes.uri_pattern().replace("\\", "\\\\") in rules(BY_PATH["spec.model.uri"][0])


@pytest.mark.parametrize(
    ("path", "words"),
    [
        (
            "spec.model.signature.key",
            ["has(self.configMapKeyRef) != has(self.secretKeyRef)"],
        ),
        ("spec.serving.autoscaling", ["self.minReplicas <= self.maxReplicas"]),
        ("spec.canary", ["has(self.weight) && has(self.steps)"]),
        ("spec.canary.steps", ["isSorted()"]),
        (
            "spec.analysis.gates[]",
            ["has(self.errorRate), has(self.latency), has(self.predictions)", "== 1"],
        ),
        (
            "spec.analysis.gates[].errorRate",
            ["has(self.maxPercent)", "self.margin.ratio >= self.tolerated.ratio"],
        ),
        ("spec.analysis.gates[].latency", ["has(self.maxSeconds)"]),
        ("spec.analysis.gates[]", ["has(self.counts)", "has(self.threshold)"]),
        ("spec.analysis.gates", ["!gate.dryRun"]),
        (
            "spec.analysis.gates[].counts",
            ["has(self.maxPercent)", "self.margin.ratio >= self.tolerated.ratio"],
        ),
        (
            "spec.analysis.gates[].threshold",
            ["has(self.max) || has(self.min)", "self.max >= self.min"],
        ),
        (
            "spec.analysis.prometheus",
            [
                "has(self.bearerTokenSecretRef) && has(self.basicAuthSecretRef)",
                "has(self.caSecretRef)",
            ],
        ),
        ("spec.analysis.gates[].predictions", ["self.margin.ratio >= self.tolerated.ratio"]),
        ("spec.drift.sustained", ["self.atLeast <= self.windows"]),
    ],
)
def test_every_rule_between_fields_is_in_the_schema_too(path: str, words: list[str]):
    for word in words:
        assert word in rules(BY_PATH[path][0])


@each_place
def test_every_rule_of_the_schema_has_a_sentence(
    path: str, crd: dict[str, Any], model: dict[str, Any]
):
    for rule in crd.get("x-kubernetes-validations", ()):
        assert len(rule["message"]) > 20


def words_of(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        for key, value in node.items():
            yield key
            yield from words_of(value)
    elif isinstance(node, list):
        for value in node:
            yield from words_of(value)
    elif isinstance(node, str):
        yield node


def test_no_word_of_the_schema_is_a_truth_value_to_helm():
    """Helm reads YAML 1.1 in full, where a bare n is false;
    PyYAML, which reads it here, is lenient.
    """
    assert not set(words_of(CRD)) & {"y", "Y", "n", "N"}


def test_names_of_the_resource_agree():
    assert CRD["spec"]["group"] == names.GROUP
    assert CRD["spec"]["names"]["kind"] == names.KIND
    assert CRD["spec"]["names"]["plural"] == names.PLURAL
    assert CRD["metadata"]["name"] == f"{names.PLURAL}.{names.GROUP}"
    assert CRD["spec"]["names"]["shortNames"] == ["mrel"]
    assert VERSION["name"] == names.VERSION
    assert VERSION["subresources"]["status"] == {}


@pytest.mark.parametrize(
    ("crd", "enum"),
    [
        (STATUS["properties"]["phase"], Phase),
        (STATUS["properties"]["verdict"], Verdict),
        (SPEC["properties"]["canary"]["properties"]["approval"], Approval),
        (
            SPEC["properties"]["analysis"]["properties"]["onInsufficientEvidence"],
            OnInsufficientEvidence,
        ),
    ],
    ids=["phase", "verdict", "approval", "end"],
)
def test_words_from_a_closed_list_agree(crd: dict[str, Any], enum: Any):
    assert crd["enum"] == [str(member) for member in enum]


def aliases(model: type[BaseModel]) -> dict[str, Any]:
    return {field.alias or name: field.annotation for name, field in model.model_fields.items()}


def inner(annotation: Any) -> type[BaseModel] | None:
    """Return the model in `Model`, `Model | None` or `tuple[Model, ...]`."""
    for option in (annotation, *get_args(annotation)):
        if isinstance(option, type) and issubclass(option, BaseModel):
            return option
    return None


def stored(path: str, crd: dict[str, Any], model: type[BaseModel]) -> Iterator[str]:
    """Yield what would be lost or is unknown: fields of one side that the other lacks."""
    fields = aliases(model)
    for name in crd.get("properties", {}):
        if name not in fields:
            yield f"{path}.{name} is in the CRD but nobody writes it"
    for name, annotation in fields.items():
        child = crd.get("properties", {}).get(name)
        if child is None:
            if not free(crd):
                yield f"{path}.{name} would be pruned by the API server"
        elif below := inner(annotation):
            yield from stored(f"{path}.{name}", child.get("items", child), below)


def test_nothing_that_the_operator_remembers_is_pruned_and_nothing_is_promised_in_vain():
    shared = {"status.previous.since is in the CRD but nobody writes it"}
    assert set(stored("status", STATUS, Status)) - shared == set(), (
        "previous has the schema of stable"
    )


def test_required_fields_of_the_status_are_always_written():
    for crd, model in (
        (STATUS["properties"]["conditions"]["items"], Condition),
        (STATUS["properties"]["gates"]["items"], GateStatus),
    ):
        mandatory = {f.alias or n for n, f in model.model_fields.items() if f.is_required()}
        assert set(crd["required"]) <= mandatory


@pytest.mark.parametrize(
    "column", VERSION["additionalPrinterColumns"], ids=lambda column: column["name"]
)
def test_every_column_shows_something_that_is_written(column: dict[str, str]):
    path = column["jsonPath"].removeprefix(".").split(".")
    if path[0] != "status":
        assert path == ["metadata", "creationTimestamp"]
        return
    model: type[BaseModel] | None = Status
    for name in path[1:]:
        assert model is not None, f"{name} lies below a plain value"
        assert name in aliases(model)
        model = inner(aliases(model)[name])
    assert model is None, "a column shows a value, not an object"


def test_the_columns_are_those_of_the_documentation():
    shown = [
        column["name"].upper()
        for column in VERSION["additionalPrinterColumns"]
        if "priority" not in column
    ]
    assert shown == ["PHASE", "STABLE", "CANARY", "WEIGHT", "VERDICT", "AGE"]


def test_no_word_of_the_schema_is_read_as_something_else_than_a_word():
    """YAML reads a bare n, y, on or off as a boolean: a field of that name needs quotes."""

    def words(node: object) -> list[object]:
        if isinstance(node, list):
            return [word for item in node for word in words(item)]
        if not isinstance(node, dict):
            return []
        required = node.get("required", [])
        listed = required if isinstance(required, list) else []
        return [*node, *listed, *(word for item in node.values() for word in words(item))]

    assert [word for word in words(CRD) if not isinstance(word, str)] == []


def test_the_scale_subresource_points_at_fields_that_there_are():
    paths = VERSION["subresources"]["scale"]
    assert paths["specReplicasPath"] == ".spec.serving.replicas"
    assert "replicas" in Serving.model_fields
    for path in (paths["statusReplicasPath"], paths["labelSelectorPath"]):
        assert path.removeprefix(".status.") in Status.model_fields
