"""What a spec may say, and the sentence that a wrong one gets."""

from datetime import timedelta
from typing import Any

import pytest

from modelrelease_operator.api.durations import format_duration, parse_duration
from modelrelease_operator.api.pods import Resources, requests_cpu
from modelrelease_operator.api.spec import Approval, ReleaseSpec
from modelrelease_operator.errors import Invalid
from testbed.builders import a_spec

URI = "http://store/qna/1"
DIGEST = "0" * 64
OWN = "x_total{revision='{{revision}}'}"
KEY = {"name": "prometheus", "key": "token"}


def test_the_smallest_spec_is_complete():
    spec = ReleaseSpec.parse({"model": {"uri": URI}})
    assert spec.serving.replicas == 3
    assert [step.weight for step in spec.canary.plan] == [5, 10, 25, 50]
    assert [gate.name for gate in spec.analysis.gates] == ["errors", "latency"]
    assert spec.analysis.false_rollback_probability == 0.01
    assert spec.analysis.period == timedelta(seconds=10)
    assert spec.canary.approval is Approval.AUTOMATIC
    assert not spec.paused


def test_one_weight_is_a_plan_of_one_step():
    assert [step.weight for step in a_spec(canary={"weight": 20}).canary.plan] == [20]


@pytest.mark.parametrize(
    "uri",
    [
        "http://store/qna/1",
        "https://store.example:8443/a/b%20c/",
        "pvc://models/qna/1",
        "pvc://models",
        "s3://models/qna/1",
        "gs://my.bucket_1",
        "az://models/qna/",
        "file:///models/qna",
    ],
)
def test_known_places_of_models(uri: str):
    pinned = {} if uri.startswith("http") else {"version": "1", "sha256": DIGEST}
    assert ReleaseSpec.parse({"model": {"uri": uri, **pinned}}).model.uri == uri


