"""The rules of the chart and the questions of its dashboards, by promtool: each alert fires where
it must and nowhere else, each recorded series has the right figures. Needs no cluster.
"""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.toolchain import promtool
from tests.support.dashboards import questions

FILES = Path(__file__).parents[2] / "charts/modelrelease/files"
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
