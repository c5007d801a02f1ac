"""What a start of the predictor imports, in order: how long each part takes, and how much memory it
keeps.

The process that serves the logistic pipeline imports these and no others of any size; so the table
says by what its memory and its start are bound. Each round is a fresh Python in the environment
that holds what the serving image does, with compiled bytecode; the table gives the median of the
rounds.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Final, NamedTuple

from benchmarks.doc_markers import put
from benchmarks.serving import environments
from benchmarks.serving.candidates import OWN
from cluster.errors import ClusterError

PARTS: Final = {
    "Python itself": "sys",
    "pydantic and its settings": "modelrelease_serving.settings",
    "uvicorn, uvloop, httptools": "uvicorn, uvloop, uvicorn.protocols.http.httptools_impl",
    "FastAPI": "fastapi",
    "numpy": "numpy",
    "the rest of the predictor": "modelrelease_serving.server",
    "joblib": "joblib",
    "SciPy, as scikit-learn's base imports it": "scipy.sparse, scipy.special, scipy.stats",
    "scikit-learn's base": "sklearn.base, sklearn.utils.validation",
    (
        "sklearn.linear_model and pipeline"
    ): "sklearn.linear_model, sklearn.pipeline, sklearn.preprocessing",
}
_SCRIPT: Final = """
import json, resource, sys, time
def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 1e6
seen = []
for modules in json.loads(sys.argv[1]):
    began = time.perf_counter()
    for module in modules.split(", "):
        __import__(module)
    seen.append((1000 * (time.perf_counter() - began), resident()))
print(json.dumps(seen))
"""


class Part(NamedTuple):
    """One import, after all those before it."""

    what: str
    milliseconds: float
    resident_mb: float
    """Of the process, when it was done."""


def measure(rounds: int) -> list[Part]:
    """Import everything in `rounds` fresh processes. Raises ClusterError without an environment."""
    python = environments.make(OWN) / "bin" / "python"
    path = os.pathsep.join(str(environments.ROOT / folder) for folder in ("serving", "contract"))
    command = [str(python), "-c", _SCRIPT, json.dumps(list(PARTS.values()))]
    results = []
    for _ in range(rounds + 1):
        process = subprocess.run(command, check=True, capture_output=True, env={"PYTHONPATH": path})
        results.append(json.loads(process.stdout))
    # The first round compiles what is not compiled yet.
    by_part = zip(PARTS, zip(*results[1:], strict=True), strict=True)
    return [Part(name, *map(median, zip(*figures, strict=True))) for name, figures in by_part]


def as_markdown(parts: Sequence[Part]) -> str:
    """Return the parts as a table, with what each adds."""
    lines = ["| import | ms | ms so far | MB it adds | MB so far |", "|---|---:|---:|---:|---:|"]
    spent = before = 0.0
    for part in parts:
        spent += part.milliseconds
        lines.append(
            f"| {part.what} | {part.milliseconds:.0f} | {spent:.0f} | "
            f"{part.resident_mb - before:.0f} | {part.resident_mb:.0f} |"
        )
        before = part.resident_mb
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.serving.footprint", description=__doc__
    )
    parser.add_argument("--rounds", type=int, default=5, help="fresh processes (5)")
    parser.add_argument(
        "--into", type=Path, help="put the table between the marks of this file as well"
    )
    options = parser.parse_args(arguments)
    try:
        text = as_markdown(measure(options.rounds))
    except ClusterError as error:
        print(f"benchmarks.serving.footprint: {error}", file=sys.stderr)
        return 1
    print(text)
    if options.into:
        put(options.into, text, mark="footprint")
    return 0


if __name__ == "__main__":
    sys.exit(main())