WRONG: list[Any] = [
    (
        {"serving": {"autoscaling": {"minReplicas": 4, "maxReplicas": 3}}},
        "spec.serving.autoscaling: minReplicas must not be above maxReplicas, got 4 and 3",
    ),
    ({"serving": {"autoscaling": {"minReplicas": 0}}}, "spec.serving.autoscaling.minReplicas: "),
    (
        {"serving": {"disruptionBudget": {"maxUnavailable": 0}}},
        "spec.serving.disruptionBudget.maxUnavailable: ",
    ),
    pytest.param({"model": {}}, "spec.model.uri: Field required", id="no uri"),
    pytest.param({"model": None}, "spec.model: Input should be", id="no model"),
    *(
        pytest.param({"model": {"uri": uri}}, (
            "spec.model.uri: must be "
            "models:/name@alias"
        ), id=f"uri {uri!r}")
        for uri in (
            "", "qna", "ftp://store/1", "models:/qna", "http://", "http://store/a b",
            "http://store/a?v=1",
            "http://store/a#b", "http://store/\n", "http://store/x\n", "pvc:///qna",
            "pvc://UPPER/x",
            "https://me:secret@store/a", "http://@store/a",
            "s3:///qna", "s3://Bucket/x", "gs://b/x?y", "abfs://c/x",
            "file://host/x", "file://",
        )
    ),
    pytest.param({"model": {"uri": URI, "sha256": "ABC"}}, "spec.model.sha256:", id="no digest"),
    pytest.param({"model": {"uri": URI, "version": "-x"}}, "spec.model.version:",
    id="no label value"),
    pytest.param({"model": {"uri": URI, "version": "x" * 64}}, "spec.model.version:",
    id="long version"),
    pytest.param({"modle": {}}, "spec.modle: Extra inputs are not permitted", id="misspelt field"),
    pytest.param({"serving": {"replicas": 0}}, "spec.serving.replicas:", id="no replicas"),
    pytest.param({"serving": {"replicas": 1001}}, "spec.serving.replicas:", id="too many replicas"),
    pytest.param({"serving": {"podTemplate": {"metadata": []}}},
                 (
                     "spec.serving.podTemplate: metadata must be a "
                     "mapping, got []"
                 ), id="metadata is a list"),
    pytest.param({"serving": {"podTemplate": {"metadata": {"labels": "x"}}}},
                 (
                     "spec.serving.podTemplate: metadata.labels must be a "
                     "mapping, got 'x'"
                 ), id="labels is text"),
    pytest.param({"serving": {"podTemplate": {"spec": "x"}}},
                 "spec.serving.podTemplate: spec must be a mapping, got 'x'", id="spec is text"),
    *(
        pytest.param({part: {**base, **parts}}, f"spec.{part}.{sentence}", id=f"{case} of {part}")
        for part, base in (("serving", {}), ("retrain", {"image": "i"}))
        for case, parts, sentence in (
            ("a number for a value", {"env": [{"name": "PORT", "value": 8001}]}, "env.0.value:"),
            ("no name", {"env": [{"value": "1"}]}, "env.0.name:"),
            ("a name with =", {"env": [{"name": "A=B"}]}, "env.0.name:"),
            ("one variable twice", {"env": [{"name": "A"}, {"name": "A", "value": "1"}]},
             "env: each variable"),
            ("two sources", {"env": [{"name": "A", "value": "1", "valueFrom": {}}]},
            "env.0: set either"),
            ("a limit of limits", {"resources": {"limit": {"memory": "1Gi"}}},
            "resources.limit: Extra"),
            ("a quantity in words", {"resources": {"limits": {"memory": "much"}}},
            "resources.limits.memory"),
            ("a fraction", {"resources": {"limits": {"cpu": 0.5}}}, "resources.limits.cpu"),
            ("tolerations in words", {"podTemplate": {"spec": {"tolerations": "all"}}},
             "podTemplate: spec.tolerations must be a list, got 'all'"),
            ("a toleration in words", {"podTemplate": {"spec": {"tolerations": ["all"]}}},
             "podTemplate: spec.tolerations must be a list of mappings"),
            ("a number for a label", {"podTemplate": {"metadata": {"labels": {"a": 1}}}},
             "podTemplate: metadata.labels must be a mapping of strings, got {'a': 1}"),
            ("a truth in words", {"podTemplate": {"spec": {"hostNetwork": "no"}}},
             "podTemplate: spec.hostNetwork must be of type boolean, got 'no'"),
            ("a truth for a number",
            {"podTemplate": {"spec": {"terminationGracePeriodSeconds": True}}},
             "podTemplate: spec.terminationGracePeriodSeconds must be of type integer"),
        )
    ),
    pytest.param({"serving": {"sidecars": [{"name": "a"}]}}, (
        "spec.serving.sidecars: each item "
        "needs image"
    ),
                 id="a sidecar without an image"),
    pytest.param({"serving": {"volumes": [{"name": "a"}, {"name": "a"}]}},
                 "spec.serving.volumes: each name may be given once", id="two volumes of one name"),
    pytest.param({"drift": {"window": "9s"}}, (
        "spec.drift.window: duration '9s' must be at "
        "least 10s"
    ),
                 id="a window shorter than a scrape"),
    pytest.param({"canary": {"weight": 0}}, "spec.canary.weight:", id="weight 0"),
    pytest.param({"canary": {"weight": 101}}, "spec.canary.weight:", id="weight 101"),
    pytest.param({"canary": {"weight": 100}}, "gives the canary every request at once",
                 id="every request to what nothing has tried"),
    pytest.param({"canary": {"steps": [{"weight": 9}, {"weight": 100}], "shadow": {}}},
                 "a step of weight 100 must be the only one", id="weight 100 behind others"),
    pytest.param({"canary": {"weight": 5, "steps": [{"weight": 6}]}},
                 "spec.canary: set either weight or steps, not both", id="weight and steps"),
    pytest.param({"canary": {"steps": [{"weight": 9}, {"weight": 9}]}},
                 "spec.canary: steps must go up, got weights [9, 9]", id="steps that stay"),
    pytest.param({"canary": {"steps": [{"weight": 9}, {"weight": 8}]}}, "steps must go up",
    id="steps down"),
    pytest.param({"canary": {"steps": [{"weight": w} for w in range(1, 22)]}}, "spec.canary.steps:",
                 id="21 steps"),
    pytest.param({"canary": {"approval": "Maybe"}}, "spec.canary.approval:", id="unknown approval"),
    *(
        pytest.param({"canary": {"startDeadline": text}}, "spec.canary.startDeadline:",
        id=f"span {text!r}")
        for text in ("", "10", "5 m", "-5m", "5ms", "1.5h", "m5", "5m\n", "0s", "9" * 18 + "d",
        "9999999d")
    ),
    pytest.param({"canary": {"keepPrevious": "366d"}}, "must be at most 365d",
    id="kept for over a year"),
    pytest.param({"canary": {"steps": [{"weight": 5, "bake": "999999999d"}]}},
                 (
                     "spec.canary.steps.0.bake: duration '999999999d' must be at "
                     "most 365d"
                 ), id="endless bake"),
    pytest.param({"analysis": {"interval": "0s"}}, (
        "duration '0s' must be at "
        "least 1s"
    ), id="interval 0"),
    pytest.param({"analysis": {"falseRollbackProbability": 0}}, "falseRollbackProbability:",
    id="alpha 0"),
    pytest.param({"analysis": {"falseRollbackProbability": 0.5}}, "falseRollbackProbability:",
    id="alpha .5"),
    pytest.param({"analysis": {"falsePromotionProbability": 1}}, "falsePromotionProbability:",
    id="beta 1"),
    pytest.param({"analysis": {"minRequests": 0}}, "spec.analysis.minRequests:",
    id="no requests needed"),
    pytest.param({"analysis": {"dispersion": 0.9}}, "spec.analysis.dispersion:",
    id="dispersion below 1"),
    pytest.param({"analysis": {"onInsufficientEvidence": "Hope"}},
    "spec.analysis.onInsufficientEvidence:",
                 id="unknown end"),
    *(
        pytest.param({"serving": {part: [item | {"name": "modelrelease-artifacts"}]}},
        f"{part} must not have the name modelrelease-artifacts", id=f"our artifacts in {part}")
        for part, item in (("volumes", {"emptyDir": {}}), ("volumeMounts", {"mountPath": "/a"}))
    ),
    pytest.param({"analysis": {"gates": []}}, "spec.analysis.gates:", id="no gates"),
    pytest.param({"analysis": {"gates": [{"name": "a"}]}}, (
        "must have exactly one of "
        "errorRate, latency"
    ),
                 id="gate that asks nothing"),
    pytest.param({"analysis": {"gates": [{"name": "a", "latency": {}, "errorRate": {}}]}},
                 (
                     "gate 'a' must have exactly one of "
                     "errorRate, latency"
                 ), id="gate that asks two things"),
    pytest.param({"analysis": {"gates": [{"name": "a", "latency": {}}] * 2}},
                 "gate names must differ, got ['a', 'a']", id="gates of one name"),
    pytest.param({"analysis": {"gates": [{"name": "a",
    "errorRate": {"compareWithStable": False}}]}},
                 "errorRate bounds nothing", id="errors without a bound"),
    pytest.param({"analysis": {"gates": [{"name": "a", "latency": {"compareWithStable": False}}]}},
                 "latency bounds nothing", id="latency without a bound"),
    pytest.param(
        {"analysis": {"gates": [{"name": "a", "errorRate": {"tolerated": {"ratio": 2,
        "points": 0}}}]}},
        "margin must not be stricter than tolerated", id="margin below tolerated"),
    *(
        pytest.param({"analysis": {"gates": [{"name": "a", **gate}]}}, sentence, id=case)
        for case, gate, sentence in (
            ("counts without total", {"counts": {"bad": OWN}}, "counts.total: Field required"),
            ("counts of nobody", {"counts": {"bad": "errors", "total": OWN}},
             "because it is asked for each arm"),
            ("rates for counts", {"counts": {"bad": f"rate({OWN}[1m])", "total": OWN}},
            "raw counters"),
            ("increase for counts", {"counts": {"bad": OWN, "total": f"sum(increase ({OWN}[1m]))"}},
             "raw counters, so no"),
            ((
                "counts with a misspelt "
                "placeholder"
            ), {"counts": {"bad": "x{a='{{revison}}'}", "total": OWN}},
             "only the placeholders {{release}}, {{namespace}}, {{revision}}"),
            ("counts without a bound", {"counts": {"bad": OWN, "total": OWN,
            "compareWithStable": False}},
             "counts bounds nothing"),
            ("a strict margin", {"counts": {"bad": OWN, "total": OWN, "margin": {"ratio": 1,
            "points": 0}}},
             "margin must not be stricter"),
            ("a threshold without a limit", {"threshold": {"query": "up"}}, "set max or min"),
            ("a threshold upside down", {"threshold": {"query": "up", "max": 1, "min": 2}},
             "threshold.max must not be below threshold.min, got 1 and 2"),
            ("a threshold of no looks", {"threshold": {"query": "up", "max": 1, "consecutive": 0}},
             "threshold.consecutive"),
            ("an empty query", {"threshold": {"query": "", "max": 1}}, "threshold.query"),
            ("only a dry run", {"latency": {}, "dryRun": True}, "at least one gate must decide"),
        )
    ),
    *(
        pytest.param({"analysis": {"prometheus": {"url": "https://p", **more}}}, sentence, id=case)
        for case, more, sentence in (
            ("two ways to prove oneself", {"bearerTokenSecretRef": KEY,
            "basicAuthSecretRef": {"name": "a"}},
             "set either bearerTokenSecretRef or basicAuthSecretRef"),
            ("a certificate that nobody checks", {"caSecretRef": KEY, "insecureSkipVerify": True},
             "caSecretRef verifies what insecureSkipVerify does not"),
            ("a Secret of no name", {"caSecretRef": {"name": "", "key": "x"}}, "caSecretRef.name"),
            ("a Secret elsewhere", {"caSecretRef": {"name": "other/x", "key": "x"}},
            "caSecretRef.name"),
            ("a password in the address", {"url": "https://me:secret@p"},
            "spec.analysis.prometheus.url"),
            ("a path that ends early", {"url": "http://p/secret?x=#"},
            "spec.analysis.prometheus.url"),
            ("a fragment", {"url": "http://169.254.169.254/latest/#"},
            "spec.analysis.prometheus.url"),
        )
    ),
    pytest.param({"analysis": {"source": "Pods", "prometheus": {"url": "https://p"}}},
    "source Pods asks no Prometheus", id="pods that are read by a Prometheus"),
    *(
        pytest.param({"analysis": {"source": "Pods", "gates": [{"name": "x", **gate}]}},
        "source Pods has no query language", id=f"pods that are asked for {kind}")
        for kind, gate in (
            ("a number", {"threshold": {"query": "up", "max": 1}}),
            ("counts", {"counts": {"bad": OWN, "total": OWN}}),
        )
    ),
    pytest.param({"analysis": {"prometheus": {"url": "prometheus:9090"}}},
    "spec.analysis.prometheus.url:",
                 id="address without a scheme"),
]  # fmt: skip


