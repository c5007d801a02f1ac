"""Every rule of the schema, on a real API server:
what must never be stored is refused with a sentence.
"""

import json
from typing import Any

import pytest

from cluster import Cluster, ClusterError
from examples import fixtures
from modelrelease_operator.api.spec import ReleaseSpec
from modelrelease_operator.errors import Invalid

DIGEST = "a" * 64
GOOD = "http://store/qna/1"
OWN = "x_total{revision='{{revision}}'}"
KEY = {"name": "prometheus", "key": "token"}


def _counting(**counter: str) -> dict[str, Any]:
    return {"serving": {"runtime": {"metrics": {"requests": [counter]}}}}


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a counter of two outcomes": (
        _counting(name="requests_total", code="500", codeLabel="status"),
        "must have exactly one of code and codeLabel",
    ),
    "a counter of no outcome": (
        _counting(name="requests_total"),
        "must have exactly one of code and codeLabel",
    ),
    "a counter that is no metric": (
        _counting(name="requests-total", code="500"),
        "spec.serving.runtime.metrics.requests[0].name",
    ),
    "an outcome that is no status code": (
        _counting(name="requests_total", code="9xx"),
        "spec.serving.runtime.metrics.requests[0].code",
    ),
    "a unit that nobody measures in": (
        {"serving": {"runtime": {"metrics": {"duration": {"name": "latency", "unit": "min"}}}}},
        "spec.serving.runtime.metrics.duration.unit",
    ),
    "two ways to leave": (
        {"serving": {"runtime": {"drain": {"preStopSeconds": 5, "preStopCommand": ["leave"]}}}},
        "set either preStopSeconds or preStopCommand",
    ),
    "an example request without a row": (
        {"serving": {"runtime": {"exampleRequests": {"body": "{}"}}}},
        "must have $(ROW) or $(COLUMNS)",
    ),
    "a readiness that is no path": (
        {"serving": {"runtime": {"readinessPath": "ready"}}},
        "spec.serving.runtime.readinessPath",
    ),
    "a port that none is": ({"serving": {"runtime": {"port": 0}}}, "spec.serving.runtime.port"),
    "weight 0": ({"canary": {"weight": 0}}, "spec.canary.weight"),
    "weight 101": ({"canary": {"weight": 101}}, "spec.canary.weight"),
    "every request to what nothing has tried": (
        {"canary": {"weight": 100}},
        "canary weight 100 gives the canary every request at once",
    ),
    "weight 100 behind others": (
        {"canary": {"steps": [{"weight": 10}, {"weight": 100}], "shadow": {}}},
        "a step of weight 100 must be the only one",
    ),
    "weight as text": ({"canary": {"weight": "ten"}}, "spec.canary.weight"),
    "weight and steps": (
        {"canary": {"weight": 5, "steps": [{"weight": 5}]}},
        "either spec.canary.weight or",
    ),
    "steps that go down": (
        {"canary": {"steps": [{"weight": 50}, {"weight": 10}]}},
        "steps must go up",
    ),
    "steps that stay": (
        {"canary": {"steps": [{"weight": 10}, {"weight": 10}]}},
        "steps must go up",
    ),
    "no steps": ({"canary": {"steps": []}}, "spec.canary.steps"),
    "a bake without unit": (
        {"canary": {"steps": [{"weight": 5, "bake": "60"}]}},
        "spec.canary.steps[0].bake",
    ),
    "bakes that do not fit": (
        {"canary": {"steps": [{"weight": 5, "bake": "7h"}, {"weight": 50, "bake": "1s"}]}},
        "bake longer than spec.canary.progressDeadline",
    ),
    "routing without a Gateway": (
        {"canary": {"routing": {"gatewayAPI": {"path": "/v1"}}}},
        "either routing.gatewayAPI.parentRefs or existingRoute",
    ),
    "a route of its own and one of others": (
        {
            "canary": {
                "routing": {
                    "gatewayAPI": {
                        "parentRefs": [{"name": "g"}],
                        "existingRoute": {"name": "front"},
                    }
                }
            }
        },
        "either routing.gatewayAPI.parentRefs or existingRoute",
    ),
    "a cohort of nobody": (
        {"canary": {"routing": {"gatewayAPI": {"parentRefs": [{"name": "g"}], "cohort": {}}}}},
        "a cohort needs headers, cookies or queryParams",
    ),
    "a path for a route of others": (
        {
            "canary": {
                "routing": {"gatewayAPI": {"existingRoute": {"name": "front"}, "path": "/v1"}}
            }
        },
        "belong to the existingRoute itself",
    ),
    "no time to be blind": ({"analysis": {"maxBlind": "0s"}}, "must be a duration of at least 1s"),
    "two days of blindness": ({"analysis": {"maxBlind": "2d"}}, "maxBlind must be from 1s to 1d"),
    "an unknown approval": ({"canary": {"approval": "Maybe"}}, "spec.canary.approval"),
    "an unknown field": ({"canari": {"weight": 5}}, 'unknown field "spec.canari"'),
    "an unknown field below": ({"canary": {"wait": 5}}, 'unknown field "spec.canary.wait"'),
    "no replicas": ({"serving": {"replicas": 0}}, "spec.serving.replicas"),
    "an autoscaler of no pods": (
        {"serving": {"autoscaling": {"minReplicas": 0}}},
        "spec.serving.autoscaling.minReplicas",
    ),
    "an autoscaler without room": (
        {"serving": {"autoscaling": {"minReplicas": 11}}},
        "spec.serving.autoscaling.minReplicas must not be above maxReplicas",
    ),
    "a budget that holds up every drain": (
        {"serving": {"disruptionBudget": {"maxUnavailable": 0}}},
        "spec.serving.disruptionBudget.maxUnavailable",
    ),
    "an interval in words": ({"analysis": {"interval": "soon"}}, "spec.analysis.interval"),
    "a certain rollback": (
        {"analysis": {"falseRollbackProbability": 1}},
        "falseRollbackProbability must be",
    ),
    "a certain promotion": (
        {"analysis": {"falsePromotionProbability": 0}},
        "falsePromotionProbability must",
    ),
    "a dispersion below 1": ({"analysis": {"dispersion": 0.5}}, "spec.analysis.dispersion"),
    "an unknown end": (
        {"analysis": {"onInsufficientEvidence": "Hope"}},
        "analysis.onInsufficientEvidence",
    ),
    **{
        name: ({"analysis": {"gates": [{"name": "x", **gate}]}}, sentence)
        for name, gate, sentence in (
            (
                "a gate of two kinds",
                {"latency": {}, "threshold": {"query": "up", "max": 1}},
                "exactly one of",
            ),
            ("counts without total", {"counts": {"bad": OWN}}, "counts.total"),
            (
                "counts of nobody",
                {"counts": {"bad": "errors", "total": OWN}},
                "must hold {{revision}} or",
            ),
            (
                "rates for counts",
                {"counts": {"bad": OWN, "total": f"rate({OWN}[1m])"}},
                "no rate() and no",
            ),
            (
                "a misspelt placeholder",
                {"counts": {"bad": "x{a='{{revison}}'}", "total": OWN}},
                "may hold only",
            ),
            (
                "one in a threshold",
                {"threshold": {"query": "up{a='{{pod}}'}", "max": 1}},
                "may hold only",
            ),
            (
                "counts without a bound",
                {"counts": {"bad": OWN, "total": OWN, "compareWithStable": False}},
                "counts bounds nothing",
            ),
            (
                "a margin for counts stricter than what is tolerated",
                {"counts": {"bad": OWN, "total": OWN, "margin": {"ratio": 1, "points": 0}}},
                "counts.margin must not be stricter",
            ),
            (
                "counts with a limit of nothing",
                {"counts": {"bad": OWN, "total": OWN, "maxPercent": 0}},
                "counts.maxPercent must be above 0",
            ),
            ("ends for no reason", {"finishReasons": {"bad": []}}, "finishReasons.bad"),
            (
                "ends without a bound",
                {"finishReasons": {"bad": ["length"], "compareWithStable": False}},
                "finishReasons bounds nothing",
            ),
            (
                "a margin for ends stricter than what is tolerated",
                {"finishReasons": {"bad": ["length"], "margin": {"ratio": 1, "points": 0}}},
                "finishReasons.margin must not be stricter",
            ),
            (
                "ends with a limit of nothing",
                {"finishReasons": {"bad": ["length"], "maxPercent": 0}},
                "finishReasons.maxPercent must be above 0",
            ),
            (
                "a latency of what nobody measures",
                {"latency": {"metric": "timeToLastToken"}},
                "gates[0].latency.metric",
            ),
            (
                "answers that may be shorter than shorter",
                {"answerTokens": {"tolerated": {"ratio": 0.5}}},
                "answerTokens.tolerated.ratio",
            ),
            (
                "losses by no gateway",
                {"loss": {}},
                "set spec.canary.routing.gatewayAPI, or take the gate out",
            ),
            (
                "losses without a bound",
                {"loss": {"compareWithStable": False}},
                "loss bounds nothing",
            ),
            (
                "losses read an hour late",
                {"loss": {"delay": "1h"}},
                "loss.delay must be from 1s to 10m",
            ),
            (
                "losses by a gateway that cannot tell",
                {"loss": {"gateway": "Kong"}},
                "gates[0].loss.gateway",
            ),
            (
                "a threshold without a limit",
                {"threshold": {"query": "up"}},
                "threshold bounds nothing",
            ),
            (
                "a threshold upside down",
                {"threshold": {"query": "up", "max": 1, "min": 2}},
                "threshold.max must not be below",
            ),
            (
                "a threshold of no looks",
                {"threshold": {"query": "up", "max": 1, "consecutive": 0}},
                "threshold.consecutive",
            ),
            ("only dry runs", {"latency": {}, "dryRun": True}, "must decide; not every gate"),
        )
    },
    **{
        name: ({"analysis": {"prometheus": {"url": "https://p", **more}}}, sentence)
        for name, more, sentence in (
            (
                "two ways to prove oneself",
                {"bearerTokenSecretRef": KEY, "basicAuthSecretRef": {"name": "a"}},
                "either analysis.prometheus.bearerTokenSecretRef or",
            ),
            (
                "a certificate that nobody checks",
                {"caSecretRef": KEY, "insecureSkipVerify": True},
                "verifies what insecureSkipVerify does not",
            ),
            (
                "a Secret elsewhere",
                {"caSecretRef": {"name": "other/x", "key": "x"}},
                "caSecretRef.name",
            ),
            ("a password in the address", {"url": "https://me:secret@p"}, "prometheus.url"),
        )
    },
    "probes that never come": ({"analysis": {"probe": {"rate": 0}}}, "spec.analysis.probe.rate"),
    "probes for no gate": (
        {"analysis": {"probe": {}, "gates": [{"name": "x", "predictions": {}}]}},
        "probe answers gates with errorRate or latency",
    ),
    "pods that are read by a Prometheus": (
        {"analysis": {"source": "Pods", "prometheus": {"url": "http://p"}}},
        "source Pods asks no Prometheus",
    ),
    "a query for pods": (
        {
            "analysis": {
                "source": "Pods",
                "gates": [{"name": "x", "threshold": {"query": "up", "max": 1}}],
            }
        },
        "source Pods has no query language",
    ),
    "a source that there is none of": ({"analysis": {"source": "Graphite"}}, "analysis.source"),
    "no gates": ({"analysis": {"gates": []}}, "spec.analysis.gates"),
    "a gate that asks nothing": (
        {"analysis": {"gates": [{"name": "x"}]}},
        "exactly one of errorRate, latency",
    ),
    "a gate that asks twice": (
        {"analysis": {"gates": [{"name": "x", "errorRate": {}, "latency": {}}]}},
        "exactly one of errorRate, latency, predictions",
    ),
    "a gate with no bound": (
        {"analysis": {"gates": [{"name": "x", "errorRate": {"compareWithStable": False}}]}},
        "errorRate bounds nothing",
    ),
    "a latency gate with no bound": (
        {"analysis": {"gates": [{"name": "x", "latency": {"compareWithStable": False}}]}},
        "latency bounds nothing",
    ),
    "a margin stricter than what is tolerated": (
        {
            "analysis": {
                "gates": [{"name": "x", "errorRate": {"margin": {"ratio": 1, "points": 0}}}]
            }
        },
        "margin must not be stricter",
    ),
    "a limit of 100 percent": (
        {"analysis": {"gates": [{"name": "x", "errorRate": {"maxPercent": 100}}]}},
        "errorRate.maxPercent must be above 0 and below 100",
    ),
    "two gates of one name": (
        {"analysis": {"gates": [{"name": "x", "errorRate": {}}, {"name": "x", "latency": {}}]}},
        "Duplicate value",
    ),
    "a predictions margin stricter than what is tolerated": (
        {
            "analysis": {
                "gates": [{"name": "x", "predictions": {"margin": {"ratio": 1, "points": 0}}}]
            }
        },
        "predictions.margin must not be stricter",
    ),
    "a drift threshold of nothing": (
        {"drift": {"threshold": 0}},
        "spec.drift.threshold must be above 0",
    ),
    "a certain false alarm": (
        {"drift": {"falseAlarmProbability": 1}},
        "falseAlarmProbability must be above",
    ),
    "more drifted windows than there are": (
        {"drift": {"sustained": {"windows": 2, "atLeast": 3}}},
        "spec.drift.sustained.atLeast must be at most",
    ),
    "a retraining without an image": ({"retrain": {}}, "spec.retrain.image"),
    "a cool-down in words": (
        {"retrain": {"image": "i", "cooldown": "a day"}},
        "spec.retrain.cooldown",
    ),
    "too many retries": ({"retrain": {"image": "i", "retries": 11}}, "spec.retrain.retries"),
    **{
        name: (parts, sentence)
        for name, parts, sentence in (
            ("an interval of nothing", {"analysis": {"interval": "0s"}}, "interval: Invalid value"),
            (
                "no time to start",
                {"canary": {"startDeadline": "0m0s"}},
                "a duration of at least 1s",
            ),
            (
                "a previous one for ever",
                {"canary": {"keepPrevious": "366d"}},
                "a duration of at most 365d",
            ),
            (
                "nothing to progress in",
                {"canary": {"progressDeadline": "0d"}},
                "a duration of at least 1s",
            ),
            (
                "a bake without end",
                {"canary": {"steps": [{"weight": 5, "bake": "8760h1s"}]}},
                "spec.canary.steps[0].bake",
            ),
            (
                "a bake beyond counting",
                {"canary": {"steps": [{"weight": 5, "bake": "9999999999999999999d"}]}},
                "spec.canary.steps[0].bake",
            ),
            ("no window", {"drift": {"window": "0m"}}, "a duration of at least 10s"),
            ("a window below a scrape", {"drift": {"window": "9s"}}, "a duration of at least 10s"),
            (
                "no time to answer",
                {"analysis": {"probe": {"timeout": "0s"}}},
                "a duration of at least 1s",
            ),
            (
                "a warm-up without end",
                {"analysis": {"gates": [{"name": "x", "latency": {"warmUp": "366d"}}]}},
                "a duration of at most 365d",
            ),
            (
                "no time to train",
                {"retrain": {"image": "i", "deadline": "0s"}},
                "a duration of at least 1s",
            ),
            (
                "a rest without end",
                {"retrain": {"image": "i", "cooldown": "366d"}},
                "of at most 365d",
            ),
            (
                "a sidecar without an image",
                {"serving": {"sidecars": [{"name": "a"}]}},
                "sidecars[0].image",
            ),
            (
                "two containers of one name",
                {"serving": {"initContainers": [{"name": "a", "image": "i"}] * 2}},
                "Duplicate value",
            ),
            (
                "a volume without a name",
                {"serving": {"volumes": [{"emptyDir": {}}]}},
                "volumes[0].name",
            ),
            (
                "a container that is ours",
                {"serving": {"initContainers": [{"name": "fetch", "image": "i"}]}},
                "one of the operator's own",
            ),
            (
                "a sidecar that is ours",
                {"serving": {"sidecars": [{"name": "predictor", "image": "i"}]}},
                "one of the operator's own",
            ),
            (
                "a container that is two things",
                {
                    "serving": {
                        part: [{"name": "a", "image": "i"}]
                        for part in ("sidecars", "initContainers")
                    }
                },
                "must not share a name",
            ),
            (
                "a container of a long name",
                {"serving": {"sidecars": [{"name": "a" * 64, "image": "i"}]}},
                "spec.serving.sidecars[0].name",
            ),
            (
                "a volume that is ours",
                {"serving": {"volumes": [{"name": "model"}]}},
                "operator's own",
            ),
            (
                "a mount of all artifacts",
                {
                    "serving": {
                        "volumeMounts": [{"name": "modelrelease-artifacts", "mountPath": "/a"}]
                    }
                },
                "operator's own",
            ),
            (
                "a mount over the model",
                {"serving": {"volumeMounts": [{"name": "a", "mountPath": "/models"}]}},
                "operator's own",
            ),
            (
                "a template's container without a name",
                {"serving": {"podTemplate": {"spec": {"containers": [{"image": "i"}]}}}},
                "podTemplate.spec.containers[0].name",
            ),
            ("a node label of a number", {"serving": {"nodeSelector": {"a": 1}}}, "nodeSelector.a"),
        )
    },
    **{
        f"{name} of {part}": ({part: {**base, **parts}}, f"spec.{part}.{sentence}")
        for part, base in (("serving", {}), ("retrain", {"image": "i"}))
        for name, parts, sentence in (
            ("a number for a value", {"env": [{"name": "PORT", "value": 8001}]}, "env[0].value"),
            ("a variable without a name", {"env": [{"value": "1"}]}, "env[0].name"),
            ("a name with =", {"env": [{"name": "A=B"}]}, "env[0].name"),
            (
                "one variable twice",
                {"env": [{"name": "A"}, {"name": "A"}]},
                "env[1]: Duplicate value",
            ),
            (
                "two sources",
                {"env": [{"name": "A", "value": "1", "valueFrom": {}}]},
                "env[0]: Invalid value",
            ),
            ("a limit of limits", {"resources": {"limit": {"cpu": "1"}}}, 'resources.limit"'),
            (
                "a quantity in words",
                {"resources": {"limits": {"memory": "much"}}},
                "resources.limits.memory",
            ),
            (
                "a fraction of a number",
                {"resources": {"limits": {"cpu": 0.5}}},
                "resources.limits.cpu",
            ),
            (
                "tolerations in words",
                {"podTemplate": {"spec": {"tolerations": "all"}}},
                "podTemplate.spec.tol",
            ),
            (
                "labels in words",
                {"podTemplate": {"metadata": {"labels": "x"}}},
                "podTemplate.metadata.labels",
            ),
            (
                "a label of a number",
                {"podTemplate": {"metadata": {"labels": {"a": 1}}}},
                "podTemplate.metadata",
            ),
            (
                "a truth in words",
                {"podTemplate": {"spec": {"hostPID": "no"}}},
                "podTemplate.spec.hostPID",
            ),
        )
    },
    "an address without scheme": (
        {"analysis": {"prometheus": {"url": "prometheus:9090"}}},
        "prometheus.url",
    ),
}

