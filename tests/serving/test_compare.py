"""The prober beside two servers that are not ours: what it asks, and what it counts as a pair."""

import json
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from modelrelease_contract.runtime import EXIT_REFUSED
from modelrelease_contract.shadow import (
    ALIKE,
    CANARY_FAILED,
    CANARY_SLOWER,
    DIFFERENT,
    NOISE_DIFFERENT,
    NOISE_SAME,
    REFUSED,
    SAME,
    SHADOW_PAIRS_TOTAL,
    SHADOW_RESULTS,
    STABLE_FAILED,
    UNREACHABLE,
    RequestForm,
    ShadowSettings,
)
from modelrelease_serving.compare import rows_of
from modelrelease_training.export import Exported
from tests.serving.support import Predictor, train, wait_until
from tests.serving.test_probe import manifests
from tests.support.predictors import process

V2 = RequestForm(
    path="/v2/models/qna/infer",
    body='{"inputs": [{"name": "x", "shape": [1, $(COUNT)], "datatype": "FP64", "data": $(ROW)}]}',
    answer=("outputs",),
)
Answer = tuple[int, Any]
Row = list[float]


class Server:
    """A model server that is not ours: what it was asked, and what it says."""

    def __init__(self, says: Callable[[Row, int], Answer]) -> None:
        self.says = says
        self.asked: list[dict[str, Any]] = []
        self.paths: set[str] = set()
        self.url = ""

    @contextmanager
    def running(self) -> Iterator["Server"]:
        """Listen on any port of this machine."""
        with ThreadingHTTPServer(("127.0.0.1", 0), self._handler()) as server:
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
            thread.start()
            self.url = f"http://127.0.0.1:{server.server_address[1]}"
            try:
                yield self
            finally:
                server.shutdown()
                thread.join()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.asked.append(body)
                outer.paths.add(self.path)
                status, answer = outer.says(body["inputs"][0]["data"], len(outer.asked))
                content = json.dumps(answer).encode()
                with suppress(BrokenPipeError):  # Who asked may have ended by now.
                    self.send_response(status)
                    self.send_header("Content-Length", str(len(content)))
                    self.end_headers()
                    self.wfile.write(content)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                """Stay silent."""

        return Handler


def sums(row: Row, number: int) -> Answer:
    """Answer as MLServer does, with an id of each request and the sum of the row."""
    return 200, _v2(sum(row), number)


def _v2(value: Any, number: int) -> dict[str, Any]:
    output = {"name": "predict", "shape": [1, 1], "datatype": "FP64", "data": [value]}
    return {"model_name": "qna", "id": f"request-{number}", "outputs": [output]}


@contextmanager
def comparing(
    folder: Path, stable: str, canary: str, form: RequestForm = V2, **wanted: Any
) -> Iterator[Predictor]:
    shadow = {"share": 1, "per_second": 500, "noise_share": 0.5, "slower_ratio": 1.5,
              "slower_seconds": 0.05, **wanted}  # fmt: skip
    (folder / "last-words").touch()
    environment = {
        "MODEL_PATH": str(folder), "MODELRELEASE_RELEASE": "qna", "MODELRELEASE_REVISION": "new",
        "PROBE_STABLE_REVISION": "old", "PROBE_STABLE_URL": stable, "PROBE_CANARY_URL": canary,
        "MODELRELEASE_SHADOW": ShadowSettings.model_validate(shadow).model_dump_json(),
        "SHADOW_STABLE_FORM": form.model_dump_json(), "SHADOW_CANARY_FORM": form.model_dump_json(),
        "TERMINATION_LOG": str(folder / "last-words"),
    }  # fmt: skip
    with process("compare", **environment) as running:
        yield running


def counted(running: Predictor) -> dict[str, float]:
    """Return the pairs by result, and check whose they are."""
    samples = [
        sample
        for family in text_string_to_metric_families(running.get("/metrics")[1])
        for sample in family.samples
        if sample.name == SHADOW_PAIRS_TOTAL
    ]
    whose = {
        tuple(sample.labels[name] for name in ("release", "revision", "canary"))
        for sample in samples
    }
    assert whose <= {("qna", "old", "new")}
    return {sample.labels["result"]: sample.value for sample in samples}


def after(running: Predictor, number: int, *results: str) -> dict[str, float]:
    """Return the counts once there are so many of these results."""

    def enough() -> bool:
        counts = counted(running)
        return sum(counts.get(result, 0) for result in results) >= number

    wait_until(f"{number} of {results} are counted", enough)
    return counted(running)