@pytest.mark.parametrize(("parts", "sentence"), WRONG)
def test_a_wrong_spec_gets_a_sentence_that_names_the_field(parts: dict[str, Any], sentence: str):
    with pytest.raises(Invalid) as caught:
        ReleaseSpec.parse({"model": {"uri": URI}, **parts}, strict=True)
    assert sentence in str(caught.value)


def test_a_field_of_a_newer_schema_stops_no_release():
    newer = {
        "model": {"uri": URI},
        "canary": {"weight": 20, "maxSurge": 1},
        "mirror": {"percent": 0},
    }
    assert ReleaseSpec.parse(newer) == a_spec(canary={"weight": 20}) == ReleaseSpec.parse({**newer})


STORED: list[dict[str, Any]] = [
    {"serving": {"resources": {"requests": {"cpu": 0.5}}}},
    {"serving": {"env": [{"name": "A", "value": "", "valueFrom": {"fieldRef": {}}}]}},
    {"drift": {"window": "5s"}},
]


@pytest.mark.parametrize("parts", STORED)
def test_what_an_older_schema_let_through_goes_on_and_a_person_is_told(parts: dict[str, Any]):
    raw = {"model": {"uri": URI}, **parts}
    assert ReleaseSpec.parse(raw)
    with pytest.raises(Invalid):
        ReleaseSpec.parse(raw, strict=True)


