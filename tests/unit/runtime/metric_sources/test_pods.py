"""Pods as a source: whatever a pod, its page or the API server does, counts are right or absent."""

import asyncio
import gzip
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from typing_extensions import override

from modelrelease_operator.api import names
from modelrelease_operator.core.measurement.intervals import FAR_AHEAD
from modelrelease_operator.core.observed import Counter, Metrics, MetricsUnavailable
from modelrelease_operator.errors import Unavailable
from modelrelease_operator.runtime.metric_sources.pods.addresses import addresses_of, probers_of
from modelrelease_operator.runtime.metric_sources.pods.clock import Clock
from modelrelease_operator.runtime.metric_sources.pods.page import Lines
from modelrelease_operator.runtime.metric_sources.pods.reader import PageReader
from modelrelease_operator.runtime.metric_sources.pods.readings import (
    PAIR_NAMES,
    PROBE_NAMES,
    page_of,
    pairs_of,
    probes_of,
)
from modelrelease_operator.serving_runtimes import runtime_for
from modelrelease_operator.serving_runtimes.predictor import PREDICTOR
from testbed.servers import Handler, hanging_up, never
from tests.support.pods import Reading, a_page, a_pod, a_prober, pods_showing

CANARY = a_pod("canary-a", "127.0.0.2")
STABLE = a_pod("stable-a", "127.0.0.3", revision="rev1")
MLSERVER_PAGE = Path(__file__).parents[2] / "serving_runtimes" / "pages" / "mlserver.txt"
QNA = ("ml", "qna")
STABLE_PAGE = {"127.0.0.3": a_page("rev1", {"200": 90, "500": 1})}


async def counters(reading: Reading, *, probes: bool = False) -> tuple[Counter, ...]:
    """Return what is read, which must be counters."""
    found = await reading.source.read_counters(reading.of, predictions=False, probes=probes)
    assert not isinstance(found, MetricsUnavailable), found
    return found


async def read(reading: Reading) -> Metrics:
    return await reading.source.read_counters(reading.of, predictions=False, probes=False)


def by_code(found: tuple[Counter, ...]) -> dict[tuple[str, str], float]:
    return {(it.pod, it.code): it.value for it in found if it.code is not None}


async def until_gone(reading: Reading) -> None:
    """Wait until no pod is followed any more."""
    tasks = reading.source._farewells._tasks
    while tasks:
        await asyncio.wait(list(tasks.values()))


async def why_missing(reading: Reading, *pods: str) -> str | None:
    return await reading.source.explain_missing(reading.of, revision="rev2", pods=pods)


# --- pages


def saying(text: str, status: int = 200) -> Handler:
    async def handler(_: web.Request) -> web.Response:
        return web.Response(text=text, status=status)

    return handler


def sending(body: bytes) -> Handler:
    async def handler(_: web.Request) -> web.Response:
        return web.Response(body=body)

    return handler


async def elsewhere(_: web.Request) -> web.Response:
    raise web.HTTPFound("http://127.0.0.1:1/")


async def flooding(request: web.Request) -> web.StreamResponse:
    answer = web.StreamResponse()
    await answer.prepare(request)
    line = b'feature_bin_total{feature="age",bin="0"} 1\n' * 20_000
    for _ in range(100):
        await answer.write(line)
    return answer


class Refusing(ThreadPoolExecutor):
    """Everybody's executor, where nobody may put work."""

    @override
    def submit(self, *_: object, **__: object) -> Any:
        raise AssertionError


def wide(labels: int) -> str:
    """Return a line of a series with so many labels."""
    return "predictions_total{" + ",".join(f'l{n}="x"' for n in range(labels)) + "} 1\n"


async def exploding(_: web.Request) -> web.Response:
    """Answer with a few bytes that unpack to millions of lines."""
    body = gzip.compress(b"\n" * 1_000_000 + wide(600).encode())
    return web.Response(body=body, headers={"Content-Encoding": "gzip"})


