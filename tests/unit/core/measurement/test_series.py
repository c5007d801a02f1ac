"""The texts by which status keeps series and bounds:
what an operator stored, the next one reads.
"""

from typing import Any

import pytest

from modelrelease_operator.core.measurement.series import (
    BAD,
    BIN,
    BOUND,
    CODE,
    LAYOUT,
    PREDICTOR,
    PROBE,
    TOTAL,
    BoundPair,
    SeriesKey,
    own_series_of,
    pair_of,
    parse,
    source_of_process,
)
from modelrelease_operator.core.observed import Counter
from modelrelease_operator.core.query_results import CounterSample

GATE = "counts/payments-1c2d3e4f"
STORED = {
    "rev2|pod-a|code=503": (CODE, "503", PREDICTOR, "rev2|pod-a"),
    "rev2|pod-a|le=0.25": (BOUND, "0.25", PREDICTOR, "rev2|pod-a"),
    "rev2|pod-a|le=+Inf": (BOUND, "+Inf", PREDICTOR, "rev2|pod-a"),
    "rev2|pod-a|bin=[0.1, 0.2)": (BIN, "[0.1, 0.2)", PREDICTOR, "rev2|pod-a"),
    "rev2|pod-a|layout=5e6f": (LAYOUT, "5e6f", PREDICTOR, "rev2|pod-a"),
    "rev2|prober|probe/code=same": (CODE, "same", PROBE, "rev2|prober"),
    "rev2|prober|probe/le=0.25": (BOUND, "0.25", PROBE, "rev2|prober"),
    f"rev2|pod-a~0a1b2c3d|total={GATE}": (TOTAL, GATE, GATE, f"rev2|pod-a|{GATE}"),
    f"rev2|pod-a~0a1b2c3d|bad={GATE}": (BAD, GATE, GATE, f"rev2|pod-a|{GATE}"),
}
"""As operators have stored them: kind, value, source and process. No text may ever change."""


@pytest.mark.parametrize("text", STORED)
def test_a_stored_series_is_read_and_written_back_the_same(text: str):
    key = parse(text)
    assert (key.kind, key.value, key.source, key.process) == STORED[text]
    assert key.revision == "rev2"
    assert key.text == text


@pytest.mark.parametrize(
    ("counted", "text"),
    [
        ({"code": "503"}, "rev2|pod-a|code=503"),
        ({"bound": "0.25"}, "rev2|pod-a|le=0.25"),
        ({"bin": "[0.1, 0.2)"}, "rev2|pod-a|bin=[0.1, 0.2)"),
        ({"layout": "5e6f"}, "rev2|pod-a|layout=5e6f"),
        ({"code": "same", "probe": True}, "rev2|pod-a|probe/code=same"),
        ({"bound": "0.25", "probe": True}, "rev2|pod-a|probe/le=0.25"),
    ],
)
def test_a_counter_is_stored_under_the_text_that_it_always_had(counted: dict[str, Any], text: str):
    counter = Counter(**{"revision": "rev2", "pod": "pod-a", "value": 1.0, **counted})
    assert SeriesKey.of(counter).text == text


@pytest.mark.parametrize(("bad", "kind"), [(True, "bad"), (False, "total")])
def test_a_gates_own_counter_is_stored_under_the_text_that_it_always_had(bad: bool, kind: str):
    one = CounterSample(revision="rev2", bad=bad, pod="pod-a", labels="0a1b2c3d", value=1.0)
    text = own_series_of(one, GATE)
    assert text == f"rev2|pod-a~0a1b2c3d|{kind}={GATE}"
    assert source_of_process(parse(text).process) == GATE


@pytest.mark.parametrize(
    ("text", "stable", "bounds"),
    [("0.1>0.25", "0.1", ("0.1", "0.25")), ("limit>0.5", None, ("0.5",))],
)
def test_a_stored_pair_of_bounds_is_read_and_written_back_the_same(
    text: str, stable: str | None, bounds: tuple[str, ...]
):
    pair = pair_of(text)
    assert pair == BoundPair(stable=stable, canary=text.split(">")[1])
    assert pair.bounds == bounds
    assert pair.text == text


def test_a_bin_may_be_named_with_the_sign_between_the_parts():
    assert parse("rev2|pod-a|bin=yes|no").process == "rev2|pod-a"