def test_every_problem_of_a_spec_is_told_at_once():
    with pytest.raises(Invalid, match=r"spec\.serving\.replicas: .*; spec\.canary\.weight: "):
        ReleaseSpec.parse(
            {"model": {"uri": URI}, "serving": {"replicas": 0}, "canary": {"weight": 0}}
        )


def test_a_spec_that_is_no_mapping_is_told_so():
    with pytest.raises(Invalid, match="spec: "):
        ReleaseSpec.parse("model")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("90s", timedelta(seconds=90)),
        ("1h30m", timedelta(minutes=90)),
        ("30m1h", timedelta(minutes=90)),
        ("1d", timedelta(days=1)),
        ("0s", timedelta(0)),
        ("1m1m", timedelta(minutes=2)),
        ("365d", timedelta(days=365)),
    ],
)
def test_durations_are_read_as_people_write_them(text: str, span: timedelta):
    assert parse_duration(text) == span


@pytest.mark.parametrize(
    ("span", "text"),
    [
        (timedelta(0), "0s"),
        (timedelta(seconds=-5), "0s"),
        (timedelta(seconds=59.6), "1m"),
        (timedelta(seconds=61), "1m 1s"),
        (timedelta(hours=25, minutes=3), "1d 1h"),
    ],
)
def test_durations_are_written_for_people(span: timedelta, text: str):
    assert format_duration(span) == text