SLOW_SECONDS = 0.8
"""Far more than a busy machine makes one of two requests wait for."""


def pairs(
    artifact: Exported, folder: Path, canary: Callable[[Row, int], Answer], *results: str,
    stable: Callable[[Row, int], Answer] = sums, number: int = 50, **wanted: Any,
) -> dict[str, float]:  # fmt: skip
    """Return what was counted of two servers once there are so many of these results."""
    manifests(folder, artifact, artifact)
    with ExitStack() as stack:
        old, new = (stack.enter_context(Server(says).running()) for says in (stable, canary))
        running = stack.enter_context(comparing(folder, old.url, new.url, **wanted))
        return after(running, number, *results)


def test_both_are_asked_the_example_rows_and_what_is_not_compared_may_differ(
    artifact: Exported, tmp_path: Path
) -> None:
    manifests(tmp_path, artifact, artifact)
    with (
        Server(sums).running() as stable,
        Server(sums).running() as canary,
        comparing(tmp_path, stable.url, canary.url) as running,
    ):
        counts = after(running, 100, SAME)
        running.send(signal.SIGTERM)
        assert running.wait() == 0
    assert set(counts) == set(SHADOW_RESULTS)
    assert counts[NOISE_SAME] > 10
    assert counts[ALIKE] > 10
    assert not any(counts[bad] for bad in (DIFFERENT, CANARY_FAILED, REFUSED, NOISE_DIFFERENT))
    rows = [list(row) for row in artifact.manifest.examples.rows]
    for server in (stable, canary):
        assert server.paths == {"/v2/models/qna/infer"}
        assert all(asked["inputs"][0]["data"] in rows for asked in server.asked)
        assert all(asked["inputs"][0]["shape"] == [1, len(rows[0])] for asked in server.asked)
    assert running.logged("stopped")[0]["same"] >= 100


@pytest.mark.parametrize(
    ("answer", "result"),
    [
        pytest.param((200, _v2(1e9, 0)), DIFFERENT, id="another number"),
        pytest.param((200, _v2("high", 0)), DIFFERENT, id="a text"),
        pytest.param((200, {"outputs": []}), DIFFERENT, id="of another shape"),
        pytest.param((200, {"predictions": [1]}), CANARY_FAILED, id="without what is compared"),
        pytest.param((200, "fine"), CANARY_FAILED, id="no such document"),
        pytest.param((500, {}), CANARY_FAILED, id="an error"),
        pytest.param((422, {}), CANARY_FAILED, id="a refusal, which stable does not give"),
    ],
)
def test_what_a_canary_that_answers_otherwise_counts_as(
    artifact: Exported, tmp_path: Path, answer: Answer, result: str
) -> None:
    counts = pairs(artifact, tmp_path, lambda _row, _number: answer, result)
    assert counts[SAME] == 0


def test_a_little_more_is_the_same_up_to_the_tolerance(artifact: Exported, tmp_path: Path) -> None:
    def a_little_more(row: Row, number: int) -> Answer:
        return 200, _v2(sum(row) + 0.001, number)

    counts = pairs(artifact, tmp_path, a_little_more, SAME, tolerance=0.01)
    assert counts[DIFFERENT] == 0


def test_stable_that_differs_from_itself_is_counted_as_noise(
    artifact: Exported, tmp_path: Path
) -> None:
    def anything(_row: Row, number: int) -> Answer:
        return 200, _v2(number, number)

    counts = pairs(artifact, tmp_path, sums, NOISE_DIFFERENT, stable=anything, number=10)
    assert counts[NOISE_SAME] == 0


def test_a_slow_canary_is_the_slower_one(artifact: Exported, tmp_path: Path) -> None:
    waits = threading.Event()

    def slowly(row: Row, number: int) -> Answer:
        waits.wait(SLOW_SECONDS)
        return sums(row, number)

    counts = pairs(artifact, tmp_path, slowly, CANARY_SLOWER, number=2, noise_share=1)
    assert counts[ALIKE] == 0


