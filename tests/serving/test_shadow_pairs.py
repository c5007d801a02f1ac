"""What two answers to one request count as."""

import json
import struct
from typing import Any

import pytest

from modelrelease_contract.shadow import (
    ALIKE,
    BOTH_FAILED,
    BUSY,
    CANARY_FAILED,
    CANARY_SLOWER,
    DIFFERENT,
    LATE,
    NOISE_DIFFERENT,
    NOISE_SAME,
    SAME,
    SHADOW_RESULTS,
    STABLE_FAILED,
    STABLE_SLOWER,
    UNREACHABLE,
    ShadowSettings,
)
from modelrelease_serving.shadow_pairs import (
    MAX_CANARIES,
    NO_ANSWER,
    NOT_REACHED,
    TOO_LATE,
    ArmAnswer,
    Comparison,
    ShadowPairs,
)

SETTINGS = ShadowSettings(
    share=1, per_second=10, noise_share=0, slower_ratio=1.5, slower_seconds=0.002
)
COMPARISON = Comparison(SETTINGS, tolerance=1e-3)
FAILED, WAITS, REFUSED = ArmAnswer(500), ArmAnswer(503), ArmAnswer(422)


def v1(version: str = "1", seconds: float | None = None, **members: Any) -> ArmAnswer:
    body = json.dumps({**members, "model_version": version}, separators=(",", ":"))
    return ArmAnswer(200, body.encode(), seconds=seconds)


def v2(*outputs: dict[str, Any], version: str = "1", tail: bytes = b"") -> ArmAnswer:
    document = {"model_name": "qna", "model_version": version, "outputs": outputs}
    head = json.dumps(document, separators=(",", ":")).encode()
    return ArmAnswer(200, head + tail, json_length=len(head) if tail else None)


def tensor(*data: Any, name: str = "prediction", datatype: str = "FP64") -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": [len(data)], "data": data}


def binary(content: bytes, *, rows: int, datatype: str = "FP64") -> dict[str, Any]:
    size = {"binary_data_size": len(content)}
    return {"name": "prediction", "datatype": datatype, "shape": [rows], "parameters": size}


def doubles(*values: float, version: str) -> ArmAnswer:
    content = struct.pack(f"<{len(values)}d", *values)
    return v2(binary(content, rows=len(values)), version=version, tail=content)


NAN = float("nan")
INFINITE = float("inf")

ALIKE_ANSWERS = [
    pytest.param(v1(prediction=0.5), v1("2", prediction=0.5), id="equal but for the version"),
    pytest.param(v1(prediction=0.5), v1("2", prediction=0.5009), id="within the tolerance"),
    pytest.param(v1(prediction=2000.0), v1("2", prediction=2001.9), id="within its share"),
    pytest.param(v1(prediction="spam"), v1("2", prediction="spam"), id="one class"),
    pytest.param(v1(prediction=1), v1("2", prediction=1.0), id="a number written in two ways"),
    pytest.param(v1(prediction=NAN), v1("2", prediction=NAN), id="no number twice"),
    pytest.param(v1(prediction=[NAN, 1]), v1("2", prediction=[NAN, 1.0]), id="no number in a list"),
    pytest.param(v1(prediction=INFINITE), v1("2", prediction=INFINITE), id="infinity twice"),
    pytest.param(
        v1(predictions=[0.1, 0.2]), v1("2", predictions=[0.1, 0.2001]), id="every row of a batch"
    ),
    pytest.param(
        v1(prediction=1, probabilities={"0": 0.2, "1": 0.8}),
        v1("2", prediction=1, probabilities={"1": 0.8001, "0": 0.2}),
        id="probabilities in another order",
    ),
    pytest.param(
        v1(prediction=1, probabilities={"0": 0.2, "1": 0.8}),
        v1("2", prediction=1),
        id="probabilities of one arm alone",
    ),
    pytest.param(v2(tensor(0.5, 0.6)), v2(tensor(0.5, 0.6), version="2"), id="equal tensors"),
    pytest.param(v2(tensor(0.5)), v2(tensor(0.5004), version="2"), id="tensors within it"),
    pytest.param(
        doubles(0.5, NAN, version="1"), doubles(0.5, NAN, version="22"), id="equal binary tensors"
    ),
    pytest.param(
        doubles(0.5, NAN, version="1"), doubles(0.5004, NAN, version="22"), id="binary within it"
    ),
]