MODELS: dict[str, tuple[dict[str, Any], str]] = {
    "no uri": ({}, "spec.model.uri"),
    "an empty uri": ({"uri": ""}, "spec.model.uri must be"),
    "an unknown scheme": ({"uri": "ftp://host/model"}, "spec.model.uri must be"),
    "an alias of nothing": ({"uri": "models:/qna"}, "spec.model.uri must be models:/name@alias"),
    "a moving version": (
        {"uri": "models:/qna/latest"},
        "spec.model.uri must be models:/name@alias",
    ),
    "a stage": ({"uri": "models:/qna/Production"}, "spec.model.uri must be models:/name@alias"),
    "a run without a name": ({"uri": "runs:/"}, "spec.model.uri must be"),
    "a repository without a version": (
        {"uri": "oci://registry/qna"},
        "oci://registry/repository:tag",
    ),
    "half a digest": ({"uri": "oci://registry/qna@sha256:abc"}, "spec.model.uri must be"),
    "a uri with a space": ({"uri": "http://host/a b"}, "spec.model.uri must be"),
    "a uri with a query": ({"uri": "http://host/a?x=1"}, "spec.model.uri must be"),
    "a signature without a key": (
        {"uri": GOOD, "signature": {"key": {}}},
        "set either configMapKeyRef or secretKeyRef of spec.model.signature.key",
    ),
    "a digest that is none": ({"uri": GOOD, "sha256": "abc"}, "spec.model.sha256"),
    "a mount of what is in no registry": (
        {"uri": GOOD, "imageVolume": {}},
        "imageVolume needs a uri of a registry",
    ),
    "a mount that leads out": (
        {"uri": "oci://registry/qna:v3", "imageVolume": {"path": "a/../.."}},
        "spec.model.imageVolume.path",
    ),
    "a mount and a cache": (
        {
            "uri": "oci://registry/qna:v3",
            "imageVolume": {},
            "cache": {"persistentVolumeClaim": {"claimName": "models"}},
        },
        "a node keeps the images it mounted",
    ),
    "a version with a slash": ({"uri": GOOD, "version": "1/2"}, "spec.model.version"),
}

