"""Each profile reads the page of its server: the right totals, errors and bounds.

A page begins with whether it was recorded from the server or written after its source.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from pydantic import ValidationError

from modelrelease_operator.serving_runtimes import ServingRuntime, runtime_for
from modelrelease_operator.serving_runtimes.metrics import NOTHING_YET, Reading, Sample
from modelrelease_operator.serving_runtimes.predictor import LANGUAGE
from modelrelease_operator.serving_runtimes.profiles import FOLDER, Profile, profiles

PAGES = Path(__file__).parent / "pages"
BEGINS = {"recorded": "# recorded: ", "from source": "# written from source, not recorded: "}


class Shown(NamedTuple):
    """What a page shows."""

    codes: dict[str, int]
    buckets: int = 0
    """Bounds of its histogram, the infinite one included."""
    below: tuple[str, int] = ("", 0)
    """One bound in seconds, and how many requests took no longer."""
    timed: int = 0
    """Requests in the histogram."""


PYTHON = {"200": 35, "500": 5}
SHOWN = {
    "bentoml": Shown({**PYTHON, "400": 1}, 16, ("0.025", 38), 41),
    "kserve": Shown({NOTHING_YET: 0}, 15, ("0.01", 38), 41),
    "mlserver": Shown({**PYTHON, "404": 1, "422": 1}, 15, ("0.01", 20), 42),
    "ray-serve": Shown({"200": 36, "404": 1, "422": 2, "500": 5}, 20, ("0.5", 43), 44),
    "sglang": Shown({"200": 35, "400": 1, "503": 5}, 3, ("1.0", 30), 35),
    "tensorflow-serving": Shown({**PYTHON, "400": 1}, 4, ("3.24e-05", 30), 35),
    "tgi": Shown({**PYTHON, "422": 1}, 3, ("0.15", 30), 35),
    "triton": Shown({**PYTHON, "400": 2}),
    "vllm": Shown({"200": 37, "400": 4}, 22, ("0.3", 36), 36),
}
WITH_PAGE = {name: each for name, each in profiles().items() if each.page != "none"}


LINE = re.compile(r"(?P<name>[^\s{]+)(?:{(?P<labels>.*)})? (?P<value>\S+)")
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


def samples(text: str) -> Iterator[Sample]:
    """Yield a page's samples under the names on it: prometheus_client's parser adds `_total`."""
    for line in text.splitlines():
        if match := LINE.fullmatch(line) if not line.startswith("#") else None:
            labels = dict(LABEL.findall(match["labels"] or ""))
            yield match["name"], labels, float(match["value"])


def server_of(name: str) -> ServingRuntime:
    """Return a profile's server, with a readiness of its own where the profile leaves it open."""
    given: dict[str, Any] = {"profile": name}
    if profiles()[name].readiness_path is None:
        given["readinessPath"] = "/ready"
    return runtime_for(given)


def test_every_profile_with_a_page_is_read():
    assert set(SHOWN) == set(WITH_PAGE)
    assert {file.stem for file in PAGES.iterdir()} == set(WITH_PAGE)


@pytest.mark.parametrize("name", profiles())
def test_a_profile_says_that_its_server_is_released_where_it_is(name: str):
    files = ("cluster/test_own_server.py", "support/language_server.py")
    on_a_cluster = "".join((Path(__file__).parents[2] / file).read_text() for file in files)
    named = f'"profile": "{name}"' in on_a_cluster
    profile = profiles()[name]
    assert profile.released is named
    counted_by_a_gateway = "errorRate" in profile.refused
    assert profile.page == "recorded" or counted_by_a_gateway or not named


@pytest.mark.parametrize("name", WITH_PAGE)
def test_a_page_says_whether_it_was_recorded(name: str):
    text = (PAGES / f"{name}.txt").read_text()
    assert text.startswith(BEGINS[WITH_PAGE[name].page])