HARMFUL: dict[str, tuple[str | Handler, str]] = {
    "is a login page": ("<html>Sign in</html>", "shows no predictions_total of revision rev2"),
    "is empty": ("", "shows no predictions_total of revision rev2"),
    "is not there": (saying("no", 404), "answered with HTTP status 404"),
    "wants a password": (saying("no", 401), "answered with HTTP status 401"),
    "is broken": (saying("no", 500), "answered with HTTP status 500"),
    "leads elsewhere": (elsewhere, "leads elsewhere, or is no address that a pod can have"),
    "hangs up": (hanging_up, "does not answer (it hangs up)"),
    "never comes": (never, "does not answer (not all of it within 0.5 s): it must listen there"),
    "floods": (flooding, "answered with more than 8,388,608 bytes"),
    "has no lines": ("x" * 100_000, "shows no page of metrics"),
    "has lines without end": ("predictions_total{" * 9_000, "shows no page of metrics"),
    "has a series of too many labels": (
        a_page() + wide(600),
        "shows a series with a line of more than 2,048 bytes",
    ),
    "has too many bytes of series": (
        wide(200) * 200,
        "shows more than 2,000 series or 262,144 bytes of the names that are read",
    ),
    "has too many series": (
        'predictions_total{code="200"} 1\n' * 2_001,
        "shows more than 2,000 series or 262,144 bytes of the names that are read",
    ),
    "unpacks to millions of lines": (exploding, "shows a series with a line of more than 2,048"),
    "is no text": (sending(b'predictions_total{code="\xff"} 1\n'), "shows no page of metrics"),
    "breaks off in a label": ('predictions_total{code="200\n', "shows no page of metrics"),
    "counts in words": ('predictions_total{code="200"} many\n', "shows no page of metrics"),
    "has no labels": ("predictions_total 7\n", "shows no predictions_total of revision rev2"),
    "began never": (
        a_page().replace("seconds 1000.0", "seconds NaN"),
        "shows process_start_time_seconds nan, which is no time",
    ),
    "is another revision's": (
        a_page("rev9"),
        "shows counters of another release or revision: another pod answers at its address",
    ),
}


@pytest.mark.parametrize("page", HARMFUL, ids=str)
async def test_a_page_that(page: str):
    """It says of the pod what was wrong, and the other revision's counters are there."""
    shown, sentence = HARMFUL[page]
    seconds = 0.5 if "0.5 s" in sentence else 30
    pages = {"127.0.0.2": shown, **STABLE_PAGE}
    async with pods_showing(pages, CANARY, STABLE, seconds=seconds) as it:
        found = await counters(it)
        assert by_code(found) == {("stable-a", "200"): 90, ("stable-a", "500"): 1}
        why = await why_missing(it, "canary-a")
    assert why is not None
    assert why.startswith("pod canary-a at http://127.0.0.2:")
    assert sentence in why


LINES = a_page() + "predictions_total_of_others 3\nmy_predictions_total 3\n# predictions_total {\n"


@pytest.mark.parametrize("size", [1, 7, 64, 10_000])
def test_pieces_of_any_size_make_the_same_lines(size: int):
    lines, body = Lines(["predictions_total", "process_start_time_seconds"]), LINES.encode()
    for start in range(0, len(body), size):
        lines.feed(body[start : start + size])
    shown = [(each.name, each.labels.get("code"), each.value) for each in lines.series()]
    assert sorted(shown, key=str) == [
        ("predictions_total", "200", 7),
        ("predictions_total", "500", 0),
        ("process_start_time_seconds", None, 1000),
    ]


def test_a_page_begins_with_a_series_and_ends_in_the_middle_of_one():
    lines = Lines(["predictions_total"])
    lines.feed(b'predictions_total{code="200"} 1\npredictions_total{code="500"} 17')
    assert [each.labels for each in lines.series()] == [{"code": "200"}]


def test_a_page_of_the_largest_size_is_searched_without_a_pause_that_others_would_feel():
    """Ten times what it takes: each piece is followed by a turn of the others."""
    lines, longest = Lines(["predictions_total", "process_start_time_seconds"]), 0.0
    for _ in range(512):
        began = time.thread_time()
        lines.feed(b"\n" * 16_384)
        longest = max(longest, time.thread_time() - began)
    assert longest < 0.01


