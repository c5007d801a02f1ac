"""The example's judge asks real HTTP servers, and a gate of kind counts decides by its counters."""

import asyncio
import json
import random
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web
from prometheus_client.parser import text_string_to_metric_families

from examples.judge import judge as example
from examples.judge.judge import Arms, Counts, arms_of, chat, show
from modelrelease_operator.api.spec import ReleaseSpec
from modelrelease_operator.api.status import CanaryStatus, StableStatus, Status, Verdict
from modelrelease_operator.core.analysis.gates.registry import answer_of
from modelrelease_operator.core.analysis.judge import judge
from modelrelease_operator.core.measurement.queries import ARM, KIND, QueryScope
from modelrelease_operator.serving_runtimes import refusal_of_runtime
from modelrelease_operator.traffic.counted_by import refusal_of_counting
from testbed.builders import START, a_target
from testbed.servers import Handler, answering, serving

FOLDER = Path(example.__file__).parent
ARMS = Arms(canary="rev2", stable="rev1")
RELEASE: dict[str, Any] = yaml.safe_load((FOLDER / "release.yaml").read_text())
SPEC = ReleaseSpec.parse(RELEASE["spec"], strict=True)
GATE = next(gate for gate in SPEC.analysis.gates if gate.name == "judge")
SCOPE = QueryScope(
    namespace="ml", release="chat", interval=timedelta(seconds=10),
    canary=a_target("2"), stable=a_target("1"),
)  # fmt: skip


def judging(
    *,
    answers: dict[str, str] | None = None,
    verdict: Callable[[str], str] = lambda _: "T",
    arms: Callable[[], Arms | None] = lambda: ARMS,
) -> example.Judge:
    said = answers or {"canary": "four", "stable": "4"}
    return example.Judge(
        arms=arms, ask=lambda arm, _: said[arm], compare=verdict,
        counts=Counts(release="chat"), drawn=random.Random(1),
    )  # fmt: skip


def naming(answer: str) -> Callable[[str], str]:
    """Return a judge that finds one answer worse, whichever place it has."""
    return lambda text: "A" if f"Answer A:\n{answer}\n" in text else "B"


def test_the_worse_answers_version_loses_whichever_place_its_answer_has():
    its = judging(verdict=naming("four"))
    for _ in range(50):
        assert its.judge("2 + 2?")
    assert its.counts.pairs == {"rev1": 50, "rev2": 50}
    assert its.counts.losses == {"rev1": 0, "rev2": 50}


def test_either_answer_comes_first_as_it_is_drawn():
    its = judging(verdict=lambda _: "A")
    for _ in range(200):
        its.judge("2 + 2?")
    assert 60 < its.counts.losses["rev2"] < 140, "a judge that prefers one place blames nobody"


def test_a_tie_and_equal_answers_decide_nothing():
    same = judging(answers={"canary": "4", "stable": " 4"}, verdict=naming("4"))
    for undecided in (judging(), same):
        undecided.judge("2 + 2?")
        assert undecided.counts.pairs == {"rev1": 0, "rev2": 0}, "shown with 0 before the first"
        assert undecided.counts.undecided == {"tie": 1}


def test_without_a_canary_nobody_is_asked():
    its = judging(arms=lambda: None, verdict=naming("four"))
    assert not its.judge("2 + 2?")
    assert its.counts.pairs == {}


def test_a_pair_during_which_the_canary_changed_says_nothing():
    seen = iter([ARMS, Arms(canary="rev3", stable="rev1")])
    its = judging(arms=lambda: next(seen), verdict=naming("four"))
    its.judge("2 + 2?")
    assert its.counts.undecided == {"moved": 1}


@pytest.mark.parametrize("said", ["A", "a.", "**A**", "(A)", "A: it is wrong", " A\n"])
def test_a_letter_is_a_verdict_however_it_is_dressed(said: str):
    its = judging(verdict=lambda _: said)
    its.judge("2 + 2?")
    assert its.counts.undecided == {}
    assert sum(its.counts.losses.values()) == 1


