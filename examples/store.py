"""A model store for a cluster of one's own: a web server with artifacts, as objects for kubectl.

Any web server, bucket or registry does in earnest; this one needs nothing but the cluster.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from examples import fixtures

EXAMPLE = """\
example:
  python -m examples.store -n tutorial artifacts/qna/* | kubectl apply --server-side -f -
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the objects of a store with the artifacts in some folders."""
    parser = argparse.ArgumentParser(
        prog="python -m examples.store",
        description="Print a web server that has each artifact at /MODEL/VERSION, for kubectl.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("-n", "--namespace", required=True, help="where it is to run")
    parser.add_argument("folders", nargs="+", type=Path, help="such as artifacts/qna/1")
    options = parser.parse_args(arguments)
    for folder in options.folders:
        if not (folder / "manifest.json").is_file():
            parser.error(f"{folder} is no artifact: it has no manifest.json")
    folders = [folder.resolve() for folder in options.folders]
    space = options.namespace
    objects = [fixtures.artifact_configmap(space, folder) for folder in folders]
    objects += fixtures.model_store(space, folders)
    print(json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