@pytest.mark.parametrize("limit", ["0s", "2d", "25h"])
def test_the_time_of_blindness_is_bounded(limit: str):
    with pytest.raises(Invalid, match=r"spec\.analysis\.maxBlind"):
        a_spec(analysis={"maxBlind": limit})


def test_the_time_of_blindness_outlasts_two_scrapes_of_two_minutes_by_default():
    assert parse_duration(a_spec().analysis.max_blind) > timedelta(minutes=4)


def test_an_empty_autoscaling_has_the_defaults():
    spec = ReleaseSpec.parse({"model": {"uri": URI}, "serving": {"autoscaling": {}}}, strict=True)
    settings = spec.serving.autoscaling
    assert settings is not None
    assert (settings.min_replicas, settings.max_replicas) == (3, 10)
    assert settings.target_cpu_utilization_percent == 70


@pytest.mark.parametrize(
    ("serving", "bounded"),
    [
        ({"replicas": 20}, 20),
        ({"replicas": 20, "autoscaling": {}}, 10),
        ({"replicas": 1, "autoscaling": {}}, 3),
        ({"autoscaling": {"minReplicas": 5}}, 5),
    ],
)
def test_a_plan_counts_the_pods_that_an_autoscaler_would_leave(
    serving: dict[str, Any], bounded: int
):
    spec = ReleaseSpec.parse({"model": {"uri": URI}, "serving": serving})
    assert spec.serving.bounded_replicas == bounded


def a_template(**resources: Any) -> dict[str, Any]:
    return {"spec": {"containers": [{"name": "predictor", "resources": resources}]}}


@pytest.mark.parametrize(
    ("resources", "template", "requested"),
    [
        ({}, {}, True),
        ({"requests": {"cpu": "1"}}, {}, True),
        ({"limits": {"cpu": 1}}, {}, True),
        ({"limits": {"memory": "1Gi"}}, {}, False),
        ({"requests": {"cpu": None}}, {}, False),
        ({"limits": {"memory": "1Gi"}}, a_template(requests={"cpu": "1"}), True),
        ({"requests": {"cpu": "1"}}, a_template(requests={"cpu": None}), False),
        ({}, a_template(limits={"memory": "1Gi"}), True),
    ],
)
def test_whether_the_predictor_requests_cpu(
    resources: dict[str, Any], template: dict[str, Any], requested: bool
):
    assert requests_cpu(Resources.model_validate(resources), template) is requested
