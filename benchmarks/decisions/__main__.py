"""Compare the rules and print what was found: `python -m benchmarks.decisions`."""

import argparse
import json
import sys
from pathlib import Path

from benchmarks.decisions.report import as_json, as_tables
from benchmarks.decisions.run import run
from benchmarks.doc_markers import put

QUICK_RUNS = 100


def main() -> int:
    """Measure and print; 1 when a target is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.decisions", description=__doc__)
    parser.add_argument(
        "--runs", type=int, default=None, help="runs of each cell (1000; quick: 100)"
    )
    parser.add_argument(
        "--quick", action="store_true", help="one weight and fewer runs: under a minute"
    )
    parser.add_argument("--seed", type=int, default=1, help="another seed, other runs (1)")
    parser.add_argument("-o", "--output", choices=("table", "json"), default="table")
    parser.add_argument(
        "--into", type=Path, help="put the tables between the marks of this file as well"
    )
    options = parser.parse_args()
    default_runs = QUICK_RUNS if options.quick else 1000
    report = run(runs=options.runs or default_runs, seed=options.seed, quick=options.quick)
    if options.output == "json":
        print(json.dumps(as_json(report), indent=1))
    else:
        print(as_tables(report))
    if options.into:
        tables = f"```text\n{as_tables(report)}\n```"
        put(options.into, tables, mark="printed")
    return 0 if all(target.met for target in report.targets) else 1


if __name__ == "__main__":
    sys.exit(main())