UNLIKE_ANSWERS = [
    pytest.param(v1(prediction=0.5), v1(prediction=0.502), id="beyond the tolerance"),
    pytest.param(v1(prediction="spam"), v1(prediction="ham"), id="another class"),
    pytest.param(v1(prediction="1"), v1(prediction=1), id="a text and a number"),
    pytest.param(v1(prediction=0.5), v1(prediction=None), id="nothing"),
    pytest.param(v1(prediction=0.5), v1(prediction=NAN), id="no number"),
    pytest.param(v1(prediction=INFINITE), v1(prediction=5.0), id="infinity and a number"),
    pytest.param(v1(prediction=INFINITE), v1(prediction=-INFINITE), id="both infinities"),
    pytest.param(v1(prediction=0.5), v1(prediction=10**400), id="more than a float can hold"),
    pytest.param(v1(predictions=[1, 2, 3]), v1(predictions=[1, 5, 3]), id="one row of a batch"),
    pytest.param(v1(predictions=[1, 2]), v1(predictions=[1]), id="a row less"),
    pytest.param(v1(prediction=1), v1(predictions=[1]), id="a list for a row"),
    pytest.param(
        v1(prediction=1, probabilities={"0": 0.2, "1": 0.8}),
        v1(prediction=1, probabilities={"0": 0.3, "1": 0.7}),
        id="other probabilities",
    ),
    pytest.param(
        v1(prediction=1, probabilities={"0": 0.2, "1": 0.8}),
        v1(prediction=1, probabilities={"0": 0.2, "2": 0.8}),
        id="other classes",
    ),
    pytest.param(v1(prediction=1), ArmAnswer(200, b"<html>"), id="what is no document"),
    pytest.param(v1(prediction=1), ArmAnswer(200, b"[1]"), id="what is no object"),
    pytest.param(v1(prediction=1), ArmAnswer(200, b"[" * 10_000), id="what has no end"),
    pytest.param(v1(prediction=1), v2(tensor(1)), id="another protocol"),
    pytest.param(v2(tensor(0.5)), v2(tensor(0.6)), id="another tensor"),
    pytest.param(v2(tensor(1, 2)), v2(tensor(1)), id="another shape"),
    pytest.param(v2(tensor(1.0)), v2(tensor(1, datatype="INT64")), id="another datatype"),
    pytest.param(v2(tensor(1.0)), v2(tensor(1.0, name="score")), id="another name"),
    pytest.param(v2(tensor(1.0)), v2(tensor(1.0), tensor(1.0)), id="an output more"),
    pytest.param(
        doubles(0.5, 0.6, version="1"), doubles(0.5, 0.7, version="2"), id="another binary tensor"
    ),
    pytest.param(
        v2(binary(b"\1\0\0\0a", rows=1, datatype="BYTES"), tail=b"\1\0\0\0a"),
        v2(binary(b"\1\0\0\0b", rows=1, datatype="BYTES"), tail=b"\1\0\0\0b"),
        id="other binary texts",
    ),
]


@pytest.mark.parametrize(("stable", "canary"), ALIKE_ANSWERS)
def test_answers_within_the_tolerance_are_the_same(stable: ArmAnswer, canary: ArmAnswer) -> None:
    assert COMPARISON.results(stable, canary) == [SAME]
    assert COMPARISON.results(stable, canary, stable) == [SAME, NOISE_SAME]


@pytest.mark.parametrize(("stable", "canary"), UNLIKE_ANSWERS)
def test_answers_beyond_it_are_different(stable: ArmAnswer, canary: ArmAnswer) -> None:
    assert COMPARISON.results(stable, canary) == [DIFFERENT]
    assert COMPARISON.results(stable, stable, canary) == [SAME, NOISE_DIFFERENT]


