"""Arguments that say what the traffic is like: shared by `plan` and `simulate`."""

import argparse

from modelrelease_operator.cli.common import duration, positive, share
from modelrelease_operator.core.simulation import Latency
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


def latency_of(parsed: argparse.Namespace) -> Latency:
    """Return stable's latency; raise Invalid when the two figures contradict each other."""
    if parsed.latency_p99 <= parsed.latency_median:
        msg = (
            f"--latency-p99 must be above --latency-median, got {parsed.latency_p99:g} and "
            f"{parsed.latency_median:g} seconds"
        )
        raise Invalid(msg)
    return Latency(median=parsed.latency_median, p99=parsed.latency_p99)
