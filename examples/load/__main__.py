"""Clients for a release on a cluster of one's own, as objects for kubectl."""

import argparse
import json
import sys
from collections.abc import Sequence

from examples import fixtures

A_DAY = 86400.0
EXAMPLE = """\
example:
  python -m examples.load -n tutorial --url http://qna/predict | kubectl apply --server-side -f -
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the objects of a pod that calls a release of the demo's model."""
    parser = argparse.ArgumentParser(
        prog="python -m examples.load",
        description="Print a pod that calls a model, for kubectl: half of its requests on new "
        "connections, half on kept ones.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("-n", "--namespace", required=True, help="where it is to run")
    parser.add_argument("--url", required=True, help="what it calls")
    parser.add_argument("--rps", type=float, default=60, help="requests a second (default: 60)")
    options = parser.parse_args(arguments)
    objects = fixtures.load_generator(
        options.namespace, url=options.url, rps=options.rps, seconds=A_DAY
    )
    print(json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
