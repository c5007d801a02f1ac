"""`make demo-loop`: the loop, closed on a real cluster.

A model from the registry serves. Its data drifts, the operator says which feature, a Job retrains
and registers, the alias moves, the new version goes through its canary, and the drift is gone. Then
the data drifts again and a retraining gone wrong makes a worse model: it is refused, and the
champion stays. Can be stopped and run again at any point.
"""

import argparse
import sys
import time

from cluster import cluster_for
from examples.loop import objects
from examples.loop.scenario import Loop
from examples.waiting import NotSeenError

SPACE = "loop"
MOVED_FEATURE = "feature_03"
NEXT_FEATURE = "feature_07"
DEVIATIONS = 1.5


def main() -> int:
    """Run the whole demonstration; return 0 only when every part of it came about."""
    parser = argparse.ArgumentParser(prog="make demo-loop", description=(__doc__ or "").strip())
    parser.add_argument(
        "--provider", default="auto", help="auto, native, kind or existing (default: auto)"
    )
    parser.add_argument(
        "--context", default="", help="kubeconfig context for the provider 'existing'"
    )
    parser.add_argument("--rps", type=float, default=60, help="requests a second (default: 60)")
    options = parser.parse_args()
    began = time.monotonic()
    cluster = cluster_for("demo", provider=options.provider, context=options.context)
    loop = Loop(cluster=cluster, space=SPACE, rps=options.rps)
    try:
        cluster.up()
        cluster.build_images("serving", "operator", "training")
        registry = f"mlflow.trackingUri={objects.registry_url(SPACE)}"
        cluster.install_operator(
            registry, "mlflow.recordOutcomes=true", "mlflow.intervalSeconds=10"
        )
        loop.stage()
        loop.closes(MOVED_FEATURE, DEVIATIONS)
        loop.refuses(NEXT_FEATURE, DEVIATIONS)
        loop.summarise(time.monotonic() - began)
    except NotSeenError as problem:
        print(f"\nThe loop did not close: {problem.sentence}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(
            "\nStopped. `make demo-loop` starts it again; `make cluster-down NAME=demo` removes it "
            "all."
        )
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
