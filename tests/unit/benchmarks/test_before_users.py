"""The comparison of releases with a shadow and without: what it calls right."""

from dataclasses import replace

from benchmarks.before_users import Row, as_markdown, rows

ROW = Row(
    canary="twice as slow", shadow=True, runs=3, promoted=0, taken_back_unmet=3, taken_back=3,
    minutes=1.25, user_requests=0, bad_answers=0,
)  # fmt: skip


def test_a_bad_canary_is_right_only_when_no_user_has_met_it():
    assert ROW.right
    assert not replace(ROW, taken_back_unmet=2).right
    assert replace(ROW, shadow=False, taken_back_unmet=0).right


def test_a_healthy_one_is_right_when_every_run_promotes_it():
    healthy = replace(ROW, canary="healthy", taken_back=0, taken_back_unmet=0)
    assert not healthy.right
    assert replace(healthy, promoted=3).right


def test_the_table_has_a_line_for_each_canary_and_way():
    assert as_markdown([ROW]).splitlines()[-1] == (
        "| twice as slow | yes | 0 of 3 | 3 of 3 | 3 | 1.2 | 0 | 0 |"
    )


def test_one_run_of_each_is_right():
    assert all(row.right for row in rows(1, 20.0))
