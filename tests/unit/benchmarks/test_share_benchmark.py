"""The measurement of the share's check: what it calls right."""

from dataclasses import replace

from benchmarks.share import GATEWAYS, Row, as_markdown, rows

ROW = Row(
    gateway="half of it", weight=10, share=0.05, rps=20, good=False, runs=300, noticed=300,
    minutes=2.25, slowest=4.0, requests=2400,
)  # fmt: skip


def test_a_gateway_that_is_off_is_right_only_when_every_run_notices_it():
    assert ROW.right
    assert not replace(ROW, noticed=299).right


def test_a_good_one_may_be_blamed_as_often_as_the_bound_says():
    assert replace(ROW, good=True, noticed=3).right
    assert not replace(ROW, good=True, noticed=9).right


def test_a_gateway_at_the_edge_of_the_room_is_a_good_one():
    assert [gateway.good for gateway in GATEWAYS if "edge" in gateway.name] == [True, True]


def test_the_table_has_a_line_for_each_gateway():
    assert as_markdown([ROW]).splitlines()[-1] == (
        "| half of it | 10 % | 5 % | 20 | 300 of 300 | 2.2 | 4.0 | 2,400 |"
    )


def test_one_run_of_each_is_right():
    assert all(row.right for row in rows(1, 1.0))
