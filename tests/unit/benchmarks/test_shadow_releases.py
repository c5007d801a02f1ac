"""Real releases with a shadow: what the benchmark calls right, and its table."""

from dataclasses import replace
from pathlib import Path

from benchmarks.shadow_releases import CASES, Result, as_markdown, make_artifacts

RESULT = Result(
    canary="twice as slow", is_bad=True, taken_back=True, seconds=75, pairs=1500, users_requests=0,
    stable_failed=3, stable_answered=1500, sentence="in the shadow, canary 41 was the slower one",
)  # fmt: skip


def test_a_bad_canary_is_right_only_when_it_was_taken_back_unmet():
    assert RESULT.right
    assert not replace(RESULT, users_requests=1).right
    assert not replace(RESULT, taken_back=False).right


def test_a_healthy_one_is_right_when_it_is_let_on():
    healthy = replace(RESULT, canary="healthy", is_bad=False)
    assert not healthy.right
    assert replace(healthy, taken_back=False).right


def test_the_table_has_a_line_for_each_canary_with_each_run():
    other = replace(RESULT, seconds=90, pairs=2100)
    assert as_markdown([RESULT, other]).splitlines()[-1] == (
        "| twice as slow | 2 of 2 | 2 | 0 | 1.2, 1.5 | 1,500, 2,100 | 6 of 3,000 |"
    )


def test_every_version_of_a_case_is_made(tmp_path: Path):
    made = {folder.name for folder in make_artifacts(tmp_path)}
    assert made == {version for case in CASES for version in (case.stable_version,
                                                              case.canary_version)}  # fmt: skip
