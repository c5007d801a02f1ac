#!/usr/bin/env python3
"""`modelrelease-train ingest` into data/latest.parquet: made-up rows, or those of `--input FILE`.

python scripts/ingest.py
"""

import sys

try:
    from modelrelease_training.__main__ import main
except ModuleNotFoundError as problem:
    sys.exit(f"scripts/ingest.py: {problem}: `make setup` and `. .venv/bin/activate` first")

if __name__ == "__main__":
    given = sys.argv[1:]
    names = {argument.partition("=")[0] for argument in given}
    source = [] if names & {"--input", "--generate"} else ["--generate"]
    sys.exit(main(["ingest", "--output", "data/latest.parquet", "--force", *source, *given]))
