"""The chart's alert rules ask only for metrics that the operator exports, and say what to do."""

import re
from pathlib import Path

import yaml
from prometheus_client import Counter
from prometheus_client.metrics import MetricWrapperBase

from modelrelease_operator.runtime import metrics

RULES = Path(__file__).parents[2] / "charts/modelrelease/files/alerts.yaml"
(GROUP,) = yaml.safe_load(RULES.read_text())["groups"]


def exported() -> set[str]:
    found = [each for each in vars(metrics).values() if isinstance(each, MetricWrapperBase)]
    return {f"{each._name}_total" if isinstance(each, Counter) else each._name for each in found}


def test_every_metric_of_a_rule_is_exported():
    asked = {
        name for rule in GROUP["rules"] for name in re.findall(r"modelrelease_\w+", rule["expr"])
    }
    assert asked
    assert asked <= exported()


def test_every_alert_has_a_severity_and_says_what_it_means():
    for rule in GROUP["rules"]:
        assert rule["labels"]["severity"] in ("info", "warning", "critical")
        assert set(rule["annotations"]) == {"summary", "description"}
