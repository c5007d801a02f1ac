"""How soon a Gateway follows: what stands behind it, and what is printed."""

import json

from benchmarks.gateways import (
    ARMS,
    WAITS,
    Answer,
    Callers,
    Figures,
    Met,
    Moved,
    as_markdown,
    objects,
    rules,
)
from cluster.gateways import CONTOUR


def test_one_of_two_services_behind_the_route_has_all_requests():
    everything = objects(CONTOUR)
    assert json.loads(json.dumps(everything)) == everything
    assert everything[-1]["spec"]["parentRefs"] == [CONTOUR.parent]
    weights = {each["name"]: each["weight"] for each in rules("two")[0]["backendRefs"]}
    assert weights == {"one": 0, "two": 100}
    services = {each["metadata"]["name"] for each in everything if each["kind"] == "Service"}
    assert services == set(ARMS)


def test_what_failed_and_how_long_is_summed_up_by_kind():
    moved = [
        Moved(soon=False, taken=0.5, followed=0.0, requests=400, failed=0),
        Moved(soon=False, taken=1.0, followed=2.0, requests=600, failed=1),
    ]
    at_once = Met(wait=WAITS[0], requests=1000, failed=7, last=1.25)
    later = Met(wait=WAITS[1], requests=2000, failed=0, last=0.0)
    lines = as_markdown(Figures(gateway="Some 1.2", moved=moved, met=[at_once, later])).splitlines()
    assert lines[2] == "| weights moved | 0.75 s, 1.00 s | 1.00 s, 2.00 s | 1,000 | 1 |"
    assert lines[3].endswith("right back | - | - | 0 | 0 |")
    assert lines[4].endswith("ready under it | - | 1.25 s, 1.25 s | 1,000 | 7 |")
    assert lines[5].endswith("all weight | - | 0.00 s, 0.00 s | 2,000 | 0 |")


def test_answers_are_those_to_what_was_sent_since_then():
    callers = Callers(address="", answers=[Answer(sent=1, by="one"), Answer(sent=3, by="503")])
    assert [answer.by for answer in callers.since(2)] == ["503"]