async def test_large_pages_are_understood_in_threads_of_their_own():
    """Everybody's executor resolves names, too: it is never asked."""
    asyncio.get_running_loop().set_default_executor(Refusing())
    page = a_page() + "".join(f'predictions_total{{x="{n:0100}"}} 1\n' for n in range(1000))
    async with pods_showing({"127.0.0.2": page}, CANARY) as it:
        assert by_code(await counters(it)) == {("canary-a", "200"): 7, ("canary-a", "500"): 0}


async def test_where_no_pod_can_be_read_metrics_are_unavailable_and_the_pod_is_named():
    async with pods_showing({}, CANARY, STABLE) as it:
        found = await read(it)
    assert isinstance(found, MetricsUnavailable)
    assert found.message.startswith("pod canary-a at http://127.0.0.2:")
    assert "HTTP status 404" in found.message
    assert found.message.endswith("(and 1 more pods)")


async def test_where_the_api_server_does_not_say_which_pods_there_are_nothing_is_known():
    async with pods_showing({}, CANARY) as it:
        it.kube.problem = Unavailable("nothing was heard of Pods in ml yet")
        found = await read(it)
        bins = await it.source.read_bins(it.of)
    assert found == bins == MetricsUnavailable(message="nothing was heard of Pods in ml yet")


async def test_pods_that_start_need_not_answer_yet():
    starting = a_pod("canary-a", "127.0.0.2", ready=False)
    async with pods_showing(STABLE_PAGE, starting) as it:
        assert await counters(it) == ()


async def test_a_value_that_is_no_count_is_handed_on_for_the_look_to_refuse():
    page = a_page(codes={"200": float("nan")})
    async with pods_showing({"127.0.0.2": page}, CANARY) as it:
        (shown,) = [counter for counter in await counters(it) if counter.code]
    assert shown.value != shown.value


# --- whose a page is


def without_owner(pod: Any) -> Any:
    return {**pod, "metadata": {**pod["metadata"], "ownerReferences": []}}


STRANGERS: dict[str, Any] = {
    "made by hand with the release's labels": without_owner(CANARY),
    "of another Deployment with the release's labels": a_pod(
        "stranger", ownerReferences=[{"kind": "ReplicaSet", "name": "x-1", "controller": True}]
    ),
    "of a revision that nobody asks for": a_pod("old-a", revision="rev0"),
    "that has ended": a_pod("canary-a", phase="Failed"),
    "without an address": a_pod("canary-a", ""),
    "with nonsense for an address": a_pod("canary-a", "10.0.0.1/latest"),
}


@pytest.mark.parametrize("pod", STRANGERS.values(), ids=STRANGERS)
def test_no_page_is_read_of_a_pod(pod: Any):
    assert addresses_of([pod], "qna", ["rev2", "rev1"]) == []


@pytest.mark.parametrize("address", ["169.254.169.254", "127.0.0.1", "fe80::1", "::ffff:127.0.0.1"])
async def test_an_address_that_no_pod_can_have_is_not_asked(address: str):
    """A pod's status can be forged by whoever may write it."""
    async with pods_showing({}, a_pod("canary-a", address)) as it:
        it.source._reader = PageReader()
        found = await read(it)
    assert isinstance(found, MetricsUnavailable)
    assert "is no address that a pod can have" in found.message


def test_an_ipv6_address_stands_in_brackets():
    (address,) = addresses_of([a_pod("canary-a", "fd00:0:0::7")], "qna", ["rev2"])
    assert address.url(8000, "/metrics") == "http://[fd00::7]:8000/metrics"


def test_of_two_pods_with_one_address_the_younger_has_it():
    gone = a_pod("canary-a", deletionTimestamp="2026-11-01T12:30:00Z")
    young = a_pod("canary-b", creationTimestamp="2026-11-01T12:31:00Z")
    for listed in ([gone, young], [young, gone]):
        (address,) = addresses_of(listed, "qna", ["rev2"])
        assert address.name == "canary-b"


