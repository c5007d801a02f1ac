"""Through the front door: many releases on a real cluster, and what became of each.

Healthy ones must be promoted, ones whose canary fails at twice stable's rate must be rolled back
before they have half of the traffic, and one whose stable fails as often as its canary must not
blame the canary. `make bench-cluster` runs it; a short form is a cluster test.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from cluster import Cluster, cluster_for
from examples import fixtures
from examples.models.faulty import main as make_faulty
from modelrelease_training.__main__ import main as train
from testbed.releases import Release, rejected

STORE_SPACE = "bench-artifacts"
SPEC = {
    "serving": {"replicas": 2, "resources": {"requests": {"cpu": "10m", "memory": "128Mi"}}},
    "canary": {
        "steps": [{"weight": 33, "bake": "10s"}, {"weight": 50, "bake": "10s"}],
        "keepPrevious": "1s",
        "startDeadline": "5m",
    },
    "analysis": {"interval": "5s"},
}
LIMIT_SECONDS = 1800
PATIENCE_SECONDS = 240
"""With both arms at 2 % errors a verdict can take a quarter of an hour; blame would come sooner."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One release: which version serves, which one comes, and how it must end."""

    name: str
    stable: str
    canary: str
    promoted: bool | None
    """None: it may still be undecided when the patience ends, but the canary must not be blamed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """How a release ended."""

    case: Case
    promoted: bool
    rolled_back: bool
    highest_weight: int
    seconds: float
    canary_requests: int
    bad_answers: int
    sentence: str

    @property
    def as_expected(self) -> bool:
        """Whether it ended as it must: a bad canary before it had half of the traffic."""
        if self.case.promoted is None:
            return not self.rolled_back
        if self.case.promoted:
            return self.promoted
        return self.rolled_back and self.highest_weight < 50

    @property
    def end(self) -> str:
        """How it ended, in words."""
        if self.promoted:
            return "promoted"
        return "rolled back" if self.rolled_back else "not blamed"


def cases(*, healthy: int, failing: int, shared: int) -> list[Case]:
    """Return so many releases of each kind. Versions: see `make_artifacts`."""
    healthy_cases = [
        Case(name=f"healthy-{n}", stable="1", canary="2", promoted=True) for n in range(healthy)
    ]
    failing_cases = [
        Case(name=f"failing-{n}", stable="20", canary="40", promoted=False) for n in range(failing)
    ]
    shared_cases = [
        Case(name=f"shared-{n}", stable="20", canary="21", promoted=None) for n in range(shared)
    ]
    return healthy_cases + failing_cases + shared_cases


def make_artifacts(output: Path) -> list[Path]:
    """Make two good versions, two that fail on 2 % of requests, and one that fails on 4 %."""
    exit_codes = [
        train(["train", "--version", "1", "--seed", "7", "--output", str(output)]),
        train(["train", "--version", "2", "--seed", "8", "--output", str(output)]),
    ]
    for version, share in (("20", "0.02"), ("21", "0.02"), ("40", "0.04")):
        exit_codes.append(
            make_faulty(
                ["failing", "--version", version, "--share", share, "--output", str(output)]
            )
        )
    if any(exit_codes):
        msg = f"an artifact could not be made in {output}"
        raise RuntimeError(msg)
    return sorted((output / "qna").iterdir())


def stock(cluster: Cluster, folders: Sequence[Path]) -> None:
    """Serve the artifacts inside the cluster."""
    fixtures.apply(cluster, fixtures.namespace(STORE_SPACE))
    fixtures.apply(
        cluster, *(fixtures.artifact_configmap(STORE_SPACE, folder) for folder in folders)
    )
    fixtures.apply(cluster, *fixtures.model_store(STORE_SPACE, list(folders)))
    cluster.kubectl(
        "rollout", "status", "-n", STORE_SPACE, f"deployment/{fixtures.STORE}", "--timeout=180s"
    )


def run_case(cluster: Cluster, case: Case, rps: float) -> Result:
    """Release the canary of one case and wait for its end, in a namespace of its own."""
    space = f"bench-{case.name}"
    cluster.kubectl("delete", "namespace", space, "--ignore-not-found", "--wait", "--timeout=180s")
    fixtures.apply(cluster, fixtures.namespace(space))
    release = Release(cluster=cluster, space=space, store=STORE_SPACE, spec=dict(SPEC))
    release.begins(case.stable)
    release.load(rps=rps)
    began, weights = time.monotonic(), [0]
    release.apply(case.canary)

    def ended(status: dict[str, object]) -> bool:
        weight = status.get("weight", 0)
        weights.append(weight if isinstance(weight, int) else 0)
        stable = status.get("stable")
        serves = isinstance(stable, dict) and stable.get("version") == case.canary
        decided = rejected(case.canary)(status) or (serves and status.get("phase") == "Stable")
        patience_over = case.promoted is None and time.monotonic() - began > PATIENCE_SECONDS
        return decided or (patience_over and "canary" in status)

    status = release.wait(f"{case.name} to end", ended, within=LIMIT_SECONDS)
    seconds, stats = time.monotonic() - began, release.stats()
    promoted = status["stable"]["version"] == case.canary
    cluster.kubectl("delete", "namespace", space, "--wait=false")
    return Result(
        case=case,
        promoted=promoted,
        rolled_back="rejected" in status,
        highest_weight=max(weights),
        seconds=seconds,
        canary_requests=stats.count(version=case.canary),
        bad_answers=stats.count(version=case.canary, outcome="500"),
        sentence=status["rejected"]["message"] if "rejected" in status else status["message"],
    )


def run(
    cluster: Cluster, cases_to_run: Sequence[Case], *, rps: float, at_once: int
) -> list[Result]:
    """Run the cases, so many at the same time; print each as it ends."""

    def run_one(case: Case) -> Result:
        result = run_case(cluster, case, rps)
        mark = "" if result.as_expected else "  WRONG"
        print(
            f"{case.name:<12} {result.end:<12} {result.seconds:5.0f} s  up to "
            f"{result.highest_weight:2} %  {result.canary_requests:6,} canary requests  "
            f"{result.bad_answers:4,} bad{mark}\n             {result.sentence}",
            flush=True,
        )
        return result

    with ThreadPoolExecutor(max_workers=at_once) as pool:
        return list(pool.map(run_one, cases_to_run))


def main() -> int:
    """Run ten healthy releases, five failing ones and one whose stable fails as well."""
    parser = argparse.ArgumentParser(prog="make bench-cluster", description=(__doc__ or "").strip())
    parser.add_argument("--healthy", type=int, default=10, help="healthy releases (default: 10)")
    parser.add_argument(
        "--failing", type=int, default=5, help="canaries at twice stable's 2 %% (default: 5)"
    )
    parser.add_argument("--shared", type=int, default=1, help="both arms at 2 %% (default: 1)")
    parser.add_argument(
        "--rps", type=float, default=40, help="requests a second for each (default: 40)"
    )
    parser.add_argument(
        "--at-once", type=int, default=10, help="releases at the same time (default: 10)"
    )
    options = parser.parse_args()
    cluster = cluster_for("bench")
    cluster.up()
    cluster.require_ours()
    cluster.install_operator()
    with tempfile.TemporaryDirectory() as folder:
        stock(cluster, make_artifacts(Path(folder)))
        cases_to_run = cases(
            healthy=options.healthy, failing=options.failing, shared=options.shared
        )
        results = run(cluster, cases_to_run, rps=options.rps, at_once=options.at_once)
    unexpected = [result.case.name for result in results if not result.as_expected]
    exceptions = f"; not {', '.join(unexpected)}" if unexpected else ""
    expected = len(results) - len(unexpected)
    print(f"\n{expected} of {len(results)} ended as they must{exceptions}")
    print("Remove the cluster:  make cluster-down NAME=bench")
    return 1 if unexpected else 0


if __name__ == "__main__":
    sys.exit(main())
