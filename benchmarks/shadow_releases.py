"""Bad canaries in the shadow on a real cluster: whether each is taken back before a user meets it.

    python -m benchmarks.shadow_releases [--runs N] [--rps N] [--at-once N] [--into FILE]

What `benchmarks.before_users` simulates, with real pods, Prometheus and clients: the spec's own
defaults, a scrape every 15 s, 20 requests a second of which stable fails 1 %. Ends with 1 where a
user met a bad canary, or a healthy one did not leave the shadow for its first step.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Final

from benchmarks.before_users import LIMIT_PERCENT, STABLE_ERRORS
from benchmarks.cluster import STORE_SPACE, stock
from benchmarks.doc_markers import put
from cluster import Cluster, cluster_for
from cluster.progress import say
from examples import fixtures
from examples.models import faulty
from modelrelease_training.export import Label
from testbed.releases import Object, Release, rejected

SPEC: Final[dict[str, Any]] = {
    "serving": {"resources": {"requests": {"cpu": "10m", "memory": "128Mi"}}},
    "canary": {"shadow": {"maxDisagreementPercent": LIMIT_PERCENT}},
}
LIMIT_SECONDS: Final = 1500
MEMBERS: Final = 60
"""Of the ensemble that is to be twice as slow: some 5 ms, beside 1 ms for the rest of a request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One kind of canary beside the stable version that it is compared with."""

    canary: str
    stable_version: str
    canary_version: str
    is_bad: bool = True


CASES: Final = (
    Case(canary="healthy", stable_version="10", canary_version="11", is_bad=False),
    Case(canary="fails twice as often", stable_version="10", canary_version="20"),
    Case(canary="answers 1 % otherwise", stable_version="10", canary_version="30"),
    Case(canary="twice as slow", stable_version="40", canary_version="41"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """How one release ended."""

    canary: str
    is_bad: bool
    taken_back: bool
    seconds: float
    pairs: int
    users_requests: int
    """Of users, that the canary had answered when it was taken back or left the shadow."""
    stable_failed: int
    stable_answered: int
    sentence: str

    @property
    def right(self) -> bool:
        """Whether a bad canary was taken back unmet, and a healthy one was let on."""
        if not self.is_bad:
            return not self.taken_back
        return self.taken_back and not self.users_requests


def make_artifacts(output: Path) -> list[Path]:
    """Make the versions that CASES name."""

    def order(version: str, **parts: Any) -> faulty.Order:
        return faulty.Order(label=Label(name="qna", version=version), output=output, **parts)

    faulty.failing(order("10", share=STABLE_ERRORS))
    faulty.failing(order("11", share=STABLE_ERRORS))
    faulty.failing(order("20", share=2 * STABLE_ERRORS))
    faulty.differing(order("30", share=STABLE_ERRORS))
    faulty.slow(order("40", members=MEMBERS))
    faulty.slow(order("41", members=2 * MEMBERS))
    return sorted((output / "qna").iterdir())


def release_one(cluster: Cluster, case: Case, space: str, rps: float) -> Result:
    """Compare one canary in a namespace of its own, until it is taken back or has a user."""
    cluster.kubectl("delete", "namespace", space, "--ignore-not-found", "--wait", "--timeout=180s")
    fixtures.apply(cluster, fixtures.namespace(space))
    release = Release(cluster=cluster, space=space, store=STORE_SPACE, spec=dict(SPEC))
    release.begins(case.stable_version)
    release.load(rps=rps, seconds=LIMIT_SECONDS)
    began, pairs = time.monotonic(), [0]
    release.apply(case.canary_version)

    def ended(status: Object) -> bool:
        shadow = status.get("canary", {}).get("shadow", {})
        pairs.append(shadow.get("pairs", 0))
        is_let_on = bool(shadow.get("passed")) and status.get("phase") != "Shadowing"
        return is_let_on or rejected(case.canary_version)(status)

    status = release.wait(f"{case.canary} in {space} to end", ended, within=LIMIT_SECONDS)
    seconds, stats = time.monotonic() - began, release.stats()
    cluster.kubectl("delete", "namespace", space, "--wait=false")
    taken_back = "rejected" in status
    return Result(
        canary=case.canary,
        is_bad=case.is_bad,
        taken_back=taken_back,
        seconds=seconds,
        pairs=max(pairs),
        users_requests=stats.count(version=case.canary_version) if taken_back else 0,
        stable_failed=stats.count(version=case.stable_version, outcome="500"),
        stable_answered=stats.count(version=case.stable_version),
        sentence=status["rejected"]["message"] if taken_back else status["message"],
    )


def release_all(cluster: Cluster, *, runs: int, rps: float, at_once: int) -> Iterator[Result]:
    """Compare each kind of canary so many times, so many at once."""
    wanted = [(case, f"shadow-{run}-{place}") for run in range(runs)
              for place, case in enumerate(CASES)]  # fmt: skip

    def one(what: tuple[Case, str]) -> Result:
        case, space = what
        result = release_one(cluster, case, space, rps)
        end = "taken back" if result.taken_back else "let on"
        mark = "" if result.right else "  WRONG"
        say(f"{case.canary}: {end} after {result.seconds:.0f} s{mark}: {result.sentence}")
        return result

    with ThreadPoolExecutor(max_workers=at_once) as pool:
        yield from pool.map(one, wanted)


def as_markdown(results: Sequence[Result]) -> str:
    """Return a line for each kind of canary."""
    lines = [
        "| canary | taken back | of these unmet by users | let on to a step | minutes, each "
        "| pairs, each | failed of stable's answers |",
        "|---|---|---|---|---|---|---|",
    ]
    in_order = sorted(results, key=lambda result: result.canary)
    for canary, group in groupby(in_order, key=lambda result: result.canary):
        lines.append(_line(canary, list(group)))
    return "\n".join(lines)


def _line(canary: str, runs: Sequence[Result]) -> str:
    back = [run for run in runs if run.taken_back]
    unmet = sum(not run.users_requests for run in back)
    minutes = ", ".join(f"{run.seconds / 60:.1f}" for run in runs)
    pairs = ", ".join(f"{run.pairs:,}" for run in runs)
    failed, answered = (
        sum(run.stable_failed for run in runs),
        sum(run.stable_answered for run in runs),
    )
    return (
        f"| {canary} | {len(back)} of {len(runs)} | {unmet} | {len(runs) - len(back)} | {minutes} "
        f"| {pairs} | {failed:,} of {answered:,} |"
    )


def main() -> int:
    """Run the comparisons and print the table; return 1 where one did not end as it must."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.shadow_releases",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--runs", type=int, default=3, help="of each kind (default: 3)")
    parser.add_argument("--rps", type=float, default=20.0, help="requests a second (default: 20)")
    parser.add_argument("--at-once", type=int, default=4, help="releases side by side (default: 4)")
    parser.add_argument("--name", default="bench", help="the cluster's (default: bench)")
    parser.add_argument("-o", "--output", choices=["table", "json"], default="table")
    parser.add_argument("--into", type=Path, metavar="FILE", help="put the table there, too")
    options = parser.parse_args()
    cluster = cluster_for(options.name)
    cluster.up()
    cluster.require_ours()
    cluster.install_operator()
    with tempfile.TemporaryDirectory() as folder:
        stock(cluster, make_artifacts(Path(folder)))
    results = list(
        release_all(cluster, runs=options.runs, rps=options.rps, at_once=options.at_once)
    )
    if options.output == "json":
        print(json.dumps([asdict(result) for result in results]))
    else:
        print(as_markdown(results))
    if options.into:
        put(options.into, as_markdown(results), mark="shadow-releases")
    say(f"remove the cluster:  make cluster-down NAME={options.name}")
    return 0 if all(result.right for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
