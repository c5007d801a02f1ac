"""The chart's page says what its values and their schema say, and each option has words."""

import pytest

from tests.support.chart import SCHEMA, options
from tests.support.chart_reference import parts, reference, told


def test_the_page_is_written_from_the_chart():
    """`python -m tests.support.chart_reference` writes it anew."""
    _, written, _ = parts()
    assert written == reference()


@pytest.mark.parametrize("path", options())
def test_an_option_has_words_of_its_own_in_the_values(path: str):
    assert told()[path], f"values.yaml says nothing above {path}"


def test_every_group_refuses_what_it_does_not_know():
    """A misspelt option is one that somebody believes to be set."""
    groups = {"": SCHEMA} | {
        name: rule for name, rule in SCHEMA["properties"].items() if "properties" in rule
    }
    assert len(groups) > 15
    assert [name for name, rule in groups.items() if rule.get("additionalProperties", True)] == []
