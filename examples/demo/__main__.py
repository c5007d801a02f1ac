"""`make demo`: a real cluster, real traffic, four versions of a model.

Version 1 serves. Version 2 is good and must be promoted. Version 3 fails on a tenth of the
requests and version 4 is slow: both must be rolled back. At the end stands what users met.
Metrics are read from the pods: there is no Prometheus, unless one is asked for at the end.
Can be stopped and run again at any point.
"""

import argparse
import sys
import time
from pathlib import Path

from cluster import Cluster, cluster_for
from examples import fixtures
from examples.demo.scenario import Scenario, Stage
from examples.demo.summary import summarise
from examples.models.faulty import main as make_faulty
from examples.waiting import NotSeenError
from modelrelease_training.__main__ import main as train

SPACE = "demo"
MODEL = "qna"
STAGES = (
    Stage(version="2", description="a good successor", promoted=True),
    Stage(version="3", description="fails on one request in ten", promoted=False),
    Stage(version="4", description="answers 25 ms slower", promoted=False),
)
SPEC = {
    "serving": {"replicas": 3},
    "canary": {
        "steps": [{"weight": 25, "bake": "10s"}, {"weight": 50, "bake": "10s"}],
        "keepPrevious": "1m",
        "startDeadline": "3m",
    },
    "analysis": {"interval": "5s"},
}


def main() -> int:
    """Run the whole demonstration; return 0 only when every version ended as it must."""
    parser = argparse.ArgumentParser(prog="make demo", description=(__doc__ or "").strip())
    parser.add_argument(
        "--provider", default=None, help="auto, native, kind or existing (default: auto)"
    )
    parser.add_argument(
        "--context", default=None, help="kubeconfig context for the provider 'existing'"
    )
    parser.add_argument("--rps", type=float, default=100, help="requests a second (default: 100)")
    parser.add_argument(
        "--prometheus",
        action="store_true",
        help="add a Prometheus at the end; on a machine without Docker it is compiled first "
        "(minutes)",
    )
    options = parser.parse_args()
    began = time.monotonic()
    cluster = cluster_for(
        "demo", provider=options.provider or "auto", context=options.context or ""
    )
    try:
        cluster.up(prometheus=False)
        cluster.build_images()
        cluster.install_operator("prometheus.url=")
        folders = _artifacts(cluster)
        scenario = _prepared(cluster, folders, options.rps)
        results = [scenario.play(stage) for stage in STAGES]
        exit_code = summarise(scenario, results, elapsed=time.monotonic() - began)
        if options.prometheus:
            _with_prometheus(cluster)
        else:
            print(
                "\nAll of that was without a Prometheus. To have one beside it:  "
                "make demo ARGS=--prometheus"
            )
        return exit_code
    except NotSeenError as problem:
        print(f"\nThe demonstration did not come to its end: {problem.sentence}", file=sys.stderr)
        print((
            f"Look closer: KUBECONFIG={cluster.kubeconfig} .venv/bin/modelrelease why {MODEL} -n "
            f"{SPACE}"
        ),
              file=sys.stderr)  # fmt: skip
        return 1
    except KeyboardInterrupt:
        print(
            "\nStopped. `make demo` goes on from here; `make cluster-down NAME=demo` removes it "
            "all."
        )
        return 130


def _with_prometheus(cluster: Cluster) -> None:
    """Add a Prometheus, and say how to have the operator ask it."""
    print("\n== All of that was without Prometheus. Now one comes beside it", flush=True)
    cluster.install_prometheus()
    print(
        f"""
Have the operator ask it:  {sys.executable} -m cluster operator --name demo
Look at it:                kubectl port-forward -n monitoring service/prometheus 9090
                           (KUBECONFIG={cluster.kubeconfig})"""
    )


def _artifacts(cluster: Cluster) -> list[Path]:
    """Train the good versions and make the faulty ones, once."""
    output = cluster.kubeconfig.parent / "artifacts"
    print("== Training version 1 and 2, and making two that are wrong", flush=True)
    target = ["--output", str(output), "--name", MODEL, "--force"]
    exit_codes = [
        train(["train", "--version", "1", "--seed", "7", *target]),
        train(["train", "--version", "2", "--seed", "8", *target]),
        make_faulty(["failing", "--version", "3", *target]),
        make_faulty(["slow", "--version", "4", *target]),
    ]
    if any(exit_codes):
        msg = f"an artifact could not be made in {output}"
        raise NotSeenError(msg)
    return [output / MODEL / version for version in ("1", "2", "3", "4")]


def _prepared(cluster: Cluster, folders: list[Path], rps: float) -> Scenario:
    """Put everything in place: the store, version 1, and clients that call it."""
    scenario = Scenario(cluster=cluster, space=SPACE, model=MODEL, spec=SPEC, rps=rps)
    scenario.clear()
    fixtures.apply(cluster, fixtures.namespace(SPACE))
    fixtures.apply(cluster, *(fixtures.artifact_configmap(SPACE, folder) for folder in folders))
    fixtures.apply(cluster, *fixtures.model_store(SPACE, folders))
    cluster.kubectl(
        "rollout", "status", "-n", SPACE, f"deployment/{fixtures.STORE}", "--timeout=120s"
    )
    scenario.begin("1")
    return scenario


if __name__ == "__main__":
    sys.exit(main())