async def test_a_younger_process_at_the_address_of_a_pod_that_goes_is_another_pod():
    running = [{"restartCount": 0, "state": {"running": {"startedAt": "2026-11-01T12:00:00Z"}}}]
    going = a_pod("canary-a", containers=running, deletionTimestamp="2026-11-01T12:30:00Z")
    pages: dict[str, str | Handler] = {"127.0.0.2": a_page(started=1793534400.4)}
    async with pods_showing(pages, going) as it:
        assert by_code(await counters(it)) == {("canary-a", "200"): 7, ("canary-a", "500"): 0}
        pages["127.0.0.2"] = a_page(started=1793536500.0)
        assert await counters(it) == ()


async def test_a_server_without_labels_of_its_own_is_known_by_its_pod():
    page = "\n".join(['predictions_total{code="200"} 3', "process_start_time_seconds 5", ""])
    async with pods_showing({"127.0.0.2": page}, CANARY) as it:
        (found,) = await counters(it)
    assert (found.revision, found.pod, found.value) == ("rev2", "canary-a", 3)


async def test_processes_that_take_turns_at_one_address_are_not_counted():
    pages: dict[str, str | Handler] = {"127.0.0.2": a_page(started=1000.0)}
    async with pods_showing(pages, CANARY) as it:
        assert await counters(it)
        pages["127.0.0.2"] = a_page(started=1030.0)
        assert await counters(it), "it may have begun anew"
        pages["127.0.0.2"] = a_page(started=1000.0)
        found = await read(it)
    assert isinstance(found, MetricsUnavailable)
    assert "is answered by several processes in turn" in found.message


async def test_a_pod_on_its_way_out_is_read_as_long_as_it_answers():
    going = a_pod("canary-a", deletionTimestamp="2026-11-01T12:30:00Z")
    async with pods_showing({"127.0.0.2": a_page()}, going) as it:
        assert by_code(await counters(it)) == {("canary-a", "200"): 7, ("canary-a", "500"): 0}


async def test_what_a_pod_counted_last_before_it_was_gone_is_shown_to_the_next_look():
    served = asyncio.Event()
    answers = iter((a_page(codes={"200": 7}), a_page(codes={"200": 9})))

    async def draining(_: web.Request) -> web.Response:
        page = next(answers, None)
        if page is None:
            served.set()
            raise web.HTTPServiceUnavailable
        return web.Response(text=page)

    going = a_pod("canary-a", deletionTimestamp="2026-11-01T12:30:00Z")
    async with pods_showing({"127.0.0.2": draining, **STABLE_PAGE}, going, STABLE) as it:
        assert by_code(await counters(it))["canary-a", "200"] == 7
        await served.wait()
        it.kube.pods = [STABLE]
        await until_gone(it)
        assert by_code(await counters(it))["canary-a", "200"] == 9
        assert {pod for pod, _ in by_code(await counters(it))} == {"stable-a"}, "given once"


# --- times


async def test_pods_whose_clocks_are_hours_apart_are_read_by_one_clock():
    clock = Clock(wall=lambda: 5000.0, monotonic=lambda: 0.0)
    pages = {"127.0.0.2": a_page(started=100.0), "127.0.0.3": a_page("rev1", started=90_000.0)}
    async with pods_showing(pages, CANARY, STABLE, clock=clock) as it:
        found = await counters(it)
    assert {counter.at for counter in found} == {5000.0}
    assert {counter.started for counter in found} == {100.0, 90_000.0}


async def test_the_canary_is_read_before_stable():
    async def slow(_: web.Request) -> web.Response:
        await asyncio.sleep(0)
        return web.Response(text=a_page())

    async with pods_showing({"127.0.0.2": slow, **STABLE_PAGE}, STABLE, CANARY) as it:
        found = await counters(it)
    times = {counter.pod: counter.at or 0.0 for counter in found}
    assert times["canary-a"] < times["stable-a"]


