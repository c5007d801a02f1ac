#!/usr/bin/env python3
"""`modelrelease-train train`, with a version and a folder where none is given.

    python scripts/ingest.py && python train.py --max_steps 10 --batch_size 2

The rows are those of data/latest.parquet where that exists, and drawn ones elsewhere. The version is
MODEL_VERSION or v1.0.0; it is written anew each time. artifacts/latest leads to what was trained last.
"""  # noqa: E501

import argparse
import os
import sys
from pathlib import Path

try:
    from modelrelease_training.__main__ import main
except ModuleNotFoundError as problem:
    sys.exit(f"train.py: {problem}: `make setup` and `. .venv/bin/activate` first")

DATA = Path("data/latest.parquet")


def lead_to_the_latest(arguments: list[str]) -> None:
    """Have OUTPUT/latest lead to the artifact that these arguments named."""
    # Options may be shortened, as `train` has them.
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--name", default="qna")
    parser.add_argument("--version")
    chosen, _ = parser.parse_known_args(arguments)
    latest = chosen.output / "latest"
    if latest.exists() and not latest.is_symlink():
        sys.stderr.write(f"train.py: {latest} is no link of ours and stays as it is\n")
        return
    draft = latest.with_name(f".latest.{os.getpid()}")
    draft.symlink_to(Path(chosen.name) / chosen.version)
    draft.replace(latest)


if __name__ == "__main__":
    usual = ["--version", os.environ.get("MODEL_VERSION") or "v1.0.0", "--output", "artifacts"]
    if DATA.exists():
        usual += ["--data", str(DATA)]
    arguments = [*usual, "--force", *sys.argv[1:]]
    code = main(["train", *arguments])
    if code == 0:
        lead_to_the_latest(arguments)
    sys.exit(code)
