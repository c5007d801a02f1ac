"""The rules of the chart and the questions of its dashboards, by promtool: each alert fires where
it must and nowhere else, each recorded series has the right figures. Needs no cluster.
"""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.toolchain import helm, promtool
from tests.support.dashboards import questions

CHART = Path(__file__).parents[2] / "charts/modelrelease"
FILES = CHART / "files"
RULES = FILES / "alerts.yaml"
RECORDING = FILES / "recording-rules.yaml"
TESTS = {
    RULES: Path(__file__).with_name("alerts.test.yaml"),
    RECORDING: Path(__file__).with_name("recording-rules.test.yaml"),
}


@pytest.fixture(scope="session")
def tool() -> Path:
    return promtool()


def run(*command: str | Path) -> str:
    found = subprocess.run([*command], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr
    return found.stdout


def rules(file: Path) -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(file.read_text())["groups"] for rule in group["rules"]]


@pytest.mark.parametrize("file", TESTS, ids=lambda file: file.stem)
def test_the_rules_are_well_formed(tool: Path, file: Path) -> None:
    assert "SUCCESS" in run(tool, "check", "rules", file)


@pytest.mark.parametrize("file", TESTS, ids=lambda file: file.stem)
def test_every_rule_does_what_it_must_and_nothing_else(
    tool: Path, tmp_path: Path, file: Path
) -> None:
    for each in (file, TESTS[file]):
        shutil.copy(each, tmp_path / each.name)
    assert "SUCCESS" in run(tool, "test", "rules", tmp_path / TESTS[file].name)


def test_every_alert_is_seen_to_fire_and_seen_not_to() -> None:
    cases = [
        case
        for test in yaml.safe_load(TESTS[RULES].read_text())["tests"]
        for case in test["alert_rule_test"]
    ]
    every = {rule["alert"] for rule in rules(RULES)}
    assert {case["alertname"] for case in cases if case["exp_alerts"]} == every
    assert {case["alertname"] for case in cases if not case["exp_alerts"]} == every


def test_no_recorded_series_is_untested() -> None:
    asked = [
        case["expr"]
        for test in yaml.safe_load(TESTS[RECORDING].read_text())["tests"]
        for case in test["promql_expr_test"]
    ]
    for rule in rules(RECORDING):
        assert any(rule["record"] in expr for expr in asked), rule["record"]


def rendered(value: str, kind: str) -> list[dict[str, Any]]:
    """Return what the chart makes of a file of rules."""
    chosen = f"{value}.enabled=true,{value}.kind={kind},{value}.labels.release=stack"
    raw = run(helm(), "template", "ours", CHART, "--set", chosen)
    return [
        each
        for each in yaml.safe_load_all(raw)
        if each and each["metadata"].get("labels", {}).get("release") == "stack"
    ]


@pytest.mark.parametrize(
    ("value", "file"),
    [("alerts", RULES), ("recordingRules", RECORDING)],
    ids=["alerts", "recorded"],
)
def test_the_chart_hands_rules_on_as_an_object_or_as_a_file(value: str, file: Path) -> None:
    groups = yaml.safe_load(file.read_text())
    (rule,) = rendered(value, "PrometheusRule")
    assert (rule["kind"], rule["spec"]) == ("PrometheusRule", groups)
    (mounted,) = rendered(value, "ConfigMap")
    assert [yaml.safe_load(text) for text in mounted["data"].values()] == [groups]


def test_the_chart_has_no_rules_unless_it_is_asked_for_some() -> None:
    kinds = [each["kind"] for each in yaml.safe_load_all(run(helm(), "template", CHART)) if each]
    assert "PrometheusRule" not in kinds


def test_every_question_of_a_dashboard_is_promql(tool: Path, tmp_path: Path) -> None:
    """Dressed up as rules that record it: promtool checks those without a Prometheus."""
    values = {"namespace": "ml", "release": "qna"}
    recorded = [
        {"record": f"asked:{number}", "expr": question.about(values)}
        for number, question in enumerate(questions())
    ]
    file = tmp_path / "asked.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "asked", "rules": recorded}]}))
    assert f"{len(recorded)} rules found" in run(tool, "check", "rules", file)