def test_a_canary_that_is_slow_only_while_nobody_asks_it_is_not_the_slower_one(
    artifact: Exported, tmp_path: Path
) -> None:
    waits = threading.Event()

    def slow_at_first(row: Row, number: int) -> Answer:
        waits.wait(SLOW_SECONDS * (number % 2))
        return sums(row, number)

    half = SLOW_SECONDS / 2
    counts = pairs(
        artifact, tmp_path, slow_at_first, ALIKE, number=5, noise_share=1, slower_seconds=half
    )
    assert counts[CANARY_SLOWER] == 0


def test_a_failure_of_stable_alone_speaks_for_the_canary(
    artifact: Exported, tmp_path: Path
) -> None:
    examples = len(artifact.manifest.examples.rows)

    def fails_later(row: Row, number: int) -> Answer:
        return sums(row, number) if number <= examples else (500, {})

    counts = pairs(artifact, tmp_path, sums, STABLE_FAILED, stable=fails_later)
    assert counts[CANARY_FAILED] == 0


def test_examples_that_stable_does_not_answer_prove_nothing(
    artifact: Exported, tmp_path: Path
) -> None:
    def nothing(_row: Row, _number: int) -> Answer:
        return 422, {}

    counts = pairs(artifact, tmp_path, nothing, REFUSED, stable=nothing, number=1)
    assert sum(counts.values()) == counts[REFUSED]


def test_examples_are_tried_no_faster_than_pairs_are_asked(
    artifact: Exported, tmp_path: Path
) -> None:
    asked_at: list[float] = []

    def refuses(row: Row, number: int) -> Answer:
        asked_at.append(time.monotonic())
        return 429, {}

    manifests(tmp_path, artifact, artifact)
    with (
        Server(refuses).running() as server,
        comparing(tmp_path, server.url, server.url, per_second=10),
    ):
        wait_until("four examples are tried", lambda: len(asked_at) > 3)
    assert asked_at[3] - asked_at[0] > 0.25


def test_only_examples_that_stable_answers_are_asked(artifact: Exported, tmp_path: Path) -> None:
    hard = list(artifact.manifest.examples.rows[0])

    def but_one(row: Row, number: int) -> Answer:
        return (500, {}) if row == hard else sums(row, number)

    counts = pairs(artifact, tmp_path, but_one, SAME, stable=but_one)
    assert (counts[REFUSED], counts["both_failed"]) == (1, 0)


def test_a_canary_that_nobody_answers_for_makes_no_pair(artifact: Exported, tmp_path: Path) -> None:
    manifests(tmp_path, artifact, artifact)
    with (
        Server(sums).running() as stable,
        comparing(tmp_path, stable.url, "http://127.0.0.1:9") as running,
    ):
        counts = after(running, 20, UNREACHABLE)
    assert counts[CANARY_FAILED] == counts[SAME] == 0


def test_nothing_is_asked_while_the_canary_warms_up(artifact: Exported, tmp_path: Path) -> None:
    manifests(tmp_path, artifact, artifact)
    with (
        Server(sums).running() as stable,
        comparing(tmp_path, stable.url, stable.url, warm_up_seconds=600) as running,
    ):
        counts = after(running, 0)
    assert set(counts) == set(SHADOW_RESULTS), "the counters are there to count from"
    assert not stable.asked


def test_rows_of_a_canary_that_takes_others_are_not_asked(
    artifact: Exported, tmp_path: Path
) -> None:
    mine, other = artifact.manifest, train(tmp_path, "2", seed=8).manifest
    both = rows_of(mine, other)
    assert len(both) > len(mine.examples.rows)
    renamed = tuple(each.model_copy(update={"name": f"x_{each.name}"}) for each in other.features)
    assert len(rows_of(mine, other.model_copy(update={"features": renamed}))) == len(
        mine.examples.rows
    )


def test_what_is_missing_is_said(artifact: Exported, tmp_path: Path) -> None:
    manifests(tmp_path, artifact, artifact)
    with comparing(tmp_path, "", "http://b") as running:
        assert running.wait() == EXIT_REFUSED
    assert "needs PROBE_STABLE_URL" in (tmp_path / "last-words").read_text()


def test_a_row_goes_where_the_form_says_and_nowhere_into_itself() -> None:
    form = RequestForm(path="/", body='{"row": $(ROW), "named": $(COLUMNS), "size": $(COUNT)}')
    row: dict[str, float | str | None] = {"a": 1.5, "b": "$(COUNT)", "c": None}
    assert json.loads(form.body_for(row)) == {"row": [1.5, "$(COUNT)", None], "named": row,
                                              "size": 3}  # fmt: skip
