"""The alert rules of the chart, by promtool: each fires where it must, and nowhere else.
Needs no cluster.
"""

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from cluster.toolchain import promtool

ROOT = Path(__file__).parents[2]
RULES = ROOT / "charts/modelrelease/files/alerts.yaml"
TESTS = Path(__file__).with_name("alerts.test.yaml")


@pytest.fixture(scope="session")
def tool() -> Path:
    return promtool()


def run(*command: str | Path) -> str:
    found = subprocess.run([*command], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr
    return found.stdout


def test_the_rules_are_well_formed(tool: Path) -> None:
    assert "SUCCESS" in run(tool, "check", "rules", RULES)


def test_every_alert_fires_where_it_must_and_nowhere_else(tool: Path, tmp_path: Path) -> None:
    for file in (RULES, TESTS):
        shutil.copy(file, tmp_path / file.name)
    assert "SUCCESS" in run(tool, "test", "rules", tmp_path / TESTS.name)


def test_no_alert_is_untested() -> None:
    rules = yaml.safe_load(RULES.read_text())["groups"][0]["rules"]
    tested = {
        case["alertname"]
        for test in yaml.safe_load(TESTS.read_text())["tests"]
        for case in test["alert_rule_test"]
        if case["exp_alerts"]
    }
    assert {rule["alert"] for rule in rules} == tested