@pytest.mark.parametrize(
    ("stable", "canary", "result"),
    [
        (v1(prediction=1), FAILED, CANARY_FAILED),
        (v1(prediction=1), REFUSED, CANARY_FAILED),
        (v1(prediction=1), NO_ANSWER, CANARY_FAILED),
        (v1(prediction=1), WAITS, BUSY),
        (v1(prediction=1), TOO_LATE, LATE),
        (v1(prediction=1), NOT_REACHED, UNREACHABLE),
        (FAILED, v1(prediction=1), STABLE_FAILED),
        (FAILED, FAILED, BOTH_FAILED),
        (FAILED, NO_ANSWER, BOTH_FAILED),
        (FAILED, WAITS, BUSY),
        (FAILED, NOT_REACHED, UNREACHABLE),
    ],
)
def test_what_failed_is_counted_by_who_failed(
    stable: ArmAnswer, canary: ArmAnswer, result: str
) -> None:
    assert COMPARISON.results(stable, canary) == [result]


@pytest.mark.parametrize("again", [FAILED, WAITS, NO_ANSWER, NOT_REACHED])
def test_a_stable_that_fails_when_it_is_asked_again_is_no_noise(again: ArmAnswer) -> None:
    good = v1(prediction=1)
    assert COMPARISON.results(good, good, again) == [SAME]
    assert COMPARISON.results(FAILED, good, good) == [STABLE_FAILED]


@pytest.mark.parametrize(
    ("stable", "canary", "result"),
    [
        (0.010, 0.014, ALIKE),
        (0.010, 0.016, CANARY_SLOWER),
        (0.016, 0.010, STABLE_SLOWER),
        # More than half as long again, but not by two milliseconds.
        (0.001, 0.0029, ALIKE),
    ],
)
def test_an_arm_is_slower_by_both_limits(stable: float, canary: float, result: str) -> None:
    results = COMPARISON.results(
        v1(prediction=1), v1(prediction=1, seconds=canary), v1(prediction=1, seconds=stable)
    )
    assert results == [SAME, NOISE_SAME, result]


def test_arms_of_which_one_had_other_work_are_not_timed() -> None:
    good, timed = v1(prediction=1), v1(prediction=1, seconds=1.0)
    assert COMPARISON.results(good, timed, good) == [SAME, NOISE_SAME]
    assert COMPARISON.results(good, good, timed) == [SAME, NOISE_SAME]
    assert COMPARISON.results(timed, timed) == [SAME]


@pytest.mark.parametrize(("value", "seconds"), [(b"0.25", 0.25), (b"soon", None)])
def test_the_time_is_read_from_its_header(value: bytes, seconds: float | None) -> None:
    answer = ArmAnswer.read(200, {b"x-shadow-seconds": value}, b"{}")
    assert (answer.seconds, answer.json_length) == (seconds, None)


def test_a_counter_that_begins_again_is_another_one() -> None:
    def processes(pairs: ShadowPairs) -> set[str]:
        (family,) = pairs.collect()
        return {each.labels["process"] for each in family.samples}

    one, other = (ShadowPairs(release="qna", revision="old") for _ in range(2))
    one.begin("a")
    other.begin("a")
    before = processes(one)
    assert len(before) == 1
    assert before != processes(other)
    one.begin("a")
    assert processes(one) == before
    for canary in ("b", "c", "d", "a"):
        one.begin(canary)
    assert not before & processes(one)


def test_every_series_of_a_canary_is_there_from_the_start_and_the_last_ones_are_kept() -> None:
    pairs = ShadowPairs(release="qna", revision="old")
    for canary in ("a", "b", "c", "b", "d"):
        pairs.begin(canary)
        pairs.count(canary, SAME)
    # Of a canary that is not kept any more.
    pairs.count("a", SAME)
    (family,) = pairs.collect()
    shown = {(each.labels["canary"], each.labels["result"]): each.value for each in family.samples}
    assert {canary for canary, _ in shown} == {"b", "c", "d"}
    assert len(shown) == MAX_CANARIES * len(SHADOW_RESULTS)
    assert (shown["b", SAME], shown["c", SAME], shown["d", SAME]) == (2, 1, 1)
    assert sum(shown.values()) == 4