@pytest.mark.parametrize(
    "said", ["neither", "", "I think A", "Answer B", "Assistant B", "Better: A", "The first"]
)
def test_what_is_no_verdict_decides_nothing(said: str):
    its = judging(verdict=lambda _: said)
    its.judge("2 + 2?")
    assert its.counts.undecided == {"judge": 1}


@pytest.mark.parametrize(
    ("phase", "expected"),
    [("Progressing", ARMS), ("Paused", ARMS), ("Starting", None), ("RollingBack", None)],
)
def test_the_arms_are_those_that_users_meet(phase: str, expected: Arms | None):
    status = {"phase": phase, "canary": {"revision": "rev2"}, "stable": {"revision": "rev1"}}
    assert arms_of({"status": status}) == expected
    assert arms_of({}) is None


async def breaking_off(request: web.Request) -> web.StreamResponse:
    """Answer as a server does that dies in the middle."""
    answer = web.StreamResponse(headers={"Content-Length": "1000"})
    await answer.prepare(request)
    await answer.write(b'{"choices"')
    assert request.transport is not None
    request.transport.close()
    return answer


async def test_servers_are_asked_over_http_and_one_that_fails_is_no_verdict():
    def saying(text: str) -> Handler:
        return answering(json.dumps({"choices": [{"message": {"content": text}}]}))

    async with (
        serving(saying("4")) as stable,
        serving(saying("five")) as canary,
        serving(saying("B")) as critic,
        serving(answering("overloaded", status=503)) as broken,
        serving(answering("{}")) as empty,
        serving(answering('{"choices": [{"message": {"content": null}}]}')) as calling,
        serving(breaking_off) as broken_off,
    ):
        addresses = {"stable": stable, "canary": canary}
        asked = example.Judge(
            arms=lambda: ARMS,
            ask=lambda arm, prompt: chat(addresses[arm], "chat", prompt),
            compare=lambda text: chat(critic, "judge", text, key="secret"),
            counts=Counts(release="chat"),
        )
        assert await asyncio.to_thread(asked.judge, "2 + 2?")
        assert asked.counts.pairs == {"rev1": 1, "rev2": 1}
        for address in (broken, empty, calling, broken_off):
            addresses["canary"] = address
            assert await asyncio.to_thread(asked.judge, "2 + 2?")
    assert asked.counts.pairs == {"rev1": 1, "rev2": 1}
    assert asked.counts.undecided == {"answer": 4}


async def test_the_judging_model_is_shown_its_key():
    seen: list[str | None] = []

    async def handler(request: web.Request) -> web.Response:
        assert request.path == "/v1/chat/completions"
        seen.append(request.headers.get("Authorization"))
        return web.json_response({"choices": [{"message": {"content": "T"}}]})

    async with serving(handler) as address:
        await asyncio.to_thread(chat, address, "judge", "which?", "secret")
        await asyncio.to_thread(chat, f"{address}/v1/", "judge", "which?")
    assert seen == ["Bearer secret", None]


def shown(counts: Counts) -> list[dict[str, Any]]:
    """Return the page's series as Prometheus answers the gate's query."""
    names = {"judge_pairs_total": "total", "judge_losses_total": "bad"}
    arms = {"rev1": "stable", "rev2": "canary"}
    return [
        {
            "metric": {
                **sample.labels, "pod": "judge-0", KIND: names[sample.name],
                ARM: arms[sample.labels["revision"]],
            },
            "value": [0, str(sample.value)],
        }
        for family in text_string_to_metric_families(counts.page())
        for sample in family.samples
        if sample.name in names
    ]  # fmt: skip