def test_a_clock_that_is_set_back_or_forward_moves_no_sample():
    wall, monotonic = [1000.0], [0.0]
    clock = Clock(wall=lambda: wall[0], monotonic=lambda: monotonic[0])
    wall[0], monotonic[0] = 10.0, 5.0
    assert clock.now(QNA) == 1005.0


def test_an_operator_whose_clock_is_behind_that_of_the_last_one_goes_on_after_it():
    clock = Clock(wall=lambda: 1000.0, monotonic=lambda: 0.0)
    clock.go_on_after(QNA, 1030.0)
    assert clock.now(QNA) > 1030.0
    clock.go_on_after(QNA, None)
    clock.go_on_after(QNA, 20.0)
    assert clock.now(QNA) < 1031.0


def test_what_one_release_has_in_its_status_moves_the_time_of_no_other():
    clock = Clock(wall=lambda: 1000.0, monotonic=lambda: 0.0)
    clock.go_on_after(("theirs", "qna"), 5000.0)
    assert clock.now(("theirs", "qna")) > 5000.0
    assert clock.now(QNA) == 1000.0


@pytest.mark.parametrize("known", [1000.0 + FAR_AHEAD + 1, 1e18, float("inf"), float("nan")])
def test_a_time_in_status_that_was_never_right_is_not_gone_on_after(known: float):
    clock = Clock(wall=lambda: 1000.0, monotonic=lambda: 0.0)
    clock.go_on_after(QNA, known)
    assert clock.now(QNA) == 1000.0


# --- what else is read


PROBES = """\
probe_answers_total{release="qna",revision="rev2",result="same"} 4
probe_answers_total{release="qna",revision="rev1",result="error"} 5
probe_answers_total{release="qna",revision="rev0",result="error"} 6
probe_duration_seconds_bucket{release="qna",revision="rev2",le="0.1"} 4
process_start_time_seconds 50
"""


async def test_probers_are_asked_for_only_where_there_are_probes():
    async with pods_showing({"127.0.0.2": a_page()}, CANARY) as it:
        await counters(it)
        assert not any(names.LABEL_PROBER in asked for asked in it.kube.asked)
        await counters(it, probes=True)
        assert any(names.LABEL_PROBER in asked for asked in it.kube.asked)


def test_a_prober_tells_by_its_labels_which_revision_it_asked():
    (prober,) = probers_of([a_prober("prober-a", "127.0.0.9"), CANARY], "qna", "rev2")
    lines = Lines(PROBE_NAMES)
    lines.feed(PROBES.encode())
    found = probes_of(page_of(prober, lines.series(), 7.0), "qna", ["rev2", "rev1"])
    shown = [(it.revision, it.pod, it.code, it.bound, it.value, it.started) for it in found]
    assert shown == [
        ("rev2", "prober-a", "same", None, 4, 50),
        ("rev1", "prober-a", "error", None, 5, 50),
        ("rev2", "prober-a", None, "0.1", 4, 50),
    ]
    assert all(it.probe for it in found)


async def test_bins_come_from_every_pod_and_the_baseline_from_one():
    page = "\n".join(
        [
            'feature_bin_total{release="qna",revision="rev2",feature="age",bin="0"} 3',
            'feature_baseline_rows{release="qna",revision="rev2",feature="age",bin="0"} 40',
            'prediction_bin_total{release="qna",revision="rev2",bin="1"} 9',
            "process_start_time_seconds 50",
            "",
        ]
    )
    pods = [a_pod("canary-a", "127.0.0.2"), a_pod("canary-b", "127.0.0.4")]
    async with pods_showing(dict.fromkeys(("127.0.0.2", "127.0.0.4"), page), *pods) as it:
        bins = await it.source.read_bins(it.of)
    assert not isinstance(bins, MetricsUnavailable)
    shown = [(it.pod, it.feature, it.bin, it.value) for it in bins]
    assert sorted(shown, key=str) == sorted(
        [
            *chain.from_iterable(
                [(pod, "age", "0", 3), (pod, "(predictions)", "1", 9), (pod, "(process)", "", 50)]
                for pod in ("canary-a", "canary-b")
            ),
            (None, "age", "0", 40),
        ],
        key=str,
    )


