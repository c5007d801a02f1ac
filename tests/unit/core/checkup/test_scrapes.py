"""Scrape intervals, and servers behind one address, from the times of raw samples."""

from modelrelease_operator.core.checkup.scrapes import scrape_seconds, several_servers, times_of

POD = frozenset({("pod", "qna-1")})


def test_the_time_between_scrapes_is_that_of_most_gaps():
    row = {"metric": {"pod": "qna-1"}, "values": [[0, "1"], [15, "1"], [30.1, "1"], [90, "1"]]}
    assert round(scrape_seconds(times_of([row])) or 0) == 15


def test_one_scrape_tells_no_interval():
    assert scrape_seconds({POD: (5.0,)}) is None
    assert scrape_seconds({}) is None


def test_one_server_that_scrapes_between_two_questions_is_one():
    assert not several_servers([{POD: (0.0, 15.0)}, {POD: (15.0, 30.0)}, {}])


def test_two_servers_see_other_moments_of_the_same_pod():
    assert several_servers([{POD: (0.0, 15.0, 30.0)}, {POD: (7.0, 22.0, 37.0)}])


def test_two_answers_that_have_no_time_in_common_tell_nothing():
    assert not several_servers([{POD: (0.0, 15.0)}, {POD: (22.0, 37.0)}])
