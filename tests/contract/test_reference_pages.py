"""Pages of the reference say what the code says: fields, Events, and the options of commands."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from modelrelease_operator.api.status import Reason
from tests.support import fields_reference, options_reference

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs/reference"
OPERATOR = ROOT / "operator/modelrelease_operator"
TELLING = {"noticing", "Notice"}
"""What makes an Event; its first argument, or `reason`, is the Event's reason."""


def test_the_page_of_fields_is_that_of_the_schema():
    written = fields_reference.DOCUMENT.read_text()
    assert written == fields_reference.document(), (
        f"python -m tests.support.fields_reference writes {fields_reference.DOCUMENT} anew"
    )


def test_every_field_of_the_schema_is_on_the_page():
    page = fields_reference.document()
    for field in ("model.uri", "canary.steps[].weight", "analysis.gates[].errorRate", "paused"):
        assert f"`{field}`" in page


def documented_events() -> set[str]:
    page = (REFERENCE / "modelrelease.md").read_text()
    _, _, section = page.partition("\n## Events\n")
    rows = [line for line in section.partition("\n## ")[0].splitlines() if line.startswith("| `")]
    return {word for row in rows for word in re.findall(r"`([A-Za-z]+)`", row.split("|")[1])}


def told_events() -> Iterator[str]:
    """Yield each reason that is named where an Event is made; those in variables are not seen."""
    for path in sorted(OPERATOR.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and _called(node) in TELLING:
                first = [*node.args, *(it.value for it in node.keywords if it.arg == "reason")][0]
                if isinstance(first, ast.Attribute):
                    yield Reason[first.attr]


def _called(node: ast.Call) -> str:
    named = node.func
    return named.attr if isinstance(named, ast.Attribute) else getattr(named, "id", "")


def test_every_event_that_code_names_is_documented():
    told = set(told_events())
    assert len(told) > 15
    assert told - documented_events() == set()


def test_every_documented_event_is_a_reason_that_there_is():
    assert documented_events() - set(Reason) == set()


def test_every_reason_has_a_word_in_the_reference():
    page = (REFERENCE / "modelrelease.md").read_text()
    assert [reason for reason in Reason if f"`{reason}`" not in page] == []


def test_the_page_of_options_is_that_of_the_commands():
    page = options_reference.document()
    for option in ("--max-steps", "--git-branch", "--slack-webhook", "--encoding"):
        assert option in page
    assert options_reference.DOCUMENT.read_text() == page, (
        f"python -m tests.support.options_reference writes {options_reference.DOCUMENT} anew"
    )