async def test_pairs_are_those_of_stable_about_this_canary():
    def pairs(canary: str, n: int) -> str:
        who = f'release="qna",revision="rev1",canary="{canary}",process="ab"'
        return f'shadow_pairs_total{{{who},result="same"}} {n}\n'

    page = pairs("rev2", 8) + pairs("rev0", 5)
    async with pods_showing({"127.0.0.3": page}, STABLE, CANARY) as it:
        found = await it.source.read_pairs(it.of, canary="rev2", stable="rev1")
    assert [(it.process, it.result, it.value) for it in found] == [("ab", "same", 8)]  # type: ignore[union-attr]


def test_a_prober_compares_in_the_name_of_stable():
    (prober,) = probers_of([a_prober("prober-a", "127.0.0.9")], "qna", "rev2")
    lines = Lines(PAIR_NAMES)
    for stable, n in (("rev1", 8), ("rev0", 5)):
        who = f'release="qna",revision="{stable}",canary="rev2",process="ab",result="same"'
        lines.feed(f"shadow_pairs_total{{{who}}} {n}\n".encode())
    page = page_of(prober, lines.series(), 7.0)
    found = pairs_of(page, "qna", canary="rev2", stable="rev1")
    assert [(it.process, it.result, it.value) for it in found] == [("ab", "same", 8)]


async def test_pairs_of_servers_that_are_not_ours_are_the_probers():
    theirs = replace(PREDICTOR.metrics, labelled=False)
    async with pods_showing({}, STABLE, CANARY, metrics=theirs) as it:
        assert await it.source.read_pairs(it.of, canary="rev2", stable="rev1") == ()
        (asked,) = it.kube.asked
    assert names.LABEL_PROBER in asked


@pytest.mark.parametrize("value", ["+Inf", "NaN", "-1", "1e300"])
async def test_what_is_no_number_of_pairs_is_refused_and_the_pod_named(value: str):
    who = 'release="qna",revision="rev1",canary="rev2",process="ab"'
    page = f'shadow_pairs_total{{{who},result="same"}} {value}\n'
    async with pods_showing({"127.0.0.3": page}, STABLE) as it:
        found = await it.source.read_pairs(it.of, canary="rev2", stable="rev1")
    assert isinstance(found, MetricsUnavailable)
    assert found.message.startswith("pod stable-a at http://127.0.0.3:")
    assert found.message.endswith("for shadow_pairs_total, which is no number of pairs")


async def test_many_pods_that_do_not_answer_hold_up_a_look_for_seconds_only():
    """Sixty of them, twenty at a time, would take three times as long as one look may."""
    pods = [a_pod(f"canary-{n}", f"127.0.1.{n}") for n in range(1, 61)]
    silent: dict[str, str | Handler] = {f"127.0.1.{n}": never for n in range(1, 61)}
    async with pods_showing({**silent, **STABLE_PAGE}, STABLE, *pods, seconds=2.0) as it:
        found = await asyncio.wait_for(counters(it), it.source.seconds)
        assert by_code(found) == {("stable-a", "200"): 90, ("stable-a", "500"): 1}
        assert await why_missing(it, "canary-1")


async def test_a_server_that_is_not_ours_is_read_by_its_profile_and_its_series_are_its_pods():
    """MLServer's recorded page names no release, so both revisions' pods may show the same."""
    mlserver = runtime_for({"profile": "mlserver"}).metrics
    page = MLSERVER_PAGE.read_text()
    shown = {"127.0.0.2": page, "127.0.0.3": page}
    async with pods_showing(shown, CANARY, STABLE, metrics=mlserver) as it:
        found = await counters(it)
    for pod in ("canary-a", "stable-a"):
        codes = {each.code: each.value for each in found if each.pod == pod and each.code}
        assert codes == {"200": 35, "500": 5, "422": 1, "404": 1}
        assert [each.value for each in found if each.pod == pod and each.bound == "+Inf"] == [42]
