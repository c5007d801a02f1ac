#!/usr/bin/env python3
"""`modelrelease-drift baseline`.

python scripts/generate_baseline.py --input_file data/training_texts.txt --output_file baseline_emb.pkl
"""  # noqa: E501

import sys

from modelrelease_training.drift.__main__ import main

if __name__ == "__main__":
    sys.exit(main(["baseline", *sys.argv[1:]]))