ACCEPTED: dict[str, dict[str, Any]] = {
    "an object that a pod has to read": {"model": {"uri": "s3://models/qna"}},
    "a signature by a key": {
        "model": {
            "uri": GOOD,
            "signature": {"key": {"configMapKeyRef": {"name": "keys", "key": "models.pub"}}},
        }
    },
    "an image that nodes mount": {
        "model": {"uri": "oci+http://registry/qna:v3", "imageVolume": {"path": "models/qna"}}
    },
    "every request at once, after a shadow": {"canary": {"weight": 100, "shadow": {}}},
    "every request at once, after probes": {
        "canary": {"steps": [{"weight": 100}]},
        "analysis": {"probe": {}},
    },
    "every request at once, by a person": {"canary": {"weight": 100, "approval": "Manual"}},
    "the smallest": {},
    "one weight": {"canary": {"weight": 20}},
    "steps that go up": {"canary": {"steps": [{"weight": 1}, {"weight": 99, "bake": "1h30m"}]}},
    "an absolute limit alone": {
        "analysis": {
            "gates": [{"name": "x", "errorRate": {"compareWithStable": False, "maxPercent": 5}}]
        }
    },
    "a gate on predictions": {"analysis": {"gates": [{"name": "x", "predictions": {}}]}},
    "probes": {"analysis": {"probe": {"rate": 20, "timeout": "2s"}}},
    "probes for one of two gates": {
        "analysis": {
            "probe": {},
            "gates": [{"name": "x", "predictions": {}}, {"name": "y", "latency": {}}],
        }
    },
    "windows of an hour": {"drift": {"window": "1h", "sustained": {"windows": 3}}},
    "gates of one's own": {
        "analysis": {
            "gates": [
                {"name": "x", "counts": {"bad": OWN, "total": OWN, "maxPercent": 5}},
                {
                    "name": "y",
                    "threshold": {"query": "max(up{a='{{version}}'}[{{interval}}])", "min": 0.5},
                },
                {"name": "z", "latency": {}, "dryRun": True},
            ]
        }
    },
    "a Prometheus with a token and a certificate": {
        "analysis": {
            "prometheus": {
                "url": "https://p:9090/x",
                "bearerTokenSecretRef": KEY,
                "caSecretRef": KEY,
            }
        }
    },
    "a retraining": {"retrain": {"image": "i", "serviceAccountName": "trainer", "cooldown": "0s"}},
    "durations at their bounds": {
        "canary": {
            "keepPrevious": "365d",
            "startDeadline": "1s",
            "steps": [{"weight": 5, "bake": "0s"}],
        },
        "analysis": {"interval": "1s"},
        "drift": {"window": "10s"},
    },
    "a duration in any order": {"canary": {"progressDeadline": "30m1h2d"}},
    "what takes away": {
        "serving": {
            "env": [{"name": "A", "value": None}, {"name": "my.b-c", "value": "1"}],
            "resources": {
                "limits": {"cpu": 2, "memory": "1.5Gi", "nvidia.com/gpu": None},
                "requests": None,
            },
            "podTemplate": {
                "metadata": {"annotations": {"prometheus.io/scrape": None}, "labels": None},
                "spec": {"securityContext": {"runAsUser": None}, "tolerations": None},
            },
        }
    },
    "fields of a pod": {
        "serving": {
            "imagePullSecrets": [{"name": "registry"}],
            "serviceAccountName": "models",
            "nodeSelector": {"pool": "gpu"},
            "affinity": {"nodeAffinity": {}},
            "tolerations": [{"key": "gpu", "operator": "Exists"}],
            "topologySpreadConstraints": [
                {"topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}
            ],
            "priorityClassName": "high",
            "runtimeClassName": "nvidia",
            "initContainers": [{"name": "a", "image": "i", "command": ["x"]}],
            "sidecars": [{"name": "b", "image": "i", "env": [{"name": "A", "value": "1"}]}],
            "volumes": [{"name": "ca", "configMap": {"name": "ca"}}],
            "volumeMounts": [
                {"name": "ca", "mountPath": "/ca"},
                {"name": "ca", "mountPath": "/other"},
            ],
        }
    },
    "a sidecar": {
        "serving": {"podTemplate": {"spec": {"containers": [{"name": "side", "image": "x"}]}}}
    },
}


def _send(cluster: Cluster, spec: dict[str, Any], name: str = "qna") -> dict[str, Any]:
    """Have the API server take a release, and keep none; return what it made of it."""
    manifest = fixtures.release(name, "default", "", **spec)
    manifest["spec"] = spec
    arguments = ("create", "--dry-run=server", "-o", "json", "-f", "-")
    made: dict[str, Any] = json.loads(cluster.kubectl(*arguments, input=json.dumps(manifest)))
    return made


def test_a_release_that_nobody_looked_at_is_of_no_generation(cluster: Cluster) -> None:
    """So that Helm and Flux wait for it: to kstatus an object without a status is ready."""
    assert _send(cluster, {"model": {"uri": GOOD}})["status"] == {"observedGeneration": -1}


@pytest.mark.parametrize(("parts", "sentence"), REFUSED.values(), ids=REFUSED)
def test_the_api_server_refuses(cluster: Cluster, parts: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ClusterError) as refused:
        _send(cluster, {"model": {"uri": GOOD}, **parts})
    assert sentence in str(refused.value)


@pytest.mark.parametrize(("model", "sentence"), MODELS.values(), ids=MODELS)
def test_the_api_server_refuses_a_model_with(
    cluster: Cluster, model: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ClusterError) as refused:
        _send(cluster, {"model": model})
    assert sentence in str(refused.value)


def test_the_api_server_refuses_a_name_that_no_service_can_have(cluster: Cluster) -> None:
    with pytest.raises(ClusterError) as refused:
        _send(cluster, {"model": {"uri": GOOD}}, name="a" * 51)
    assert "metadata.name must be at most 50 characters" in str(refused.value)


@pytest.mark.parametrize("name", ["qna-stable", "qna-canary"])
def test_the_api_server_refuses_the_name_of_another_releases_service(
    cluster: Cluster, name: str
) -> None:
    with pytest.raises(ClusterError) as refused:
        _send(cluster, {"model": {"uri": GOOD}}, name=name)
    assert f"metadata.name {name} must not end in -stable or -canary" in str(refused.value)
    assert f"a release qna names a Service {name}" in str(refused.value)


@pytest.mark.parametrize(
    "uri",
    [
        "models:/qna@champion",
        "models:/qna/7",
        "runs:/0a1b/artifact",
        "oci://registry.example:5000/team/qna:v1.0_b",
        "hf://team/qna@main",
        f"oci+http://registry/qna@sha256:{DIGEST}",
    ],
)
def test_the_api_server_accepts_a_model_of_a_registry(cluster: Cluster, uri: str) -> None:
    _send(cluster, {"model": {"uri": uri}})


@pytest.mark.parametrize("parts", ACCEPTED.values(), ids=ACCEPTED)
def test_the_api_server_accepts(cluster: Cluster, parts: dict[str, Any]) -> None:
    _send(cluster, {"model": {"uri": GOOD}, **parts})


@pytest.mark.parametrize("parts", [parts for parts, _ in REFUSED.values()], ids=REFUSED)
def test_the_models_refuse_what_the_api_server_refuses(parts: dict[str, Any]) -> None:
    with pytest.raises(Invalid):
        ReleaseSpec.parse({"model": {"uri": GOOD}, **parts}, strict=True)


@pytest.mark.parametrize("parts", ACCEPTED.values(), ids=ACCEPTED)
def test_the_models_accept_what_the_api_server_accepts(parts: dict[str, Any]) -> None:
    assert ReleaseSpec.parse({"model": {"uri": GOOD}, **parts}, strict=True)