def test_a_page_is_recorded_only_from_a_server_that_ran():
    said = yaml.safe_load((FOLDER / "kserve.yaml").read_text())
    with pytest.raises(ValidationError, match="say in `ran` which one"):
        Profile.model_validate({**said, "ran": ""})


@pytest.mark.parametrize(("name", "shown"), SHOWN.items(), ids=SHOWN)
def test_a_page_is_read_as_its_server_means_it(name: str, shown: Shown):
    metrics = server_of(name).metrics
    totals = metrics.totals(samples((PAGES / f"{name}.txt").read_text()))
    assert {reading.code: value for reading, value in totals.items() if reading.code} == shown.codes
    times = {reading: n for reading, n in totals.items() if reading.bound and not reading.metric}
    bounds = {reading.bound: value for reading, value in times.items()}
    assert len(bounds) == shown.buckets
    assert (metrics.duration is not None) == bool(bounds)
    if bounds:
        bound, below = shown.below
        assert (bounds[bound], bounds["+Inf"]) == (below, shown.timed)


class OfLanguage(NamedTuple):
    """What a page shows of a language model."""

    below: dict[str, tuple[str, int, int]]
    """By histogram: a bound, how many were no larger, and all."""
    reasons: dict[str, int]
    refused: tuple[str, ...] = ()


LANGUAGE_SHOWN = {
    "vllm": OfLanguage(
        below={
            "timeToFirstToken": ("0.02", 20, 37),
            "timePerOutputToken": ("0.01", 12, 36),
            "answerTokens": ("10.0", 36, 36),
        },
        reasons={"stop": 0, "length": 36, "abort": 0, "error": 0, "repetition": 0},
    ),
    "sglang": OfLanguage(
        below={"timeToFirstToken": ("0.2", 33, 35), "answerTokens": ("100.0", 27, 35)},
        reasons={},
        refused=("timePerOutputToken", "finishReasons"),
    ),
    "tgi": OfLanguage(
        below={"timePerOutputToken": ("0.025", 34, 35), "answerTokens": ("100", 27, 35)},
        reasons={},
        refused=("timeToFirstToken", "finishReasons"),
    ),
}


@pytest.mark.parametrize(("name", "shown"), LANGUAGE_SHOWN.items(), ids=LANGUAGE_SHOWN)
def test_a_page_of_a_language_model_is_read_as_its_server_means_it(name: str, shown: OfLanguage):
    server = server_of(name)
    totals = server.metrics.totals(samples((PAGES / f"{name}.txt").read_text()))
    assert {each.reason: n for each, n in totals.items() if each.reason} == shown.reasons
    assert {metric for metric, _ in server.metrics.histograms} == set(shown.below)
    for metric, (bound, below, whole) in shown.below.items():
        assert totals[Reading(bound=bound, metric=metric)] == below
        assert totals[Reading(bound="+Inf", metric=metric)] == whole
    assert {asks for asks in server.refused if asks in LANGUAGE} == set(shown.refused)


def test_what_no_gate_asks_for_is_not_read():
    metrics = server_of("vllm").metrics
    asked = metrics.asked_by({"errorRate", "timeToFirstToken"})
    assert set(metrics.names) - set(asked.names) == {
        "vllm:request_time_per_output_token_seconds_bucket",
        "vllm:request_generation_tokens_bucket",
        "vllm:request_success_total",
    }


@pytest.mark.parametrize("name", profiles())
def test_a_profile_makes_a_server_and_a_server_with_nothing_to_count_refuses_both_gates(name: str):
    profile, server = profiles()[name], server_of(name)
    assert server.name == name
    assert server.drain.grace_seconds > server.drain.pre_stop_seconds
    assert server.refused.items() >= profile.refused.items()
    assert set(server.refused) - set(profile.refused) <= set(LANGUAGE)
    assert (profile.page == "none") == (set(profile.refused) == {"errorRate", "latency"})
