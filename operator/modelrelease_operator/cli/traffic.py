"""Arguments that say what the traffic is like: shared by `plan` and `simulate`."""

import argparse
from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta

from modelrelease_operator.api.prometheus import Source
from modelrelease_operator.api.spec import MOST_REPLICAS, ReleaseSpec
from modelrelease_operator.cli.common import Manifest, duration, positive, share
from modelrelease_operator.core.analysis.judge import LOOK_OFTEN
from modelrelease_operator.core.whatif.simulation import LatencyModel
from modelrelease_operator.errors import Invalid


def add_traffic(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument(
        "--rps",
        type=positive,
        required=True,
        metavar="N",
        help="requests a second that the release gets, all in all",
    )
    parser.add_argument(
        "--stable-error-rate", type=share, default=0.01, metavar="SHARE",
        help="share of stable's requests that fail; 0.01 is one percent (default: 0.01)",
    )  # fmt: skip
    parser.add_argument(
        "--latency-median", type=positive, default=0.080, metavar="SECONDS",
        help="stable's median latency, of a lognormal law (default: 0.08)",
    )  # fmt: skip
    parser.add_argument(
        "--latency-p99", type=positive, default=0.256, metavar="SECONDS",
        help="stable's 99th percentile (default: 0.256)",
    )  # fmt: skip
    parser.add_argument(
        "--pod-start", type=duration, default="10s", metavar="DURATION",
        help="time that a pod takes to be ready (default: 10s)",
    )  # fmt: skip

    parser.add_argument(
        "--scrape-interval", type=_interval, default="15s", metavar="DURATION",
        help="Prometheus scrapes each pod so often, at a moment of its own (default: 15s); where "
        "analysis.source is Pods, looks read them",
    )  # fmt: skip
    parser.add_argument(
        "--replicas",
        type=pods,
        metavar="N",
        help="pods that serve (default: spec.serving.replicas, within autoscaling's bounds)",
    )


def whole(text: str) -> int:
    """Read an argument that is a whole number above 0."""
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        msg = f"must be a whole number above 0, got {text!r}"
        raise argparse.ArgumentTypeError(msg)
    return int(text)


def pods(text: str) -> int:
    """Read an argument that is a number of pods that a release may have."""
    count = whole(text)
    if count > MOST_REPLICAS:
        msg = f"must be at most {MOST_REPLICAS}, got {count}"
        raise argparse.ArgumentTypeError(msg)
    return count


def _interval(text: str) -> timedelta:
    span = duration(text)
    if span <= timedelta(0):
        msg = f"must be above 0s, got {text}"
        raise argparse.ArgumentTypeError(msg)
    return span


def with_replicas(releases: Iterable[Manifest], replicas: int | None) -> list[Manifest]:
    """Return releases with the number of pods that is given, or that their own autoscaler has."""
    scaled = []
    for release in releases:
        serving = release.spec.serving
        count = serving.bounded_replicas if replicas is None else replicas
        spec = release.spec.but(serving=serving.but(replicas=count))
        scaled.append(replace(release, spec=spec))
    return scaled


def read_every(spec: ReleaseSpec, scrape_interval: timedelta) -> timedelta:
    """Return the time between two samples of a pod: of scrapes, or of looks that read the pods."""
    if spec.analysis.source is Source.PODS:
        return min(LOOK_OFTEN, spec.analysis.period)
    return scrape_interval


def latency_of(parsed: argparse.Namespace) -> LatencyModel:
    """Return stable's latency; raise Invalid when the two figures contradict each other."""
    if parsed.latency_p99 <= parsed.latency_median:
        msg = (
            f"--latency-p99 must be above --latency-median, got {parsed.latency_p99:g} and "
            f"{parsed.latency_median:g} seconds"
        )
        raise Invalid(msg)
    return LatencyModel(median=parsed.latency_median, p99=parsed.latency_p99)
