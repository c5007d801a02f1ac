"""Tools of GitOps take a release for what it is: by what their own libraries said of each state,
recorded by `python -m testbed.gitops --record` and asked again by `make check-gitops`.
"""

import json
from typing import Any

import pytest

from testbed.gitops.__main__ import RECORDED
from testbed.gitops.situations import (
    PAGE,
    expressions_for_flux,
    script_for_argo,
    situations,
)

KNOWN: dict[str, Any] = json.loads(RECORDED.read_text())
READINGS: dict[str, dict[str, str]] = KNOWN["readings"]

MOVING = ("InProgress", "InProgress", "Progressing")
WAITING = ("InProgress", "Current", "Suspended")
SERVING = ("Current", "Current", "Healthy")
FAILED = ("Failed", "Failed", "Degraded")

EXPECTED = {
    "no operator has looked at it": MOVING,
    "the spec changed a moment ago": MOVING,
    "the first version starts": MOVING,
    "a canary is Starting": MOVING,
    "a canary is Shadowing": MOVING,
    "a canary is Progressing": MOVING,
    "a canary is Promoting": MOVING,
    "a canary is RollingBack": MOVING,
    "a person paused it": WAITING,
    "an approval is awaited": WAITING,
    "the version asked for serves": SERVING,
    "the version asked for was rejected": FAILED,
    "the spec breaks a rule": FAILED,
    "the store does not answer": MOVING,
    "passes fail": MOVING,
}


@pytest.mark.parametrize(("state", "read"), EXPECTED.items(), ids=EXPECTED)
def test_each_tool_takes_a_state_for_what_it_is(state: str, read: tuple[str, str, str]):
    assert tuple(READINGS[state][tool] for tool in ("kstatus", "flux", "argo")) == read


def test_every_state_was_read_as_the_operator_shows_it_today():
    assert KNOWN["objects"] == json.loads(json.dumps(situations()))
    assert set(READINGS) == set(EXPECTED) == set(situations())


def test_what_was_read_with_is_what_the_page_has():
    assert KNOWN["lua"] == script_for_argo()
    assert KNOWN["flux"] == expressions_for_flux()


@pytest.mark.parametrize("read", [MOVING, WAITING, SERVING, FAILED])
def test_the_pages_table_says_the_same(read: tuple[str, str, str]):
    assert f"| {' | '.join(read)} |" in PAGE.read_text()