def released_by(lose: Callable[[random.Random], bool], pairs: int) -> Verdict:
    """Let the example's gate look at a judge whose canary loses so often; return its last verdict
    but Insufficient.
    """
    spec = SPEC.but(analysis=SPEC.analysis.but(gates=(GATE,)))
    status = Status(
        stable=StableStatus(**a_target("1").parts(), since=START),
        canary=CanaryStatus(**a_target("2").parts(), since=START),
    )
    drawn, counts = random.Random(7), Counts(release="chat")
    counts.begin(ARMS)
    for look in range(1, pairs // 25):
        answers = {GATE.name: answer_of(GATE, SCOPE, shown(counts))}
        found = judge(
            spec=spec, status=status, metrics=(), answers=answers, next_weight=100,
            now=START + timedelta(seconds=60 * look),
        )  # fmt: skip
        status = status.but(evidence=found.evidence, gates=found.gates)
        if found.verdict is not Verdict.INSUFFICIENT:
            return found.verdict
        for _ in range(25):
            counts.decided(ARMS, "canary" if lose(drawn) else "stable")
    return Verdict.INSUFFICIENT


@pytest.mark.parametrize(
    ("loses", "verdict"),
    [(0.4, Verdict.PASS), (0.5, Verdict.PASS), (0.6, Verdict.FAIL), (0.7, Verdict.FAIL)],
)
def test_the_gate_of_the_example_decides_by_who_loses_more_often(loses: float, verdict: Verdict):
    assert released_by(lambda drawn: drawn.random() < loses, pairs=3_000) is verdict


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
def test_the_judges_page_is_shown_over_http(host: str):
    if host == "[::1]" and not socket.has_dualstack_ipv6():
        pytest.skip("this machine has no IPv6")
    counts = Counts(release="chat")
    counts.begin(ARMS)
    server = show(counts, 0)
    try:
        with urllib.request.urlopen(f"http://{host}:{server.server_port}") as answer:
            assert answer.read().decode() == counts.page()
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("prompts", "key", "reason"),
    [
        ("\n \n", "", "holds no prompt"),
        ("2 + 2?\n", "s3cret\nmore", "JUDGE_KEY holds a line break"),
    ],
)
def test_settings_of_no_use_end_it_with_a_sentence(
    prompts: str, key: str, reason: str, tmp_path: Path
):
    (tmp_path / "prompts.txt").write_text(prompts)
    settings = {"NAMESPACE": "ml", "RELEASE": "chat", "MODEL": "chat", "JUDGE_KEY": key}
    ended = subprocess.run(
        [sys.executable, FOLDER / "judge.py"],
        env={**settings, "PROMPTS": str(tmp_path / "prompts.txt"), "PORT": "0"},
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert ended.returncode == 1
    assert reason in ended.stderr
    assert "s3cret" not in ended.stderr


def test_a_judge_of_another_namespace_says_nothing():
    assert GATE.counts
    for query in (GATE.counts.bad, GATE.counts.total):
        assert 'namespace="{{namespace}}"' in query


def test_the_release_is_one_that_vllm_can_answer():
    assert refusal_of_runtime(SPEC) is None
    assert GATE.counts
    assert GATE.counts.paired


def test_the_judge_may_read_its_one_release_and_nothing_else():
    objects = list(yaml.safe_load_all((FOLDER / "judge.yaml").read_text()))
    [role] = [each for each in objects if each["kind"] == "Role"]
    assert role["rules"] == [
        {
            "apiGroups": ["modelrelease.dev"],
            "resources": ["modelreleases"],
            "resourceNames": [RELEASE["metadata"]["name"]],
            "verbs": ["get"],
        }
    ]
    [job] = [each for each in objects if each["kind"] == "Job"]
    [container] = job["spec"]["template"]["spec"]["containers"]
    named = {each["name"] for each in container["env"]}
    assert named >= {"RELEASE", "NAMESPACE", "MODEL", "PROMPTS", "JUDGE_URL", "JUDGE_MODEL"}


def test_what_the_page_shows_is_what_the_operator_takes():
    page = (FOLDER.parents[1] / "docs/how-to/release-language-models.md").read_text()
    blocks = (part.partition("```")[0] for part in page.split("```yaml\n")[1:])
    counts, counted_by_a_gateway, gate = map(yaml.safe_load, blocks)
    for parts in (counts, counted_by_a_gateway):
        spec = ReleaseSpec.parse({"model": RELEASE["spec"]["model"], **parts})
        assert refusal_of_runtime(spec) is None
        assert refusal_of_counting(spec) is None
    assert gate == [
        gate for gate in RELEASE["spec"]["analysis"]["gates"] if gate["name"] == "judge"
    ]
