"""What one look shows of each process, and whether that closes the open interval of evidence."""

from collections.abc import Iterable
from typing import Any

import pytest

from modelrelease_operator.api.status import Evidence
from modelrelease_operator.core.measurement.samples import (
    LAGS_AFTER,
    SLOWEST_SCRAPE,
    Sight,
    began_anew,
    is_new,
    measured_gap,
    newest,
    sight_of,
)
from modelrelease_operator.core.observed import Counter

ARMS = ("rev2", "rev1")
NOW = 1_000.0


def shows(pod: str, at: float | None, **told: Any) -> Counter:
    revision = pod.partition("-")[0]
    return Counter(
        revision=revision, pod=pod, code="200", value=told.pop("value", 10), at=at, **told
    )


def sight(
    *counters: Counter,
    ready: Iterable[str] | None = None,
    names_pods: bool = False,
    **evidence: Any,
) -> Sight:
    names = {counter.pod for counter in counters} if ready is None else set(ready)
    pods = {arm: {name for name in names if name.startswith(f"{arm}-")} for arm in ARMS}
    shown = newest(counters, ARMS, None)
    return sight_of(Evidence(**evidence), shown, ARMS, pods, names_pods=names_pods)


def many(revision: str, count: int, at: float = NOW) -> list[Counter]:
    return [shows(f"{revision}-{index}", at) for index in range(count)]


def test_an_interval_is_reached_beyond_when_every_process_has_a_newer_sample_than_any_had():
    found = sight(shows("rev1-a", NOW), shows("rev2-a", NOW + 7))
    assert found.reaches_beyond(NOW - 1)
    assert not found.reaches_beyond(NOW)
    assert (found.oldest, found.newest) == (NOW, NOW + 7)


def test_a_source_that_tells_no_times_brings_a_new_sample_with_every_look():
    assert sight(shows("rev1-a", None), shows("rev2-a", None)).reaches_beyond(NOW)


def test_without_a_process_in_each_arm_nothing_is_reached():
    assert not sight(shows("rev1-a", NOW)).reaches_beyond(None)


def test_stable_is_later_when_none_of_its_samples_is_older_than_the_canarys_newest():
    assert sight(shows("rev1-a", NOW), shows("rev2-a", NOW)).stable_is_later
    assert not sight(shows("rev1-a", NOW), shows("rev2-a", NOW + 1)).stable_is_later


def test_a_pod_that_is_not_shown_is_missing_and_not_judged():
    found = sight(
        *many("rev1", 2), *many("rev2", 2), ready=["rev1-0", "rev1-1", "rev1-9", "rev2-0", "rev2-1"]
    )
    assert found.stable.missing == ("rev1-9",)
    assert set(found.stable.judged) == {"rev1|rev1-0", "rev1|rev1-1"}


@pytest.mark.parametrize("arm", ARMS)
def test_where_pods_are_read_one_that_is_not_ready_stands_in_for_none_that_is(arm: str):
    """By another name it can only be another pod, where Prometheus may mean the same one."""
    other = next(each for each in ARMS if each != arm)
    shown = [shows(f"{arm}-leaving", NOW), shows(f"{other}-0", NOW)]
    ready = [f"{arm}-0", f"{arm}-1", f"{other}-0"]
    found = sight(*shown, ready=ready, names_pods=True)
    seen = found.canary if arm == ARMS[0] else found.stable
    assert (seen.judged, seen.missing) == ({}, (f"{arm}-0", f"{arm}-1"))
    assert not found.both
    assert sight(*shown, ready=ready).both, "the label of pods may be another one"


@pytest.mark.parametrize(("missing", "goes_on"), [(1, True), (20, True), (21, False)])
def test_a_canary_of_hundreds_goes_on_while_a_tenth_is_missing_at_most(missing: int, goes_on: bool):
    shown = many("rev2", 200)[missing:]
    found = sight(
        *many("rev1", 2), *shown, ready=[one.pod for one in (*many("rev1", 2), *many("rev2", 200))]
    )
    assert found.canary.may_go_on is goes_on


def test_a_pod_whose_newest_sample_is_old_is_not_waited_for():
    late = LAGS_AFTER * 30 + 1
    found = sight(
        *many("rev1", 3), shows("rev1-9", NOW - late), *many("rev2", 1), scrape_seconds=30.0
    )
    assert found.stable.lagging == ("rev1-9",)
    assert found.reaches_beyond(NOW - 1)


def test_before_an_interval_was_measured_the_slowest_is_reckoned_with():
    found = sight(*many("rev1", 3), shows("rev1-9", NOW - 2 * SLOWEST_SCRAPE), *many("rev2", 1))
    assert found.stable.lagging == ()


def test_an_arm_that_lags_as_a_whole_is_waited_for():
    found = sight(*many("rev1", 2, NOW - 900), *many("rev2", 1), scrape_seconds=30.0)
    assert (found.stable.lagging, len(found.stable.judged)) == ((), 2)
    assert not found.reaches_beyond(NOW - 1)


def test_pods_that_are_named_otherwise_are_judged_all():
    found = sight(*many("rev1", 2), *many("rev2", 1), ready=["rev1-x", "rev2-x"])
    assert (len(found.stable.judged), found.stable.left_out, found.canary.may_go_on) == (
        2,
        (),
        True,
    )


def test_the_prober_is_shown_and_never_waited_for():
    probed = Counter(revision="rev2", pod="prober", probe=True, code="same", value=1, at=NOW - 500)
    found = sight(*many("rev1", 1), *many("rev2", 1), probed)
    assert found.reaches_beyond(NOW - 1)
    assert any(each.probe for each in found.shown.values())


def a_process(at: float | None, started: float | None = None) -> Counter:
    return Counter(revision="rev1", pod="rev1-a", value=0, at=at, started=started)


@pytest.mark.parametrize(
    ("at", "new"), [(NOW, False), (NOW - 5, False), (NOW + 0.5, True), (None, True)], ids=str
)
def test_a_sample_that_is_not_newer_is_not_new(at: float | None, new: bool):
    assert is_new(NOW, a_process(at)) is new


@pytest.mark.parametrize(
    ("started", "anew"), [(100.0, False), (100.9, False), (102.0, True), (None, None)], ids=str
)
def test_the_start_of_a_process_tells_whether_it_began_anew(
    started: float | None, anew: bool | None
):
    known = Evidence(born={"rev1|rev1-a": 100.0})
    assert began_anew(known, "rev1|rev1-a", a_process(NOW, started)) is anew
    assert began_anew(Evidence(), "rev1|rev1-a", a_process(NOW, started)) is None


def test_the_scrape_interval_is_the_usual_time_between_two_samples():
    shown = {
        f"rev1|{name}": a_process(NOW + gap) for name, gap in (("a", 30), ("b", 31), ("c", 90))
    }
    known = Evidence(scraped=dict.fromkeys(shown, NOW))
    assert measured_gap(known, shown) == 31.0
    still = {name: a_process(NOW) for name in shown}
    assert measured_gap(known.model_copy(update={"scrape_seconds": 30.0}), still) == 30.0
