"""From looks to intervals of evidence: what is counted, and when it is given to the tests."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta

import pytest

from modelrelease_operator.api.status import Evidence
from modelrelease_operator.core.measurement.intervals import Counted, Moment, count, with_horizon
from modelrelease_operator.core.measurement.samples import newest, sight_of
from modelrelease_operator.core.measurement.series import PREDICTOR, PROBE
from modelrelease_operator.core.observed import Counter
from testbed.builders import START

ARMS = ("rev2", "rev1")
Pods = Mapping[str, tuple[float | None, int]]
"""By pod: when it was scraped, and its requests so far."""


@dataclass
class Looks:
    """Looks one after the other."""

    ready: Iterable[str] | None = None
    evidence: Evidence = field(default_factory=Evidence)
    waited: float = 0.0

    def look(
        self, pods: Pods, *, born: float | None = 0.0, probes: tuple[float, int] | None = None
    ) -> Counted:
        counters = [
            Counter(revision=pod[:4], pod=pod, code="200", value=value, at=at, started=born)
            for pod, (at, value) in pods.items()
        ]
        if probes:
            at, value = probes
            counters += [
                Counter(revision=arm, pod="prober", probe=True, code="same", value=value, at=at)
                for arm in ARMS
            ]
        shown = newest(counters, ARMS, None)
        names = set(pods if self.ready is None else self.ready)
        ready = {arm: {name for name in names if name.startswith(arm)} for arm in ARMS}
        sight = sight_of(self.evidence, shown, ARMS, ready)
        self.waited += 10
        now = START + timedelta(seconds=self.waited)
        moment = Moment(
            canary="rev2",
            stable="rev1",
            buckets=frozenset(),
            waited=timedelta(seconds=self.waited),
            now=now,
        )
        found = count(with_horizon(self.evidence, sight), shown, sight, (), moment)
        self.evidence = found.evidence
        return found


def begun(**changes: object) -> Looks:
    """Return looks of a step at which counting has begun: the newest sample then was of 110 s."""
    looks = Looks()
    looks.look({"rev1-a": (90, 500), "rev2-a": (95, 10)})
    found = looks.look({"rev1-a": (105, 600), "rev2-a": (110, 20)})
    assert found.evidence.started
    assert found.evidence.horizon == 110
    looks.evidence = looks.evidence.model_copy(update=changes)
    return looks


def closed(found: Counted, source: str = PREDICTOR) -> dict[str, int] | None:
    """Return the requests of each revision in the interval that closed,
    or None while it stays open.
    """
    if source not in found.closed:
        return None
    return {
        revision: sum(kinds.values()) for revision, kinds in found.closed[source].items() if kinds
    }


def test_counting_begins_with_a_sample_of_each_process_taken_at_the_steps_weight():
    looks = Looks()
    assert not looks.look({"rev1-a": (90, 500), "rev2-a": (95, 10)}).evidence.started
    assert not looks.look({"rev1-a": (105, 600), "rev2-a": (95, 10)}).evidence.started
    found = looks.look({"rev1-a": (105, 600), "rev2-a": (110, 20)})
    assert found.evidence.started
    assert PREDICTOR in found.left_out


def test_what_was_counted_before_is_known_of_stable_and_compared_with_nothing():
    looks = Looks()
    looks.look({"rev1-a": (90, 500), "rev2-a": (95, 10)})
    found = looks.look({"rev1-a": (105, 600), "rev2-a": (110, 20)})
    assert found.before["rev1"] == {"code=200": 100}
    assert (found.increments, found.evidence.pending) == ({}, {})


def test_counting_does_not_begin_while_a_ready_pod_was_never_shown_until_patience_ends():
    looks = Looks(ready=["rev1-a", "rev1-b", "rev2-a"])
    for at in range(90, 220, 10):
        assert not looks.look({"rev1-a": (at, at), "rev2-a": (at + 1, at)}).evidence.started
    looks.look({"rev1-a": (230, 230), "rev2-a": (231, 231)})
    assert looks.evidence.started
    found = looks.look({"rev1-a": (240, 240), "rev1-b": (241, 9_000), "rev2-a": (242, 242)})
    assert found.increments["rev1"] == {"code=200": 10}, "whoever is shown later had begun before"


def test_an_interval_closes_when_each_process_has_a_sample_newer_than_any_had():
    looks = begun()
    assert closed(looks.look({"rev1-a": (120, 700), "rev2-a": (110, 20)})) is None
    assert closed(looks.look({"rev1-a": (120, 700), "rev2-a": (125, 30)})) == {
        "rev1": 100,
        "rev2": 10,
    }
    assert looks.evidence.horizon == 125
    assert closed(looks.look({"rev1-a": (121, 720), "rev2-a": (130, 40)})) is None


def test_an_open_interval_is_added_to_and_loses_nothing():
    looks = begun()
    for step in range(1, 5):
        assert (
            closed(looks.look({"rev1-a": (110 + step, 600 + 50 * step), "rev2-a": (110, 20)}))
            is None
        )
    assert closed(looks.look({"rev1-a": (120, 900), "rev2-a": (121, 25)})) == {
        "rev1": 300,
        "rev2": 5,
    }
    assert looks.evidence.pending == {}


def test_a_sample_that_is_not_newer_is_another_servers_past_and_counts_nothing():
    looks = begun()
    looks.look({"rev1-a": (120, 700), "rev2-a": (110, 20)})
    assert looks.look({"rev1-a": (112, 640), "rev2-a": (108, 15)}).increments == {}
    assert closed(looks.look({"rev1-a": (121, 710), "rev2-a": (122, 30)})) == {
        "rev1": 110,
        "rev2": 10,
    }


def test_a_value_that_fell_in_a_process_that_did_not_restart_adds_nothing():
    looks = begun()
    assert looks.look({"rev1-a": (120, 550), "rev2-a": (121, 30)}).increments.get("rev1") is None


def test_a_process_that_began_anew_counts_from_0_although_its_value_rose():
    looks = begun()
    found = looks.look({"rev1-a": (120, 700), "rev2-a": (121, 30)}, born=115.0)
    assert found.increments == {"rev1": {"code=200": 700}, "rev2": {"code=200": 30}}
    assert found.evidence.resets == [1, 1]


def test_the_canarys_counts_wait_until_stable_answered_something():
    looks = begun()
    assert closed(looks.look({"rev1-a": (120, 600), "rev2-a": (121, 30)})) is None
    assert closed(looks.look({"rev1-a": (130, 650), "rev2-a": (131, 40)})) == {
        "rev1": 50,
        "rev2": 20,
    }
    assert closed(looks.look({"rev1-a": (140, 700), "rev2-a": (141, 40)})) == {"rev1": 50}


def test_an_interval_in_which_an_arm_had_no_ready_pod_is_left_out():
    looks = begun(uneven=True)
    found = looks.look({"rev1-a": (120, 700), "rev2-a": (121, 30)})
    assert (closed(found), found.left_out, found.evidence.uneven) == (
        None,
        frozenset({PREDICTOR}),
        False,
    )
    assert closed(looks.look({"rev1-a": (130, 800), "rev2-a": (131, 40)})) == {
        "rev1": 100,
        "rev2": 10,
    }


def test_an_answer_without_counters_moves_nothing():
    looks = begun()
    before = looks.evidence
    assert looks.look({}).evidence == before


def test_a_new_pod_counts_from_0_and_one_that_served_before_does_not():
    looks = begun()
    found = looks.look({"rev1-a": (120, 600), "rev1-b": (120, 70), "rev2-a": (121, 20)}, born=0.0)
    assert found.increments == {}, "it had begun before counting did"
    looks = begun()
    shown = {"rev1-a": (120.0, 600), "rev2-a": (121.0, 20)}
    looks.look(shown)
    found = looks.look({"rev1-b": (130, 70)}, born=125.0)
    assert found.increments == {"rev1": {"code=200": 70}}


def test_probes_close_with_each_scrape_of_the_prober():
    looks = begun()
    looks.look({"rev1-a": (120, 700), "rev2-a": (110, 20)}, probes=(111, 5))
    found = looks.look({"rev1-a": (120, 700), "rev2-a": (110, 20)}, probes=(121, 9))
    assert closed(found) is None
    assert closed(found, PROBE) == {"rev1": 4, "rev2": 4}


@pytest.mark.parametrize("seconds", [2, 15, 60])
def test_the_scrape_interval_is_measured(seconds: int):
    looks = begun()
    looks.look({"rev1-a": (105 + seconds, 700), "rev2-a": (110 + seconds, 30)})
    assert looks.evidence.scrape_seconds == seconds


def test_a_source_without_times_closes_at_every_look():
    looks = Looks()
    looks.look({"rev1-a": (None, 500), "rev2-a": (None, 10)}, born=None)
    found = looks.look({"rev1-a": (None, 600), "rev2-a": (None, 20)}, born=None)
    assert closed(found) == {"rev1": 100, "rev2": 10}
