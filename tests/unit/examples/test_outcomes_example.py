"""The example joins the predictor's own events with outcomes, and its gates decide by both."""

import http.client
import random
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from examples.outcomes import outcomes as example
from examples.outcomes.outcomes import Outcomes, from_environment, serve
from modelrelease_operator.api.spec import ReleaseSpec
from modelrelease_operator.api.status import CanaryStatus, StableStatus, Status, Verdict
from modelrelease_operator.core.analysis.gates.registry import answer_of
from modelrelease_operator.core.analysis.judge import judge
from modelrelease_operator.core.measurement.queries import ARM, KIND, QueryScope
from modelrelease_operator.core.query_results import QueryResult
from modelrelease_operator.core.statistics.random_variates import binomial
from modelrelease_serving.sampling import Origin, Sample, event
from testbed.builders import START, a_target

FOLDER = Path(example.__file__).parent


class Clock:
    """Time, as a test says it."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def sampled(name: str, *answers: float, revision: str = "rev2") -> bytes:
    """Return the event that a predictor sends for one request."""
    origin = Origin(
        release="arrival", revision=revision, version=revision, features=("distance",)
    )  # fmt: skip
    rows = [[1.0]] * len(answers)
    sample = Sample(at=0.0, size=0, rows=rows, answers=list(answers), request_id=name)
    return event(sample, origin)


def predicted(counted: Outcomes, name: str, *answers: float, revision: str = "rev2") -> None:
    example.take(counted, "/events", sampled(name, *answers, revision=revision))


def counts(counted: Outcomes, revision: str = "rev2") -> tuple[int, int]:
    """Return how many outcomes of a revision were counted, and how many of them were bad."""
    counted.page()
    return counted.total["arrival", revision], counted.bad["arrival", revision]


def test_a_prediction_further_off_than_the_limit_is_bad():
    counted = Outcomes(limit=5)
    for name, answer in (("a", 30.0), ("b", 30.0), ("c", 30.0)):
        predicted(counted, name, answer)
    counted.came("a", 35.0)
    counted.came("b", 36.0)
    assert counts(counted) == (2, 1), "and one whose label did not come is not counted"


def test_a_label_that_is_no_number_is_never_good():
    counted = Outcomes(limit=5)
    predicted(counted, "a", 30.0)
    counted.came("a", float("nan"))
    assert counts(counted) == (1, 1)


def test_each_row_of_a_request_has_a_label_of_its_own():
    counted = Outcomes(limit=5)
    predicted(counted, "a", 30.0, 60.0)
    example.take(counted, "/outcomes", b'{"id": "a", "row": 1, "value": 61}')
    assert counts(counted) == (1, 0)
    assert len(counted.waiting) == 1


def test_a_revision_is_shown_with_nothing_before_its_first_outcome():
    counted = Outcomes(limit=5)
    predicted(counted, "a", 30.0)
    assert 'outcomes_total{release="arrival",revision="rev2"} 0' in counted.page()
    assert 'bad_outcomes_total{release="arrival",revision="rev2"} 0' in counted.page()


def test_a_conversion_counts_when_its_window_ends_and_not_before():
    clock = Clock()
    counted = Outcomes(window=60, clock=clock)
    predicted(counted, "buys", 0.7)
    predicted(counted, "leaves", 0.7)
    counted.came("buys", 1)
    assert counts(counted) == (0, 0), "whoever counts sales first flatters the newest version"
    clock.now = 60
    assert counts(counted) == (2, 1)


def test_a_visitor_counts_once_for_the_version_that_was_met_first():
    clock = Clock()
    counted = Outcomes(window=60, clock=clock)
    predicted(counted, "visitor", 0.7, revision="rev1")
    predicted(counted, "visitor", 0.7)
    clock.now = 60
    assert counts(counted, "rev1") == (1, 1)
    assert counts(counted) == (0, 0)


def test_what_has_no_room_is_dropped_oldest_first_and_told():
    counted = Outcomes(limit=5, most=2)
    for name in "abc":
        predicted(counted, name, 30.0)
    counted.came("a", 30.0)
    assert "outcomes_dropped_total 1" in counted.page()
    assert "outcomes_unknown_total 1" in counted.page()


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        ("/events", b'{"release": "arrival", "revision": "rev2", "data": {}}', "X-Request-ID"),
        ("/events", b"[]", "X-Request-ID"),
        ("/outcomes", b'{"id": "a"}', "an outcome is"),
        ("/outcomes", b"[1]", "an outcome is"),
        ("/outcomes", b"no JSON", "Expecting value"),
    ],
)
def test_what_is_of_no_use_is_refused_with_the_reason(path: str, body: bytes, said: str):
    with pytest.raises(ValueError, match=said):
        example.take(Outcomes(), path, body)


@pytest.mark.parametrize("env", [{}, {"LIMIT": "5", "WINDOW_SECONDS": "60"}])
def test_settings_that_say_nothing_end_it_with_a_sentence(env: dict[str, str]):
    with pytest.raises(SystemExit, match="set LIMIT"):
        from_environment(env)


def test_events_and_outcomes_come_over_http_and_counts_are_shown():
    server = serve(from_environment({"LIMIT": "5"}), 0)
    client = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=60)

    def asked(
        method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, str]:
        client.request(method, path, body, headers or {})
        answer = client.getresponse()
        return answer.status, answer.read().decode()

    try:
        assert asked("POST", "/events", sampled("a", 30.0)) == (202, "")
        assert asked("POST", "/outcomes", b'{"id": "a", "value": 50}') == (202, "")
        assert asked("POST", "/outcomes", b'{"id": "a"}')[0] == 400
        assert asked("POST", "/elsewhere", b"{}")[0] == 404
        _, page = asked("GET", "/metrics")
        too_long = {"Content-Length": str(example.MOST_BYTES + 1)}
        assert asked("POST", "/outcomes", headers=too_long)[0] == 413
    finally:
        client.close()
        server.shutdown()
        server.server_close()
    assert 'bad_outcomes_total{release="arrival",revision="rev2"} 1' in page


def shown(counted: Outcomes) -> Iterator[dict[str, Any]]:
    """Yield the page's series as Prometheus answers a gate's four queries in one."""
    names = {"outcomes_total": "total", "bad_outcomes_total": "bad"}
    for family in text_string_to_metric_families(counted.page()):
        for sample in family.samples:
            if sample.name in names:
                arm = {"rev2": "canary", "rev1": "stable"}[sample.labels["revision"]]
                labels = {ARM: arm, KIND: names[sample.name], "pod": "outcomes-1"}
                yield {"metric": labels, "value": [0, str(int(sample.value))]}


def decided(manifest: str, gate: str, *, canary: float, stable: float, each: int) -> Verdict:
    """Have a gate of the example look at versions whose predictions go bad so often; return its
    last verdict but Insufficient.
    """
    spec = ReleaseSpec.parse(yaml.safe_load((FOLDER / manifest).read_text())["spec"], strict=True)
    spec = spec.but(
        analysis=spec.analysis.but(gates=[one for one in spec.analysis.gates if one.name == gate])
    )
    (only,) = spec.analysis.gates
    scope = QueryScope(
        namespace="ml", release="arrival", interval=timedelta(seconds=10),
        canary=a_target("2"), stable=a_target("1"),
    )  # fmt: skip
    status = Status(
        stable=StableStatus(**a_target("1").parts(), since=START),
        canary=CanaryStatus(**a_target("2").parts(), since=START),
    )
    drawn, counted = random.Random(7), Outcomes()
    for revision in ("rev1", "rev2"):
        predicted(counted, "first", 30.0, revision=revision)
    for look in range(1, 60):
        answers: dict[str, QueryResult] = {gate: answer_of(only, scope, list(shown(counted)))}
        found = judge(
            spec=spec, status=status, metrics=(), answers=answers, next_weight=100,
            now=START + timedelta(minutes=look),
        )  # fmt: skip
        status = status.but(evidence=found.evidence, gates=found.gates)
        if found.verdict is not Verdict.INSUFFICIENT:
            return found.verdict
        for revision, share in (("rev2", canary), ("rev1", stable)):
            counted.total["arrival", revision] += each
            counted.bad["arrival", revision] += binomial(drawn, each, share)
    return Verdict.INSUFFICIENT


@pytest.mark.parametrize(("canary", "verdict"), [(0.1, Verdict.PASS), (0.25, Verdict.FAIL)])
def test_late_labels_decide_about_a_regression(canary: float, verdict: Verdict):
    assert decided("regression.yaml", "accuracy", canary=canary, stable=0.1, each=100) is verdict


@pytest.mark.parametrize(("canary", "verdict"), [(0.3, Verdict.PASS), (0.36, Verdict.FAIL)])
def test_a_ranking_that_loses_more_visits_is_taken_back(canary: float, verdict: Verdict):
    found = decided("conversions.yaml", "bounces", canary=canary, stable=0.3, each=2_000)
    assert found is verdict


def test_what_nearly_every_visit_does_is_no_measure():
    """The README says so: count what at most a third of the visits do."""
    found = decided("conversions.yaml", "bounces", canary=1.0, stable=0.95, each=20_000)
    assert found is Verdict.INSUFFICIENT, "not even where nobody buys any more"


def test_without_a_label_nothing_is_decided():
    found = decided("regression.yaml", "accuracy", canary=0.5, stable=0.1, each=0)
    assert found is Verdict.INSUFFICIENT


def test_both_releases_send_every_answer_to_the_example():
    _, service, _ = yaml.safe_load_all((FOLDER / "outcomes.yaml").read_text())
    address = f"http://{service['metadata']['name']}:{service['spec']['ports'][0]['port']}/events"
    for manifest in ("regression.yaml", "conversions.yaml"):
        spec = yaml.safe_load((FOLDER / manifest).read_text())["spec"]
        env = {each["name"]: each["value"] for each in spec["serving"]["env"]}
        assert env == {"SAMPLE_URL": address, "SAMPLE_SHARE": "1"}
