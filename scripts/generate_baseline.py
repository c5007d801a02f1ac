#!/usr/bin/env python3
"""`modelrelease-drift baseline`.

python scripts/generate_baseline.py --input_file data/training_texts.txt --output_file baseline_emb.pkl
"""  # noqa: E501

import sys

try:
    from modelrelease_training.drift.__main__ import main
except ModuleNotFoundError as problem:
    sys.exit(
        f"scripts/generate_baseline.py: {problem}: `make setup` and `. .venv/bin/activate` first"
    )

if __name__ == "__main__":
    sys.exit(main(["baseline", *sys.argv[1:]]))
