"""The dashboard in the chart asks only for what is exported, and its panels have their places."""

import re
from itertools import combinations
from typing import Any

import pytest

from modelrelease_contract import metrics as words
from modelrelease_operator.api.status import Reason, Verdict
from modelrelease_operator.runtime import metrics as operators
from tests.contract.test_metrics_reference import documented
from tests.support.dashboard import Question, dashboard, named, panels, questions

EVERY = questions()
EXPORTED = documented()
"""Held against the code by tests/contract/test_metrics_reference.py."""
ADDED = {words.NAMESPACE, words.POD}
"""Labels that Prometheus adds to the predictor's series."""
SELECTOR = re.compile(r"\b([a-z_]+)\{([^}]*)\}")
LABEL = re.compile(r'(\w+)\s*(?:=~|!~|!=|=)\s*"')

each_question = pytest.mark.parametrize("question", EVERY, ids=[each.where for each in EVERY])
each_panel = pytest.mark.parametrize("panel", panels(), ids=[panel["title"] for panel in panels()])


def metric_of(name: str) -> str:
    return name.removesuffix("_bucket") if name.endswith("_bucket") else name


def labels_of(name: str) -> set[str]:
    known = set(EXPORTED[metric_of(name)][1])
    known |= {"le"} if name.endswith("_bucket") else set()
    return known if name.startswith("modelrelease_") else known | ADDED


def metrics_in(question: Question) -> set[str]:
    bare = re.findall(r"\b(modelrelease_\w+)\b", question.expr)
    return {name for name, _ in SELECTOR.findall(question.expr)} | set(bare)


@each_question
def test_every_metric_that_is_asked_for_is_exported(question: Question):
    assert metrics_in(question)
    assert {metric_of(name) for name in metrics_in(question)} <= set(EXPORTED)


@each_question
def test_every_label_that_is_named_exists(question: Question):
    for name, selector in SELECTOR.findall(question.expr):
        assert set(LABEL.findall(selector)) <= labels_of(name), name
    grouped = re.findall(r"\b(?:by|on|group_left)\s*\(([^)]*)\)", question.expr)
    used = {label.strip() for group in grouped for label in group.split(",") if label.strip()}
    assert used | question.legend <= set().union(
        *(labels_of(name) for name in metrics_in(question))
    )


@each_question
def test_every_question_is_about_one_release(question: Question):
    if question.where == "variable namespace":
        return
    for name, selector in SELECTOR.findall(question.expr):
        space = "release_namespace" if name.startswith("modelrelease_") else "namespace"
        assert f'{space}="$namespace"' in selector, name
        assert 'release="$release"' in selector or question.where == "variable release", name


def test_every_reason_that_is_marked_exists_and_every_event_is_marked():
    marked = {
        reason
        for each in dashboard()["annotations"]["list"]
        for reason in re.findall(r'reason=~"([^"]*)"', each["expr"])[0].split("|")
    }
    assert marked <= set(Reason)
    told = {
        Reason.CANARY_STARTED,
        Reason.STEP_STARTED,
        Reason.PROMOTED,
        Reason.REGRESSION,
        Reason.DRIFTED,
    }
    assert told <= marked


def test_every_verdict_has_a_colour():
    (timeline,) = [panel for panel in panels() if panel["type"] == "state-timeline"]
    shown = timeline["fieldConfig"]["defaults"]["mappings"][0]["options"]
    assert {each["text"] for each in shown.values()} == set(Verdict)
    for value, each in shown.items():
        assert (
            f"{value} * max by (gate) (modelrelease_gate_verdict" in timeline["targets"][0]["expr"]
        )
        assert f'verdict="{each["text"]}"' in timeline["targets"][0]["expr"]


def test_variables_choose_a_release():
    names = [each["name"] for each in dashboard()["templating"]["list"]]
    assert names == ["datasource", "namespace", "release", "window"]
    used = {name for each in EVERY for name in re.findall(r"\$(\w+)", each.expr)}
    assert used <= {*names, "__rate_interval"}


@each_panel
def test_every_panel_says_what_it_shows_in_which_unit(panel: dict[str, Any]):
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["datasource"]["uid"] == "${datasource}"
    for target in panel["targets"]:
        assert target["legendFormat"] or len(panel["targets"]) == 1, "two lines need names"


def test_panels_do_not_overlap_and_fill_their_rows():
    boxes = [panel["gridPos"] for panel in dashboard()["panels"]]
    for one, other in combinations(boxes, 2):
        apart = (
            one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
            or one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        )  # fmt: skip
        assert apart, (one, other)
    for y in {box["y"] for box in boxes}:
        assert sum(box["w"] for box in boxes if box["y"] == y) == 24
    assert len({panel["id"] for panel in dashboard()["panels"]}) == len(boxes)


def test_every_metric_of_a_release_is_shown_somewhere():
    asked = set().union(*(metrics_in(each) for each in EVERY))
    of_a_release = {
        metric._name for metric in operators.OF_A_RELEASE if metric is not operators.DECISIONS
    }
    assert of_a_release - asked <= {
        "modelrelease_drift_values",
        "modelrelease_canary_blind_seconds",
    }


def test_legends_name_labels():
    assert named("{{track}} {{ model_version }}") == {"track", "model_version"}
